"""Frames in memory, sampled as a file would be (axes: T H W C)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from captioner.errors import VideoError
from captioner.video.reading import Clip, read_samples
from captioner.video.sampling import Sampling
from captioner.video.transforms import resize_short


def sample_any(
    source: Any, wanted: Sequence[Sampling], *, start: float = 0.0, end: float | None = None, fps: float = 25.0
) -> list[list[Clip]]:
    """For each sampling of a file, an open file or frames of `fps` in memory a clip at each of its short sides."""
    if isinstance(source, np.ndarray | Tensor):
        return sample_array(source, wanted, fps, start, end)
    return read_samples(source, wanted, start=start, end=end)


def sample_array(
    frames: Any, wanted: Sequence[Sampling], fps: float, start: float, end: float | None
) -> list[list[Clip]]:
    """Of frames uint8 (T, H, W, 3) or (T, H, W) in memory what `read_samples` takes of a file."""
    array = as_frames(frames)
    if fps <= 0 or start < 0 or (end is not None and end <= start):
        raise VideoError(f"fps {fps}, start {start}, end {end}: need > 0, >= 0, > start")
    last, duration = len(array) - 1, len(array) / fps
    first = min(round(start * fps), last)
    stop = last if end is None else max(first, min(last, round(end * fps) - 1))
    until = duration if end is None else min(end, duration)
    clips = []
    for each in wanted:
        seconds = each.seconds(first / fps if each.edges else start, stop / fps, until)
        # what is on screen at these seconds, as with files
        places = np.minimum(np.floor(seconds * fps + 1e-6).astype(int), last)
        unique, back = np.unique(places, return_inverse=True)
        chosen = np.ascontiguousarray(array[unique])
        sized = [resize_short(chosen, side or min(array.shape[1:3])) for side in each.sides]
        pictures = [part.permute(0, 2, 3, 1).numpy()[back] for part in sized]
        clips.append([Clip(part, places / fps, "frames", fps, duration) for part in pictures])
    return clips


def as_frames(frames: Any) -> np.ndarray:
    """Frames in memory as uint8 (T, H, W, 3); grey and single ones are welcome, alpha is dropped."""
    array: np.ndarray = frames.cpu().numpy() if isinstance(frames, Tensor) else frames
    if array.ndim == 3 and array.shape[-1] not in (3, 4):
        array = np.repeat(array[..., None], 3, -1)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[-1] not in (3, 4) or not array.size or array.dtype != np.uint8:
        given = f"{array.dtype} of shape {tuple(array.shape)}"
        raise VideoError(f"frames are {given}: uint8 (T, H, W, 3) is needed, RGB, 0 to 255")
    return array[..., :3]
