"""Scores of beliefs: by hand, and beside scikit-learn's."""

import numpy as np
import pytest
import torch

from captioner.train.emotion.scores import (
    average_precision,
    belief_scores,
    calibration_error,
    regression_scores,
    roc_auc,
    several_scores,
)


def test_a_label_that_is_never_said_costs_recall_not_accuracy() -> None:
    truth = torch.tensor([0, 0, 0, 1])
    probs = torch.tensor([[0.9, 0.1, 0.0]] * 4)
    scores = belief_scores(probs, truth)
    assert scores["top1"] == 0.75 and scores["UAR"] == 0.5
    assert scores["macro F1"] == pytest.approx((6 / 7 + 0) / 2) and scores["WA-F1"] == pytest.approx(6 / 7 * 0.75)
    assert scores["ECE"] == pytest.approx(0.15)
    assert calibration_error(torch.tensor([[1.0, 0.0]]), torch.tensor([0])) == 0


def test_scores_are_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra eval")
    draw = np.random.default_rng(0)
    probs = torch.from_numpy(draw.dirichlet(np.ones(5), 80).round(2)).float()  # rounded: many ties
    truth = torch.from_numpy(draw.integers(0, 4, 80))  # one label never occurs
    scores, said = belief_scores(probs, truth), probs.argmax(1)
    kinds = {"macro F1": "macro", "WA-F1": "weighted"}
    for name, average in kinds.items():
        wanted_f1 = metrics.f1_score(truth, said, labels=[0, 1, 2, 3], average=average)
        assert scores[name] == pytest.approx(wanted_f1)
    assert scores["UAR"] == pytest.approx(metrics.recall_score(truth, said, labels=[0, 1, 2, 3], average="macro"))
    wanted = draw.integers(0, 2, (80, 5))
    values = probs.double().numpy()
    both = several_scores(values, wanted)
    assert both["mAP"] == pytest.approx(metrics.average_precision_score(wanted, values, average="macro"))
    assert both["AUC"] == pytest.approx(metrics.roc_auc_score(wanted, values, average="macro"))
    assert average_precision(values[:, 0], wanted[:, 0]) == pytest.approx(
        metrics.average_precision_score(wanted[:, 0], values[:, 0])
    )
    assert roc_auc(values[:, 0], wanted[:, 0]) == pytest.approx(metrics.roc_auc_score(wanted[:, 0], values[:, 0]))
    said_values, real = draw.normal(size=(80, 3)), draw.normal(size=(80, 3))
    errors = regression_scores(said_values, real, ("valence", "arousal", "dominance"))
    assert errors["mean R2"] == pytest.approx(metrics.r2_score(real, said_values))
    assert errors["arousal MSE"] == pytest.approx(metrics.mean_squared_error(real[:, 1], said_values[:, 1]))


def test_labels_that_always_or_never_occur_have_no_area() -> None:
    wanted = np.array([[1, 0, 1], [1, 0, 0]])
    scores = several_scores(np.array([[0.5, 0.2, 0.9], [0.5, 0.2, 0.1]]), wanted)
    assert scores["AUC"] == 1.0 and scores["mAP"] == 1.0 and scores["labels that occur"] == 2
