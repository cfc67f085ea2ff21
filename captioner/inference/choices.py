"""What a user may choose for a captioner, checked: its device, and who finds the faces."""

from dataclasses import replace

import torch

from captioner.config import ModelConfig
from captioner.errors import ConfigError, unknown
from captioner.faces import BACKENDS


def pick_device(name: str = "auto") -> torch.device:
    """The device asked for; "auto" takes CUDA, then MPS, then the CPU. An absent one is an error."""
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {name!r}; allowed: auto, cpu, cuda, cuda:N, mps")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not has_mps):
        raise ConfigError(f"device {name!r} is not available on this machine: use --device cpu or auto")
    return torch.device(name)


def lacks_memory(error: Exception) -> bool:
    """Whether an error of torch means that memory is full; on the CPU only its text says so."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def with_reader(config: ModelConfig, faces: str | None, name: str) -> ModelConfig:
    """The model's config with another reader of faces."""
    if faces is None:
        return config
    if faces not in BACKENDS:
        raise ConfigError(unknown("face reader", faces, BACKENDS))
    if config.experts.margin is None:
        raise ConfigError(faceless(name))
    return replace(config, experts=replace(config.experts, reader=faces))  # type: ignore[arg-type]


def faceless(name: str) -> str:
    """One line for a model that cannot tell people apart."""
    return f"model {name!r} looks at whole pictures, not at faces: leave out what asks for people or a face reader"
