"""What a run leaves in its folder: files a reader finds whole or not at all, and a journal of what is done.

The journal (.caption.jsonl) holds the record of every finished input and what it was made with, so that a second run
does no work, a killed one goes on, and another format is written without captioning again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import captioner
from captioner.errors import ConfigError, OutputError, unknown
from captioner.files import write_text
from captioner.inference.results import VideoCaptions, restore
from captioner.output.arguments import Input, Options
from captioner.output.writers import WRITERS, Writer

log = logging.getLogger("captioner.cli")

JOURNAL = ".caption.jsonl"
TABLE = "captions"


@dataclass
class Outputs:
    """Writes results of `run` (version, model, settings) below `folder`; `made_by` tells runs apart."""

    folder: Path
    writers: list[Writer]
    targets: dict[str, Path]  # by source: where its files go, without suffix
    made_by: dict[str, Any]
    done: dict[str, dict[str, Any]] = field(default_factory=dict)  # the journal, by source

    @property
    def needs_evidence(self) -> bool:
        """Whether any format shows pictures."""
        return any(writer.needs_evidence for writer in self.writers)

    def open(self) -> None:
        """Make the folder, read the journal; a folder that cannot be written to is found out before any work."""
        with _explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / JOURNAL).open("a+b") as file:
                file.seek(0)
                lines = file.read().split(b"\n")
                if lines[-1]:  # a line cut off by a crash must not swallow the next one
                    file.write(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                if entry["made_by"] == self.made_by:
                    self.done[entry["source"]] = entry

    def finished(self, each: Input) -> bool:
        """Whether an earlier run has captioned this input, unchanged since; its missing files are written now."""
        entry = self.done.get(each.source)
        if entry is None or entry["state"] != file_stamp(each.source):
            return False
        lacking = [w for w in self.writers if not w.shared and not self._path(each.source, w).is_file()]
        if any(writer.needs_evidence for writer in lacking):
            return False
        try:
            video = restore(entry["record"])
        except (KeyError, TypeError):  # written by something else
            return False
        for writer in lacking:
            self._write(self._path(each.source, writer), writer.render(video, _run(entry["record"])))
        return True

    def write(self, source: str, video: VideoCaptions, run: Mapping[str, Any]) -> None:
        """All files of one input, then its line in the journal."""
        for writer in self.writers:
            if not writer.shared:
                self._write(self._path(source, writer), writer.render(video, run))
        record = video.record(dict(run))
        entry = {"source": source, "state": file_stamp(source), "made_by": self.made_by, "record": record}
        self.done[source] = entry
        with _explained(self.folder / JOURNAL), (self.folder / JOURNAL).open("ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")

    def write_tables(self) -> None:
        """The tables of all inputs that these settings have captioned into this folder."""
        kept = [entry["record"] for entry in self.done.values()]
        for writer in self.writers:
            if writer.shared:
                rows = [writer.render(restore(record), _run(record)) for record in kept]
                self._write(self.folder / f"{TABLE}.{writer.suffix}", writer.head() + "".join(rows))

    def _path(self, source: str, writer: Writer) -> Path:
        target = self.targets[source]
        return target.with_name(f"{target.name}.{writer.suffix}")

    def _write(self, path: Path, text: str) -> None:
        with _explained(path):
            write_text(path, text)


def open_writers(names: str) -> list[Writer]:
    """The writers of a comma-separated list of formats, each once."""
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in WRITERS:
            raise ConfigError(unknown("format", name, WRITERS))
    return [WRITERS[name]() for name in dict.fromkeys(wanted)]


def file_stamp(source: str) -> list[int]:
    """What changes when a file does; the same for anything that is no file."""
    try:
        about = os.stat(source)
    except (OSError, ValueError):
        return []
    return [about.st_size, about.st_mtime_ns]


def _run(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("version", "model", "settings") if name in record}


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise OutputError(f"cannot write {str(path)!r}: {cause}") from error


def output_paths(inputs: Sequence[Input], folder: Path) -> dict[str, Path]:
    """Output path without suffix of each input; inputs that differ only in their suffix keep it."""
    stems: dict[Path, int] = {}
    for each in inputs:
        stems[each.target] = stems.get(each.target, 0) + 1
    targets: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    for each in inputs:
        name = each.target if stems[each.target] == 1 else each.target.with_name(Path(each.source).name)
        other = taken.setdefault(name, each.source)
        if other != each.source:
            clash = f"{other!r} and {each.source!r} would both be written to {str(folder / name)!r}.*"
            raise ConfigError(f"{clash}; caption them into two folders, or give the folder that holds both")
        targets[each.source] = folder / name
    return targets


def open_outputs(options: Options, inputs: Sequence[Input]) -> Outputs | None:
    """The outputs that the options ask for, ready to be written; None for none."""
    if options.output is None:
        return None
    folder = options.output
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"-o {str(folder)!r} is a file; give a folder")
    model = options.model or "the shipped one"
    made_by = {"version": captioner.__version__, "model": model, "weights": file_stamp(f"{model}/model.safetensors")}
    outputs = Outputs(
        folder, open_writers(options.format or "txt"), output_paths(inputs, folder), made_by | options.settings
    )
    outputs.open()
    return outputs
