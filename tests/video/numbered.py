"""Synthetic videos: each frame carries its number as bars, so that identity is proven."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from captioner.video.reading import Clip

BITS = 10


def bars(number: int, width: int = 80, height: int = 48) -> np.ndarray:
    """(H, W, 3): bit b of `number` is the b-th vertical bar; the lower half is dim, so that turning shows."""
    columns = np.array([255 * (number >> bit & 1) for bit in range(BITS)], np.uint8)
    row = columns[np.arange(width) * BITS // width]
    picture = np.repeat(row[None, :], height, 0)
    picture[height // 2 :] //= 2
    return np.repeat(picture[..., None], 3, 2)


def number(picture: np.ndarray) -> int:
    """The number that `bars` painted."""
    height, width = picture.shape[:2]
    centres = (np.arange(BITS) * 2 + 1) * width // (2 * BITS)
    return sum(1 << bit for bit, x in enumerate(centres) if picture[height // 4, x].mean() > 127)


def numbers(clip: Clip) -> list[int]:
    return [number(picture) for picture in clip.frames]


def make(
    path: Path | io.BytesIO,
    stamps: Sequence[int] | int = 50,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    size: tuple[int, int] = (80, 48),
    container: str | None = None,
    rotate: int | None = None,
    mirror: bool = False,
    gop: int | None = None,
    tags: dict[str, str] | None = None,
) -> Any:
    """A video with frames at `stamps` twenty-fifths of a second; index at the end, FFmpeg's default."""
    stamps = range(stamps) if isinstance(stamps, int) else stamps
    target = str(path) if isinstance(path, Path) else path
    with av.open(target, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = Fraction(1, 25)
        if gop:
            stream.codec_context.gop_size = gop
        if rotate is not None:
            stream.set_display_rotation(rotate, hflip=mirror)
        stream.metadata.update(tags or {})
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(bars(index, *size), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def expected(count: int, wanted: int) -> list[int]:
    return [int(position + 1e-6) for position in np.linspace(0, count - 1, wanted)]
