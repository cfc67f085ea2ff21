"""The deep layers of CLIP's text encoder as a decoder over video tokens.

Axes: B clips, R prototypes of a clip, n tokens of a prototype, T video tokens, D width of the text encoder,
E width of the space shared with images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.clip.tower import TextLayer, TextTower, TowerAttention, read_out
from captioner.emotion.pe_clip.pe_clip_config import DecoderConfig


class EvolvingLayer(TextLayer):
    """A text layer that also looks at the video, between its self-attention and its MLP, through a gate."""

    def __init__(self, config: ClipConfig, decoder: DecoderConfig) -> None:
        super().__init__(config)
        self.cross_norm = nn.LayerNorm(config.text_width)
        self.cross_attn = TowerAttention(config.text_width, config.text_heads, config.width)
        self.closed = decoder.gate == "tanh"
        start = torch.full((1,), decoder.gate_start) if self.closed else torch.full((config.text_width,), 0.1)
        self.gate = nn.Parameter(start)
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
        if text is not None:
            self.start_from(text, decoder)
        if decoder.cross_init == "copy":
            for layer in self.layers:
                layer.copy_attention()  # type: ignore[operator]
        self.requires_grad_(decoder.init == "random" or decoder.train == "all")
        new = [p for layer in self.layers for p in layer.new_parameters()]  # type: ignore[operator]
        for parameter in new + (self.readout_parameters() if decoder.readout == "random" else []):
            parameter.requires_grad_(True)

    def start_from(self, text: TextTower, decoder: DecoderConfig) -> None:
        """Copy the converted layers and the read-out, each where it is to be pretrained."""
        if decoder.init == "pretrained":
            for ours, theirs in zip(self.layers, text.layers[decoder.start :], strict=True):
                ours.load_state_dict({**ours.state_dict(), **theirs.state_dict()})
        if decoder.readout == "pretrained":
            self.final_layer_norm.load_state_dict(text.final_layer_norm.state_dict())
            self.text_projection.load_state_dict(text.text_projection.state_dict())

    def gates(self) -> list[nn.Parameter]:
        """How far each layer's look at the video is open."""
        return [layer.gate for layer in self.layers]  # type: ignore[misc]

    def readout_parameters(self) -> list[nn.Parameter]:
        """Final norm and projection."""
        return [*self.final_layer_norm.parameters(), *self.text_projection.parameters()]

    def pretrained_parameters(self, decoder: DecoderConfig) -> list[nn.Parameter]:
        """What was copied from CLIP."""
        old: list[nn.Parameter] = self.readout_parameters() if decoder.readout == "pretrained" else []
        if decoder.init == "pretrained":
            new = {id(p) for layer in self.layers for p in layer.new_parameters()}  # type: ignore[operator]
            old += [p for p in self.layers.parameters() if id(p) not in new]
        return old

    def forward(self, prototypes: Tensor, ends: Tensor, video: Tensor) -> Tensor:
        """Prototypes (B, R, n, D) that end at (B, R), video tokens (B, T, E) -> unit vectors (B, R, E)."""
        x = prototypes
        for layer in self.layers:
            x = layer.evolve(x, video)  # type: ignore[operator]
        rows = read_out(x.flatten(0, 1), ends.flatten(), self.final_layer_norm, self.text_projection)
        return torch.unflatten(F.normalize(rows, dim=-1), 0, ends.shape)
