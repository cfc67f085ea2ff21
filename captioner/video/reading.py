"""Video files in, sampled frames out; only the frames that are kept are ever converted (axes: T H W C).

VideoSource -> open_video -> _survey (first, last, fps) -> wanted seconds -> _Reader.at -> Scaler -> Clip
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer

from captioner.errors import VideoError
from captioner.files import atomic
from captioner.video.frames import Scaler, orientation_of, shown_size
from captioner.video.selective import CODECS, Index, Unpickable, on_screen, pick
from captioner.video.source import VideoSource, open_video

log = logging.getLogger(__name__)

SCAN_BYTES = 64 << 20  # smaller files are read through once (not decoded) for exact timestamps
SEEK_GAP = 2.0  # seconds; decoding on is cheaper than a seek below this
SLACK = 0.002  # seconds at most: containers that count milliseconds round their timestamps
_NOT_SEEKABLE = ("gif", "apng", "_pipe")  # each picture builds on those before, or there is only one
_INDEXED = (".mp4", ".m4v", ".mov")  # written with the index first, so that they play while they arrive


@dataclass(frozen=True)
class VideoInfo:
    """Size as shown (after rotation), mean frame rate, seconds, frames (an estimate in long files)."""

    width: int
    height: int
    fps: float
    duration: float
    n_frames: int


@dataclass(frozen=True)
class Clip:
    """Sampled frames uint8 (T, H, W, 3) RGB, their seconds float64 (T,), and where they come from."""

    frames: np.ndarray
    times: np.ndarray
    source: str
    fps: float
    duration: float


def probe(path: str | Path) -> VideoInfo:
    """Size, frame rate and length of a video whose first frame, at least, can be decoded."""
    source = VideoSource(path)
    with open_video(source) as (container, stream):
        survey = _survey(container, stream, source)
    with open_video(source) as (container, stream):
        shown = _Reader(container, stream, survey, source.name).at(0.0)
        if shown is None:
            raise VideoError(f"no frame of {source.name!r} can be decoded; the file is damaged")
        width, height = shown_size(shown[1], stream, orientation_of(shown[1], stream))
    return VideoInfo(width, height, survey.fps, survey.duration, survey.n_frames)


def read_clip(
    source: str | Path | BinaryIO,
    num_frames: int,
    *,
    start: float = 0.0,
    end: float | None = None,
    short_side: int | None = None,
) -> Clip:
    """`num_frames` frames uniform over [start, end) seconds, first and last included; repeated if too few.

    With `short_side` the short edge has that many pixels. Memory does not grow with the length of the video.
    """
    return read_sizes(source, num_frames, [short_side], start=start, end=end)[0]


def read_sizes(
    source: str | Path | BinaryIO,
    num_frames: int,
    sides: Sequence[int | None],
    *,
    start: float = 0.0,
    end: float | None = None,
) -> list[Clip]:
    """As `read_clip`, decoded once and scaled to each of the short sides."""
    if num_frames < 1 or start < 0 or (end is not None and end <= start):
        raise ValueError(f"num_frames {num_frames}, start {start}, end {end}: need >= 1, >= 0, > start")
    opened = VideoSource(source)

    def spread(survey: _Survey) -> np.ndarray:
        if start > survey.last + 1 / survey.fps:
            raise VideoError(f"start {start:.2f} s is past the end of {opened.name!r} ({survey.duration:.2f} s)")
        last = survey.last if end is None else min(survey.last, max(start, end - 1 / survey.fps))
        return np.linspace(start, max(start, last), num_frames)

    survey, wanted, frames, times = _sample(opened, spread, sides)
    last = float(wanted[-1])
    if last - times[-1] > max(0.1 * (last - start), 2 / survey.fps) and times[-1] > start:
        log.warning("%s: readable up to %.1f s of %.1f s", opened.name, times[-1], survey.duration)
        _, _, frames, times = _sample(opened, lambda _: np.linspace(start, times[-1], num_frames), sides)
    seconds = np.asarray(times, np.float64)
    return [Clip(np.stack(sized), seconds, opened.name, survey.fps, survey.duration) for sized in frames]


def frames_at(
    source: str | Path | BinaryIO, choose: Callable[[float], np.ndarray], short_side: int | None = None
) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) nearest to the seconds, rising, that `choose` picks from the video's duration."""
    _, _, frames, _ = _sample(VideoSource(source), lambda survey: choose(survey.duration), [short_side])
    return np.stack(frames[0])


@dataclass(frozen=True)
class Shown:
    """One picture of a video in one size for each short side asked for, uint8 (H, W, 3), and when it comes on."""

    second: float
    pictures: list[np.ndarray]
    source: str
    fps: float
    duration: float
    size: tuple[int, int]  # width, height of the video as shown


def stream(
    source: str | Path | BinaryIO,
    step: float,
    sides: Sequence[int | None],
    *,
    start: float = 0.0,
    end: float | None = None,
) -> Iterator[Shown]:
    """What is on screen every `step` seconds, each picture once, from one pass over a video of any length.

    With `start` and `end` between these seconds: of a long video no more is decoded than that.
    """
    opened = VideoSource(source)
    with open_video(opened) as (container, video):
        survey = _survey(container, video, opened)
    with open_video(opened) as (container, video):
        reader = _Reader(container, video, survey, opened.name)
        scaler = Scaler(video, sides)
        previous: tuple[float, av.VideoFrame] | None = None
        last = survey.last if end is None else min(survey.last, end - 1 / survey.fps)
        for tick in range(int((last - start) / step + 1e-6) + 1 if last >= start else 0):
            shown = reader.at(start + tick * step)
            if shown is None:
                raise VideoError(f"no frame of {opened.name!r} can be decoded; the file is damaged")
            if shown is not previous:
                second = max(shown[0], 0.0 if previous is None else previous[0])
                yield Shown(second, scaler(shown[1]), opened.name, survey.fps, survey.duration, scaler.size)
            elif reader.ended:
                break
            previous = shown


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float, *, crf: int = 18) -> None:
    """An H.264 video of `frames` uint8 (T, H, W, 3), written atomically; odd sizes gain an edge pixel."""
    stream: Any = None
    options = {"movflags": "+faststart"} if Path(path).suffix.lower() in _INDEXED else {}
    with atomic(path) as temporary, av.open(str(temporary), "w", options=options) as container:
        for picture in frames:
            height, width = picture.shape[:2]
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if stream is None:
                rate = Fraction(fps).limit_denominator(1001)
                stream = container.add_stream("libx264", rate=rate)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                # One thread, no B frames, no macroblock tree: with them x264 wrote up to five variants of one clip.
                stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "bf": "0"}
                stream.options |= {"x264-params": "no-mbtree=1"}
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            # Converted here: left to the encoder, the conversion gives other bytes from run to run.
            container.mux(stream.encode(image.reformat(format="yuv420p")))
        if stream is None:
            raise VideoError(f"no frames to write to {str(path)!r}")
        container.mux(stream.encode(None))


@dataclass(frozen=True)
class _Survey:
    """Where the pictures are in time (seconds): `first` on the file's own clock, the rest counted from it."""

    first: float
    last: float
    fps: float
    duration: float
    n_frames: int
    clocked: bool  # frames carry timestamps
    index: Index | None = None  # of a stream whose packets were read through


def _survey(container: InputContainer, stream: Any, source: VideoSource) -> _Survey:
    """Exact times from the packets where that is cheap or the header is silent, else as the header says."""
    fps = float(stream.average_rate or stream.guessed_rate or 25)
    base = float(stream.time_base)
    stated = stream.duration * base if stream.duration else (container.duration or 0) / av.time_base
    if stated > 0 and (source.size is None or source.size > SCAN_BYTES):
        first = (stream.start_time or 0) * base
        return _Survey(first, max(0.0, stated - 1 / fps), fps, stated, stream.frames or round(stated * fps), True)
    index = Index()
    count, clock, tail = _scan(container, stream, index)
    if clock is None:
        duration = count / fps
        return _Survey(0.0, max(0.0, duration - 1 / fps), fps, duration, count, False)
    first, last = clock[0] * base, (clock[1] - clock[0]) * base
    if stream.average_rate is None and last > 0:
        fps = (count - 1) / last
    duration = last + (tail * base if tail else 1 / fps)
    if stated - duration > max(1.0, 0.2 * stated):
        log.warning("%s: pictures end at %.1f s though %.1f s are stated", source.name, duration, stated)
    return _Survey(first, last, fps, duration, count, True, index)


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


def _slack(stream: Any, survey: _Survey) -> float:
    return min(1.01 * float(stream.time_base), SLACK, 0.25 / survey.fps)


class _Reader:
    """Frames in order of display, one looked at ahead: what is on screen at a given second."""

    def __init__(self, container: InputContainer, stream: Any, survey: _Survey, name: str) -> None:
        self._container, self._stream, self._survey, self._name = container, stream, survey, name
        self._slack = _slack(stream, survey)
        self._gap = SEEK_GAP
        self._seekable = survey.clocked and not any(mark in container.format.name for mark in _NOT_SEEKABLE)
        self._now: tuple[float, av.VideoFrame] | None = None
        self._frames = self._decoded()
        self._ahead = next(self._frames, None)

    def at(self, second: float) -> tuple[float, av.VideoFrame] | None:
        """(its second, the frame on screen at `second`) or None; `second` must not decrease."""
        if self._seekable and self._ahead and second - self._ahead[0] > self._gap:
            self._jump(second)
        while self._ahead and (self._now is None or self._ahead[0] <= second + self._slack):
            self._now, self._ahead = self._ahead, next(self._frames, None)
        return self._now

    @property
    def ended(self) -> bool:
        """Whether the last picture is on screen."""
        return self._ahead is None

    def _decoded(self) -> Iterator[tuple[float, av.VideoFrame]]:
        return _decode(self._container, self._stream, self._survey, self._name)

    def _jump(self, second: float) -> None:
        """Continue from a key frame before `second`; stay where no such seek is possible."""
        here = self._ahead[0] if self._ahead else 0.0
        back = 0.0
        while True:
            target = max(0.0, second - back) + self._survey.first
            try:
                self._container.seek(int(target / float(self._stream.time_base)), stream=self._stream)
            except av.error.FFmpegError:
                self._seekable = False
                return
            self._now, self._frames = None, self._decoded()
            self._ahead = next(self._frames, None)
            if self._ahead and self._ahead[0] <= second + self._slack:
                break
            if back >= second:  # even from the start: leave it to the caller
                self._seekable = False
                return
            back = 4 * back + self._gap
        if self._ahead[0] <= here:  # key frames are sparse here: a seek this short gains nothing
            self._gap *= 4


def _decode(
    container: InputContainer, stream: Any, survey: _Survey, name: str
) -> Iterator[tuple[float, av.VideoFrame]]:
    """(second, frame) in order of display; no method of the reader, which would tie both and its frames in a cycle."""
    packets = container.demux(stream)
    base, index, bad = float(stream.time_base), 0, 0
    more = True
    while more:
        try:
            packet = next(packets, None)
        except IndexError:  # how PyAV ends when a broadcast has added streams on its way
            packet = None
        except av.error.FFmpegError:
            packet = None
            bad += 1
        try:
            more = packet is not None
            frames = packet.decode() if packet is not None else stream.decode(None)
        except av.error.EOFError:
            frames = []
        except av.error.FFmpegError:
            bad += 1
            continue
        for frame in frames:
            clocked = survey.clocked and frame.pts is not None
            yield (frame.pts * base - survey.first if clocked else index / survey.fps), frame
            index += 1
    if bad:
        log.warning("%s: %d damaged packets were passed over", name, bad)


def _sample(
    source: VideoSource, choose: Callable[[_Survey], np.ndarray], sides: Sequence[int | None]
) -> tuple[_Survey, np.ndarray, list[list[np.ndarray]], list[float]]:
    """The survey, the seconds chosen (T,), the pictures on screen then in each size, and their own seconds."""
    with open_video(source) as (container, stream):
        survey = _survey(container, stream, source)
        wanted = choose(survey)
        shown = _picked(container, stream, survey, wanted, sides)
    shown = shown or _read(source, survey, wanted, sides)
    times = np.maximum.accumulate([max(second, 0.0) for second, _ in shown])  # damaged clocks may jump back
    return survey, wanted, [[sized[place] for _, sized in shown] for place in range(len(sides))], times.tolist()


def _read(
    source: VideoSource, survey: _Survey, wanted: np.ndarray, sides: Sequence[int | None]
) -> list[tuple[float, list[np.ndarray]]]:
    """(second, pictures) of what is on screen at each wanted second; all in between is decoded."""
    made: list[tuple[float, list[np.ndarray]]] = []
    previous: tuple[float, av.VideoFrame] | None = None
    with open_video(source) as (container, stream):
        reader, scaler = _Reader(container, stream, survey, source.name), Scaler(stream, sides)
        for second in wanted:
            shown = reader.at(float(second))
            if shown is None:
                raise VideoError(f"no frame of {source.name!r} can be decoded; the file is damaged")
            made.append(made[-1] if shown is previous else (shown[0], scaler(shown[1])))
            previous = shown
    return made


def _picked(
    container: InputContainer, stream: Any, survey: _Survey, wanted: np.ndarray, sides: Sequence[int | None]
) -> list[tuple[float, list[np.ndarray]]] | None:
    """As `_read`, by decoding only what is needed; None where a stream does not allow it."""
    if survey.index is None or stream.codec_context.name not in CODECS:
        return None
    base, scaler = float(stream.time_base), Scaler(stream, sides)
    try:
        asked = on_screen(survey.index, wanted.tolist(), survey.first, base, _slack(stream, survey))
        found: dict[int, tuple[float, list[np.ndarray]]] = {}
        for frame in pick(container, stream, survey.index, set(asked)):
            if frame.pts in asked and frame.pts not in found:
                found[frame.pts] = (frame.pts * base - survey.first, scaler(frame))
        return [found[stamp] for stamp in asked]
    except (Unpickable, KeyError, av.error.FFmpegError) as error:
        log.debug("%s: read whole (%s)", container.name, error)
        return None
