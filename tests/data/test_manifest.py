"""Manifests: what is read back is what was written, and every fault is named with its line."""

import json
from pathlib import Path
from typing import Any

import pytest

from captioner.data.manifest import Record, read_manifest, write_manifest
from captioner.errors import ManifestError

LABELS = ("anger", "happiness", "neutral")


def line(**changes: Any) -> dict[str, Any]:
    base = {
        "id": "a",
        "video": "clips/a.mp4",
        "split": "train",
        "captions": ["A man smiles."],
        "emotion": "happiness",
    }
    return {key: value for key, value in (base | changes).items() if value is not ...}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    for name in "abcdefgh":
        (tmp_path / "clips" / f"{name}.mp4").touch()
    return tmp_path


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "m.jsonl"
    path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines))
    return path


def fault(path: Path, **options: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_line_becomes_a_record_with_an_absolute_path_and_clean_captions(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        folder, line(captions=["  A man\n smiles. "], multi_emotion=["anger"], au_ids=[6, 12]), "", ""
    )
    monkeypatch.chdir(folder)
    for given in (path, path.name):
        (record,) = read_manifest(given, labels=LABELS)
        assert record.video == folder / "clips" / "a.mp4"
        assert record.captions == ("A man smiles.",)
        assert (record.multi_emotion, record.au_ids) == (("anger",), (6, 12))
        assert (record.fold, record.n_frames, record.fps, record.group, record.extra) == (
            None,
            0,
            0.0,
            "",
            {},
        )


def test_writing_and_reading_are_inverse_and_paths_stay_relative(folder: Path) -> None:
    records = [
        Record(
            "a",
            folder / "clips" / "a.mp4",
            "train",
            ("Élan.", "Two."),
            "anger",
            ("anger",),
            (1, 4),
            "film 1",
            2,
            9,
            25.0,
        ),
        Record("b", folder / "clips" / "b.mp4", "test", (), "neutral", extra={"note": {"x": [1]}}),
    ]
    (folder / "lists").mkdir()
    path = folder / "lists" / "m.jsonl"
    write_manifest(path, records)
    assert read_manifest(path) == records
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])["video"] == "../clips/a.mp4"
    assert [entry.name for entry in path.parent.iterdir()] == ["m.jsonl"]


def test_split_and_fold_choose_records(folder: Path) -> None:
    path = write(
        folder,
        line(id="a", fold=1),
        line(id="b", fold=2),
        line(id="c", fold=None),
        line(id="d", split="test", fold=1),
    )
    assert [r.id for r in read_manifest(path, split="train")] == ["a", "b", "c"]
    assert [r.id for r in read_manifest(path, split="train", fold=2)] == ["b", "c"]
    assert [r.id for r in read_manifest(path, fold=1)] == ["a", "c", "d"]
    assert "no record of split 'val'; there are: test of fold 1 (1), train (1), train of fold 1 (1)" in fault(
        path, split="val"
    )
    assert "unknown split 'tset' (did you mean 'test'?); allowed: train, val, test" in fault(
        path, split="tset"
    )


def test_clips_listed_once_a_fold_need_a_fold(folder: Path) -> None:
    path = write(folder, line(fold=1), line(fold=2, split="test"), line(fold=3))
    assert len(read_manifest(path, split="train", fold=3)) == 1
    assert len(read_manifest(path)) == 3
    assert "choose one of the folds [1, 3]" in fault(path, split="train")


def test_only_neutral_clips_may_lack_a_caption(folder: Path) -> None:
    path = write(
        folder, line(emotion="neutral", captions=...), line(id="b", emotion="neutral", captions=[" "])
    )
    assert [record.captions for record in read_manifest(path)] == [(), ()]
    assert "line 1: no caption (only neutral clips may have none)" in fault(write(folder, line(captions=[])))
    assert "line 1: caption 2 is empty" in fault(write(folder, line(captions=["A man.", " \t "])))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{", "line 1: not JSON (Expecting property name"),
        ('{"fps": NaN}', "line 1: not JSON (NaN is not a JSON number)"),
        ("[1]", "line 1: a JSON object is needed, not list"),
        (line(captions=..., caption=["x"]), "line 1: unknown field 'caption' (did you mean 'captions'?)"),
        (line(split=...), "line 1: field 'split' is missing"),
        (line(captions="A man."), 'captions must be a list of strings, not "A man."'),
        (line(captions=["\ud800"]), 'captions must be a list of strings, not ["\\ud800"]'),
        (line(fold=True), "fold must be a whole number or null, not true"),
        (line(au_ids=[1.5]), "au_ids must be a list of whole numbers, not [1.5]"),
        (line(id=""), 'id must be a non-empty string, not ""'),
        (line(id=7), "id must be a non-empty string, not 7"),
        (
            line(extra=list(range(99))),
            "extra must be an object, not [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11...",
        ),
        (
            line(emotion="hapiness"),
            "unknown emotion 'hapiness' (did you mean 'happiness'?); allowed: anger, happiness",
        ),
        (line(multi_emotion=["joy"]), "unknown emotion 'joy'; allowed: anger, happiness, neutral"),
        (
            '{"id": "a", "video": "v", "split": "val", "captions": [], "fps": 1e999}',
            "fps must be a number, not Inf",
        ),
        (line(split="valid"), "unknown split 'valid' (did you mean 'val'?); allowed: train, val, test"),
        (line(video="clips/z.mp4"), "line 1: no video at"),
    ],
)
def test_each_fault_is_named(folder: Path, given: Any, message: str) -> None:
    text = fault(write(folder, given), labels=LABELS)
    assert message in text
    assert text.startswith(str(folder / "m.jsonl"))


def test_five_faults_are_shown_and_the_others_counted(folder: Path) -> None:
    path = write(folder, *(line(id=str(n), split="x") for n in range(17)))
    text = fault(path)
    assert text.count("unknown split") == 5
    assert "line 5: " in text
    assert text.endswith("; ... and 12 more faults")
    assert fault(write(folder, *(line(id=str(n), split="x") for n in range(6)))).endswith(
        "... and 1 more fault"
    )


def test_duplicates_name_both_lines(folder: Path) -> None:
    assert "line 3: duplicate id 'a', first on line 1" in fault(
        write(folder, line(), line(id="b"), line(split="test"))
    )


def test_files_of_other_splits_are_not_missed(folder: Path) -> None:
    path = write(folder, line(), line(id="b", split="test", video="gone.mp4"))
    assert len(read_manifest(path, split="train")) == 1
    assert len(read_manifest(path, check_files=False)) == 2
    assert "line 2: no video at" in fault(path)


def test_a_manifest_that_is_not_there_or_empty(folder: Path) -> None:
    write(folder, line())
    assert "no such file" in fault(folder / "n.jsonl")
    assert "is a folder; give the manifest" in fault(folder)
    assert "no record; each line must be a JSON object" in fault(write(folder, ""))
    (folder / "m.jsonl").write_bytes(b'{"id": "\xff"}\n')
    assert "line 1: not UTF-8 text" in fault(folder / "m.jsonl")
