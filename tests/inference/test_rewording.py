"""Captions worded anew in any style: nobody called woman or man, feelings as sure as the belief, people counted."""

import re

import numpy as np
import pytest

from captioner.inference.claims import find_claims, not_understood
from captioner.inference.manner import plain
from captioner.inference.rewording import counted, feel, genderless, hedge
from captioner.lexicon.circumstances import FEELINGS
from captioner.synth.story.grammar import STYLES, write_captions
from captioner.synth.story.tale import sample_story

GENDERED = re.compile(r"\b(?:(?:wo)?m[ae]n|lad(?:y|ies)|guys?|girls?|boys?|s?he|his|hers?|him)\b", re.I)


@pytest.mark.parametrize(
    ("text", "neutral"),
    [
        ("A woman nods to the man beside her. Her raised eyebrows.",
         "A person nods to the person beside them. Their raised eyebrows."),
        ("She slowly turns her head and opens her mouth while he is talking.",
         "They slowly turn their head and open their mouth while they are talking."),
        ("Two men talk to a lady. He frowns.", "Two people talk to a person. They frown."),
        ("An angry man looks at him.", "An angry person looks at them."),
        ("No face can be seen.", "No face can be seen."),
    ],
)  # fmt: skip
def test_nobody_is_called_woman_or_man(text: str, neutral: str) -> None:
    assert genderless(text) == neutral


def test_neutral_captions_claim_the_same_but_for_gender() -> None:
    rng = np.random.default_rng(3)
    for style in STYLES:
        for _ in range(40):
            text = write_captions(sample_story(rng), [{"gender": "woman"}, {"gender": "man"}], rng, 1, style)[0]
            for changed in (genderless(text), genderless(plain(text)), plain(genderless(text))):
                assert not GENDERED.search(changed), (text, changed)
                kept = [c.kind for c in find_claims(genderless(text))]
                assert sorted(kept) == sorted(c.kind for c in find_claims(text) if "gender" not in c.kind), text


def feelings(text: str) -> list[str]:
    return [claim.name for claim in find_claims(text) if claim.kind == "feeling"]


@pytest.mark.parametrize(
    ("text", "unsure", "flat"),
    [
        ("A sad man shakes his head.", "A man who seems sad shakes his head.", "A man shakes his head."),
        ("An angry man nods angrily.", "A man who seems angry nods.", "A man nods."),
        ("A woman nods sadly in the video.", "A woman who seems sad nods in the video.", "A woman nods in the video."),
        ("A man is sad and looks down.", "A man who seems sad looks down.", "A man looks down."),
        ("A person looks surprised and nods.", "A person who seems surprised nods.", "A person nods."),
        ("A lady nods with joy on her face.", "A lady who seems happy nods.", "A lady nods."),
        ("A person nods.", "A person nods.", "A person nods."),
    ],
)
def test_feelings_are_as_sure_as_the_belief(text: str, unsure: str, flat: str) -> None:
    label = (feelings(text) or ["sadness"])[0]
    assert hedge(text, {label: 0.9, "other": 0.1}, sure=0.6, flat=0.3) == text
    assert hedge(text, {label: 0.5, "other": 0.5}, sure=0.6, flat=0.3) == unsure
    assert hedge(text, {label: 0.2}, sure=0.6, flat=0.3) == hedge(text, {}, sure=0.6, flat=0.3) == flat
    assert not_understood(unsure) == not_understood(flat) == ()
    assert set(feelings(unsure)) == set(feelings(text))
    assert feelings(flat) == []


def test_captions_of_the_grammar_are_hedged_to_one_feeling() -> None:
    rng = np.random.default_rng(4)
    for _ in range(100):
        text = write_captions(sample_story(rng), [{"gender": "man"}], rng, 1, "feelings")[0]
        hedged, flat = hedge(text, {"joy": 0.5}, 0.6, 0.3), hedge(text, {"joy": 0.2}, 0.6, 0.3)
        assert set(feelings(hedged)) == set(feelings(text)), (text, hedged)
        assert len(feelings(hedged)) == 1
        assert feelings(flat) == []
        assert not re.search(r"\b(?:is|seems|looks|feels|appears|with) and\b|  | a? ?$", flat), flat
        label = list(FEELINGS)[int(rng.integers(len(FEELINGS)))]
        assert set(feelings(feel(text, label))) == {label}, (text, label)


def test_a_feeling_of_the_belief_stays_as_it_was_said() -> None:
    text = "A man shakes his head sadly."
    assert feel(text, "sadness") == text
    assert feel(text, "anger") == "An angry man shakes his head."
    assert feel(text, "boredom") == text
    assert feel("A man nods.", "anger") == "A man nods."


def test_people_are_counted_in_any_style() -> None:
    assert counted("A woman nods. The frown.") == "Several people can be seen; a woman nods. The frown."
    assert counted("Someone nods.") == "Several people can be seen; one of them nods."
    assert counted("a sad man nods") == "Several people can be seen; a sad man nods."
    assert counted("") == ""
    assert not_understood(counted("A person nods.")) == ()
