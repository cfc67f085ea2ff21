"""Video files in, sampled frames out; only the frames that are kept are ever converted (axes: T H W C).

VideoSource -> open_video -> survey_of (first, last, fps) -> wanted seconds -> _Reader.at -> Scaler -> Clip
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer

from captioner.errors import VideoError
from captioner.files import atomic
from captioner.video.clock import Survey, survey_of
from captioner.video.frames import Scaler, orientation_of, scaled_size, shown_size
from captioner.video.input_limits import limits, raised
from captioner.video.sampling import Sampling, check_start, ends_early, wanted_seconds
from captioner.video.selective import CODECS, Unpickable, on_screen, pick
from captioner.video.sound_track import SoundTrack
from captioner.video.source import VideoSource, open_video

log = logging.getLogger(__name__)

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
        survey = survey_of(container, stream, source)
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
    return read_samples(source, [Sampling(num_frames, (short_side,))], start=start, end=end)[0][0]


def read_samples(
    source: str | Path | BinaryIO, samplings: Sequence[Sampling], *, start: float = 0.0, end: float | None = None
) -> list[list[Clip]]:
    """For each sampling of [start, end) a clip at each of its short sides, all from one decoding."""
    for each in samplings:
        if each.count < 1 or start < 0 or (end is not None and end <= start):
            raise ValueError(f"num_frames {each.count}, start {start}, end {end}: need >= 1, >= 0, > start")
    opened = VideoSource(source)

    def spread(survey: Survey, stop: float | None) -> list[np.ndarray]:
        check_start(opened.name, start, survey)
        return wanted_seconds(samplings, survey, start, stop)

    sides = [each.sides for each in samplings]
    survey, samples = _sample(opened, lambda found: spread(found, end), sides)
    last, found = max(float(each.wanted[-1]) for each in samples), float(max(each.times[-1] for each in samples))
    if ends_early(opened.name, (start, found, last), survey):
        _, samples = _sample(opened, lambda survey: spread(survey, found + 1 / survey.fps), sides)
    return [
        [Clip(np.stack(sized), each.times, opened.name, survey.fps, survey.duration) for sized in each.frames]
        for each in samples
    ]


def frames_at(
    source: str | Path | BinaryIO, choose: Callable[[float], np.ndarray], short_side: int | None = None
) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) nearest to the seconds, rising, that `choose` picks from the video's duration."""
    _, samples = _sample(VideoSource(source), lambda survey: [choose(survey.duration)], [(short_side,)])
    return np.stack(samples[0].frames[0])


@dataclass(frozen=True)
class Shown:
    """One picture of a video, uint8 (H, W, 3) by each short side asked for, and when it comes on."""

    second: float
    pictures: dict[int | None, np.ndarray]
    source: str
    fps: float
    duration: float
    size: tuple[int, int]  # width, height of the video as shown
    last: float  # second of the last picture of the video
    scale: Callable[[int | None], np.ndarray] | None = field(default=None, repr=False)  # the decoded picture to a side

    def at(self, side: int | None) -> np.ndarray:
        """The picture at a short side, scaled now where that was not asked for."""
        if side not in self.pictures and self.scale is not None:
            self.pictures[side] = self.scale(side)
        return self.pictures[side]

    def held(self) -> Shown:
        """The same without the decoded picture behind it, which is large."""
        return replace(self, scale=None)


def stream(
    source: str | Path | BinaryIO | VideoSource,
    step: float,
    sides: Sequence[int | None],
    *,
    start: float = 0.0,
    end: float | None = None,
) -> Iterator[Shown]:
    """What is on screen every `step` seconds and at last, each picture once, from one pass over a video of any length.

    With `start` and `end` between these seconds: of a long video no more is decoded than that. At least one picture.
    """
    opened = source if isinstance(source, VideoSource) else VideoSource(source)
    with open_video(opened) as (container, video):
        survey = survey_of(container, video, opened)
    check_start(opened.name, start, survey)
    with open_video(opened) as (container, video):
        reader = _Reader(container, video, survey, opened.name)
        scaler = Scaler(video)
        previous: tuple[float, av.VideoFrame] | None = None
        last = survey.last if end is None else min(survey.last, end - 1 / survey.fps)
        steps = int(max(0.0, last - start) / step + 1e-6) + 1
        for second in chain((start + tick * step for tick in range(steps)), [max(start, last)]):
            shown = reader.at(second)
            if shown is None:
                raise VideoError(f"no frame of {opened.name!r} can be decoded; the file is damaged")
            if shown is not previous:
                since = max(shown[0], 0.0 if previous is None else previous[0])
                pictures = scaler(shown[1], sides)
                known = (opened.name, survey.fps, survey.duration, scaler.size, survey.last)
                yield Shown(since, pictures, *known, partial(scaler.one, shown[1]))
            elif reader.ended:
                break
            previous = shown


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    crf: int = 18,
    sound: tuple[np.ndarray, int] | None = None,
) -> None:
    """An H.264 video of `frames` uint8 (T, H, W, 3), written atomically; odd sizes gain an edge pixel.

    sound: samples float32 (N,) of one channel and their rate, written beside as AAC.
    """
    stream: Any = None
    track: SoundTrack | None = None
    options = {"movflags": "+faststart"} if Path(path).suffix.lower() in _INDEXED else {}
    with atomic(path) as temporary, av.open(str(temporary), "w", options=options) as container:
        for number, picture in enumerate(frames, start=1):
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
                track = None if sound is None else SoundTrack(container, *sound)
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            # Converted here: left to the encoder, the conversion gives other bytes from run to run.
            container.mux(stream.encode(image.reformat(format="yuv420p")))
            if track is not None:
                track.write(number / fps)
        if stream is None:
            raise VideoError(f"no frames to write to {str(path)!r}")
        container.mux(stream.encode(None))
        if track is not None:
            track.close()


def _slack(stream: Any, survey: Survey) -> float:
    return min(1.01 * float(stream.time_base), SLACK, 0.25 / survey.fps)


class _Reader:
    """Frames in order of display, one looked at ahead: what is on screen at a given second."""

    def __init__(self, container: InputContainer, stream: Any, survey: Survey, name: str) -> None:
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


def _decode(container: InputContainer, stream: Any, survey: Survey, name: str) -> Iterator[tuple[float, av.VideoFrame]]:
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


@dataclass(frozen=True)
class _Sample:
    """The seconds asked for (T,), the pictures on screen then at each short side, and their own seconds (T,)."""

    wanted: np.ndarray
    frames: list[list[np.ndarray]]
    times: np.ndarray


_Sized = dict["int | None", np.ndarray]  # a picture at some short sides


def _sample(
    source: VideoSource, choose: Callable[[Survey], list[np.ndarray]], sides: Sequence[Sequence[int | None]]
) -> tuple[Survey, list[_Sample]]:
    """The survey, and a sample for each row of seconds that is chosen, at that row's short sides."""
    with open_video(source) as (container, stream):
        survey = survey_of(container, stream, source)
        rows = choose(survey)
        asked = _merged(rows, sides)
        _check_room(source, stream, asked)
        shown = _picked(container, stream, survey, asked)
    shown = shown or _read(source, survey, asked)
    samples = []
    for row, own in zip(rows, sides, strict=True):
        pictures = [shown[second] for second in row.tolist()]
        times = np.maximum.accumulate([max(second, 0.0) for second, _ in pictures])  # damaged clocks may jump back
        samples.append(_Sample(row, [[sized[side] for _, sized in pictures] for side in own], times))
    return survey, samples


def _check_room(source: VideoSource, stream: Any, asked: dict[float, list[int | None]]) -> None:
    """Refuse pictures that would together take more memory than allowed, before any is decoded."""
    shown = shown_size(stream.codec_context, stream, (1, 0, 0, 1))
    areas = {side: math.prod(scaled_size(shown, side)) for side in {s for sides in asked.values() for s in sides}}
    megabytes = 3 * sum(areas[side] for sides in asked.values() for side in sides) / 1e6
    if megabytes > limits().pictures_mb:
        raise VideoError(
            f"{source.name!r}: {len(asked)} pictures of {shown[0]} x {shown[1]} would take {megabytes:,.0f} MB, "
            f"{limits().pictures_mb:g} are allowed; {raised('pictures_mb')}"
        )


def _merged(rows: Sequence[np.ndarray], sides: Sequence[Sequence[int | None]]) -> dict[float, list[int | None]]:
    """All seconds, rising, and the short sides at which each is wanted."""
    asked: dict[float, list[int | None]] = {}
    for row, own in zip(rows, sides, strict=True):
        for second in row.tolist():
            asked[second] = list(dict.fromkeys([*asked.get(second, []), *own]))
    return dict(sorted(asked.items()))


def _read(
    source: VideoSource, survey: Survey, asked: dict[float, list[int | None]]
) -> dict[float, tuple[float, _Sized]]:
    """By wanted second the picture on screen then and since when it is; all in between is decoded."""
    found: dict[float, tuple[float, _Sized]] = {}
    previous: tuple[float, av.VideoFrame] | None = None
    sized: _Sized = {}
    with open_video(source) as (container, stream):
        reader, scaler = _Reader(container, stream, survey, source.name), Scaler(stream)
        for second, sides in asked.items():
            shown = reader.at(second)
            if shown is None:
                raise VideoError(f"no frame of {source.name!r} can be decoded; the file is damaged")
            sized = sized if shown is previous else {}
            sized |= scaler(shown[1], [side for side in sides if side not in sized])
            found[second], previous = (shown[0], sized), shown
    return found


def _picked(
    container: InputContainer, stream: Any, survey: Survey, asked: dict[float, list[int | None]]
) -> dict[float, tuple[float, _Sized]] | None:
    """As `_read`, by decoding only what is needed; None where a stream does not allow it."""
    if survey.index is None or stream.codec_context.name not in CODECS:
        return None
    base, scaler = float(stream.time_base), Scaler(stream)
    try:
        stamps = on_screen(survey.index, list(asked), survey.first, base, _slack(stream, survey))
        sides: dict[int, list[int | None]] = {}
        for stamp, own in zip(stamps, asked.values(), strict=True):
            sides[stamp] = list(dict.fromkeys([*sides.get(stamp, []), *own]))
        found: dict[int, tuple[float, _Sized]] = {}
        for frame in pick(container, stream, survey.index, set(stamps)):
            if frame.pts in sides and frame.pts not in found:
                found[frame.pts] = (frame.pts * base - survey.first, scaler(frame, sides[frame.pts]))
        return {second: found[stamp] for second, stamp in zip(asked, stamps, strict=True)}
    except (Unpickable, KeyError, av.error.FFmpegError) as error:
        log.debug("%s: read whole (%s)", container.name, error)
        return None
