"""Layouts of the data sets, and how their clips are split: folders, lists, folds, manifests, groups that stay whole."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from captioner.data.adapters.layout import LayoutError
from captioner.data.adapters.viewer import read_viewer_set
from captioner.data.manifest import Record
from captioner.errors import ConfigError, ManifestError
from captioner.train.emotion.found_splits import find_splits
from captioner.train.emotion.run_config import EmotionDataConfig
from captioner.train.emotion.splits import official_split, random_split, shared_groups


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_category_folders(tmp_path: Path) -> None:
    touch(tmp_path, "1_Exciting/a_1.mp4", "1_Exciting/a_2.mp4", "train/Sadness/b.avi")
    touch(tmp_path, "test/Tension/c.mp4", "odd/x.mp4")
    listed = read_viewer_set(tmp_path, "mv6", r"^(.+)_\d+$")
    found = {r.id: (r.emotion, r.split, r.group) for r in listed.records}
    assert found == {
        "1_Exciting/a_1": ("exciting", "", "a"),
        "1_Exciting/a_2": ("exciting", "", "a"),
        "train/Sadness/b": ("sad", "train", "train/Sadness/b"),
        "test/Tension/c": ("tension", "test", "test/Tension/c"),
    }
    assert listed.notices[0] == "MusicVideo-6: 4 videos here, 1979 published"
    assert "no video of fear, neutral, relaxation" in listed.notices
    assert "1 videos in no category's folder left out (first odd/x.mp4)" in listed.notices


def test_lists_name_sides_sources_and_labels(tmp_path: Path) -> None:
    touch(tmp_path, "clips/1.mp4", "clips/2.mp4", "clips/3.mp4", "Anger/1.mp4")
    lines = ["filename,emotion,set,youtube_id", "clips/1.mp4,Joy,train,q", "clips/2.mp4,Fear,test,q", "3.mp4,Joy,Test,"]
    (tmp_path / "list.csv").write_text("\n".join([*lines, "Anger\\1.mp4,,train,z"]))
    found = {r.id: (r.emotion, r.split, r.group) for r in read_viewer_set(tmp_path, "ekman6").records}
    assert found == {
        "clips/1": ("joy", "train", "q"),
        "clips/2": ("fear", "test", "q"),
        "clips/3": ("joy", "test", ""),
        "Anger/1": ("anger", "train", "z"),
    }
    (tmp_path / "list.csv").write_text("video,label\n1.mp4,trust\n")
    with pytest.raises(LayoutError, match=r"list.csv: label 'trust' of 1.mp4 is none of anger, disgust"):
        read_viewer_set(tmp_path, "ekman6")


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no such file"):
        read_viewer_set(tmp_path / "none", "ve8")
    touch(tmp_path, "a.mp4")
    with pytest.raises(LayoutError, match="is not laid out as VideoEmotion-8: looked for videos in folders anger, ant"):
        read_viewer_set(tmp_path, "ve8")
    touch(tmp_path, "Joy/a.mp4")
    with pytest.raises(ConfigError, match="no group in brackets"):
        read_viewer_set(tmp_path, "ve8", "a")
    with pytest.raises(ConfigError, match="is no regular expression"):
        read_viewer_set(tmp_path, "ve8", "(")
    with pytest.raises(ConfigError, match=r"data\.root is missing: give the dataset's folder"):
        find_splits(EmotionDataConfig())
    with pytest.raises(ManifestError, match="nothing to test: two clips at least are needed"):
        find_splits(EmotionDataConfig(root=str(tmp_path)))
    touch(tmp_path, "Joy/b.mp4")
    with pytest.raises(ManifestError, match=r"by_group is set, but no video has a group: set data\.group"):
        find_splits(EmotionDataConfig(root=str(tmp_path), by_group=True))
    with pytest.raises(ManifestError, match=r"no official split: 2 clips \(first Joy/a\) are on no side"):
        find_splits(EmotionDataConfig(root=str(tmp_path), protocol="official"))


def test_mafw_folds(tmp_path: Path) -> None:
    for number in range(1, 7):
        touch(tmp_path, f"clips/{number:05d}.mp4")
    for fold, train in ((1, (1, 2, 3)), (2, (4, 5, 6))):
        for side in ("train", "test"):
            chosen = train if side == "train" else sorted({*range(1, 8)} - {*train})
            rows = [f"{n:05d}.mp4\t{'anger' if n % 2 else 'fear'}\t他\tA man shouts." for n in chosen]
            path = tmp_path / "single" / "with_caption" / f"set_{fold}" / f"{side}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(rows), encoding="utf-8")
    labels, splits, notices = find_splits(EmotionDataConfig(dataset="mafw", root=str(tmp_path), splits=2))
    assert len(labels) == 11
    assert [r.id for r in (splits[1].records[i] for i in splits[1].train)] == ["00004", "00005", "00006"]
    assert notices[0] == "MAFW, fold 1: 6 clips, 1 without video or label left out"


def test_a_manifest_of_labelled_clips(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    lines = [
        {"id": f"{label}{i}", "video": "a.mp4", "split": side, "captions": ["A man nods."], "emotion": label,
         "group": f"person{i}"}
        for label in ("joy", "fear") for i, side in enumerate(("train", "train", "test"))
    ]  # fmt: skip
    lines.append({"id": "none", "video": "a.mp4", "split": "train", "captions": ["A man nods."]})
    (tmp_path / "clips.jsonl").write_text("\n".join(map(json.dumps, lines)))
    given = EmotionDataConfig(dataset="manifest", root=str(tmp_path / "clips.jsonl"), protocol="official")
    labels, splits, notices = find_splits(given)
    assert labels == ("fear", "joy") and len(splits) == 1
    assert [splits[0].records[i].id for i in splits[0].test] == ["joy2", "fear2"]
    assert notices == ["clips.jsonl: 6 clips with an emotion"]
    _, splits, _ = find_splits(replace(given, protocol="random", by_group=True, splits=3))
    assert [shared_groups(s.records, s.train, s.test) for s in splits] == [0, 0, 0]


# -- splits ---------------------------------------------------------------------------------------------------


def records(groups: int = 0) -> list[Record]:
    sizes = {"anger": 30, "joy": 12, "fear": 7}
    return [
        Record(f"{label}{i}", Path("x"), "", emotion=label, group=f"{label}{i % groups}" if groups else "")
        for label, size in sizes.items()
        for i in range(size)
    ]


def test_random_splits_are_stratified() -> None:
    given = records()
    train, test = random_split(given, 1 / 3, 0)
    assert sorted([*train, *test]) == list(range(49))
    counts = {label: sum(given[i].emotion == label for i in test) for label in ("anger", "joy", "fear")}
    assert counts == {"anger": 10, "joy": 4, "fear": 2}
    assert random_split(given, 1 / 3, 0) == (train, test)
    assert random_split(given, 1 / 3, 1) != (train, test)


def test_groups_stay_whole() -> None:
    given = records(groups=4)
    for seed in range(5):
        train, test = random_split(given, 1 / 3, seed, by_group=True)
        assert shared_groups(given, train, test) == 0
        assert {given[i].emotion for i in test} == {given[i].emotion for i in train} == {"anger", "joy", "fear"}
        assert 0.15 < len(test) / len(given) < 0.5
    assert shared_groups(given, *random_split(given, 1 / 3, 0)) > 0


def test_persons_who_show_everything() -> None:
    given = [
        Record(f"{person}{label}", Path("x"), "", emotion=label, group=f"person{person}")
        for person in range(7)
        for label in ("anger", "joy", "fear", *(["fear"] if person == 3 else []))
    ]
    train, test = random_split(given, 1 / 3, 0, by_group=True)
    assert shared_groups(given, train, test) == 0
    assert len({given[i].group for i in test}) in (2, 3)
    alone = [Record(str(i), Path("x"), "", emotion="joy" if i else "fear", group=f"g{i > 2}") for i in range(5)]
    assert random_split(alone, 0.5, 1, by_group=True) == ([0, 1, 2], [3, 4])
    with pytest.raises(ManifestError, match="no group of fear is left to train on: more of them are needed"):
        random_split(alone, 0.5, 0, by_group=True)


def test_official_sides() -> None:
    given = [replace(record, split="test" if i % 3 == 0 else "train") for i, record in enumerate(records())]
    train, test = official_split(given)
    assert test == list(range(0, 49, 3)) and len(train) == 32
    with pytest.raises(ManifestError, match=r"one side is empty; set data\.protocol=random"):
        official_split([replace(record, split="train") for record in given])
