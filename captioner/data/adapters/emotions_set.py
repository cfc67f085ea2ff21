"""eMotions: short videos in a folder for each of six classes, with lists of both sides.

    ROOT/[any folder/]Excitation/123.mp4
    ROOT/[any folder/]trainlist01.txt, testlist01.txt     a line each: Excitation/123 0
    ROOT/[any folder/]classInd.txt                        0 Excitation

The lists come with the data, not with the code; without them a split is drawn. Of the paper's three sets `balanced`
has 4,000 of Excitation, 3,000 of Neutral and all others, `test` 5,000 in proportion.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from captioner.data.adapters.layout import LayoutError, check_root, read_text, walk, wrong_layout
from captioner.data.adapters.viewer import ListedVideos
from captioner.data.manifest import Record
from captioner.files import VIDEO_SUFFIXES

Variant = Literal["all", "balanced", "test"]
EMOTIONS6 = ("excitation", "fear", "neutral", "relaxation", "sadness", "tension")
PUBLISHED = {"excitation": 11739, "fear": 954, "neutral": 8795, "relaxation": 2214, "sadness": 2090, "tension": 2204}
MOST = {"excitation": 4000, "neutral": 3000}  # of the balanced set
TESTED = 5000
_ALIASES = {"excitement": "excitation", "exciting": "excitation", "sad": "sadness", "relaxed": "relaxation"}
_SIDES = {"train": "train", "test": "test", "val": "val"}


def read_emotions(root: Path, variant: Variant = "all") -> ListedVideos:
    """The labelled videos of the set that is meant; a video on a list but not there is counted."""
    check_root(root)
    listed = _lists(root)
    records = []
    for path in walk(root, VIDEO_SUFFIXES):
        label = next(filter(None, map(class_of, reversed(path.relative_to(root).parts[:-1]))), None)
        if label is not None:
            key = f"{label}/{path.stem}"
            records.append(Record(key, path, listed.get(key.lower(), ""), emotion=label))
    if not records:
        wanted = f"videos in folders {', '.join(EMOTIONS6)}"
        advice = "frames that were cut out are not read: unpack the videos with their sound"
        raise wrong_layout("eMotions", root, wanted, advice)
    there = {record.id.lower() for record in records}
    counts = Counter(str(record.emotion) for record in records)
    notices = [f"eMotions: {len(records)} videos here, {sum(PUBLISHED.values())} published"]
    notices.append("classes: " + ", ".join(f"{label} {counts[label]}" for label in EMOTIONS6))
    if listed:
        absent = sorted(set(listed) - there)
        off = sum(not record.split for record in records)
        notices.append(f"lists: {len(listed)} videos, {len(absent)} of them not here, {off} here on no list left out")
        records = [record for record in records if record.split]
    else:
        notices.append("no trainlist or testlist here: sides are drawn")
    return ListedVideos(chosen_set(records, variant), notices)


def class_of(name: str) -> str | None:
    """The class that a folder or a list means."""
    plain = "".join(letter for letter in name.lower() if letter.isalpha())
    plain = _ALIASES.get(plain, plain)
    return plain if plain in EMOTIONS6 else None


def chosen_set(records: Sequence[Record], variant: Variant) -> list[Record]:
    """The whole set, or one of the paper's smaller ones, drawn from each class with a fixed seed."""
    if variant == "all":
        return list(records)
    draw = random.Random(0)
    kept: set[str] = set()
    for label in EMOTIONS6:
        own = [record.id for record in records if record.emotion == label]
        count = MOST.get(label, len(own)) if variant == "balanced" else round(TESTED * len(own) / len(records))
        kept.update(draw.sample(own, min(count, len(own))))
    return [record for record in records if record.id in kept]


def _lists(root: Path) -> dict[str, str]:
    """The side of each listed video by class/id in lower case."""
    sides: dict[str, str] = {}
    for path in walk(root, (".txt",)):
        side = next((side for name, side in _SIDES.items() if path.stem.lower().startswith(f"{name}list")), None)
        if side is None:
            continue
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            # names may hold spaces; a number at the end is the label
            name = re.sub(r"\s+\d+$", "", line.strip())
            if not name:
                continue
            folder, _, stem = name.replace("\\", "/").rpartition("/")
            label = class_of(folder.rpartition("/")[2])
            if label is None or not stem:
                raise LayoutError(f"{path}:{number}: {line!r} is no 'class/id label'; classes: {', '.join(EMOTIONS6)}")
            key = f"{label}/{Path(stem).stem if Path(stem).suffix.lower() in VIDEO_SUFFIXES else stem}".lower()
            if sides.setdefault(key, side) != side:
                raise LayoutError(f"{path}:{number}: {name} is on two sides")
    return sides
