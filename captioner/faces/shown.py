"""What a face shows over a clip, as numbers: each action unit, expression value and emotion at its best, in the mean,
at its least. What judges of phrases look at; a still picture has one value thrice.
"""

from collections.abc import Sequence

import numpy as np

from captioner.faces.face_reading import FaceReading, Floats

ASPECTS: tuple[str, ...] = ("best", "mean", "least")
SHARE = 0.2  # of the frames with the face that make the best and the least: an expression is there for a moment
LEAST_FRAMES = 3  # so many at least, where there are: of one frame alone the reader's error would be the largest


def value_names(au_ids: Sequence[int], expression: Sequence[str], emotions: Sequence[str]) -> tuple[str, ...]:
    """What is measured of a face in each frame, by name."""
    return (*(f"AU{au}" for au in au_ids), *expression, *(f"feels {name}" for name in emotions))


def shown_names(values: Sequence[str]) -> tuple[str, ...]:
    """The names of the numbers: all values at their best, then in the mean, then at their least."""
    return tuple(f"{name} {aspect}" for aspect in ASPECTS for name in values)


def shown_numbers(reading: FaceReading) -> Floats:
    """The numbers (S,) of a person, 0 where no frame shows the face."""
    values = np.concatenate([reading.aus, reading.expression, reading.emotions], axis=1)[reading.success]
    if not len(values):
        return np.zeros(len(ASPECTS) * values.shape[1], np.float32)
    count = min(len(values), max(LEAST_FRAMES, round(SHARE * len(values))))
    ordered = np.sort(values, axis=0)
    numbers: Floats = np.concatenate([ordered[-count:].mean(0), values.mean(0), ordered[:count].mean(0)])
    return numbers.astype(np.float32)


def still_numbers(values: Floats) -> Floats:
    """The numbers (..., S) of faces that were seen once, from their values (..., V)."""
    return np.concatenate([values] * len(ASPECTS), axis=-1)
