"""BLEU-1..4, METEOR, ROUGE-L and CIDEr of a set of captions, equal to the COCO caption toolkit's numbers."""

import logging
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from captioner.errors import CaptionerError, unknown
from eval import meteor, ngrams
from eval.tokenize import one_line, tokenize

METRICS = ("bleu", "meteor", "rouge", "cider")
NAMES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")

_log = logging.getLogger(__name__)


class ScoreError(CaptionerError):
    """References and hypotheses that cannot be scored together."""


@dataclass(frozen=True)
class CaptionScores:
    """Results of one evaluation, raw scale: 0..1, CIDEr 0..10.

    corpus {metric: value}; per_video {id: {metric: value}}; skipped {metric: why}.
    statistics {"BLEU" | "METEOR" | "ROUGE-L" | "CIDEr": (V, k)}, rows as in per_video, for eval.significance.
    """

    corpus: dict[str, float]
    per_video: dict[str, dict[str, float]]
    skipped: dict[str, str]
    references: int
    statistics: dict[str, np.ndarray] = field(repr=False, compare=False)


def score_captions(
    refs: Mapping[str, Sequence[str]], hyps: Mapping[str, str], metrics: Sequence[str] = METRICS
) -> CaptionScores:
    """The chosen metrics of one hypothesis a video against that video's references; ids must match."""
    for name in metrics:
        if name not in METRICS:
            raise ScoreError(unknown("metric", name, METRICS))
    check_pairs(refs, hyps)
    return score_tokens(list(refs), *tokenize_pairs(refs, hyps), metrics)


def score_tokens(
    ids: Sequence[str],
    references: Sequence[Sequence[str]],
    hypotheses: Sequence[str],
    metrics: Sequence[str] = METRICS,
) -> CaptionScores:
    """As `score_captions`, of captions that are tokens already, joined by single spaces, in the order of `ids`."""
    skipped: dict[str, str] = {}
    statistics: dict[str, np.ndarray] = {}
    if "bleu" in metrics or "cider" in metrics:
        table = ngrams.count_ngrams(references, hypotheses)
        if "bleu" in metrics:
            statistics["BLEU"] = ngrams.bleu_statistics(table)
        if "cider" in metrics:
            statistics["CIDEr"] = ngrams.cider(table)[:, None]
            if len(ids) == 1:
                _log.warning("CIDEr of a single video is 0: words get their weight from how few videos have them")
    if "rouge" in metrics:
        statistics["ROUGE-L"] = ngrams.rouge(references, hypotheses)[:, None]
    if "meteor" in metrics:
        try:
            statistics["METEOR"] = meteor.meteor_statistics(references, hypotheses)
        except CaptionerError as error:
            skipped["METEOR"] = str(error)
            _log.warning("METEOR skipped: %s", error)
    return _scores(ids, statistics, skipped, sum(map(len, references)))


def tokenize_pairs(refs: Mapping[str, Sequence[str]], hyps: Mapping[str, str]) -> tuple[list[list[str]], list[str]]:
    """PTB tokens of references (by video) and hypotheses, each caption one string, in the order of `refs`."""
    flat = iter(tokenize([one_line(caption) for captions in refs.values() for caption in captions]))
    references = [[next(flat) for _ in captions] for captions in refs.values()]
    return references, tokenize([one_line(hyps[key]) for key in refs])


def check_pairs(refs: Mapping[str, Sequence[str]], hyps: Mapping[str, str]) -> None:
    """Raises ScoreError unless every video has references and exactly one hypothesis, all of them text."""
    if not refs:
        raise ScoreError("no references given: nothing to score")
    missing = [key for key in refs if key not in hyps]
    extra = [key for key in hyps if key not in refs]
    if missing:
        raise ScoreError(f"{_some(missing)} of {len(refs)} videos lack a hypothesis; give one for each")
    if extra:
        raise ScoreError(f"{_some(extra)} of {len(hyps)} hypotheses lack references; drop or add")
    for key, captions in refs.items():
        if isinstance(captions, str) or not isinstance(captions, Sequence) or not captions:
            raise ScoreError(f"references of {key!r}: given {reprlib.repr(captions)}, allowed a list of texts")
        for caption in captions:
            _check_text(key, caption, "reference")
    for key, caption in hyps.items():
        _check_text(key, caption, "hypothesis")
    empty = [key for key, caption in hyps.items() if not caption.strip()]
    if empty:
        _log.warning("%s of %d hypotheses are empty and score 0", _some(empty), len(hyps))


def values(kind: str, sums: np.ndarray, videos: int = 1) -> dict[str, np.ndarray]:
    """Metric values, {metric: (...)}, of statistics of one kind summed over so many videos, (..., k)."""
    if kind == "BLEU":
        bleu = ngrams.bleu(sums)
        return {f"BLEU-{order + 1}": bleu[..., order] for order in range(ngrams.ORDERS)}
    if kind == "METEOR":
        return {kind: meteor.meteor_scores(sums)}
    return {kind: sums[..., 0] / videos}


def addends(kind: str, statistics: np.ndarray) -> np.ndarray:
    """The statistics (V, k) in the form in which they add up to those of a corpus."""
    return meteor.summable(statistics) if kind == "METEOR" else statistics


def _scores(
    ids: Sequence[str], statistics: dict[str, np.ndarray], skipped: dict[str, str], references: int
) -> CaptionScores:
    total: dict[str, float] = {}
    single: dict[str, np.ndarray] = {}
    for kind, rows in statistics.items():
        sums = addends(kind, rows).sum(0)
        total |= {name: float(value) for name, value in values(kind, sums, len(ids)).items()}
        single |= values(kind, rows)
    names = [name for name in NAMES if name in total]
    columns = [single[name].tolist() for name in names]
    per_video = {key: dict(zip(names, row, strict=True)) for key, *row in zip(ids, *columns, strict=True)}
    return CaptionScores({name: total[name] for name in names}, per_video, skipped, references, statistics)


def _check_text(key: str, caption: object, kind: str) -> None:
    if not isinstance(caption, str):
        raise ScoreError(f"{kind} of {key!r}: given {type(caption).__name__} {reprlib.repr(caption)}, allowed text")


def _some(ids: Sequence[str]) -> str:
    """'3 (a, b, c)', with at most five ids named."""
    shown = [str(key) if str(key).isprintable() else repr(key) for key in ids[:5]]
    return f"{len(ids)} ({', '.join(shown)}{', ...' if len(ids) > 5 else ''})"
