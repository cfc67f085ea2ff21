"""CLIP's text encoder with its layers open, and its deep layers as a decoder over video tokens.

Axes: B clips, R prototypes of a clip, n tokens of a prototype, T video tokens, D width of the text encoder,
E width of the space shared with images. Parts are named as in Hugging Face's layout, so that weights are copied by
name.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.settings import ClipConfig, DecoderConfig
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


class EvolvingLayer(TextLayer):
    """A text layer that also looks at the video, between its self-attention and its MLP, through a gate."""

    def __init__(self, config: ClipConfig, decoder: DecoderConfig) -> None:
        super().__init__(config)
        self.cross_norm = nn.LayerNorm(config.text_width)
        self.cross_attn = TowerAttention(config.text_width, config.text_heads, config.width)
        self.closed = decoder.gate == "tanh"
        self.gate = nn.Parameter(torch.zeros(1) if self.closed else torch.full((config.text_width,), 0.1))
        for parameter in self.cross_attn.parameters():
            nn.init.xavier_uniform_(parameter) if parameter.ndim == 2 else nn.init.zeros_(parameter)

    def copy_attention(self) -> None:
        """Start the cross-attention from the self-attention's weights, as far as their shapes agree."""
        own = self.self_attn.state_dict()
        fits = {k: v for k, v in self.cross_attn.state_dict().items() if own[k].shape == v.shape}
        self.cross_attn.load_state_dict({k: own[k] for k in fits}, strict=False)

    def new_parameters(self) -> list[nn.Parameter]:
        """What CLIP does not have."""
        return [self.gate, *self.cross_norm.parameters(), *self.cross_attn.parameters()]

    def evolve(self, x: Tensor, video: Tensor) -> Tensor:
        """Prototypes (B, R, n, D) one step further, with video tokens (B, T, E)."""
        rows = x.flatten(0, 1)
        x = x + self.self_attn(self.layer_norm1(rows)).view_as(x)
        seen = self.cross_attn(self.cross_norm(x).flatten(1, 2), video).view_as(x)
        x = x + (torch.tanh(self.gate) if self.closed else self.gate) * seen
        states: Tensor = x + self.mlp(self.layer_norm2(x))
        return states


class Decoder(nn.Module):
    """Layers d and later of the text encoder with cross-attention, and its read-out."""

    def __init__(self, config: ClipConfig, decoder: DecoderConfig, text: TextTower | None = None) -> None:
        super().__init__()
        depth = config.text_layers - decoder.start
        self.layers = nn.ModuleList(EvolvingLayer(config, decoder) for _ in range(depth))
        self.final_layer_norm = nn.LayerNorm(config.text_width)
        self.text_projection = nn.Linear(config.text_width, config.width, bias=False)
        if text is not None and decoder.init == "pretrained":
            self.start_from(text, decoder)
        elif decoder.cross_init == "copy":
            for layer in self.layers:
                layer.copy_attention()  # type: ignore[operator]
        self.requires_grad_(decoder.init == "random" or decoder.train == "all")
        for layer in self.layers:
            for parameter in layer.new_parameters():  # type: ignore[operator]
                parameter.requires_grad_(True)

    def start_from(self, text: TextTower, decoder: DecoderConfig) -> None:
        """Copy the converted layers and the read-out."""
        for ours, theirs in zip(self.layers, text.layers[decoder.start :], strict=True):
            ours.load_state_dict({**ours.state_dict(), **theirs.state_dict()})
            if decoder.cross_init == "copy":
                ours.copy_attention()  # type: ignore[operator]
        self.final_layer_norm.load_state_dict(text.final_layer_norm.state_dict())
        self.text_projection.load_state_dict(text.text_projection.state_dict())

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """What was copied from CLIP."""
        new = {id(p) for layer in self.layers for p in layer.new_parameters()}  # type: ignore[operator]
        return [p for p in self.parameters() if id(p) not in new]

    def forward(self, prototypes: Tensor, ends: Tensor, video: Tensor) -> Tensor:
        """Prototypes (B, R, n, D) that end at (B, R), video tokens (B, T, E) -> unit vectors (B, R, E)."""
        x = prototypes
        for layer in self.layers:
            x = layer.evolve(x, video)  # type: ignore[operator]
        rows = read_out(x.flatten(0, 1), ends.flatten(), self.final_layer_norm, self.text_projection)
        return torch.unflatten(F.normalize(rows, dim=-1), 0, ends.shape)
