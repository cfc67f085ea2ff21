"""A long video as windows that hold no cut, in one pass: what is kept of it does not grow with its length.

Axes: T frames, H W pixels.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.video.reading import Clip, Shown, stream
from captioner.video.sampling import Sampling, leeway

STEP = 0.1  # seconds between the pictures that are compared: those in which people are followed
HELD = 96  # pictures kept at most of a window and a half
LEAST = 1.0  # seconds; a shorter shot joins the one after it
# A cut changes the picture and its colours; movement changes the picture, a pan keeps the colours.
_APART, _COLOURS = 28.0, 0.12  # mean difference (0..255) and share of other colours that make a cut
_OUTLIER, _LEAST_APART, _MORE_COLOURS = 5.0, 9.0, 0.3  # or: so many times the usual difference, and more colours


@dataclass(frozen=True)
class Piece:
    """A window: its seconds, and for each sampling its pictures at each short side."""

    start: float
    end: float
    shot: float  # where its shot begins, from which `pieces` can begin again
    clips: list[list[Clip]]


@dataclass
class Cuts:
    """Says of each picture whether a new shot begins with it."""

    last: tuple[NDArray[np.float32], NDArray[np.float64]] | None = None
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=16))

    def is_new(self, picture: NDArray[np.uint8]) -> bool:
        """Whether (H, W, 3) differs from the picture before it as no movement does."""
        before, self.last = self.last, (_thumb(picture), _colours(picture))
        if before is None:
            return False
        apart = float(np.abs(self.last[0] - before[0]).mean())
        other = float(np.abs(self.last[1] - before[1]).sum()) / 2
        usual = float(np.median(self.recent)) if self.recent else 0.0
        stands_out = len(self.recent) > 2 and apart > max(_LEAST_APART, _OUTLIER * usual)
        new = (apart > _APART and other > _COLOURS) or (stands_out and other > _MORE_COLOURS)
        if new:
            self.recent.clear()
        else:
            self.recent.append(apart)
        return new


def pieces(
    source: Any,
    seconds: float,
    samplings: Sequence[Sampling],
    shot: float = 0.0,
    watch: Callable[[Shown, bool], object] | None = None,
) -> Iterator[Piece]:
    """Windows of at most `seconds` that end where a shot ends, each sampled as `read_samples` does it.

    What is left of a shot is never under half a window, unless the shot itself is shorter. shot: the second at which
    the first one begins; from there on the windows are those of a pass from the beginning. watch: is told of every
    picture, and whether a shot begins with it, before any window that holds it comes out.
    """
    keep = max(STEP, 1.5 * seconds / HELD)
    least = min(LEAST, seconds / 2)
    sides = list(dict.fromkeys(side for each in samplings for side in each.sides))
    largest = max(sides, key=lambda side: side or 1 << 20)
    cuts = Cuts()
    held: list[Shown] = []
    start, shown, due = shot, None, shot
    for shown in stream(source, STEP, sides, start=shot // STEP * STEP):
        if shown.second < shot:
            continue  # of the shot before
        fresh = cuts.is_new(shown.pictures[largest]) and shown.second - start >= least
        if fresh:
            yield from _divide(held, (shot, start, shown.second), seconds, samplings)
            held, shot, start, due = [], shown.second, shown.second, shown.second
        while shown.second - start >= 1.5 * seconds:
            yield _piece(held, (shot, start, start + seconds), samplings)
            start += seconds
            held = _from(held, start)
        if watch is not None:
            watch(shown, fresh)
        if shown.second >= due or not held:
            held.append(shown.held())
            due = shown.second + keep - 1e-6
    if shown is not None and held:
        yield from _divide(held, (shot, start, max(shown.duration, start)), seconds, samplings)


def _divide(
    held: list[Shown], span: tuple[float, float, float], seconds: float, samplings: Sequence[Sampling]
) -> Iterator[Piece]:
    """The rest of a shot (where it begins, from where it is left, its end): whole windows, then one, or two halves."""
    shot, start, end = span
    while end - start >= 1.5 * seconds:
        yield _piece(held, (shot, start, start + seconds), samplings)
        start += seconds
    parts = 1 if end - start <= seconds + 1e-6 else 2
    edges = np.linspace(start, end, parts + 1).tolist()
    for low, high in pairwise(edges):
        yield _piece(held, (shot, low, high), samplings)


def _from(held: list[Shown], start: float) -> list[Shown]:
    """What is on screen from `start` on."""
    first = max((i for i, shown in enumerate(held) if shown.second <= start + 1e-6), default=0)
    return held[first:]


def _piece(held: list[Shown], span: tuple[float, float, float], samplings: Sequence[Sampling]) -> Piece:
    """A window (where its shot begins, its start, its end) from the pictures that were kept of it."""
    shot, start, end = span
    first, clips = held[0], []
    for each in samplings:
        chosen = _on_screen(held, each.seconds(start, end - 1 / first.fps, end) + leeway(STEP, first.fps))
        times = np.maximum([shown.second for shown in chosen], start)  # a picture may have been there before
        stacks = [np.stack([shown.pictures[side] for shown in chosen]) for side in each.sides]
        clips.append([Clip(pixels, times, first.source, first.fps, first.duration) for pixels in stacks])
    return Piece(round(start, 3), round(end, 3), shot, clips)


def _on_screen(held: list[Shown], seconds: NDArray[np.float64]) -> list[Shown]:
    places = np.searchsorted([shown.second for shown in held], seconds, side="right") - 1
    return [held[max(place, 0)] for place in places]


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


def _colours(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How often each of 8 levels is there of each colour (24,), as shares that sum to 1."""
    levels = (picture[::4, ::4] >> 5).reshape(-1, 3) + np.array([0, 8, 16], np.uint8)
    counts = np.bincount(levels.ravel(), minlength=24)
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares
