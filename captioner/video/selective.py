"""Of a scanned H.264 stream only what the wanted pictures need is decoded, and they come out exactly as ever.

Packets before the key frame that a picture starts from are dropped unread, and so are pictures that no other refers
to (B frames, as a rule every second picture). What does not come out as the scan promised raises `Unpickable`.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from av import VideoFrame
from av.container import InputContainer

CODECS = ("h264",)  # in which a picture that no other refers to says so, whatever the encoder


class Unpickable(Exception):
    """The stream is not as the scan found it, or not fit for this: decode all of it."""


@dataclass
class Index:
    """Every packet of a stream in its order: timestamp, whether a key frame, whether its picture is shown."""

    stamps: list[int | None] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)

    def add(self, packet: Any) -> None:
        """Take in the next packet."""
        self.stamps.append(packet.pts)
        self.keys.append(packet.is_keyframe)
        self.shown.append(not packet.is_discard)


def on_screen(index: Index, seconds: Sequence[float], first: float, base: float, slack: float) -> list[int]:
    """The timestamp of what is on screen at each second, counted from `first`."""
    stamps = [stamp for stamp, shown in zip(index.stamps, index.shown, strict=True) if shown and stamp is not None]
    if None in index.stamps or len(set(stamps)) < len(stamps) or not stamps:
        raise Unpickable("timestamps are missing or twice there")
    stamps.sort()
    times = [stamp * base - first for stamp in stamps]
    return [stamps[max(0, bisect_right(times, second + slack) - 1)] for second in seconds]


def needed(index: Index, wanted: set[int]) -> list[bool]:
    """Which packets must be read for the wanted pictures: from the key frame they start from up to their own."""
    need = [False] * len(index.stamps)
    places = [place for place, stamp in enumerate(index.stamps) if stamp in wanted and index.shown[place]]
    for place in places:
        stamp = index.stamps[place] or 0
        key = place
        while not (index.keys[key] and (index.stamps[key] or 0) <= stamp):
            key -= 1
            if key < 0:
                raise Unpickable("a picture comes before any key frame")
        need[key : place + 1] = [True] * (place + 1 - key)
    return need


def pick(container: InputContainer, stream: Any, index: Index, wanted: set[int]) -> Iterator[VideoFrame]:
    """The wanted pictures in order of display, and maybe others; from the start, wherever the container was."""
    need = needed(index, wanted)
    container.seek(min(stamp for stamp in index.stamps if stamp is not None), stream=stream)
    last = max(place for place, asked in enumerate(need) if asked)
    context, place, gap = stream.codec_context, -1, False
    for packet in container.demux(stream):
        if not packet.size:
            continue
        place += 1
        if place > last:
            break
        if packet.pts != index.stamps[place]:
            raise Unpickable("packets come in another order")
        if not need[place]:
            gap = True
            continue
        if gap:
            yield from context.decode(None)
            context.flush_buffers()
            gap = False
        context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        yield from packet.decode()
    yield from context.decode(None)
