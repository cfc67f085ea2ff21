"""Captions as files: one class a format, one table from the format's name to its class."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from captioner.errors import printable
from captioner.inference.results import Caption, VideoCaptions

_FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # signs that open one, the wide ones too
CUE_LEAST = 0.5  # seconds; a still picture needs a cue that can be seen


class Writer(ABC):
    """Renders the captions of one file; a format says how."""

    suffix: ClassVar[str]
    needs_evidence: ClassVar[bool] = False  # pictures, faces and attention, which cost time and memory
    needs_faces: ClassVar[bool] = False  # everybody's FaceReading, which takes another pass over the video
    shared: ClassVar[bool] = False  # one table for all inputs, instead of a file for each

    @abstractmethod
    def render(self, video: VideoCaptions, run: Mapping[str, Any]) -> str:
        """The text of the file, or this input's lines of the table; `run` says what made the captions."""

    def head(self) -> str:
        """What a table begins with."""
        return ""


class TextWriter(Writer):
    """The sentences, and nothing else but the times of windows and the numbers of persons."""

    suffix = "txt"

    def render(self, video: VideoCaptions, run: Mapping[str, Any]) -> str:
        """A line each."""
        return "".join(f"{line(caption, video)}\n" for caption in video.segments)


class JsonWriter(Writer):
    """One object that schema.json describes: captions, what they rest on, what made them."""

    suffix = "json"

    def render(self, video: VideoCaptions, run: Mapping[str, Any]) -> str:
        """Indented, ASCII only: any program can read it."""
        return json.dumps(video.record(dict(run)), ensure_ascii=True, indent=2) + "\n"


class JsonLinesWriter(Writer):
    """The same objects, a line each, in one file."""

    suffix = "jsonl"
    shared = True

    def render(self, video: VideoCaptions, run: Mapping[str, Any]) -> str:
        """One line."""
        return json.dumps(video.record(dict(run)), ensure_ascii=True) + "\n"


class CsvWriter(Writer):
    """A row a caption, for spreadsheets."""

    suffix = "csv"
    shared = True
    columns = (
        "file", "start", "end", "person", "caption", "score", "emotion", "probability", "action_units", "faces",
        "event_source",
    )  # fmt: skip

    def head(self) -> str:
        """The names of the columns."""
        return self._lines([self.columns])

    def render(self, video: VideoCaptions, run: Mapping[str, Any]) -> str:
        """The rows of one input."""
        return self._lines([self._row(video.file, caption) for caption in video.segments])

    def _row(self, file: str, caption: Caption) -> Sequence[Any]:
        emotion = max(caption.emotion, key=caption.emotion.__getitem__, default="")
        probability = f"{caption.emotion[emotion]:.4f}" if emotion else ""
        units = " ".join(f"AU{unit.id}" for unit in caption.action_units)
        times = (f"{caption.start:.3f}", f"{caption.end:.3f}", caption.person or "")
        said = (_cell(caption.text), f"{caption.score:.4f}", _cell(emotion), probability, units, caption.faces)
        return (_cell(file), *times, *said, _cell(caption.event_source))

    def _lines(self, rows: Sequence[Sequence[Any]]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue()


def _cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULAS) else text


class SubtitleWriter(Writer):
    """Cues: one for the clip, or one a window."""

    point: ClassVar[str]

    def render(self, video: VideoCaptions, run: Mapping[str, Any]) -> str:
        """Numbered cues; what is said of several persons at a time shares one."""
        cues: dict[tuple[float, float], list[str]] = {}
        for caption in video.segments:
            until = caption.end if video.timed else max(caption.end, video.duration)
            span = (caption.start, max(until, caption.start + CUE_LEAST))
            cues.setdefault(span, []).append(self.escape(person(caption) + one_line(caption.text)))
        return self.head() + "\n".join(
            f"{number}\n{self._time(start)} --> {self._time(end)}\n" + "\n".join(lines) + "\n"
            for number, ((start, end), lines) in enumerate(cues.items(), 1)
        )

    def escape(self, text: str) -> str:
        """Text that cannot be taken for marks."""
        return text.replace("-->", "->")

    def _time(self, seconds: float) -> str:
        whole, milli = divmod(round(seconds * 1000), 1000)
        return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{self.point}{milli:03d}"


class SrtWriter(SubtitleWriter):
    """SubRip."""

    suffix, point = "srt", ","


class VttWriter(SubtitleWriter):
    """WebVTT."""

    suffix, point = "vtt", "."

    def head(self) -> str:
        """The line that says what it is."""
        return "WEBVTT\n\n"

    def escape(self, text: str) -> str:
        """As WebVTT wants its three marks."""
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class PageWriter(Writer):
    """One page a video: the film plays, each caption with the evidence of its words, settings."""

    suffix = "html"
    needs_evidence = True

    def render(self, video: VideoCaptions, run: Mapping[str, Any]) -> str:
        """The page; its templates are loaded with the first one."""
        from captioner.output.page import page

        return page(video, run, video.page_folder)


class FacesWriter(Writer):
    """A row for each face and about ten frames a second: pose, gaze, action units, emotions, landmarks."""

    suffix = "faces.csv"
    needs_faces = True

    def render(self, video: VideoCaptions, run: Mapping[str, Any]) -> str:
        """The table that FaceReadings.table describes."""
        from captioner.faces.face_reading import csv_text

        return csv_text(video.faces) if video.faces else ""


# The table of formats, a line each: help, checks and messages list what stands here.
WRITERS: dict[str, type[Writer]] = {
    "txt": TextWriter,
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
    "srt": SrtWriter,
    "vtt": VttWriter,
    "csv": CsvWriter,
    "html": PageWriter,
    "faces": FacesWriter,
}


def line(caption: Caption, video: VideoCaptions) -> str:
    """One caption as a line of text."""
    span = f"{clock(caption.start)}-{clock(caption.end)} " if video.timed else ""
    return span + person(caption) + one_line(caption.text)


def one_line(text: str) -> str:
    """What a captioner said as one line: the words of a foreign one may hold anything."""
    return printable(" ".join(text.split()))


def person(caption: Caption) -> str:
    """Who the caption is about, where persons were asked for."""
    return f"person {caption.person}: " if caption.person else ""


def clock(seconds: float) -> str:
    """0:07.2, or 1:02:03.0."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{rest / 10:04.1f}"
