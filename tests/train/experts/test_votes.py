"""Votes as teachers of action units: signs hold, settled units stay, clear faces rank."""

import pytest
import torch

from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.train.experts.votes import (
    AIMS,
    DIRECT,
    PASSING,
    PLACE,
    SETTLED,
    UNITS,
    EmotionMap,
    clear_faces,
    direct_loss,
    guarded_threshold,
    shortfall,
    vote_areas,
)
from prompts.action_units import MAIN_AUS


def test_the_map_starts_as_its_table_says_and_never_turns_a_sign() -> None:
    emotions = EmotionMap()
    weights = emotions.weights()
    assert weights[FERPLUS_LABELS.index("anger"), PLACE[4]].item() == pytest.approx(4, abs=1e-3)
    assert weights[FERPLUS_LABELS.index("happiness"), PLACE[6]].item() == pytest.approx(2, abs=1e-3)
    with torch.no_grad():
        emotions.raw -= 10  # whatever training does
    assert (emotions.weights() >= 0).all()
    assert not emotions.weights()[FERPLUS_LABELS.index("neutral")].any()


def test_tight_lids_have_no_part_in_the_map() -> None:
    assert not any(7 in units for levels in UNITS.values() for units in levels)


def test_a_vote_for_anger_lowers_brows_and_leaves_settled_units_alone() -> None:
    scores = torch.full((1, len(MAIN_AUS)), 0.5, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(EmotionMap()(scores), torch.tensor([FERPLUS_LABELS.index("anger")]))
    loss.backward()
    assert scores.grad is not None
    assert scores.grad[0, PLACE[4]] < 0  # more of AU4 is less loss
    assert scores.grad[0, PLACE[1]] > 0  # a unit of sorrow and fear
    assert not scores.grad[0, [PLACE[au] for au in SETTLED]].any()


def test_direct_targets_ask_for_their_chance() -> None:
    sad = torch.zeros(1, len(FERPLUS_LABELS))
    sad[0, FERPLUS_LABELS.index("sadness")] = 1
    scores = torch.full((1, len(MAIN_AUS)), 0.5)
    for au, chances in DIRECT.items():
        scores[0, PLACE[au]] = chances["sadness"]
    best = direct_loss(scores, sad)
    scores[0, PLACE[17]] = 0.9
    assert direct_loss(scores, sad) > best
    assert direct_loss(scores, torch.zeros(1, len(FERPLUS_LABELS))) == 0  # nobody voted


def test_clear_faces_need_seven_votes_and_neutral_ones_eight() -> None:
    votes = torch.zeros(4, 10)
    votes[0, [0, 3]] = torch.tensor([7.0, 3.0])
    votes[1, [0, 3]] = torch.tensor([8.0, 2.0])
    votes[2, [4, 3]] = torch.tensor([7.0, 3.0])
    votes[3, [4, 3]] = torch.tensor([6.0, 4.0])
    assert clear_faces(votes).tolist() == [-1, 0, 4, -1]


def test_few_smiling_faces_pass_the_threshold_of_lowered_brows() -> None:
    emotions = torch.full((100,), FERPLUS_LABELS.index("happiness"))
    scores = torch.zeros(100, len(MAIN_AUS))
    scores[:, PLACE[4]] = torch.linspace(0, 0.99, 100)
    threshold = guarded_threshold(0.5, scores, emotions)
    assert (scores[:, PLACE[4]] >= threshold).float().mean() <= PASSING["happiness"] + 0.005
    assert guarded_threshold(0.95, scores, emotions) == 0.95  # never lowered
    assert guarded_threshold(0.5, scores, torch.full((100,), -1)) == 0.5


def test_areas_say_which_aims_are_missed() -> None:
    emotions = torch.tensor([FERPLUS_LABELS.index(name) for name in ("neutral", "neutral", "anger", "anger")])
    scores = torch.zeros(4, len(MAIN_AUS))
    scores[:, PLACE[4]] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    areas = vote_areas(scores, emotions)
    assert areas["anger", 4] == 1
    assert shortfall(AIMS) == pytest.approx(0)
    assert shortfall(areas) < 0
    scores[:, PLACE[4]] = -scores[:, PLACE[4]]
    assert shortfall(vote_areas(scores, emotions)) > 0.5
