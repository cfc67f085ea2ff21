"""Where a video comes from: files, addresses and bytes are opened here, within limits, and faults told in one line."""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer

from captioner.errors import VideoError, is_address, public_name
from captioner.files import missing
from captioner.video.fetch import Fetched, fetch
from captioner.video.input_limits import limits, raised

# A playlist must not make FFmpeg open other files or addresses; what it has no word for is refused while it probes.
_LOCAL = {"protocol_whitelist": "none"}
# Tags that are not UTF-8 are no fault; PyAV takes care of them itself from version 19 on.
_OLD_TAGS = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
_OPENED = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")
DECODED_MB = 256  # that the frames of all decoding threads may take
_threads = 0  # that decode a video; 0: FFmpeg chooses


def one_thread() -> None:
    """From now on this process decodes with one thread: for one of several that decode side by side.

    A forked one never frees the decoders that it inherits: it would wait for their threads, which it has not.
    """
    global _threads
    _threads = 1
    gc.freeze()


class VideoSource:
    """Something that can be opened more than once: a file, a web address, or bytes held in memory."""

    def __init__(self, source: str | Path | BinaryIO) -> None:
        given = str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "<stream>"))
        self.name, self._given = public_name(given), given
        self.size: int | None = None
        self._data: BinaryIO | None = None
        self._fetched: Fetched | None = None
        if not isinstance(source, str | Path):
            self._data = source if source.seekable() else held(source, self.name)
            self.size = self._data.seek(0, os.SEEK_END)
        elif is_address(given):
            self._fetched = fetch(given)
            self.size = self._fetched.size
        else:
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
            elif path.is_fifo() and self.name.startswith(_OPENED):  # of the shell, as in caption <(command)
                with path.open("rb") as pipe:
                    self._data = held(pipe, self.name)
                self.size = self._data.seek(0, os.SEEK_END)
            else:
                raise VideoError(f"{self.name!r} is a pipe, a device or a socket, no file; give - and pipe a video in")
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
        if self._fetched is not None:
            yield self._fetched.reader()
            return
        with open(self._given, "rb") as file:
            yield file

    def fault(self, error: Exception) -> str:
        """One line on why FFmpeg refused this source."""
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
    # What FFmpeg logs takes the interpreter's lock, and who frees a decoder holds it while its threads end: for ever.
    # Older versions of torchvision switch logging on when they are imported.
    av.logging.set_level(None)
    try:
        bounds = limits()
        options = _LOCAL | _most_pixels()  # for what is decoded while it is opened, too
        given: dict[str, Any] = {"timeout": bounds.read_seconds, "options": options, **_OLD_TAGS}
        with source.open() as file, av.open(file, **given) as container:
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
    _check_size(source, context)
    streams[0].thread_type = "AUTO"
    room = max(1, DECODED_MB * 1_000_000 // max(1, 3 * context.width * context.height))
    streams[0].thread_count = _threads or min(room, os.cpu_count() or 1)
    context.options = _most_pixels()  # a stream may grow on its way
    return streams[0]


def _most_pixels() -> dict[str, str]:
    """For FFmpeg, which counts whole blocks."""
    return {"max_pixels": str(int(1.1 * limits().pixels) + (1 << 16))}


def _check_size(source: VideoSource, context: Any) -> None:
    """Refuse a frame that is too large, or too thin as it is shown, before any is decoded."""
    width, height, bounds = context.width, context.height, limits()
    if not width * height:  # FFmpeg drops a size beyond max_pixels
        raise VideoError(
            f"{source.name!r} claims frames of no size, or of more than {bounds.pixels:,.0f} pixels: it is damaged, "
            f"or {raised('pixels')}"
        )
    claim = f"{source.name!r} claims frames of {width} x {height} pixels"
    if width * height > bounds.pixels:
        raise VideoError(f"{claim}, {bounds.pixels:,.0f} are allowed; {raised('pixels')}")
    pixel = float(context.sample_aspect_ratio or 1)
    shown = (width * (pixel if 1 / 8 < pixel < 8 else 1), height)
    if max(shown) > bounds.ratio * max(1, min(shown)):
        raise VideoError(f"{claim}, shown as {shown[0]:.0f} x {height}: it is damaged, or {raised('ratio')}")


def held(stream: BinaryIO, name: str) -> io.BytesIO:
    """What a stream that can be read only once has to say, in memory."""
    most = int(limits().stdin_mb * (1 << 20))
    data = stream.read(most + 1)
    if len(data) > most:
        raise VideoError(f"{name!r} is larger than {limits().stdin_mb:g} MB; give a file, or {raised('stdin_mb')}")
    return io.BytesIO(data)
