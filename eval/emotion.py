"""How much of the feeling a caption gets right: emotion words, facial phrases, emotion classes."""

import json
import logging
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np

from captioner.errors import CaptionerError, unknown
from captioner.lexicon.phrases import phrase_names
from eval.metrics import check_pairs, score_tokens, tokenize_pairs

_log = logging.getLogger(__name__)
_ONE_SIDE = "{} ids stand on one side only ({}): both sides need the same ids"
_RELEASED_WORDS = 15  # the released pipeline reads no further into a caption


class EmotionScoreError(CaptionerError):
    """Labels or captions that cannot be scored together."""


# --- emotion words ---------------------------------------------------------------------------------------


@cache
def emotion_lexicon() -> dict[str, tuple[str, ...]]:
    """The emotion categories of each of the 179 emotion words of EmVidCap, in alphabetical order."""
    text = resources.files("eval").joinpath("emotion_lexicon.json").read_text("utf-8")
    words = json.loads(text)["words"]
    return {word: tuple(categories) for word, categories in words.items()}


@dataclass(frozen=True)
class WordScores:
    """Emotion-word accuracies (0..1) and their mixtures with BLEU and CIDEr, after the counts they come from.

    right, wrong: categories, once a video; silent: hypotheses without an emotion word;
    touched, mixed: videos with a right category, and those of them with a wrong one too;
    unmarked: videos whose references hold no emotion word.
    """

    acc_sw: float
    acc_c: float
    bfs: float
    cfs: float
    right: int
    wrong: int
    silent: int
    touched: int
    mixed: int
    unmarked: int
    videos: int


def emotion_word_scores(
    refs: Mapping[str, Sequence[str]],
    hyps: Mapping[str, str],
    form: Literal["strict", "compat"] = "strict",
    tokens: Literal["ptb", "released"] | None = None,
) -> WordScores:
    """Acc_sw, Acc_c, BFS and CFS of EmVidCap.

    `compat` is the released form: ASCII words, captions cut to 15, a word of two categories means its first.
    `strict` takes PTB tokens of whole captions and lets such a word mean the category its references name.
    """
    for kind, given, allowed in (
        ("form", form, ("strict", "compat")),
        ("tokens", tokens, ("ptb", "released")),
    ):
        if given is not None and given not in allowed:
            raise EmotionScoreError(unknown(kind, given, allowed))
    check_pairs(refs, hyps)
    tokens = tokens or ("ptb" if form == "strict" else "released")
    if tokens == "ptb":
        references, hypotheses = tokenize_pairs(refs, hyps)
    else:
        references = [[_released(text, _RELEASED_WORDS) for text in captions] for captions in refs.values()]
        hypotheses = [_released(hyps[key], _RELEASED_WORDS) for key in refs]
    scores = score_tokens(list(refs), references, hypotheses, ("bleu", "cider")).corpus
    return _word_scores(references, hypotheses, scores, form == "strict")


def _released(text: str, limit: int | None = None) -> str:
    """Lower-case ASCII words without punctuation, the first `limit` of them."""
    letters = "".join(sign for sign in text.lower() if sign.isascii() and (sign.isalnum() or sign.isspace()))
    return " ".join(letters.split()[:limit])


def _word_scores(
    references: Sequence[Sequence[str]], hypotheses: Sequence[str], scores: Mapping[str, float], strict: bool
) -> WordScores:
    right = wrong = silent = touched = mixed = unmarked = 0
    for captions, hypothesis in zip(references, hypotheses, strict=True):
        meant = {category for text in captions for word in text.split() for category in emotion_lexicon().get(word, ())}
        said = [emotion_lexicon()[word] for word in hypothesis.split() if word in emotion_lexicon()]
        named = {_category(categories, meant if strict else frozenset()) for categories in said}
        right += len(named & meant)
        wrong += len(named - meant)
        silent += not named
        touched += bool(named & meant)
        mixed += bool(named & meant and named - meant)
        unmarked += not meant
    videos = len(hypotheses)
    acc_sw = right / (right + wrong + silent)
    acc_c = _acc_c(touched, mixed, videos)
    words = 0.1 * (acc_sw + acc_c)
    bleu = sum(weight * scores[f"BLEU-{n}"] for n, weight in enumerate((0.1, 0.2, 0.3, 0.4), 1))
    return WordScores(
        acc_sw, acc_c, 0.8 * bleu + words, 0.8 * scores["CIDEr"] + words,
        right, wrong, silent, touched, mixed, unmarked, videos,
    )  # fmt: skip


def _category(categories: tuple[str, ...], meant: AbstractSet[str]) -> str:
    """The category a word stands for: one that is meant, else its first in the alphabet."""
    return next((category for category in categories if category in meant), categories[0])


def _acc_c(touched: int, mixed: int, videos: int) -> float:
    """exp(mixed / (mixed - touched + 1e-4)) touched / videos; it explodes where all touched are mixed."""
    if touched and mixed == touched:
        _log.warning("Acc_c set to 0: all %d videos with a right emotion name a wrong one too", touched)
        return 0.0
    return math.exp(mixed / (mixed - touched + 1e-4)) * touched / videos


# --- facial phrases --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PhraseScores:
    """Facial phrases, micro-averaged: right, given and wanted phrases summed over videos, then divided."""

    precision: float
    recall: float
    f1: float
    right: int
    given: int
    wanted: int
    videos: int


def phrase_scores(refs: Mapping[str, Iterable[str]], hyps: Mapping[str, str | Iterable[str]]) -> PhraseScores:
    """Micro precision, recall and F1 of the facial phrases in each caption against those of its video.

    Each side is a set (of phrase names), a caption or a list of captions; a video's phrases are their union.
    """
    return _phrase_scores(phrase_counts(refs, hyps))


def phrase_counts(refs: Mapping[str, Iterable[str]], hyps: Mapping[str, str | Iterable[str]]) -> np.ndarray:
    """Right, given and wanted phrases of each video, (V, 3), in the order of `refs`."""
    if refs.keys() != hyps.keys():
        odd = sorted(map(str, refs.keys() ^ hyps.keys()))
        raise EmotionScoreError(_ONE_SIDE.format(len(odd), ", ".join(odd[:5])))
    pairs = [(phrase_names(wanted), phrase_names(hyps[key])) for key, wanted in refs.items()]
    rows = [(len(wanted & given), len(given), len(wanted)) for wanted, given in pairs]
    return np.array(rows, dtype=float).reshape(-1, 3)


def phrase_f1(counts: np.ndarray) -> np.ndarray:
    """F1 of summed counts (..., 3), shape (...)."""
    both = counts[..., 1] + counts[..., 2]
    f1: np.ndarray = np.divide(2 * counts[..., 0], both, out=np.zeros_like(both), where=both > 0)
    return f1


def phrase_baselines(
    train: Iterable[str | Iterable[str]], refs: Mapping[str, Iterable[str]], seed: int = 0, draws: int = 100
) -> dict[str, PhraseScores]:
    """What captions blind to the video would score, {"most frequent": ..., "random": ...}.

    "most frequent" says the same list of the commonest phrases of `train`, cut where it serves `train` best;
    "random" says each phrase at its rate in `train`, summed over `draws` draws.
    """
    lists = [phrase_names(source) for source in train]
    if not lists:
        raise EmotionScoreError("the training split holds no clip: baselines need at least one")
    often = Counter(name for names in lists for name in names)
    order = sorted(often, key=lambda name: (-often[name], name))
    # A list of the k commonest is right as often as they occur and wants every phrase there is.
    sizes = [(2 * sum(often[name] for name in order[:k]) / (k * len(lists) + often.total()), -k)
             for k in range(1, len(order) + 1)]  # fmt: skip
    fixed = frozenset(order[: -max(sizes)[1]]) if sizes else frozenset()
    wanted = {key: phrase_names(source) for key, source in refs.items()}
    dice = random.Random(seed)
    drawn = np.zeros(3)
    for _ in range(draws):
        said = {key: {name for name in order if dice.random() < often[name] / len(lists)} for key in wanted}
        drawn += phrase_counts(wanted, said).sum(0)
    constant = phrase_counts(wanted, dict.fromkeys(wanted, fixed))
    return {"most frequent": _phrase_scores(constant), "random": _phrase_scores(drawn[None], len(wanted))}


def _phrase_scores(counts: np.ndarray, videos: int | None = None) -> PhraseScores:
    right, given, wanted = (int(total) for total in counts.sum(0))
    precision, recall = (right / total if total else 0.0 for total in (given, wanted))
    f1 = float(phrase_f1(counts.sum(0)))
    return PhraseScores(precision, recall, f1, right, given, wanted, len(counts) if videos is None else videos)


# --- emotion classes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassScores:
    """Emotion classification: accuracy (= WAR), UAR and macro-F1 over the classes that occur in the truth.

    confusion[i][j]: clips of labels[i] called labels[j]; ece: None where only names were predicted.
    """

    accuracy: float
    uar: float
    war: float
    macro_f1: float
    ece: float | None
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    videos: int
    weighted_f1: float
    """F1 weighted by how often each emotion occurs."""
    mean_average_precision: float | None
    """None where only names were predicted."""


def class_scores(
    truth: Mapping[str, str],
    predicted: Mapping[str, str | Mapping[str, float]],
    labels: Sequence[str] | None = None,
    bins: int = 15,
) -> ClassScores:
    """Scores of one predicted emotion a clip, by name or as {name: probability}, against the true name."""
    if truth.keys() != predicted.keys() or not truth:
        odd = sorted(map(str, truth.keys() ^ predicted.keys()))
        raise EmotionScoreError(_ONE_SIDE.format(len(odd), ", ".join(odd[:5])))
    names = {key: guess if isinstance(guess, str) else _likeliest(key, guess) for key, guess in predicted.items()}
    known = tuple(labels or sorted({*truth.values(), *names.values()}))
    for name in (*truth.values(), *names.values()):
        if name not in known:
            raise EmotionScoreError(unknown("emotion", name, known))
    place = {name: index for index, name in enumerate(known)}
    confusion = np.zeros((len(known), len(known)), dtype=int)
    for key, name in truth.items():
        confusion[place[name], place[names[key]]] += 1
    hits, true, called = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    there = true > 0
    recall = hits[there] / true[there]
    f1 = 2 * hits[there] / (true + called)[there]
    accuracy = float(hits.sum() / true.sum())
    sure = {key: guess for key, guess in predicted.items() if not isinstance(guess, str)}
    ece = _calibration(truth, sure, bins) if len(sure) == len(truth) else None
    whole = len(sure) == len(truth)
    return ClassScores(
        accuracy, float(recall.mean()), accuracy, float(f1.mean()), ece,
        known, tuple(tuple(row) for row in confusion.tolist()), len(truth),
        float((f1 * true[there]).sum() / true.sum()), _mean_average_precision(truth, sure, known) if whole else None,
    )  # fmt: skip


def _mean_average_precision(
    truth: Mapping[str, str], predicted: Mapping[str, Mapping[str, float]], known: Sequence[str]
) -> float:
    """Mean over the emotions that occur of the area under precision over recall."""
    from captioner.train.emotion.scores import mean_average_precision  # brings torch, which names alone do without

    probs = np.array([[predicted[key].get(name, 0.0) for name in known] for key in truth], dtype=float)
    wanted = np.array([[int(name == right) for name in known] for right in truth.values()])
    return mean_average_precision(probs, wanted)


def _likeliest(key: str, guess: Mapping[str, float]) -> str:
    values = list(guess.values())
    if not values or not all(isinstance(p, int | float) and 0 <= p <= 1 + 1e-6 for p in values):
        raise EmotionScoreError(f"emotion of {key!r}: given {dict(guess)!r:.60}, allowed {{name: 0 to 1}}")
    return max(guess, key=guess.__getitem__)


def _calibration(truth: Mapping[str, str], predicted: Mapping[str, Mapping[str, float]], bins: int) -> float:
    """Expected calibration error: |accuracy - confidence| of equal bins of confidence, weighted by clips."""
    confidence = np.array([max(predicted[key].values()) for key in truth], dtype=float)
    right = np.array([_likeliest(key, predicted[key]) == name for key, name in truth.items()], dtype=float)
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))
