"""What a training step sends between host and device, and how often it makes the host wait.

On a GPU torch's profiler tells. Without one both are counted: waits on tensors of the CPU, where an `item()` is one;
copies on tensors of the meta device, which are anywhere but on the host.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from captioner.config import Config
from captioner.model.captioner import EmotionCaptioner
from captioner.train.engine import PlainEngine
from captioner.train.plan import noise_batch

WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select")
COPIES = ("_to_copy", "copy_")


@dataclass
class Traffic:
    """Counts of a step."""

    copies: int = 0
    megabytes: float = 0.0
    waits: int = 0
    source: str = ""


class CountTraffic(TorchDispatchMode):
    """While it is open every operation is looked at."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = Traffic()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in WAITS:
            self.found.waits += 1
        tensors = [each for each in args if isinstance(each, torch.Tensor)]
        if name in COPIES and tensors and isinstance(out, torch.Tensor):
            devices = {each.device.type for each in (*tensors, out)}
            if len(devices) > 1:
                self.found.copies += 1
                self.found.megabytes += out.numel() * out.element_size() / 1e6
        return out


def traffic_of(config: Config, device: torch.device) -> Traffic:
    """Of a step after the first, whose copies stay where they are."""
    torch.manual_seed(0)
    model = EmotionCaptioner(config.model, load=False).train()
    if device.type == "cuda":
        return _profiled(model, config, device)
    copies = _counted(_forward(model.to("meta"), config, torch.device("meta")))
    model = EmotionCaptioner(config.model, load=False).train()
    waits = _counted(_step(model, config, device))
    return Traffic(copies.copies, copies.megabytes, waits.waits, "counted on meta and CPU tensors")


def _counted(work: Callable[[], None]) -> Traffic:
    work()
    counter = CountTraffic()
    with counter:
        work()
    return counter.found


def _forward(model: EmotionCaptioner, config: Config, device: torch.device) -> Callable[[], None]:
    """The encoders and the fusion, forward and backward."""
    batch = noise_batch(model, config, 1).to(device)

    def work() -> None:
        model.see(batch).memory.states.sum().backward()

    return work


def _step(model: EmotionCaptioner, config: Config, device: torch.device) -> Callable[[], None]:
    """A step as the training loop makes it, without its line of log."""
    engine = PlainEngine(model, config.train, device)
    batch = noise_batch(model, config, 1).to(device)
    batch.asked = batch.asked_places()

    def work() -> None:
        losses = engine.losses(batch, False)
        engine.backward(torch.stack(list(losses.live.values())).sum())
        engine.step(1.0)

    return work


def _profiled(model: EmotionCaptioner, config: Config, device: torch.device) -> Traffic:
    work = _step(model.to(device), config, device)
    work()
    torch.cuda.synchronize(device)
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        work()
    events = profile.key_averages()
    copies = sum(e.count for e in events if e.key.startswith("Memcpy") and ("HtoD" in e.key or "DtoH" in e.key))
    waits = sum(e.count for e in events if e.key in ("cudaStreamSynchronize", "cudaDeviceSynchronize"))
    return Traffic(copies, 0.0, waits, "torch.profiler")
