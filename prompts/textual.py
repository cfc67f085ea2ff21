"""Textual emotion prompts (TEP): the soft [CLASS-k] token, sentence features, word features (eqs 6, 7).

Axes: B clips, J text pieces, C emotions, D width of the captioner.
"""

import torch
from torch import Tensor, nn


class TextualPrompts(nn.Module):
    """Class tokens weighted by an emotion belief, and caption features in the captioner's width.

    The label never chooses the token and no caption feature enters the fusion: nothing leaks.
    """

    def __init__(self, text_width: int, width: int, classes: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(classes, width)
        nn.init.normal_(self.classes.weight, std=0.02)
        self.belief = nn.Linear(width, classes)
        self.sentence = nn.Linear(text_width, width)
        self.word = nn.Linear(text_width, width)

    def class_token(self, probs: Tensor) -> Tensor:
        """sum_k p_k [CLASS-k]: (B, C) -> (B, 1, D)."""
        return (probs @ self.classes.weight)[:, None]

    def sentence_feature(self, features: Tensor, mask: Tensor, class_token: Tensor) -> Tensor:
        """P_S = F_T (+) [CLASS-k], pooled over the words in `mask` (B, J) and the appended token: (B, D)."""
        words = self.sentence(features) * mask[..., None]
        pooled: Tensor = (words.sum(1) + class_token[:, 0]) / (mask.sum(1, keepdim=True) + 1)
        return pooled

    def word_features(self, features: Tensor) -> Tensor:
        """P_W without its masked places, which the caller leaves out of matching: (B, J, text) -> (B, J, D)."""
        words: Tensor = self.word(features)
        return words


def hide_words(valid: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Word-level [MASK]: `valid` (B, J) with a random share of its words taken out, at least one left in each row."""
    draw = torch.rand(valid.shape, generator=generator, device=valid.device)
    kept = valid & (draw >= share)
    best = draw.masked_fill(~valid, -1.0).argmax(1, keepdim=True)
    return kept | (torch.zeros_like(valid).scatter(1, best, True) & valid)
