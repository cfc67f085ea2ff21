"""MAFW: fold lists, spreadsheets of labels and bilingual captions, clips 00001.mp4 ..."""

import re
from pathlib import Path

from captioner.data.adapters.layout import (
    TABLES,
    Collected,
    Item,
    LayoutError,
    cell_at,
    columns,
    has_openpyxl,
    read_rows,
    read_text,
    split_of,
    walk,
    wrong_layout,
)
from captioner.lexicon.emotions import MAFW_LABELS

FOLDS = 5
LIMIT = 48  # 50 word pieces with [CLS] and [SEP]
# Fold 1 has the sizes that the paper prints; with the neutral clips, which have no caption, 7,333 and 1,839.
CAPTIONED = {1: (6423, 1611), 2: (6425, 1609), 3: (6429, 1605), 4: (6429, 1605), 5: (6430, 1604)}
NEUTRAL = 1138
CLASSES = dict(zip(MAFW_LABELS, (1390, 639, 625, 1242, 1138, 1470, 1072, 236, 916, 262, 182), strict=True))
LISTS = "fold lists single/with_caption/set_N/train.txt and test.txt (or single/no_caption/...)"
_CLIP = re.compile(r"(\d{4,6})(\.\w{2,4})?")
_LATIN = re.compile(r"[A-Za-z]{2,}")


def read_mafw(root: Path, fold: int = 1, captioned: bool = True) -> Collected:
    """The clips of one fold; neutral ones have no caption. captioned: without any caption the folder is refused."""
    lists, multi = _fold_lists(root, fold), _multi_labels(root)
    captions: dict[str, str] = {}
    labels: dict[str, str] = {}
    sides: dict[str, str] = {}
    notices = []
    for path, split in lists:
        for clip, label, caption in _list_rows(path):
            sides.setdefault(clip, split)  # the captioned lists come first, and have the last word
            captions.setdefault(clip, caption)
            captions[clip] = captions[clip] or caption
            if label:
                labels.setdefault(clip, label)
    if not all(captions.get(clip) for clip in sides if labels.get(clip) != "neutral"):
        captions |= {clip: text for clip, text in _descriptions(root).items() if not captions.get(clip)}
    if not all(clip in labels for clip in sides):
        labels = {**_single_labels(root), **labels}
    unlabelled = [clip for clip in sides if clip not in labels]
    if unlabelled:
        notices.append(f"{len(unlabelled)} clips without an emotion label (first {unlabelled[0]})")
    if captioned and not any(captions.get(clip) for clip in sides):
        advice = "take the lists in with_caption from the dataset's owners, or descriptive_text.xlsx"
        raise wrong_layout("MAFW", root, "English captions in the fold lists or in descriptive_text", advice)
    items = [_item(clip, split, labels.get(clip), captions.get(clip, ""), multi) for clip, split in sides.items()]
    train, test = CAPTIONED[fold]
    published = {"train clips": train, "test clips": test, "neutral clips": NEUTRAL}
    published |= {f"{name} clips": count for name, count in CLASSES.items()}
    return Collected(f"MAFW, fold {fold}", items, published, LIMIT, fold, notices)


def _item(clip: str, split: str, label: str | None, caption: str, multi: dict[str, tuple[str, ...]]) -> Item:
    captions = [caption] if caption and label != "neutral" else []
    return Item(clip, split, (clip,), captions, label, multi.get(clip, ()), label=label)


def _fold_lists(root: Path, fold: int) -> list[tuple[Path, str]]:
    """(file, split) of a fold's lists in the single-label set, the captioned ones first."""
    if not 1 <= fold <= FOLDS:
        raise LayoutError(f"fold {fold} does not exist; MAFW has folds 1 to {FOLDS}")
    found: list[tuple[int, Path, str]] = []
    others = []
    for path in walk(root, TABLES):
        inside = path.relative_to(root).as_posix().lower()
        split = split_of(path.stem)
        if split is None or "compound" in inside or "multi" in inside:
            continue
        number = _fold_number(path.relative_to(root))
        if number == fold:
            found.append(("no_caption" in inside, path, split))
        elif number is not None:
            others.append(str(number))
    found.sort(key=lambda row: row[0])
    for without in (False, True):
        splits = [split for flag, _, split in found if flag == without]
        if len(set(splits)) < len(splits):
            twice = [str(path.relative_to(root)) for flag, path, _ in found if flag == without]
            raise wrong_layout("MAFW", root, f"one train and one test list of fold {fold}", "keep one of each", twice)
    if {"train", "test"} - {split for _, _, split in found}:
        folds = f"lists of the folds {', '.join(sorted(set(others)))}" if others else None
        advice = "unpack `Train & Test Set` there" if not others else "choose one of them by --fold"
        wanted = LISTS.replace("set_N", f"set_{fold}")
        raise wrong_layout("MAFW", root, wanted, advice, [folds] if folds else None)
    return [(path, split) for _, path, split in found]


def _fold_number(inside: Path) -> int | None:
    """The fold of a list: the last number in its name, or in the nearest folder whose name has one."""
    for part in reversed((*inside.parts[:-1], inside.stem)):
        numbers = re.findall(r"\d+", part)
        if numbers:
            return int(numbers[-1])
    return None


def _list_rows(path: Path) -> list[tuple[str, str | None, str]]:
    """(clip, emotion, English caption) of each line; blanks or tabs separate, the caption may be absent."""
    rows = []
    strange = 0
    lines = read_rows(path) if path.suffix.lower() == ".xlsx" else [_cells(x) for x in read_text(path).split("\n")]
    for cells in lines:
        clip = _clip(cells[0]) if cells else None
        if clip is None:
            strange += bool(cells)
            continue
        label = _names(cells[1])[:1] if len(cells) > 1 else []
        rows.append((clip, label[0] if label else None, _english(cells[2:])))
    if strange > 1 or not rows:  # one line may be a header
        lines_read = strange + len(rows)
        raise LayoutError(f"{path}: {strange} of {lines_read} lines name no clip; wanted lines like: 00001.mp4 anger")
    return rows


def _cells(line: str) -> list[str]:
    line = line.strip()
    if "\t" in line:
        return [part.strip().removeprefix("<br>").strip() for part in line.split("\t")]
    return line.replace(",", " ").split() if len(line) < 60 else line.split(maxsplit=2)


def _english(cells: list[str]) -> str:
    """The English caption among the cells behind the label: the last one with Latin words."""
    fitting = [text for text in cells if len(_LATIN.findall(text)) > 1 and text.isascii()]
    fitting = fitting or [text for text in cells if len(_LATIN.findall(text)) > 2]
    return fitting[-1] if fitting else ""


def _clip(text: str) -> str | None:
    """The five-digit stem of a clip's name; a spreadsheet may have made a number of it."""
    match = _CLIP.fullmatch(text.strip().removesuffix(".0"))
    if match:
        return match[1].zfill(5)
    return text.zfill(5) if text.isdecimal() and len(text) < 6 else None


def _names(text: str) -> list[str]:
    """Emotions from a name, names joined by `_` or `,`, or their official numbers from 1."""
    parts = [part.strip().lower() for part in re.split(r"[_,;/ ]+", text) if part.strip()]
    parts = [MAFW_LABELS[int(p) - 1] if p.isdecimal() and 1 <= int(p) <= len(MAFW_LABELS) else p for p in parts]
    return parts if parts and all(part in MAFW_LABELS for part in parts) else []


def _sheet(root: Path, *words: str) -> Path | None:
    """The table whose name contains the words, export before spreadsheet; fold lists are none."""
    fitting = [path for path in walk(root, TABLES) if all(word in path.stem.lower() for word in words)]
    fitting = [path for path in fitting if split_of(path.stem) is None]
    return min(fitting, key=lambda path: (path.suffix.lower() == ".xlsx", str(path)), default=None)


def _labels(path: Path) -> dict[str, tuple[str, ...]]:
    """Emotions by clip of a label table: a column named label or emotion, or else the one that holds emotions."""
    rows = read_rows(path)
    head = next((n for n, row in enumerate(rows) if any(_clip(text) for text in row)), None)
    if head is None:
        shown = ", ".join(rows[0])[:80] if rows else "an empty table"
        raise LayoutError(f"{path}: no cell is a clip's name (00001.mp4); found {shown}")
    body, found = rows[head:], {}
    place = next(n for n, text in enumerate(body[0]) if _clip(text))
    named: dict[str, int] = {}
    for row in rows[:head]:  # a title may stand above the header
        wanted = ("single_label", "multi_label", "label", "emotion", "expression", "class", "emotion_class")
        named |= columns(row, {"label": wanted})
    width = max(map(len, body))
    fits = {c: sum(bool(_names(cell_at(row, c))) for row in body) for c in range(width) if c != place}
    best = named.get("label", max(fits, key=lambda c: (fits[c], c), default=place))
    if not fits.get(best):
        shown = ", ".join(rows[max(head - 1, 0)])[:80]
        wanted_names = ", ".join(MAFW_LABELS[:3])
        raise LayoutError(f"{path}: no column holds emotions ({wanted_names}, ... or 1 to 11); found {shown}")
    for row in body:
        clip = _clip(cell_at(row, place))
        if clip:
            found[clip] = tuple(_names(cell_at(row, best)))
    return found


def _single_labels(root: Path) -> dict[str, str]:
    path = _sheet(root, "single")
    return {clip: names[0] for clip, names in _labels(path).items() if names} if path else {}


def _multi_labels(root: Path) -> dict[str, tuple[str, ...]]:
    """Labels of the multiple-expression set; a spreadsheet that cannot be opened here is done without."""
    path = _sheet(root, "multi")
    if path is None or (path.suffix.lower() == ".xlsx" and not has_openpyxl()):
        return {}
    return {clip: names for clip, names in _labels(path).items() if len(names) > 1}


def _descriptions(root: Path) -> dict[str, str]:
    """English captions by clip from descriptive_text."""
    path = _sheet(root, "descri")
    if path is None:
        return {}
    found = {}
    for row in read_rows(path):
        clip = next((_clip(text) for text in row if _clip(text)), None)
        if clip:
            found[clip] = _english([text for text in row if not _clip(text)])
    return found

