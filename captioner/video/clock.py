"""When the pictures of a video come, from its packets or its header, before any of them is decoded."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import av
from av.container import InputContainer

from captioner.errors import VideoError
from captioner.video.input_limits import limits, raised
from captioner.video.selective import Index
from captioner.video.source import VideoSource

log = logging.getLogger(__name__)

SCAN_BYTES = 64 << 20  # smaller files are read through once (not decoded) for exact timestamps


@dataclass(frozen=True)
class Survey:
    """Where the pictures are in time (seconds): `first` on the file's own clock, the rest counted from it."""

    first: float
    last: float
    fps: float
    duration: float
    n_frames: int
    clocked: bool  # frames carry timestamps
    index: Index | None = None  # of a stream whose packets were read through


def survey_of(container: InputContainer, stream: Any, source: VideoSource) -> Survey:
    """Exact times from the packets where that is cheap or the header is silent, else as the header says."""
    fps = float(stream.average_rate or stream.guessed_rate or 25)
    fps = fps if 0.01 <= fps <= 10_000 else 25.0  # no camera has another; a damaged header may say years
    base = float(stream.time_base)
    stated = stream.duration * base if stream.duration else (container.duration or 0) / av.time_base
    if stated > 0 and (source.size is None or source.size > SCAN_BYTES):
        first = (stream.start_time or 0) * base
        if stated > limits().hours * 3600:
            raise VideoError(f"{source.name!r} claims to last {stated / 3600:.0f} hours; {raised('hours')}")
        return Survey(first, max(0.0, stated - 1 / fps), fps, stated, stream.frames or round(stated * fps), True)
    index = Index()
    count, clock, tail = _scan(container, stream, index)
    if clock is None:
        duration = count / fps
        return Survey(0.0, max(0.0, duration - 1 / fps), fps, duration, count, False)
    first, last = clock[0] * base, (clock[1] - clock[0]) * base
    if leaps(index, base) or last > limits().hours * 3600:
        log.warning("%s: its clock leaps; %d pictures are taken to come evenly", source.name, count)
        duration = count / fps
        return Survey(0.0, max(0.0, duration - 1 / fps), fps, duration, count, False)
    if stream.average_rate is None and last > 0:
        fps = (count - 1) / last
    duration = last + (tail * base if tail else 1 / fps)
    if stated - duration > max(1.0, 0.2 * stated):
        log.warning("%s: pictures end at %.1f s though %.1f s are stated", source.name, duration, stated)
    return Survey(first, last, fps, duration, count, True, index)


def leaps(index: Index, base: float) -> bool:
    """Whether a stream's clock leaps further between two pictures than any film stands still."""
    stamps = sorted(stamp for stamp in index.stamps if stamp is not None)
    widest = max((after - before for before, after in pairwise(stamps)), default=0)
    return widest * base > limits().gap_hours * 3600


def _scan(container: InputContainer, stream: Any, index: Index) -> tuple[int, tuple[int, int] | None, int]:
    """Number of pictures, their first and last timestamp (None if any lacks one), duration of the last."""
    count, tail = 0, 0
    stamps: tuple[int, int] | None = None
    unclocked = False
    try:
        for packet in container.demux(stream):
            if packet.size:
                index.add(packet)
            if not packet.size or packet.is_discard:
                continue
            count += 1
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is None:
                unclocked = True
                continue
            if stamps is None or stamp >= stamps[1]:
                tail = packet.duration or 0
            stamps = (min(stamps[0], stamp), max(stamps[1], stamp)) if stamps else (stamp, stamp)
    except (av.error.FFmpegError, IndexError):
        log.debug("%s: unreadable after %d packets", container.name, count)
    return count, None if unclocked else stamps, tail
