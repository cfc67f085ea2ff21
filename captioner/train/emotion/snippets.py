"""Snippets drawn anew for training, as AV-CANet's code draws them.

Axes: s snippets, T pictures of each, S pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from captioner.emotion.contract import Wants
from captioner.emotion.looking import SnippetSampling
from captioner.video.reading import read_samples
from captioner.video.transforms import resize_short

CHANGED = 0.3  # of the clips are turned round, tilted or made darker
TILT = 20.0  # degrees at most
DARKEST = 0.5
PLACES = (0.0, 0.0, 0.5, 1.0, 1.0)  # of a square as high as the picture: four corners and the centre


def draw_snippets(video: str | Path, wants: Wants, generator: torch.Generator) -> Tensor:
    """uint8 (s * T, 3, S, S): a random place in each part, one square and one change for the whole clip."""
    places = tuple(torch.rand(wants.segments, generator=generator).tolist())
    sampling = SnippetSampling(
        wants.count, (wants.size,), edges=False, parts=wants.segments, step=wants.step or 1e3, places=places
    )
    frames = read_samples(video, [sampling])[0][0].frames
    return changed(cut_square(frames, wants.size, generator), generator)


def cut_square(frames: np.ndarray, size: int, generator: torch.Generator) -> Tensor:
    """A square as large as the short side, at one of five places: uint8 (N, 3, S, S) of (N, H, W, 3)."""
    shown = resize_short(frames, size)
    share = PLACES[int(torch.randint(len(PLACES), (), generator=generator))]
    top, left = (round(share * (side - size)) for side in shown.shape[-2:])
    return shown[..., top : top + size, left : left + size].contiguous()


def changed(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Now and then one change for all pictures: turned round, tilted, or darker."""
    dice = torch.rand(3, generator=generator).tolist()
    if dice[0] >= CHANGED:
        return frames
    kind = int(dice[1] * 3)
    if kind == 0:
        return frames.flip(-1)
    if kind == 1:
        tilted: Tensor = TF.rotate(frames, TILT * (2 * dice[2] - 1))
        return tilted
    darker: Tensor = (frames.float() * (DARKEST + (1 - DARKEST) * dice[2])).round().byte()
    return darker
