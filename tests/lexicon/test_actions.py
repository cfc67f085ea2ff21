"""The actions that captions tell, found again in their words, and what a reading makes of them."""

import numpy as np
import pytest
import torch

from captioner.lexicon.actions import ACTIONS, find_actions
from captioner.model.action_judge import load_action_judge
from captioner.synth.story.grammar import write_captions
from captioner.synth.story.tale import StorySettings, sample_story
from prompts.phrase_scores import PhraseProbes


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        ("A person nods slowly and talks. The frown.", [{"nods"}, {"talks"}]),
        ("someone turns his head", [{"turns_left", "turns_right"}]),  # the words do not tell where
        ("A woman talks to the person in front of her.", [{"talks_to"}]),
        ("The smile. A person nods.", []),  # the first sentence tells it
        ("a man shook hands", []),
    ],
)
def test_actions_are_found_in_the_first_sentence(text: str, actions: list[set[str]]) -> None:
    assert [set(found) for found in find_actions(text)] == actions


def test_every_wording_is_found_as_its_action() -> None:
    for name, pairs in ACTIONS.items():
        for wording in {wording for pair in pairs for wording in pair}:
            text = f"a person {wording.format(their='her', them='her', they='she', other='somebody', where='there')}"
            assert any(name in found for found in find_actions(text)), text


def test_captions_of_stories_tell_actions_that_are_done() -> None:
    told = true = 0
    for seed in range(60):
        story = sample_story(np.random.default_rng([5, seed]), StorySettings())
        for caption in write_captions(story, [{"gender": "person"}] * 2, np.random.default_rng(seed)):
            for found in find_actions(caption):
                told += 1
                true += bool(found & set(story.roles[0].actions))
    assert told > 150
    assert true / told > 0.95


def test_a_lift_says_how_much_likelier_an_action_is_than_usual() -> None:
    draw = torch.Generator().manual_seed(0)
    courses = torch.randn(600, 4, generator=draw)
    done = torch.stack([courses[:, 2] > 1.0, torch.rand(600, generator=draw) < 0.3], 1)
    reading = PhraseProbes(4, 1, 8, 2)
    assert torch.equal(reading.action_lift(courses), torch.zeros(600, 2))  # nothing was fitted
    reading.fit(courses, courses[:, :1] > 0, done)
    lift = reading.action_lift(courses)
    assert lift[done[:, 0], 0].min() > 0.2 and lift[~done[:, 0], 0].mean() < -0.3
    assert lift[:, 1].abs().mean() < 0.2  # nothing measured tells it
    assert lift.max() < 2.5  # log(1 / .16) and log(1 / .3): no more than certain


def test_the_shipped_judge_knows_every_action() -> None:
    judge = load_action_judge()
    assert set(judge.names) == set(ACTIONS)
    assert judge.out.weight.any(1).all()
