"""The proofs of scripts/prove.py, shortened: engines, processes, kills, SIGTERM, damage, a full disk."""

import importlib.util
import random
from pathlib import Path

import pytest
import torch

from captioner.model.weights import read_weights
from eval.proofs import stops
from eval.proofs.kills import Moments, prove_kills
from eval.proofs.runs import TrainingRuns, logged_losses, loss_distance
from tests.helpers import ROOT
from tests.train.test_training import TINY

ENGINES = ["plain", *(["zero2", "zero3"] if importlib.util.find_spec("deepspeed") else [])]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> TrainingRuns:
    """Micro-batches of 3, 3, 3, 3, 3 and 1 clips: uneven shares, and none for a second process."""
    small = ["model.experts.source=", "model.text.share_words=false", *TINY]
    return TrainingRuns(
        str(ROOT / "configs" / "tiny.yaml"), tmp_path_factory.mktemp("proofs"), small, clips=20, steps=8
    )


@pytest.mark.slow
def test_engines_and_numbers_of_processes_agree(runs: TrainingRuns, capsys: pytest.CaptureFixture[str]) -> None:
    assert stops.prove_engines(runs, ENGINES, [2]) == 0
    assert "agree: at most" in capsys.readouterr().out
    names = ["plain-1", *(f"{engine}-2" for engine in ENGINES)]
    norms = [logged_losses(runs.folder(name), ["grad_norm"]) for name in names]
    assert max(loss_distance(norm, norms[0]) for norm in norms) < 1e-4
    weights = [read_weights(runs.folder(name) / "last" / "model.safetensors") for name in (names[0], names[-1])]
    assert all(torch.allclose(weights[0][name], value, atol=1e-4) for name, value in weights[1].items())


@pytest.mark.slow
def test_kills(runs: TrainingRuns, capsys: pytest.CaptureFixture[str]) -> None:
    assert prove_kills(runs, Moments(2, random.Random(3), [1, 2], ENGINES, chain=1)) == 0
    assert "nothing lost, no corrupt file" in capsys.readouterr().out


@pytest.mark.slow
def test_stops(runs: TrainingRuns, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(stops, "MOVES", [((2, ENGINES[-1]), (1, "plain"))])
    assert stops.prove_stops(runs) == 0
    told = capsys.readouterr().out
    assert "truncated (warned)" in told
    assert "make room; the one before is untouched" in told


def test_a_difference_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n{"ste')
    found = logged_losses(tmp_path)
    assert found == {1: [2.0], 2: [1.5]}
    assert loss_distance(found, {1: [2.0], 2: [1.25]}) == 0.25
    assert loss_distance(found, {1: [2.0]}) == float("inf")
