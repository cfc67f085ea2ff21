"""AV-CANet (eMotions): snippets of pictures and of sound, fused locally, weighed over levels, fused globally.

    pictures -> Video Swin ----+                                                    +-> audio half of the answer
                               +-> LISF -> selective integration -> GLCF -> head ---+
    sound -> MFCC -> ResNet34 -+                                                    +-> visual half

The three losses are of the answer and of its two halves; the halves see fused features.
Axes: B clips, s snippets, T pictures of a snippet, F frames of a chunk of sound, C their coefficients, K labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captioner.emotion.av_canet.av_canet_config import AVCANetConfig
from captioner.emotion.av_canet.cross_fusion import BranchHead, build_av_fusion
from captioner.emotion.av_canet.polarity import PolarityLoss
from captioner.emotion.av_canet.streams import AudioStream, VideoStream, start_swin
from captioner.emotion.belief import EmotionBelief
from captioner.emotion.contract import EvidenceBatch, RecogniserKind, RecogniserLosses, SoundWants, Wants
from captioner.errors import ConfigError
from captioner.files import SHIPPED
from captioner.model.experts import load_experts
from captioner.model.weights import fill
from captioner.sound import Sound
from captioner.sound.fronts import SoundFront, resampled_in_time

Features = Mapping[str, Tensor]


class AVCANet(nn.Module):
    """The recogniser; `config` must have its labels."""

    KIND = "av_canet"

    def __init__(self, config: AVCANetConfig) -> None:
        super().__init__()
        if not config.labels:
            raise ConfigError("labels are missing: name at least two categories in emotion.labels")
        self.config = config
        self.front = SoundFront(config.audio.front)
        self.video = VideoStream(config.video, config.width) if config.streams != "audio" else None
        self.audio = AudioStream(config.audio, config.width) if config.streams != "video" else None
        both = config.streams == "both"
        self.fusion = build_av_fusion(config.fusion, config.width) if both else None
        self.head = BranchHead(config.fusion.head if both else "sum", config.width, len(config.labels))
        self.criterion = PolarityLoss(config.labels, config.loss)

    @property
    def labels(self) -> tuple[str, ...]:
        """The categories in their order."""
        return tuple(self.config.labels)

    @property
    def wants(self) -> Wants:
        """Pictures of each snippet, and the sound of each or of the clip."""
        config, video, audio = self.config, self.config.video, self.config.audio
        sound = None
        if self.audio is not None and audio.align == "segments":
            sound = SoundWants(audio.front.rate, audio.seconds, audio.front.kind, segments=config.segments)
        elif self.audio is not None:
            sound = SoundWants(audio.front.rate, audio.seconds * config.segments, audio.front.kind)
        segments = config.segments if self.video is not None else 0
        return Wants(
            segments=segments, frames=video.frames, size=video.size, crop=video.crop, step=video.step, sound=sound
        )

    @torch.no_grad()
    def features(self, batch: EvidenceBatch) -> Features:
        """Pictures, or the frozen trunks' view of them; chunks (B, s, F, C) of the sound's front; who is heard (B,)."""
        found: dict[str, Tensor] = {}
        if self.video is not None and batch.frames is not None:
            found["frames"] = self.video.frozen(batch.frames)
        if self.audio is not None:
            chunks = [self.chunks(sound) for sound in batch.sounds]
            device = next(self.parameters()).device
            found["sound"] = torch.stack(chunks).to(device)
            found["heard"] = torch.tensor([is_heard(sound) for sound in batch.sounds], device=device)
        return found

    def frozen(self) -> nn.Module:
        """What training never changes."""
        return nn.Module() if self.video is None or self.video.faces is None else self.video.faces.vision_model

    def chunks(self, sound: Sound | None) -> Tensor:
        """The front's frames of each snippet's chunk (s, F, C); zeros where nothing is heard, which nobody looks at."""
        config = self.config
        if sound is None or not is_heard(sound):
            return torch.zeros(config.segments, config.audio.frames, self.front.width)
        wave = torch.from_numpy(sound.wave)
        if config.audio.align == "segments":
            return resampled_in_time(self.front(wave.unflatten(0, (config.segments, -1))), config.audio.frames)
        frames = self.front(wave[None])[0]  # of the whole clip, repeated until the chunks are full
        wanted = config.segments * config.audio.frames
        tiled = frames.repeat(-(-wanted // len(frames)), 1)[:wanted]
        chunks: Tensor = tiled.unflatten(0, (config.segments, config.audio.frames))
        return chunks

    def streams(self, features: Features) -> tuple[Tensor | None, Tensor | None]:
        """The streams (B, s, W) of sound and of pictures, each None where it is left out."""
        audio = None if self.audio is None else self.audio(features["sound"].float(), features["heard"].bool())
        video = None if self.video is None else self.video(features["frames"])
        return audio, video

    def fused(self, features: Features) -> tuple[Tensor, Tensor]:
        """One vector (B, W) of sound and one of pictures; of a single stream its mean, and nothing of the other."""
        audio, video = self.streams(features)
        if audio is None or video is None:
            only = audio if video is None else video
            assert only is not None
            mean = only.mean(1)
            return (mean, torch.zeros_like(mean)) if video is None else (torch.zeros_like(mean), mean)
        assert self.fusion is not None
        pair: tuple[Tensor, Tensor] = self.fusion(audio, video)
        return pair

    def answers(self, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, K): together, of the sound's half, of the pictures' half."""
        found: tuple[Tensor, Tensor, Tensor] = self.head(*self.fused(features))
        return found

    def forward(self, features: Features) -> Tensor:
        return self.answers(features)[0]

    def losses(self, features: Features, labels: Tensor, generator: torch.Generator | None = None) -> RecogniserLosses:
        """The loss of the answer and of its halves, added up."""
        together, audio, video = self.answers(features)
        task = self.criterion(together, labels)
        if not self.config.loss.branches or self.config.streams != "both":
            return RecogniserLosses(task, task.detach())
        parts = {"audio": self.criterion(audio, labels), "video": self.criterion(video, labels)}
        total = task + parts["audio"] + parts["video"]
        return RecogniserLosses(total, task.detach(), {name: part.detach() for name, part in parts.items()})

    @torch.no_grad()
    def predict(self, features: Features) -> EmotionBelief:
        """The belief of clips, and the vectors (B, 2 W) that it was read from."""
        audio, video = self.fused(features)
        probs = self.head(audio, video)[0].softmax(-1)
        return EmotionBelief(self.labels, probs, torch.cat([audio, video], -1))

    def parameter_groups(self, lr: float, slow: float) -> list[dict[str, Any]]:
        """All alike, as published; what comes from Video Swin's weights may go at `slow` times the rate."""
        live = [p for p in self.parameters() if p.requires_grad]
        swin = self.video.swin if self.video is not None else None
        pretrained = set() if swin is None else {id(p) for p in swin.parameters()}
        groups = [([p for p in live if id(p) not in pretrained], 1.0), ([p for p in live if id(p) in pretrained], slow)]
        return [{"params": members, "lr": lr * scale} for members, scale in groups if members]

    def trained_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def is_heard(sound: Sound | None) -> bool:
    """Whether a clip has sound that is not silence."""
    return sound is not None and not sound.silent


def build_av_canet(config: AVCANetConfig, shared: None = None) -> AVCANet:
    """An untrained AV-CANet; frozen trunks of faces are the shipped experts', Video Swin may start from a file."""
    model = AVCANet(config)
    if model.video is not None and model.video.faces is not None:
        model.video.faces.start_from(load_experts(SHIPPED / "experts"))
    if model.video is not None and model.video.swin is not None and config.video.pretrained:
        start_swin(model.video.swin, Path(config.video.pretrained))
    return model.eval()


def restore_av_canet(config: AVCANetConfig, state: Mapping[str, Tensor], folder: Path) -> AVCANet:
    """The recogniser of a folder."""
    model = AVCANet(config)
    fill(model, state, str(folder))
    return model.eval()


RECOGNISER = RecogniserKind("av_canet", "AV-CANet", AVCANetConfig, build_av_canet, restore_av_canet)


def late_mean(beliefs: Sequence[EmotionBelief]) -> EmotionBelief:
    """The mean of beliefs of single streams: what a fusion must be better than."""
    probs = torch.stack([belief.aligned(beliefs[0].labels).probs for belief in beliefs]).mean(0)
    return EmotionBelief(beliefs[0].labels, probs, torch.cat([belief.features for belief in beliefs], -1))
