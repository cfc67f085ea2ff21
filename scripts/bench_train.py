"""Time training steps on this device, ours and a plain PyTorch loop of the same model:

    python scripts/bench_train.py configs/paper.yaml [--frames 8,32 --compile off,on --steps 10] [key=value ...]

Clips a second, memory and the share of the device's arithmetic, for 8 and 32 frames, with and without torch.compile.
Both loops see the same invented clips and start from the same random weights; reading videos is not part of it.
"apart" is how far the losses of the two loops are from each other at most; dropout draws differ under compile, so
compare with model.text.dropout=0 model.fusion.dropout=0 model.video.drop_path=0.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from captioner.config import Config
from captioner.config_io import load_config
from captioner.errors import CaptionerError
from captioner.inference.predictor import pick_device
from captioner.model.batch import Batch
from captioner.model.captioner import EmotionCaptioner
from captioner.train.engine import BETAS, EPS, PlainEngine, parameter_groups, pick_precision
from captioner.train.plan import draft, noise_batch
from captioner.train.throughput import compile_encoders, peak_of, synchronise, work_of

WARM = 3  # steps before the clock starts


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    config: Config
    frames: int
    compiled: bool
    ours: bool
    steps: int


@dataclass(frozen=True)
class Found:
    """What was measured of it."""

    rate: float  # clips a second
    first: float  # seconds of the first step, compilation included
    memory: float  # bytes: the peak on a GPU, what the process grew by on a CPU
    share: float  # of the device's arithmetic
    losses: list[float]


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("config")
    parser.add_argument("--frames", type=lambda text: [int(n) for n in text.split(",")], default=[8, 32])
    parser.add_argument("--compile", type=lambda text: text.split(","), default=["off", "on"])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=0)
    options, overrides = parser.parse_known_args(arguments)
    if wrong := [word for word in options.compile if word not in ("off", "on")]:
        print(f"error: --compile is {wrong[0]!r}; allowed: off, on, or off,on", file=sys.stderr)
        return 2
    try:
        config = draft(load_config(Config, options.config, overrides), None, 0).config
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    batch = options.batch or config.train.batch
    config = replace(config, train=replace(config.train, batch=batch))
    device = pick_device("auto")
    dtype = pick_precision(config.train.precision, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{options.config}: {batch} clips a step, {str(dtype).removeprefix('torch.')}, {name}, invented clips")
    print(f"{'loop':<16}{'frames':>7}{'compile':>9}{'clips/s':>9}{'GiB':>7}{'% peak':>8}{'first step':>12}{'apart':>9}")
    for frames in options.frames:
        for word in options.compile:
            compare(config, frames, word == "on", options.steps)
    return 0


def compare(config: Config, frames: int, compiled: bool, steps: int) -> None:
    """Two rows: the plain loop, ours."""
    plain, ours = (alone(measure, Case(config, frames, compiled, own, steps)) for own in (False, True))
    apart = max(abs(a - b) for a, b in zip(plain.losses, ours.losses, strict=True))
    for name, found, end in (("plain PyTorch", plain, ""), ("captioner", ours, f"{apart:.1e}")):
        print(
            f"{name:<16}{frames:>7}{'on' if compiled else 'off':>9}{found.rate:>9.2f}{found.memory / 2**30:>7.2f}"
            f"{100 * found.share:>8.1f}{found.first:>10.1f} s{end:>9}",
            flush=True,
        )


def alone(call: Callable[[Case], Found], case: Case) -> Found:
    """The call in a process of its own, so that memory is only its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return Found(**pool.apply(as_plain, (call, case)))


def as_plain(call: Callable[[Case], Found], case: Case) -> dict[str, Any]:
    """A result that travels between processes."""
    return asdict(call(case))


def measure(case: Case) -> Found:
    """One loop, timed."""
    config = replace(
        case.config, model=replace(case.config.model, video=replace(case.config.model.video, frames=case.frames))
    )
    train = config.train
    if train.threads:
        torch.set_num_threads(train.threads)
    device = pick_device("auto")
    torch.manual_seed(train.seed)
    model = EmotionCaptioner(config.model, load=False).train().to(device)
    work = work_of(model, noise_batch(model, config, 1).to(device)).step
    batch = noise_batch(model, config, train.batch).to(device)
    step = our_steps(model, config, device) if case.ours else plain_steps(model, config, device)
    if case.compiled:
        compile_encoders(model)
    torch.manual_seed(train.seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times, losses = [], []
    for _ in range(WARM + case.steps):
        synchronise(device)
        began = time.perf_counter()
        losses.append(step(batch))
        synchronise(device)
        times.append(time.perf_counter() - began)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    rate = train.batch * case.steps / sum(times[WARM:])
    peak = peak_of(device, pick_precision(train.precision, device)).flops
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else grown
    return Found(rate, times[0], float(memory), rate * work / peak, losses)


def our_steps(model: EmotionCaptioner, config: Config, device: torch.device) -> Callable[[Batch], float]:
    """A step as the training loop makes it."""
    engine = PlainEngine(model, config.train, device)

    def step(batch: Batch) -> float:
        found = engine.losses(batch, True)
        total = torch.stack(list(found.live.values())).sum()
        engine.backward(total)
        engine.step(1.0)
        return float(total.detach())

    return step


def plain_steps(model: EmotionCaptioner, config: Config, device: torch.device) -> Callable[[Batch], float]:
    """The least that a step needs in PyTorch."""
    dtype = pick_precision(config.train.precision, device)
    optimizer = torch.optim.AdamW(parameter_groups(model, config.train), betas=BETAS, eps=EPS)
    members: Sequence[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]

    def step(batch: Batch) -> float:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            total = torch.stack(list(model(batch, warm=True).live.values())).sum()
        total.backward()
        nn.utils.clip_grad_norm_(members, config.train.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(total.detach())

    return step


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
