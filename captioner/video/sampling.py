"""At which seconds of a video pictures are wanted, and which of those that come by are taken for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from captioner.errors import VideoError

log = logging.getLogger(__name__)


class Timed(Protocol):
    """What is known of a video's clock: a Survey, or one of its pictures that are Shown."""

    @property
    def last(self) -> float: ...
    @property
    def fps(self) -> float: ...
    @property
    def duration(self) -> float: ...


@dataclass(frozen=True)
class Sampling:
    """Which pictures of a span are wanted: `count` of them, evenly spread, at each short side (None: as they are).

    edges: the first and the last picture are among them; else each is the middle of one of `count` equal parts.
    """

    count: int
    sides: tuple[int | None, ...]
    edges: bool = True

    def seconds(self, start: float, last: float, end: float) -> np.ndarray:
        """The seconds (count,) of a span whose last picture comes on at `last` and goes at `end`."""
        if self.edges:
            return np.linspace(start, max(start, last), self.count)
        return start + middles(max(0.0, end - start), self.count)


def middles(duration: float, count: int) -> np.ndarray:
    """The seconds (count,) in the middle of equal parts."""
    seconds: np.ndarray = (np.arange(count) + 0.5) * duration / count
    return seconds


def wanted_seconds(samplings: Sequence[Sampling], video: Timed, start: float, end: float | None) -> list[np.ndarray]:
    """The seconds (count,) that each sampling wants of a video between two seconds."""
    last = video.last if end is None else min(video.last, max(start, end - 1 / video.fps))
    until = video.duration if end is None else min(end, video.duration)
    return [each.seconds(start, last, until) for each in samplings]


def leeway(step: float, fps: float) -> float:
    """How many seconds after the one wanted a picture may come on, of those shown every `step`: the nearest is taken.

    Of a video with no more pictures than that it is the one on screen; clocks are rounded to a millisecond.
    """
    return max(0.0, step - 1 / fps) / 2 + 1e-3


def check_start(name: str, start: float, video: Timed) -> None:
    """A start that is past the end of a video is an error."""
    if start > video.last + 1 / video.fps:
        raise VideoError(f"start {start:.2f} s is past the end of {name!r} ({video.duration:.2f} s)")


def ends_early(name: str, span: tuple[float, float, float], video: Timed) -> bool:
    """Whether the pictures end well before the last one wanted; span: start, the last second found, and wanted."""
    start, found, last = span
    early = last - found > max(0.1 * (last - start), 2 / video.fps) and found > start
    if early:
        log.warning("%s: readable up to %.1f s of %.1f s", name, found, video.duration)
    return early
