"""Each modality as tokens of one width: frames of sound, frame features, or ready features of a file. RECONSTRUCTED.

Axes: B clips, n tokens, T pictures, F frames, C numbers of a frame, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.mer_clip.label_queries import Tokens

FARTHEST = 10.0  # standard deviations from the mean that a ready feature may have


class SoundEncoder(nn.Module):
    """Frames (B, F, C) -> tokens (B, n, W), and which of them are sound (B, n)."""

    def __init__(self, width: int, bands: int, stride: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        self.join = nn.Conv1d(bands, width, 2 * stride - 1, stride=stride, padding=stride - 1)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(_layer(width, heads, dropout) for _ in range(layers))

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(F.gelu(self.join(frames.transpose(1, 2)).transpose(1, 2)))
        mask = torch.arange(x.shape[1], device=x.device) < (lengths[:, None] / self.stride).ceil().clamp(min=1)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~mask)
        return x, mask


class PictureEncoder(nn.Module):
    """Frame features (B, T, W) -> tokens (B, T, W), with learned places in time."""

    def __init__(self, width: int, frames: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(frames, width) * 0.02)
        self.layers = nn.ModuleList(_layer(width, heads, dropout) for _ in range(layers))

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        x = features + self.places
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=None if mask is None else ~mask)
        return x


class ReadyEncoder(nn.Module):
    """Ready features (B, F, C), frames of zeros for what is not there, -> tokens (B, F, W).

    They are measured in the training clips' own mean and spread, which `settle` sets and the weights keep.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, frames: int, channels: int, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))
        self.join = nn.Linear(channels, width)
        self.pictures = PictureEncoder(width, frames, layers, heads, dropout)

    def settle(self, mean: Tensor, spread: Tensor) -> None:
        """Take the mean (C,) and the spread (C,) of frames that are there; what never changes stays 0."""
        self.mean.copy_(mean)
        self.spread.copy_(torch.where(spread > 1e-6, spread, torch.full_like(spread, float("inf"))))

    def forward(self, features: Tensor) -> Tokens:
        mask = features.abs().amax(-1) > 0
        present = mask.any(1)
        scaled = ((features - self.mean) / self.spread).clamp(-FARTHEST, FARTHEST)
        # a clip without any frame must not be hidden whole; its queries stay as they are
        states = self.pictures(self.join(scaled), mask | ~present[:, None])
        return Tokens(states, mask, present)


def _layer(width: int, heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
    )
