"""What is to be said by what was measured, and how captions are made to say just that."""

from collections.abc import Mapping

import pytest

from captioner.inference.claims import Support, find_claims, find_faults, not_understood
from captioner.inference.finishing import confidence_of, told_claims
from captioner.inference.truth import Plan, face_sentence, feeling_sentence, plan_of, said_of, true_text
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.phrases import PHRASES

Chances = Mapping[str, float]


def measured(phrase: Chances, action: Chances, woman: float = 0.99, feeling: Chances | None = None) -> dict:
    """Supports of a person; what is not named is improbable."""
    return {
        "phrase": {name: Support(phrase.get(name, 0.02)) for name in PHRASES},
        "action": {name: Support(action.get(name, 0.02)) for name in ACTIONS},
        "gender": {"woman": Support(woman), "man": Support(1 - woman)},
        "people": {"two": Support(0.0), "several": Support(0.0)},
        "feeling": {name: Support(value) for name, value in (feeling or {}).items()},
    }


SUPPORTS = measured({"frown": 0.9, "open_mouth": 0.8}, {"turns_left": 0.9})
PLAN = plan_of(SUPPORTS)


def test_likely_things_are_planned_and_nothing_else() -> None:
    assert Plan(("frown", "open_mouth"), ("turns_left",), "woman") == PLAN
    assert plan_of(measured({"frown": 0.3, "smile": 0.2}, {})).actions == ()
    unsure = plan_of(measured({}, {"nods": 0.6}, woman=0.9, feeling={"sadness": 0.4}))
    assert (unsure.phrases, unsure.person, unsure.feeling) == ((), "person", "sadness")


def test_what_no_face_shows_at_once_is_not_planned_together() -> None:
    faces = {"wide_eyes": 0.9, "closed_eyes": 0.8, "frown": 0.7}
    plan = plan_of(measured(faces, {"turns_left": 0.8, "turns_right": 0.7}))
    assert plan.phrases == ("wide_eyes", "frown")
    assert plan.actions == ("turns_left",)
    assert plan_of(measured({}, {"talks_to": 0.8, "talks": 0.7})).actions == ("talks_to",)


@pytest.mark.parametrize(
    "text",
    [
        "A woman turns her head to the left. The frown and the open mouth.",
        "the woman suddenly turns her head to the left. the parted lips and the furrowed eyebrows.",
    ],
)
def test_a_caption_that_holds_stays(text: str) -> None:
    assert true_text(text, PLAN, SUPPORTS) == text


@pytest.mark.parametrize(
    "text",
    [
        "A woman turns her head to the right. The frown and the open mouth.",
        "A man turns his head to the left. The frown and the open mouth.",
        "A woman turns her head to the left. The smile.",
        "A woman turns her head to the left while frowning. The frown and the open mouth.",
        "A woman turns her head to the left.",
        "A woman turns her head to the left. The other person talks. The frown and the open mouth.",
        "A woman turns her head to the left. The frown, the open mouth and the raised corners of the cheeks.",
        "",
    ],
)
def test_a_caption_that_does_not_is_made_true(text: str) -> None:
    made = true_text(text, PLAN, SUPPORTS)
    assert said_of(made) == {"frown", "open_mouth"}
    assert not find_faults(made, SUPPORTS), made
    assert {name for claim in find_claims(made) if claim.kind == "action" for name in claim.names} == {"turns_left"}


def test_who_cannot_be_named_is_a_person_who_does_nothing_that_is_not_likely() -> None:
    supports = measured({}, {}, woman=0.5)
    assert true_text("A man nods. The smile.", plan_of(supports), supports) == "a person is in front of the camera ."


def test_feelings_are_those_of_the_belief() -> None:
    supports = measured({}, {"nods": 0.9}, feeling={"sadness": 0.6})
    plan = plan_of(supports)
    assert feeling_sentence(plan) == "a sad woman nods"
    assert true_text("a happy woman nods", plan, supports, "feelings") == "a sad woman nods"
    assert true_text("a sorrowful woman nods", plan, supports, "feelings") == "a sorrowful woman nods"


def test_every_phrase_and_action_has_a_plain_sentence_that_is_understood() -> None:
    for name in PHRASES:
        sentence = face_sentence(Plan((name,), (), "person"))
        assert said_of(f"{sentence}.") == {name}
    for name in ACTIONS:
        supports = measured({}, {name: 0.9}) | {"people": {"two": Support(1.0)}}
        text = true_text("", plan_of(supports), supports)
        assert not not_understood(text), text
        claimed = {each for claim in find_claims(text) if claim.kind == "action" for each in claim.names}
        assert name in claimed, text


def test_claims_are_told_with_their_chances() -> None:
    told = told_claims("A woman turns her head to the left. The frown.", SUPPORTS)
    assert [(each.kind, each.name, each.probability) for each in told] == [
        ("gender", "woman", 0.99), ("action", "turns_left", 0.9), ("gender", "woman", 0.99), ("phrase", "frown", 0.9),
    ]  # fmt: skip
    confidence = confidence_of(told)
    assert confidence is not None and 0.7 < confidence < 0.8
    assert told_claims("A woman nods.", None) == [] and confidence_of([]) is None
