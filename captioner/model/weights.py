"""Weights into a network: from a safetensors file, strictly; from a model of transformers, where it can be had."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from captioner.errors import CheckpointError

log = logging.getLogger(__name__)


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


def pretrained_or(name: str, kind: Any, scratch: Callable[[], nn.Module], key: str, **changes: float) -> nn.Module:
    """The named model of a transformers class, or `scratch()` with one line of log when it cannot be had.

    `changes` replace values of the named model's configuration.
    """
    if not name:
        return scratch()
    try:
        module: nn.Module = kind.from_pretrained(name, **changes)
        return module
    except (OSError, ValueError) as error:
        cause = str(error).strip().splitlines()[0]
        log.warning("%s=%s cannot be loaded (%s): starting from random weights", key, name, cause)
        return scratch()
