"""Linear probes on EmotionCLIP: data sets in their real layouts (miniatures), scores, folders that believe, faults."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train

from captioner.config_io import load_config
from captioner.data.adapters.layout import LayoutError
from captioner.data.adapters.person_sets import read_bold, read_emotic
from captioner.data.adapters.scene_sets import read_liris, read_meld, read_moviegraphs
from captioner.emotion import boxes, folder
from captioner.emotion.contract import believe
from captioner.emotion.looking import look
from captioner.errors import CaptionerError, ConfigError, ManifestError
from captioner.train.emotion import probe_recipe
from captioner.train.emotion.probe_recipe import run_probe, smoothed
from captioner.train.emotion.words_config import ProbeRun
from tests.emotion.test_emotion_clip import emotion_clip
from tests.helpers import ROOT
from tests.train.emotion.probe_miniatures import WRITERS, write_bold, write_emotic, write_liris, write_meld
from tests.train.emotion.test_emotion_protocol import paint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "own"
    folder.save_recogniser(path, emotion_clip())
    return path


def probe_of(source: Path, dataset: str, root: Path, out: Path, *more: str) -> ProbeRun:
    words = [f"source={source}", f"dataset={dataset}", f"root={root}", f"out={out}", *more]
    return load_config(ProbeRun, None, words)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", list(WRITERS))
def test_the_whole_protocol_on_miniatures(source: Path, tmp_path: Path, dataset: str) -> None:
    pytest.importorskip("sklearn", reason="needs the extra eval")
    WRITERS[dataset](tmp_path / "data")
    config = str(ROOT / "configs" / "emotion" / f"emotionclip_{dataset}.yaml")
    words = ["--root", str(tmp_path / "data"), "--source", str(source), f"out={tmp_path / 'out'}", "c=1000"]
    assert train.main([config, *words]) == 0
    scores = json.loads((tmp_path / "out" / "results.json").read_text())["scores"]
    report = (tmp_path / "out" / "report.md").read_text()
    printed = {"liris": "Affect2MM", "mafw": "DFER-CLIP"}.get(dataset, "VideoCLIP")
    assert "| **ours, here** |" in report and printed in report
    wanted = {"bold": ("mAP", 0.99), "emotic": ("mAP", 0.99), "meld": ("top1", 0.99), "moviegraphs": ("top1", 0.99)}
    wanted["mafw"] = ("top1", 0.99)
    if dataset == "liris":
        assert scores["valence PCC"] > 0.8 and "row of this table was not at hand" in report
        assert not (tmp_path / "out" / "model").exists()
        return
    name, least = wanted[dataset]
    assert scores[name] > least, scores
    model = folder.load_recogniser(tmp_path / "out" / "model")
    assert model.config.belief == ("several" if dataset in ("bold", "emotic") else "single")
    if dataset == "bold":
        assert "mean R2" in scores and scores["labels that occur"] == 3


@pytest.mark.slow
def test_a_manifest_gives_a_recogniser_that_believes_its_clips(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="needs the extra eval")
    lines = []
    for number in range(12):
        label, colour = (("joy", (240, 20, 20)), ("fear", (20, 20, 240)))[number % 2]
        paint(tmp_path / f"{number}.mp4", colour, 6, number)
        about = {
            "id": str(number),
            "video": f"{number}.mp4",
            "split": "test" if number > 7 else "train",
            "emotion": label,
        }
        lines.append(json.dumps({**about, "captions": ["A face."]}))
    (tmp_path / "clips.jsonl").write_text("\n".join(lines) + "\n")
    run = probe_of(source, "manifest", tmp_path / "clips.jsonl", tmp_path / "out", "c=1000")
    scores = run_probe(run, CPU)
    assert scores["top1"] == 1.0 and scores["commonest"] == 0.5
    model = folder.load_recogniser(tmp_path / "out" / "model")
    parts = [look(tmp_path / f"{number}.mp4", model.wants) for number in (8, 9)]
    belief = believe(model, parts)
    assert [belief.labels[place] for place in belief.probs.argmax(1).tolist()] == ["joy", "fear"]


def test_bold_is_read_as_it_lies(tmp_path: Path) -> None:
    write_bold(tmp_path, 2)
    found = read_bold(tmp_path)
    assert [clip.side for clip in found.clips] == ["train", "train", "test", "test"] and found.c == 3.16
    first = found.clips[0]
    assert [frame.path.name for frame in first.frames][::7] == ["img_00001.jpg", "img_00010.jpg"]
    assert first.frames[0].boxes == ((2.0, 3.0, 20.0, 33.0),)  # joints that are all 0 were not found
    assert sum(first.wanted) == 2 and first.values == (7.5, 5.0, 5.0) and first.group == "film00.mp4"


def test_seconds_of_films_keep_their_neighbours(tmp_path: Path) -> None:
    write_liris(tmp_path)
    found = read_liris(tmp_path)
    train_side = [clip for clip in found.clips if clip.group == "MEDIAEVAL18_00"]
    assert [clip.id[-5:] for clip in train_side] == [f"{second:05d}" for second in range(4, 11)]  # ends are left out
    tested = [clip for clip in found.clips if clip.side == "test"]
    assert len(tested) == 14 and tested[0].frames[0].path.name == "00000001.jpg"
    assert tested[13].frames[-1].path.name == "00000014.jpg" and tested[13].values == (0.4, 0.13)


def test_utterances_without_a_clip_are_left_out(tmp_path: Path) -> None:
    write_meld(tmp_path)
    found = read_meld(tmp_path)
    assert len(found.clips) == 16 and "MELD, train: 1 utterances without a clip left out" in found.notices
    assert len(found.clips[0].frames) == 8 and found.clips[0].frames[0].letterboxed


def test_the_release_leaves_the_border_in() -> None:
    rows = [[0.0, 12.0, 640.0, 372.0, 0.9], [0.0, 0.0, 9.0, 9.0, 0.5]]  # 16:9 is padded by 12 above and below
    assert boxes.unboxed(rows, 1280, 720).tolist() == [[0.0, 0.0, 1280.0, 720.0]]
    assert boxes.unboxed(rows, 1280, 720, released=True).tolist() == [[0.0, 24.0, 1280.0, 720.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1]", "is no object of frames"), ('{"a.jpg": [[1, 2, 3, 4]]}', "rows of left, top, right, bottom, score"),
     ("{", "holds no boxes"), ('{"a.jpg": [[1, 2, 3, NaN, 1]]}', "rows of left")],
)  # fmt: skip
def test_broken_boxes_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "human_boxes.json").write_text(content)
    with pytest.raises(ManifestError, match=message):
        boxes.read_boxes(tmp_path / "human_boxes.json")
    with pytest.raises(ManifestError, match="no such file"):
        boxes.read_boxes(tmp_path / "none.json")


def spoil(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


def test_broken_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"not laid out as BoLD: looked for annotations/train\.csv"):
        read_bold(tmp_path)
    write_bold(tmp_path, 2)
    spoil(tmp_path / "annotations" / "train.csv", ",0.7,", ",much,")
    with pytest.raises(LayoutError, match=r"train\.csv:1: score of peace is 'much': a number is needed"):
        read_bold(tmp_path)
    joints = tmp_path / "joints" / "001" / "film10.mp4" / "0000.npy"
    np.save(joints, np.zeros((3, 5)))
    spoil(tmp_path / "annotations" / "train.csv", ",much,", ",0.7,")
    with pytest.raises(LayoutError, match=r"has shape \(3, 5\): rows of frame, person and 18 joints"):
        read_bold(tmp_path)
    np.save(joints, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(LayoutError, match="is no array of joints"):
        read_bold(tmp_path)
    write_emotic(tmp_path / "emotic")
    spoil(tmp_path / "emotic" / "annotations_pre" / "train.csv", "[4, 4, 30, 36]", "[4, 4]")
    with pytest.raises(LayoutError, match=r"'\[4, 4\]' is no box: four numbers are needed"):
        read_emotic(tmp_path / "emotic")
    write_meld(tmp_path / "meld")
    spoil(tmp_path / "meld" / "MELD.Raw" / "test_sent_emo.csv", "joy", "bliss")
    with pytest.raises(LayoutError, match="'bliss' is none of neutral, surprise"):
        read_meld(tmp_path / "meld")
    with pytest.raises(LayoutError, match="not laid out as MovieGraphs"):
        read_moviegraphs(tmp_path / "meld")
    (tmp_path / "liris" / "annotations").mkdir(parents=True)
    with pytest.raises(LayoutError, match="holds no SET/annotations/FILM"):
        read_liris(tmp_path / "liris")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["root="], "root is missing"),
        (["source="], "source is missing"),
        (["root=no/such"], "is no folder"),
        (["dataset=mscoco"], "unknown dataset 'mscoco'"),
        (["c=0"], "c is 0.0: more than 0 is needed"),
    ],
)
def test_bad_runs_are_one_line(source: Path, tmp_path: Path, words: list[str], message: str) -> None:
    pytest.importorskip("sklearn", reason="needs the extra eval")
    with pytest.raises(CaptionerError, match=message):
        run_probe(probe_of(source, "bold", tmp_path, tmp_path / "out", *words), CPU)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_recipe, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'captioner\[eval\]'"):
        run_probe(ProbeRun(), CPU)


def test_films_are_smoothed_apart() -> None:
    said = np.array([[0.0], [1.0]] * 20 + [[5.0]] * 3)
    films = ["a"] * 40 + ["b"] * 3
    out: Any = smoothed(said, films)
    assert np.abs(np.diff(out[:40, 0])).max() < 0.5 and out[40:].tolist() == [[5.0]] * 3
