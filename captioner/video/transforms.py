"""Pixels from a decoded clip to what an encoder expects (axes: T frames, H W pixels, S crop)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # Video Swin, and the emotion and action-unit experts
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def resize_short(frames: np.ndarray, size: int) -> Tensor:
    """uint8 (T, H, W, 3) array -> uint8 (T, 3, h, w) tensor whose short edge is `size`."""
    upright = min(frames.strides) > 0  # torch knows no other; frames that are planes in memory stay so
    pixels = torch.from_numpy(frames if upright else np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    height, width = pixels.shape[-2:]
    short = min(height, width)
    if short == size:  # the decoder has resized already
        return pixels
    # As torchvision's resize, whose import loads torch's compiler: the long edge is cut to whole pixels.
    return F.interpolate(pixels, (size * height // short, size * width // short), mode="bilinear", antialias=True)


def crop(frames: Tensor, size: int, train: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """One square window for all frames, (..., h, w) -> (..., S, S): random when training, else the centre."""
    height, width = frames.shape[-2:]
    if min(height, width) < size:
        raise ValueError(f"cannot crop {size} pixels from {height} x {width}; resize first")
    top, left = (height - size) // 2, (width - size) // 2
    if train:
        top = int(torch.randint(height - size + 1, (), generator=generator))
        left = int(torch.randint(width - size + 1, (), generator=generator))
    return frames[..., top : top + size, left : left + size]


def normalise(frames: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """uint8 (..., 3, S, S) -> float32 of the same shape: scaled to [0, 1], then standardised per channel."""
    shift = torch.tensor(mean, device=frames.device).view(3, 1, 1)
    scale = torch.tensor(std, device=frames.device).view(3, 1, 1)
    return (frames.float() / 255 - shift) / scale


def square_frames(frames: np.ndarray, size: int) -> Tensor:
    """uint8 (T, H, W, 3) array -> contiguous uint8 (T, 3, S, S): short edge resized, the centre cut out."""
    return crop(resize_short(frames, size), size).contiguous()
