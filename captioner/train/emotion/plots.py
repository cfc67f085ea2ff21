"""Pictures of a finished protocol: the confusion matrix, and t-SNE with the silhouette. Needs the extra `eval`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from captioner.errors import ConfigError
from captioner.train.figures import new_figure, save_figure

PACKAGES = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}
LEAST = 4  # points below which t-SNE and the silhouette mean nothing


def lacking() -> str:
    """One line on what is not installed; empty when plots can be made."""
    absent = [name for module, name in PACKAGES.items() if find_spec(module) is None]
    if not absent:
        return ""
    return f"plots need {' and '.join(absent)}: pip install 'captioner[eval]', or set train.plots=never"


def check_plots() -> None:
    """Raises ConfigError unless plots can be made."""
    fault = lacking()
    if fault:
        raise ConfigError(fault)


def confusion_plot(path: Path, counts: np.ndarray, labels: Sequence[str], title: str) -> None:
    """Counts (K, K), rows the truth, as percentages of each row."""
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 1.5 + 0.6 * len(labels)
    figure, axes = new_figure(side + 1, side)
    image = axes.imshow(shares, vmin=0, vmax=100, cmap="Blues")
    for row, column in np.ndindex(*shares.shape):
        colour = "white" if shares[row, column] > 50 else "black"
        axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="truth", title=title)
    figure.colorbar(image, label="% of the truth", fraction=0.046)
    save_figure(figure, path)


def silhouette(features: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean silhouette of features (N, D) by label with cosine distances; None for too few points or one label."""
    if len(features) < LEAST or not 2 <= len(set(labels.tolist())) < len(features):
        return None
    check_plots()
    score = import_module("sklearn.metrics").silhouette_score
    return float(score(features, labels, metric="cosine"))


def tsne_plot(path: Path, features: np.ndarray, labels: np.ndarray, names: Sequence[str], title: str) -> None:
    """Features (N, D) in the plane, coloured by label; the plane is for looking, scores are of the features."""
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = import_module("sklearn.manifold").TSNE(
        2, perplexity=perplexity, init="pca", random_state=0, metric="cosine", learning_rate="auto"
    )
    plane = tsne.fit_transform(features)
    figure, axes = new_figure(6.0, 6.0)
    colours = import_module("matplotlib").colormaps["tab20"]
    for place, name in enumerate(names):
        chosen = labels == place
        axes.scatter(*plane[chosen].T, s=12, label=name, color=colours(place % 20))
    axes.set(xticks=[], yticks=[], title=title)
    axes.legend(fontsize=7, loc="best")
    save_figure(figure, path)
