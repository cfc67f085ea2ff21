"""EP-CE: cross-entropy in which an answer of the wrong polarity weighs more (equation 15)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.av_canet.av_canet_config import POLARITIES, PolarityLossConfig, polarity_ids


class PolarityLoss(nn.Module):
    """Logits (B, K), label indices (B,) -> the mean of (1 + gamma of the true polarity, where it is missed) * CE."""

    def __init__(self, labels: Sequence[str], config: PolarityLossConfig) -> None:
        super().__init__()
        plain = config.kind == "ce"
        ids = [0] * len(labels) if plain else polarity_ids(labels, config)
        gammas = [0.0 if plain else float(getattr(config, f"gamma_{name}")) for name in POLARITIES]
        # nothing to be saved with the weights: the configuration says it
        self.register_buffer("polarity", torch.tensor(ids), persistent=False)
        self.register_buffer("gamma", torch.tensor(gammas), persistent=False)

    def weights(self, logits: Tensor, labels: Tensor) -> Tensor:
        """1, or 1 + gamma where the likeliest label has another polarity than the right one: (B,)."""
        polarity: Tensor = self.polarity  # type: ignore[assignment]
        gamma: Tensor = self.gamma  # type: ignore[assignment]
        true, said = polarity[labels], polarity[logits.detach().argmax(1)]
        return 1 + gamma[true] * (true != said)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        costs = F.cross_entropy(logits.float(), labels, reduction="none")
        return (self.weights(logits, labels) * costs).mean()
