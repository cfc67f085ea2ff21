"""What every recogniser of emotion returns, and how labels of two systems meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from captioner.errors import ConfigError

BeliefKind = Literal["single", "several"]


@dataclass(frozen=True)
class EmotionBelief:
    """Label names, their probabilities (B, C), and the features (B, D) that they were read from.

    kind: `single` sums to 1, of `several` each label stands for itself. heard, read (B,): whether there was sound, and
    whether there were words, that the recogniser listens to.
    """

    labels: tuple[str, ...]
    probs: Tensor
    features: Tensor
    kind: BeliefKind = "single"
    heard: Tensor | None = None
    read: Tensor | None = None

    def aligned(self, labels: Sequence[str], names: Mapping[str, str] | None = None) -> EmotionBelief:
        """The same belief with its columns in the order of `labels`, which must be the same names.

        names: what a label of this belief is called there. Several may share one name, which then has their sum; a
        label that none is called has probability 0.
        """
        if not names:
            places = match_labels(self.labels, labels)
            return replace(self, labels=tuple(labels), probs=self.probs[:, places])
        columns = renamed_columns(self.labels, labels, names)
        table = torch.zeros(len(self.labels), len(labels), dtype=self.probs.dtype, device=self.probs.device)
        table[range(len(columns)), columns] = 1.0
        return replace(self, labels=tuple(labels), probs=self.probs @ table)

    def single(self) -> EmotionBelief:
        """Itself, if it sums to 1; else a ConfigError: what stands for itself cannot be mixed with other beliefs."""
        if self.kind != "single":
            raise ConfigError(
                f"the recogniser judges each of [{', '.join(self.labels)}] for itself (kind 'several'), a captioner's "
                f"prior must choose among them: train it with single labels"
            )
        return self

    def sorted_labels(self, row: int = 0) -> list[tuple[str, float]]:
        """Labels and probabilities of one clip, the likeliest first."""
        pairs = zip(self.labels, self.probs[row].tolist(), strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])


def match_labels(given: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where each wanted label stands among the given ones; two different sets are an error that lists both."""
    if set(given) != set(wanted) or len(given) != len(wanted):
        lacking = ", ".join(sorted(set(wanted) - set(given))) or "none"
        raise ConfigError(
            f"the emotion prior knows [{', '.join(given)}], the captioner needs [{', '.join(wanted)}] "
            f"(lacking: {lacking}): set model.labels to the prior's, train a prior on the captioner's, or say which "
            f"is which in model.emotion_prior_labels_as"
        )
    return [list(given).index(label) for label in wanted]


def renamed_columns(given: Sequence[str], wanted: Sequence[str], names: Mapping[str, str]) -> list[int]:
    """For each given label the place of what it is called among the wanted ones; a name of neither is an error."""
    strange = sorted(set(names) - set(given))
    if strange:
        raise ConfigError(
            f"model.emotion_prior_labels_as names {strange[0]!r}, which the prior does not know: it has "
            f"[{', '.join(given)}]"
        )
    for label in given:
        if names.get(label, label) not in wanted:
            raise ConfigError(
                f"the prior's label {label!r} is none of the captioner's [{', '.join(wanted)}]: give it one of them in "
                f"model.emotion_prior_labels_as"
            )
    return [list(wanted).index(names.get(label, label)) for label in given]
