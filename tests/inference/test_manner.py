"""Style plain: whole sentences that claim what the caption in MAFW's manner claims."""

from itertools import product

import numpy as np
import pytest

from captioner.errors import ConfigError
from captioner.inference.claims import find_claims, not_understood
from captioner.inference.events import put_event
from captioner.inference.manner import chosen_style, finish, moved, plain
from captioner.inference.results import Caption, Link
from captioner.lexicon.actions import ACTIONS, SOCIAL, action_spans, plural
from captioner.lexicon.phrases import PHRASES, find_phrases
from captioner.lexicon.plain_forms import PLAIN_FORMS
from captioner.synth.story.grammar import write_captions
from captioner.synth.story.tale import sample_story
from captioner.synth.story.words import ONE_SIDED, PHRASINGS, SLIGHT, STRONG

Said = dict[str, set[str]]
WHO = {"woman": ("her", "her"), "man": ("his", "him"), "person": ("their", "them")}


def said(text: str) -> Said:
    """By kind what a caption claims; eyes that somebody closes are closed."""
    kinds: Said = {}
    for claim in find_claims(text):
        kinds.setdefault(claim.kind, set()).add(claim.name)
    if "closes_eyes" in kinds.get("action", ()):
        kinds["phrase"] = kinds.get("phrase", set()) - {"closed_eyes"}
    return {kind: names for kind, names in kinds.items() if names}


def told(text: str) -> str:
    """A caption in style plain, after it was held against what it is told from."""
    changed = plain(text)
    assert said(changed) == said(text), (text, changed)
    assert not_understood(changed) == (), (text, changed)
    assert changed[0].isupper()
    assert changed.endswith(".")
    return changed


@pytest.mark.parametrize(
    ("faces", "sentence"),
    [
        ("A woman turns her head to the left. The frown and the open mouth.",
         "A woman frowns and opens her mouth while she turns her head to the left."),
        ("A person shakes their head. The frown and the drooping mouth corners.",
         "A person shakes their head. They frown, and the corners of their mouth turn down."),
        ("Someone nods slowly. The slight frown.", "A person frowns slightly while they slowly nod."),
        ("A man enters and then talks. The broad smile, the raised cheeks.",
         "A man enters and then talks. He smiles broadly, and his cheeks lift."),
        ("A man looks straight ahead. The closed eyes.", "A man keeps still with his eyes closed."),
        ("In the dark, a lady listens to the man beside her. The frown. The camera moves closer.",
         "In dim light, a woman frowns while she listens to the man beside her. The camera zooms in."),
        ("The frown and the frown.", "A person frowns."),
        ("A man talks while nodding.", "A man talks while nodding."),
        ("A woman nods. Raised eyebrow on one side.", "A woman raises one eyebrow while she nods."),
        ("Two people talk. The smile.", "Two people smile while they talk."),
        ("A man does not move. The frown.", "A man frowns while he keeps still."),
        ("A man and a woman nod. The smile.", "A man and a woman smile while they nod."),
        ("The drooping mouth corners.", "A person is shown. The corners of their mouth turn down."),
        ("The closed eyes.", "A person has their eyes closed."),
    ],
)  # fmt: skip
def test_sentences(faces: str, sentence: str) -> None:
    assert told(faces) == sentence


def test_every_action_has_a_plain_form() -> None:
    for place, pairs in enumerate(ACTIONS.values()):
        who, (their, them) = list(WHO.items())[place % 3]
        verb = pairs[0][0].format(their=their, them=them, other="another man")
        told(f"A {who} {verb}. The smile.")
        told(f"A {who} {verb}.")


def test_every_phrase_of_every_wording_has_a_plain_form() -> None:
    assert PLAIN_FORMS.keys() == PHRASES.keys()
    wordings = {name: [*PHRASINGS[name], *(w for t in (SLIGHT, STRONG, ONE_SIDED) for w in t.get(name, ()))]
                for name in PHRASES}  # fmt: skip
    for name, options in wordings.items():
        for place, wording in enumerate(options):
            sentence = told(f"A {list(WHO)[place % 3]} nods. The {wording}.")
            assert [found.name for found in find_phrases(sentence)] == [name]
            assert told(f"The {wording}.").count(".") <= 2


@pytest.mark.slow
def test_every_action_of_every_wording_has_a_plain_form() -> None:
    for name, pairs in ACTIONS.items():
        for (verb, _), (who, (their, them)), face in product(pairs, WHO.items(), ("", " The smile and the frown.")):
            for other in ("another man", "the woman behind them", "somebody else") if name in SOCIAL else ("",):
                told(f"A {who} {verb.format(their=their, them=them, other=other)}.{face}")


def test_two_phrases_and_two_actions_of_all_kinds() -> None:
    rng = np.random.default_rng(0)
    alone = [name for name in ACTIONS if name not in SOCIAL]
    for _ in range(100):
        who = list(WHO)[int(rng.integers(3))]
        one, two = (ACTIONS[str(name)][0][0] for name in rng.choice(alone, 2, replace=False))
        first, second = (PHRASES[str(name)].wordings[0] for name in rng.choice(list(PHRASES), 2, replace=False))
        event = f"A {who} {one} and {two}.".format(their=WHO[who][0])
        told(f"{event} The {first} and the {second}.")


def test_captions_of_the_grammar_keep_their_claims() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        looks = [{"gender": str(who)} for who in rng.choice(list(WHO), 2)]
        for text in write_captions(sample_story(rng), looks, rng, n=2):
            if not not_understood(text):
                told(text)


def test_several_people_are_counted() -> None:
    assert plain("A man nods. The smile.", several=True) == (
        "Several people can be seen; one of them, a man, smiles while he nods."
    )
    assert plain("A person nods.", several=True) == "Several people can be seen; one of them nods."
    assert said(plain("A person nods.", several=True)) == {"action": {"nods"}, "people": {"several"}}


def test_the_face_has_a_sentence_of_its_own_where_others_tell_the_event() -> None:
    text = "A woman nods. The frown, the closed eyes and the drooping mouth corners."
    face = "frowns with her eyes closed, and the corners of her mouth turn down."
    assert plain(text, face_of="the") == f"A woman nods. The woman {face}"
    assert plain(text, face_of="one of them") == f"A woman nods. One of them {face}"
    assert plain("A person nods.", face_of="the") == "A person nods."
    assert plain("A man nods. The closed eyes.", face_of="the") == "A man nods. The man is shown with his eyes closed."
    made = caption(text)
    finish(made, "plain", event_follows=True)
    put_event(made, "Somebody walks.", "x")
    assert made.text == f"Somebody walks. The woman {face}"
    assert [made.text[link.start : link.end] for link in made.phrases] == [link.text for link in made.phrases]


@pytest.mark.parametrize("text", ["No face can be seen.", "No face can be seen. The picture is dark.", "Hello.", ""])
def test_what_claims_nothing_stays(text: str) -> None:
    assert plain(text) == text


def test_verbs_after_they() -> None:
    verbs = {
        "watches": "watch", "is nodding": "are nodding", "presses": "press", "raises": "raise", "goes": "go",
        "slowly closes": "slowly close", "does not move": "do not move", "says something": "say something",
    }  # fmt: skip
    assert {verb: plural(verb) for verb in verbs} == verbs
    assert action_spans("with joy on their face in the video") == ()


def caption(text: str) -> Caption:
    spans = find_phrases(text)
    links = [Link(s.name, text[s.start : s.end], s.start, s.end, 4, "x", "experts", 0.9, 1.5, True) for s in spans]
    return Caption(text, 0.5, [{"word": "a", "log_prob": -0.1}], {}, [], 1, 0.0, 1.0, phrases=links)


@pytest.mark.parametrize("style", ["plain", "faces"])
@pytest.mark.parametrize("neutral", [False, True])
def test_links_point_into_the_text_and_words_stay(style: str, neutral: bool) -> None:
    made = caption("A woman turns her head. The frown, the raised cheeks and the open mouth.")
    before = {link.phrase: link.au for link in made.phrases}
    finish(made, style, several=True, neutral=neutral)
    assert {link.phrase: link.au for link in made.phrases} == before
    for link in made.phrases:
        assert made.text[link.start : link.end] == link.text
        assert [span.name for span in find_phrases(link.text)] == [link.phrase]
    assert made.words == [{"word": "a", "log_prob": -0.1}]
    assert ("woman" in made.text) is not neutral
    assert "everal people can be seen" in made.text


def test_a_caption_as_it_was_asked_for_is_left_alone() -> None:
    made, same = caption("A woman nods. The frown."), caption("A woman nods. The frown.")
    finish(made, "faces")
    assert made == same
    assert moved(made.phrases, "A woman nods.") == []


def test_the_style_that_is_meant() -> None:
    both = ["faces", "feelings"]
    assert chosen_style("", both) == "plain"
    assert chosen_style("", both, claims=False) == ""
    assert chosen_style("", []) == chosen_style("", ["verse"]) == ""
    assert [chosen_style(style, both) for style in ("plain", *both)] == ["plain", *both]
    with pytest.raises(ConfigError, match="unknown style 'plain'; allowed: verse"):
        chosen_style("plain", ["verse"])
    with pytest.raises(ConfigError, match="unknown style 'plain'; this model has one style of captions: leave it out"):
        chosen_style("plain", [])
