"""A clip for a captioner that holds its words against what was measured: decoded once, its people followed once.

    source -> pictures, ten a second -> Watch (who is there, what they do) -> FaceReadings
                                     \\> Chooser (those that encoder and prior take) -> Pictures, FaceTracks -> ReadClip

The sampled pictures are those of the ten a second that lie nearest to the seconds at which `read_inputs` looks, and the
tracks in them are parts of the dense ones. Nothing that is kept grows with the length of a video but readings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from captioner.config import ModelConfig
from captioner.data.face_readings import RATE, DenseReader, Footage, Watch, filmed
from captioner.data.inputs import Pictures, ReadClip, assemble, input_sides, prior_of, samplings
from captioner.emotion.looking import Span
from captioner.faces import FaceTrack
from captioner.faces.crops import READ_SIDE, PersonTracks
from captioner.faces.face_reading import FaceReading, FaceReadings
from captioner.video.reading import Clip, Shown
from captioner.video.sampling import Sampling, ends_early, leeway, wanted_seconds
from captioner.video.shots import pieces
from captioner.video.source import VideoSource

if TYPE_CHECKING:
    from captioner.emotion.prior import EmotionPrior


def read_once(
    source: Any,
    config: ModelConfig,
    dense: DenseReader,
    *,
    start: float = 0.0,
    end: float | None = None,
    fps: float = 25.0,
    people: int = 0,
    keep: bool = False,
) -> ReadClip:
    """What `read_inputs` gives of a clip, with the readings of everybody in it."""
    opened = source if isinstance(source, np.ndarray | Tensor | VideoSource) else VideoSource(source)
    prior = prior_of(config)
    wanted = samplings(config, _sides(config, keep), prior)
    shown = filmed(opened, start, end, fps)
    first = next(shown)
    chooser, watch = Chooser(wanted, first, start, end), dense.watch(Footage.of(first))
    for one in chain([first], shown):
        chooser.take(one)
        watch.see(one.second, one.at(READ_SIDE))
    clips = chooser.finish()
    found = max(float(clip.times[-1]) for row in clips for clip in row)
    if ends_early(first.source, (start, found, chooser.last), first):
        stop = found + 1 / first.fps
        return read_once(opened, config, dense, start=start, end=stop, fps=fps, people=people, keep=keep)
    readings, pictures = watch.finish(), Pictures.of(clips, wanted, prior, Span(source, start, end))
    followed = people_at(readings, pictures, prior)
    times = pictures.first.times
    span = (float(times[0]), float(times[-1]))
    clip = assemble(pictures, config, prior, span, followed, people=people, keep=keep)
    return replace(clip, readings=readings)


def read_windows_once(
    source: Any,
    config: ModelConfig,
    dense: DenseReader,
    seconds: float,
    *,
    people: int = 0,
    keep: bool = False,
    after: tuple[float, float] | None = None,
) -> Iterator[ReadClip]:
    """What `read_windows` gives, with the readings of everybody in each window; a shot is followed from its start."""
    shot, done = after or (0.0, -1.0)
    prior = prior_of(config)
    wanted = samplings(config, _sides(config, keep), prior)
    watches: list[Watch] = []  # that of the shot

    def see(shown: Shown, fresh: bool) -> None:
        if fresh or not watches:
            watches[:] = [dense.watch(Footage.of(shown))]
        watches[0].see(shown.second, shown.at(READ_SIDE))

    for piece in pieces(source, seconds, wanted, shot, see):
        readings = watches[0].between(piece.start, piece.end)
        watches[0].forget(piece.end)
        if piece.end > done:
            pictures = Pictures.of(piece.clips, wanted, prior, Span(source, piece.start, piece.end))
            followed = people_at(readings, pictures, prior)
            clip = assemble(pictures, config, prior, (piece.start, piece.end), followed, people=people, keep=keep)
            yield replace(clip, shot=piece.shot, readings=readings)


def _sides(config: ModelConfig, keep: bool) -> list[int]:
    """The short edges that are wanted of the sampled pictures, that of the face reader among them."""
    return list(dict.fromkeys([*input_sides(config, None, 0, keep), READ_SIDE]))


class Chooser:
    """Takes the pictures that samplings want out of those that come by: the nearest to each wanted second."""

    def __init__(self, wanted: Sequence[Sampling], first: Shown, start: float, end: float | None) -> None:
        self.wanted, self.first = wanted, first
        self._rows = wanted_seconds(wanted, first, min(start, first.last), end)
        self._leeway = leeway(1 / RATE, first.fps)
        asked: dict[float, list[int | None]] = {}
        for row, each in zip(self._rows, wanted, strict=True):
            for second in row.tolist():
                asked.setdefault(second, []).extend(each.sides)
        self._waiting = sorted(asked.items(), reverse=True)
        self._chosen: dict[float, Shown] = {}
        self._before: Shown | None = None

    @property
    def last(self) -> float:
        """The last second that is wanted."""
        return max(float(row[-1]) for row in self._rows)

    def take(self, shown: Shown) -> None:
        """The next picture; it may turn out that the one before it is wanted."""
        while self._before is not None and self._waiting and self._waiting[-1][0] + self._leeway < shown.second:
            self._choose(self._before)
        self._before = shown

    def finish(self) -> list[list[Clip]]:
        """For each sampling a clip at each of its short sides."""
        assert self._before is not None
        while self._waiting:
            self._choose(self._before)
        first, clips = self.first, []
        for row, each in zip(self._rows, self.wanted, strict=True):
            shown = [self._chosen[second] for second in row.tolist()]
            times = np.array([one.second for one in shown])
            stacks = [np.stack([one.pictures[side] for one in shown]) for side in each.sides]
            clips.append([Clip(pixels, times, first.source, first.fps, first.duration) for pixels in stacks])
        return clips

    def _choose(self, shown: Shown) -> None:
        second, sides = self._waiting.pop()
        pictures = {side: shown.at(side) for side in sides}
        self._chosen[second] = replace(shown.held(), pictures=pictures)


def people_at(readings: FaceReadings, pictures: Pictures, prior: EmotionPrior | None) -> list[PersonTracks]:
    """The people of readings in the sampled pictures and, where it looks at faces, in those of the prior."""
    clip = pictures.sampled[READ_SIDE]
    beside = pictures.prior if prior is not None and prior.reads_faces else None
    everybody = [
        PersonTracks(
            _track_at(person, readings.size, clip), None if beside is None else _track_at(person, readings.size, beside)
        )
        for person in readings
    ]
    return sorted(everybody, key=lambda person: not person.sampled.present.any())


def _track_at(person: FaceReading, size: tuple[int, int], clip: Clip) -> FaceTrack:
    """What a reading knows of pictures of a clip, all of which it was made from; size: (width, height) of the video."""
    places: NDArray[np.int64] = np.searchsorted(person.times, clip.times + 1e-6, side="right") - 1
    inside = (places >= 0) & (clip.times <= person.times[-1] + 1e-6)
    places = places.clip(0)
    present = person.success[places] & inside
    height, width = clip.frames.shape[1:3]
    scale = np.array([width / size[0], height / size[1]], np.float32)
    landmarks = (person.landmarks[places] * scale).astype(np.float32)
    boxes = np.concatenate([landmarks.min(1), landmarks.max(1)], axis=1)
    score = person.confidence[places] * present
    expression = person.expression[places] * present[:, None]
    return FaceTrack(boxes, landmarks, present, score, expression, person.dominance)
