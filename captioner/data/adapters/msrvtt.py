"""MSR-VTT: json files with `videos` (id, split, url, category) and `sentences` (id, caption)."""

from pathlib import Path
from typing import Any

from captioner.data.adapters.layout import Collected, Item, LayoutError, read_json, walk, wrong_layout

LIMIT = 28
PUBLISHED = {
    "train clips": 6513, "train captions": 130260, "val clips": 497, "val captions": 9940,
    "test clips": 2990, "test captions": 59800,
}  # fmt: skip
SPLITS = {"train": "train", "validate": "val", "val": "val", "validation": "val", "test": "test"}
FILES = "json files with `videos` and `sentences` (train_val_videodatainfo.json, test_videodatainfo.json)"


def read_msrvtt(root: Path) -> Collected:
    """The clips of all three splits."""
    items: dict[tuple[str, str], Item] = {}
    sentences: dict[str, list[str]] = {}
    seen, notices = [], []
    for path in walk(root, (".json",)):
        value = read_json(path)
        if not (isinstance(value, dict) and _is_list(value, "videos") and _is_list(value, "sentences")):
            keys = ", ".join(list(value)[:4]) if isinstance(value, dict) else type(value).__name__
            seen.append(f"{path.name} ({keys})")
            continue
        for video in value["videos"]:
            item = _item(path, video)
            items.setdefault((item.id, item.split), item)
        said = _sentences(path, value["sentences"])
        again = said.keys() & sentences.keys()
        if again:
            notices.append(f"{path.name} captions {len(again)} videos again; the file before it counts")
        sentences = said | sentences
    if not items:
        raise wrong_layout("MSR-VTT", root, FILES, "unpack the annotations there", seen or None)
    unknown = sentences.keys() - {key for key, _ in items}
    if unknown:
        notices.append(f"captions of {len(unknown)} videos that no list names are left out (first {min(unknown)})")
    for item in items.values():
        item.captions = list(sentences.get(item.id, []))
    return Collected("MSR-VTT", list(items.values()), PUBLISHED, LIMIT, notices=notices)


def _sentences(path: Path, rows: list[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        key, caption = (row.get("video_id"), row.get("caption")) if isinstance(row, dict) else (None, None)
        if not isinstance(key, str) or not isinstance(caption, str):
            raise LayoutError(f"{path}: wanted sentences with video_id and caption; found {str(row)[:60]}")
        found.setdefault(key, []).append(caption)
    return found


def _item(path: Path, video: Any) -> Item:
    key, split = (video.get("video_id"), video.get("split")) if isinstance(video, dict) else (None, None)
    if not isinstance(key, str) or split not in SPLITS:
        raise LayoutError(
            f"{path}: wanted videos with video_id and split ({', '.join(SPLITS)}); found {str(video)[:60]}"
        )
    category = video.get("category")
    url = video.get("url")
    label = f"category {category}" if category is not None else None
    extra = {name: video[name] for name in ("category", "start time", "end time") if name in video}
    return Item(key, SPLITS[split], (key,), group=url if isinstance(url, str) else "", label=label, extra=extra)


def _is_list(value: dict[str, Any], key: str) -> bool:
    return isinstance(value.get(key), list)
