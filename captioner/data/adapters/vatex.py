"""VATEX: json lists of videos with ten English captions each, vatex_training_v1.0.json and the like."""

import re
from pathlib import Path
from typing import Any

from captioner.data.adapters.layout import Collected, Item, LayoutError, read_json, walk, wrong_layout

LIMIT = 28
PUBLISHED = {"train clips": 25991, "train captions": 259910, "val clips": 3000, "val captions": 30000,
             "test clips": 6000, "test captions": 60000}  # fmt: skip
FILES = "json lists with videoID and enCap (vatex_training_v1.0.json, vatex_validation_v1.0.json, a public test file)"
_YOUTUBE = re.compile(r"(.{11})_(\d{6})_(\d{6})")  # video and its first and last second


def read_vatex(root: Path) -> Collected:
    """The clips of all splits that have English captions."""
    items: dict[tuple[str, str], Item] = {}
    seen, notices = [], []
    for path in walk(root, (".json",)):
        value, split = read_json(path), _split(path)
        if split is None or not isinstance(value, list) or not value or not _is_video(value[0]):
            seen.append(path.name)
            continue
        for video in value:
            if not _is_video(video):
                raise LayoutError(f"{path}: wanted videos with videoID and enCap; found {str(video)[:60]}")
            items.setdefault((video["videoID"], split), _item(video, split))
    if not items:
        raise wrong_layout("VATEX", root, FILES, "unpack the annotations there", seen or None)
    splits = [split for split in ("train", "val", "test") if any(own == split for _, own in items)]
    if lacking := [split for split in ("train", "val", "test") if split not in splits]:
        notices.append(f"no file of {', '.join(lacking)}")
    return Collected("VATEX", list(items.values()), PUBLISHED, LIMIT, notices=notices)


def _split(path: Path) -> str | None:
    name = path.stem.lower()
    words = {"train": "train", "val": "val", "test": "test"}
    return next((split for word, split in words.items() if word in name), None)


def _is_video(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("videoID"), str):
        return False
    captions = value.get("enCap")
    return isinstance(captions, list) and all(isinstance(caption, str) for caption in captions)


def _item(video: dict[str, Any], split: str) -> Item:
    """The clip of an entry; clips of one YouTube video are relatives."""
    key = video["videoID"]
    found = _YOUTUBE.fullmatch(key)
    extra = {"start": int(found[2]), "end": int(found[3])} if found else {}
    names = (key, found[1]) if found else (key,)
    return Item(key, split, names, list(video["enCap"]), group=found[1] if found else "", extra=extra)
