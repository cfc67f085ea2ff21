"""What is said in a video, as text: a transcript, a subtitle file beside it, or a text stream inside it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from captioner.errors import VideoError
from captioner.video.source import VideoSource, open_container, real_pictures

SUFFIXES = (".srt", ".vtt")
LARGEST = 32 << 20  # bytes; more is no subtitle file
# 00:01:02,345 --> 00:01:04.5; hours may be left out, settings may follow
_TIME = r"(?:(\d{1,5}):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_TIMES = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_TAGS = re.compile(r"<[^>\n]{0,80}>|\{\\[^}\n]{0,80}\}")
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u200e\u200f\ufeff]")


@dataclass(frozen=True)
class Cue:
    """Words and the seconds between which they are shown."""

    start: float
    end: float
    text: str


def words_between(cues: Iterable[Cue], start: float, end: float | None) -> str:
    """The words of a span: cues of which at least half, or which fill at least half of the span, once each."""
    said: list[str] = []
    for cue in sorted(cues, key=lambda each: (each.start, each.end)):
        stop = max(cue.end, cue.start) if end is None else min(cue.end, end)
        shared = stop - max(cue.start, start)
        length = cue.end - cue.start if end is None else min(cue.end - cue.start, end - start)
        if shared > 0 and shared >= 0.5 * length and cue.text not in said[-3:]:  # rolling captions repeat lines
            said.append(cue.text)
    return " ".join(said)


def read_words(video: str | Path, start: float = 0.0, end: float | None = None, transcript: str = "") -> str:
    """What is said between two seconds: the transcript if there is one, else the subtitles; "" where nothing is."""
    if transcript.strip():
        return " ".join(transcript.split())
    return words_between(find_cues(video), start, end)


def find_cues(video: str | Path) -> list[Cue]:
    """The subtitles of a video: a file of its name beside it, else its first text stream, else none."""
    path = Path(video)
    for suffix in SUFFIXES:
        for beside in (path.with_suffix(suffix), path.with_suffix(suffix.upper())):
            if beside.is_file():
                return read_cues(beside)
    if not path.is_file():
        return []
    return embedded_cues(path)


def read_cues(path: str | Path) -> list[Cue]:
    """The cues of a .srt or .vtt file, in the order of their seconds, whatever its encoding."""
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise VideoError(f"{str(path)!r} is no subtitle file: it has more than {LARGEST >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise VideoError(f"{str(path)!r} cannot be read: {(error.strerror or str(error)).lower()}") from None
    cues = list(parse_cues(decoded(data)))
    if not cues and data.strip():
        raise VideoError(f"{str(path)!r} holds no subtitles: a line such as 00:00:01,000 --> 00:00:02,500 is needed")
    return sorted(cues, key=lambda cue: (cue.start, cue.end))


def parse_cues(text: str) -> Iterator[Cue]:
    """Cues of SubRip or WebVTT text; blocks without times (headers, notes, styles) are passed over."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    times: tuple[float, float] | None = None
    held: list[str] = []
    for line in [*lines, ""]:
        found = _TIMES.match(line)
        if found:
            yield from _cue(times, held[:-1] if held and held[-1].strip().isdigit() else held)
            times, held = (_seconds(found.groups()[:4]), _seconds(found.groups()[4:])), []
        elif times is not None and not line.strip():
            yield from _cue(times, held)
            times, held = None, []
        elif times is not None:
            held.append(line)


def plain_words(text: str) -> str:
    """Words without tags, entities and invisible letters, on one line."""
    return " ".join(_ODD.sub("", html.unescape(_TAGS.sub("", text))).replace("\\N", " ").split())


def decoded(data: bytes) -> str:
    """The text of bytes in UTF-8, UTF-16, UTF-32, GB 18030, Windows-1251 (Cyrillic) or Windows-1252 (Latin)."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    start = data[:4000]
    if start.count(0) > len(start) / 4:  # UTF-16 without its mark: of Latin letters every other byte is 0
        return data.decode("utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be", "replace")
    with suppress(UnicodeDecodeError):
        return data.decode("utf-8-sig")
    high = re.findall(rb"[\x80-\xff]+", data)
    pairs = sum(len(run) % 2 == 0 for run in high)  # characters of two bytes; accents stand alone among letters
    if pairs > 0.5 * len(high):
        with suppress(UnicodeDecodeError):
            return data.decode("gb18030")
    letters = sum(map(len, high))
    cyrillic = letters > 2 * len(high) and sum(byte >= 0xC0 for byte in b"".join(high)) > 0.8 * letters
    with suppress(UnicodeDecodeError):
        return data.decode("cp1251" if cyrillic else "cp1252")
    return data.decode("latin-1")


def embedded_cues(video: str | Path) -> list[Cue]:
    """The cues of a video's first text stream; none without one. Pictures of words are not read."""
    source = VideoSource(video)
    with open_container(source) as container:
        streams = [stream for stream in container.streams.subtitles if stream.codec_context is not None]
        if not streams:
            return []
        clock = next(iter(real_pictures(container)), None)
        origin = 0.0 if clock is None else float((clock.start_time or 0) * clock.time_base)
        return list(_decoded_cues(container, streams[0], origin))


def _decoded_cues(container: Any, stream: Any, origin: float) -> Iterator[Cue]:
    try:
        for packet in container.demux(stream):
            if not packet.size or packet.pts is None:
                continue
            start = float(packet.pts * packet.time_base) - origin
            length = float((packet.duration or 0) * packet.time_base)
            text = plain_words(" ".join(_said(packet)))
            if text:
                yield Cue(max(0.0, start), max(0.0, start) + (length or 3.0), text)
    except (av.error.FFmpegError, IndexError):  # what came before the damage stays
        return


def _said(packet: Any) -> Iterator[str]:
    try:
        shown = packet.decode()
    except (av.error.FFmpegError, NotImplementedError):
        return
    for one in shown:
        for rect in one if hasattr(one, "__iter__") else [one]:
            said = getattr(rect, "dialogue", None) or getattr(rect, "text", b"") or b""
            yield said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def _cue(times: tuple[float, float] | None, lines: list[str]) -> Iterator[Cue]:
    text = plain_words(" ".join(lines))
    if times is not None and times[1] > times[0] and text:
        yield Cue(times[0], times[1], text)


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000
