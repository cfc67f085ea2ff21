"""Local-level interactive-selective fusion (LISF): two streams of snippets look at themselves and at each other.

Axes: B clips, s snippets, C width, H heads, L levels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from captioner.errors import CheckpointError


def window_mask(snippets: int, reach: int, device: torch.device | None = None) -> Tensor:
    """Which snippets (s, s) each one sees: itself and `reach` on either side."""
    places = torch.arange(snippets, device=device)
    return (places[:, None] - places[None]).abs() <= reach


class HeadedAttention(nn.Module):
    """softmax(q k / sqrt(C / H)) v over the snippets that a mask shows; keys and values come as they are."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def weights(self, query: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        """Shares (B, H, s, s')."""
        q, k = self._split(self.query(query)), self._split(self.key(source))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(-1)

    def forward(self, query: Tensor, source: Tensor, mask: Tensor | None = None) -> Tensor:
        shares = self.dropout(self.weights(query, source, mask))
        mixed = shares @ self._split(self.value(source))
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        parts: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, s, C) -> (B, H, s, C / H)
        return parts


class AttentiveBlock(nn.Module):
    """q + MHA(LN q, source), then + FFN(LN q): only the query is normalised, in self-attention too.

    `normed` False leaves both norms out: over one channel they would erase the query.
    """

    def __init__(
        self, width: int, heads: int, inner: int, dropout: float, inside: float = 0.1, normed: bool = True
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width) if normed else nn.Identity() for _ in range(2))
        self.attention = HeadedAttention(width, heads, inside)
        self.feed = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Dropout(inside), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, source: Tensor, mask: Tensor | None = None) -> Tensor:
        query = query + self.dropout(self.attention(self.norm1(query), source, mask))
        out: Tensor = query + self.dropout(self.feed(self.norm2(query)))
        return out


class SelectiveGate(nn.Module):
    """Equation 9: how much of the own view and of the other's goes on, channel by channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own, self.cross = nn.Linear(2 * width, width), nn.Linear(2 * width, width)

    def forward(self, own: Tensor, cross: Tensor) -> Tensor:
        both = torch.cat([own, cross], -1)
        out: Tensor = self.own(both).sigmoid() * own + self.cross(both).sigmoid() * cross
        return out


class TemporalMix(nn.Module):
    """A dilated convolution over snippets and one of width 1, with what came in: (B, s, C) -> the same."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.wide = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.point = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.dropout(self.point(self.wide(x.transpose(1, 2)).relu()).transpose(1, 2))
        out: Tensor = (mixed + x).relu()
        return out


class PyramidLayer(nn.Module):
    """One level: a self-attention for each stream, one cross-modal attention for both directions, gates, mixing."""

    def __init__(self, width: int, heads: int, inner: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.reach = reach
        self.audio_self, self.video_self, self.cross = (
            AttentiveBlock(width, heads, inner, dropout) for _ in range(3)
        )
        self.audio_gate, self.video_gate = SelectiveGate(width), SelectiveGate(width)
        self.audio_mix, self.video_mix = TemporalMix(width, reach, dropout), TemporalMix(width, reach, dropout)

    def forward(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        mask = window_mask(audio.shape[1], self.reach, audio.device)
        a = self.audio_gate(self.audio_self(audio, audio, mask), self.cross(audio, video, mask))
        v = self.video_gate(self.video_self(video, video, mask), self.cross(video, audio, mask))
        return self.audio_mix(a), self.video_mix(v)


class Pyramid(nn.Module):
    """LISF: streams (B, s, C) -> the levels of each (B, s, L, C); level i sees 2^i snippets on either side."""

    def __init__(self, width: int, heads: int, inner: int, levels: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PyramidLayer(width, heads, inner, 2**level, dropout) for level in range(levels))

    def forward(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        heard, seen = [], []
        for layer in self.layers:
            audio, video = layer(audio, video)
            heard.append(audio)
            seen.append(video)
        return torch.stack(heard, 2), torch.stack(seen, 2)


# -- the public module's names --------------------------------------------------------------------------------------

_BLOCKS = {"asablock": "audio_self", "vsablock": "video_self", "cmablock": "cross"}
_INSIDE = {
    "self_attn.linears.0": "attention.query", "self_attn.linears.1": "attention.key",
    "self_attn.linears.2": "attention.value", "self_attn.linears.3": "attention.out",
    "feed_forward.w_1": "feed.0", "feed_forward.w_2": "feed.3",
    "sublayer.0.norm": "norm1", "sublayer.1.norm": "norm2",
}  # fmt: skip
_GATES = {"la1": "audio_gate.own", "la2": "audio_gate.cross", "lv1": "video_gate.own", "lv2": "video_gate.cross"}
_MIXES = {"conv1": "wide", "conv2": "point", "net.0": "wide", "net.2": "point"}
# never used there: a norm in each attention, and what stands for one more block
_UNUSED = re.compile(r"(^|\.)(self_attn\.layer_norm|spare)\.")


def released_pyramid(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The public module's tensors under our names; those that it never uses are dropped, foreign ones refused."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if _UNUSED.search(name):
            continue
        ours = _our_name(name)
        if ours is None:
            raise CheckpointError(f"{name} is no tensor of the published pyramid; msa.0.la1.weight is one")
        found[ours] = value
    return found


def _our_name(name: str) -> str | None:
    block = re.fullmatch(r"msa\.(\d+)\.(\wsablock|cmablock)\.layer\.(.+)\.(weight|bias)", name)
    if block and block[2] in _BLOCKS and block[3] in _INSIDE:
        return f"layers.{block[1]}.{_BLOCKS[block[2]]}.{_INSIDE[block[3]]}.{block[4]}"
    gate = re.fullmatch(r"msa\.(\d+)\.(l[av][12])\.(weight|bias)", name)
    if gate:
        return f"layers.{gate[1]}.{_GATES[gate[2]]}.{gate[3]}"
    mix = re.fullmatch(r"([av])network\.(\d+)\.(conv[12]|net\.[02])\.(weight|bias)", name)
    if mix:
        stream = {"a": "audio", "v": "video"}[mix[1]]
        return f"layers.{mix[2]}.{stream}_mix.{_MIXES[mix[3]]}.{mix[4]}"
    return None


def pyramid_like(state: Mapping[str, Tensor], heads: int | None = None) -> Pyramid:
    """A pyramid of the sizes that the public module's tensors have, filled; heads by width // 4 unless given."""
    try:
        width = len(state["msa.0.la1.bias"])
        inner = len(state["msa.0.asablock.layer.feed_forward.w_1.bias"])
    except KeyError as error:
        raise CheckpointError(f"the published pyramid's tensor {error} is missing") from None
    levels = len({name.split(".")[1] for name in state if name.startswith("msa.")})
    made = Pyramid(width, heads or max(1, width // 4), inner, levels, 0.0)
    try:
        made.load_state_dict(released_pyramid(state))
    except RuntimeError as error:
        raise CheckpointError(f"tensors of the published pyramid do not fit: {' '.join(str(error).split())}") from None
    return made.eval()
