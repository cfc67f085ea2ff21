"""What captions claim: found in whole and half written ones, held against what was measured."""

import json

import numpy as np
import pytest

from captioner.inference.claims import (
    THRESHOLDS,
    Support,
    Supports,
    claim_probability,
    find_claims,
    find_faults,
    not_understood,
    supported,
)
from captioner.inference.supports import DIM, NO_FACE
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.phrases import PHRASES
from captioner.synth.story.grammar import STYLES, write_captions
from captioner.synth.story.tale import sample_story


def kinds(text: str) -> list[tuple[str, str]]:
    return [(claim.kind, claim.name) for claim in find_claims(text)]


def test_each_kind_is_found_where_it_stands() -> None:
    text = "In dim light, a woman turns her head to the left and talks to the man beside her. The frown, open mouth."
    assert kinds(text) == [
        ("light", "dark"), ("gender", "woman"), ("action", "turns_left"), ("gender", "woman"), ("action", "talks_to"),
        ("people", "two"), ("other gender", "man"), ("gender", "woman"), ("phrase", "frown"), ("phrase", "open_mouth"),
    ]  # fmt: skip
    for claim in find_claims(text):
        assert text[claim.start : claim.end].strip()
    assert kinds("a sad person looks down") == [("feeling", "sadness"), ("action", "looks_down")]


def test_words_that_do_not_tell_which_claim_either() -> None:
    (claim,) = find_claims("A person turns their head")
    assert claim.names == {"turns_left", "turns_right"}
    assert supported(claim, {"action": {"turns_left": Support(0.1), "turns_right": Support(0.9)}})
    assert not supported(claim, {"action": {"turns_left": Support(0.1), "turns_right": Support(0.2)}})


def test_what_was_not_measured_is_not_held_against_a_caption() -> None:
    (claim,) = find_claims("A person nods")
    assert claim_probability(claim, {}) == 1.0
    assert claim_probability(claim, {"action": {}}) == 0.0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("A person nods. The frown.", "unsupported: action nods"),
        ("A person blinks. The frown and the furrowed brows.", "twice: frown"),
        ("A person blinks. The wide eyes and the closed eyes.", "against each other: closed_eyes and wide_eyes"),
        ("A person turns to the left and turns to the right.", "against each other: turns_left and turns_right"),
        ("A person blinks. The raised inner corners of the cheeks.", "not understood: cheeks"),
        ("A person juggles.", "not understood: juggles"),
    ],
)
def test_faults_are_named(text: str, fault: str) -> None:
    measured: Supports = {
        "action": {name: Support(0.9) for name in ACTIONS if name != "nods"},
        "phrase": {name: Support(0.9) for name in PHRASES},
    }
    assert fault in find_faults(text, measured)


def test_two_people_may_do_the_same() -> None:
    assert find_faults("A man talks. The man behind him talks. The frown.", {}) == []


def test_half_written_captions_are_judged_by_what_they_say_so_far() -> None:
    measured: Supports = {"action": {"blinks": Support(0.9)}, "phrase": {"frown": Support(0.9)}}
    assert find_faults("A person blinks. The frown and the", measured, whole=False) == []
    assert find_faults("A person nods and", measured, whole=False) == ["unsupported: action nods"]


def test_the_grammar_says_nothing_that_claims_do_not_understand() -> None:
    rng = np.random.default_rng(0)
    looks = [{"gender": "woman"}, {"gender": "man"}]
    texts = [
        text
        for style in STYLES
        for _ in range(150)
        for text in write_captions(sample_story(rng), looks, rng, n=2, style=style)
    ]
    strange = {text: words for text in texts if (words := not_understood(text))}
    assert len(strange) <= 0.01 * len(texts), json.dumps(strange, indent=1)


def test_that_nobody_is_there_is_understood() -> None:
    assert not find_faults(f"{NO_FACE} {DIM}", {})


def test_true_captions_have_no_faults_where_all_that_is_true_is_measured() -> None:
    rng = np.random.default_rng(1)
    faulty = total = 0
    for _ in range(120):
        story = sample_story(rng)
        role = story.roles[0]
        measured: Supports = {
            "phrase": {name: Support(1.0) for name in role.phrases},
            "action": {name: Support(1.0) for name in role.actions},
        }
        for text in write_captions(story, [{"gender": "person"}] * 2, rng, n=2, style="faces"):
            found = [line for line in find_faults(text, measured) if not line.startswith(("twice", "not understood"))]
            faulty, total = faulty + bool(found), total + 1
    assert faulty <= 0.02 * total


def test_every_kind_has_a_threshold() -> None:
    texts = ["several people talk", "a man smiles", "a happy person far away", "The camera zooms in.", "in the dark"]
    assert {claim.kind for text in texts for claim in find_claims(text)} <= THRESHOLDS.keys()
