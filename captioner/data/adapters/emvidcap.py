"""EmVidCap: caption tables of the parts S (videos of MSVD) and L (user videos of eight emotions)."""

import re
from pathlib import Path

from captioner.data.adapters.layout import (
    TABLES,
    Collected,
    Item,
    LayoutError,
    cell_at,
    columns,
    read_rows,
    split_of,
    walk,
    wrong_layout,
)
from captioner.data.adapters.msvd import clip_names

LIMIT = 28  # 30 word pieces with [CLS] and [SEP]
WANTED = {"video": ("VideoID", "video", "id"), "caption": ("EmCaptions", "EmCaption", "captions", "caption")}
FILES = "EmVideo_trainval_captions.csv and EmVideo_test_captions.csv with the columns VideoID and EmCaptions"
PUBLISHED = {
    "S": {"train clips": 240, "train captions": 9462, "test clips": 134, "test captions": 5622},
    "L": {"train clips": 1134, "train captions": 19398, "test clips": 382, "test captions": 6527},
}
# The first digit of a number of L is the class of the set that the video comes from.
SOURCES = ("anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust")
SOURCE_COUNTS = (210, 122, 124, 224, 252, 163, 304, 116)
FIRST_OF_L = 10_000  # S has MSVD's numbers, 1 to 1970


def read_emvidcap(root: Path, part: str | None = None) -> Collected:
    """The clips of part S, part L or both."""
    tables = _tables(root)
    parts = [part] if part else sorted({side for side, _ in tables})
    names = clip_names(root)
    items: dict[tuple[str, str], Item] = {}
    for side in parts:
        for split in ("train", "test"):
            if (side, split) not in tables:
                found = [f"{s} {t}: {path.name}" for (s, t), path in tables.items()]
                advice = "add the file, or choose the other part by --part"
                raise wrong_layout("EmVidCap", root, f"a {split} file of part {side} ({FILES})", advice, found)
            for video, caption in _rows(tables[side, split]):
                if (video, split) not in items:
                    items[video, split] = _item(video, side, split, names)
                items[video, split].captions.append(caption)
    published = {f"{side} {name}": count for side in parts for name, count in PUBLISHED[side].items()}
    if "L" in parts:
        published |= {f"L {name} clips": count for name, count in zip(SOURCES, SOURCE_COUNTS, strict=True)}
    return Collected(f"EmVidCap {' + '.join(parts)}", list(items.values()), published, LIMIT)


def _item(video: str, side: str, split: str, names: dict[str, str]) -> Item:
    label = SOURCES[int(video[3]) - 1] if side == "L" and video[3] in "12345678" else None
    known = (names[video],) if video in names else ()
    group = known[0].rsplit("_", 2)[0] if known else ""
    extra = {"part": side, **({"source_class": label} if label else {}), **({"clip": known[0]} if known else {})}
    # The set's class is what its viewers were to feel: weak, but all that L says of emotion; S says nothing.
    return Item(video, split, (video, *known), emotion=label, group=group, part=side, label=label, extra=extra)


def _tables(root: Path) -> dict[tuple[str, str], Path]:
    """The caption table of each (part, split); the numbers of the videos tell the part."""
    tables: dict[tuple[str, str], Path] = {}
    headers = []
    for path in walk(root, TABLES):
        split = split_of(path.stem)
        if split is None or split == "val" or path.suffix.lower() == ".xlsx":
            continue
        head = read_rows(path, most=2)
        if not head or set(WANTED) - set(columns(head[0], WANTED)):
            headers.append(f"{path.name} ({' | '.join(head[0])[:50]})" if head else f"{path.name} (empty)")
            continue
        numbers = [int(video[3:]) for video, _ in _rows(path)]
        side = ("S", path) if max(numbers) < FIRST_OF_L else ("L", path)
        if (side[0], split) in tables:
            twice = [str(p.relative_to(root)) for p in (tables[side[0], split], path)]
            raise wrong_layout("EmVidCap", root, f"one {split} file of part {side[0]}", "keep one of them", twice)
        tables[side[0], split] = path
    if not tables:
        raise wrong_layout("EmVidCap", root, FILES, "take them from the dataset's page", headers or None)
    return tables


def _rows(path: Path) -> list[tuple[str, str]]:
    """(vidN, caption) of each row; an empty caption is a row too."""
    rows = read_rows(path)
    places = columns(rows[0], WANTED)
    found = []
    for number, row in enumerate(rows[1:], start=2):
        video = re.fullmatch(r"(?:vid(?:eo)?)?0*(\d+)(?:\.\w{3,4})?", cell_at(row, places["video"]).lower())
        if not video:
            raise LayoutError(f"{path}: row {number}: {cell_at(row, places['video'])!r} is no video id; wanted vid123")
        # an unquoted comma in a caption of a comma-separated file
        found.append((f"vid{video[1]}", ", ".join(row[places["caption"] :]) if places["caption"] == len(rows[0]) - 1
                      else cell_at(row, places["caption"])))  # fmt: skip
    if not found:
        raise LayoutError(f"{path}: holds no caption below its header; copy or download it again")
    return found
