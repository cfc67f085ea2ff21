"""Sentiment-guided contrast: other clips whose words have the same sentiment are no negatives.

    w_ij = beta / KL(s_i || s_j),  w_ii = 0
    SNCE(v, t) = -sum_i log exp(v_i t_i / tau) / sum_j exp(v_i t_j / tau - w_ij)

The loss is the mean of both directions. The released code takes KL(s_j || s_i) and computes in 16 bits, where equal
scores give any weight at all; here all is 32 bits and finite, and beta 0 is the plain contrast (InfoNCE).

Axes: B clips, E width of the shared space, M sentiments.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_KL = 1e-6
LARGEST = 1e4  # far above any logit (100), below what 16 bits hold
Direction = Literal["paper", "released"]


def sentiment_weights(logits: Tensor, beta: float, direction: Direction = "paper") -> Tensor:
    """Weights (B, B) from sentiment logits (B, M); 0 on the diagonal."""
    if beta == 0:
        return torch.zeros(len(logits), len(logits), device=logits.device)
    with torch.autocast(logits.device.type, enabled=False):
        logs = logits.float().log_softmax(-1)
        kl = (logs.exp()[:, None] * (logs[:, None] - logs)).sum(-1)  # [i, j]: KL(s_i || s_j)
        kl = kl if direction == "paper" else kl.T
        weights = (beta / kl.clamp(min=LEAST_KL)).clamp(max=LARGEST)
        return weights.fill_diagonal_(0.0)


def snce_loss(videos: Tensor, texts: Tensor, scale: Tensor | float, weights: Tensor) -> Tensor:
    """The loss of unit vectors (B, E) of clips and of their texts, logits scaled, weights (B, B)."""
    with torch.autocast(videos.device.type, enabled=False):
        logits = scale * videos.float() @ texts.float().T
        own = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits - weights, own) + F.cross_entropy(logits.T - weights, own)) / 2
