"""What the experts' card says: numbers of the nets as they are used, real photos and synthetic pictures apart."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from captioner.files import SHIPPED
from captioner.lexicon.emotions import FERPLUS_LABELS, MAFW_LABELS
from captioner.model.experts import Experts, load_experts
from captioner.train.experts import measures
from captioner.train.experts.clip_scores import ClipScores
from captioner.train.experts.emotion_net import EmotionPart
from captioner.train.experts.measures import Trials, WholeClips, experts_card, measure_emotions, measure_units
from captioner.train.experts.posed import Posed
from prompts.action_units import MAIN_AUS, SUB_AUS
from tests.train.experts.test_photo_experts import NAMES, made

A, B = len(MAIN_AUS), len(MAIN_AUS) + len(SUB_AUS)
SMILE, FROWN = list(MAIN_AUS).index(12), list(MAIN_AUS).index(4)


@pytest.fixture(scope="module")
def experts() -> Experts:
    return load_experts(SHIPPED / "experts")


def seen_as(monkeypatch: pytest.MonkeyPatch, scores: Tensor, chances: Tensor) -> None:
    """The nets say these scores (N, A + O) and emotions (N, 11), whatever is shown."""
    monkeypatch.setattr(measures, "au_scores", lambda net, view, pixels, frames: scores)
    monkeypatch.setattr(measures, "emotion_logits", lambda net, view, pictures: chances.log())


def table() -> tuple[EmotionPart, Posed, Tensor]:
    """Neutral and happy photos, stills that smile every other time, and scores that see every smile but one."""
    part, stills = made(24)
    scores = torch.full((24, B), 0.2)
    scores[1::2, SMILE] = 0.9
    scores[1, SMILE] = 0.1
    return part, stills, scores


def test_emotions_are_measured_with_all_labels_open(experts: Experts, monkeypatch: pytest.MonkeyPatch) -> None:
    part, _, scores = table()
    places = [MAFW_LABELS.index(name) for name in (FERPLUS_LABELS[0], FERPLUS_LABELS[1], "anxiety")]
    said = torch.tensor([places[n % 2] for n in range(24)])
    said[:3] = places[2]  # three are called by a label that no photo shows
    chances = torch.full((24, 11), 0.02)
    chances[torch.arange(24), said] = 0.8
    seen_as(monkeypatch, scores, chances)
    found = measure_emotions(experts, part, FERPLUS_LABELS)
    assert (found.count, found.accuracy, found.astray) == (24, pytest.approx(21 / 24), pytest.approx(3 / 24))
    assert [row[:3] for row in found.rows[:2]] == [
        (FERPLUS_LABELS[0], 12, pytest.approx(10 / 12)), (FERPLUS_LABELS[1], 12, pytest.approx(11 / 12)),
    ]  # fmt: skip
    assert found.rows[2][1] == 0  # nobody shows it
    unknown = replace(part, emotions=torch.where(torch.arange(24) < 12, part.emotions, -1))
    assert measure_emotions(experts, unknown, MAFW_LABELS).count == 12


def test_units_are_measured_at_their_own_thresholds(experts: Experts, monkeypatch: pytest.MonkeyPatch) -> None:
    _, stills, scores = table()
    seen_as(monkeypatch, scores, torch.full((24, 11), 1 / 11))
    strict = SimpleNamespace(au=experts.au, config=replace(experts.config, au_thresholds=(0.95,) * A))
    loose: Any = SimpleNamespace(au=experts.au, config=replace(experts.config, au_thresholds=(0.05,) * A))
    smile = torch.arange(B) == SMILE
    found = measure_units(strict, stills.pixels, stills.frames, stills.aus)  # type: ignore[arg-type]
    assert found.macro(smile) == 0 and found.macro(smile, plain=True) == pytest.approx(22 / 23)
    assert found.auc[SMILE] == pytest.approx(11 / 12)  # 11 of 12 smiles stand above every other picture
    assert measure_units(loose, stills.pixels, stills.frames, stills.aus).f1[SMILE] == pytest.approx(2 / 3)


def clips() -> WholeClips:
    labels = torch.zeros(6, 3, A, dtype=torch.int8)
    labels[:3, :, SMILE] = 1
    scores = labels.float() * 0.8 + 0.1
    seen = ClipScores(scores, labels, scores.mean(1), labels[:, 0], torch.tensor([1.0] * 5 + [0.5]))
    return WholeClips(seen, torch.full((A,), 0.5))


def test_the_card_keeps_real_and_synthetic_apart(experts: Experts, monkeypatch: pytest.MonkeyPatch) -> None:
    part, stills, scores = table()
    seen_as(monkeypatch, scores, torch.full((24, 11), 1 / 11))
    monkeypatch.setattr(measures, "milliseconds", lambda net, size: 7.25)
    portraits = replace(part.pictures, blendshapes=torch.zeros(24, len(NAMES)))
    trials = Trials(part, stills, portraits, NAMES)
    plain = experts_card(experts, trials, 5.1, "`made by this`, 3 minutes")
    assert "`made by this`, 3 minutes" in plain and "7.2" in plain and "5.1" in plain
    assert "synthetic" in plain and "FER+" in plain
    assert all(f"{name}" in plain for name in FERPLUS_LABELS)
    filmed = experts_card(experts, replace(trials, clips=stills, whole=clips()), 5.1, "made")
    assert len(filmed) > len(plain)
    whole = measures._whole_clips(experts, clips())
    assert (whole["count"], whole["frames"], whole["present"]) == (6, 3, pytest.approx(11 / 12))
    assert whole["clip_f1"] == whole["frame_f1"] == 1
    assert [row[:2] for row in whole["rows"]] == [("12 lip corner puller", 3)]


def test_units_that_were_shown_and_not_learned_are_named(experts: Experts, monkeypatch: pytest.MonkeyPatch) -> None:
    _, stills, scores = table()
    seen_as(monkeypatch, scores, torch.full((24, 11), 1 / 11))
    seen = measure_units(experts, stills.pixels, stills.frames, stills.aus)
    taught = torch.ones(B, dtype=torch.bool)
    assert measures._faint(seen, taught) == []
    taught[[SMILE, FROWN]] = False
    assert [each.split(" ")[0] for each in measures._faint(seen, taught)] == ["12"]  # nobody frowned


def test_a_picture_is_timed_on_one_thread() -> None:
    threads = torch.get_num_threads()
    assert 0 < measures.milliseconds(torch.nn.Conv2d(3, 2, 3), 16) < 1000
    assert torch.get_num_threads() == threads
    assert measures.millions(torch.nn.Linear(999, 1)) == pytest.approx(0.001)
