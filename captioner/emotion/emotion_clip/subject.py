"""The image tower that is told where the persons are: subject-aware prompting, and attention masking.

    tokens [CLS, patches, human] -> ln_pre -> layers -> CLS -> ln_post -> projection

Prompting (SAP): the human token is the sum of the patches' places, each weighed by its share under persons. It has no
parameters, comes last, gets no place of its own and is only attended to. Masking (SAAM) is reconstructed: the paper
prints its formula, the released code does not have it. There the human token is learned, and each masked layer mixes
    S (1 - A) V + S A (U V),    S = softmax(Q K'), U = softmax(Q K' + M), A = sigmoid(a) of a head,
the products with A taken element by element. M closes the ways between the human token and patches without a person,
and from the human token to CLS.

Axes: N pictures, S pixels, P patches, n = P + 2 tokens, W width, H heads, E width of the shared space.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.clip.vision import PatchTower
from captioner.emotion.emotion_clip.emotion_clip_config import SubjectConfig
from captioner.video.transforms import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, normalise


class SubjectTower(PatchTower):
    """CLIP's vision transformer with a subject: standardised pixels (N, 3, S, S) and masks (N, S, S) -> (N, E)."""

    def __init__(self, config: ClipConfig, subject: SubjectConfig, pixels: str) -> None:
        super().__init__(config)
        self.subject, self.patch = subject, config.patch
        self.standard = (IMAGENET_MEAN, IMAGENET_STD) if pixels == "imagenet" else (CLIP_MEAN, CLIP_STD)
        if subject.rule == "mask":
            layers = range(subject.mask_from, config.vision_layers)
            self.human = nn.Parameter(torch.randn(config.vision_width) * config.vision_width**-0.5)
            start = torch.full((config.vision_heads,), subject.mask_start)
            self.masking = nn.ParameterDict({str(i): nn.Parameter(start.clone()) for i in layers})

    def look(self, pictures: Tensor, masks: Tensor | None) -> Tensor:
        """Pictures uint8 (N, 3, S, S) with masks (N, S, S) of persons, or none, -> (N, E)."""
        return self.see(normalise(pictures, *self.standard), masks)

    def see(self, pixels: Tensor, masks: Tensor | None) -> Tensor:
        """The same of standardised pixels."""
        net: Any = self.vision_model
        tokens = net.embeddings(pixels)  # (N, P + 1, W)
        covered = self.covered(masks, pixels)
        if self.subject.rule == "mask":
            states = self._masked(tokens, covered)
        else:
            if self.subject.rule != "none":
                places = net.embeddings.position_embedding.weight[1:]
                tokens = torch.cat([tokens, (covered @ places)[:, None]], 1)
            states = net.encoder(inputs_embeds=net.pre_layrnorm(tokens)).last_hidden_state
        features: Tensor = self.visual_projection(net.post_layernorm(states[:, 0]))
        return features

    def covered(self, masks: Tensor | None, pixels: Tensor) -> Tensor:
        """How much of each patch persons cover, (N, P) from 0 to 1; by the hard rule all or nothing."""
        if masks is None:
            masks = pixels.new_zeros(len(pixels), *pixels.shape[-2:])
        shares = F.avg_pool2d(masks[:, None].to(pixels.dtype), self.patch).flatten(1)
        return shares if self.subject.rule == "soft" else (shares > 0).to(shares.dtype)

    def _masked(self, tokens: Tensor, covered: Tensor) -> Tensor:
        net: Any = self.vision_model
        human = self.human.expand(len(tokens), 1, -1)
        order = [tokens[:, 1:], tokens[:, :1], human]  # patches, CLS, human: the order of the formula
        x = net.pre_layrnorm(torch.cat(order, 1))
        closed = closed_ways(covered > 0)
        for number, layer in enumerate(net.encoder.layers):
            weight = self.masking.get(str(number))
            y = layer.layer_norm1(x)
            x = x + (layer.self_attn(y)[0] if weight is None else masked_attention(layer.self_attn, y, closed, weight))
            x = x + layer.mlp(layer.layer_norm2(x))
        states: Tensor = x[:, -2:]  # CLS first
        return states


def closed_ways(inside: Tensor) -> Tensor:
    """Which ways attention may not take, bool (N, n, n) from row to column, of patches (N, P) inside the persons."""
    count, patches = inside.shape
    closed = torch.zeros(count, patches + 2, patches + 2, dtype=torch.bool, device=inside.device)
    closed[:, :patches, -1] = ~inside
    closed[:, -1, :patches] = ~inside
    closed[:, -1, -2] = True
    return closed


def masked_attention(attention: Any, x: Tensor, closed: Tensor, weight: Tensor) -> Tensor:
    """The attention of a layer over x (N, n, W), mixed with what open ways alone bring; weight (H,) before sigmoid."""
    heads = len(weight)
    q, k, v = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2)
        for part in (attention.q_proj(x), attention.k_proj(x), attention.v_proj(x))
    )  # (N, H, n, W / H)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    plain = scores.softmax(-1)
    opened = scores.masked_fill(closed[:, None], float("-inf")).softmax(-1)
    share = torch.sigmoid(weight)[:, None, None]
    mixed = (plain * (1 - share)) @ v + (plain * share) @ (opened @ v)
    states: Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return states
