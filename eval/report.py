"""The one evaluation: every metric asked for of a set of captions, intervals, blind baselines, what was skipped.

The commands of `python -m eval`, the benchmarks, the scores of a checkpoint and the ablations all call `evaluate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np

from eval.emotion import class_scores, emotion_word_scores, phrase_baselines, phrase_counts, phrase_scores
from eval.metrics import METRICS, score_captions
from eval.significance import PHRASES, Interval, intervals

CHOICES = (*METRICS, "phrases", "words", "classes")
DEFAULT = (*METRICS, "phrases")
WORD_NAMES = {"acc_sw": "Acc_sw", "acc_c": "Acc_c", "bfs": "BFS", "cfs": "CFS"}
CLASS_NAMES = {"accuracy": "Accuracy", "uar": "UAR", "war": "WAR", "macro_f1": "Macro-F1", "ece": "ECE"}
CLASS_NAMES |= {"weighted_f1": "WA-F1", "mean_average_precision": "mAP"}
NO_PHRASES = "Phrases"  # the name under which `skipped` tells that no reference names one

WordForm = Literal["strict", "compat"]


@dataclass(frozen=True)
class EmotionPairs:
    """The true emotion of clips, and of each the one predicted: a name, or {name: probability}."""

    truth: Mapping[str, str]
    predicted: Mapping[str, str | Mapping[str, float]]
    labels: Sequence[str] | None = None


@dataclass
class Evaluation:
    """What captions score, raw scale.

    statistics: rows as in per_video, from which intervals and paired tests follow; details: words, classes and
    phrases with their counts, and `blind`: the phrase F1 of captions that never saw the video.
    """

    values: dict[str, float]
    per_video: dict[str, dict[str, float]]
    statistics: dict[str, np.ndarray]
    skipped: dict[str, str]
    videos: int
    references: int
    intervals: dict[str, Interval] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


def evaluate(
    refs: Mapping[str, Sequence[str]],
    hyps: Mapping[str, str],
    asked: Sequence[str] = DEFAULT,
    *,
    emotions: EmotionPairs | None = None,
    word_forms: Sequence[WordForm] = ("strict",),
    train: Sequence[Sequence[str]] = (),
    samples: int = 0,
    seed: int = 0,
) -> Evaluation:
    """The metrics asked for (of CHOICES) of one caption a video against that video's references.

    emotions: for "classes"; train: captions of training clips, for blind baselines of "phrases"; samples: of the
    bootstrap behind the intervals, 0 for none.
    """
    found = score_captions(refs, hyps, [name for name in METRICS if name in asked])
    result = Evaluation(
        dict(found.corpus), found.per_video, dict(found.statistics), dict(found.skipped), len(refs), found.references
    )
    if "phrases" in asked:
        _add_phrases(result, refs, hyps, train)
    if "words" in asked:
        _add_words(result, refs, hyps, word_forms)
    if "classes" in asked and emotions is not None:
        result.details["classes"] = classes = asdict(class_scores(emotions.truth, emotions.predicted, emotions.labels))
        result.values |= {name: classes[key] for key, name in CLASS_NAMES.items() if classes[key] is not None}
    if samples and result.statistics:
        result.intervals = intervals(result.statistics, samples, seed=seed)
    return result


def validation_scores(refs: Mapping[str, Sequence[str]], hyps: Mapping[str, str]) -> dict[str, float]:
    """What a training run validates by: the fast caption metrics and the facial-phrase F1."""
    scores = evaluate(refs, hyps, ("bleu", "rouge", "cider")).values
    return scores | {"phrase F1": phrase_scores(refs, hyps).f1}


def _add_phrases(
    result: Evaluation,
    refs: Mapping[str, Sequence[str]],
    hyps: Mapping[str, str],
    train: Sequence[Sequence[str]],
) -> None:
    phrases = phrase_scores(refs, hyps)
    result.details["phrases"] = asdict(phrases)
    if not phrases.wanted:
        result.skipped[NO_PHRASES] = "no reference names a facial phrase"
        return
    result.values |= {"Phrase P": phrases.precision, "Phrase R": phrases.recall, PHRASES: phrases.f1}
    result.statistics[PHRASES] = phrase_counts(refs, hyps)
    if train:
        result.details["blind"] = {name: blind.f1 for name, blind in phrase_baselines(train, refs).items()}


def _add_words(
    result: Evaluation, refs: Mapping[str, Sequence[str]], hyps: Mapping[str, str], forms: Sequence[WordForm]
) -> None:
    """Of one form under plain names, of several with the form behind each name."""
    scores = {form: asdict(emotion_word_scores(refs, hyps, form)) for form in forms}
    alone = len(forms) == 1
    result.details["words"] = scores[forms[0]] if alone else scores
    for form, row in scores.items():
        result.values |= {name if alone else f"{name} {form}": row[key] for key, name in WORD_NAMES.items()}


def about_evaluation(result: Evaluation) -> dict[str, Any]:
    """What a number needs beside it: how much was scored, by which code."""
    return {
        "videos": result.videos,
        "references": result.references,
        "tokeniser": "PTB of CoreNLP 3.4.1, lower case, without punctuation",
        "versions": {name: _version(name) for name in ("captioner", "pycocoevalcap")},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
