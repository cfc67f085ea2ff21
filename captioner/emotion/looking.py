"""From whatever holds a clip to the evidence that a recogniser asks for; what it does not want is not decoded.

    look(source, wants, start, end): decoded here;  gather_evidence: from pictures that were decoded before

Axes: T pictures, H W their pixels, S pixels of what is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from captioner.config import ExpertsConfig
from captioner.emotion.contract import Evidence, Wants
from captioner.emotion.face_frames import READ_SIDE, grey_faces
from captioner.emotion.hearing import hear_span, sound_end, words_of_span
from captioner.emotion.persons import body_masks, detected_masks
from captioner.faces import FaceTrack
from captioner.faces.crops import face_tracks
from captioner.video.arrays import sample_any
from captioner.video.reading import Clip
from captioner.video.sampling import Sampling
from captioner.video.transforms import square_frames


@dataclass(frozen=True)
class Span:
    """Seconds of a source; no end: its own."""

    source: Any
    start: float = 0.0
    end: float | None = None
    transcript: str | None = None
    """What is said in it; None: its subtitles, if it has some."""


@dataclass(frozen=True)
class SnippetSampling(Sampling):
    """`step` seconds between the pictures of each of `parts` equal parts, about its middle or another share of it."""

    parts: int = 1
    step: float = 0.04
    places: tuple[float, ...] = ()
    """Of each part's snippet, 0 to 1 of the room that it has; (): in the middle."""

    def seconds(self, start: float, last: float, end: float) -> np.ndarray:
        """The seconds (count,); where a part is shorter than its snippet, the pictures come closer."""
        each = self.count // self.parts
        length = max(0.0, end - start) / self.parts
        step = min(self.step, length / each)
        places = np.array(self.places) if self.places else np.full(self.parts, 0.5)
        firsts = start + np.arange(self.parts) * length + places * (length - step * each) + step / 2
        seconds: np.ndarray = (firsts[:, None] + np.arange(each) * step).ravel()
        return seconds


def sampling_of(wants: Wants) -> Sampling | None:
    """The pictures to decode; None for a recogniser that only listens or reads."""
    if not wants.count:
        return None
    sides = (READ_SIDE if wants.reads_faces or wants.persons else wants.size,)
    if wants.step:
        return SnippetSampling(wants.count, sides, edges=False, parts=wants.segments, step=wants.step)
    return Sampling(wants.count, sides, edges=wants.edges)


def look(
    source: Any,
    wants: Wants,
    start: float = 0.0,
    end: float | None = None,
    *,
    fps: float = 25.0,
    transcript: str | None = None,
) -> Evidence:
    """The evidence in a file, an open file, or frames uint8 (T, H, W, 3) of `fps`, between two seconds."""
    return look_at(source, wants, start, end, fps=fps, transcript=transcript)[0][0]


def look_at(
    source: Any, wants: Wants, start: float = 0.0, end: float | None = None, *, people: int = 0, fps: float = 25.0,
    transcript: str | None = None,
) -> tuple[list[Evidence], int | None]:  # fmt: skip
    """The evidence about all, or about each of the `people` most dominant persons; and how many were seen.

    Where nobody is seen it is about the clip; None where nobody was looked for.
    """
    sampling = sampling_of(wants)
    clip = None if sampling is None else sample_any(source, [sampling], start=start, end=end, fps=fps)[0][0]
    tracks = face_tracks(clip, ExpertsConfig()) if clip is not None and wants.reads_faces else []
    meant: list[int | None] = [*range(min(people, len(tracks)))] or [None]
    span = Span(source, start, end, transcript)
    found = [gather_evidence(clip, wants, tracks, span, person) for person in meant]
    return found, len(tracks) if wants.reads_faces else None


def gather_evidence(
    clip: Clip | None, wants: Wants, tracks: Sequence[FaceTrack], span: Span, person: int | None = None
) -> Evidence:
    """Evidence from pictures as `sampling_of` asks for and the people in them; of one person, or of all.

    Where one face is looked at and no person is meant, it is that of the most dominant one.
    """
    listens = wants.sound is not None or wants.words
    end = span.end if span.end is not None else _end_of(clip, span, listens)
    frames = times = persons = None
    if clip is not None:
        times = torch.from_numpy(clip.times).float()
        chosen = [*tracks[person or 0 : (person or 0) + 1]]
        if wants.crop == "face":
            frames = grey_faces(clip.frames, chosen[0] if chosen else None, wants.size)
        else:
            frames = square_frames(clip.frames, wants.size)
        if wants.persons == "faces":
            persons = body_masks(tracks if person is None else chosen, clip.frames.shape[:3], wants.size)
        elif wants.persons == "detector":
            persons = detected_masks(clip.frames, wants.size)
    sound = hear_span(span.source, wants.sound, span.start, end)
    words = words_of_span(span.source, wants.words, span.start, end, span.transcript)
    return Evidence(span.start, end, frames, times, persons, sound, words)


def _end_of(clip: Clip | None, span: Span, listens: bool) -> float:
    """Where a span without an end of its own ends."""
    if clip is not None:
        return clip.duration
    return sound_end(span.source) if listens else span.start
