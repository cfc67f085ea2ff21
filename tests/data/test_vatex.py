"""VATEX's lists as a manifest: splits by file name, ten captions a clip, relatives by YouTube video."""

import json
from pathlib import Path

import pytest

from captioner.data.adapters.layout import LayoutError
from captioner.data.adapters.vatex import read_vatex
from captioner.data.manifest import read_manifest
from scripts.prepare import main
from tests.helpers import noise_video


def lists(root: Path) -> None:
    for name, keys in {"vatex_training_v1.0.json": ["AAAAAAAAAAA_000010_000020", "AAAAAAAAAAA_000030_000040"],
                       "vatex_public_test_english_v1.1.json": ["BBBBBBBBBBB_000000_000010"]}.items():  # fmt: skip
        captions = [f"A person waves {i} times." for i in range(10)]
        rows = [{"videoID": key, "enCap": captions, "chCap": []} for key in keys]
        (root / name).write_text(json.dumps(rows), encoding="utf-8")


def test_lists_become_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists(tmp_path)
    for number, key in enumerate(["AAAAAAAAAAA_000010_000020", "BBBBBBBBBBB_000000_000010"]):
        noise_video(tmp_path / f"{key}.mp4", number)
    out = tmp_path / "manifest.jsonl"
    assert main(["vatex", "--root", str(tmp_path), "--out", str(out)]) == 0
    records = sorted(read_manifest(out), key=lambda record: record.id)
    assert [(r.split, len(r.captions), r.group) for r in records] == [
        ("train", 10, "AAAAAAAAAAA"), ("test", 10, "BBBBBBBBBBB"),
    ]  # fmt: skip
    assert records[0].extra["start"] == 10
    assert "AAAAAAAAAAA_000030_000040\tmissing" in (tmp_path / "manifest.left-out.txt").read_text()
    assert "no file of val" in capsys.readouterr().out


def test_another_layout_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("[{}]", encoding="utf-8")
    with pytest.raises(LayoutError, match=r"json lists with videoID and enCap.*found train\.json"):
        read_vatex(tmp_path)
