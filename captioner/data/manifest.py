"""The manifest: one JSON line a clip. Every dataset becomes this, and every fault of it is named here."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from captioner.errors import ManifestError, unknown
from captioner.files import missing, write_text

SPLITS = ("train", "val", "test")
SHOWN_FAULTS = 5


@dataclass(frozen=True)
class Record:
    """One clip; `group` (film, source video) keeps relatives on one side of a split, 0 means not known."""

    id: str
    video: Path
    split: str
    captions: tuple[str, ...] = ()
    emotion: str | None = None
    multi_emotion: tuple[str, ...] = ()
    au_ids: tuple[int, ...] = ()
    group: str = ""
    fold: int | None = None
    n_frames: int = 0
    fps: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)


def read_manifest(
    path: str | Path,
    *,
    split: str | None = None,
    fold: int | None = None,
    labels: Sequence[str] | None = None,
    check_files: bool = True,
) -> list[Record]:
    """The records of `split` and `fold` (records without a fold belong to all), in the order of the file.

    The entire file is checked; emotions must be among `labels`; only the chosen records' videos must exist.
    """
    path = Path(path)
    if split is not None and split not in SPLITS:
        raise ManifestError(unknown("split", split, SPLITS))
    faults: list[str] = []
    numbered = list(_records(path, labels, faults))
    chosen = [
        (line, record)
        for line, record in numbered
        if split in (None, record.split) and (fold is None or record.fold in (None, fold))
    ]
    if check_files:
        faults += [f"line {n}: no video at {str(r.video)!r}" for n, r in chosen if not r.video.is_file()]
    if faults:
        raise ManifestError(_summary(path, faults))
    records = [record for _, record in chosen]
    if not records:
        raise ManifestError(_nothing(path, [record for _, record in numbered], split, fold))
    if split is not None and len({record.id for record in records}) < len(records):
        folds = sorted({record.fold for record in records if record.fold is not None})
        raise ManifestError(f"{path}: clips are listed once a fold; choose one of the folds {folds}")
    return records


def write_manifest(path: str | Path, records: Iterable[Record]) -> None:
    """One JSON line a record, videos relative to the manifest's folder, written atomically."""
    folder = Path(path).absolute().parent
    lines = []
    for record in records:
        line = asdict(record) | {"video": _relative(record.video, folder)}
        lines.append(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(path, "".join(lines))


def _records(path: Path, labels: Sequence[str] | None, faults: list[str]) -> Iterator[tuple[int, Record]]:
    """(line number, record) of each sound line; what is wrong with the others goes to `faults`."""
    if path.is_dir():
        raise ManifestError(f"{str(path)!r} is a folder; give the manifest, a .jsonl file")
    if not path.is_file():
        raise ManifestError(missing(path))
    folder = path.absolute().parent
    first_seen: dict[tuple[str, int | None], int] = {}
    for number, raw in enumerate(path.read_bytes().splitlines(), start=1):
        if not raw.strip():
            continue
        found, record = _parse(raw, folder, labels)
        if record is not None:
            first = first_seen.setdefault((record.id, record.fold), number)
            if first != number:
                found.append(f"duplicate id {record.id!r}, first on line {first}")
            yield number, record
        faults += [f"line {number}: {fault}" for fault in found]


def _parse(raw: bytes, folder: Path, labels: Sequence[str] | None) -> tuple[list[str], Record | None]:
    """All faults of one line, and its record if there are none."""
    try:
        line = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError:
        return ["not UTF-8 text"], None
    except (ValueError, RecursionError) as error:
        return [f"not JSON ({str(error).splitlines()[0]})"], None
    if not isinstance(line, dict):
        return [f"a JSON object is needed, not {type(line).__name__}"], None
    faults = _check_fields(line)
    if not faults:
        faults = _check_values(line, labels)
    if faults:
        return faults, None
    for name in ("captions", "multi_emotion", "au_ids"):
        line[name] = tuple(line.get(name, ()))
    line["captions"] = tuple(_collapsed(line["captions"]))
    line["video"] = Path(os.path.abspath(folder / line["video"]))
    return [], Record(**line)


def _check_fields(line: dict[str, Any]) -> list[str]:
    """Faults of presence and type."""
    faults = [unknown("field", name, _WANTED) for name in line if name not in _WANTED]
    required = ["id", "video", "split", *(["captions"] if line.get("emotion") != "neutral" else [])]
    faults += [f"field {name!r} is missing" for name in required if name not in line]
    for name, (wanted, fits) in _WANTED.items():
        if name in line and not fits(line[name]):
            given = json.dumps(line[name], ensure_ascii=True)
            faults.append(f"{name} must be {wanted}, not {given if len(given) <= 40 else given[:37] + '...'}")
    return faults


def _check_values(line: dict[str, Any], labels: Sequence[str] | None) -> list[str]:
    """Faults of content, in a line whose fields are all of the right type."""
    faults = [] if line["split"] in SPLITS else [unknown("split", line["split"], SPLITS)]
    if labels is not None:
        named = [line.get("emotion"), *line.get("multi_emotion", ())]
        faults += [
            unknown("emotion", name, labels) for name in named if name is not None and name not in labels
        ]
    if line.get("emotion") == "neutral":
        return faults  # datasets leave neutral clips without a caption
    captions = [" ".join(caption.split()) for caption in line["captions"]]
    if not captions:
        faults.append("no caption (only neutral clips may have none)")
    faults += [f"caption {place} is empty" for place, caption in enumerate(captions, start=1) if not caption]
    return faults


def _collapsed(captions: Iterable[str]) -> list[str]:
    """Captions with single spaces, without those that are empty."""
    return [kept for kept in (" ".join(caption.split()) for caption in captions) if kept]


def _summary(path: Path, faults: list[str]) -> str:
    more = len(faults) - SHOWN_FAULTS
    tail = f"; ... and {more} more fault{'s' if more > 1 else ''}" if more > 0 else ""
    return f"{path}: {'; '.join(faults[:SHOWN_FAULTS])}{tail}"


def _nothing(path: Path, records: list[Record], split: str | None, fold: int | None) -> str:
    if not records:
        return f"{path}: no record; each line must be a JSON object with id, video, split, captions"
    asked = " and ".join(
        f"{name} {value!r}" for name, value in (("split", split), ("fold", fold)) if value is not None
    )
    counts = Counter(f"{r.split}" + ("" if r.fold is None else f" of fold {r.fold}") for r in records)
    present = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
    return f"{path}: no record of {asked}; there are: {present}"


def _relative(video: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(video, folder)).as_posix()
    except ValueError:  # another drive
        return video.as_posix()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _is_text(value: Any) -> bool:
    # half a surrogate pair is legal JSON, but no text: tokenisers and files refuse it
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_name(value: Any) -> bool:
    return _is_text(value) and bool(value.strip()) and "\0" not in value


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0  # bool is an int too


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


_WANTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "id": ("a non-empty string", _is_name),
    "video": ("a path", _is_name),
    "split": ("a string", _is_text),
    "captions": ("a list of strings", _list_of(_is_text)),
    "emotion": ("a name or null", lambda value: value is None or _is_name(value)),
    "multi_emotion": ("a list of names", _list_of(_is_name)),
    "au_ids": ("a list of whole numbers", _list_of(_is_whole)),
    "group": ("a string", _is_text),
    "fold": ("a whole number or null", lambda value: value is None or _is_whole(value)),
    "n_frames": ("a whole number", _is_whole),
    "fps": ("a number", lambda value: type(value) in (int, float) and 0 <= value < math.inf),
    "extra": ("an object", lambda value: isinstance(value, dict)),
}
assert list(_WANTED) == [each.name for each in fields(Record)]
