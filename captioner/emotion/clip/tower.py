"""CLIP's text encoder with its layers open.

Axes: K texts, n their tokens, T tokens of a memory, D width of the text encoder, E width of the space shared with
images. Parts are named as in Hugging Face's layout, so that weights are copied by
name.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.clip.clip_config import ClipConfig
from captioner.errors import ConfigError, unknown


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), which OpenAI's CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, type[nn.Module]] = {"quick_gelu": QuickGELU, "gelu": nn.GELU}


def activation(name: str) -> nn.Module:
    """The named activation."""
    if name not in ACTIVATIONS:
        raise ConfigError(unknown("clip.activation", name, ACTIVATIONS))
    return ACTIVATIONS[name]()


class TowerAttention(nn.Module):
    """Multi-head attention of x (B, n, D) over memory (B, T, E), or causally over itself."""

    def __init__(self, width: int, heads: int, memory: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(memory or width, width)
        self.v_proj = nn.Linear(memory or width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        seen = x if memory is None else memory
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in (self.q_proj(x), self.k_proj(seen), self.v_proj(seen))
        )  # (B, heads, n or T, D / heads)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=memory is None)
        states: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return states


class MLP(nn.Module):
    """D -> 4 D -> D."""

    def __init__(self, width: int, act: str) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, 4 * width), activation(act), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.fc2(self.act(self.fc1(x)))
        return states


class TextLayer(nn.Module):
    """One layer of CLIP's text encoder: (B, n, D) -> (B, n, D), causal."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.text_width)
        self.self_attn = TowerAttention(config.text_width, config.text_heads)
        self.layer_norm2 = nn.LayerNorm(config.text_width)
        self.mlp = MLP(config.text_width, config.activation)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        states: Tensor = x + self.mlp(self.layer_norm2(x))
        return states


class TextTower(nn.Module):
    """CLIP's text encoder; texts are padded behind their end, which causality keeps from mattering."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.text_width)
        self.position_embedding = nn.Embedding(config.context, config.text_width)
        self.layers = nn.ModuleList(TextLayer(config) for _ in range(config.text_layers))
        self.final_layer_norm = nn.LayerNorm(config.text_width)
        self.text_projection = nn.Linear(config.text_width, config.width, bias=False)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding.weight, std=0.01)

    def embed(self, ids: Tensor) -> Tensor:
        """(K, n) ids -> (K, n, D) word embeddings, places not yet added."""
        embedded: Tensor = self.token_embedding(ids)
        return embedded

    def run(self, x: Tensor, until: int | None = None) -> Tensor:
        """Word embeddings (K, n, D) -> hidden states after `until` layers (all by default)."""
        x = x + self.position_embedding.weight[: x.shape[1]]
        for layer in self.layers[:until]:
            x = layer(x)
        return x

    def read(self, x: Tensor, ends: Tensor) -> Tensor:
        """Hidden states (K, n, D) and places of the end tokens (K,) -> text features (K, E), not normalised."""
        return read_out(x, ends, self.final_layer_norm, self.text_projection)

    def forward(self, ids: Tensor, ends: Tensor) -> Tensor:
        return self.read(self.run(self.embed(ids)), ends)


def read_out(x: Tensor, ends: Tensor, norm: nn.Module, projection: nn.Module) -> Tensor:
    """The state at each row's end, normalised and projected: (K, n, D) -> (K, E)."""
    features: Tensor = projection(norm(x[torch.arange(len(x), device=x.device), ends]))
    return features
