"""Tiny data sets in the layouts of BoLD, Emotic, MELD, MovieGraphs, LIRIS-ACCEDE: colours stand for emotions."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captioner.data.adapters.person_sets import BOLD_LABELS, EMOTIC_LABELS, MELD_LABELS
from captioner.video.reading import write_video

RED, BLUE = (220, 30, 30), (30, 30, 220)


def picture(path: Path, colour: tuple[int, int, int], seed: int = 0) -> None:
    """A noisy picture of one colour, 48 x 36."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-15, 15, (36, 48, 3))
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(path)


def table(path: Path, rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_bold(root: Path, videos: int = 6) -> None:
    """Two persons a video; red ones are happy and calm, blue ones sad; joints fill the left half."""
    for side, name in enumerate(("train", "val")):
        rows: list[list[Any]] = []
        for number in range(videos):
            video, red = f"00{side}/film{side}{number}.mp4/0000.mp4", number % 2 == 0
            for frame in range(10):
                picture(root / "mmextract" / video / f"img_{frame + 1:05d}.jpg", RED if red else BLUE, frame)
            joints = np.zeros((10, 56))
            joints[:, 0] = np.arange(7, 17)
            joints[:, 2:] = np.tile([[2.0, 3.0, 0.9], [20.0, 33.0, 0.9], *[[0.0, 0.0, 0.0]] * 16], (10, 1, 1)).reshape(
                10, 54
            )
            (root / "joints" / video).parent.mkdir(parents=True, exist_ok=True)
            np.save(root / "joints" / Path(video).with_suffix(".npy"), joints)
            scores = [float(label in (("happiness", "peace") if red else ("sadness",))) * 0.7 for label in BOLD_LABELS]
            rows.append([video, 0, 0, 9, *scores, 7.5 if red else 2.0, 5.0, 5.0 + number, "f", "adult", "x", 0.9])
        table(root / "annotations" / f"{name}.csv", rows)


def write_emotic(root: Path, photos: int = 8) -> None:
    for side in ("train", "test"):
        rows, wanted = [["Index", "Folder", "Filename", "Image Size", "BBox"]], np.zeros((photos, 26))
        for number in range(photos):
            red = number % 2 == 0
            picture(root / "emotic" / "mscoco/images" / f"{side}{number}.jpg", RED if red else BLUE, number)
            rows.append([str(number), "mscoco/images", f"{side}{number}.jpg", "(48, 36)", "[4, 4, 30, 36]"])
            wanted[number, EMOTIC_LABELS.index("happiness" if red else "fear")] = 1
        table(root / "annotations_pre" / f"{side}.csv", rows)
        np.save(root / "annotations_pre" / f"{side}_cat_arr.npy", wanted)


def write_meld(root: Path, spoken: int = 8) -> None:
    for side in ("train", "test"):
        rows: list[list[Any]] = [
            ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"]
        ]
        boxes: dict[str, Any] = {}
        for number in range(spoken):
            label, name = MELD_LABELS[4 if number % 2 else 6], f"dia{number}_utt0"
            rows.append([number, "Oh, hi.", "Joey", label, "positive", number, 0])
            for frame in range(3 + number):
                picture(
                    root / "frames" / f"{side}_splits" / name / f"frame_{frame}.jpg", RED if number % 2 else BLUE, frame
                )
            boxes[name] = {
                f"frame_{frame}.jpg": [[0, 64, 320, 400, 0.9], [0, 0, 9, 9, 0.1]] for frame in range(3 + number)
            }
        rows.append([99, "Gone.", "Ross", "joy", "positive", 125, 3])
        table(root / "MELD.Raw" / f"{side}_sent_emo.csv", rows)
        (root / f"{side}_human_boxes.json").write_text(json.dumps(boxes))


def write_moviegraphs(root: Path, scenes: int = 6) -> None:
    """Every scene is one shot of 10 frames; the last one has no end."""
    films, info = {"train": ["tt001"], "val": ["tt002"], "test": ["tt003"]}, root / "official" / "mg_videoinfo"
    labels: dict[str, Any] = {}
    for film in ("tt001", "tt002", "tt003"):
        labels[film] = {str(n): ["Happiness", "Pleasure"] if n % 2 else ["Fear"] for n in range(scenes)}
        for n in range(scenes):
            places = range(10) if n < scenes - 1 else [step * 192 // 7 for step in range(8)]  # 8 s of the last one
            for frame in places:
                picture(root / "frames" / film / f"frame_{10 * n + frame}.jpg", RED if n % 2 else BLUE, frame)
        shots = "".join(f"{n + 1} {n + 1} 1 \n" for n in range(scenes))
        cuts = "".join(f"{10 * n} {n / 2.4:.3f} CUT\n" for n in range(1, scenes))
        for name, text in (
            ("scene_boundaries/X.scenes.gt", shots),
            ("video_boundaries/X.videvents", f"99 0.0\n{cuts}"),
        ):
            path = info / name.replace("X", film)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for path, tree in (("py3loader/emotion_labels.json", labels), ("split.json", films)):
        (root / "official" / "mg" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "official" / "mg" / path).write_text(json.dumps(tree))


def write_liris(root: Path, seconds: int = 14) -> None:
    for part, films in (("MEDIAEVAL18-DevSet", ("MEDIAEVAL18_00", "MEDIAEVAL18_01")), ("TestSet", ("MEDIAEVAL18_54",))):
        for film in films:
            rows = ["Time\tValence\tArousal"]
            for second in range(seconds):
                bright = second >= seconds // 2
                picture(root / "frames" / f"{film}.mp4" / f"{second + 1:08d}.jpg", RED if bright else BLUE, second)
                rows.append(f"{second}\t{0.4 if bright else -0.4}\t{0.01 * second}")
            folder = root / "annotations" / part / "annotations"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{film}_Valence-Arousal.txt").write_text("\n".join(rows) + "\n")
            boxes = [{f"{second + 1:08d}.jpg": [[0, 0, 640, 480, 0.8]]} for second in range(seconds)]
            (root / "bboxes" / f"{film}.mp4").mkdir(parents=True, exist_ok=True)
            (root / "bboxes" / f"{film}.mp4" / "human_boxes.json").write_text(json.dumps(boxes))


def write_mafw(root: Path, clips: int = 12) -> None:
    """One fold: odd clips are red and angry, even ones blue and afraid."""
    for number in range(1, clips + 1):
        name = root / "clips" / f"{number:05d}.mp4"
        noise = np.random.default_rng(number).integers(-15, 15, (6, 36, 48, 3))
        write_video(name, (np.array(RED if number % 2 else BLUE) + noise).clip(0, 255).astype(np.uint8), 5)
    for side, chosen in (("train", range(1, clips - 3)), ("test", range(clips - 3, clips + 1))):
        rows = [f"{n:05d}.mp4\t{'anger' if n % 2 else 'fear'}\t\u4ed6\tA man shouts." for n in chosen]
        path = root / "single" / "with_caption" / "set_1" / f"{side}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(rows), encoding="utf-8")


WRITERS = {
    "bold": write_bold,
    "emotic": write_emotic,
    "meld": write_meld,
    "moviegraphs": write_moviegraphs,
    "liris": write_liris,
    "mafw": write_mafw,
}
