"""Captions of stories: true, in the manner of the annotators, without words for emotions unless asked for."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from captioner.errors import ConfigError
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.circumstances import FEELINGS
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.lexicon.phrases import PHRASES, find_phrases
from captioner.synth.story import plot
from captioner.synth.story.grammar import FAR, STYLES, write_captions
from captioner.synth.story.tale import Story, phrases_true, sample_story
from captioner.synth.story.words import ONE_SIDED, PHRASINGS, SLIGHT, STRONG
from captioner.synth.tally import caption_statistics, format_statistics

LEXICON = Path(__file__).parents[2].parent / "shared" / "data" / "metrics" / "emotion_lexicon.json"
PERSON = {"gender": "person"}
WOMAN = {"gender": "woman", "hair": "long", "hair_name": "red", "shirt": "blue", "beard": "none", "glasses": "yes",
         "earrings": "no"}  # fmt: skip
MAN = {"gender": "man", "hair": "bald", "hair_name": "black", "shirt": "green", "beard": "moustache", "glasses": "no",
       "earrings": "no"}  # fmt: skip
OURS = {word for feeling in FEELINGS.values() for word in feeling.adjectives + feeling.adverbs + feeling.nouns}


def sample(seed: int) -> Story:
    return sample_story(np.random.default_rng(seed))


@pytest.fixture(scope="module")
def stories() -> list[Story]:
    return [sample(seed) for seed in range(700)]


@pytest.fixture(scope="module")
def faces(stories: list[Story]) -> list[list[str]]:
    return [write_captions(one, [PERSON] * 2, np.random.default_rng(seed)) for seed, one in enumerate(stories)]


@pytest.fixture(scope="module")
def named(faces: list[list[str]]) -> list[list[set[str]]]:
    """The phrases in each caption."""
    return [[{found.name for found in find_phrases(caption)} for caption in captions] for captions in faces]


@pytest.fixture(scope="module")
def feelings(stories: list[Story]) -> list[list[str]]:
    return [
        write_captions(one, [WOMAN, MAN], np.random.default_rng(seed), style="feelings")
        for seed, one in enumerate(stories)
    ]


def words(caption: str) -> set[str]:
    return set(re.findall(r"[a-z]+", caption.lower()))


def near(story: Story) -> bool:
    """Whether the main person is ever near enough for captions to say what the face does."""
    return max(place[2] for place in story.roles[0].places if place) > FAR


def with_actions(*actions: str, seed: int = 0, **changes: object) -> Story:
    """A story of one person who does only what is said, with no phrase of the face."""
    one = sample(seed)
    main = replace(one.roles[0], actions=actions, manners=changes.get("manners", {}), phrases=())
    return replace(one, roles=(main, *one.roles[1:]))


def texts(one: Story, looks: list[dict[str, str]], n: int = 60) -> list[str]:
    return write_captions(one, looks, np.random.default_rng(1), n)


def test_the_same_generator_gives_the_same_captions() -> None:
    one = sample(3)
    for style in STYLES:
        first, second = (write_captions(one, [PERSON, PERSON], np.random.default_rng(4), 5, style) for _ in range(2))
        assert first == second and len(first) == 5


@pytest.mark.slow
def test_every_phrase_named_is_true(stories: list[Story], named: list[list[set[str]]]) -> None:
    for one, captions in zip(stories, named, strict=True):
        true = set(phrases_true(one.roles[0]))
        assert all(names <= true for names in captions)


def test_the_looks_change_nothing_about_the_face(stories: list[Story]) -> None:
    for seed, one in enumerate(stories[:200]):
        true = set(phrases_true(one.roles[0]))
        for caption in write_captions(one, [MAN, WOMAN], np.random.default_rng(seed), 1):
            assert {found.name for found in find_phrases(caption)} <= true, caption


def test_the_most_salient_phrase_is_nearly_always_named(stories: list[Story], named: list[list[set[str]]]) -> None:
    first = [
        one.roles[0].phrases[0] in names
        for one, captions in zip(stories, named, strict=True)
        for names in captions
        if near(one) and one.roles[0].phrases and one.roles[0].phrases[0] != "closed_eyes"
    ]
    assert np.mean(first) > 0.98


def test_all_but_the_last_caption_of_a_story_name_every_phrase(
    stories: list[Story], named: list[list[set[str]]]
) -> None:
    for one, captions in zip(stories, named, strict=True):
        for names in captions[:-1]:
            assert names == (set(one.roles[0].phrases) if near(one) else names & {"closed_eyes", "smile"})
    assert np.mean([len(first) > len(last) for first, _, last in named]) > 0.1
    alone = [write_captions(one, [PERSON] * 2, np.random.default_rng(seed), n=1)[0] for seed, one in enumerate(stories)]
    usual = [len({found.name for found in find_phrases(caption)}) for caption in alone]
    assert np.mean(usual) < np.mean([len(captions[0]) for captions in named]) - 0.2


def test_every_wording_is_found_again_as_its_phrase() -> None:
    for table in (PHRASINGS, SLIGHT, STRONG, ONE_SIDED):
        for name, wordings in table.items():
            for wording in wordings:
                assert [found.name for found in find_phrases(f"The {wording}.")] == [name], wording
    assert set(PHRASINGS) == set(PHRASES)


def test_actions_name_no_phrase_but_their_own() -> None:
    own = {"closes_eyes": {"closed_eyes"}, "laughs": {"smile"}}
    assert set(ACTIONS) == {*plot.HEAD, *plot.BODY, *plot.FACE, *plot.SOCIAL}
    for action, options in ACTIONS.items():
        for pair in options:
            for deed in pair:
                text = deed.format(their="their", them="them", other="the person beside them")
                assert {found.name for found in find_phrases(text)} <= own.get(action, set()), text


def test_faces_captions_hold_no_word_for_an_emotion(faces: list[list[str]]) -> None:
    others = "furious frightened unhappy contemptuous scornful helpless disgusting sorrow hopeless upset nervous"
    banned = OURS | {*others.split()} | set(MAFW_LABELS)
    assert not [caption for captions in faces for caption in captions if words(caption) & banned]


def test_feelings_captions_name_a_feeling_of_the_story(stories: list[Story], feelings: list[list[str]]) -> None:
    for one, captions in zip(stories, feelings, strict=True):
        right = {
            word
            for emotion in one.mixture
            for word in FEELINGS[emotion].adjectives + FEELINGS[emotion].adverbs + FEELINGS[emotion].nouns
        }
        for caption in captions:
            assert words(caption) & OURS and words(caption) & OURS <= right, caption
            assert re.fullmatch(r"[a-z]+( [a-z]+)*", caption), caption


@pytest.mark.skipif(not LEXICON.exists(), reason="the emotion lexicon is not part of the repository")
def test_feelings_are_words_of_the_lexicon(faces: list[list[str]], feelings: list[list[str]]) -> None:
    lexicon = {word for group in json.loads(LEXICON.read_text(encoding="utf-8")).values() for word in group}
    assert lexicon >= OURS
    assert not [caption for captions in faces for caption in captions if words(caption) & lexicon]
    assert all(words(caption) & lexicon <= OURS for captions in feelings for caption in captions)


def test_all_emotions_have_words() -> None:
    assert tuple(FEELINGS) == MAFW_LABELS
    assert all(len(FEELINGS[name].adjectives + FEELINGS[name].adverbs) >= 2 for name in FEELINGS)


def test_sentences_look_like_sentences(faces: list[list[str]]) -> None:
    for caption in (caption for captions in faces for caption in captions):
        assert re.fullmatch(r"[A-Z][A-Za-z, '-]+\.( [A-Z][A-Za-z, '-]+\.)*", caption), caption
        assert "  " not in caption and "{" not in caption
        assert len(caption.split(". ")) <= 4
        assert not re.search(r"\b(\w+) \1\b", caption), caption


def test_each_action_is_told_and_no_other() -> None:
    stems = {"nods": "nod|head up and down|bob", "enters": "enter|comes in|walks in|appears|steps into|comes into"}
    for action, stem in stems.items():
        assert all(re.search(stem, text) for text in texts(with_actions(action), [PERSON]))
        assert not any(re.search(stem, text) for text in texts(with_actions("talks"), [PERSON]))
    assert all("right" not in text for text in texts(with_actions("turns_left"), [PERSON]))


def test_manners_are_said_only_where_they_hold() -> None:
    slow = " ".join(texts(with_actions("nods", manners={"nods": "slowly"}), [PERSON]))
    often = " ".join(texts(with_actions("nods", manners={"nods": "repeatedly"}), [PERSON]))
    plain = " ".join(texts(with_actions("nods"), [PERSON]))
    assert "slowly" in slow and "repeatedly" not in slow
    assert "repeatedly" in often and "slowly" not in often
    assert not re.search("slowly|repeatedly|several times|suddenly", plain)


def test_entering_is_told_first_and_leaving_last() -> None:
    for text in texts(with_actions("leaves", "nods"), [PERSON]):
        assert re.search(r"(nod|head).*(leave|leaving|walk|goes|going|away|view)", text), text
    assert any("and then" in text for text in texts(with_actions("enters", "nods"), [PERSON]))


def test_pronouns_and_traits_fit_the_person() -> None:
    one = with_actions("shakes_head")
    female, male, unknown = (" ".join(texts(one, [looks] * 2)) for looks in (WOMAN, MAN, PERSON))
    assert "her head" in female and "his" not in female.split() and "red hair" in female and "glasses" in female
    assert "his head" in male and "bald man" in male and "moustache" in male and "glasses" not in male
    assert "their head" in unknown and not {"his", "her", "man", "woman"} & words(unknown)
    assert "Someone" in unknown and "A person" in unknown


def test_the_second_person_is_told_by_place_and_gender(stories: list[Story]) -> None:
    pair = next(one for one in stories if "talks_to" in one.roles[0].actions and one.arrangement == "beside")
    told = " ".join(texts(pair, [WOMAN, MAN]))
    assert re.search(r"the man (beside|next to) her|the man at her side", told)
    alone = " ".join(
        text for one in stories[:150] if one.arrangement == "alone" for text in texts(one, [WOMAN, MAN], 3)
    )
    assert not {"another", "other", "man", "beside"} & words(alone)


def test_light_and_distance_are_told_only_where_they_are_so() -> None:
    one = with_actions("nods")
    lit, dim = (replace(one, grade=replace(one.grade, exposure=value)) for value in (1.0, 0.25))
    dark = r"dark|dim|light"
    assert any(re.search(dark, text) for text in texts(dim, [PERSON]))
    assert not any(re.search(dark, text) for text in texts(lit, [PERSON]))


def test_strong_and_slight_words_follow_the_peak() -> None:
    one = with_actions("talks")
    one = replace(one, grade=replace(one.grade, exposure=1.0))
    for peak, right, wrong in ((0.95, "deep|heavy", "slight|light"), (0.6, "slight|light", "deep|heavy")):
        main = replace(one.roles[0], phrases=("frown",), peaks={4: peak})
        told = " ".join(texts(replace(one, roles=(main,)), [PERSON]))
        assert re.search(right, told) and not re.search(wrong, told)


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown style 'face' \(did you mean 'faces'\?\); allowed: faces, feelings"
    ):
        write_captions(sample(0), [PERSON], np.random.default_rng(0), style="face")


def test_the_corpus_is_varied_and_has_the_annotators_habits(faces: list[list[str]]) -> None:
    found = caption_statistics([captions[1] for captions in faces])
    assert found["captions"] == 700
    assert found["distinct"] > 0.85 and found["vocabulary"] > 220
    assert list(found["phrases"])[:2] == ["frown", "open_mouth"]
    assert 1.4 < found["phrases_per_caption"] < 2.3
    assert 9 < found["words"]["mean"] < 18


def test_feelings_captions_are_short(feelings: list[list[str]]) -> None:
    found = caption_statistics([caption for captions in feelings for caption in captions[:1]])
    assert 8 <= found["words"]["mean"] <= 13 and found["words"]["p95"] <= 15 and found["words"]["p5"] >= 6


def test_statistics_are_counted_and_printed() -> None:
    captions = [
        "A person nods. The frown.",
        "A person nods. The frown.",
        "Someone talks. The frown and the open mouth.",
        "",
    ]
    found = caption_statistics(captions)
    assert found["words"]["mean"] == 4.5 and found["vocabulary"] == 10
    assert found["phrases"] == {"frown": 0.75, "open_mouth": 0.25}
    assert found["distinct"] == 0.75 and found["phrases_per_caption"] == 1.0
    printed = format_statistics(found)
    assert "distinct 75.0%" in printed and re.search(r"frown +75\.0%", printed)
    assert caption_statistics([])["captions"] == 0 and format_statistics(caption_statistics([]))


def test_nobody_sees_what_a_tiny_face_does(stories: list[Story]) -> None:
    def at(story: Story, height: float) -> Story:
        main = story.roles[0]
        places = tuple((place[0], place[1], height) if place else None for place in main.places)
        return replace(story, roles=(replace(main, places=places), *story.roles[1:]))

    expressive = [story for story in stories if set(story.roles[0].phrases) & {"frown", "open_mouth"}][:20]
    for story in expressive:
        rng = np.random.default_rng(0)
        assert not [found for text in write_captions(at(story, 0.1), [PERSON] * 2, rng) for found in find_phrases(text)
                    if found.name in ("frown", "open_mouth")]  # fmt: skip
        assert any(find_phrases(text) for text in write_captions(at(story, 0.5), [PERSON] * 2, rng))
