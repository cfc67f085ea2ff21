"""What public code computed with random weights beside what ours does: AV-CANet's pyramid, librosa's MFCC."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from captioner.emotion.av_canet.pyramid import pyramid_like
from captioner.errors import CheckpointError
from captioner.model.weights import read_weights
from captioner.sound.spectra import mfcc


@torch.no_grad()
def compare_pyramid(folder: Path, heads: int | None = None) -> dict[str, float]:
    """The largest difference of each stream's levels; sizes from the tensors, heads by width // 4 unless given.

    The file holds the public module's tensors as w.NAME, inputs audio and video (B, s, C), outputs audio_levels and
    video_levels (B s, L, C).
    """
    golden = golden_file(folder, "lisf", ("audio", "video", "audio_levels", "video_levels"))
    state = {name[2:]: value for name, value in golden.items() if name.startswith("w.")}
    if heads is None and "heads" in golden:
        heads = int(golden["heads"])
    found = pyramid_like(state, heads)(golden["audio"], golden["video"])
    names = ("audio_levels", "video_levels")
    return {name: _largest(one.flatten(0, 1), golden[name]) for name, one in zip(names, found, strict=True)}


def compare_mfcc(folder: Path, heads: int | None = None) -> dict[str, float]:
    """The largest difference of the coefficients (C, F) of a wave at 44.1 kHz, or at the file's rate."""
    golden = golden_file(folder, "mfcc", ("wave", "mfcc"))
    rate = int(golden["rate"]) if "rate" in golden else 44_100
    return {"mfcc": _largest(mfcc(golden["wave"], rate, len(golden["mfcc"])).T, golden["mfcc"])}


def golden_file(folder: Path, name: str, wanted: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors of a file, or of the folder's first safetensors file whose name begins so and which has them all."""
    files = [folder] if folder.is_file() else sorted(folder.glob(f"{name}*.safetensors")) or sorted(
        folder.glob("*.safetensors")
    )  # fmt: skip
    for path in files:
        tensors = read_weights(path)
        if all(key in tensors for key in wanted):
            return tensors
    raise CheckpointError(f"{folder} has no {name}*.safetensors with {', '.join(wanted)}")


def _largest(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        raise CheckpointError(f"ours has the shape {tuple(ours.shape)}, the golden one {tuple(theirs.shape)}")
    return float((ours - theirs).abs().max())
