"""Curves beside TensorBoard's: Weights & Biases by key, or one line where it is not installed."""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from captioner.errors import ConfigError
from captioner.train.run_log import RunLog


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_without_wandb_one_line_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.wandb=faces needs wandb.*pip install wandb"):
        RunLog(tmp_path, True, "faces").open(0, 10)


def test_curves_go_to_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[dict[str, float], int]] = []
    started: list[dict[str, Any]] = []

    class Remote:
        def log(self, values: dict[str, float], step: int) -> None:
            told.append((values, step))

        def finish(self) -> None:
            told.append(({}, -1))

    fake = ModuleType("wandb")
    fake.__spec__ = ModuleSpec("wandb", None)
    fake.init = lambda **given: started.append(given) or Remote()  # type: ignore[attr-defined, func-returns-value]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    log = RunLog(tmp_path, True, "faces")
    log.open(0, 10)
    row = {"step": 1, "loss": 2.0, "positives": 3, "above_threshold": 1, "weights": {"mlm": 1.0}}
    log.add(row, {"clips_per_second": 4.0})
    log.close()
    assert started[0]["project"] == "faces" and started[0]["resume"] == "allow"
    values, step = told[0]
    assert step == 1 and values["train/loss"] == 2.0 and values["weight/mlm"] == 1.0
    assert values["train/positives"] == 3 and values["train/above_threshold"] == 1
    assert told[-1] == ({}, -1)
