"""Weights into a network, strictly: from a safetensors file, from a model of transformers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from captioner.errors import CheckpointError


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; a truncated or foreign file is named."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or no safetensors file ({error}): copy or download it again"
        ) from None


def fill(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy a state into a model; every name and shape must match, shared tensors are read once."""
    wanted = model.state_dict()
    aliases: dict[int, list[str]] = {}
    for name, value in wanted.items():
        aliases.setdefault(value.data_ptr() if value.numel() else id(value), []).append(name)
    groups = {name: group for group in aliases.values() for name in group}
    missing = [n for n in wanted if not any(alias in state for alias in groups[n])]
    strange = [n for n in state if n not in wanted]
    shapes = [n for n in state if n in wanted and state[n].shape != wanted[n].shape]
    faults = []
    if missing:
        faults.append(f"{len(missing)} tensors missing ({', '.join(missing[:3])})")
    if strange:
        faults.append(f"{len(strange)} unknown ({', '.join(strange[:3])})")
    if shapes:
        first = shapes[0]
        given, needed = tuple(state[first].shape), tuple(wanted[first].shape)
        faults.append(f"{len(shapes)} of another shape ({first}: {given}, needed {needed})")
    if faults:
        raise CheckpointError(
            f"{source} does not fit this architecture: {'; '.join(faults)}; check its config.json"
        )
    with torch.no_grad():
        for name, value in state.items():
            wanted[name].copy_(value)


def pretrained_model(name: str, kind: Any, scratch: Callable[[], nn.Module], key: str, **changes: float) -> nn.Module:
    """The named model of a transformers class, every weight of it from there; `scratch()` where no name is given.

    `changes` replace values of the named model's configuration.
    """
    if not name:
        return scratch()
    net, gaps = named_model(name, kind, key, **changes)
    if gaps:
        raise CheckpointError(
            f"{key}={name} lacks {len(gaps)} of the weights ({', '.join(gaps[:3])}): {_advice(key)}"
        )
    return net


def named_model(name: str, kind: Any, key: str, **changes: float) -> tuple[nn.Module, list[str]]:
    """The named model, and which of its weights were not there and are random."""
    try:
        module, report = kind.from_pretrained(name, output_loading_info=True, **changes)
    except (OSError, ValueError, RuntimeError) as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{key}={name} cannot be loaded ({cause}): {_advice(key)}") from None
    return module, sorted(str(each) for each in report["missing_keys"])


def _advice(key: str) -> str:
    return f'name a folder with its config.json and model.safetensors, or set {key}="" for random weights'
