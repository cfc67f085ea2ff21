"""What a run takes before it is started: parameters, memory by ZeRO stage, steps, speed, hours, cost.

Speed and activations are measured here, on invented clips of the configured sizes; the rest is arithmetic. Reading
videos is not part of it (the log's data_wait shows that). Memory counts gradients and activations at once, as when
micro-batches are summed; a step of one micro-batch stays below, its activations go while its gradients come.
"""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from captioner.config import Config
from captioner.errors import CheckpointError
from captioner.faces.crops import FaceCrops
from captioner.model.batch import NO_LABEL, Batch
from captioner.model.captioner import MEASURED, EmotionCaptioner
from captioner.model.experts import resolve_experts
from captioner.train.engine import PlainEngine
from captioner.train.throughput import compile_encoders, peak_of, synchronise, work_of
from prompts.action_units import MAIN_AUS
from prompts.phrase_scores import ASPECTS
from prompts.visual import ExpertFeatures

log = logging.getLogger(__name__)

GIB = 2**30
_PARTS = ("video", "text", "fusion", "experts")
_VOCABULARY = 30522  # BERT's, where the captions are not there yet
_TIMED = 3  # steps


@dataclass(frozen=True)
class Draft:
    """A run as far as it is known before its data is prepared."""

    config: Config
    clips: int
    """Clips of the training split."""


@dataclass(frozen=True)
class Offer:
    """Devices to train on and the price of one for an hour."""

    devices: int = 1
    price: float = 0.0


def draft(config: Config, vocabulary: int | None, clips: int) -> Draft:
    """The run with its sizes filled in."""
    try:
        experts = resolve_experts(config.model.experts)
    except CheckpointError as error:
        sizes = f"{config.model.experts.er_arch} and {config.model.experts.au_backbone}"
        log.warning("%s; counted with experts of %s", error, sizes)
        experts = replace(config.model.experts, source="")
    model = replace(config.model, experts=experts, vocab_size=vocabulary or _VOCABULARY)
    return Draft(replace(config, model=model), clips)


@dataclass(frozen=True)
class PartSize:
    """Parameters of a part."""

    trained: int
    frozen: int


def part_sizes(model: EmotionCaptioner) -> dict[str, PartSize]:
    """Parameters by part, each counted once; "prompts" is what ECPA adds beside the experts."""
    counts: dict[str, list[int]] = {part: [0, 0] for part in (*_PARTS, "prompts")}
    for name, parameter in model.named_parameters():
        first = name.split(".")[0]
        part = first if first in _PARTS else "fusion" if first in ("video_in", "video_out") else "prompts"
        counts[part][not parameter.requires_grad] += parameter.numel()
    return {part: PartSize(*pair) for part, pair in counts.items() if sum(pair)}


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on one device: 4 a weight and a gradient, 8 for AdamW's moments, 4 for ZeRO's own copy of weights."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


def device_memory(
    stage: int, trained: int, frozen: int, devices: int, activations: float, offload: bool = False
) -> DeviceMemory:
    """Memory of a device under a ZeRO stage; stage 0 is also what torch alone takes."""
    weights, gradients, optimizer = 4.0 * (trained + frozen), 4.0 * trained, 8.0 * trained
    if stage >= 1:
        optimizer = 12.0 * trained / devices
    if stage >= 2:
        gradients /= devices
    if stage == 3:
        weights /= devices
    return DeviceMemory(weights, gradients, 0.0 if offload else optimizer, activations)


def noise_batch(model: EmotionCaptioner, config: Config, clips: int, seed: int = 0) -> Batch:
    """A batch of noise in the shapes of the run: expert features when they will be cached, crops otherwise."""
    settled, draw = config.model, torch.Generator().manual_seed(seed)
    video, experts, longest = settled.video, settled.experts, settled.fusion.max_text
    rows = clips * config.train.captions

    def pixels(frames: int, side: int) -> Tensor:
        return torch.randint(0, 256, (clips, frames, 3, side, side), generator=draw, dtype=torch.uint8)

    seen, faces = None, None
    if settled.prompts.vep and config.data.cache:
        aus = len(MAIN_AUS)
        seen = ExpertFeatures(
            er=torch.randn(clips, model.experts.er.width, generator=draw),
            er_probs=torch.full((clips, len(experts.er_labels)), 1 / len(experts.er_labels)),
            au_scores=torch.rand(clips, aus, generator=draw),
            au_nodes=torch.randn(clips, aus, model.experts.au.config.nodes, generator=draw),
            au_frames=torch.rand(clips, experts.frames, aus, generator=draw),
            present=torch.ones(clips, dtype=torch.bool),
            best_and_swing=torch.rand(clips, MEASURED[0] * ASPECTS, generator=draw),
            height=torch.rand(clips, generator=draw),
        )
    elif settled.prompts.vep:
        faces = FaceCrops(pixels(experts.frames, experts.size))
    words = torch.randint(5, settled.vocab_size, (rows, longest), generator=draw)
    hidden = torch.arange(longest).expand(rows, -1) % 2 == 1
    heard = torch.randint(5, min(settled.vocab_size, 30000), (clips, longest), generator=draw)
    classes = len(settled.labels)
    return Batch(
        frames=pixels(video.frames, video.size),
        faces=faces,
        experts=seen,
        prior=torch.full((clips, classes), 1 / classes) if settled.emotion_prior else None,
        masked=words,
        targets=words.masked_fill(~hidden, NO_LABEL),
        text_ids=heard,
        text_mask=torch.ones(clips, longest, dtype=torch.bool),
        text_words=~hidden[:clips],
        emotion=torch.arange(clips) % classes,
    )


@contextmanager
def saved_bytes(model: EmotionCaptioner) -> Iterator[list[int]]:
    """Counts, in the list's only item, the bytes that the forward passes in the block keep for backward."""
    known = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    total = [0]

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            known.add(storage.data_ptr())
            total[0] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield total


def activations(engine: PlainEngine, config: Config) -> float:
    """Bytes that a clip keeps for backward: what a second clip adds to a first."""
    sizes = []
    for clips in (1, 2):
        with saved_bytes(engine.model) as total:
            kept = engine.losses(noise_batch(engine.model, config, clips), True)
        sizes.append(total[0])
        del kept
    return float(sizes[1] - sizes[0])


def speed(engine: PlainEngine, config: Config, clips: int) -> float:
    """Clips a second of whole training steps on this device."""
    batch = noise_batch(engine.model, config, clips).to(engine.device)
    times = []
    for _ in range(_TIMED + 1):  # the first one warms up
        synchronise(engine.device)
        began = time.perf_counter()
        losses = engine.losses(batch, True)
        engine.backward(torch.stack(list(losses.live.values())).sum())
        engine.step(1.0)
        synchronise(engine.device)
        times.append(time.perf_counter() - began)
    return clips * _TIMED / sum(times[1:])


def estimate(run: Draft, device: torch.device, offer: Offer) -> str:
    """The table for people."""
    config, train = run.config, run.config.train
    torch.manual_seed(train.seed)
    model = EmotionCaptioner(config.model, load=False).train()
    engine = PlainEngine(model, train, device)
    work = work_of(model, noise_batch(model, config, 1).to(device))
    clip_bytes = activations(engine, config)
    if train.compile:
        compile_encoders(model)
    measured = train.batch if device.type == "cuda" else min(train.batch, 2)
    rate = speed(engine, config, measured)
    peak = peak_of(device, engine.dtype)

    parts = part_sizes(model)
    trained, frozen = sum(s.trained for s in parts.values()), sum(s.frozen for s in parts.values())
    lines = [f"{'parameters (M)':<22}{'trained':>9}{'frozen':>9}"]
    lines += [f"  {name:<20}{s.trained / 1e6:>9.2f}{s.frozen / 1e6:>9.2f}" for name, s in parts.items()]
    lines += [f"  {'all':<20}{trained / 1e6:>9.2f}{frozen / 1e6:>9.2f}", ""]
    lines += memory_lines(trained, frozen, offer.devices, math.ceil(train.batch / offer.devices), clip_bytes)
    steps_an_epoch = math.ceil(math.ceil(run.clips / train.batch) / train.accumulate)
    steps = train.max_steps or train.epochs * steps_an_epoch
    hours = run.clips * steps / steps_an_epoch / rate / 3600
    many = offer.devices
    share = 100 * rate * work.step / peak.flops
    lines += [
        "",
        f"steps                 {steps} of {train.batch * train.accumulate} clips ({steps_an_epoch} an epoch of "
        f"{run.clips} clips, {steps / steps_an_epoch:.1f} epochs)",
        f"work                  {work.step / 1e9:.1f} GFLOPs a clip and step",
        f"speed                 {rate:.2f} clips/s, {measured} at a time on one {device.type}, "
        f"{str(engine.dtype).removeprefix('torch.')}; {share:.0f} % of {peak.flops / 1e12:.3g} TFLOP/s ({peak.source})",
        f"time                  {hours:.2f} h on one such device, {hours / many:.2f} h on {many} if they are {many} "
        f"times as fast; reading videos and validation not counted",
    ]
    if offer.price:
        lines.append(f"cost                  {hours * offer.price:.2f} at {offer.price:.2f} a device and hour")
    return "\n".join(lines)


def memory_lines(trained: int, frozen: int, devices: int, clips: int, clip_bytes: float) -> list[str]:
    """A row a ZeRO stage, GiB on one of the devices."""
    heads = ("weights", "gradients", "optimizer", "activations", "all")
    lines = [f"{f'memory of 1 of {devices} (GiB)':<22}" + "".join(f"{head:>12}" for head in heads)]
    choices: list[tuple[str, dict[str, Any]]] = [(f"ZeRO {stage}", {"stage": stage}) for stage in range(4)]
    choices += [(f"ZeRO {stage}, offloaded", {"stage": stage, "offload": True}) for stage in (2, 3)]
    for name, choice in choices:
        need = device_memory(trained=trained, frozen=frozen, devices=devices, activations=clips * clip_bytes, **choice)
        row = (need.weights, need.gradients, need.optimizer, need.activations, need.total)
        lines.append(f"  {name:<20}" + "".join(f"{value / GIB:>12.3f}" for value in row))
    return [*lines, f"  activations of {clips} clips at once, {clip_bytes / 2**20:.1f} MiB each"]
