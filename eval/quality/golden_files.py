"""Files of goldens, and how far two tensors are apart."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from captioner.errors import CheckpointError
from captioner.files import missing


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest absolute difference; shapes must agree, and a number that is none is infinitely far."""
    if ours.shape != theirs.shape:
        raise CheckpointError(f"ours has shape {tuple(ours.shape)}, the golden {tuple(theirs.shape)}")
    difference = (ours - theirs).abs()
    return float("inf") if bool(difference.isnan().any()) else float(difference.max())


def golden_file(folder: Path, pattern: str) -> Path:
    """The one file of a pattern in a folder of goldens."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        fault = missing(folder / pattern) if not found else f"{len(found)} files {pattern} in {folder}"
        raise CheckpointError(f"{fault}: a folder of goldens holds one")
    return found[0]
