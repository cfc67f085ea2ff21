"""What a step will take, told before the first one: a process that runs out of memory is killed without a word."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from captioner.config import Config
from captioner.errors import ConfigError
from captioner.model.captioner import EmotionCaptioner
from captioner.train.engine import Engine, pick_precision
from captioner.train.plan import GIB, DeviceMemory, device_memory, noise_batch, saved_bytes
from captioner.train.processes import Processes

log = logging.getLogger(__name__)

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))  # of a container
SPARE = 0.9  # of the free memory that a step may take: what computes also needs room


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a step takes beside the weights, which are there already, and bytes that are free."""

    fixed: float  # gradients and moments
    clip: float  # activations of a clip
    clips: int
    free: float

    @property
    def needed(self) -> float:
        """All that the step takes."""
        return self.fixed + self.clip * self.clips

    @property
    def fitting(self) -> int:
        """Clips of a process that fit."""
        return max(0, int((SPARE * self.free - self.fixed) / max(self.clip, 1.0)))


def settle_batch(config: Config, processes: int) -> int:
    """The clips of a micro-batch of all processes: `train.batch`, or so many a process."""
    train = config.train
    batch = train.batch_per_device * processes if train.batch_per_device else train.batch
    if batch < processes:
        raise ConfigError(
            f"train.batch is {batch} for {processes} processes: give each at least one clip, or start fewer processes"
        )
    return batch


def foretell_step(config: Config, model: EmotionCaptioner, engine: Engine) -> StepMemory:
    """Measure a clip of noise, compare with what is free; a ConfigError says what would fit."""
    processes, train = engine.processes, config.train
    step = measure_step(config, model, engine)
    log.info(
        "a step of %d clips a process takes about %.2f GiB, %.2f are free", step.clips, step.needed / GIB,
        step.free / GIB,
    )  # fmt: skip
    if step.needed <= step.free or not train.foretell:
        return step
    if step.fitting:
        steps = -(-train.batch * train.accumulate // (step.fitting * processes.size))
        advice = f"train.batch_per_device={step.fitting} train.accumulate={steps} fits"
    else:
        advice = "not even one clip fits: take fewer frames or a smaller model"
    raise ConfigError(
        f"a step of {step.clips} clips a process needs about {step.needed / GIB:.1f} GiB (gradients and moments "
        f"{step.fixed / GIB:.1f}, activations {step.clip * step.clips / GIB:.1f}), {step.free / GIB:.1f} are free: "
        f"{advice}; model.video.checkpointing=true needs less, train.foretell=false starts anyhow"
    )


def measure_step(config: Config, model: EmotionCaptioner, engine: Engine) -> StepMemory:
    """The memory of a step by one clip of noise; random states stay as they were."""
    device = engine.device
    devices = [device] if device.type == "cuda" else []
    was_training = model.training
    dtype = pick_precision(config.train.precision, device)
    with torch.random.fork_rng(devices=devices), saved_bytes(model) as total:
        batch = noise_batch(model, config, 1).to(device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            kept = model.train()(batch)
    del kept
    model.train(was_training)
    memory = _kept_memory(model, engine)
    clips = -(-config.train.batch // engine.processes.size)
    return StepMemory(memory.gradients + memory.optimizer, float(total[0]), clips, free_memory(engine.processes))


def _kept_memory(model: EmotionCaptioner, engine: Engine) -> DeviceMemory:
    settings: dict[str, Any] = getattr(engine, "settings", {}).get("zero_optimization", {})
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    offload = "offload_optimizer" in settings and engine.device.type == "cuda"
    return device_memory(int(settings.get("stage", 0)), trained, 0, engine.processes.size, 0.0, offload)


def free_memory(processes: Processes) -> float:
    """Bytes that this process may still take: of its GPU, or its share of the machine's (or container's) memory."""
    if processes.device.type == "cuda":
        return float(torch.cuda.mem_get_info(processes.device)[0])
    found = []
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found.append(1024.0 * int(next(line for line in text.splitlines() if "MemAvailable" in line).split()[1]))
    except (OSError, StopIteration, ValueError):
        pass  # no Linux
    try:
        limit, used = (int(path.read_text(encoding="ascii")) for path in _LIMITS)
        found.append(float(limit - used))
    except (OSError, ValueError):
        pass  # no container, or one without a limit
    return min(found, default=float("inf")) / processes.size
