"""The journal of an output folder: what an earlier run has finished, each with what it was made with.

`.caption.jsonl` holds the record of every finished input, so that a second run does no work, a killed one goes on,
and another format is written without captioning again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from captioner.errors import CaptionerError, OutputError
from captioner.inference.results import VideoCaptions, restore

JOURNAL = ".caption.jsonl"
# What other inputs would meet as well; any other fault of writing is that of one name.
_ENDS_ALL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_RUN = ("version", "model", "settings")  # what a record holds beside its captions


class Journal:
    """Rows by source, of those that `made_by` has made; what cannot be read is as if it were not there."""

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        self.path, self.made_by = path, dict(made_by)
        self.rows: dict[str, dict[str, Any]] = {}

    def load(self) -> None:
        """Read the file, or begin it."""
        with open_own(self.path) as file:
            lines = file.readlines()
            if lines and not lines[-1].endswith(b"\n"):  # a line cut off by a crash must not swallow the next one
                file.write(b"\n")
        for line in lines:
            row = read_row(line)
            if row.get("made_by") == self.made_by and isinstance(source := row.get("source"), str):
                self.rows[source] = row

    def finished(self, source: str) -> tuple[VideoCaptions, dict[str, Any]] | None:
        """The captions of a source that is unchanged since, and what made them."""
        row = self.rows.get(source, {})
        return captions_of(row) if row.get("state") == file_stamp(source) else None

    def add(self, source: str, record: dict[str, Any]) -> None:
        """A source is finished; on the disk when this returns."""
        row = {"source": source, "state": file_stamp(source), "made_by": self.made_by, "record": record}
        self.rows[source] = row
        append(self.path, row)

    def all_finished(self) -> list[tuple[VideoCaptions, dict[str, Any]]]:
        """Captions and what made them, of every source."""
        return [known for row in self.rows.values() if (known := captions_of(row))]


def open_own(path: Path) -> BinaryIO:
    """A file of ours to read and to append to; a link, a pipe or a device in its place is refused."""

    def plain(name: str, flags: int) -> int:
        # not blocking: a pipe is there at once, and refused
        handle = os.open(name, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.ELOOP, "")
        return handle

    try:
        file = open(path, "a+b", opener=plain)  # noqa: SIM115
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        cause = "it is a link or no plain file; delete it" if error.errno in (errno.ELOOP, errno.ENXIO) else cause
        raise OutputError(f"cannot write {str(path)!r}: {cause}") from error
    file.seek(0)
    return file


def append(path: Path, row: Mapping[str, Any]) -> None:
    """One more line, on the disk when this returns."""
    with explained(path, ends_all=True), open_own(path) as file:
        file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def explained(path: Path, ends_all: bool = False) -> Iterator[None]:
    """A fault of writing as one line: an OutputError where others would meet it too, else that of one name."""
    try:
        yield
    except OSError as error:
        line = f"cannot write {str(path)!r}: {(error.strerror or str(error)).lower()}"
        raise (OutputError if ends_all or error.errno in _ENDS_ALL else CaptionerError)(line) from error


def read_row(line: bytes) -> dict[str, Any]:
    """A line of a journal; nothing for one that another program wrote, or that a crash cut off."""
    try:
        row = json.loads(line if line.endswith(b"\n") else b"")
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def captions_of(row: Mapping[str, Any]) -> tuple[VideoCaptions, dict[str, Any]] | None:
    """The captions of a row and what made them; None for a row that another program wrote."""
    try:
        video = restore(row["record"])
        return video, {name: row["record"][name] for name in _RUN if name in row["record"]}
    except (KeyError, TypeError, AttributeError, ValueError, IndexError):
        return None


def file_stamp(source: str) -> list[int]:
    """What changes when a file does; the same for anything that is no file."""
    try:
        about = os.stat(source)
    except (OSError, ValueError):
        return []
    return [about.st_size, about.st_mtime_ns]
