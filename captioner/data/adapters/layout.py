"""What the adapters share: tables in any encoding and separator, columns by name, videos by stem."""

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError
from captioner.files import VIDEO_SUFFIXES, missing

TABLES = (".csv", ".tsv", ".txt", ".xlsx")


class LayoutError(CaptionerError):
    """A folder that is not laid out as its dataset; says what was looked for, what was found, what to do."""


@dataclass
class Item:
    """One clip as its dataset describes it; `names` are the stems its video may have."""

    id: str
    split: str
    names: tuple[str, ...]
    captions: list[str] = field(default_factory=list)
    emotion: str | None = None
    multi_emotion: tuple[str, ...] = ()
    group: str = ""
    part: str = ""  # S or L of EmVidCap, whose counts are published apart
    label: str | None = None  # what the class histogram counts, where it is no emotion of ours
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Collected:
    """Everything a dataset's files say, before videos are looked for."""

    title: str
    items: list[Item]
    published: Mapping[str, int]  # "train clips" -> number; with the part in front where there are parts
    limit: int  # words a generated caption can have
    fold: int | None = None
    notices: list[str] = field(default_factory=list)


def wrong_layout(dataset: str, root: Path, wanted: str, advice: str, found: Iterable[str] | None = None) -> LayoutError:
    """The error of a folder that lacks `wanted`; `found` is by default what the folder holds."""
    names = sorted(found if found is not None else _listing(root))
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    shown = shown or "nothing"
    return LayoutError(f"{root} is not laid out as {dataset}: looked for {wanted}; found {shown}; {advice}")


def check_root(root: Path) -> None:
    """Raises LayoutError unless `root` is a folder."""
    if not root.exists():
        raise LayoutError(missing(root))
    if not root.is_dir():
        raise LayoutError(f"{str(root)!r} is a file; give the dataset's folder, unpacked")


def walk(root: Path, suffixes: Iterable[str]) -> Iterator[Path]:
    """Files below `root` with one of the suffixes, in a fixed order; hidden ones are left out."""
    wanted = frozenset(suffixes)
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith((".", "~")) and Path(name).suffix.lower() in wanted:
                yield Path(folder, name)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, UTF-16 or GB 18030; lines may differ in encoding, as some of MAFW's do."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LayoutError(f"{path} cannot be read: {error.strerror or error}") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    return "\n".join(_decoded(line) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def read_rows(path: Path, most: int | None = None) -> list[list[str]]:
    """The rows of a table (the first `most`), cells stripped; tabs separate where the first line has one."""
    if path.suffix.lower() == ".xlsx":
        return _read_sheet(path, most)
    text = read_text(path)
    first = next((line for line in text.split("\n") if line.strip()), "")
    tabs = "\t" in first
    rows = []
    try:
        # a lone quotation mark in a tab-separated caption must not swallow the lines behind it
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines)
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([_unquoted(cell.strip()) if tabs else cell.strip() for cell in row])
            if most is not None and len(rows) >= most:
                break
    except csv.Error as error:
        raise LayoutError(f"{path}:{reader.line_num}: not a table: {error}; save it again as CSV in UTF-8") from None
    return rows


def columns(header: Sequence[str], wanted: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The place of each wanted column that the header has, by any of its likely names."""
    plain = [_plain(name) for name in header]
    places = {}
    for key, names in wanted.items():
        place = next((plain.index(_plain(name)) for name in names if _plain(name) in plain), None)
        if place is not None:
            places[key] = place
    return places


def cell_at(row: Sequence[str], place: int) -> str:
    """A cell of a row that may be too short."""
    return row[place] if place < len(row) else ""


def read_json(path: Path) -> Any:
    """The value in a JSON file; a damaged one is named."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{path} is not JSON ({str(error).splitlines()[0]}): copy or download it again") from None


def split_of(name: str) -> str | None:
    """train, val or test as a file's name says it; trainval counts as train."""
    words = re.sub(r"[^a-z]+", " ", name.lower())
    if "train" in words:
        return "train"
    if "test" in words:
        return "test"
    return "val" if re.search(r"\bval", words) else None


class Videos:
    """All videos below a folder by stem."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: dict[str, Path] = {}
        for path in walk(root, VIDEO_SUFFIXES):
            self.paths.setdefault(path.stem, path)
        self.lower = {stem.lower(): path for stem, path in self.paths.items()}

    def find(self, names: Iterable[str]) -> Path | None:
        """The video with one of these stems."""
        found = (self.paths.get(name) or self.lower.get(name.lower()) for name in names)
        return next((path for path in found if path is not None), None)


def has_openpyxl() -> bool:
    """Whether spreadsheets can be read here."""
    return find_spec("openpyxl") is not None


def _read_sheet(path: Path, most: int | None) -> list[list[str]]:
    if not has_openpyxl():
        raise LayoutError(
            f"{path} is a spreadsheet: `pip install openpyxl`, or export it from your office program as CSV (UTF-8)"
        )
    try:
        book = import_module("openpyxl").load_workbook(path, read_only=True, data_only=True)
        rows = []
        for row in book.worksheets[0].iter_rows(values_only=True, max_row=most):
            cells = ["" if value is None else str(value).strip() for value in row]
            if any(cells):
                rows.append(cells)
        book.close()
    except Exception as error:  # the library raises whatever zip and XML raise
        raise LayoutError(f"{path} is not a readable spreadsheet ({error}); export it as CSV (UTF-8)") from None
    return rows


def _decoded(line: bytes) -> str:
    for encoding in ("utf-8", "gb18030"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _listing(root: Path) -> list[str]:
    try:
        return [entry.name + ("/" if entry.is_dir() else "") for entry in root.iterdir()]
    except OSError:
        return []
