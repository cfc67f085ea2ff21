"""scripts/reproduce.py: the last stage makes the shipped folder, with a card of what was measured; commands end it."""

import json
from pathlib import Path

import pytest
import reproduce

from captioner.model import checkpoint
from captioner.model.tokenizer import Tokenizer
from tests.helpers import CAPTIONS, tiny_model


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    """Arguments that name a finished run of a tiny model, its clips and scores."""
    tokenizer = Tokenizer.build(CAPTIONS, styles=2)
    model = tiny_model(f"vocab_size={tokenizer.vocab_size}", "styles=[faces,feelings]")
    out, clips = tmp_path / "run", tmp_path / "clips"
    checkpoint.save_checkpoint(out / "best", model, tokenizer, meta={"training_data": "clips"})
    (out / "last").mkdir()
    (out / "last" / "trainer.json").write_text(json.dumps({"progress": {"step": 12, "epoch": 3}}))
    for style in model.config.styles:
        (out / f"test-{style}").mkdir()
        scores = {"scores": {"CIDEr": 0.5, "skipped METEOR": "no Java"}, "intervals": {"CIDEr": [0.4, 0.61234]}}
        (out / f"test-{style}" / "scores.json").write_text(json.dumps(scores))
    clips.mkdir()
    lines = [{"id": f"c{i}", "video": "v.mp4", "split": split, "captions": [CAPTIONS[0]], "group": f"p{i // 2}"}
             for i, split in enumerate(["train", "train", "train", "test"])]  # fmt: skip
    (clips / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return ["--clips", str(clips), "--out", str(out), "--weights", str(tmp_path / "shipped")]


def test_export(run: list[str], tmp_path: Path) -> None:
    assert reproduce.main([*run, "--stage", "export"]) == 0
    loaded = checkpoint.load_checkpoint(tmp_path / "shipped")
    assert loaded.meta["training_data"] == "3 synthetic clips"
    card = (tmp_path / "shipped" / "CARD.md").read_text()
    assert card.startswith("# shipped\n") and "3 clips of 2 persons" in card and "12 steps, 3 epochs" in card
    assert "| CIDEr | 0.500 (0.400 .. 0.612) |" in card and "METEOR" not in card
    assert "## Measured on 1 synthetic clips of unseen persons" in card


def test_what_is_missing_is_named(run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "run").glob("test-*/scores.json"):
        path.unlink()
    assert reproduce.main([*run, "--stage", "export"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "the stage `evaluate` writes it" in error and error.count("\n") == 1


@pytest.mark.slow
def test_a_failed_command_ends_the_run(run: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        reproduce.main([*run, "--stage", "train", "train.epoch=1"])
    assert ended.value.code == 2
    assert "unknown key 'train.epoch'" in capfd.readouterr().err
