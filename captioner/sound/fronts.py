"""What a net takes in of a sound: MFCC, log-mel, or the states of a speech model that is named.

Axes: B sounds, N samples, F frames, C numbers of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from captioner.errors import CheckpointError, said_in_a_line
from captioner.sound.audio import Sound, read_spans
from captioner.sound.spectra import log_mel, mfcc
from captioner.store import Kept

SCALE = 1 / 40.0  # brings decibels (-80 to 0 below the loudest) and cepstra near to 1


@dataclass(frozen=True)
class FrontConfig:
    """How sound becomes numbers."""

    kind: Literal["logmel", "mfcc", "speech"] = "logmel"
    """mfcc: of the published AV-CANet; speech: hidden states of the model that `source` names."""
    rate: int = 16_000
    """Samples a second; the published MFCC are of 44100."""
    bands: int = 64
    """Mel bands, or cepstral coefficients."""
    source: str = ""
    """A wav2vec2, HuBERT or WavLM by hub name or folder; its weights are fetched when it is first used."""
    layer: int = -1
    """Of its hidden states."""


class SoundFront:
    """Samples (B, N) -> frames (B, F, C); nothing in it is trained."""

    def __init__(self, config: FrontConfig) -> None:
        self.config = config

    @property
    def width(self) -> int:
        """Numbers of a frame."""
        config = self.config
        return config.bands if config.kind != "speech" else int(_speech(config.source).config.hidden_size)

    @torch.no_grad()
    def __call__(self, waves: Tensor) -> Tensor:
        config = self.config
        if config.kind == "mfcc":
            return mfcc(waves, config.rate, config.bands)
        if config.kind == "logmel":
            level = log_mel(waves, config.rate, config.bands)
            return (level - level.amax((-1, -2), keepdim=True)) * SCALE + 1
        model = _speech(config.source)
        waves = F.pad(waves, (0, max(0, 400 - waves.shape[-1])))  # the shortest that its convolutions take
        scaled = (waves - waves.mean(1, keepdim=True)) / (waves.var(1, keepdim=True) + 1e-7).sqrt()
        states: Tensor = model(scaled.to(model.device), output_hidden_states=True).hidden_states[config.layer]
        return states.cpu()


@lru_cache(maxsize=2)
def _speech(source: str) -> Any:
    """A speech model of transformers, safetensors only."""
    from transformers import AutoModel
    from transformers.utils import logging as says

    says.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(source, use_safetensors=True)
    except Exception as error:  # of the hub, of safetensors: each has its own
        raise CheckpointError(
            f"the sound front {source!r} cannot be opened ({said_in_a_line(error)}): name a wav2vec2, HuBERT or "
            "WavLM with safetensors weights, by hub name or folder"
        ) from None
    return model.eval().requires_grad_(False)


def resampled_in_time(frames: Tensor, count: int) -> Tensor:
    """Frames (..., F, C) as exactly `count`, by linear interpolation."""
    flat = frames.reshape(-1, *frames.shape[-2:]).transpose(1, 2)
    scaled = F.interpolate(flat, count, mode="linear", align_corners=False) if flat.shape[-1] != count else flat
    return scaled.transpose(1, 2).reshape(*frames.shape[:-2], count, frames.shape[-1])


class SpanFrames(Kept[Tensor]):
    """Frames (S, F, C) of S spans of a video's sound, kept in a store; no sound is an empty first axis."""

    name = "sound"

    def __init__(self, folder: str | Path, config: FrontConfig, segments: int, frames: int, seconds: float) -> None:
        self.front, self.segments, self.frames, self.seconds = SoundFront(config), segments, frames, seconds
        super().__init__(folder, vars(config) | {"segments": segments, "frames": frames, "seconds": seconds})

    def compute(self, video: Path) -> Tensor:
        """From the video itself, its whole length."""
        from captioner.video.reading import probe

        sounds = read_spans(video, self.front.config.rate, segment_spans(0.0, probe(video).duration, self.segments,
                                                                          self.seconds))  # fmt: skip
        return span_frames(sounds, self.front, self.frames)


def segment_spans(start: float, end: float, segments: int, seconds: float) -> list[tuple[float, float]]:
    """Spans of at most `seconds` in the middle of equal parts; a part that is shorter is taken whole."""
    part = max(end - start, 1e-3) / segments
    length = min(seconds, part) if seconds else part
    middles = [start + (place + 0.5) * part for place in range(segments)]
    return [(max(0.0, middle - length / 2), middle + length / 2) for middle in middles]


def span_frames(sounds: list[Sound] | None, front: SoundFront, count: int) -> Tensor:
    """Frames (S, count, C) of spans; (0, count, C) where there is no sound, or none that is heard."""
    if not sounds or all(sound.silent for sound in sounds):
        return torch.zeros(0, count, front.width)
    size = max(len(sound.wave) for sound in sounds)
    waves = np.stack([np.pad(sound.wave, (0, size - len(sound.wave))) for sound in sounds])
    return resampled_in_time(front(torch.from_numpy(waves)), count)
