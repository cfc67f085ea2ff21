"""How emotions sound: pitch, range, pace, loudness, brightness, breath, tremble; and who speaks.

One table for both voices. The spread is wide, so that single utterances of two emotions overlap as people's do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

VOICE_EMOTIONS = ("anger", "fear", "happiness", "neutral", "sadness", "surprise")


@dataclass(frozen=True)
class Prosody:
    """Factors on a speaker's own way (pitch, range, pace), and absolute ones: level in dB, the rest 0 to 1."""

    pitch: float = 1.0
    span: float = 1.0
    """Of the melody."""
    pace: float = 1.0
    level: float = -24.0
    bright: float = 0.35
    breath: float = 0.1
    tremble: float = 0.05
    rise: float = -0.1
    """Of the pitch over the sentence: below 0 it falls."""


PROSODY: Mapping[str, Prosody] = MappingProxyType(
    {
        "anger": Prosody(1.15, 1.25, 1.12, -15.0, 0.75, 0.08, 0.08, -0.15),
        "fear": Prosody(1.38, 0.75, 1.25, -25.0, 0.45, 0.30, 0.65, 0.05),
        "happiness": Prosody(1.28, 1.6, 1.08, -19.0, 0.55, 0.10, 0.08, -0.02),
        "neutral": Prosody(),
        "sadness": Prosody(0.88, 0.5, 0.78, -33.0, 0.15, 0.25, 0.18, -0.25),
        "surprise": Prosody(1.42, 1.7, 0.98, -21.0, 0.45, 0.18, 0.06, 0.40),
    }
)
SHOUT = Prosody(1.55, 1.1, 0.95, -12.0, 0.98, 0.05, 0.05, -0.05)
# Emotions of the captioner that have no voice of their own sound like these.
SOUNDS_LIKE: Mapping[str, str] = MappingProxyType(
    {"disgust": "anger", "contempt": "neutral", "anxiety": "fear", "helplessness": "sadness",
     "disappointment": "sadness", "joy": "happiness"}
)  # fmt: skip


@dataclass(frozen=True)
class Speaker:
    """A person's voice: usual pitch in hertz, length of the throat (1: a tall man's), own pace and roughness."""

    pitch: float
    throat: float
    pace: float
    rough: float
    name: str


def sample_speaker(rng: np.random.Generator, name: str, woman: bool | None = None) -> Speaker:
    """A random person."""
    woman = bool(rng.random() < 0.5) if woman is None else woman
    pitch = rng.normal(205, 22) if woman else rng.normal(118, 16)
    throat = rng.normal(0.86, 0.03) if woman else rng.normal(1.0, 0.035)
    return Speaker(float(np.clip(pitch, 80, 280)), float(throat), float(rng.normal(1.0, 0.08)),
                   float(rng.uniform(0.005, 0.02)), name)  # fmt: skip


def sample_prosody(rng: np.random.Generator, emotion: str, strength: float = 1.0) -> Prosody:
    """How somebody says something this time; a strength of 0 is neutral, 1 the whole of the emotion."""
    own, rest = PROSODY[SOUNDS_LIKE.get(emotion, emotion)], PROSODY["neutral"]
    mixed = {key: getattr(rest, key) + strength * (getattr(own, key) - getattr(rest, key)) for key in vars(own)}
    return varied(rng, Prosody(**mixed))


def varied(rng: np.random.Generator, prosody: Prosody) -> Prosody:
    """The same way, as it comes out this time."""
    mixed = vars(prosody)
    factor = np.exp(rng.normal(0, (0.07, 0.22, 0.08)))
    return replace(
        prosody,
        pitch=float(mixed["pitch"] * factor[0]), span=float(mixed["span"] * factor[1]),
        pace=float(mixed["pace"] * factor[2]), level=float(np.clip(mixed["level"] + rng.normal(0, 2.5), -42, -11)),
        bright=float(np.clip(mixed["bright"] + rng.normal(0, 0.1), 0, 1)),
        breath=float(np.clip(mixed["breath"] + rng.normal(0, 0.05), 0, 1)),
        tremble=float(np.clip(mixed["tremble"] + rng.normal(0, 0.06), 0, 1)),
        rise=float(mixed["rise"] + rng.normal(0, 0.08)),
    )  # fmt: skip
