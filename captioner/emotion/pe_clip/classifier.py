"""What evolved prototypes are compared with: one vector a category, from texts or learned (Table 4).

Axes: K categories, n tokens of a text, D width of the text encoder, E width of the shared space.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.clip.opening import ClipTowers
from captioner.emotion.clip.tower import TextTower
from captioner.emotion.pe_clip.pe_clip_config import PEClipConfig
from captioner.emotion.wording import all_aggregated, readable, templated
from captioner.errors import ConfigError


@dataclass
class Texts:
    """Ids (K, n), padded behind their ends (K,)."""

    ids: Tensor
    ends: Tensor


def encode_texts(texts: Sequence[str], encode: Callable[[str], list[int]], context: int, room: int = 0) -> Texts:
    """Texts as ids; one that does not fit CLIP's window (less `room`) is an error, never cut."""
    rows = [encode(text) for text in texts]
    longest = max(rows, key=len)
    if len(longest) > context - room:
        text = texts[rows.index(longest)]
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        beside = f" beside {room} learned ones" if room else ""
        raise ConfigError(
            f"the prompt {shown!r} has {len(longest)} word pieces{beside}, CLIP's text window has {context}: "
            f"use shorter category names or fewer of them, or prompt.separator=' '"
        )
    ids = torch.tensor([row + [row[-1]] * (len(longest) - len(row)) for row in rows])
    return Texts(ids, torch.tensor([len(row) - 1 for row in rows]))


class Anchors(nn.Module):
    """Fixed vectors (K, E)."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors)

    def forward(self) -> Tensor:
        vectors: Tensor = self.vectors  # type: ignore[assignment]
        return vectors


class Linear(nn.Module):
    """Free vectors (K, E), drawn at random and trained."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(classes, width) / math.sqrt(width))

    def forward(self) -> Tensor:
        return self.vectors


class Templates(nn.Module):
    """Vectors (K, E) of names in a template, by a text encoder of its own that is fine-tuned."""

    def __init__(self, texts: Texts, text: TextTower) -> None:
        super().__init__()
        self.register_buffer("ids", texts.ids)
        self.register_buffer("ends", texts.ends)
        self.text = copy.deepcopy(text).requires_grad_(True)

    def forward(self) -> Tensor:
        return F.normalize(self.text(self.ids, self.ends), dim=-1)


class Context(nn.Module):
    """CoOp's vectors (K, E): learned context before the category's name, through the frozen text encoder."""

    def __init__(self, names: Texts, text: TextTower, tokens: int) -> None:
        super().__init__()
        self.register_buffer("ids", names.ids)
        self.register_buffer("ends", names.ends)
        self.context = nn.Parameter(torch.randn(tokens, text.token_embedding.embedding_dim) * 0.02)
        self.text = copy.deepcopy(text).requires_grad_(False)

    def forward(self) -> Tensor:
        words = self.text.embed(self.ids)  # type: ignore[arg-type]  # (K, n, D)
        context = self.context.expand(len(words), -1, -1)
        states = self.text.run(torch.cat([words[:, :1], context, words[:, 1:]], 1))
        ends: Tensor = self.ends  # type: ignore[assignment]
        return F.normalize(self.text.read(states, ends + len(self.context)), dim=-1)


@torch.no_grad()
def aggregated_anchors(config: PEClipConfig, clip: ClipTowers) -> Tensor:
    """Unit vectors (K, E) of the category-aggregated prompts by the untouched text encoder."""
    texts = encode_texts(all_aggregated(config.labels, config.prompt)[1:], clip.encode, clip.config.context)
    return F.normalize(clip.text(texts.ids, texts.ends), dim=-1)


def build_classifier(config: PEClipConfig, clip: ClipTowers) -> nn.Module:
    """The configured source of the category vectors; calling it returns (K, E)."""
    context = clip.config.context
    if config.classifier == "linear":
        return Linear(len(config.labels), clip.config.width)
    if config.classifier == "emotional":
        return Templates(encode_texts(templated(config.labels, config.prompt), clip.encode, context), clip.text)
    if config.classifier == "coop":
        names = [readable(label) for label in config.labels]
        return Context(
            encode_texts(names, clip.encode, context, config.context_tokens), clip.text, config.context_tokens
        )
    return Anchors(aggregated_anchors(config, clip))
