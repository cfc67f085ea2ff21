"""A long video as windows that hold no cut, in one pass: what is kept of it does not grow with its length.

Axes: T frames, H W pixels.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.data.video import Clip, Shown, stream

STEP = 0.125  # seconds between the pictures that are compared
HELD = 96  # pictures kept at most of a window and a half
LEAST = 1.0  # seconds; a shorter shot joins the one after it
_HARD, _SOFT, _OUTLIER = 28.0, 9.0, 5.0  # difference of two pictures that is a cut, or one if it stands out so far


@dataclass(frozen=True)
class Piece:
    """A window: its seconds, and its sampled frames at each short side."""

    start: float
    end: float
    clips: list[Clip]


@dataclass
class Cuts:
    """Says of each picture whether a new shot begins with it."""

    last: NDArray[np.float32] | None = None
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=16))

    def is_new(self, picture: NDArray[np.uint8]) -> bool:
        """Whether (H, W, 3) differs from the picture before it as no movement does."""
        small = _thumb(picture)
        before, self.last = self.last, small
        if before is None:
            return False
        apart = float(np.abs(small - before).mean())
        usual = float(np.median(self.recent)) if self.recent else 0.0
        new = apart > _HARD or (len(self.recent) > 2 and apart > max(_SOFT, _OUTLIER * usual))
        if new:
            self.recent.clear()
        else:
            self.recent.append(apart)
        return new


def pieces(source: Any, seconds: float, frames: int, sides: Sequence[int]) -> Iterator[Piece]:
    """Windows of at most `seconds` that end where a shot ends; `frames` of each, evenly spread, at each short side.

    What is left of a shot is never under half a window, unless the shot itself is shorter.
    """
    keep = max(STEP, 1.5 * seconds / HELD)
    least = min(LEAST, seconds / 2)
    cuts = Cuts()
    held: list[Shown] = []
    start, shown, due = 0.0, None, 0.0
    for shown in stream(source, STEP, sides):
        if cuts.is_new(shown.pictures[-1]) and shown.second - start >= least:
            yield from _divide(held, start, shown.second, seconds, frames)
            held, start, due = [], shown.second, shown.second
        while shown.second - start >= 1.5 * seconds:
            yield _piece(held, start, start + seconds, frames)
            start += seconds
            held = _from(held, start)
        if shown.second >= due or not held:
            held.append(shown)
            due = shown.second + keep - 1e-6
    if shown is not None:
        yield from _divide(held, start, max(shown.duration, start), seconds, frames)


def _divide(held: list[Shown], start: float, end: float, seconds: float, frames: int) -> Iterator[Piece]:
    """The rest of a shot: whole windows while they fit, then one, or two halves."""
    while end - start >= 1.5 * seconds:
        yield _piece(held, start, start + seconds, frames)
        start += seconds
    parts = 1 if end - start <= seconds + 1e-6 else 2
    edges = np.linspace(start, end, parts + 1).tolist()
    for low, high in pairwise(edges):
        yield _piece(held, low, high, frames)


def _from(held: list[Shown], start: float) -> list[Shown]:
    """What is on screen from `start` on."""
    first = max((i for i, shown in enumerate(held) if shown.second <= start + 1e-6), default=0)
    return held[first:]


def _piece(held: list[Shown], start: float, end: float, frames: int) -> Piece:
    seconds = np.array([shown.second for shown in held])
    stop = max(start, end - 1 / held[0].fps)
    places = np.searchsorted(seconds, np.linspace(start, stop, frames) + 1e-3, side="right") - 1
    chosen = [held[max(place, 0)] for place in places]
    times = np.maximum([shown.second for shown in chosen], start)  # a picture may have been there before
    clips = []
    for side in range(len(held[0].pictures)):
        pixels = np.stack([shown.pictures[side] for shown in chosen])
        clips.append(Clip(pixels, times, held[0].source, held[0].fps, held[0].duration))
    return Piece(round(start, 3), round(end, 3), clips)


def _thumb(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """About 9 x 16 mean colours (h, w, 3) of a picture."""
    height, width = picture.shape[:2]
    rows, columns = max(1, height // 9), max(1, width // 16)
    cut = picture[: height // rows * rows : 1, : width // columns * columns]
    cells = cut.reshape(cut.shape[0] // rows, rows, cut.shape[1] // columns, columns, 3)
    means: NDArray[np.float32] = cells[:, :: max(1, rows // 4), :, :: max(1, columns // 4)].mean(
        (1, 3), dtype=np.float32
    )
    return means
