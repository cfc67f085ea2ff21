"""MSVD: the corpus CSV, or its common mirrors (id -> captions json, one caption a line), and its split."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captioner.data.adapters.layout import (
    TABLES,
    Collected,
    Item,
    LayoutError,
    cell_at,
    columns,
    read_json,
    read_rows,
    read_text,
    split_of,
    walk,
    wrong_layout,
)

LIMIT = 28
PUBLISHED = {
    "train clips": 1200, "train captions": 48774, "val clips": 100, "val captions": 4290,
    "test clips": 670, "test captions": 27763,
}  # fmt: skip
WANTED = {
    "video": ("VideoID", "video_id"), "start": ("Start",), "end": ("End",),
    "language": ("Language",), "caption": ("Description", "caption"),
}  # fmt: skip
CAPTIONS = "a CSV with VideoID, Start, End, Language, Description, or AllVideoDescriptions.txt, or a json of captions"
SPLITS = "youtube_mapping.txt (clip <blank> vid1) or train_list.txt, val_list.txt and test_list.txt"
LAST = {"train": 1200, "val": 1300}  # vid1 .. vid1200 train, .. vid1300 validation, the rest test
_CLIP = re.compile(r".{11}_\d+_\d+")  # YouTube's id, first and last second


def read_msvd(root: Path) -> Collected:
    """The clips of all three splits with their English captions."""
    captions = _captions(root)
    names = clip_names(root)
    captions = {names.get(key, key): value for key, value in captions.items()}
    splits = _splits(root, names)
    if not splits:
        advice = "put the mapping or the lists beside the captions"
        raise wrong_layout("MSVD", root, SPLITS, advice)
    outside = [key for key in captions if key not in splits]
    items = [
        Item(key, split, (key, *(vid for vid, clip in names.items() if clip == key)), captions.get(key, []),
             group=key.rsplit("_", 2)[0] if _CLIP.fullmatch(key) else "")
        for key, split in splits.items()
    ]  # fmt: skip
    items = [item for item in items if item.captions]
    if not items:
        shown = ", ".join(list(captions)[:2])
        raise LayoutError(f"{root}: none of the {len(captions)} captioned clips ({shown}, ...) is in {SPLITS}")
    notices = [f"{len(outside)} captioned clips are in no split and left out (first {outside[0]})"] if outside else []
    bare = len(splits) - len(items)
    notices += [f"{bare} clips of the split have no English caption and are left out"] if bare else []
    return Collected("MSVD", items, PUBLISHED, LIMIT, notices=notices)


def clip_names(root: Path) -> dict[str, str]:
    """The clip's name (YouTube id, start, end) of each vidN, from youtube_mapping.txt where it is."""
    names = {}
    for path in walk(root, (".txt",)):
        if "mapping" in path.stem.lower():
            for line in read_text(path).split("\n"):
                parts = line.split()
                if len(parts) == 2 and re.fullmatch(r"vid\d+", parts[1]):
                    names[parts[1]] = Path(parts[0]).stem if parts[0].endswith((".avi", ".mp4")) else parts[0]
    return names


def _splits(root: Path, names: dict[str, str]) -> dict[str, str]:
    """train, val or test of each clip; lists have the last word over the order of the mapping."""
    splits = {}
    for vid, clip in names.items():
        number = int(vid[3:])
        splits[clip] = next((split for split, last in LAST.items() if number <= last), "test")
    listed: dict[str, str] = {}
    for path in walk(root, (".txt",)):
        split = split_of(path.stem)
        words = read_text(path).split() if split else []
        if split and words and all(_CLIP.fullmatch(_stem(word)) or _stem(word) in names for word in words):
            listed |= {names.get(_stem(word), _stem(word)): split for word in words}
    return listed or splits


def _stem(word: str) -> str:
    return word.rsplit(".", 1)[0] if word.lower().endswith((".avi", ".mp4", ".mkv", ".webm")) else word


def _captions(root: Path) -> dict[str, list[str]]:
    """English captions by clip, from the first kind of file that is there."""
    seen = []
    for path in walk(root, TABLES):
        if path.suffix.lower() in (".csv", ".tsv"):
            head = read_rows(path, most=1)
            places = columns(head[0], WANTED) if head else {}
            if {"video", "start", "end", "caption"} <= places.keys():
                return _from_table(root)
            seen.append(f"{path.name} ({' | '.join(head[0])[:50]})" if head else path.name)
    for path in walk(root, (".txt",)):
        if "description" in path.stem.lower():
            return _from_lines(path)
    found: dict[str, list[str]] = {}
    for path in walk(root, (".json",)):
        for key, caption in _from_json(read_json(path)):
            found.setdefault(_stem(key), []).append(caption)
    if not found:
        raise wrong_layout("MSVD", root, CAPTIONS, "take the corpus CSV from its page", seen or None)
    return found


def _from_table(root: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in walk(root, (".csv", ".tsv")):
        rows = read_rows(path)
        places = columns(rows[0], WANTED) if rows else {}
        if not {"video", "start", "end", "caption"} <= places.keys():
            continue
        languages = set()
        for row in rows[1:]:
            language = cell_at(row, places["language"]) if "language" in places else "English"
            languages.add(language)
            if language.lower() == "english":
                key = "_".join(cell_at(row, places[name]) for name in ("video", "start", "end"))
                found.setdefault(key, []).append(cell_at(row, places["caption"]))
        if "English" not in languages and len(rows) > 1:
            raise LayoutError(f"{path}: no row has Language = English; found {', '.join(sorted(languages)[:6])}")
    return found


def _from_lines(path: Path) -> dict[str, list[str]]:
    """AllVideoDescriptions.txt: `clip caption` a line, # begins a remark."""
    found: dict[str, list[str]] = {}
    for line in read_text(path).split("\n"):
        key, _, caption = line.strip().partition(" ")
        if caption and not key.startswith("#"):
            found.setdefault(key, []).append(caption)
    return found


def _from_json(value: Any) -> Iterator[tuple[str, str]]:
    """(clip, caption) of {clip: [captions]} or of {"sentences": [{video_id, caption}]}."""
    if isinstance(value, dict) and isinstance(value.get("sentences"), list):
        value = value["sentences"]
    if isinstance(value, dict):
        for key, captions in value.items():
            for caption in captions if isinstance(captions, list) else [captions]:
                if isinstance(caption, str):
                    yield key, caption
    elif isinstance(value, list):
        for record in value:
            if isinstance(record, dict) and isinstance(record.get("video_id"), str):
                caption = record.get("caption")
                if isinstance(caption, str):
                    yield record["video_id"], caption
