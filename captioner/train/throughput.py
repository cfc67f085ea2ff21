"""How fast a run is: clips a second, the share of time spent waiting for data, the share of the arithmetic used.

FLOPs are those that the model needs (forward once, backward twice as many; what is recomputed to save memory is not
counted), so the share is the model's FLOPs utilisation.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from captioner.model.batch import Batch
from captioner.model.captioner import EmotionCaptioner

log = logging.getLogger(__name__)

# Dense 16-bit TFLOP/s by the makers' data sheets; the first name that a GPU's name contains counts.
_SHEETS: tuple[tuple[str, float], ...] = (
    ("B200", 2250.0), ("H200", 989.0), ("H100 PCIe", 756.0), ("H100", 989.0), ("A100", 312.0), ("A40", 149.7),
    ("A30", 165.0), ("A10", 125.0), ("L40S", 362.0), ("L40", 181.0), ("L4", 121.0), ("RTX 4090", 165.2),
    ("RTX 3090", 71.0), ("V100", 125.0), ("T4", 65.0),
)  # fmt: skip


@dataclass(frozen=True)
class Peak:
    """Arithmetic of one device: FLOP/s, and where the number is from."""

    flops: float
    source: str


def peak_of(device: torch.device, dtype: torch.dtype) -> Peak:
    """By data sheet for 16 bits on a known GPU, else the speed of a large matrix product here (seconds at most)."""
    if device.type == "cuda" and dtype != torch.float32:
        name = torch.cuda.get_device_name(device)
        for part, tera in _SHEETS:
            if part in name:
                return Peak(tera * 1e12, f"{name}, data sheet")
    side = 8192 if device.type == "cuda" else 768
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        factor = torch.full((side, side), 0.5, device=device, dtype=dtype)
        best = 0.0
        for _ in range(4):
            synchronise(device)
            began = time.perf_counter()
            torch.mm(factor, factor)
            synchronise(device)
            best = max(best, 2 * side**3 / (time.perf_counter() - began))
    return Peak(best, f"{device.type}, matrix product measured")


def synchronise(device: torch.device) -> None:
    """Wait for a GPU's queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Work:
    """Forward FLOPs of one clip: parts that are trained, and parts that only run."""

    trained: float
    frozen: float

    @property
    def step(self) -> float:
        """FLOPs of a training step for each clip."""
        return 3 * self.trained + self.frozen


def work_of(model: EmotionCaptioner, batch: Batch) -> Work:
    """Count a forward pass over a batch; weights, gradients and random states are left as they were."""
    counter = FlopCounterMode(display=False)
    devices = [batch.frames.device] if batch.frames.is_cuda else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices), counter:
        model(batch)
    counts = {name: sum(part.values()) for name, part in counter.get_flop_counts().items()}
    root = type(model).__name__
    still = 0
    for name in ("video", "text", "experts"):
        part = getattr(model, name, None)
        if isinstance(part, nn.Module) and not any(p.requires_grad for p in part.parameters()):
            still += counts.get(f"{root}.{name}", 0)
    clips = len(batch.frames)
    return Work((counts.get("Global", 0) - still) / clips, still / clips)


@dataclass
class Meter:
    """Times the loop between two reports."""

    step_flops: float = 0.0
    """FLOPs of a clip's step; 0: utilisation is not reported."""
    peak: float = 0.0
    """FLOP/s of all devices together."""
    clips: int = 0
    waited: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def start(self) -> None:
        """Forget what was counted."""
        self.clips, self.waited, self.began = 0, 0.0, time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time in here is spent waiting for data."""
        began = time.perf_counter()
        yield
        self.waited += time.perf_counter() - began

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches, the wait for each counted."""
        while True:
            with self.waiting():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def report(self) -> dict[str, float]:
        """clips_per_second, data_wait and, where known, utilisation since the last report; starts anew."""
        seconds = max(time.perf_counter() - self.began, 1e-9)
        rates = {"clips_per_second": self.clips / seconds, "data_wait": min(1.0, self.waited / seconds)}
        if self.step_flops and self.peak:
            rates["utilisation"] = rates["clips_per_second"] * self.step_flops / self.peak
        self.start()
        return rates


def compile_encoders(model: EmotionCaptioner) -> None:
    """Compile encoders and the layers of the fusion in place; names of weights stay."""
    for name in ("video", "text"):
        part = getattr(model, name, None)
        if isinstance(part, nn.Module):
            part.compile()
            log.info("%s encoder: compiled at its first batch", name)
    for layer in model.fusion.layers:
        layer.compile(dynamic=True)  # captions are of any length
