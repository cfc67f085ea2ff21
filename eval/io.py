"""Reads references and hypotheses (JSON lines, COCO json, {id: captions}); faults named by file and line."""

import json
import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from captioner.errors import ManifestError
from captioner.files import missing

ID_KEYS = ("id", "video_id", "image_id")
FILE_KEYS = ("video", "file")  # the file's name without suffix serves as id where no id is given
LISTS = ("annotations", "sentences", "predictions")  # where a json object keeps its records
FORMATS = 'JSON lines {"id", "captions" or "caption"}, COCO json, or json {id: [captions]}'

Emotion = str | dict[str, float] | None


@dataclass
class Entry:
    """What a file says of one video; `places` are where it says so (file or file:line)."""

    captions: list[str] = field(default_factory=list)
    emotion: Emotion = None
    split: str | None = None
    places: list[str] = field(default_factory=list)


def read_entries(path: str | Path) -> dict[str, Entry]:
    """The entries of a file by id, in the order of the file; ManifestError names what cannot be read."""
    path = Path(path)
    entries: dict[str, Entry] = {}
    listed: dict[str, str] = {}
    for place, record in _records(path, _text(path)):
        if not isinstance(record, dict):
            raise ManifestError(f"{place}: given {_shown(record)}, allowed an object with an id and captions")
        key, several = _id(place, record), "captions" in record
        if key in listed or (several and key in entries):
            first = listed.get(key) or entries[key].places[0]
            raise ManifestError(f"{place}: id {key!r} stands already at {first}; give each id once")
        if several:
            listed[key] = place
        entry = entries.setdefault(key, Entry())
        entry.captions += _captions(place, key, record)
        entry.places.append(place)
        entry.emotion = _emotion(place, key, record.get("emotion")) or entry.emotion
        entry.split = record.get("split") if isinstance(record.get("split"), str) else entry.split
    if not entries:
        raise ManifestError(f"{path}: holds no record; allowed {FORMATS}")
    return entries


def references(entries: Mapping[str, Entry], split: str | None = None) -> dict[str, list[str]]:
    """Captions of the videos (of one split) that have any: neutral clips of MAFW have none."""
    splits = sorted({entry.split for entry in entries.values() if entry.split})
    if split is not None and split not in splits:
        raise ManifestError(f"split {split!r} is not in the references; allowed {', '.join(splits) or 'none'}")
    chosen = {key: entry for key, entry in entries.items() if split in (None, entry.split)}
    return {key: list(entry.captions) for key, entry in chosen.items() if entry.captions}


def hypotheses(entries: Mapping[str, Entry]) -> dict[str, str]:
    """The one caption of each video."""
    for key, entry in entries.items():
        if len(entry.captions) != 1:
            where = ", ".join(entry.places[:3])
            raise ManifestError(f"{where}: {key!r} has {len(entry.captions)} hypotheses; allowed exactly one")
    return {key: entry.captions[0] for key, entry in entries.items()}


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(missing(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise ManifestError(f"{path}: cannot be read: {reason}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{path}:{line}: byte {data[error.start]:#04x} is not UTF-8 text") from None


def _records(path: Path, text: str) -> Iterator[tuple[str, object]]:
    """Each record and its place; a file of several lines that are objects is JSON lines."""
    if not text.strip():
        raise ManifestError(f"{path}: empty file; allowed {FORMATS}")
    if path.suffix.lower() in (".jsonl", ".ndjson") or re.match(r"\s*\{[^\n]*\}\s*\n\s*\{", text):
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield f"{path}:{number}", _parse(path, line, number)
        return
    for key, record in _unfolded(path, _parse(path, text, 1)):
        yield (f"{path}: {key!r}" if key is not None else str(path)), record


def _unfolded(path: Path, whole: object) -> Iterator[tuple[object, object]]:
    """The records inside one json value, each with a name for its place."""
    if isinstance(whole, dict):
        lists = [name for name in LISTS if isinstance(whole.get(name), list)]
        if lists:
            yield from ((f"{lists[0]}[{n}]", record) for n, record in enumerate(whole[lists[0]]))
        elif any(name in whole for name in ID_KEYS) and ("captions" in whole or "caption" in whole):
            yield None, whole
        else:
            for key, value in whole.items():
                inside = value if isinstance(value, dict) else {"captions": value}
                yield key, {**inside, "id": key}
    elif isinstance(whole, list):
        yield from ((f"[{n}]", record) for n, record in enumerate(whole))
    else:
        raise ManifestError(f"{path}: given {_shown(whole)}, allowed {FORMATS}")


def _parse(path: Path, text: str, line: int) -> object:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        at = f"{path}:{line + error.lineno - 1}"
        raise ManifestError(f"{at}: not JSON at column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ManifestError(f"{path}:{line}: brackets nested too deep") from None
    except ValueError as error:  # a key twice, or a number too long
        raise ManifestError(f"{path}:{line}: {error}") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose keys stand once: json would silently keep the last of two captions of one id."""
    found = dict(pairs)
    if len(found) != len(pairs):
        often = Counter(key for key, _ in pairs)
        twice = max(often, key=often.__getitem__)
        raise ValueError(f"key {twice!r} stands twice in one object; give each id once")
    return found


def _id(place: str, record: dict[str, object]) -> str:
    for name in (*ID_KEYS, *FILE_KEYS):
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, int) and not isinstance(value, bool) and name in ID_KEYS:
            return str(value)
        if not isinstance(value, str) or not value.strip() or not _writable(value):
            raise ManifestError(f"{place}: {name} is {_shown(value)}, allowed text or a whole number")
        return value if name in ID_KEYS else PurePath(value).stem or value
    raise ManifestError(f"{place}: no id; allowed one of {', '.join((*ID_KEYS, *FILE_KEYS))}")


def _writable(text: str) -> bool:
    """Whether the text can be written: half a surrogate pair, which json may hold, cannot."""
    return text.encode("utf-8", "ignore").decode("utf-8") == text


def _captions(place: str, key: str, record: dict[str, object]) -> list[str]:
    if "captions" not in record and "caption" not in record:
        raise ManifestError(f"{place}: {key!r} has neither `captions` nor `caption`")
    given = record["captions"] if "captions" in record else record["caption"]
    captions = []
    for caption in given if isinstance(given, list) else [given]:
        if not isinstance(caption, str):
            raise ManifestError(f"{place}: a caption of {key!r} is {_shown(caption)}, allowed text")
        captions.append(caption)
    return captions


def _emotion(place: str, key: str, value: object) -> Emotion:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and all(isinstance(p, int | float) and not isinstance(p, bool) for p in value.values()):
        return value
    raise ManifestError(f"{place}: emotion of {key!r} is {_shown(value)}, allowed a name or {{name: probability}}")


def _shown(value: object) -> str:
    return f"{type(value).__name__} {reprlib.repr(value)}"  # repr itself fails on deep nesting
