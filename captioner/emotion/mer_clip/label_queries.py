"""The label encoder and the cross-modal decoder: the labels' texts ask, each modality answers in turn. RECONSTRUCTED.

Axes: B clips, C labels (the queries), n tokens of a modality, W width of the space that all share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.clip.tower import TextTower
from captioner.emotion.mer_clip.mer_clip_config import LabelTextConfig

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Tokens:
    """What a modality says: states (B, n, W), which of them count (B, n), which clips have it at all (B,)."""

    states: Tensor
    mask: Tensor
    present: Tensor


class LabelEncoder(nn.Module):
    """Label texts -> unit vectors (C, W), by CLIP's frozen text tower; learned vectors may stand before the text."""

    def __init__(self, config: LabelTextConfig, text: TextTower) -> None:
        super().__init__()
        self.config = config
        width = text.token_embedding.embedding_dim
        self.context = nn.Parameter(torch.randn(config.context_tokens, width) * 0.02)

    def ids(self, labels: Sequence[str], encode: Encode) -> tuple[Tensor, Tensor]:
        """The pieces (C, n) of the labels' texts, padded, and where each ends (C,), without learned vectors."""
        rows = [encode(self.config.template.format(label.replace("_", " "))) for label in labels]
        longest = max(map(len, rows))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return padded, torch.tensor([len(row) - 1 for row in rows])

    def forward(self, text: TextTower, ids: Tensor, ends: Tensor) -> Tensor:
        embedded = text.embed(ids)
        count = len(self.context)
        if count:
            own = self.context.expand(len(ids), -1, -1)
            embedded = torch.cat([embedded[:, :1], own, embedded[:, 1:]], 1)[:, : len(text.position_embedding.weight)]
        return F.normalize(text.read(text.run(embedded), ends + count), dim=-1)


class ModalityBlock(nn.Module):
    """Queries (B, C, W): + self-attention, + attention to a modality's tokens, + feed-forward; norms come before."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.own = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.cross = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, tokens: Tokens) -> Tensor:
        normed = self.norm1(queries)
        x = queries + self.dropout(self.own(normed, normed, normed, need_weights=False)[0])
        # a clip without the modality keeps its queries; its mask must not be empty all the same
        hidden = ~(tokens.mask | ~tokens.present[:, None])
        states = tokens.states
        x = x + self.dropout(self.cross(self.norm2(x), states, states, key_padding_mask=hidden, need_weights=False)[0])
        x = x + self.dropout(self.feed(self.norm3(x)))
        return torch.where(tokens.present[:, None, None], x, queries)


class CrossModalDecoder(nn.Module):
    """One query a label through one block a modality, in the configured order; a score for each label.

    score_c = <unit(W Q_c), E_c> / temperature, so that other labels bring their own queries and classifier.
    """

    COLDEST = 0.01

    def __init__(self, order: Sequence[str], width: int, heads: int, dropout: float, temperature: float) -> None:
        super().__init__()
        self.order = tuple(order)
        self.kind = nn.Parameter(torch.randn(width) * 0.02)  # marks a query as one
        self.blocks = nn.ModuleDict({name: ModalityBlock(width, heads, dropout) for name in order})
        self.project = nn.Linear(width, width)
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log())

    @property
    def temperature(self) -> Tensor:
        """What similarities are divided by."""
        return self.log_temperature.exp().clamp(min=self.COLDEST)

    def score(self, queries: Tensor, anchors: Tensor) -> Tensor:
        """Logits (B, C) of queries (B, C, W)."""
        return (F.normalize(self.project(queries), dim=-1) * anchors).sum(-1) / self.temperature

    def forward(self, anchors: Tensor, said: Mapping[str, Tokens]) -> tuple[Tensor, dict[str, Tensor]]:
        """Anchors (C, W) -> the queries (B, C, W) at the end, and after each modality's block."""
        clips = len(next(iter(said.values())).states)
        queries = (anchors + self.kind).expand(clips, -1, -1)
        after = {}
        for name in self.order:
            queries = self.blocks[name](queries, said[name])
            after[name] = queries
        return queries, after

    def shared(self, queries: Tensor, anchors: Tensor) -> Tensor:
        """Where a clip lies in the labels' space: the queries' mean by their probabilities, of unit length, (B, W)."""
        shares = self.score(queries, anchors).softmax(-1)
        return F.normalize((shares[..., None] * queries).sum(1), dim=-1)
