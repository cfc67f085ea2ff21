"""MER-CLIP, RECONSTRUCTED from its abstract: no code and no equations are public, so that nothing here claims parity.

    labels as texts -> label encoder -> queries -> block over text -> over audio -> over vision -> a score each

What the paper says: labels are texts whose meaning guides the features; a cross-modal decoder fuses modalities one
after the other, driven by the labels; the labels' encoder also predicts, so that other label sets may be asked for.
Axes: B clips, C labels, n tokens, T pictures, F frames of sound, W width of CLIP's shared space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.belief import EmotionBelief
from captioner.emotion.clip.opening import ClipTowers, encoder_of, open_clip
from captioner.emotion.clip.tower import TextTower
from captioner.emotion.clip.vision import VisionTower
from captioner.emotion.contract import EvidenceBatch, RecogniserKind, RecogniserLosses, SoundWants, Wants
from captioner.emotion.mer_clip.label_queries import CrossModalDecoder, LabelEncoder, Tokens
from captioner.emotion.mer_clip.mer_clip_config import MERClipConfig
from captioner.emotion.mer_clip.modality_encoders import PictureEncoder, ReadyEncoder, SoundEncoder
from captioner.errors import CheckpointError, ConfigError
from captioner.files import missing
from captioner.model.weights import fill
from captioner.sound import Sound
from captioner.sound.fronts import SoundFront

VOCABULARY = "text_tokenizer.json"
Features = Mapping[str, Tensor]


class MERClip(nn.Module):
    """The recogniser; `config` must have its labels and the sizes of its CLIP (see `build_mer_clip`)."""

    KIND = "mer_clip"

    def __init__(self, config: MERClipConfig, vocabulary: tokenizers.Tokenizer) -> None:
        super().__init__()
        if not config.labels:
            raise ConfigError("labels are missing: name at least two categories in emotion.labels")
        self.config, self.vocabulary, self.encode = config, vocabulary, encoder_of(vocabulary)
        width, heads, dropout = config.clip.width, config.heads, config.dropout
        self.front = SoundFront(config.heard.front)
        self.text = TextTower(config.clip).requires_grad_(False)
        heard, seen, ready = config.heard, config.seen, config.ready.shapes(config.order)
        self.vision = VisionTower(config.clip) if "vision" in config.order and "vision" not in ready else None
        self.label = LabelEncoder(config.label, self.text)
        self.sound = (
            SoundEncoder(width, self.front.width, heard.stride, heard.layers, heads, dropout)
            if "audio" in config.order and "audio" not in ready else None
        )  # fmt: skip
        self.pictures = PictureEncoder(width, seen.frames, seen.layers, heads, dropout) if self.vision else None
        layers = {"text": 0, "audio": heard.layers, "vision": seen.layers}  # text features have seen each other before
        self.ready = nn.ModuleDict({
            name: ReadyEncoder(*shape, width, layers[name], heads, dropout) for name, shape in ready.items()
        })  # fmt: skip
        self.decoder = CrossModalDecoder(config.order, width, heads, dropout, config.answer.temperature)
        ids, ends = self.label.ids(config.labels, self.encode)
        self.register_buffer("label_ids", ids, persistent=False)
        self.register_buffer("label_ends", ends, persistent=False)

    def train(self, mode: bool = True) -> MERClip:
        """The text tower stays in evaluation."""
        super().train(mode)
        self.text.eval()
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """The categories in their order."""
        return tuple(self.config.labels)

    @property
    def wants(self) -> Wants:
        """What the modalities of the order need; ready features cannot be made of a clip."""
        config, order = self.config, self.config.order
        if self.ready:
            raise ConfigError(
                f"this recogniser takes ready features ({', '.join(self.ready)}) out of a file, no videos: train one "
                "on videos, scripts/train.py with their folder as --data.root"
            )
        sound = SoundWants(config.heard.front.rate, config.heard.seconds, config.heard.front.kind)
        return Wants(
            segments=config.seen.frames if "vision" in order else 0,
            size=config.clip.image_size,
            crop="face" if config.clip.tower == "face" else "frame",
            sound=sound if "audio" in order else None,
            words="text" in order,
        )

    @torch.no_grad()
    def features(self, batch: EvidenceBatch) -> Features:
        """What frozen parts say: states of words (B, n, W), frames of sound (B, F, C), of pictures (B, T, W)."""
        found: dict[str, Tensor] = {}
        device = next(self.parameters()).device
        if "text" in self.config.order:
            found["text"], found["text_mask"] = self.read(batch.words)
        if self.sound is not None:
            found["audio"], found["audio_length"] = (x.to(device) for x in self.hear(batch.sounds))
        if self.vision is not None and batch.frames is not None:
            found["vision"] = self.vision(batch.frames)
        return found

    def frozen(self) -> nn.Module:
        """What training never changes, of what is kept."""
        return nn.Module() if self.vision is None else self.vision.net

    def read(self, words: Sequence[str]) -> tuple[Tensor, Tensor]:
        """States (B, n, W) of what is said, in a window of fixed length, and which count (B, n): none without words."""
        room = self.config.clip.context
        rows = [self._fitted(self.encode(text), room) if text.strip() else [] for text in words]
        device = next(self.parameters()).device
        ids = torch.tensor([row + [0] * (room - len(row)) for row in rows], device=device)
        mask = torch.arange(room, device=device) < torch.tensor([len(row) for row in rows], device=device)[:, None]
        states = self.text.text_projection(self.text.final_layer_norm(self.text.run(self.text.embed(ids))))
        return states * mask[..., None], mask

    def _fitted(self, ids: list[int], room: int) -> list[int]:
        """Start, as many pieces as the window takes, end."""
        if len(ids) <= room:
            return ids
        inner = ids[1:-1]
        kept = inner[: room - 2] if self.config.spoken.keep == "first" else inner[len(inner) - (room - 2) :]
        return [ids[0], *kept, ids[-1]]

    def hear(self, sounds: Sequence[Sound | None]) -> tuple[Tensor, Tensor]:
        """Frames (B, F, C) of sounds, padded to the longest that is asked for, and how many each has (B,)."""
        heard = self.config.heard
        wanted = round(heard.seconds * heard.front.rate)
        most = self.front(torch.zeros(1, wanted)).shape[1]
        frames = torch.zeros(len(sounds), most, self.front.width)
        lengths = torch.zeros(len(sounds), dtype=torch.long)
        for row, sound in enumerate(sounds):
            if sound is not None and not sound.silent:
                found = self.front(torch.from_numpy(sound.wave[:wanted])[None])[0][:most]
                frames[row, : len(found)], lengths[row] = found, len(found)
        return frames, lengths

    def anchors(self, labels: Sequence[str] | None = None) -> Tensor:
        """The unit vectors (C, W) of labels, its own by default; any words will do."""
        ids, ends = (self.label_ids, self.label_ends) if labels is None else self.label.ids(labels, self.encode)
        device = next(self.parameters()).device
        found: Tensor = self.label(self.text, ids.to(device), ends.to(device))
        return found

    def tokens(self, features: Features, generator: torch.Generator | None = None) -> dict[str, Tokens]:
        """What each modality of the order says; in training some modalities of some clips are hidden."""
        said: dict[str, Tokens] = {
            name: encoder(features[name].float()) for name, encoder in self.ready.items() if name in features
        }
        if "text" in features and "text" not in self.ready:
            mask = features["text_mask"].bool()
            said["text"] = Tokens(features["text"].float(), mask, mask.any(1))
        if "audio" in features and self.sound is not None:
            lengths = features["audio_length"]
            states, mask = self.sound(features["audio"].float(), lengths)
            said["audio"] = Tokens(states, mask, lengths > 0)
        if "vision" in features and self.pictures is not None:
            states = self.pictures(features["vision"].float())
            whole = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
            said["vision"] = Tokens(states, whole, features["vision"].abs().amax((1, 2)) > 0)
        if not said:
            raise ConfigError(f"nothing of {', '.join(self.config.order)} was handed in")
        clips = next(iter(said.values()))
        for name in self.config.order:
            if name not in said:
                nothing = torch.zeros_like(clips.present)
                said[name] = Tokens(torch.zeros_like(clips.states), torch.zeros_like(clips.mask), nothing)
        return self._hidden(said, generator) if self.training else said

    def _hidden(self, said: dict[str, Tokens], generator: torch.Generator | None) -> dict[str, Tokens]:
        """Some modalities hidden, never the last that a clip has."""
        present = torch.stack([said[name].present for name in self.config.order], 1)  # (B, modalities)
        draw = torch.rand(present.shape, generator=generator, device="cpu").to(present.device)
        kept = present & (draw >= self.config.modality_dropout)
        kept = torch.where(kept.any(1, keepdim=True), kept, present)
        return {name: replace(said[name], present=kept[:, i]) for i, name in enumerate(self.config.order)}

    def forward(self, features: Features, labels: Sequence[str] | None = None) -> Tensor:
        """Logits (B, C) of its labels, or of any others."""
        anchors = self.anchors(labels)
        return self.decoder.score(self.decoder(anchors, self.tokens(features))[0], anchors)

    def losses(self, features: Features, labels: Tensor, generator: torch.Generator | None = None) -> RecogniserLosses:
        """Of label indices (B,), of shares of several labels (B, C), or of numbers (B,), as the task is."""
        anchors, answer = self.anchors(), self.config.answer
        said = self.tokens(features, generator)
        queries, after = self.decoder(anchors, said)
        logits = self.decoder.score(queries, anchors)
        nearest = labels
        if answer.task == "several":
            task = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        elif answer.task == "regression":
            nearest = (labels[:, None] - self.values(logits)).abs().argmin(1)
            task = F.l1_loss(self.number(logits), labels.to(logits.dtype)) + answer.bins * F.cross_entropy(
                logits, nearest
            )
        else:
            task = F.cross_entropy(logits, labels)
        if not answer.align:
            return RecogniserLosses(task, task.detach())
        align = self.alignment(after, said, anchors, nearest)
        return RecogniserLosses(task + answer.align * align, task.detach(), {"align": align.detach()})

    def alignment(
        self, after: Mapping[str, Tensor], said: Mapping[str, Tokens], anchors: Tensor, labels: Tensor
    ) -> Tensor:
        """Every modality brings a clip near to its label in the labels' space: mean cross-entropy of those there."""
        costs = []
        for name, queries in after.items():
            near = self.decoder.shared(queries, anchors) @ anchors.T / 0.07
            if self.config.answer.task == "several":
                cost = F.binary_cross_entropy_with_logits(near, labels.to(near.dtype), reduction="none").mean(1)
            else:
                cost = F.cross_entropy(near, labels, reduction="none")
            there = said[name].present.to(cost.dtype)
            costs.append((cost * there).sum() / there.sum().clamp(min=1))
        return torch.stack(costs).mean()

    def values(self, like: Tensor) -> Tensor:
        """What the labels are worth (C,)."""
        return torch.tensor(self.config.answer.values, dtype=like.dtype, device=like.device)

    def number(self, logits: Tensor) -> Tensor:
        """The labels' values, weighed by their probabilities: (B,)."""
        return logits.softmax(-1) @ self.values(logits)

    @torch.no_grad()
    def predict(self, features: Features, labels: Sequence[str] | None = None) -> EmotionBelief:
        """The belief of clips, in its labels or in any others."""
        anchors = self.anchors(labels)
        queries = self.decoder(anchors, self.tokens(features))[0]
        logits = self.decoder.score(queries, anchors)
        several = self.config.answer.task == "several"
        probs = logits.sigmoid() if several else logits.softmax(-1)
        names = self.labels if labels is None else tuple(labels)
        return EmotionBelief(names, probs, self.decoder.shared(queries, anchors), "several" if several else "single")

    def parameter_groups(self, lr: float, slow: float) -> list[dict[str, Any]]:
        """All that is trained, at the rate; CLIP's towers stay as they are."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": lr}]

    def trained_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


# Letters, so that a vocabulary made for random weights spells any word.
_ALPHABET = "a b c d e f g h i j k l m n o p q r s t u v w x y z abcdefghijklmnopqrstuvwxyz 0123456789 ' , . ! ?"


def open_pair(config: MERClipConfig) -> ClipTowers:
    """The CLIP pair of a configuration."""
    return open_clip(config.clip, [_ALPHABET, *(config.label.template.format(label) for label in config.labels)])


def build_mer_clip(config: MERClipConfig, clip: ClipTowers | None = None) -> MERClip:
    """An untrained recogniser that starts from a CLIP pair, opened unless handed in."""
    clip = clip or open_pair(config)
    model = MERClip(replace(config, clip=clip.config), clip.vocabulary)
    model.text.load_state_dict(clip.text.state_dict())
    if model.vision is not None:
        model.vision.load_state_dict(clip.vision.state_dict())
    return model.eval()


def restore_mer_clip(config: MERClipConfig, state: Mapping[str, Tensor], folder: Path) -> MERClip:
    """The recogniser of a folder, which keeps its vocabulary too."""
    file = folder / VOCABULARY
    if not file.is_file():
        raise CheckpointError(f"{folder} lacks the vocabulary of its texts: {missing(file)}")
    try:
        vocabulary = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{file} is not a tokenizer: {str(error).splitlines()[0]}") from None
    model = MERClip(config, vocabulary)
    fill(model, state, str(folder))
    return model.eval()


def keep_vocabulary(model: MERClip, folder: Path) -> None:
    """Beside the weights."""
    (folder / VOCABULARY).write_text(model.vocabulary.to_str(), encoding="utf-8")


RECOGNISER = RecogniserKind(
    "mer_clip", "MER-CLIP (reconstructed)", MERClipConfig, build_mer_clip, restore_mer_clip, open_pair,
    keep=keep_vocabulary,
)  # fmt: skip
