"""Where the captions of a run go: files a reader finds whole or not at all, tables, and the journal of what is done."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.errors import ConfigError, unknown
from captioner.files import write_text
from captioner.inference.results import VideoCaptions
from captioner.output.arguments import STDIN, Input, Options
from captioner.output.journal import JOURNAL, Journal, explained, file_stamp
from captioner.output.windows import WindowLog
from captioner.output.writers import WRITERS, Writer
from captioner.version import __version__

log = logging.getLogger("captioner.cli")

TABLE = "captions"
LONGEST_NAME = 240  # bytes, without the format's suffix; most file systems take 255 with it


@dataclass
class Outputs:
    """Writes the captions of inputs below `folder`."""

    folder: Path
    writers: list[Writer]
    targets: dict[str, Path]  # by source: where its files go, without suffix
    journal: Journal

    @property
    def needs_evidence(self) -> bool:
        """Whether any format shows pictures."""
        return any(writer.needs_evidence for writer in self.writers)

    @property
    def needs_faces(self) -> bool:
        """Whether any format tells of everybody's face."""
        return any(writer.needs_faces for writer in self.writers)

    def open(self) -> None:
        """Make the folder, read the journal; a folder that cannot be written to is found out before any work."""
        with explained(self.folder, ends_all=True):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.journal.load()

    def finished(self, each: Input) -> bool:
        """Whether an earlier run has captioned this input, unchanged since; its missing files are written now."""
        known = self.journal.finished(each.source) if each.source != STDIN else None
        if known is None:
            return False
        lacking = [w for w in self.writers if not w.shared and not _holds_something(self._path(each.source, w))]
        if any(writer.needs_evidence or writer.needs_faces for writer in lacking):
            return False
        texts = [_render(writer, *known) for writer in lacking]
        if None in texts:
            return False
        for writer, text in zip(lacking, texts, strict=True):
            self._write(self._path(each.source, writer), text or "")
        return True

    def write(self, source: str, video: VideoCaptions, run: Mapping[str, Any]) -> None:
        """All files of one input, then its line in the journal."""
        video.page_folder = self.targets[source].parent
        for writer in self.writers:
            if not writer.shared:
                self._write(self._path(source, writer), writer.render(video, run))
        self.journal.add(source, video.record(dict(run)))
        if kept := self.windows(source):
            kept.remove()

    def windows(self, source: str) -> WindowLog | None:
        """Where the windows of a film stay until it is done; None for what may be another one next time."""
        return WindowLog(self.folder, source, self.journal.made_by) if file_stamp(source) else None

    def write_tables(self) -> None:
        """The tables of all inputs that these settings have captioned into this folder."""
        for writer in self.writers:
            if writer.shared:
                rows = [_render(writer, *known) for known in self.journal.all_finished()]
                path = self.folder / f"{TABLE}.{writer.suffix}"
                self._write(path, writer.head() + "".join(row for row in rows if row), ends_all=True)

    def _path(self, source: str, writer: Writer) -> Path:
        target = self.targets[source]
        return target.with_name(f"{target.name}.{writer.suffix}")

    def _write(self, path: Path, text: str, ends_all: bool = False) -> None:
        with explained(path, ends_all):
            write_text(path, text, durable=True)


def _holds_something(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


def _render(writer: Writer, video: VideoCaptions, run: Mapping[str, Any]) -> str | None:
    """The text of captions from the journal; None where another program wrote what no caption holds."""
    try:
        return writer.render(video, run)
    except Exception as error:
        log.debug("a row of the journal cannot be written", exc_info=error)
        return None


def open_writers(names: str) -> list[Writer]:
    """The writers of a comma-separated list of formats, each once."""
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
    for name in wanted or [names]:
        if name not in WRITERS:
            raise ConfigError(unknown("format", name, WRITERS))
    return [WRITERS[name]() for name in dict.fromkeys(wanted)]


def output_paths(inputs: Sequence[Input], folder: Path) -> dict[str, Path]:
    """Output path without suffix of each input; inputs that differ only in their suffix keep it."""
    sound = [each for each in inputs if not each.fault]
    stems: dict[Path, int] = {}
    for each in sound:
        stems[each.target] = stems.get(each.target, 0) + 1
    targets: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    for each in sound:
        name = each.target if stems[each.target] == 1 else each.target.with_name(_whole_name(each))
        other = taken.setdefault(name, each.source)
        if other != each.source:
            clash = f"{other!r} and {each.source!r} would both be written to {str(folder / name)!r}.*"
            raise ConfigError(f"{clash}; caption them into two folders, or give the folder that holds both")
        targets[each.source] = folder / name.with_name(_shortened(name.name))
    return targets


def _whole_name(each: Input) -> str:
    """The name with its suffix; of an address, which may hold secrets, a few letters that tell it from others."""
    if "://" in each.source:
        return f"{each.target.name}~{_letters(each.source.encode(errors='surrogateescape'))}"
    return Path(each.source).name


def _letters(name: bytes) -> str:
    return hashlib.sha256(name).hexdigest()[:8]


def _shortened(name: str) -> str:
    """A name that has room for a suffix; what is cut off stands in a few letters that tell it from others."""
    whole = os.fsencode(name)
    if len(whole) <= LONGEST_NAME:
        return name
    return whole[: LONGEST_NAME - 9].decode(errors="ignore") + "~" + _letters(whole)


def open_outputs(options: Options, inputs: Sequence[Input]) -> Outputs | None:
    """The outputs that the options ask for, ready to be written; None for none."""
    if options.output is None:
        return None
    folder = options.output
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"-o {str(folder)!r} is a file; give a folder")
    model = options.model or "the shipped one"
    made_by = {"version": __version__, "model": model, "weights": file_stamp(f"{model}/model.safetensors")}
    writers = open_writers("txt" if options.format is None else options.format)
    journal = Journal(folder / JOURNAL, made_by | options.settings)
    outputs = Outputs(folder, writers, output_paths(inputs, folder), journal)
    outputs.open()
    return outputs
