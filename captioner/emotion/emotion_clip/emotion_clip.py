"""EmotionCLIP: clips of people beside what is said in them; what the picture tells of feelings comes without labels.

    frames, persons -> SubjectTower -> FrameFusion -> v      words -> CLIP's text tower -> t      (SNCE: snce.py)
    v / |v| -> a linear probe -> belief

The 8 frames are a contract of the released weights. A recogniser without labels has no probe and believes nothing.

Axes: B clips, T frames, S pixels, E width of the shared space, n word pieces, C labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.belief import EmotionBelief
from captioner.emotion.clip.opening import ClipTowers, open_clip
from captioner.emotion.clip.tower import TextTower
from captioner.emotion.clip.vision import FaceTower
from captioner.emotion.contract import EvidenceBatch, RecogniserKind, RecogniserLosses, Wants
from captioner.emotion.emotion_clip.emotion_clip_config import EmotionClipConfig
from captioner.emotion.emotion_clip.frame_fusion import build_fusion, frames_of
from captioner.emotion.emotion_clip.subject import SubjectTower
from captioner.errors import ConfigError
from captioner.model.weights import filled

SCALE, LARGEST_SCALE = 1 / 0.07, 100.0  # factor of the cosines at the start, and at most
CHUNK = 64  # pictures at a time: memory does not grow with the batch


class EmotionClip(nn.Module):
    """The recogniser; `config` has the sizes of its CLIP (see `build_emotion_clip`)."""

    KIND = "emotion_clip"

    def __init__(self, config: EmotionClipConfig) -> None:
        super().__init__()
        self.config = config
        self.vision: SubjectTower | FaceTower
        if config.crop == "face":
            self.vision = FaceTower(config.clip.width)
        else:
            self.vision = SubjectTower(config.clip, config.subject, config.pixels)
        self.temporal = build_fusion(config.fusion, config.clip.width, config.frames)
        self.text = TextTower(config.clip)
        self.scale = nn.Parameter(torch.tensor(math.log(SCALE)))
        self.probe = nn.Linear(config.clip.width, len(config.labels)) if config.labels else None

    @property
    def wants(self) -> Wants:
        """Its frames, and where the persons are."""
        subject, size = self.config.subject, self.config.clip.image_size
        if self.config.crop == "face":
            return Wants(self.config.frames, size=size, crop="face")
        asked = subject.persons if subject.rule != "none" and subject.persons != "none" else ""
        return Wants(self.config.frames, size=size, edges=True, persons=asked)

    @property
    def labels(self) -> tuple[str, ...]:
        """What its probe tells apart."""
        return tuple(self.config.labels)

    def encode_frames(self, frames: Tensor, persons: Tensor | None) -> Tensor:
        """Frames uint8 (B, T, 3, S, S) and masks (B, T, S, S) -> (B, T, E).

        Of faces the outputs of the tower's trunks (B, T, C), which may be kept, will do.
        """
        if isinstance(self.vision, FaceTower):
            if frames.ndim == 5:
                frames = torch.unflatten(self.vision.trunks(frames.flatten(0, 1)), 0, frames.shape[:2])
            placed: Tensor = self.vision.visual_projection(frames)
            return placed
        pictures = frames.flatten(0, 1).split(CHUNK)
        masks = [None] * len(pictures) if persons is None else persons.flatten(0, 1).split(CHUNK)
        rows = [self.vision.look(some, where) for some, where in zip(pictures, masks, strict=True)]
        return torch.unflatten(torch.cat(rows), 0, frames.shape[:2])

    def encode_video(self, frames: Tensor, persons: Tensor | None = None) -> Tensor:
        """Frames uint8 (B, T, 3, S, S) and masks (B, T, S, S) -> (B, E), not normalised."""
        return self.fuse(self.encode_frames(frames, persons))

    def fuse(self, features: Tensor) -> Tensor:
        """Features of frames (B, T, E) -> of clips (B, E)."""
        fused: Tensor = self.temporal(frames_of(features, self.config.frames))
        return fused

    def encode_text(self, ids: Tensor, ends: Tensor | None = None) -> Tensor:
        """Ids (B, n) -> (B, E), not normalised; without `ends` a text ends at its largest id, as CLIP's do."""
        features: Tensor = self.text(ids, ids.argmax(-1) if ends is None else ends)
        return features

    def features(self, batch: EvidenceBatch) -> Tensor:
        """Unit vectors (B, E) of clips; frozen, so they may be kept."""
        assert batch.frames is not None
        with torch.no_grad():
            return F.normalize(self.encode_video(batch.frames, batch.persons), dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, C) of unit vectors (B, E)."""
        if self.probe is None:
            raise ConfigError(
                "this EmotionCLIP has no labels: fit a probe with scripts/train.py and one of "
                "configs/emotion/emotionclip_*.yaml"
            )
        logits: Tensor = self.probe(features)
        return logits

    def losses(self, features: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> RecogniserLosses:
        """Cross-entropy of the probe with label indices (B,), or of each label for itself with shares (B, C)."""
        logits = self(features)
        if self.config.belief == "several":
            loss = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        else:
            loss = F.cross_entropy(logits, labels)
        return RecogniserLosses(loss, loss.detach())

    @torch.no_grad()
    def predict(self, features: Tensor) -> EmotionBelief:
        """The belief of clips (B, E)."""
        logits = self(features)
        several = self.config.belief == "several"
        return EmotionBelief(
            self.labels, logits.sigmoid() if several else logits.softmax(-1), features, self.config.belief
        )

    def parameter_groups(self, lr: float, slow: float) -> list[dict[str, Any]]:
        """Optimiser groups: what CLIP does not have at the rate, its towers at `slow` times it; gains and biases
        without decay."""
        old = {id(p) for tower in (self.vision, self.text) for p in tower.parameters()}
        groups = []
        for from_clip in (False, True):
            for flat in (False, True):
                members = [
                    p for p in self.parameters()
                    if p.requires_grad and (id(p) in old) == from_clip and (p.ndim < 2) == flat
                ]  # fmt: skip
                decay = {"weight_decay": 0.0} if flat else {}
                if members:
                    groups.append({"params": members, "lr": lr * (slow if from_clip else 1.0), **decay})
        return groups

    def released_groups(self) -> list[dict[str, Any]]:
        """As the released code trains: gains and biases at 5e-5, all matrices and the scale at 1e-8."""
        flat = [p for p in self.parameters() if p.requires_grad and p.ndim == 1]
        whole = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        return [
            {"params": flat, "lr": 5e-5, "weight_decay": 0.0},
            {"params": whole, "lr": 1e-8},
            {"params": [self.scale], "lr": 1e-8, "weight_decay": 0.0},
        ]

    def trained_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def build_emotion_clip(config: EmotionClipConfig, clip: ClipTowers | None = None) -> EmotionClip:
    """An untrained recogniser that starts from a CLIP pair, opened unless handed in."""
    clip = clip or open_emotion_pair(config)
    model = EmotionClip(replace(config, clip=clip.config))
    own = dict(clip.vision.net.state_dict())
    missing, strange = model.vision.load_state_dict(own, strict=False)
    assert not strange and all(name == "human" or name.startswith("masking.") for name in missing)
    model.text.load_state_dict(clip.text.state_dict())
    if model.probe is not None:  # labels are for a probe on frozen features
        model.requires_grad_(False)
        model.probe.requires_grad_(True)
    return model.eval()


def open_emotion_pair(config: EmotionClipConfig) -> ClipTowers:
    """The CLIP pair that it starts from."""
    return open_clip(config.clip, ["a person", *config.labels])


def restore_emotion_clip(config: EmotionClipConfig, state: Mapping[str, Tensor], folder: Path) -> EmotionClip:
    """The recogniser of a configuration and what its folder keeps."""
    return filled(lambda: EmotionClip(config), state, str(folder))


def with_probe(model: EmotionClip, labels: list[str], weight: Tensor, bias: Tensor, belief: str) -> EmotionClip:
    """The same recogniser with a probe of labels, weights (C, E) and bias (C,)."""
    config = replace(model.config, labels=labels, belief=belief)  # type: ignore[arg-type]
    probed = EmotionClip(config)
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("probe.")}
    probed.load_state_dict({**own, "probe.weight": weight.float(), "probe.bias": bias.float()})
    return probed.eval()


RECOGNISER = RecogniserKind(
    "emotion_clip", "EmotionCLIP", EmotionClipConfig, build_emotion_clip, restore_emotion_clip, open=open_emotion_pair
)
