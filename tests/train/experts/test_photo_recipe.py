"""The recipe of the experts as a whole, its lessons left out: their order, what is kept, described and measured."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from captioner.lexicon.emotions import MAFW_LABELS
from captioner.model.experts import load_experts
from captioner.train.experts import photo_recipe
from captioner.train.experts.clip_scores import ClipScores
from captioner.train.experts.photo_recipe import PhotoRecipe, train_experts
from captioner.train.experts.posed import Posed
from captioner.train.experts.real_faces import RealFacesRecipe
from captioner.train.fitting import RunState
from prompts.action_units import MAIN_AUS
from tests.train.experts.test_photo_experts import NAMES, made

SMILE = list(MAIN_AUS).index(12)


class Lessons:
    """What was called with what; each lesson takes a minute and adds a hundredth to the AU net's first weights."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.trials: list[Any] = []

    def take(self, name: str, net: Any = None) -> RunState:
        self.calls.append(name)
        if net is not None:
            with torch.no_grad():
                net.head.main_sc += 0.01
        return RunState(seconds=60.0)


@pytest.fixture
def lessons(monkeypatch: pytest.MonkeyPatch) -> Lessons:
    """Pictures that tell bright from dark; nets score what AU 12 labels say."""
    done, (part, stills) = Lessons(), made(240)
    portraits = replace(part.pictures, pixels=stills.pixels, blendshapes=torch.zeros(240, len(NAMES)))
    flat = ClipScores(*(torch.zeros(2, 3, len(MAIN_AUS)),) * 2, *(torch.zeros(2, len(MAIN_AUS)),) * 2, torch.ones(2))
    votes = torch.zeros(240, 10)
    votes[torch.arange(240), part.emotions] = 10

    def pose(folder: str, splits: tuple[str, ...], count: int, seed: int, work: Path, kind: str = "whole") -> Posed:
        done.calls.append(f"pose {kind} {count} {splits[0]}")
        return stills

    def scores(au: Any, view: Any, pixels: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        told = torch.full((len(pixels), 41), 0.2)
        told[:, SMILE] = (pixels[:, :20].float().mean((1, 2)) > 100).float() * 0.6 + 0.2
        return told

    def card(experts: Any, trials: Any, megabytes: float, told: str) -> str:
        done.trials.append(trials)
        return f"{told}; {megabytes:.1f} MB"

    for name, stand_in in {
        "ferplus_parts": lambda folder, held, seed: (part, part, part),
        "PhotoSet": lambda folder: SimpleNamespace(blendshape_names=NAMES),
        "posed": pose,
        "clip_stills": lambda folder, splits, frames, work: stills,
        "rendered": lambda skins, count, seed, work: stills,
        "read_portraits": lambda faces, split, side: portraits,
        "read_ferplus": lambda folder, split: (part.pictures, votes),
        "score_clips": lambda experts, folder, splits, every=1: flat,
        "au_scores": scores,
        "train_emotions": lambda *_: done.take("emotions"),
        "widen_emotions": lambda *_: done.take("widen"),
        "train_aus": lambda au, *_: done.take("units", au),
        "train_on_real": lambda au, *_: done.take("real", au),
    }.items():
        monkeypatch.setattr(photo_recipe, name, stand_in)
    monkeypatch.setattr(photo_recipe.measures, "experts_card", card)
    monkeypatch.setattr(photo_recipe, "OFTEN", 5)
    return done


def recipe(folder: Path, **changed: Any) -> PhotoRecipe:
    base = PhotoRecipe(out=str(folder / "out"), work=str(folder / "work"), er_arch="small", au_backbone="small",
                       au_stage=PhotoRecipe.au_stage, size=48, posed=9, upper=5)  # fmt: skip
    return replace(base, **changed)


def test_experts_from_the_beginning(lessons: Lessons, tmp_path: Path) -> None:
    assert train_experts(recipe(tmp_path)) == tmp_path / "out"
    assert lessons.calls == [
        "pose whole 9 train", "pose upper 5 train", "emotions", "widen", "units", "pose whole 3000 val",
    ]  # fmt: skip
    experts = load_experts(tmp_path / "out")
    assert experts.config.labels == MAFW_LABELS and experts.config.margin == 0.45
    told = experts.config.training_data
    assert told.startswith("FER+ training part (vote distributions); 480 posed (synthetic) stills made from portraits")
    assert told.endswith("; 80 portraits with a landmarker's blendshapes")  # every third person
    assert 12 not in experts.config.untrained_aus and 4 in experts.config.untrained_aus  # nobody frowned
    assert 0.2 < experts.config.au_thresholds[SMILE] <= 0.8 and experts.config.au_std[0] == 1.0
    card = (tmp_path / "out" / "CARD.md").read_text()
    assert card.startswith("`python scripts/train.py configs/experts.yaml`, 3 minutes of training on 1 CPU thread;")
    assert lessons.trials[0].clips is None and lessons.trials[0].whole is None
    assert len(lessons.trials[0].portraits) == 480  # of two parts


@pytest.mark.slow
def test_experts_that_go_on_see_real_faces_and_clips(lessons: Lessons, tmp_path: Path) -> None:
    train_experts(recipe(tmp_path))
    before = load_experts(tmp_path / "out")
    lessons.calls.clear()
    real, start = RealFacesRecipe(steps=1, keep=0.5), str(tmp_path / "out")
    train_experts(recipe(tmp_path, out=str(tmp_path / "on"), start=start, clips="clips", keep=0.25, real=real))
    assert [call for call in lessons.calls if not call.startswith("pose")] == ["units", "real"]
    assert "pose oblique 4000 train" in lessons.calls
    after = load_experts(tmp_path / "on")
    # .01 of the units' lesson, a quarter of it taken back; then .01 of real faces, half of it taken back
    moved = after.au.head.main_sc - before.au.head.main_sc
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01 * 0.75 + 0.01 * 0.5), atol=2e-3, rtol=0)
    told = after.config.training_data
    assert told.startswith(f"{before.config.training_data}; then FER+") and "240 frames of synthetic clips" in told
    assert told.endswith("stills with oblique brows; 240 rendered (synthetic) pictures of 3D people")
    assert f"2 minutes of training on 1 CPU thread, which went on from the AU net of `{tmp_path / 'out'}`" in (
        tmp_path / "on" / "CARD.md"
    ).read_text()
    assert lessons.trials[1].clips is not None and lessons.trials[1].whole.seen.present.tolist() == [1, 1]
