"""The dominant face of a video as the recogniser looks at it: upright, grey, one size, in every frame.

Axes: T frames, S pixels, C channels of a face tower's trunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from captioner.config import ExpertsConfig
from captioner.emotion.vision import FaceTower
from captioner.faces import FaceReader, open_reader
from captioner.faces.crops import MARGIN, READ_SIDE, reader_version
from captioner.store import Kept, weights_hash
from captioner.video import LUMA
from captioner.video.reading import frames_at
from captioner.video.transforms import prepare

__all__ = ["READ_SIDE", "FaceFrames", "TrunkFeatures", "face_frames"]

FORMAT = 1


def face_frames(frames: np.ndarray, size: int, times: Sequence[float] | None = None) -> Tensor:
    """Grey crops uint8 (T, 3, S, S) of the dominant face in frames (T, H, W, 3), cut as the experts' are.

    A frame without the face shows it as it was in the nearest frame with it; without any face, centre squares.
    """
    first, back = _distinct(frames)
    distinct = frames[first]
    tracks = _reader().read(distinct, None if times is None else [times[i] for i in first])
    if tracks:
        shown = np.flatnonzero(tracks[0].present)
        nearest = shown[np.abs(np.arange(len(first))[:, None] - shown).argmin(1)]
        colour = torch.from_numpy(_reader().crops(distinct, tracks[0], size, MARGIN)[nearest]).permute(0, 3, 1, 2)
    else:
        colour = prepare(distinct, size)
    grey = (colour.float() * torch.tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True).round().byte()
    return grey.expand(-1, 3, -1, -1)[torch.from_numpy(back)].contiguous()


def _distinct(frames: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Places of frames that differ from the one before them, and for each frame (T,) which of these it is."""
    news = [i == 0 or not np.array_equal(frames[i], frames[i - 1]) for i in range(len(frames))]
    return [i for i, new in enumerate(news) if new], np.cumsum(news) - 1


@cache
def _reader() -> FaceReader:
    return open_reader("builtin")


class FaceFrames(Kept[Tensor]):
    """Face crops of videos at evenly spread seconds, uint8 (T, 3, S, S), one file a video.

    Reading faces takes longest by far: pairs and recognisers of one size share these files.
    """

    name = "faces"

    def __init__(self, folder: str | Path, size: int, count: int) -> None:
        self.size, self.count = size, count
        settings = {"format": FORMAT, "faces": size, "count": count, "margin": MARGIN, "side": READ_SIDE}
        super().__init__(folder, settings | {"reader": reader_version(ExpertsConfig())})

    def compute(self, video: Path) -> Tensor:
        """Crops at the centres of `count` equal parts."""
        seconds: list[np.ndarray] = []

        def centres(duration: float) -> np.ndarray:
            seconds.append((np.arange(self.count) + 0.5) * duration / self.count)
            return seconds[0]

        frames = frames_at(video, centres, READ_SIDE)
        return face_frames(frames, self.size, seconds[0].tolist())

    def pack(self, result: Tensor) -> dict[str, Tensor]:
        """One grey channel."""
        return {"faces": result[:, 0].contiguous()}

    def unpack(self, tensors: dict[str, Tensor]) -> Tensor:
        """The inverse of `pack`."""
        return tensors["faces"][:, None].expand(-1, 3, -1, -1)


class TrunkFeatures(Kept[Tensor]):
    """What the frozen trunks of a face tower say of these crops, (T, C), one entry a video."""

    name = "trunks"

    def __init__(self, folder: str | Path, size: int, count: int, tower: FaceTower) -> None:
        self.faces, self.tower = FaceFrames(folder, size, count), tower
        settings = {"faces": self.faces.settings, "weights": weights_hash(tower.vision_model)}
        super().__init__(folder, settings, self.faces.hashes)

    def compute(self, video: Path) -> Tensor:
        """From crops that are kept, or read now."""
        device = next(self.tower.parameters()).device
        return self.tower.trunks(self.faces.load(video).to(device)).cpu()
