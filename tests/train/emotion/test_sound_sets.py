"""The whole protocol of AV-CANet and MER-CLIP on miniatures of every data set, in its layout: odd counts, names with
spaces, videos that are missing, clips without sound or with sound alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import train as train_script

from captioner.data.adapters.emotions_set import read_emotions
from captioner.emotion.folder import load_recogniser
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.train.emotion.found_splits import find_splits
from captioner.train.emotion.run_config import EmotionDataConfig
from tests.helpers import ROOT
from tests.train.emotion.test_sound_protocol import PAIR, TINY, clip

CONFIGS = ROOT / "configs" / "emotion"
EKMAN = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
VIDEO8 = ("Anger", "Anticipation", "Disgust", "Fear", "Joy", "Sadness", "Surprise", "Trust")
MUSIC6 = ("exciting", "fear", "neutral", "relaxation", "sad", "tension")


def run(config: str, root: Path, out: Path, *more: str) -> tuple[dict[str, object], str]:
    """By the command; the summary and the report."""
    small = PAIR if config.startswith("mer_clip") else TINY
    command = [str(CONFIGS / f"{config}.yaml"), "--data.root", str(root), f"train.out={out}", *small, "train.epochs=1"]
    assert train_script.main([*command, *more]) == 0
    return json.loads((out / "results.json").read_text()), (out / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_video_emotion_8(tmp_path: Path) -> None:
    root = tmp_path / "VideoEmotion8"
    for place, label in enumerate(VIDEO8):
        for number in range(3 + place % 2):
            clip(root / "ve8 videos" / label / f"my clip {number}.mp4", place, number)
    (root / "ve8 videos" / "Readme").mkdir()
    clip(root / "ve8 videos" / "Readme" / "teaser.mp4", 0, 0)
    summary, report = run("avcanet_ve8", root, tmp_path / "out", "data.splits=2", "data.crop=centre")
    assert len(summary["splits"]) == 2 and "VideoEmotion-8: 28 videos here, 1101 published" in report  # type: ignore[arg-type]
    assert "| VAANet | 46.73 | 43.92 |" in report and "| AV-CANet | 49.53 | 48.24 |" in report
    assert f"| **measured here** | {100 * summary['top1']:.2f} |" in report  # type: ignore[operator]
    assert "1 videos in no category's folder left out" in report


@pytest.mark.slow
def test_music_video_6_by_its_folders_of_sides(tmp_path: Path) -> None:
    root = tmp_path / "MV6"
    for place, label in enumerate(MUSIC6):
        for number in range(5):
            side = ("train", "train", "val", "test", "test")[number]
            clip(root / side / label.upper() / f"{label}.{number}.mp4", place, number)
    summary, report = run("avcanet_mv6", root, tmp_path / "out", "data.protocol=official")
    assert len(summary["splits"]) == 1 and sum(map(sum, summary["confusion"])) == 12  # type: ignore[arg-type]
    assert "| AV-CANet | 84.81 | 84.63 |" in report and "best on clips held out" in report
    model = load_recogniser(tmp_path / "out" / "split-0" / "model")
    assert model.labels == MUSIC6 and model.config.loss.positive == ["exciting", "relaxation"]


@pytest.fixture(scope="module")
def mafw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("MAFW")
    mafw_lists(root)
    for number in range(33):
        clip(root / "data" / "clips" / f"{number + 1:05d}.mp4", number % 5, number)
    return root


def mafw_lists(root: Path) -> None:
    """Two folds without captions, 11 labels, a clip that is not there."""
    for fold in (1, 2):
        for side in ("train", "test"):
            chosen = [n for n in range(34) if ((n // 11 + fold) % 3 == 0) == (side == "test")]
            path = root / "Train & Test Set" / "single" / "no_caption" / f"set_{fold}" / f"{side}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{n + 1:05d}.mp4 {MAFW_LABELS[n % 11]}\n" for n in chosen), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("config", ["avcanet_mafw", "mer_clip_mafw"])
def test_mafw_with_its_sound(mafw: Path, tmp_path: Path, config: str) -> None:
    (mafw / "data" / "clips" / "00001.srt").write_bytes("1\n00:00:00,1 --> 00:00:00,9\nnon è vero\n".encode("latin-1"))
    summary, report = run(config, mafw, tmp_path, "data.splits=2", "data.crop=centre")
    assert len(summary["splits"]) == 2 and "MAFW, fold 2: 33 clips, 1 without video or label left out" in report
    assert "| HiCMAE, with sound | 42.65 | 56.17 |" in report and "| UAR % | accuracy % |" in report
    assert f"{100 * summary['top1']:.2f} |" in report  # type: ignore[operator]
    assert ("no rows of its paper" in report) == config.startswith("mer")


@pytest.mark.slow
def test_ekman_6_by_a_list_of_sides(tmp_path: Path) -> None:
    root = tmp_path / "Ekman 6"
    lines = ["video,label,split,group"]
    for place, label in enumerate(EKMAN):
        for number in range(3 + place % 3):
            clip(root / "all" / f"{label} {number}.mp4", place, number)
            lines.append(f"all/{label} {number}.mp4,{label.title()},{'test' if number == 1 else 'train'},{number}")
    lines.append("all/gone.mp4,Joy,train,9")
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    summary, report = run("avcanet_ekman6", root, tmp_path / "out", "data.protocol=official", "emotion.loss.kind=ce")
    assert sum(map(sum, summary["confusion"])) == 6 and "| AV-CANet | 55.63 | 55.44 |" in report  # type: ignore[arg-type]


@pytest.mark.slow
def test_emotions_without_lists_and_its_smaller_sets(tmp_path: Path) -> None:
    root = tmp_path / "eMotions"
    for place, label in enumerate(("Excitation", "Fear", "Neutral", "Relaxation", "Sadness", "Tension")):
        for number in range(4):
            clip(root / label / f"v {number}.mp4", place, number)
    variant = ["data.variant=test", "data.protocol=random", "data.test_share=0.4"]
    summary, report = run("avcanet_emotions", root, tmp_path / "out", *variant)
    assert "| AV-CANet | 67.00 | 66.28 |" in report and "sides are drawn" in report
    assert len(summary["splits"]) == 1


def test_names_with_spaces_are_on_lists(tmp_path: Path) -> None:
    for name in ("Fear/a b 7.mp4", "Fear/c.mp4", "Sadness/d e.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "trainlist01.txt").write_text("Fear/a b 7 1\nSadness/d e.mkv 4\n\n")
    (tmp_path / "testlist01.txt").write_text("Fear\\c 1\n")
    listed = read_emotions(tmp_path)
    assert {r.id: r.split for r in listed.records} == {"fear/a b 7": "train", "fear/c": "test", "sadness/d e": "train"}


def test_mafw_needs_no_captions_to_be_recognised(tmp_path: Path) -> None:
    mafw_lists(tmp_path)
    for number in range(33):
        (tmp_path / f"{number + 1:05d}.mp4").write_bytes(b"")
    _, splits, notices = find_splits(EmotionDataConfig(dataset="mafw", root=str(tmp_path), splits=2))
    assert [len(split.records) for split in splits] == [33, 33] and notices[0].startswith("MAFW, fold 1: 33 clips")
    assert np.unique([record.emotion for record in splits[0].records]).size == 11


@pytest.mark.slow
def test_mosi_from_flat_files_with_odd_rows(tmp_path: Path) -> None:
    root = tmp_path / "CMU MOSI"
    rows = ["name,clip_id,transcript,label,split"]
    for number in range(15):
        mode = "test" if number % 5 == 4 else ("dev" if number % 5 == 3 else "train")
        words = '"' + " ".join(["well"] * (200 if number == 0 else 3)) + ', ""so"" it is"'
        rows.append(f"aB_c-{number % 3},{number},{words if number != 2 else ''},{(number - 7) / 2.5:.2f},{mode}")
        if number != 5:
            clip(root / "segmented" / f"aB_c-{number % 3}$_${number}.mp4", number % 5, number)
    (root / "labels.csv").write_bytes(("\ufeff" + "\r\n".join(rows)).encode("utf-16"))
    summary, report = run("mer_clip_mosi", root, tmp_path / "out")
    assert "CMU-MOSI: 8 / 3 / 3 clips here" in report and "1 clips of labels.csv have no video" in report
    assert set(summary["opinions"]) >= {"MAE", "corr", "Acc-7", "Acc-2 non-negative", "Acc-2 positive"}  # type: ignore[call-overload]
