"""Sequence encoders over the frames of a video: (B, T, E) -> (B, T, E), ending in a layer norm.

Axes: B clips, T segments, E width of frame features, H heads, P channels of a head, N states.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.pe_clip.pe_clip_config import TemporalConfig
from captioner.emotion.pe_clip.scan import scan_parallel, scan_sequential

SLOWEST, FASTEST = 1e-3, 1e-1  # bounds of Mamba's step sizes at the start


class HeadScan(nn.Module):
    """The selective scan of all heads, each with its own step sizes, inputs and outputs: (B, T, H P) -> the same."""

    def __init__(self, config: TemporalConfig) -> None:
        super().__init__()
        heads, channels, states = config.heads, config.inner // config.heads, config.states
        self.heads, self.parallel = heads, config.scan == "parallel"
        self.step_down = nn.Parameter(head_weights(heads, config.rank, channels))
        self.step_up = nn.Parameter(head_weights(heads, channels, config.rank))
        self.to_b = nn.Parameter(head_weights(heads, states, channels))
        self.to_c = nn.Parameter(head_weights(heads, states, channels))
        start = torch.exp(torch.empty(heads, channels).uniform_(math.log(SLOWEST), math.log(FASTEST)))
        self.step_bias = nn.Parameter(start + torch.log(-torch.expm1(-start)))  # the inverse of softplus
        self.decay_log = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(heads, channels, 1))
        self.skip = nn.Parameter(torch.ones(heads, channels))

    def forward(self, u: Tensor) -> Tensor:
        u = torch.unflatten(u, -1, (self.heads, -1))  # (B, T, H, P)
        step = torch.einsum("bthp,hrp->bthr", u, self.step_down)
        delta = F.softplus(torch.einsum("bthr,hpr->bthp", step, self.step_up) + self.step_bias)
        b = torch.einsum("bthp,hnp->bthn", u, self.to_b)
        c = torch.einsum("bthp,hnp->bthn", u, self.to_c)
        scan = scan_parallel if self.parallel else scan_sequential
        return (scan(u, delta, -torch.exp(self.decay_log), b, c) + self.skip * u).flatten(2)


def head_weights(heads: int, out: int, into: int) -> Tensor:
    """One matrix (out, into) a head, drawn as nn.Linear draws its own."""
    return torch.empty(heads, out, into).uniform_(-1, 1) / math.sqrt(into)


class MambaBlock(nn.Module):
    """x + W_out (scan(SiLU(conv u)) * SiLU(z)), [u, z] = W_in LN(x); causal unless bidirectional."""

    def __init__(self, width: int, config: TemporalConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, 2 * config.inner, bias=False)
        self.conv = nn.Conv1d(config.inner, config.inner, config.kernel, groups=config.inner)
        self.scan = HeadScan(config)
        self.back = HeadScan(config) if config.bidirectional else None
        self.out = nn.Linear(config.inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        u, z = self.into(self.norm(x)).chunk(2, -1)
        padded = F.pad(u.transpose(1, 2), (self.conv.kernel_size[0] - 1, 0))  # nothing from later segments
        u = F.silu(self.conv(padded).transpose(1, 2))
        y = self.scan(u)
        if self.back is not None:
            y = y + self.back(u.flip(1)).flip(1)
        mixed: Tensor = x + self.out(y * F.silu(z))
        return mixed


class Recurrent(nn.Module):
    """LSTM or GRU layers with a residual around them."""

    def __init__(self, width: int, config: TemporalConfig) -> None:
        super().__init__()
        kind = nn.LSTM if config.kind == "lstm" else nn.GRU
        self.norm = nn.LayerNorm(width)
        self.net = kind(width, width, config.layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = x + self.net(self.norm(x))[0]
        return mixed


class Positions(nn.Module):
    """Adds a learned vector for each segment."""

    def __init__(self, segments: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(segments, width) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[: x.shape[1]]


def build_temporal(config: TemporalConfig, width: int, segments: int) -> nn.Module:
    """The configured encoder; `none` is the layer norm alone."""
    if config.kind == "none":
        return nn.LayerNorm(width)
    if config.kind == "mamba":
        return nn.Sequential(*(MambaBlock(width, config) for _ in range(config.layers)), nn.LayerNorm(width))
    if config.kind == "transformer":
        layers = [
            nn.TransformerEncoderLayer(width, config.heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(config.layers)
        ]
        return nn.Sequential(Positions(segments, width), *layers, nn.LayerNorm(width))
    return nn.Sequential(Recurrent(width, config), nn.LayerNorm(width))
