"""Weights into a network, strictly: from a safetensors file, from a model of transformers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from captioner.errors import CheckpointError, said_in_a_line
from captioner.files import SHIPPED

Net = TypeVar("Net", bound=nn.Module)

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # what a network's numbers may be stored in
# The names that safetensors gives what we read; any other is refused.
_KINDS = {
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; a truncated or foreign file is named."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def read_header(path: Path) -> dict[str, Tensor]:
    """What a safetensors file says of its tensors, as tensors without memory (device meta)."""
    found: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                part = file.get_slice(name)
                kind = _KINDS.get(part.get_dtype())
                if kind is None:
                    raise CheckpointError(f"{path} stores {name} as {part.get_dtype()}; allowed: {', '.join(_KINDS)}")
                found[name] = torch.empty(part.get_shape(), dtype=kind, device="meta")
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None
    return found


def _damaged(path: Path, error: Exception) -> CheckpointError:
    cause = said_in_a_line(error)
    return CheckpointError(f"{path} is damaged or no safetensors file ({cause}): copy or download it again")


def check_fit(make: Callable[[], nn.Module], given: Mapping[str, Tensor], source: str) -> None:
    """Refuse tensors, or a header's, that are not those of the network `make` builds, before it takes any memory.

    What we ship is trusted: building without memory loads sympy, which takes a second and 150 MB.
    """
    if Path(source).is_relative_to(SHIPPED):
        return
    try:
        with torch.device("meta"):
            wanted = make().state_dict(keep_vars=True)
    except CheckpointError:
        raise
    except Exception as error:  # whatever sizes that contradict each other make a builder raise
        raise CheckpointError(
            f"{source} describes a network that cannot be built ({said_in_a_line(error)}); check its config.json"
        ) from None
    _compare(wanted, given, source)


def filled(make: Callable[[], Net], given: Path | Mapping[str, Tensor], source: str) -> Net:
    """The network that `make` builds, with the weights of a file, or read; what does not fit is refused before."""
    check_fit(make, read_header(given) if isinstance(given, Path) else given, source)
    net = make()
    fill(net, read_weights(given) if isinstance(given, Path) else given, source)
    return net


def fill(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy a state into a model: names, shapes and kinds must match, numbers be finite; shared tensors come once."""
    wanted = model.state_dict(keep_vars=True)
    _compare(wanted, state, source)
    with torch.no_grad():
        for name, value in state.items():
            wanted[name].copy_(value)
    wrong = [name for name in state if wanted[name].is_floating_point() and not bool(wanted[name].isfinite().all())]
    if wrong:
        raise CheckpointError(
            f"{source} is spoilt: {len(wrong)} tensors hold numbers that are not finite ({', '.join(wrong[:3])}); "
            f"take an earlier checkpoint"
        )


def _compare(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """One line for all names, shapes and kinds of numbers that differ."""
    aliases: dict[int, list[str]] = {}
    for name, value in wanted.items():
        aliases.setdefault(id(value), []).append(name)
    groups = {name: group for group in aliases.values() for name in group}
    missing = [n for n in wanted if not any(alias in given for alias in groups[n])]
    strange = [n for n in given if n not in wanted]
    shapes = [n for n in given if n in wanted and given[n].shape != wanted[n].shape]
    kinds = [n for n in given if n in wanted and not _same_kind(wanted[n].dtype, given[n].dtype)]
    faults = []
    if missing:
        faults.append(f"{len(missing)} tensors missing ({', '.join(missing[:3])})")
    if strange:
        faults.append(f"{len(strange)} unknown ({', '.join(strange[:3])})")
    if shapes:
        first = shapes[0]
        stored, needed = tuple(given[first].shape), tuple(wanted[first].shape)
        faults.append(f"{len(shapes)} of another shape ({first}: {stored}, needed {needed})")
    if kinds:
        first = kinds[0]
        faults.append(
            f"{len(kinds)} of another kind of number ({first}: {given[first].dtype}, needed {wanted[first].dtype})"
        )
    if faults:
        raise CheckpointError(f"{source} does not fit this architecture: {'; '.join(faults)}; check its config.json")


def _same_kind(wanted: torch.dtype, given: torch.dtype) -> bool:
    return given in FLOATS if wanted.is_floating_point else given == wanted


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
