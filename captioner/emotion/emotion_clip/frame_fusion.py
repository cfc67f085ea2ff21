"""From the features of a clip's frames to the clip's: (B, T, E) -> (B, E). Parts are named as released."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captioner.emotion.emotion_clip.emotion_clip_config import FrameFusionConfig


class FrameFusion(nn.Module):
    """A transformer over placed frames, normalised behind each sum, with the unplaced frames added; then their mean."""

    def __init__(self, config: FrameFusionConfig, width: int, frames: int) -> None:
        super().__init__()
        self.residual = config.residual
        layer = nn.TransformerEncoderLayer(
            width, config.heads, config.hidden, config.dropout, "gelu", batch_first=True, norm_first=False
        )
        self.fusion_layer = nn.TransformerEncoder(
            layer, config.layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.frame_position_embedding = nn.Embedding(frames, width)

    def forward(self, x: Tensor) -> Tensor:
        placed = x + self.frame_position_embedding.weight
        fused: Tensor = self.fusion_layer(placed)
        return (fused + x if self.residual else fused).mean(1)


class FrameMean(nn.Module):
    """The mean over frames."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class FrameConvolution(nn.Module):
    """A filter of three frames for each channel, without padding; then the mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fusion_layer = nn.Conv1d(width, width, 3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.fusion_layer(x.transpose(1, 2))
        return fused.mean(-1)


def build_fusion(config: FrameFusionConfig, width: int, frames: int) -> nn.Module:
    """The configured way from frames to a clip, with random weights."""
    if config.kind == "mean":
        return FrameMean()
    return FrameConvolution(width) if config.kind == "conv_1d" else FrameFusion(config, width, frames)


def frames_of(features: Tensor, frames: int) -> Tensor:
    """Features (B, T, E) of any number of frames as those of `frames` evenly spread ones."""
    if features.shape[1] == frames:
        return features
    places = torch.linspace(0, features.shape[1] - 1, frames, device=features.device).round().long()
    return features[:, places]
