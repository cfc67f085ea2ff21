"""Decoded frames as pictures: upright, square pixels, one size, RGB (axes: H W C)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import VideoReformatter

_PLANAR = ("yuv420p", "yuvj420p")  # what cameras and encoders write
# swscale's BILINEAR | FULL_CHR_H_INT | ACCURATE_RND; plain bilinear darkens by two levels when it resizes
_SCALING = 0x2 | 0x2000 | 0x40000
_UPRIGHT = (1, 0, 0, 1)
_TURNED = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # clockwise, as the legacy tag counts

Orientation = tuple[int, int, int, int]  # a b c d of the display matrix: x' = a x + c y, y' = b x + d y


class Scaler:
    """Frames upright in one size for each short side; the first frame decides which way is up and how large."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._turn: Orientation | None = None
        self._reformatters: dict[int | None, VideoReformatter] = {}
        self.size = (0, 0)  # of the video as shown (width, height), once a frame has come

    def __call__(self, frame: av.VideoFrame, sides: Sequence[int | None]) -> dict[int | None, np.ndarray]:
        if self._turn is None:
            self._turn = orientation_of(frame, self._stream)
            self.size = shown_size(frame, self._stream, self._turn)
        pictures = {}
        for side in dict.fromkeys(sides):
            reformatter = self._reformatters.setdefault(side, VideoReformatter())
            pictures[side] = picture(frame, scaled_size(self.size, side), self._turn, reformatter)
        return pictures

    def one(self, frame: av.VideoFrame, side: int | None) -> np.ndarray:
        """A frame at one short side."""
        return self(frame, [side])[side]


class _SideData(SideDataContainer):
    """What a frame brings beside its picture, up to the first kind that PyAV has no name for, as EXIF is.

    Not `frame.side_data`: frame and list would hold each other, and pictures wait for the collector of cycles.
    """

    def __init__(self, frame: av.VideoFrame) -> None:
        with suppress(ValueError):
            super().__init__(frame)  # type: ignore[call-arg]


def picture(
    frame: av.VideoFrame, size: tuple[int, int], orientation: Orientation, reformatter: VideoReformatter
) -> np.ndarray:
    """uint8 (H, W, 3) of `size` (width, height), upright, transparency over black."""
    a, b, c, d = orientation
    width, height = size if a else size[::-1]
    alpha = any(component.is_alpha for component in frame.format.components)
    # Planes come out at half the cost of packed pixels, and alike; threads cost more than they bring.
    planar = frame.format.name in _PLANAR
    scaled = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgba" if alpha else "gbrp" if planar else "rgb24",
        interpolation=_SCALING,
        threads=1,
    )
    small = joined(scaled) if planar else scaled.to_ndarray()
    if alpha:
        small = (small[..., :3].astype(np.uint16) * small[..., 3:] // 255).astype(np.uint8)
    if a == 0:
        small = small.swapaxes(0, 1)
    across, down = (a, d) if a else (c, b)
    if (a, across, down) == (1, 1, 1):
        return small
    return np.ascontiguousarray(small[:: down or 1, :: across or 1])


def joined(frame: av.VideoFrame) -> np.ndarray:
    """Planes green, blue, red as RGB (H, W, 3), which stays planes in memory: what networks take."""
    green, blue, red = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)[:, : frame.width]
        for plane in frame.planes
    )
    return np.stack((red, green, blue)).transpose(1, 2, 0)


def orientation_of(frame: av.VideoFrame, stream: Any) -> Orientation:
    """How the camera was held: the display matrix of a stream's first frame, else the legacy `rotate` tag."""
    matrix = _SideData(frame).get(SideDataType.DISPLAYMATRIX)
    if matrix is not None:
        m = np.frombuffer(bytes(matrix), dtype="<i4")[:5]
        a, b, c, d = (int(np.sign(v)) for v in (m[0], m[1], m[3], m[4]))
        return (a, 0, 0, d) if abs(int(m[0])) >= abs(int(m[1])) else (0, b, c, 0)
    if frame.rotation:  # a matrix behind something that has no name; this tells its turn, not its mirror
        return _TURNED.get(-frame.rotation % 360, _UPRIGHT)
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    degrees = tags.get("rotate", "0").split(".")[0]
    return _TURNED.get(int(degrees) % 360, _UPRIGHT) if degrees.lstrip("-").isdigit() else _UPRIGHT


def shown_size(frame: av.VideoFrame, stream: Any, orientation: Orientation) -> tuple[int, int]:
    """(width, height) on screen: square pixels, upright."""
    pixel = float(stream.sample_aspect_ratio or 1)
    width = max(1, round(frame.width * (pixel if 1 / 8 < pixel < 8 else 1)))  # no camera has thinner pixels
    return (width, frame.height) if orientation[0] else (frame.height, width)


def scaled_size(size: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """(width, height) whose short edge has so many pixels."""
    width, height = size
    if short_side is None:
        return size
    # the long edge is cut to whole pixels in the way of torchvision's resize
    if width <= height:
        return short_side, max(1, int(short_side * height / width))
    return max(1, int(short_side * width / height)), short_side
