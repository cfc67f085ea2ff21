"""What every face reader takes and gives: frames in, tracks of faces out, crops of a track on request.

E expression values. Pixel centres are whole numbers in a Sighting, half more in a FaceTrack.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from captioner.errors import CaptionerError
from captioner.faces import warp
from captioner.faces.points import EXPRESSION_NAMES

if TYPE_CHECKING:
    from typing import Self

log = logging.getLogger(__name__)

# Eye centres and mouth centre of an upright face, in distances between the eye centres from their middle.
_UPRIGHT = torch.tensor([[-0.5, 0.0], [0.5, 0.0], [0.0, 1.05]])
_FACE_CENTRE = torch.tensor([0.0, 0.5])
_FACE_SIDE = 2.3  # brows to chin and ear to ear, in distances between the eye centres


class FaceError(CaptionerError):
    """Frames or a backend that a face reader cannot use."""


@dataclass
class FaceTrack:
    """One person through a clip; T frames, boxes and landmarks in pixels, the centre of the first one at (0.5, 0.5).

    boxes (T, 4) x0 y0 x1 y1 = bounds of the landmarks, landmarks (T, 68, 2), present (T,), score (T,) in 0..1,
    expression (T, E) named by `names`. Where a face is not present, boxes and landmarks are those of the nearest
    frame where it is, score and expression are 0. `dominance` orders the people of a clip, largest first.
    """

    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    present: NDArray[np.bool_]
    score: NDArray[np.float32]
    expression: NDArray[np.float32]
    dominance: float = 0.0
    names: tuple[str, ...] = field(default=EXPRESSION_NAMES, repr=False)

    def value(self, name: str) -> NDArray[np.float32]:
        """The course (T,) of one expression value."""
        from captioner.errors import unknown

        if name not in self.names:
            raise FaceError(unknown("expression", name, self.names))
        return self.expression[:, self.names.index(name)]


_COURSES = ("at", "marks", "scores", "values")  # of a Sighting: one entry a frame


@dataclass(eq=False)
class Sighting:
    """One person so far: frames, landmarks (68, 2), odds of a face and values (E,) at each, notes of others."""

    at: list[int] = field(default_factory=list)
    marks: list[NDArray[np.float32]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    values: list[NDArray[np.float32]] = field(default_factory=list)
    notes: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    looks: list[tuple[float, float]] = field(default_factory=list)  # the best crops: how good, log odds of a woman
    offered: int = 0  # how many of the frames somebody has looked at closer

    def end(self) -> int:
        """The latest frame with this person."""
        return max(self.at)

    def part(self, first: int, last: int) -> Self | None:
        """A copy of what was seen in these frames, both included, and the notes nearest to them; None if nothing."""
        within = [place for place, at in enumerate(self.at) if first <= at <= last]
        if not within:
            return None
        part = copy(self)
        for name in _COURSES:
            setattr(part, name, [getattr(self, name)[place] for place in within])
        notes = {at: note for at, note in self.notes.items() if first <= at <= last}
        if self.notes and not notes:
            nearest = min(self.notes, key=lambda at: min(abs(at - first), abs(at - last)))
            notes = {nearest: self.notes[nearest]}
        part.notes, part.looks = notes, list(self.looks)
        return part

    def forget(self, before: int) -> None:
        """Let go of what was seen before a frame, but not of the latest of all."""
        latest = self.end() if self.at else 0
        kept = [place for place, at in enumerate(self.at) if at >= before or at == latest]
        self.offered = sum(place < self.offered for place in kept)
        for name in _COURSES:
            courses = getattr(self, name)
            courses[:] = [courses[place] for place in kept]
        newest = max(self.notes, default=0)
        self.notes = {at: note for at, note in self.notes.items() if at >= before or at == newest}


class Follower(ABC):
    """Takes the frames of a clip one by one."""

    @abstractmethod
    def step(self, frame: NDArray[np.uint8]) -> Sequence[Sighting]:
        """Those seen in the next frame (H, W, 1 or 3), maybe with earlier frames that were looked at again."""

    @abstractmethod
    def finish(self) -> list[Sighting]:
        """Everybody seen, without fleeting errors; values named by EXPRESSION_NAMES."""

    @abstractmethod
    def between(self, first: int, last: int) -> list[Sighting]:
        """The same of these frames alone, both included; following goes on."""

    @abstractmethod
    def forget(self, before: int) -> None:
        """Nobody will ask for the frames before this one."""


class FaceReader:
    """Finds, follows and describes faces; `name` says which backend it is."""

    name: str = ""
    expression_names: tuple[str, ...] = EXPRESSION_NAMES

    def read(self, frames: Any, times: Sequence[float] | None = None) -> list[FaceTrack]:
        """The people in a clip, most dominant first; empty where there is none.

        frames: uint8 (T, H, W, 3), or grey (T, H, W) or (T, H, W, 1), or with alpha (T, H, W, 4), or one picture.
        times: seconds of the frames, where they are not evenly spaced.
        """
        clip = as_clip(frames)
        if times is not None and len(times) != len(clip):
            raise FaceError(f"{len(times)} times for {len(clip)} frames; give one time a frame, or none")
        if not len(clip) or min(clip.shape[1:3]) < 4:
            return []
        tracks = self._read(clip, None if times is None else np.asarray(times, np.float64))
        return sorted(tracks, key=lambda track: -track.dominance)

    def follower(self, times: NDArray[np.float64] | None = None, still: bool = False) -> Follower:
        """Who takes frames of one clip, at about these seconds; `still`: there will be one only."""
        raise NotImplementedError(f"the {self.name} face reader takes whole clips")

    def _read(self, clip: NDArray[np.uint8], times: NDArray[np.float64] | None) -> list[FaceTrack]:
        """Tracks, in any order, of frames (T, H, W, C)."""
        follower = self.follower(times, len(clip) == 1)
        for frame in clip:
            follower.step(frame)
        size = (clip.shape[1], clip.shape[2])
        return [
            make_track(len(clip), size, seen.at, np.stack(seen.marks) + 0.5, seen.scores, seen.values)
            for seen in follower.finish()
        ]

    def crops(self, frames: Any, track: FaceTrack, size: int = 224, margin: float = 0.3) -> NDArray[np.uint8]:
        """The face of a track in every frame, upright and at one size: uint8 (T, S, S, 3).

        Aligned by the similarity that lays eyes and mouth on fixed places; `margin` is what is shown around the
        face, as a fraction of it. Where the face is not present, the place where it last was (or first will be).
        """
        clip = as_clip(frames)
        if len(clip) != len(track.present):
            raise FaceError(
                f"{len(clip)} frames, but the track has {len(track.present)}; give the frames it was read from"
            )
        if size < 8:
            raise FaceError(f"crop size {size} is too small; give at least 8 pixels")
        maps = upright_maps(track.landmarks - 0.5, margin)  # to pixel centres at whole numbers
        out = np.empty((len(clip), size, size, 3), np.uint8)
        for t, frame in enumerate(clip):
            colour = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)
            crop = warp.cut_crops(colour, maps[t : t + 1], size)[0].round().clamp(0, 255).byte()
            out[t] = crop.expand(3, -1, -1).permute(1, 2, 0).numpy()
        return out


def upright_maps(landmarks: NDArray[np.float32], margin: float) -> torch.Tensor:
    """Maps (T, 2, 3) from aligned coordinates of an upright crop to pixels, from landmarks (T, 68, 2)."""
    points = torch.from_numpy(np.asarray(landmarks, np.float32))
    three = torch.stack([points[:, 36:42].mean(1), points[:, 42:48].mean(1), points[:, 48:68].mean(1)], dim=1)
    place = (_UPRIGHT - _FACE_CENTRE) / (_FACE_SIDE * (1 + margin))
    maps = warp.fit_similarity(place.expand_as(three), three)
    # A profile brings the eyes together; the crop must not shrink with them.
    spread = (points.amax(1) - points.amin(1)).amax(1)
    least = spread * (1 + margin) * 0.8
    scale = maps[:, :, 0].norm(dim=1).clamp_min(1e-6)
    grow = (least / scale).clamp_min(1.0)
    return torch.cat([maps[:, :, :2] * grow[:, None, None], maps[:, :, 2:]], dim=2)


def as_clip(frames: Any) -> NDArray[np.uint8]:
    """Frames as uint8 (T, H, W, 1 or 3): grey stays grey, alpha is dropped, one picture becomes a clip of one."""
    array = frames.numpy() if isinstance(frames, torch.Tensor) else np.asarray(frames)
    if array.dtype != np.uint8:
        raise FaceError(f"frames are {array.dtype}; wanted uint8 0..255 (T, H, W, 3); scale floats by 255 and convert")
    if array.ndim == 3 and array.shape[2] in (3, 4):
        array = array[None]
    elif array.ndim in (2, 3):
        array = array.reshape(-1, *array.shape[-2:])[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4):
        raise FaceError(f"frames have shape {array.shape}; wanted (T, H, W, 3), grey (T, H, W) or alpha (T, H, W, 4)")
    return array[..., :3]


def make_track(
    count: int, frame: tuple[int, int], at: Sequence[int], marks: Sequence[NDArray[np.float32]] | NDArray[np.float32],
    scores: Sequence[float], values: Sequence[NDArray[np.float32]] | NDArray[np.float32],
) -> FaceTrack:  # fmt: skip
    """A track over `count` frames (height, width) from what was seen at some of them."""
    order = np.argsort(at)
    seen = np.asarray(at, np.int64)[order]
    stack = np.stack([np.asarray(marks[i], np.float32) for i in order])
    nearest = np.abs(np.arange(count)[:, None] - seen[None]).argmin(1)
    landmarks = stack[nearest]
    present = np.zeros(count, bool)
    present[seen] = True
    score, expression = np.zeros(count, np.float32), np.zeros((count, len(EXPRESSION_NAMES)), np.float32)
    score[seen] = [scores[i] for i in order]
    expression[seen] = np.stack([values[i] for i in order])
    boxes = np.concatenate([landmarks.min(1), landmarks.max(1)], axis=1).astype(np.float32)
    return FaceTrack(boxes, landmarks, present, score, expression, dominance_of(boxes, score, frame))


def dominance_of(boxes: NDArray[np.float32], score: NDArray[np.float32], frame: tuple[int, int]) -> float:
    """Size, how central, how long, how sure (0 where absent): the mean over frames (T, 4), (T,) of their product."""
    height, width = frame
    side = np.sqrt(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1) / (height * width))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / np.array([width, height]) - 0.5
    central = np.exp(-((centre[:, 0] / 0.4) ** 2 + (centre[:, 1] / 0.5) ** 2) / 2)
    return float(np.mean(side * central * score))
