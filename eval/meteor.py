"""METEOR 1.5 (English, the toolkit's settings) without Java: equal to the jar, statistic by statistic."""

import zipfile
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np

from eval.align import ALPHA, BETA, DELTA, GAMMA, WEIGHTS, Aligner, Paraphrases
from eval.lexical import meteor_lexicon, paraphrases
from eval.normalize import normalize
from eval.toolkit import METEOR, PARAPHRASES, ToolkitError, toolkit_file


def meteor_statistics(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> np.ndarray:
    """The 23 METEOR statistics of each video's best reference, (V, 23), from tokenised captions."""
    try:
        return _statistics(references, hypotheses)
    except (zlib.error, zipfile.BadZipFile) as error:
        raise ToolkitError(
            f"a file of pycocoevalcap is damaged ({error}): pip install --force-reinstall pycocoevalcap"
        ) from None


def _statistics(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> np.ndarray:
    known = meteor_lexicon(toolkit_file(METEOR))

    @cache
    def words(caption: str) -> tuple[str, ...]:
        return tuple(normalize(caption, known.abbreviations).split())

    # The toolkit takes its field separator out of hypotheses.
    said = [words(caption.replace("|||", "").replace("  ", " ")) for caption in hypotheses]
    meant = [[words(caption) for caption in captions] for captions in references]
    entries = paraphrases(toolkit_file(PARAPHRASES), said, {caption for row in meant for caption in row})
    aligner = Aligner(known, Paraphrases(entries), {word for caption in said for word in caption})
    rows = [aligner.best(caption, captions) for caption, captions in zip(said, meant, strict=True)]
    return np.array(rows, dtype=float).reshape(-1, 23)


def meteor_scores(statistics: np.ndarray) -> np.ndarray:
    """METEOR of statistics (..., 23), shape (...)."""
    length, ref_length, function, ref_function = (statistics[..., k] for k in range(4))
    content, ref_content, func, ref_func = (_stages(statistics)[..., k] @ np.array(WEIGHTS) for k in range(4))
    chunks, matches, ref_matches = (statistics[..., k] for k in (20, 21, 22))
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = _share(content, func, length, function)
        recall = _share(ref_content, ref_func, ref_length, ref_function)
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        fragmentation = np.where(_whole(statistics), 0.0, chunks / ((matches + ref_matches) / 2))
        value = mean * (1 - GAMMA * fragmentation**BETA)
    scores: np.ndarray = np.maximum(np.nan_to_num(value, nan=0.0), 0.0)
    return scores


def summable(statistics: np.ndarray) -> np.ndarray:
    """The statistics as the jar adds them up: a caption that matches as a whole adds no chunk."""
    added = statistics.copy()
    added[_whole(statistics), 20] = 0
    return added


def _share(content: np.ndarray, function: np.ndarray, words: np.ndarray, function_words: np.ndarray) -> np.ndarray:
    """Share of the words that match, content words weighing DELTA and function words 1 - DELTA."""
    all_words = DELTA * (words - function_words) + (1 - DELTA) * function_words
    share: np.ndarray = (DELTA * content + (1 - DELTA) * function) / all_words
    return share


def _stages(statistics: np.ndarray) -> np.ndarray:
    """Matches (..., stage, k); k = content words of hypothesis and reference, function words of both."""
    return statistics[..., 4:20].reshape(*statistics.shape[:-1], 4, 4)


def _whole(statistics: np.ndarray) -> np.ndarray:
    """Where every word of both sides is matched in one chunk, (...) bool."""
    matched = _stages(statistics).sum(-2)
    all_words = matched[..., 0] + matched[..., 2] == statistics[..., 0]
    all_reference = matched[..., 1] + matched[..., 3] == statistics[..., 1]
    whole: np.ndarray = all_words & all_reference & (statistics[..., 20] == 1)
    return whole
