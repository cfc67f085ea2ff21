"""scripts/ablate_prior.py: the other manner's captions, rows, differences seed by seed, faults."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from captioner.config import Config
from captioner.config_io import load_config
from captioner.data.manifest import read_manifest
from captioner.errors import ManifestError
from tests.helpers import ROOT


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("ablate_prior", ROOT / "scripts" / "ablate_prior.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ablate_prior", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    lines = []
    for number, split in enumerate(["train", "train", "val", "train", "test"]):
        (tmp_path / f"{number}.mp4").touch()
        extra = {"feelings": [f"a sad one {number}"]}
        lines.append({"id": str(number), "video": f"{number}.mp4", "split": split, "captions": ["A frown."],
                      "emotion": "sadness", "extra": extra})  # fmt: skip
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "manifest.jsonl"


def test_captions_of_the_other_manner(script: Any, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "manifest.jsonl"
    script.write_manner(clips, out, "feelings", 2)
    records = read_manifest(out)
    assert [(r.id, r.split) for r in records] == [("0", "train"), ("1", "train"), ("4", "test")]
    assert records[0].captions == ("a sad one 0",) and records[0].video.parent == tmp_path
    with pytest.raises(ManifestError, match="clip 0 has no captions in the manner 'verse'"):
        script.write_manner(clips, out, "verse", 2)


def test_rows_are_configurations(script: Any) -> None:
    rows = script.rows("DIR", [0.5, 1]).values()
    found = [load_config(Config, ROOT / "configs" / "ablate_prior.yaml", row).model for row in rows]
    assert [(c.emotion_prior, c.emotion_prior_weight) for c in found] == [
        (None, None),
        ("pe_clip", 0.5),
        ("pe_clip", 1),
    ]
    assert {c.emotion_prior_source for c in found[1:]} == {"DIR"}


def test_differences_are_seed_by_seed(script: Any) -> None:
    base = [{"CIDEr": 0.10}, {"CIDEr": 0.30}]
    text = script.table({"without": base, "with": [{"CIDEr": 0.15}, {"CIDEr": 0.37}]}).splitlines()
    assert "| 20.0 ± 14.1 |" in text[2]
    assert "26.0 ± 15.6 (+6.0 ± 1.4)" in text[3]


def test_faults_are_one_line(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--clips", str(tmp_path / "no.jsonl"), "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and "no.jsonl" in err
