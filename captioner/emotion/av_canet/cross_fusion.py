"""From the pyramid's levels to one answer: selective integration, global fusion (GLCF), heads; and what LGF is
compared with.

Axes: B clips, s snippets, L levels, W width, K labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captioner.emotion.av_canet.av_canet_config import AVFusionConfig
from captioner.emotion.av_canet.pyramid import AttentiveBlock, Pyramid


class SelectiveIntegration(nn.Module):
    """Levels (B, s, L, W) of both streams -> (B, s, W): each level by a weight, which the other stream adjusts.

    Equations 10 and 11. `released`: the block of one channel normalises its query, which is 0 then; the adjustment
    knows nothing of the weights that it adjusts.
    """

    def __init__(self, width: int, released: bool) -> None:
        super().__init__()
        self.audio_score, self.video_score = nn.Linear(width, 1), nn.Linear(width, 1)
        self.adjust = AttentiveBlock(1, 1, 1, 0.0, normed=released)

    def weights(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """The weights (B, s, L, 1) of each stream's levels; they need not sum to 1 and may be negative."""
        a, v = self.audio_score(audio).sigmoid(), self.video_score(video).sigmoid()
        rows_a, rows_v = a.flatten(0, 1), v.flatten(0, 1)  # (B s, L, 1)
        return self.adjust(rows_a, rows_v).view_as(a), self.adjust(rows_v, rows_a).view_as(v)

    def forward(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        a, v = self.weights(audio, video)
        return (a * audio).sum(2), (v * video).sum(2)


class GlobalFusion(nn.Module):
    """GLCF: each stream looks at all of the other through one attention; then the mean over snippets (eq 12, 13)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=0.1, batch_first=True)
        self.audio_out, self.video_out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        from_video = self.attention(audio, video, video, need_weights=False)[0]
        from_audio = self.attention(video, audio, audio, need_weights=False)[0]
        return (self.audio_out(from_video) + audio).mean(1), (self.video_out(from_audio) + video).mean(1)


class LocalGlobalFusion(nn.Module):
    """LGF: pyramid, integration, global fusion; either half may be left out (Table 8)."""

    def __init__(self, config: AVFusionConfig, width: int) -> None:
        super().__init__()
        self.pyramid = (
            Pyramid(width, config.heads, config.inner, config.levels, config.dropout) if config.lisf else None
        )
        self.integration = SelectiveIntegration(width, config.integration == "released") if config.lisf else None
        self.together = GlobalFusion(width, config.heads) if config.glcf else None

    def forward(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        if self.pyramid is not None and self.integration is not None:
            audio, video = self.integration(*self.pyramid(audio, video))
        if self.together is not None:
            return self.together(audio, video)  # type: ignore[no-any-return]
        return audio.mean(1), video.mean(1)


class VanillaFusion(nn.Module):
    """The mean of each stream over its snippets."""

    def forward(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        return audio.mean(1), video.mean(1)


class TokenFusion(nn.Module):
    """Self-attention over all snippets of both streams, each with a mark of its stream."""

    def __init__(self, config: AVFusionConfig, width: int) -> None:
        super().__init__()
        self.marks = nn.Parameter(torch.randn(2, width) * 0.02)
        self.layers = nn.ModuleList(_encoder_layer(config, width) for _ in range(config.levels))

    def forward(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        tokens = torch.cat([audio + self.marks[0], video + self.marks[1]], 1)
        for layer in self.layers:
            tokens = layer(tokens)
        a, v = tokens.split(audio.shape[1], 1)
        return a.mean(1), v.mean(1)


class LocalGlobalFormer(nn.Module):
    """LGI-Former's idea, RECONSTRUCTED: groups of snippets talk among themselves, one token of each group to all."""

    GROUP = 4

    def __init__(self, config: AVFusionConfig, width: int) -> None:
        super().__init__()
        self.speaker = nn.Parameter(torch.randn(width) * 0.02)
        self.local, self.all = _encoder_layer(config, width), _encoder_layer(config, width)
        self.back = AttentiveBlock(width, config.heads, config.inner, config.dropout)

    def forward(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([audio, video], 1)
        groups = [
            torch.cat([self.speaker.expand(len(both), 1, -1), part], 1)
            for stream in (audio, video) for part in stream.split(self.GROUP, 1)
        ]  # fmt: skip
        spoken = torch.stack([self.local(group)[:, 0] for group in groups], 1)
        tokens = self.back(both, self.all(spoken))
        a, v = tokens.split(audio.shape[1], 1)
        return a.mean(1), v.mean(1)


class CrossFusion(nn.Module):
    """Sun et al., RECONSTRUCTED: each stream looks at the other, then at itself."""

    def __init__(self, config: AVFusionConfig, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({
            name: AttentiveBlock(width, config.heads, config.inner, config.dropout)
            for name in ("audio_cross", "video_cross", "audio_self", "video_self")
        })  # fmt: skip

    def forward(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        a, v = self.blocks["audio_cross"](audio, video), self.blocks["video_cross"](video, audio)
        return self.blocks["audio_self"](a, a).mean(1), self.blocks["video_self"](v, v).mean(1)


def _encoder_layer(config: AVFusionConfig, width: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        width, config.heads, config.inner, config.dropout, batch_first=True, norm_first=True
    )


def build_av_fusion(config: AVFusionConfig, width: int) -> nn.Module:
    """The configured fusion: streams (B, s, W) -> one vector (B, W) of each."""
    kinds = {"self_attention": TokenFusion, "lgi_former": LocalGlobalFormer, "sun": CrossFusion}
    if config.kind == "vanilla":
        return VanillaFusion()
    return kinds.get(config.kind, LocalGlobalFusion)(config, width)


class BranchHead(nn.Module):
    """Answers (B, K) of both streams together and of each: the halves of one answer where it is a sum (eq 14)."""

    def __init__(self, kind: str, width: int, labels: int) -> None:
        super().__init__()
        self.kind, self.width = kind, width
        self.out = nn.Linear(2 * width if kind == "mid_concat" else width, labels)
        self.inner = nn.Linear(2 * width, width) if kind in ("gated", "neural") else None

    def forward(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(together, audio, video)."""
        weight, half = self.out.weight, self.out.bias / 2
        if self.kind == "mid_concat":
            a, v = audio @ weight[:, : self.width].T + half, video @ weight[:, self.width :].T + half
            return a + v, a, v
        if self.kind == "sum":
            a, v = audio @ weight.T + half, video @ weight.T + half
            return a + v, a, v
        if self.kind == "multiply":
            mixed = audio * video
        else:
            assert self.inner is not None
            told = self.inner(torch.cat([audio, video], -1))
            mixed = told.relu() if self.kind == "neural" else told.sigmoid() * audio + (1 - told.sigmoid()) * video
        return self.out(mixed), self.out(audio), self.out(video)
