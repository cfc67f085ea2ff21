"""The sound of a video as one channel of samples, on the clock of its pictures, read as a stream.

VideoSource -> open_sound -> decoded frames -> resampled, mixed to mono -> exact spans, silence where there is none
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from captioner.errors import VideoError
from captioner.video.source import VideoSource, open_container, real_pictures

log = logging.getLogger(__name__)

RATE = 16_000  # of speech models
QUIET = 1e-3  # -60 dB: what never rises above it is not heard
GAP = 0.1  # seconds; a longer hole in the stream is filled with silence, a shorter one is a careless clock
PREROLL = 0.3  # seconds decoded before a span: codecs need some packets to settle
_FAR = 10.0  # seconds; a timestamp so far behind the stated end is a broken one

Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """Samples float32 (N,) of one channel, about -1 to 1; `start` is the second of the first on the pictures' clock."""

    wave: Wave
    rate: int
    start: float = 0.0

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.wave) / self.rate

    @property
    def silent(self) -> bool:
        """Whether nothing is louder than -60 dB."""
        return not len(self.wave) or float(np.abs(self.wave).max()) < QUIET

    def part(self, start: float, end: float) -> Sound:
        """The samples between two seconds of the same clock, silence where there are none."""
        first, count = round((start - self.start) * self.rate), max(0, round((end - start) * self.rate))
        wave = np.zeros(count, np.float32)
        low, high = max(0, first), min(len(self.wave), first + count)
        if high > low:
            wave[low - first : high - first] = self.wave[low:high]
        return Sound(wave, self.rate, start)


def read_sound(
    source: str | Path | BinaryIO, rate: int = RATE, start: float = 0.0, end: float | None = None
) -> Sound | None:
    """The sound between two seconds, or to its end; None where there is no audio stream.

    With `end` it has exactly round((end - start) * rate) samples: silence follows where the sound is over.
    """
    with open_sound(_opened(source)) as reader:
        return None if reader is None else reader.span(rate, start, end)


def read_spans(
    source: str | Path | BinaryIO, rate: int, spans: Sequence[tuple[float, float]]
) -> list[Sound] | None:
    """Several spans of one file, each as `read_sound` gives it; only these are in memory."""
    with open_sound(_opened(source)) as reader:
        return None if reader is None else [reader.span(rate, start, end) for start, end in spans]


def sound_blocks(
    source: str | Path | BinaryIO, rate: int = RATE, start: float = 0.0, end: float | None = None, seconds: float = 30.0
) -> Iterator[Sound]:
    """The sound in blocks, the last one shorter; memory does not grow with its length. Nothing without a stream."""
    size = max(1, round(seconds * rate))
    with open_sound(_opened(source)) as reader:
        if reader is None:
            return
        held: list[Wave] = []
        count, at = 0, start
        for piece in reader.pieces(rate, start, end):
            held.append(piece)
            count += len(piece)
            while count >= size:
                joined = np.concatenate(held)
                yield Sound(joined[:size].copy(), rate, at)
                held, count, at = [joined[size:]], count - size, at + size / rate
        if count:
            yield Sound(np.concatenate(held), rate, at)


def _opened(source: str | Path | BinaryIO) -> VideoSource:
    return source if isinstance(source, VideoSource) else VideoSource(source)


@contextmanager
def open_sound(source: VideoSource) -> Iterator[SoundReader | None]:
    """A reader of the file's first audio stream; None where it has none."""
    with open_container(source) as container:
        if not len(container.streams):
            raise VideoError(f"{source.name!r} is cut off or damaged: its index cannot be found")
        streams = container.streams.audio
        yield SoundReader(container, streams[0], source.name) if streams else None


class SoundReader:
    """Spans of one audio stream, which may be asked for in any order."""

    def __init__(self, container: Any, stream: Any, name: str) -> None:
        if stream.codec_context is None:
            raise VideoError(f"{name!r} uses a sound codec that this FFmpeg cannot decode")
        self.container, self.stream, self.name = container, stream, name
        # second 0 is the first picture, as everywhere; of a file of sound alone its first sample
        clock = next(iter(real_pictures(container)), stream)
        self.origin = float((clock.start_time or 0) * clock.time_base)
        self.stated = float(container.duration or 0) / av.time_base
        self.decoded = 0

    def span(self, rate: int, start: float, end: float | None) -> Sound:
        """The samples between two seconds."""
        pieces = list(self.pieces(rate, start, end))
        wave = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        return Sound(wave, rate, start)

    def pieces(self, rate: int, start: float, end: float | None) -> Iterator[Wave]:
        """The span in small pieces that follow each other without a gap."""
        if rate < 1 or start < 0 or (end is not None and end <= start):
            raise ValueError(f"rate {rate}, start {start}, end {end}: need >= 1, >= 0, > start")
        wanted = None if end is None else round((end - start) * rate)
        done = 0  # samples handed out
        self._seek(start)
        for second, wave in self._resampled(rate):
            place = round((second - start) * rate)
            wave = wave[max(0, done - place) :]  # before the span, or told twice
            place = max(place, done)
            if wanted is not None and place >= wanted:
                break
            if len(wave):
                yield from _silence(place - done)
                cut = wave if wanted is None else wave[: wanted - place]
                yield cut
                done = place + len(cut)
        if wanted is not None:
            yield from _silence(wanted - done)

    def _seek(self, start: float) -> None:
        """Go near a second, before the file's start for its first one: there a codec hides what it needs to begin."""
        if start <= PREROLL and not self.decoded:
            return
        base = float(self.stream.time_base)
        for second in (start - PREROLL, max(0.0, start - PREROLL), 0.0):
            with suppress(av.error.FFmpegError):
                self.container.seek(int((second + self.origin) / base), stream=self.stream)
                return

    def _resampled(self, rate: int) -> Iterator[tuple[float, Wave]]:
        """(second of the first sample, samples) of one channel at a rate."""
        resampler: Any = None
        kind: tuple[Any, ...] = ()
        clock: float | None = None  # second of the next sample
        for frame in self._frames():
            now = self._second(frame)
            is_kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            jumps = clock is not None and now is not None and now - clock - _held(resampler, rate) > GAP
            if resampler is not None and (is_kind != kind or jumps):
                yield from _clocked(_mixed(resampler.resample(None)), clock or 0.0, rate)
                resampler = None
            if resampler is None:
                kind = is_kind
                resampler = av.AudioResampler(format="fltp", layout=frame.layout.name, rate=rate)
                clock = now if now is not None else clock or 0.0
            assert clock is not None
            for wave in _mixed(resampler.resample(frame)):
                yield clock, wave
                clock += len(wave) / rate
        if resampler is not None:
            yield from _clocked(_mixed(resampler.resample(None)), clock or 0.0, rate)

    def _second(self, frame: Any) -> float | None:
        if frame.pts is None:
            return None
        second = float(frame.pts * frame.time_base) - self.origin
        return None if self.stated and second > self.stated + _FAR else second

    def _frames(self) -> Iterator[Any]:
        """Decoded frames; damaged packets are passed over, and said."""
        packets, bad, here = self.container.demux(self.stream), 0, 0
        more = True
        while more:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, IndexError):
                packet = None
            more = packet is not None and packet.size > 0
            try:
                frames = packet.decode() if packet is not None else []
            except av.error.EOFError:
                frames = []
            except av.error.FFmpegError:
                bad += 1
                continue
            for frame in frames:
                if frame.sample_rate and frame.samples:
                    here += 1
                    self.decoded += 1
                    yield frame
        if bad and not self.decoded:
            raise VideoError(f"the sound of {self.name!r} cannot be decoded; it is damaged")
        if bad:
            log.warning("%s: %d damaged packets of sound were passed over", self.name, bad)


def _held(resampler: Any, rate: int) -> float:
    """Seconds that a resampler may still hold back."""
    return 0.0 if resampler is None else 64 / rate


def _clocked(waves: Iterator[Wave], clock: float, rate: int) -> Iterator[tuple[float, Wave]]:
    for wave in waves:
        yield clock, wave
        clock += len(wave) / rate


def _mixed(frames: Sequence[Any]) -> Iterator[Wave]:
    """One channel of each frame: the mean, a centre counting more, the low-frequency one not at all."""
    for frame in frames:
        samples = frame.to_ndarray()  # (channels, N)
        names = [channel.name for channel in frame.layout.channels]
        weights = np.array([{"LFE": 0.0, "FC": 1.0}.get(name, 0.707) for name in names], np.float32)
        if len(weights) != len(samples) or not weights.any():
            weights = np.ones(len(samples), np.float32)
        wave = (weights / weights.sum()) @ samples
        yield np.nan_to_num(wave.astype(np.float32), posinf=0.0, neginf=0.0)


def _silence(count: int) -> Iterator[Wave]:
    """So many zeros, in pieces that do not fill the memory."""
    while count > 0:
        yield np.zeros(min(count, 1 << 20), np.float32)
        count -= 1 << 20
