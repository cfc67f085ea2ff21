"""One frame from each of T equal parts of a video, one crop for all of them, and frame features kept on disk.

Axes: T segments, F candidate frames of a segment, S pixels, E width of frame features.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from captioner.emotion.clip.vision import FaceTower, VisionTower
from captioner.emotion.face_frames import READ_SIDE, TrunkFeatures, face_frames
from captioner.emotion.pe_clip.pe_clip_config import PEClipConfig
from captioner.store import Kept, weights_hash
from captioner.video.reading import frames_at
from captioner.video.sampling import middles
from captioner.video.transforms import crop, resize_short

log = logging.getLogger(__name__)

FORMAT = 1
SCALE, RATIO = (0.64, 1.0), (3 / 4, 4 / 3)  # of the random crop's area and sides
SPARE = 1.25  # short edge over crop: the smallest crop, 0.64 of the area, is then not enlarged


def segment_seconds(duration: float, segments: int, generator: torch.Generator | None = None) -> np.ndarray:
    """A second (T,) in each of `segments` equal parts: drawn when there is a generator, else the centre."""
    shares = torch.full((segments,), 0.5) if generator is None else torch.rand(segments, generator=generator)
    seconds: np.ndarray = (np.arange(segments) + shares.double().numpy()) * duration / segments
    return seconds


def candidate_seconds(duration: float, segments: int, candidates: int) -> np.ndarray:
    """Evenly spread seconds (T * F,), F in each part; the middle one is the part's centre."""
    return middles(duration, segments * candidates)


def crop_box(height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random crop, for all frames of a video alike."""
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for _ in range(10):
        dice = torch.rand(2, generator=generator).tolist()
        area = height * width * (SCALE[0] + dice[0] * (SCALE[1] - SCALE[0]))
        ratio = math.exp(low + dice[1] * (high - low))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(height - h + 1, (), generator=generator))
            left = int(torch.randint(width - w + 1, (), generator=generator))
            return top, left, h, w
    side = min(height, width)  # a very long picture has no such crop: its centre square
    return (height - side) // 2, (width - side) // 2, side, side


def random_crop(frames: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """uint8 (T, 3, h, w) -> (T, 3, S, S), one random box for all frames."""
    top, left, height, width = crop_box(frames.shape[-2], frames.shape[-1], generator)
    crops: Tensor = TF.resized_crop(frames, top, left, height, width, [size, size], antialias=True)
    return crops


def read_frames(
    video: str | Path | BinaryIO,
    size: int,
    segments: int,
    candidates: int = 1,
    generator: torch.Generator | None = None,
    *,
    start: float = 0.0,
    end: float | None = None,
    face: bool = False,
) -> Tensor:
    """uint8 (T * F, 3, S, S); with a generator random seconds and a random crop, else centres and the centre square.

    With `face`, of the dominant face instead of the picture. A video with fewer frames than segments shows each of
    them as long as it lasts, so frames repeat.
    """
    seconds = np.empty(0)

    def choose(duration: float) -> np.ndarray:
        nonlocal seconds
        if generator is not None:
            seconds = segment_seconds(duration, segments, generator)
        else:
            stop = duration if end is None else min(end, duration)
            seconds = start + candidate_seconds(max(0.0, stop - start), segments, candidates)
        return seconds

    side = size if generator is None else math.ceil(SPARE * size)
    pictures = frames_at(video, choose, READ_SIDE if face else side)
    sized = face_frames(pictures, side, seconds.tolist()) if face else resize_short(pictures, side)
    if generator is None:
        return crop(sized, size).contiguous()
    return random_crop(sized, size, generator)


class FrameFeatures(Kept[Tensor]):
    """Features of videos (T, F, E) at the centre crop, one entry a video; they change with the image tower."""

    name = "clip"
    tensor = "features"

    def __init__(self, folder: str | Path, config: PEClipConfig, vision: VisionTower, candidates: int) -> None:
        self.config, self.vision, self.candidates = config, vision, candidates
        settings = {
            "format": FORMAT,
            "segments": config.segments,
            "candidates": candidates,
            "crop": config.crop,
            "clip": asdict(config.clip) | {"source": "", "vocab_size": 0},
            "weights": weights_hash(vision),
        }
        self.trunks: TrunkFeatures | None = None
        if isinstance(vision.net, FaceTower):
            count = config.segments * candidates
            self.trunks = TrunkFeatures(folder, config.clip.image_size, count, vision.net)
        super().__init__(folder, settings)

    def compute(self, video: Path) -> Tensor:
        """(T, F, E) of the segments' centres."""
        device = next(self.vision.parameters()).device
        if self.trunks is not None:
            features = self.vision.project(self.trunks.load(video).to(device)).cpu()
        else:
            size, face = self.config.clip.image_size, self.config.crop == "face"
            frames = read_frames(video, size, self.config.segments, self.candidates, face=face)
            features = self.vision(frames[None].to(device))[0].cpu()
        return torch.unflatten(features, 0, (self.config.segments, self.candidates)).contiguous()
