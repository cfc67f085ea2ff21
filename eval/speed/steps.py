"""Training steps, ours and a plain PyTorch loop of the same model: clips a second, memory, share of the arithmetic.

Both loops see the same noise clips and start from the same random weights; reading videos is not part of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from captioner.config import Config
from captioner.inference.predictor import pick_device
from captioner.model.batch import Batch
from captioner.model.captioner import EmotionCaptioner
from captioner.train.engine import BETAS, EPS, PlainEngine, parameter_groups, pick_precision
from captioner.train.plan import noise_batch
from captioner.train.throughput import compile_encoders, peak_of, synchronise, work_of
from eval.speed.timing import BenchTable, in_own_process, peak_mebibytes, time_call
from eval.speed.traffic import traffic_of

WARM = 3  # steps before the clock starts
HEADER = ["loop", "frames", "compile", "clips/s", "tokens/s", "GiB", "% peak", "first step", "apart"]


@dataclass(frozen=True)
class StepCase:
    """One row of the table."""

    config: Config
    frames: int
    compiled: bool
    ours: bool
    steps: int


@dataclass(frozen=True)
class StepSpeed:
    """What was measured of it."""

    rate: float  # clips a second
    first: float  # seconds of the first step, compilation included
    memory: float  # GiB: the peak on a GPU, what the process grew by on a CPU
    share: float  # of the device's arithmetic
    losses: list[float]
    tokens: int = 0  # of a clip in the fusion


def traffic_table(config: Config, frames: Sequence[int]) -> BenchTable:
    """Copies between host and device, and waits of the host, of one step."""
    device = pick_device("auto")
    table = BenchTable("of a step of one clip, after the first", ["frames", "copies", "MB", "waits", "counted"])
    for count in frames:
        found = traffic_of(_with_frames(config, count), device)
        table.rows.append([str(count), str(found.copies), f"{found.megabytes:.2f}", str(found.waits), found.source])
    return table


def _with_frames(config: Config, frames: int) -> Config:
    return replace(config, model=replace(config.model, video=replace(config.model.video, frames=frames)))


def step_table(config: Config, title: str, frames: Sequence[int], compiled: Sequence[bool], steps: int) -> BenchTable:
    """Two rows for each number of frames, compiled or not: the plain loop, ours."""
    device = pick_device("auto")
    dtype = str(pick_precision(config.train.precision, device)).removeprefix("torch.")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    table = BenchTable(f"{title}: {config.train.batch} clips a step, {dtype}, {name}, noise clips", HEADER)
    for count in frames:
        for switch in compiled:
            table.rows += step_rows(config, count, switch, steps)
    return table


def step_rows(config: Config, frames: int, compiled: bool, steps: int) -> list[list[str]]:
    """The plain loop and ours, each in a process of its own; `apart`: how far their losses are at most."""
    plain, ours = (in_own_process(step_speed, StepCase(config, frames, compiled, own, steps)) for own in (False, True))
    apart = max(abs(a - b) for a, b in zip(plain.losses, ours.losses, strict=True))
    return [
        [name, str(frames), "on" if compiled else "off", f"{speed.rate:.2f}", f"{speed.rate * speed.tokens:.0f}",
         f"{speed.memory:.2f}",
         f"{100 * speed.share:.1f}", f"{speed.first:.1f} s", end]
        for name, speed, end in (("plain PyTorch", plain, ""), ("captioner", ours, f"{apart:.1e}"))
    ]  # fmt: skip


def step_speed(case: StepCase) -> StepSpeed:
    """One loop, timed."""
    config = _with_frames(case.config, case.frames)
    train, device = config.train, pick_device("auto")
    if train.threads:
        torch.set_num_threads(train.threads)
    torch.manual_seed(train.seed)
    model = EmotionCaptioner(config.model, load=False).train().to(device)
    work = work_of(model, noise_batch(model, config, 1).to(device)).step
    batch = noise_batch(model, config, train.batch).to(device)
    step = our_steps(model, config, device) if case.ours else plain_steps(model, config, device)
    if case.compiled:
        compile_encoders(model)
    torch.manual_seed(train.seed)
    before = peak_mebibytes()
    times, losses = [], []
    for _ in range(WARM + case.steps):
        synchronise(device)
        spent, loss = time_call(lambda: _settled(step, batch, device))
        losses.append(loss)
        times.append(spent.clock)
    rate = train.batch * case.steps / sum(times[WARM:])
    peak = peak_of(device, pick_precision(train.precision, device)).flops
    on_gpu = device.type == "cuda"
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if on_gpu else (peak_mebibytes() - before) / 1024
    with torch.no_grad():
        tokens = model.see(batch).memory.states.shape[1] + config.model.fusion.max_text * train.captions
    return StepSpeed(rate, times[0], memory, rate * work / peak, losses, tokens)


def _settled(step: Callable[[Batch], float], batch: Batch, device: torch.device) -> float:
    loss = step(batch)
    synchronise(device)
    return loss


def our_steps(model: EmotionCaptioner, config: Config, device: torch.device) -> Callable[[Batch], float]:
    """A step as the training loop makes it."""
    engine = PlainEngine(model, config.train, device)

    def step(batch: Batch) -> float:
        losses = engine.losses(batch, True)
        total = torch.stack(list(losses.live.values())).sum()
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
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(members, config.train.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(total.detach())

    return step
