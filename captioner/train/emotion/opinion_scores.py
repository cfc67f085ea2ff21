"""Scores of opinions from -3 to 3, as papers on CMU-MOSI and CMU-MOSEI report them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.data.manifest import Record

Floats = NDArray[np.float64]


def opinions_of(config: Any, probs: Tensor, records: Sequence[Record]) -> dict[str, float]:
    """Scores of the numbers that beliefs (N, K) in labels of known values come to."""
    said = (probs.double() @ torch.tensor(config.answer.values, dtype=torch.float64)).numpy()
    return opinion_scores(said, np.array([float(record.extra["value"]) for record in records]))


def opinion_scores(said: Floats, wanted: Floats) -> dict[str, float]:
    """MAE, correlation, accuracy of seven bins, of two classes and their F1: negative against the rest, and against
    positive where the truth is not 0."""
    there = wanted != 0
    scores = {
        "MAE": float(np.abs(said - wanted).mean()),
        "corr": float(np.corrcoef(said, wanted)[0, 1]) if said.std() > 0 and wanted.std() > 0 else 0.0,
        "Acc-7": float((_bins(said) == _bins(wanted)).mean()),
        "Acc-2 non-negative": float(((said >= 0) == (wanted >= 0)).mean()),
        "F1 non-negative": _weighted_f1(said >= 0, wanted >= 0),
    }
    if there.any():
        scores["Acc-2 positive"] = float(((said[there] > 0) == (wanted[there] > 0)).mean())
        scores["F1 positive"] = _weighted_f1(said[there] > 0, wanted[there] > 0)
    return scores


def _bins(values: Floats) -> Floats:
    binned: Floats = np.clip(np.round(values), -3, 3)
    return binned


def _weighted_f1(said: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    """F1 of both classes, weighted by how often they occur."""
    total = 0.0
    for side in (True, False):
        hits = float(((said == side) & (wanted == side)).sum())
        both = float((said == side).sum() + (wanted == side).sum())
        total += (2 * hits / both if both else 0.0) * float((wanted == side).mean())
    return total
