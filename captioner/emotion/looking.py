"""From whatever holds a clip to the evidence that a recogniser asks for; what it does not want is not decoded.

    look(source, wants, start, end): decoded here;  gather_evidence: from pictures that were decoded before

Axes: T pictures, H W their pixels, S pixels of what is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from captioner.config import ExpertsConfig
from captioner.emotion.contract import Evidence, Wants
from captioner.emotion.face_frames import READ_SIDE, grey_faces
from captioner.emotion.persons import body_masks
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


def sampling_of(wants: Wants) -> Sampling | None:
    """The pictures to decode; None for a recogniser that only listens or reads."""
    if not wants.count:
        return None
    return Sampling(wants.count, (READ_SIDE if wants.reads_faces else wants.size,), edges=wants.edges)


def look(
    source: Any,
    wants: Wants,
    start: float = 0.0,
    end: float | None = None,
    *,
    fps: float = 25.0,
) -> Evidence:
    """The evidence in a file, an open file, or frames uint8 (T, H, W, 3) of `fps`, between two seconds."""
    return look_at(source, wants, start, end, fps=fps)[0][0]


def look_at(
    source: Any, wants: Wants, start: float = 0.0, end: float | None = None, *, people: int = 0, fps: float = 25.0
) -> tuple[list[Evidence], int | None]:
    """The evidence about all, or about each of the `people` most dominant persons; and how many were seen.

    Where nobody is seen it is about the clip; None where nobody was looked for.
    """
    sampling = sampling_of(wants)
    clip = None if sampling is None else sample_any(source, [sampling], start=start, end=end, fps=fps)[0][0]
    tracks = face_tracks(clip, ExpertsConfig()) if clip is not None and wants.reads_faces else []
    meant: list[int | None] = [*range(min(people, len(tracks)))] or [None]
    span = Span(source, start, end)
    found = [gather_evidence(clip, wants, tracks, span, person) for person in meant]
    return found, len(tracks) if wants.reads_faces else None


def gather_evidence(
    clip: Clip | None, wants: Wants, tracks: Sequence[FaceTrack], span: Span, person: int | None = None
) -> Evidence:
    """Evidence from pictures as `sampling_of` asks for and the people in them; of one person, or of all.

    Where one face is looked at and no person is meant, it is that of the most dominant one.
    """
    end = span.end if span.end is not None else (clip.duration if clip is not None else span.start)
    frames = times = persons = None
    if clip is not None:
        times = torch.from_numpy(clip.times).float()
        chosen = [*tracks[person or 0 : (person or 0) + 1]]
        if wants.crop == "face":
            frames = grey_faces(clip.frames, chosen[0] if chosen else None, wants.size)
        else:
            frames = square_frames(clip.frames, wants.size)
        if wants.persons:
            persons = body_masks(tracks if person is None else chosen, clip.frames.shape[:3], wants.size)
    return Evidence(span.start, end, frames, times, persons)
