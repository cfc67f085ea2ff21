"""Data sets of persons whose emotion a linear probe is to tell: BoLD and Emotic; and what those of scenes share.

Each is read as EmotionCLIP's release lays it out: frames as pictures in folders, persons as boxes. BoLD also from its
videos. Nothing of them is shipped; labels are the sets' own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from captioner.data.adapters.layout import LayoutError, cell_at, columns, read_json, read_rows, wrong_layout
from captioner.files import missing

PICTURES = (".jpg", ".jpeg", ".png")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxedFrame:
    """A picture, and the boxes of the persons who are meant; `letterboxed` rows hold a score and need undoing."""

    path: Path
    boxes: tuple[tuple[float, ...], ...] = ()
    letterboxed: bool = False


@dataclass(frozen=True)
class ProbeClip:
    """A clip as pictures or as a video, and what is wanted of it: a number for each label, and other values."""

    id: str
    side: Literal["train", "test"]
    wanted: tuple[float, ...]
    values: tuple[float, ...] = ()
    frames: tuple[BoxedFrame, ...] = ()
    video: Path | None = None
    boxes_of: Mapping[int, Box] = field(default_factory=dict)  # of a video's frames, counted from 1
    group: str = ""


@dataclass
class ProbeSet:
    """A data set for a probe: one label of several, labels that stand for themselves, or values alone."""

    title: str
    kind: Literal["single", "several", "any", "values"]  # any: a guess is right that is among the wanted ones
    labels: tuple[str, ...]
    clips: list[ProbeClip]
    c: float = 1.0
    """Inverse strength of the regularisation in the paper."""
    values: tuple[str, ...] = ()
    notices: list[str] = field(default_factory=list)


BOLD_LABELS = (
    "peace", "affection", "esteem", "anticipation", "engagement", "confidence", "happiness", "pleasure", "excitement",
    "surprise", "sympathy", "doubt confusion", "disconnection", "fatigue", "embarrassment", "yearning", "disapproval",
    "aversion", "annoyance", "anger", "sensitivity", "sadness", "disquietment", "fear", "pain", "suffering",
)  # fmt: skip
MELD_LABELS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
MOVIEGRAPHS_LABELS = (
    "Affection", "Anger", "Annoyance", "Anticipation", "Aversion", "Confidence", "Disapproval", "Disconnection",
    "Disquietment", "Doubt/Conf", "Embarrassment", "Engagement", "Esteem", "Excitement", "Fatigue", "Fear", "Happiness",
    "Pain", "Peace", "Pleasure", "Sadness", "Sensitivity", "Suffering", "Surprise", "Sympathy", "Yearning",
)  # fmt: skip
EMOTIC_LABELS = tuple(sorted(label.lower().replace("/", " ") for label in MOVIEGRAPHS_LABELS))
VAD = ("valence", "arousal", "dominance")


def even_places(count: int, wanted: int) -> list[int]:
    """Places of `wanted` of `count` things, evenly spread, the first and the last among them, cut to whole ones."""
    return [place * (count - 1) // max(1, wanted - 1) for place in range(wanted)]


def pictures_in(folder: Path, number: Callable[[str], int] | None = None) -> list[Path]:
    """The pictures of a folder by name, or by the number in it."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES] if folder.is_dir() else []
    return sorted(found, key=(lambda path: (number(path.stem), path.name)) if number else (lambda path: path.name))


def last_number(stem: str) -> int:
    """The number that ends a frame's name, as in frame_12 or img_00012."""
    digits = stem.rpartition("_")[2]
    if not digits.isdecimal():
        raise LayoutError(f"frame {stem!r} ends in no number: frames are called as in frame_12.jpg")
    return int(digits)


def number_in(text: str, what: str, low: float = float("-inf"), high: float = float("inf")) -> float:
    """A cell as a number within bounds; what is none is named."""
    try:
        value = float(text)
    except ValueError:
        raise LayoutError(f"{what} is {text!r}: a number is needed") from None
    if not low <= value <= high:
        raise LayoutError(f"{what} is {text!r}: a number from {low:g} to {high:g} is needed")
    return value


def need_file(path: Path, title: str, root: Path, advice: str) -> Path:
    """A file or folder of a data set that must be there."""
    if not path.exists():
        raise wrong_layout(title, root, path.relative_to(root).as_posix(), advice)
    return path


def one_of(labels: Sequence[str], label: str, what: str) -> tuple[float, ...]:
    """Which of the labels a word is, as a row of ones and zeros."""
    if label not in labels:
        raise LayoutError(f"{what}: {label!r} is none of {', '.join(labels)}")
    return tuple(float(label == each) for each in labels)


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    tree = read_json(path)
    if not isinstance(tree, dict):
        raise LayoutError(f"{path} holds no object")
    return tree


# -- BoLD ---------------------------------------------------------------------------------------------------------


def read_bold(root: Path, frames: int = 8) -> ProbeSet:
    """BoLD: a person in a clip, 26 labels that stand for themselves (shares of at least .5), and three values.

    annotations/{train,val}.csv without a header, joints/*.npy, and either mmextract/VIDEO/name_00001.jpg or
    videos/VIDEO. Test labels are private: val is tested. The printed start and end are not used, as in the release.
    """
    found = ProbeSet("BoLD", "several", BOLD_LABELS, [], 3.16, VAD)
    for side, name in (("train", "train"), ("test", "val")):
        path = need_file(root / "annotations" / f"{name}.csv", found.title, root, "give the folder BOLD_public")
        missing_frames = 0
        for number, row in enumerate(read_rows(path), 1):
            clip = _bold_clip(root, row, side, f"{path}:{number}", frames)  # type: ignore[arg-type]
            missing_frames += clip is None
            found.clips += [clip] if clip else []
        found.notices.append(f"BoLD, {name}: {missing_frames} rows without frames or video left out")
    return found


def _bold_clip(root: Path, row: list[str], side: Literal["train", "test"], where: str, frames: int) -> ProbeClip | None:
    if len(row) < 33:
        raise LayoutError(
            f"{where} has {len(row)} columns: 33 at least are needed (video, person, frames, 26 scores, VAD)"
        )
    video, person = row[0], int(number_in(row[1], f"{where}: person"))
    scores = [
        number_in(cell, f"{where}: score of {label}", 0) for cell, label in zip(row[4:30], BOLD_LABELS, strict=True)
    ]
    wanted = tuple(float(score >= 0.5) for score in scores)
    values = tuple(number_in(cell, f"{where}: {name}") for cell, name in zip(row[30:33], VAD, strict=True))
    boxes = joint_boxes(root / "joints" / Path(video).with_suffix(".npy"), person)
    name, film = f"{video}#{person}", Path(video).parts[1] if len(Path(video).parts) > 1 else video
    pictures = pictures_in(root / "mmextract" / video)
    if pictures:
        chosen = [pictures[place] for place in even_places(len(pictures), frames)]
        shown = tuple(BoxedFrame(p, (boxes[n],) if (n := last_number(p.stem)) in boxes else ()) for p in chosen)
        return ProbeClip(name, side, wanted, values, shown, group=film)
    path = root / "videos" / video
    return ProbeClip(name, side, wanted, values, video=path, boxes_of=boxes, group=film) if path.is_file() else None


def joint_boxes(path: Path, person: int) -> dict[int, Box]:
    """The extent of a person's joints by frame, counted from 1; joints that are all 0 were not found."""
    try:
        rows = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise LayoutError(missing(path)) from None
    except (OSError, ValueError) as error:
        raise LayoutError(f"{path} is no array of joints: {str(error).splitlines()[0]}") from None
    if rows.ndim != 2 or rows.shape[1] != 56:
        raise LayoutError(
            f"{path} has shape {rows.shape}: rows of frame, person and 18 joints (x, y, score) are needed"
        )
    first, boxes = rows[:, 0].min() if len(rows) else 0, {}
    for row in rows[rows[:, 1] == person]:
        joints = row[2:].reshape(18, 3)
        joints = joints[(joints != 0).any(1)]
        if len(joints):
            (x0, y0), (x1, y1) = np.floor(joints[:, :2].min(0)), np.ceil(joints[:, :2].max(0))
            boxes[int(row[0] - first) + 1] = (float(x0), float(y0), float(x1), float(y1))
    return boxes


# -- Emotic -------------------------------------------------------------------------------------------------------


def read_emotic(root: Path, frames: int = 8) -> ProbeSet:
    """Emotic: a boxed person in a photo, 26 labels that stand for themselves.

    annotations_pre/{train,test}.csv (Folder, Filename, BBox) beside SIDE_cat_arr.npy; photos in emotic/FOLDER/FILE.
    A photo is a clip at rest.
    """
    found = ProbeSet("Emotic", "several", EMOTIC_LABELS, [], 2.5)
    for side in ("train", "test"):
        folder = root / "annotations_pre"
        path = need_file(folder / f"{side}.csv", found.title, root, "give the folder with annotations_pre and emotic")
        rows = read_rows(path)
        places = columns(rows[0] if rows else [], {"folder": ("Folder",), "file": ("Filename",), "box": ("BBox",)})
        if len(places) < 3:
            raise LayoutError(f"{path}: columns Folder, Filename and BBox are needed, the header is {rows[:1]}")
        wanted = load_array(
            need_file(folder / f"{side}_cat_arr.npy", found.title, root, "it holds the labels"), len(rows) - 1
        )
        lost = 0
        for number, row in enumerate(rows[1:]):
            picture = root / "emotic" / cell_at(row, places["folder"]) / cell_at(row, places["file"])
            box = box_in(cell_at(row, places["box"]), f"{path}:{number + 2}")
            lost += not picture.is_file()
            if picture.is_file():
                shown = (BoxedFrame(picture, (box,)),)
                labels = tuple(float(value) for value in wanted[number])
                found.clips.append(ProbeClip(f"{side}-{number}", side, labels, frames=shown))
        found.notices.append(f"Emotic, {side}: {lost} rows without their photo left out")
    return found


def load_array(path: Path, rows: int) -> np.ndarray:
    """An array of numbers with so many rows of 26; nothing is unpickled."""
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise LayoutError(f"{path} is no array of numbers: {str(error).splitlines()[0]}") from None
    if array.shape != (rows, len(EMOTIC_LABELS)):
        raise LayoutError(
            f"{path} has shape {array.shape}: {(rows, len(EMOTIC_LABELS))} is needed, a row a line of the list"
        )
    return array


def box_in(text: str, where: str) -> Box:
    """The four numbers of a cell, as in [10, 20, 110, 220]."""
    numbers = re.findall(r"-?\d+(?:\.\d+)?", text)
    if len(numbers) != 4:
        raise LayoutError(f"{where}: {text!r} is no box: four numbers are needed")
    left, top, right, bottom = map(float, numbers)
    return left, top, right, bottom
