"""How good beliefs are: accuracy, balanced scores, calibration, ranking; regression beside them.

Axes: N clips, C labels, R values.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 15  # of the calibration error
SINGLE = ("top1", "UAR", "WA-F1", "macro F1", "mAP", "ECE")
"""What `belief_scores` gives, in this order. WAR is top1 by another name."""

Floats = NDArray[np.float64]


def belief_scores(probs: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of beliefs (N, C) that sum to 1, with the right labels (N,).

    UAR: mean recall of the labels that occur; F1 of these, weighted by how often they do, and plain.
    """
    classes, said = probs.shape[1], probs.argmax(1)
    right = torch.bincount(truth[said == truth], minlength=classes).double()
    there, given = (torch.bincount(labels, minlength=classes).double() for labels in (truth, said))
    recall = right / there.clamp(min=1)
    f1 = 2 * right / (there + given).clamp(min=1)
    wanted = torch.nn.functional.one_hot(truth, classes).numpy()
    return {
        "top1": float((said == truth).double().mean()),
        "UAR": float(recall[there > 0].mean()),
        "WA-F1": float((f1 * there).sum() / there.sum()),
        "macro F1": float(f1[there > 0].mean()),
        "mAP": mean_average_precision(probs.double().numpy(), wanted),
        "ECE": calibration_error(probs, truth),
    }


def calibration_error(probs: Tensor, truth: Tensor) -> float:
    """Mean gap between confidence and accuracy over 15 equal steps of confidence, each by its clips (ECE)."""
    confidence, said = probs.max(1)
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64)
    gaps.index_add_(0, place, confidence.double() - (said == truth).double())
    return float(gaps.abs().sum() / len(truth))


def average_precision(scores: Floats, wanted: NDArray[np.int64]) -> float:
    """Area under precision over recall of scores (N,) for what is wanted (N,): a sum over thresholds, ties as one."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(wanted[order] > 0)
    last = np.append(np.diff(scores[order]) != 0, True)  # of each group of equal scores
    found, asked = hits[last], np.arange(1, len(scores) + 1)[last]
    gained = np.diff(np.append(0, found))
    return float((gained * found / asked).sum() / hits[-1])


def roc_auc(scores: Floats, wanted: NDArray[np.int64]) -> float:
    """Share of pairs, one wanted and one not, whose scores are in the right order; ties count half."""
    _, back, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[back]
    yes = int((wanted > 0).sum())
    no = len(wanted) - yes
    return float((ranks[wanted > 0].sum() - yes * (yes + 1) / 2) / (yes * no))


def mean_average_precision(probs: Floats, wanted: NDArray[np.int64]) -> float:
    """Mean over the labels that occur, of probabilities (N, C) and what is wanted (N, C)."""
    values = [average_precision(probs[:, c], wanted[:, c]) for c in range(probs.shape[1]) if wanted[:, c].any()]
    return float(np.mean(values)) if values else float("nan")


def several_scores(probs: Floats, wanted: NDArray[np.int64]) -> dict[str, float]:
    """mAP and AUC of labels that stand for themselves: probabilities (N, C) and what is wanted (N, C)."""
    mixed = [c for c in range(wanted.shape[1]) if 0 < wanted[:, c].sum() < len(wanted)]
    areas = [roc_auc(probs[:, c], wanted[:, c]) for c in mixed]
    return {
        "mAP": mean_average_precision(probs, wanted),
        "AUC": float(np.mean(areas)) if areas else float("nan"),
        "labels that occur": float(wanted.any(0).sum()),
    }


def regression_scores(said: Floats, wanted: Floats, names: tuple[str, ...]) -> dict[str, float]:
    """Of each value its error, correlation and share explained, and the mean share: said and wanted (N, R)."""
    scores = {}
    for place, name in enumerate(names):
        a, b = said[:, place], wanted[:, place]
        spread = float(((b - b.mean()) ** 2).sum())
        scores[f"{name} MSE"] = float(((a - b) ** 2).mean())
        scores[f"{name} PCC"] = float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0
        scores[f"{name} R2"] = 1 - float(((a - b) ** 2).sum()) / spread if spread > 0 else float("nan")
    scores["mean R2"] = float(np.mean([scores[f"{name} R2"] for name in names]))
    return scores
