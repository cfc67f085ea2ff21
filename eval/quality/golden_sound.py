"""What public code computed with random weights beside what ours does: AV-CANet's pyramid, librosa's MFCC."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from captioner.emotion.av_canet.pyramid import pyramid_like
from captioner.errors import CheckpointError
from captioner.model.weights import read_weights
from captioner.sound.spectra import mfcc
from eval.quality.golden_files import golden_file, largest_difference

LISF, MFCC = "lisf*.safetensors", "mfcc*.safetensors"


@torch.no_grad()
def compare_pyramid(folder: Path, heads: int | None = None) -> dict[str, float]:
    """The largest difference of each stream's levels; sizes from the tensors, heads by width // 4 unless given.

    The file holds the public module's tensors as w.NAME, inputs audio and video (B, s, C), outputs audio_levels and
    video_levels (B s, L, C).
    """
    names = ("audio_levels", "video_levels")
    golden = _tensors(folder, LISF, ("audio", "video", *names))
    state = {name[2:]: value for name, value in golden.items() if name.startswith("w.")}
    heads = int(golden["heads"]) if heads is None and "heads" in golden else heads
    net = pyramid_like(state, heads).double()  # so that what rounds is the golden alone
    found = net(golden["audio"].double(), golden["video"].double())
    return {name: largest_difference(one.flatten(0, 1), golden[name]) for name, one in zip(names, found, strict=True)}


def compare_mfcc(folder: Path) -> dict[str, float]:
    """The largest difference of the coefficients (C, F) of a wave at 44.1 kHz, or at the file's rate."""
    golden = _tensors(folder, MFCC, ("wave", "mfcc"))
    rate = int(golden["rate"]) if "rate" in golden else 44_100
    return {"mfcc": largest_difference(mfcc(golden["wave"], rate, len(golden["mfcc"])).T, golden["mfcc"])}


def _tensors(folder: Path, pattern: str, wanted: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors of the folder's one file of that name, or of the file itself."""
    path = folder if folder.is_file() else golden_file(folder, pattern)
    tensors = read_weights(path)
    lacking = [key for key in wanted if key not in tensors]
    if lacking:
        raise CheckpointError(f"{path} is no golden of its kind: {', '.join(lacking)} is missing")
    return tensors
