"""Runs whose numbers go wrong end at once with exit code 3, keep what was good, and go on from there."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from captioner.errors import NotFinite
from captioner.train.finite import MOST_OVERFLOWS, FiniteGuard, weight_norm
from captioner.train.fitting import MOST_LEFT_OUT, FitConfig, fit
from captioner.train.processes import Processes
from captioner.train.trainer import Trainer
from scripts.train import main
from tests.helpers import tiny_model
from tests.train.test_train_run import arguments, losses


def watched(guard: FiniteGuard, loss: float, norm: float, model: torch.nn.Module, step: int = 37) -> None:
    guard.watch(step, 3e-4, torch.tensor(loss), torch.tensor(norm), model)


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, math.nan), (math.inf, 1.0), (2.0, math.nan)])
def test_a_loss_or_gradient_that_is_no_number_ends_the_run(loss: float, norm: float) -> None:
    guard, model = FiniteGuard(Processes(), scaled=False), tiny_model()
    watched(guard, 2.0, 1.0, model)
    with pytest.raises(NotFinite, match=rf"^rank 0, step 37: loss {loss:.4g}, gradient {norm:.4g}, weights "):
        watched(guard, loss, norm, model)


def test_a_weight_that_is_no_number_ends_the_run() -> None:
    model = tiny_model()
    assert weight_norm(model).isfinite()
    with torch.no_grad():
        model.video_in.bias[3] = math.inf  # type: ignore[index]
    for scaled in (False, True):
        with pytest.raises(NotFinite, match="loss 2, gradient 1, weights inf are not finite"):
            watched(FiniteGuard(Processes(), scaled), 2.0, 1.0, model)


def test_overflows_of_float16_are_left_to_the_scaler() -> None:
    guard, model = FiniteGuard(Processes(), scaled=True), tiny_model()
    for step in range(3 * MOST_OVERFLOWS):
        watched(guard, math.inf, math.inf, model) if step % 4 else watched(guard, 1.0, 1.0, model)
    while guard.overflows < MOST_OVERFLOWS - 1:
        watched(guard, math.nan, math.nan, model)
    with pytest.raises(NotFinite, match=f"not finite for {MOST_OVERFLOWS} steps of float16"):
        watched(guard, math.nan, math.nan, model)


@pytest.mark.parametrize("clip_norm", [5.0, 0.0])
def test_small_nets_do_not_learn_from_nothing(clip_norm: float, tmp_path: Path) -> None:
    net, calls = torch.nn.Linear(4, 1), []

    def sick(net: torch.nn.Module, rows: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        calls.append(1)
        return net(torch.ones(len(rows), 4)).sum() * math.nan

    with pytest.raises(NotFinite, match="the loss is nan"):
        fit(net, FitConfig(tmp_path, 1, 640, 16, clip_norm=clip_norm, half=False), sick)
    assert len(calls) == (MOST_LEFT_OUT if clip_norm else 1)
    assert not list(tmp_path.iterdir())


def test_a_score_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    scores = iter([math.nan, 0.2, math.nan])

    def sound(net: torch.nn.Module, rows: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        return net(torch.ones(len(rows), 4)).square().mean()

    state = fit(torch.nn.Linear(4, 1), FitConfig(tmp_path, 3, 32, 16, half=False), sound, lambda _: next(scores))
    assert (state.best, state.best_epoch) == (0.2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["weight", "words"])
def test_nan_in_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """Step 7 meets NaN: exit code 3, one line, `last` is of step 6, and the run goes on as if nothing had been."""
    assert main(arguments(tmp_path, "whole")) == 0
    micro_step = Trainer.micro_step

    def poisoned(self: Trainer, batch: Any) -> dict[str, Any]:
        if self.progress.step == 6:
            with torch.no_grad():
                target = self.model.video_in.weight if what == "weight" else self.model.fusion.embed.words.weight
                target.mul_(math.nan if what == "weight" else math.inf)
        return micro_step(self, batch)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "micro_step", poisoned)
        assert main(arguments(tmp_path, "cut")) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and lines[0].startswith("error: rank 0, step 7: loss nan, gradient nan")
    cut = tmp_path / "cut"
    assert json.loads((cut / "last" / "trainer.json").read_text())["progress"]["step"] == 6
    assert main(arguments(tmp_path, "cut")) == 0
    assert losses(cut) == losses(tmp_path / "whole")

    state = load_file(cut / "last" / "trainer.safetensors")
    name = next(key for key in state if key.startswith("optimizer.exp_avg."))
    state[name].view(-1)[0] = math.nan
    save_file(state, cut / "last" / "trainer.safetensors")
    saved = json.loads((cut / "last" / "trainer.json").read_text())
    del saved["files"]
    (cut / "last" / "trainer.json").write_text(json.dumps(saved))
    assert main(arguments(tmp_path, "cut")) == 2
    assert "optimiser's numbers are not finite" in capsys.readouterr().err
