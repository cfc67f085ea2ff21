"""Data sets of scenes whose emotion a linear probe is to tell: MELD, MovieGraphs, LIRIS-ACCEDE.

Each is read as EmotionCLIP's release lays it out: frames as pictures in folders, persons as letter-boxed boxes. MELD
also from its videos. Nothing of them is shipped; labels are the sets' own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from captioner.data.adapters.layout import LayoutError, cell_at, columns, read_json, read_rows, read_text, walk
from captioner.data.adapters.person_sets import (
    MELD_LABELS,
    MOVIEGRAPHS_LABELS,
    BoxedFrame,
    ProbeClip,
    ProbeSet,
    even_places,
    last_number,
    need_file,
    number_in,
    one_of,
    pictures_in,
    read_object,
)
from captioner.files import VIDEO_SUFFIXES

Side = Literal["train", "test"]
ABSENT = {("train", 125, 3), ("dev", 110, 7)}  # of MELD: listed, but there is no such clip
SHORT_FILM, ITS_CLIP, ITS_END = "tt0388795", 207, 184_272  # of MovieGraphs: ends before its last shot
LAST_SHOT = 8 * 24  # frames taken of a shot whose end no list names
WINDOW = 8  # seconds of LIRIS round the one that is judged


# -- MELD ---------------------------------------------------------------------------------------------------------


def read_meld(root: Path, frames: int = 8) -> ProbeSet:
    """MELD: an utterance of a film series, one of seven emotions. Trained on train, tested on test.

    [MELD.Raw/]{train,test}_sent_emo.csv, and frames/SIDE_splits/diaD_uttU/frame_0.jpg beside SIDE_human_boxes.json, or
    diaD_uttU.mp4 in a folder whose name holds the side.
    """
    found = ProbeSet("MELD", "single", MELD_LABELS, [], 8.0)
    videos = {}
    for path in walk(root, VIDEO_SUFFIXES):
        sides = [side for side in ("train", "dev", "test") if side in path.parent.name.lower()]
        videos.update({(side, path.stem): path for side in sides[:1]})
    wanted = {"emotion": ("Emotion",), "dialogue": ("Dialogue_ID",), "utterance": ("Utterance_ID",)}
    for side in ("train", "test"):
        lists = [folder / f"{side}_sent_emo.csv" for folder in (root / "MELD.Raw", root)]
        path = next((each for each in lists if each.is_file()), lists[1])
        rows = read_rows(need_file(path, found.title, root, "give the folder with MELD's lists"))
        places = columns(rows[0] if rows else [], wanted)
        if len(places) < len(wanted):
            raise LayoutError(f"{path}: columns Emotion, Dialogue_ID and Utterance_ID are needed")
        boxes_file = root / f"{side}_human_boxes.json"
        boxes = read_object(boxes_file) if boxes_file.is_file() else {}
        lost = 0
        for number, row in enumerate(rows[1:], 2):
            where = f"{path}:{number}"
            told, spoken = (
                int(number_in(cell_at(row, places[key]), f"{where}: {key}")) for key in ("dialogue", "utterance")
            )
            name, label = f"dia{told}_utt{spoken}", one_of(MELD_LABELS, cell_at(row, places["emotion"]).lower(), where)
            shown = boxed_frames(root / "frames" / f"{side}_splits" / name, boxes.get(name, {}), frames)
            video = videos.get((side, name))
            if (side, told, spoken) in ABSENT or (not shown and video is None):
                lost += 1
                continue
            clip = ProbeClip(
                f"{side}/{name}", side, label, frames=shown, video=None if shown else video, group=f"{side}{told}"
            )
            found.clips.append(clip)
        found.notices.append(f"MELD, {side}: {lost} utterances without a clip left out")
    return found


def boxed_frames(folder: Path, boxes: Mapping[str, Any], count: int) -> tuple[BoxedFrame, ...]:
    """`count` evenly spread pictures of a folder with their letter-boxed boxes; none of an empty folder."""
    pictures = pictures_in(folder, last_number)
    return tuple(
        BoxedFrame(pictures[place], _rows(boxes, pictures[place].name), True)
        for place in (even_places(len(pictures), count) if pictures else [])
    )


def _rows(boxes: Mapping[str, Any], name: str) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in boxes.get(name, []))


# -- MovieGraphs --------------------------------------------------------------------------------------------------


def read_moviegraphs(root: Path, frames: int = 8) -> ProbeSet:
    """MovieGraphs: a scene of a film, any of 26 emotions. Trained on train, tested on val.

    official/mg/py3loader/emotion_labels.json, official/mg/split.json, official/mg_videoinfo/{scene_boundaries,
    video_boundaries}/FILM.*, frames/FILM/frame_0.jpg, all_human_boxes.json.
    """
    found = ProbeSet("MovieGraphs", "any", MOVIEGRAPHS_LABELS, [], 10.0)
    advice = "give the folder with official, frames and all_human_boxes.json"
    files = ("official/mg/py3loader/emotion_labels.json", "official/mg/split.json")
    labels, split = (read_object(need_file(root / name, found.title, root, advice)) for name in files)
    boxes_file = root / "all_human_boxes.json"
    boxes = read_object(boxes_file) if boxes_file.is_file() else {}
    sides: dict[str, Side] = {str(film): "train" for film in split.get("train", [])}
    sides |= {str(film): "test" for film in split.get("val", [])}
    lost = 0
    for film, scenes in labels.items():
        if film not in sides:
            continue
        info = root / "official" / "mg_videoinfo"
        shots = number_rows(need_file(info / "scene_boundaries" / f"{film}.scenes.gt", found.title, root, advice))
        cuts = number_rows(need_file(info / "video_boundaries" / f"{film}.videvents", found.title, root, advice))[1:]
        starts = [0, *(row[0] for row in cuts)]
        for scene, names in scenes.items():
            where, number = f"{film}, scene {scene}", int(number_in(scene, f"{film}: scene"))
            if not 0 <= number < len(shots) or not 1 <= shots[number][0] <= shots[number][1] <= len(starts):
                raise LayoutError(f"{where} has no shots in {film}.scenes.gt and {film}.videvents")
            first, last = starts[shots[number][0] - 1], shots[number][1]
            end = starts[last] - 1 if last < len(starts) else first + LAST_SHOT
            end = ITS_END if (film, number) == (SHORT_FILM, ITS_CLIP) else end
            wanted = tuple(map(max, zip(*(one_of(MOVIEGRAPHS_LABELS, name, where) for name in names), strict=True)))
            paths = [
                root / "frames" / film / f"frame_{first + step}.jpg" for step in even_places(end - first + 1, frames)
            ]
            lost += not all(path.is_file() for path in paths)
            if wanted and all(path.is_file() for path in paths):
                shown = tuple(BoxedFrame(path, _rows(boxes.get(film, {}), path.name), True) for path in paths)
                found.clips.append(ProbeClip(f"{film}/{scene}", sides[film], wanted, frames=shown, group=film))
    found.notices.append(f"MovieGraphs: {lost} scenes without frames left out")
    return found


def number_rows(path: Path) -> list[list[int]]:
    """Lines of whole numbers, as far as each line has them."""
    rows = (re.findall(r"(?<![\w.])\d+(?![\w.])", line) for line in read_text(path).split("\n"))
    return [[int(number) for number in row] for row in rows if row]


# -- LIRIS-ACCEDE -------------------------------------------------------------------------------------------------


def read_liris(root: Path, frames: int = WINDOW) -> ProbeSet:
    """LIRIS-ACCEDE as MediaEval 2018 hands it out: every second of a film has a valence and an arousal.

    annotations/SET/annotations/FILM_*.txt (tabs; Time, Valence, Arousal), frames/FILM.mp4/00000001.jpg one a second,
    bboxes/FILM.mp4/human_boxes.json. A set with "test" in its name is tested. A second is seen with those round it;
    training leaves out the ends of films.
    """
    found = ProbeSet("LIRIS-ACCEDE", "values", (), [], values=("valence", "arousal"))
    folder = need_file(root / "annotations", found.title, root, "give the folder MediaEval2018")
    lists = sorted(path for path in folder.glob("*/annotations/*") if path.suffix.lower() in (".txt", ".tsv", ".csv"))
    if not lists:
        raise LayoutError(f"{folder} holds no SET/annotations/FILM_*.txt")
    for path in lists:
        side: Side = "test" if "test" in path.parent.parent.name.lower() else "train"
        film = "_".join(path.stem.split("_")[:2])
        judged = read_seconds(path)
        pictures = pictures_in(root / "frames" / f"{film}.mp4")
        boxes_file = root / "bboxes" / f"{film}.mp4" / "human_boxes.json"
        boxes = merged_boxes(boxes_file) if boxes_file.is_file() else {}
        total = min(len(pictures), len(judged))
        for second in range(total):
            start = second - frames // 2
            if total < frames or (side == "train" and not 0 <= start <= total - frames):
                continue
            start = max(0, min(start, total - frames))
            shown = tuple(BoxedFrame(p, _rows(boxes, p.name), True) for p in pictures[start : start + frames])
            found.clips.append(ProbeClip(f"{film}/{second:05d}", side, (), judged[second], shown, group=film))
        found.notices.append(f"LIRIS-ACCEDE, {film}: {len(judged)} seconds judged, {len(pictures)} frames, {side}")
    return found


def read_seconds(path: Path) -> list[tuple[float, ...]]:
    """Valence and arousal of each second of a film, in order."""
    rows = read_rows(path)
    names = {"time": ("Time",), "valence": ("Valence",), "arousal": ("Arousal",)}
    places = columns(rows[0] if rows else [], names)
    if len(places) < len(names):
        raise LayoutError(f"{path}: columns Time, Valence and Arousal are needed")
    return [
        tuple(number_in(cell_at(row, places[key]), f"{path}:{line}: {key}") for key in ("valence", "arousal"))
        for line, row in enumerate(rows[1:], 2)
    ]


def merged_boxes(path: Path) -> dict[str, Any]:
    """Boxes by frame, of a file with one object, or with a list of them as the detector writes it."""
    tree = read_json(path)
    parts = tree if isinstance(tree, list) else [tree]
    if not all(isinstance(part, dict) for part in parts):
        raise LayoutError(f"{path} holds no boxes of frames")
    return {name: rows for part in parts for name, rows in part.items()}


PROBE_READERS = {"meld": read_meld, "moviegraphs": read_moviegraphs, "liris": read_liris}
