"""What every recogniser of emotion returns, and how labels of two systems meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captioner.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EmotionBelief:
    """Label names, their probabilities (B, C), and the features (B, D) that they were read from."""

    labels: tuple[str, ...]
    probs: Tensor
    features: Tensor

    def aligned(self, labels: Sequence[str]) -> EmotionBelief:
        """The same belief with its columns in the order of `labels`, which must be the same names."""
        places = match_labels(self.labels, labels)
        return EmotionBelief(tuple(labels), self.probs[:, places], self.features)


def match_labels(given: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where each wanted label stands among the given ones; two different sets are an error that lists both."""
    if set(given) != set(wanted) or len(given) != len(wanted):
        lacking = ", ".join(sorted(set(wanted) - set(given))) or "none"
        raise ConfigError(
            f"the emotion prior knows [{', '.join(given)}], the captioner needs [{', '.join(wanted)}] "
            f"(lacking: {lacking}): set model.labels to the prior's, or train a prior on the captioner's"
        )
    return [list(given).index(label) for label in wanted]
