"""Where a video comes from: files, addresses and bytes are opened here, within limits, and faults told in one line."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer

from captioner.errors import VideoError
from captioner.files import missing

MAX_PIXELS = 100_000_000  # a frame of 8K video has a third of that; more is a broken header
MAX_RATIO = 50  # of the sides: scaled to a short side, a thinner picture would fill the memory
TIMEOUT = 60.0  # seconds for opening, and for each read
_WEB = {"protocol_whitelist": "http,https,tcp,tls"}
_OPEN: dict[str, Any] = {"timeout": TIMEOUT, "metadata_errors": "replace"}  # old tags are not UTF-8
_LOCAL = {"protocol_whitelist": "none"}  # a playlist must not make us open other files or addresses
_threads = 0  # that decode a video; 0: FFmpeg chooses


def one_thread() -> None:
    """From now on this process decodes with one thread: for one of several that decode side by side."""
    global _threads
    _threads = 1


class VideoSource:
    """Something that can be opened more than once: a file, a web address, or bytes held in memory."""

    def __init__(self, source: str | Path | BinaryIO) -> None:
        self.name = str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "<stream>"))
        self.url = self.name if self.name.startswith(("http://", "https://")) else ""
        self.size: int | None = None
        self._data: BinaryIO | None = None
        if not isinstance(source, str | Path):
            self._data = source if source.seekable() else io.BytesIO(source.read())
            self.size = self._data.seek(0, os.SEEK_END)
        elif not self.url:
            self._check_file(Path(source))
        if self.size == 0:
            raise VideoError(f"{self.name!r} is empty (0 bytes)")

    def _check_file(self, path: Path) -> None:
        try:
            if path.is_dir():
                raise VideoError(f"{self.name!r} is a folder; give a video file")
            if not path.exists():
                raise VideoError(missing(path))
            if path.is_file():
                self.size = path.stat().st_size
                path.open("rb").close()
            else:  # a pipe can be read only once
                self._data = io.BytesIO(path.read_bytes())
                self.size = self._data.seek(0, os.SEEK_END)
        except (OSError, ValueError) as error:
            cause = getattr(error, "strerror", None) or str(error)
            raise VideoError(f"{self.name!r} cannot be read: {cause.lower()}") from error

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """A binary file at its start. Handing FFmpeg a file keeps it from reading meaning into odd names."""
        if self._data is not None:
            self._data.seek(0)
            yield self._data
            return
        with open(self.name, "rb") as file:
            yield file

    def fault(self, error: Exception) -> str:
        """One line on why FFmpeg refused this source."""
        if self.url:
            return f"{self.name!r} cannot be fetched: {getattr(error, 'strerror', None) or error}"
        with self.open() as file:
            head = file.read(4096)
        printable = all(byte in b"\t\n\r\f\x1b" or byte >= 32 for byte in head)
        if head[4:8] in (b"ftyp", b"moov", b"mdat"):
            return f"{self.name!r} is cut off or damaged: its index cannot be found"
        if printable:
            return f"{self.name!r} holds text, not a video"
        return f"{self.name!r} is not a video: unknown or damaged format"


@contextmanager
def open_container(source: VideoSource) -> Iterator[InputContainer]:
    """The container of a source, whatever streams it has."""
    container: Any
    try:
        if source.url:
            with av.open(source.url, options=_WEB, **_OPEN) as container:
                yield container
        else:
            with source.open() as file, av.open(file, options=_LOCAL, **_OPEN) as container:
                yield container
    except av.error.FFmpegError as error:
        raise VideoError(source.fault(error)) from error


@contextmanager
def open_video(source: VideoSource) -> Iterator[tuple[InputContainer, Any]]:
    """The container and its first real video stream."""
    with open_container(source) as container:
        yield container, _picture_stream(container, source)


def real_pictures(container: InputContainer) -> list[Any]:
    """The video streams; cover art of a song counts as one for FFmpeg, not here."""
    return [stream for stream in container.streams.video if "attached_pic" not in str(stream.disposition)]


def _picture_stream(container: InputContainer, source: VideoSource) -> Any:
    streams = real_pictures(container)
    if not len(container.streams):
        raise VideoError(f"{source.name!r} is cut off or damaged: its index cannot be found")
    if not streams:
        audio = " (only audio)" if container.streams.audio else ""
        raise VideoError(f"{source.name!r} holds no video{audio}")
    if streams[0].codec_context is None:
        raise VideoError(f"{source.name!r} uses a video codec that this FFmpeg cannot decode")
    context = streams[0].codec_context
    size = (context.width, context.height)
    if context.width * context.height > MAX_PIXELS or max(size) > MAX_RATIO * max(1, min(size)):
        raise VideoError(f"{source.name!r} claims frames of {context.width} x {context.height} pixels; it is damaged")
    streams[0].thread_type = "AUTO"
    streams[0].thread_count = _threads
    return streams[0]
