"""Clear-faced videos: a face of 64 pixels or more in 60 % of 8 uniform frames, and one face that dominates.

The faces are those that our own reader follows; their boxes reach from brows to chin.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from captioner.data.manifest import Record
from captioner.faces.crops import READ_SIDE, shared_reader
from captioner.video.reading import probe, read_clip

FRAMES = 8
SHORT_SIDE = 64  # pixels
SHARE = 0.6
DOMINANCE = 2.0  # the largest face has so many times the area of the next

FaceSize = tuple[float, float]  # width, height in pixels of the video


def clear_faced(records: Iterable[Record]) -> list[Record]:
    """The records that the rule keeps, the share of clear frames noted in `extra`; VideoError names bad files."""
    kept = []
    for record in records:
        frames = face_sizes(record.video)
        share = sum(map(is_clear, frames)) / len(frames)
        if share >= SHARE:
            kept.append(replace(record, extra={**record.extra, "clear_faces": round(share, 3)}))
    return kept


def face_sizes(video: Path) -> list[list[FaceSize]]:
    """How large the faces are in each of a few frames, spread over a video."""
    about, clip = probe(video), read_clip(video, FRAMES, short_side=READ_SIDE)
    scale = min(about.width, about.height) / READ_SIDE
    frames: list[list[FaceSize]] = [[] for _ in clip.frames]
    for track in shared_reader("builtin").read(clip.frames, clip.times.tolist()):
        for sizes, there, (left, top, right, bottom) in zip(frames, track.present, track.boxes.tolist(), strict=True):
            if there:
                sizes.append(((right - left) * scale, (bottom - top) * scale))
    return frames


def is_clear(faces: Sequence[FaceSize]) -> bool:
    """Whether a frame shows one large face that dominates the others."""
    largest, *others = sorted(faces, key=lambda size: size[0] * size[1], reverse=True) or [(0.0, 0.0)]
    dominates = all(largest[0] * largest[1] >= DOMINANCE * width * height for width, height in others[:1])
    return dominates and min(largest) >= SHORT_SIDE
