"""Emotion words, facial phrases and emotion classes: golden numbers, hand-made cases, what is refused."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

from captioner.errors import CaptionerError
from captioner.lexicon.phrases import PHRASES, phrase_names
from eval.emotion import (
    EmotionScoreError,
    class_scores,
    emotion_lexicon,
    emotion_word_scores,
    phrase_baselines,
    phrase_counts,
    phrase_scores,
)

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "metrics"
needs_golden = pytest.mark.skipif(not SHARED.is_dir(), reason="the golden numbers are not beside the repository")
needs_toolkit = pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None, reason="pycocoevalcap is not installed"
)


# --- emotion words -----------------------------------------------------------------------------------------------


@needs_golden
def test_lexicon_holds_the_words_of_the_field() -> None:
    theirs = json.loads((SHARED / "emotion_lexicon.json").read_text("utf-8"))
    ours: dict[str, set[str]] = {}
    for word, categories in emotion_lexicon().items():
        assert list(categories) == sorted(categories)
        for category in categories:
            ours.setdefault(category, set()).add(word)
    assert ours == {category: set(words) for category, words in theirs.items()}


def test_lexicon_ambiguities() -> None:
    assert len(emotion_lexicon()) == 179
    assert {word for word, categories in emotion_lexicon().items() if len(categories) > 1} == {
        "annoying",
        "worried",
        "hopeful",
        "timid",
    }


@needs_golden
@needs_toolkit
@pytest.mark.parametrize(("name", "tokens"), [("peer15", None), ("ptb", "ptb")])
def test_released_form_equals_the_golden_numbers(name: str, tokens: str | None) -> None:
    folder = SHARED / "emvidcap_s"
    refs, hyps, golden = (
        json.loads((folder / f"{file}.json").read_text("utf-8")) for file in ("refs", "hyps", "golden_emotion")
    )
    found, wanted = emotion_word_scores(refs, hyps, "compat", tokens), golden[name]  # type: ignore[arg-type]
    assert (found.right, found.wrong, found.silent, found.touched, found.mixed) == tuple(
        wanted[key] for key in ("N_r", "N_w", "phi", "N_r1", "N_h")
    )
    for ours, theirs in (("acc_sw", "Acc_sw"), ("acc_c", "Acc_c"), ("bfs", "BFS"), ("cfs", "CFS")):
        assert getattr(found, ours) == pytest.approx(wanted[theirs], abs=1e-12)


@needs_toolkit
def test_strict_form_reads_what_the_released_one_misses() -> None:
    refs = {"a": ["An anxious man waits."], "b": ["a happy dog runs"], "c": ["a man talks"]}
    hyps = {"a": "a worried man", "b": "A dog runs. Happily!", "c": "a man talks"}
    strict, compat = emotion_word_scores(refs, hyps), emotion_word_scores(refs, hyps, "compat")
    # "worried" is of two categories: the first, annoyance, is wrong; worry is what the reference says.
    assert (strict.right, strict.wrong, strict.silent) == (2, 0, 1)
    assert (compat.right, compat.wrong, compat.silent) == (1, 1, 1)
    assert strict.acc_sw == pytest.approx(2 / 3)
    assert strict.acc_c == pytest.approx(2 / 3)
    assert (strict.unmarked, strict.videos) == (1, 3)


@needs_toolkit
def test_long_captions_are_cut_in_the_released_form_only() -> None:
    tail = "word " * 15 + "happily"
    refs, hyps = {"a": ["a man smiles happily"], "b": ["a dog"]}, {"a": tail, "b": "a dog"}
    assert emotion_word_scores(refs, hyps).right == 1
    assert emotion_word_scores(refs, hyps, "compat").right == 0


@needs_toolkit
def test_acc_c_overflow_is_zero_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    refs = {"a": ["a happy man"], "b": ["a sad man"]}
    found = emotion_word_scores(refs, {"a": "a happy angry man", "b": "a sad ugly man"})
    assert (found.touched, found.mixed, found.acc_c) == (2, 2, 0.0)
    assert "Acc_c set to 0: all 2 videos" in caplog.text
    some = emotion_word_scores(refs, {"a": "a happy angry man", "b": "a sad man"})
    assert some.acc_c == pytest.approx(math.exp(1 / (1 - 2 + 1e-4)))


@needs_toolkit
def test_mixtures_weigh_bleu_and_cider() -> None:
    from eval.metrics import score_captions

    refs = {"a": ["a happy man runs on a road"], "b": ["a sad girl sits in a room"], "c": ["two dogs play in snow"]}
    hyps = {"a": "a happy man runs", "b": "a girl sits in a room sadly", "c": "two dogs play"}
    found, plain = emotion_word_scores(refs, hyps), score_captions(refs, hyps, ("bleu", "cider")).corpus
    words = 0.1 * (found.acc_sw + found.acc_c)
    assert found.cfs == pytest.approx(0.8 * plain["CIDEr"] + words)
    bleu = sum(weight * plain[f"BLEU-{n}"] for n, weight in zip((1, 2, 3, 4), (0.1, 0.2, 0.3, 0.4), strict=True))
    assert found.bfs == pytest.approx(0.8 * bleu + words)


@needs_toolkit
def test_unknown_forms_are_named() -> None:
    with pytest.raises(EmotionScoreError, match=r"unknown form 'strikt' \(did you mean 'strict'\?\)"):
        emotion_word_scores({"a": ["x"]}, {"a": "x"}, "strikt")  # type: ignore[arg-type]


# --- facial phrases ----------------------------------------------------------------------------------------------


def wording(name: str) -> str:
    return PHRASES[name].wordings[0]


def test_phrase_scores_are_micro_averaged_over_the_union_of_references() -> None:
    refs = {
        "a": [f"A man. The {wording('frown')}.", f"The {wording('wrinkled_nose')}."],
        "b": {"smile"},
        "c": [],
    }
    hyps = {"a": f"A man. The {wording('frown')} and the {wording('smile')}.", "b": "A girl.", "c": "The smile."}
    found = phrase_scores(refs, hyps)
    assert (found.right, found.given, found.wanted, found.videos) == (1, 3, 3, 3)
    assert found.precision == found.recall == found.f1 == pytest.approx(1 / 3)
    assert phrase_counts(refs, hyps).tolist() == [[1, 2, 2], [0, 0, 1], [0, 1, 0]]


def test_phrase_names_reads_sets_texts_and_lists() -> None:
    assert phrase_names({"frown"}) == phrase_names(f"the {wording('frown')}") == phrase_names([wording("frown")])
    assert phrase_names([]) == phrase_names("a man walks") == frozenset()


def test_nothing_wanted_or_given_scores_zero() -> None:
    found = phrase_scores({"a": []}, {"a": "a man"})
    assert (found.precision, found.recall, found.f1) == (0, 0, 0)


def test_phrase_sides_must_hold_the_same_ids() -> None:
    with pytest.raises(EmotionScoreError, match=r"2 ids stand on one side only \(a, b\)"):
        phrase_scores({"a": []}, {"b": ""})


def test_baselines_follow_the_training_split() -> None:
    train = [{"frown"}] * 6 + [{"frown", "smile"}] * 3 + [{"smile", "open_mouth"}]
    refs = {str(n): names for n, names in enumerate([{"frown"}, {"smile"}, {"frown", "smile"}])}
    found = phrase_baselines(train, refs, seed=1)
    # On train, frown alone has F1 2*9/(10+14) = 0.75, with smile 2*13/(20+14) = 0.76, with both others 2*14/(30+14).
    assert (found["most frequent"].right, found["most frequent"].given) == (4, 6)
    assert found["most frequent"].recall == 1
    assert found == phrase_baselines(train, refs, seed=1) != phrase_baselines(train, refs, seed=2)
    drawn = found["random"]
    assert drawn.given / 300 == pytest.approx(0.9 + 0.4 + 0.1, abs=0.15)
    assert drawn.precision == pytest.approx((0.9 * 2 + 0.4 * 2) / (3 * 1.4), abs=0.08)
    assert drawn.videos == 3


def test_baselines_need_training_clips() -> None:
    with pytest.raises(EmotionScoreError, match="training split holds no clip"):
        phrase_baselines([], {"a": ["x"]})


# --- emotion classes ---------------------------------------------------------------------------------------------


def test_class_scores_by_hand() -> None:
    truth = {"1": "anger", "2": "anger", "3": "anger", "4": "joy"}
    guess = {"1": "anger", "2": "joy", "3": "anger", "4": "joy"}
    found = class_scores(truth, guess, ["anger", "joy", "fear"])
    assert found.accuracy == found.war == pytest.approx(3 / 4)
    assert found.uar == pytest.approx((2 / 3 + 1) / 2)
    assert found.macro_f1 == pytest.approx((2 * 2 / (3 + 2) + 2 * 1 / (1 + 2)) / 2)
    assert found.confusion == ((2, 1, 0), (0, 1, 0), (0, 0, 0))
    assert (found.labels, found.ece, found.videos) == (("anger", "joy", "fear"), None, 4)
    assert found.weighted_f1 == pytest.approx((3 * 4 / 5 + 2 / 3) / 4) and found.mean_average_precision is None


def test_calibration_error_by_hand() -> None:
    truth = {"1": "a", "2": "a", "3": "b", "4": "b"}
    guess = {
        "1": {"a": 0.9, "b": 0.1},
        "2": {"a": 0.8, "b": 0.2},
        "3": {"a": 0.85, "b": 0.15},
        "4": {"a": 0.4, "b": 0.6},
    }
    found = class_scores(truth, guess, bins=5)
    # (0.8, 1]: confidences 0.9 and 0.85, one right; (0.6, 0.8]: 0.8, right; (0.4, 0.6]: 0.6, right.
    assert found.ece == pytest.approx((abs(1 - 1.75) + abs(1 - 0.8) + abs(1 - 0.6)) / 4)
    assert found.accuracy == 0.75
    # of a: .9, .85, .8, .4, the second wrong; of b: .6, .2, .15, .1, the third right
    assert found.mean_average_precision == pytest.approx(((1 + 2 / 3) / 2 + (1 + 2 / 3) / 2) / 2)


def test_a_class_that_is_only_called_lowers_no_recall() -> None:
    found = class_scores({"1": "a", "2": "a"}, {"1": "a", "2": "b"})
    assert found.uar == 0.5
    assert found.macro_f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("truth", "guess", "said"),
    [
        ({}, {}, "0 ids stand on one side"),
        ({"1": "a"}, {"2": "a"}, "2 ids stand on one side only (1, 2)"),
        ({"1": "angre"}, {"1": "anger"}, "unknown emotion 'angre' (did you mean 'anger'?)"),
        ({"1": "anger"}, {"1": {}}, "emotion of '1': given {}"),
        ({"1": "anger"}, {"1": {"anger": 7.0}}, "emotion of '1': given {'anger': 7.0}"),
        ({"1": "anger"}, {"1": {"anger": float("nan")}}, "emotion of '1'"),
    ],
)
def test_class_scores_refuse(truth: dict, guess: dict, said: str) -> None:
    with pytest.raises(CaptionerError) as error:
        class_scores(truth, guess, ["anger", "joy"])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
