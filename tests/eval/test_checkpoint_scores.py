"""`python -m eval checkpoint`: scores of a checkpoint on a split, beside blind baselines."""

import json
from pathlib import Path

import pytest

from captioner.errors import ConfigError
from captioner.inference.predictor import ActionUnit, Caption
from captioner.lexicon.phrases import PHRASES
from captioner.synth.maker import make_drawn_clips
from eval.__main__ import main
from eval.checkpoint import SplitOptions, evidence_accuracy, score_split


@pytest.mark.slow
def test_scores_of_the_shipped_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = make_drawn_clips(tmp_path / "clips", 10, seed=5)
    words = ["checkpoint", "default", "--manifest", str(manifest), "--split", "train", "--clips", "4"]
    assert main([*words, "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    for name in ("CIDEr", "Phrase F1", "Phrase F1, most frequent (blind)", "Phrase F1, random (blind)", " .. "):
        assert name in printed
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 4
    report = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert report["clips"] == 4 and set(report["intervals"]) <= set(report["scores"])
    assert main([*words[:2], "--manifest", str(tmp_path / "none.jsonl")]) == 2


def test_evidence_accuracy_by_hand() -> None:
    class Clip:
        id, au_ids = "a", (4, 12)

    text = "A man nods. The frown and the smile."
    units = [
        ActionUnit(4, "brow lowerer", 0.9, 0.1, ["frown"]),
        ActionUnit(12, "lip corner puller", 0.9, 0.1, ["man"]),
        ActionUnit(9, "nose wrinkler", 0.1, 0.1, ["nods"]),  # not shown: not asked about
    ]
    caption = Caption(text, 1.0, [], {}, units, 1, 0.0, 1.0)
    assert 12 in PHRASES["smile"].aus
    assert evidence_accuracy({"a": caption}, [Clip()]) == {"evidence accuracy": 0.5}  # type: ignore[list-item]


def test_a_style_for_people_is_not_scored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="style 'plain' is worded from 'faces', which is what scores compare"):
        score_split("default", tmp_path / "manifest.jsonl", SplitOptions(style="plain"))
