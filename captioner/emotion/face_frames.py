"""The dominant face of a video as the recogniser looks at it: upright, grey, one size, in every frame.

Axes: T frames, S pixels, C channels of a face tower's trunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from captioner.config import ExpertsConfig
from captioner.emotion.clip.vision import FaceTower
from captioner.faces import FaceTrack
from captioner.faces.crops import MARGIN, READ_SIDE, reader_version, shared_reader
from captioner.store import Kept, weights_hash
from captioner.video import LUMA
from captioner.video.reading import frames_at
from captioner.video.sampling import middles
from captioner.video.transforms import square_frames

__all__ = ["READ_SIDE", "FaceFrames", "TrunkFeatures", "face_frames"]

FORMAT = 1


def face_frames(frames: np.ndarray, size: int, times: Sequence[float] | None = None) -> Tensor:
    """Grey crops uint8 (T, 3, S, S) of the dominant face in frames (T, H, W, 3), who is looked for here."""
    first, back = _distinct(frames)
    distinct = frames[first]
    tracks = shared_reader("builtin").read(distinct, None if times is None else [times[i] for i in first])
    return grey_faces(distinct, tracks[0] if tracks else None, size)[torch.from_numpy(back)].contiguous()


def grey_faces(frames: np.ndarray, track: FaceTrack | None, size: int) -> Tensor:
    """Grey crops uint8 (T, 3, S, S) of a face in frames (T, H, W, 3), cut as the experts' are.

    A frame without the face shows it as it was in the nearest frame with it; without any face, centre squares.
    """
    if track is None or not track.present.any():
        colour = square_frames(frames, size)
    else:
        shown = np.flatnonzero(track.present)
        nearest = shown[np.abs(np.arange(len(frames))[:, None] - shown).argmin(1)]
        crops = shared_reader("builtin").crops(frames, track, size, MARGIN)[nearest]
        colour = torch.from_numpy(crops).permute(0, 3, 1, 2)
    grey = (colour.float() * torch.tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True).round().byte()
    return grey.expand(-1, 3, -1, -1).contiguous()


def _distinct(frames: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Places of frames that differ from the one before them, and for each frame (T,) which of these it is."""
    news = [i == 0 or not np.array_equal(frames[i], frames[i - 1]) for i in range(len(frames))]
    return [i for i, new in enumerate(news) if new], np.cumsum(news) - 1


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
            seconds.append(middles(duration, self.count))
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
