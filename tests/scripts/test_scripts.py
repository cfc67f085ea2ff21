"""The scripts that measure: they run on small things and print what they promise."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.helpers import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import ablate
import train

from captioner.config import Config
from captioner.config_io import load_config
from captioner.model.experts import load_experts


def test_ablation_rows_are_valid_configurations() -> None:
    for rows in ablate.TABLES.values():
        for row in rows.values():
            load_config(Config, ROOT / "configs" / "ablate.yaml", ablate.overrides(row, []))
    names = [ablate.folder_name(row, 0) for row in ablate.TABLES["IV"].values()]
    assert len(set(names)) == 4
    assert ablate.TABLES["V"]["both"] == ablate.TABLES["IV"]["+ECA"]


def test_untrained_experts_are_the_same_nets(tmp_path: Path) -> None:
    """Same shapes and the same list of untrained units, other weights; made once."""
    options = argparse.Namespace(config=ROOT / "configs" / "ablate.yaml", settings=["data.drawn=9"], out=tmp_path)
    row = ablate.TABLES["E"]["untrained experts"]
    words = ablate.with_untrained(row, options)
    assert words == ["data.drawn=9", f"model.experts.source={tmp_path / 'untrained-experts'}"]
    assert ablate.with_untrained(row, options) == words
    trained, other = load_experts("drawn-experts"), load_experts(tmp_path / "untrained-experts")
    assert other.config == replace(trained.config, training_data=other.config.training_data)
    assert not torch.equal(trained.au.head.main_sc, other.au.head.main_sc)
    assert ablate.with_untrained({"k": "2"}, options) == ["model.prompts.k=2", "data.drawn=9"]


def test_ablation_tables() -> None:
    scores = {"baseline": (0.1, 0.3), "+ECA": (0.5, 0.5)}
    refs = {f"clip{i}": [f"A man nods {i}. The frown and the smile."] for i in range(6)}
    said = {"baseline": "A man sits. The frown.", "+ECA": "A man nods. The frown and the smile."}
    runs = {
        name: [{"scores": {"BLEU-4": v}, "refs": refs, "hyps": dict.fromkeys(refs, said[name])} for v in values]
        for name, values in scores.items()
    }
    lines = ablate.table(runs, {"baseline": 0.5, "+ECA": 0.55}).splitlines()
    assert lines[2].startswith("| baseline | 20.00 ± 14.14 | skipped ")
    assert lines[3].endswith("| 0.550 | 1.100 |")
    head, _, first, second = ablate.interval_table(runs, samples=200).splitlines()
    assert head.split(" | ")[-1] == "Phrase F1 |"
    assert first.split(" | ")[-1] == "66.67 (66.67 to 66.67) |"
    assert second.split(" | ")[-1].startswith("100.00 (100.00 to 100.00, p 0.0")


@pytest.mark.parametrize("script", [train])
def test_help(script: object, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = script.main(["--help"])  # type: ignore[attr-defined]
    except SystemExit as ended:
        code = ended.code
    assert code == 0
    assert "python scripts/" in capsys.readouterr().out
