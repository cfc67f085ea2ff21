"""VideoEmotion-8, Ekman-6 and MusicVideo-6: a folder of videos for each category, lists of sides and sources if any.

    ROOT/[any folder/]Anger/1.mp4      the category is the nearest folder that is named as one
    ROOT/[any].csv, .tsv, .txt         header with a video and any of label, split, group

A list may also carry the labels alone, for videos that lie in no category's folder. A folder train or test on the way
names the side. Videos of different categories may have one name, so an id is the path below the root.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from captioner.data.adapters.layout import (
    TABLES,
    LayoutError,
    cell_at,
    check_root,
    columns,
    read_rows,
    split_of,
    walk,
    wrong_layout,
)
from captioner.data.manifest import Record
from captioner.errors import ConfigError
from captioner.files import VIDEO_SUFFIXES


@dataclass(frozen=True)
class ViewerSet:
    """Title, categories in order, and the published number of videos."""

    title: str
    labels: tuple[str, ...]
    published: int


VIEWER_SETS = {
    "ve8": ViewerSet(
        "VideoEmotion-8",
        ("anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust"),
        1101,
    ),
    "ekman6": ViewerSet("Ekman-6", ("anger", "disgust", "fear", "joy", "sadness", "surprise"), 1637),
    "mv6": ViewerSet("MusicVideo-6", ("exciting", "fear", "neutral", "relaxation", "sad", "tension"), 1979),
}
# other spellings of a category, as folders and lists have them
ALIASES = {"excitation": "exciting", "excitement": "exciting", "excited": "exciting", "sadness": "sad"}
ALIASES |= {"sad": "sadness", "relaxed": "relaxation", "relaxing": "relaxation", "tense": "tension"}
COLUMNS = {
    "video": ("video", "video_id", "filename", "file", "name", "path", "clip"),
    "label": ("label", "emotion", "class", "category"),
    "split": ("split", "set", "side", "subset"),
    "group": ("group", "source", "source_video", "original", "youtube_id", "music_video"),
}


@dataclass
class ListedVideos:
    """The videos that were found, and what is odd about them."""

    records: list[Record]
    notices: list[str] = field(default_factory=list)


def read_viewer_set(root: Path, dataset: str, group: str = "") -> ListedVideos:
    """All labelled videos of a dataset; `group` is a pattern whose first group, in a file's name, is its source."""
    check_root(root)
    about = VIEWER_SETS[dataset]
    paths = list(walk(root, VIDEO_SUFFIXES))
    lists = read_lists(root, about)
    records, unlabelled = [], []
    for path in paths:
        inside = path.relative_to(root)
        row = lists.get(inside.with_suffix("").as_posix().lower()) or lists.get(path.stem.lower()) or {}
        label = row.get("label") or folder_label(inside, about.labels)
        if label is None:
            unlabelled.append(inside.as_posix())
            continue
        side = row.get("split") or next(filter(None, map(split_of, inside.parts[:-1])), "")
        source = row.get("group", "")
        records.append(Record(inside.with_suffix("").as_posix(), path, side, emotion=label, group=source))
    if not records:
        raise wrong_layout(about.title, root, f"videos in folders {', '.join(about.labels)}", "unpack the videos there")
    if group:
        records = [replace(record, group=source_of(record, group)) for record in records]
    counts = Counter(str(record.emotion) for record in records)
    notices = [f"{about.title}: {len(records)} videos here, {about.published} published"]
    notices.append("classes: " + ", ".join(f"{label} {counts[label]}" for label in about.labels))
    absent = [label for label in about.labels if not counts[label]]
    if absent:
        notices.append(f"no video of {', '.join(absent)}")
    if unlabelled:
        notices.append(f"{len(unlabelled)} videos in no category's folder left out (first {unlabelled[0]})")
    return ListedVideos(records, notices)


def folder_label(inside: Path, labels: tuple[str, ...]) -> str | None:
    """The category of the nearest folder that is named as one."""
    return next(filter(None, (as_label(part, labels) for part in reversed(inside.parts[:-1]))), None)


def as_label(text: str, labels: tuple[str, ...]) -> str | None:
    """The category that a name means, in any case and spelling, with or without a number before it."""
    plain = re.sub(r"[^a-z]", "", text.lower())
    if plain in labels:
        return plain
    return ALIASES[plain] if ALIASES.get(plain) in labels else None


def read_lists(root: Path, about: ViewerSet) -> dict[str, dict[str, str]]:
    """What lists say of a video, by its path below the root or its stem, in lower case, without suffix."""
    said: dict[str, dict[str, str]] = {}
    for path in walk(root, TABLES):
        rows = read_rows(path)
        places = columns(rows[0], COLUMNS) if rows else {}
        if "video" not in places or len(places) < 2:
            continue  # a read-me, or a table of something else
        for row in rows[1:]:
            video = cell_at(row, places["video"]).replace("\\", "/")
            entry = {key: cell_at(row, place) for key, place in places.items() if key != "video"}
            if entry.get("label"):
                label = as_label(entry["label"], about.labels)
                if label is None:
                    raise LayoutError(
                        f"{path}: label {entry['label']!r} of {video} is none of {', '.join(about.labels)}"
                    )
                entry["label"] = label
            if entry.get("split"):
                entry["split"] = split_of(entry["split"]) or ""
            key = re.sub(r"\.\w{2,4}$", "", video).lower()
            said.setdefault(key, {}).update({name: value for name, value in entry.items() if value})
    return said


def source_of(record: Record, pattern: str) -> str:
    """The source that a video's file name tells; a name that does not fit is its own source."""
    try:
        found = re.search(pattern, record.video.stem)
    except re.error as error:
        raise ConfigError(f"data.group {pattern!r} is no regular expression: {error}") from None
    if found is None:
        return record.id
    if not found.groups():
        raise ConfigError(f"data.group {pattern!r} has no group in brackets: it marks the part that names the source")
    return f"{found.group(1)}"
