"""Waves, spoken sentences and files with sound that the tests share."""

import wave as wave_file
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioner.synth.voice.prosody import sample_prosody, sample_speaker
from captioner.synth.voice.source_filter import say
from captioner.video.reading import write_video

SENTENCE = "The train will leave the station at seven."


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0) -> NDArray[np.float32]:
    t = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def spoken(seed: int, emotion: str = "neutral", text: str = SENTENCE, silence: float = 0.4) -> NDArray[np.float32]:
    """A sentence of a random person between two silences, over a faint noise."""
    rng = np.random.default_rng(seed)
    said = say(text, sample_speaker(rng, "p"), sample_prosody(rng, emotion), rng).wave
    quiet = np.zeros(round(silence * 16_000), np.float32)
    whole = np.concatenate([quiet, said, quiet])
    return whole + 5e-4 * rng.standard_normal(len(whole)).astype(np.float32)


def film(path: Path, sound: NDArray[np.float32] | None, rate: int = 16_000, seconds: float = 2.0) -> Path:
    """A small video of noise with a sound track, or without one."""
    frames = np.random.default_rng(0).integers(0, 256, (round(seconds * 8), 48, 64, 3), dtype=np.uint8)
    write_video(path, frames, 8, sound=None if sound is None else (sound, rate))
    return path


def wav(path: Path, channels: NDArray[np.float32], rate: int) -> Path:
    """A file of 16-bit samples (channels, N)."""
    with wave_file.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((channels.T * 32767).astype("<i2").tobytes())
    return path
