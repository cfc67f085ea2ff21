"""PE-CLIP: a neutral prototype evolves through CLIP's deep text layers, looking at the video, towards an emotion.

    frames -> frozen CLIP image tower -> Mamba -> video tokens --+
    neutral prompt -> layers 0..d-1 (once) -> prototype -> layers d.. with gated cross-attention -> f
    p(k) = softmax_k <f, w_k> / 0.01,  w_k from CLIP's text tower

Axes: B clips, T segments, S pixels, E width of the shared space, R prototypes of a clip, n their tokens, K categories.
Row 0 of the prototypes is the neutral one, row k + 1 leans to category k. Only row 0 is ever used to predict:
the others contain an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.belief import EmotionBelief
from captioner.emotion.clip.opening import ClipTowers, open_clip
from captioner.emotion.clip.vision import VisionTower
from captioner.emotion.contract import EvidenceBatch, RecogniserKind, RecogniserLosses, Wants
from captioner.emotion.pe_clip.classifier import Anchors, build_classifier, encode_texts
from captioner.emotion.pe_clip.decoder import Decoder
from captioner.emotion.pe_clip.pe_clip_config import PEClipConfig
from captioner.emotion.pe_clip.temporal import build_temporal
from captioner.emotion.wording import PromptConfig, all_aggregated, readable, templated
from captioner.errors import CheckpointError, ConfigError
from captioner.model.weights import filled


class Prototypes(nn.Module):
    """Hidden states (K + 1, n, D) at the decoder's entry and the places (K + 1,) where they end."""

    def __init__(self, hidden: Tensor, ends: Tensor, learned: bool) -> None:
        super().__init__()
        if learned:
            self.hidden = nn.Parameter(hidden)
        else:
            self.register_buffer("hidden", hidden)
        self.register_buffer("ends", ends)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B, R) -> hidden states (B, R, n, D), ends (B, R)."""
        ends: Tensor = self.ends  # type: ignore[assignment]
        return self.hidden[rows], ends[rows]


@torch.no_grad()
def make_prototypes(config: PEClipConfig, clip: ClipTowers) -> Prototypes:
    """The configured prototypes: prompts after layers 0..d-1, or free vectors whose last one is read."""
    rows = len(config.labels) + 1
    if config.prototype == "learned":
        hidden = torch.randn(rows, config.tokens, clip.config.text_width) * 0.02
        return Prototypes(hidden, torch.full((rows,), config.tokens - 1), learned=True)
    texts = encode_texts(all_aggregated(config.labels, config.prompt), clip.encode, clip.config.context)
    hidden = clip.text.run(clip.text.embed(texts.ids), config.decoder.start)
    return Prototypes(hidden, texts.ends, learned=False)


class PEClip(nn.Module):
    """The recogniser; `config` must have its labels and the sizes of its CLIP (see `build_pe_clip`)."""

    KIND = "pe_clip"

    def __init__(
        self, config: PEClipConfig, vision: VisionTower, decoder: Decoder, prototypes: Prototypes, classifier: nn.Module
    ) -> None:
        super().__init__()
        self.config = config
        self.vision = vision
        self.temporal = build_temporal(config.temporal, config.clip.width, config.segments)
        self.decoder = decoder
        self.prototypes = prototypes
        self.classifier = classifier

    @property
    def wants(self) -> Wants:
        """One picture of each segment."""
        return Wants(self.config.segments, size=self.config.clip.image_size, crop=self.config.crop)

    @property
    def labels(self) -> tuple[str, ...]:
        """The categories in their order."""
        return tuple(self.config.labels)

    def features(self, batch: EvidenceBatch) -> Tensor:
        """Frame features (B, T, E) of clips; frozen, so they may be kept."""
        assert batch.frames is not None
        return self.look(batch.frames)

    def look(self, frames: Tensor) -> Tensor:
        """Frames uint8 (B, T, 3, S, S) -> frame features (B, T, E)."""
        features: Tensor = self.vision(frames)
        return features

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of clips (B, T, E), by the neutral prototype."""
        rows = torch.zeros(len(features), 1, dtype=torch.long, device=features.device)
        return self.compare(self.evolve(features, rows)[:, 0])

    def evolve(self, features: Tensor, rows: Tensor) -> Tensor:
        """Prototypes `rows` (B, R) led through the video (B, T, E): unit vectors (B, R, E)."""
        hidden, ends = self.prototypes(rows)
        evolved: Tensor = self.decoder(hidden, ends, self.temporal(features))
        return evolved

    def compare(self, evolved: Tensor) -> Tensor:
        """Evolved prototypes (..., E) -> logits (..., K)."""
        logits: Tensor = evolved @ self.classifier().T / self.config.temperature
        return logits

    def losses(self, features: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> RecogniserLosses:
        """Training losses of features (B, T, E) with label indices (B,); wrong tendencies are drawn."""
        kind = self.config.supervision.kind
        neutral = torch.zeros_like(labels)[:, None]
        rows = neutral
        if kind != "off":
            rows = torch.cat([neutral, self.draw_tendencies(labels, generator) + 1], 1)  # (B, 2 + wrong)
        logits = self.compare(self.evolve(features, rows))  # (B, R, K)
        wanted = labels[:, None].expand(rows.shape)
        costs = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(rows.shape)
        task = costs[:, 0].mean()
        if kind == "off":
            return RecogniserLosses(task, task.detach())
        weight = self.config.supervision.weight
        if kind == "order":
            extra = order_loss(costs[:, 1:], self.config.supervision.temperature)
            total = task + weight * extra
        else:
            extra = pull_loss(costs)
            total = weight * task + (1 - weight) * extra
        return RecogniserLosses(total, task.detach(), {"supervision": extra.detach()})

    def draw_tendencies(self, labels: Tensor, generator: torch.Generator | None) -> Tensor:
        """The right category and `wrong` others for each clip: (B, 1 + wrong)."""
        classes = len(self.config.labels)
        count = min(self.config.supervision.wrong or classes - 1, classes - 1)
        draw = torch.rand(len(labels), classes, generator=generator).to(labels.device)
        draw.scatter_(1, labels[:, None], 2.0)  # the right one comes first
        return draw.topk(count + 1, dim=1).indices

    @torch.no_grad()
    def predict(self, features: Tensor) -> EmotionBelief:
        """The belief of clips (B, T, E), by the neutral prototype alone."""
        evolved = self.evolve(features, torch.zeros(len(features), 1, dtype=torch.long, device=features.device))
        probs = self.compare(evolved[:, 0]).softmax(-1)
        return EmotionBelief(self.labels, probs, evolved[:, 0])

    def open_gates(self) -> list[Tensor]:
        """How far each layer looks at the video, from 0."""
        closed = self.config.decoder.gate == "tanh"
        return [gate.detach().tanh().cpu() if closed else gate.detach().cpu() for gate in self.decoder.gates()]

    def trained_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def parameter_groups(self, lr: float, slow: float) -> list[dict[str, Any]]:
        """Optimiser groups: weights from CLIP at `slow` times the rate, gates at theirs, all others at the rate."""
        old = {id(p) for p in self.decoder.pretrained_parameters(self.config.decoder)}
        if self.config.classifier == "emotional":
            old |= {id(p) for p in self.classifier.parameters()}
        gates = {id(p) for p in self.decoder.gates()}
        live = [p for p in self.parameters() if p.requires_grad]
        groups = [
            ([p for p in live if id(p) not in old | gates], 1.0),
            ([p for p in live if id(p) in old], slow),
            ([p for p in live if id(p) in gates], self.config.decoder.gate_lr_scale),
        ]
        return [{"params": members, "lr": lr * scale} for members, scale in groups if members]


def order_loss(costs: Tensor, temperature: float) -> Tensor:
    """-log of the share of the right tendency (column 0) in softmax(-cost / T); costs (B, 1 + wrong)."""
    return F.cross_entropy(-costs / temperature, torch.zeros(len(costs), dtype=torch.long, device=costs.device))


def pull_loss(costs: Tensor) -> Tensor:
    """Costs (B, [neutral, right, wrong ...]): the right tendency below the neutral one, the wrong ones above it."""
    neutral, right, wrong = costs[:, 0].detach(), costs[:, 1], costs[:, 2:]
    above = F.relu(neutral[:, None] - wrong).mean(1) if wrong.shape[1] else torch.zeros_like(right)
    return (right + F.relu(right - neutral) + above).mean()


def vocabulary_texts(labels: list[str], prompt: PromptConfig) -> list[str]:
    """All texts that the recogniser ever reads, for a CLIP whose vocabulary is made from them."""
    return [*all_aggregated(labels, prompt), *templated(labels, prompt), *map(readable, labels)]


def build_pe_clip(config: PEClipConfig, clip: ClipTowers | None = None) -> PEClip:
    """An untrained recogniser; its CLIP is opened unless it is handed in. Random numbers come from torch's state."""
    if not config.labels:
        raise ConfigError("labels are missing: name at least two categories in emotion.labels")
    clip = clip or open_clip(config.clip, vocabulary_texts(config.labels, config.prompt))
    settled = replace(config, clip=clip.config)
    decoder = Decoder(clip.config, settled.decoder, clip.text)
    classifier = build_classifier(settled, clip)
    return PEClip(settled, clip.vision, decoder, make_prototypes(settled, clip), classifier).eval()


def pe_clip_state(model: PEClip) -> dict[str, Tensor]:
    """What a folder keeps: the category vectors as they are now, however they were made."""
    with torch.no_grad():
        vectors = model.classifier().detach()
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}
    return {**own, "classifier.vectors": vectors}


def restore_pe_clip(config: PEClipConfig, state: Mapping[str, Tensor], folder: Path) -> PEClip:
    """The recogniser of a configuration and what its folder keeps."""
    odd = [name for name in ("prototypes.hidden", "prototypes.ends", "classifier.vectors") if name not in state]
    if odd:
        raise CheckpointError(f"{folder / 'model.safetensors'} lacks {', '.join(odd)}: it is of another kind of model")
    held = {name: state[f"prototypes.{name}"] for name in ("hidden", "ends")}

    def make() -> PEClip:
        hidden, ends = (torch.zeros(value.shape, dtype=value.dtype) for value in held.values())
        prototypes = Prototypes(hidden.float(), ends, learned=config.prototype == "learned")
        anchors = Anchors(torch.zeros(len(config.labels), config.clip.width))
        return PEClip(config, VisionTower(config.clip), Decoder(config.clip, config.decoder), prototypes, anchors)

    return filled(make, state, str(folder))


RECOGNISER = RecogniserKind(
    "pe_clip", "PE-CLIP", PEClipConfig, build_pe_clip, restore_pe_clip,
    open=lambda config: open_clip(config.clip, vocabulary_texts(config.labels, config.prompt)), state=pe_clip_state,
)  # fmt: skip
