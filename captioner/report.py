"""Captions as files: one class a format, one table from the format's name to its class."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from captioner.files import write_text


class CaptionLike(Protocol):
    """What a writer needs of a caption."""

    text: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""


class Writer(ABC):
    """Writes one caption to one file; a format says how it is rendered."""

    suffix: ClassVar[str]

    @abstractmethod
    def render(self, caption: CaptionLike, source: str, run: Mapping[str, Any]) -> str:
        """The text of the file; `run` says what made the caption (version, settings)."""

    def write(self, path: Path, caption: CaptionLike, source: str, run: Mapping[str, Any]) -> None:
        """The file at `path`, whole or not at all."""
        write_text(path, self.render(caption, source, run))


class TextWriter(Writer):
    """The sentence, and nothing else."""

    suffix = "txt"

    def render(self, caption: CaptionLike, source: str, run: Mapping[str, Any]) -> str:
        """One line."""
        return f"{caption.text}\n"


class JsonWriter(Writer):
    """One object: file, caption, everything the caption carries as evidence, and what made it."""

    suffix = "json"

    def render(self, caption: CaptionLike, source: str, run: Mapping[str, Any]) -> str:
        """Indented JSON with `file` and `caption` first."""
        evidence = {key: value for key, value in caption.to_dict().items() if key not in ("text", "source")}
        record = {"file": source, "caption": caption.text, **evidence, **run}
        return json.dumps(record, ensure_ascii=True, indent=2) + "\n"


WRITERS: dict[str, type[Writer]] = {writer.suffix: writer for writer in (TextWriter, JsonWriter)}
