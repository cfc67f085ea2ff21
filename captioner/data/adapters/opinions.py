"""CMU-MOSI and CMU-MOSEI: opinions from -3 to 3 on clips of one sentence, with what is said.

    ROOT/label.csv                       video_id, clip_id, text, label, mode (train, valid, test)
    ROOT/Raw/<video_id>/<clip_id>.mp4    as the MMSA toolkit lays them out
    ROOT/[any folder/]<video_id>_<clip_id>.mp4 or <video_id>$_$<clip_id>.mp4

or ROOT is a file of ready features, FILE.safetensors (feature_file.py); pickles of them are converted, not opened
(toolkit_features.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.data.adapters.feature_file import FeatureFile, is_feature_file
from captioner.data.adapters.layout import LayoutError, cell_at, check_root, columns, read_rows, walk, wrong_layout
from captioner.data.adapters.viewer import ListedVideos
from captioner.data.manifest import SPLITS, Record
from captioner.emotion.mer_clip.mer_clip_config import SENTIMENTS
from captioner.files import VIDEO_SUFFIXES

TITLES = {"mosi": "CMU-MOSI", "mosei": "CMU-MOSEI"}
SEGMENTS = {"mosi": (1284, 229, 686), "mosei": (16326, 1871, 4659)}  # train, valid, test
_COLUMNS = {
    "video": ("video_id", "video", "name"), "clip": ("clip_id", "clip", "segment"), "text": ("text", "transcript"),
    "label": ("label", "sentiment"), "mode": ("mode", "split", "set"),
}  # fmt: skip
_SIDES = {"train": "train", "valid": "val", "val": "val", "dev": "val", "test": "test"}


def read_opinions(root: Path, dataset: str) -> ListedVideos:
    """Clips with their value and words; those without a video are counted."""
    if is_feature_file(root):
        records = FeatureFile(root).records()
        return ListedVideos(records, [_counts(records, dataset)])
    check_root(root)
    rows, places, path = _table(root, TITLES[dataset])
    videos = _videos(root)
    records, missing = [], 0
    for number, row in enumerate(rows, start=2):
        cells = {name: cell_at(row, place) for name, place in places.items()}
        key = f"{cells['video']}/{cells['clip']}"
        video = videos.get(key.lower()) or videos.get(_bare(key))
        if video is None:
            missing += 1
            continue
        side = _SIDES.get(cells["mode"].lower())
        if side is None:
            raise LayoutError(f"{path}:{number}: mode {cells['mode']!r} is none of {', '.join(_SIDES)}")
        extra: dict[str, Any] = {"value": _value(cells["label"], path, number), "transcript": cells.get("text", "")}
        label = SENTIMENTS[round(extra["value"]) + 3]
        records.append(Record(key, video, side, emotion=label, group=cells["video"], extra=extra))
    if not records:
        advice = "put them at Raw/video_id/clip_id.mp4"
        raise wrong_layout(TITLES[dataset], root, "the clips that label.csv names", advice)
    notices = [_counts(records, dataset)]
    if missing:
        notices.append(f"{missing} clips of {path.name} have no video and are left out")
    return ListedVideos(records, notices)


def _counts(records: Sequence[Record], dataset: str) -> str:
    here = [sum(record.split == side for record in records) for side in SPLITS]
    counts = (" / ".join(map(str, each)) for each in (here, SEGMENTS[dataset]))
    return "{}: {} clips here, {} published".format(TITLES[dataset], *counts)


def _table(root: Path, title: str) -> tuple[list[list[str]], dict[str, int], Path]:
    for path in walk(root, (".csv",)):
        rows = read_rows(path)
        places = columns(rows[0], _COLUMNS) if rows else {}
        if {"video", "clip", "label", "mode"} <= set(places):
            return rows[1:], places, path
    advice = "features in a pickle are converted first: scripts/convert.py opinions FILE.pkl --out FILE.safetensors"
    raise wrong_layout(title, root, "label.csv with video_id, clip_id, text, label, mode", advice)


def _videos(root: Path) -> dict[str, Path]:
    """Videos by folder/stem in lower case, and by the bare letters of their whole name."""
    found: dict[str, Path] = {}
    for path in walk(root, VIDEO_SUFFIXES):
        found[f"{path.parent.name}/{path.stem}".lower()] = path
        found.setdefault(_bare(path.stem), path)
    return found


def _bare(name: str) -> str:
    """video/3, video_3 and video$_$3 alike."""
    return "/".join(part for part in name.lower().replace("$_$", "/").replace("_", "/").split("/") if part)


def _value(text: str, path: Path, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -3 <= value <= 3:
        raise LayoutError(f"{path}:{number}: label {text!r} is no number from -3 to 3")
    return value
