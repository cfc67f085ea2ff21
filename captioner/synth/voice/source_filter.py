"""A small voice of our own: a buzz of the vocal cords through three resonances, noise for what hisses.

Axes: N samples at `VOICE_RATE`, K control frames of 5 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from captioner.synth.voice.phonemes import PAUSE, Phone, is_vowel, phones_of
from captioner.synth.voice.prosody import Prosody, Speaker

VOICE_RATE = 16_000
STEP = 80  # samples of a control frame
_BANDWIDTHS = (80.0, 110.0, 170.0)


@dataclass(frozen=True)
class Utterance:
    """Samples float32 (N,), their rate, and how far the mouth is open (K,), one value every `step` seconds."""

    wave: NDArray[np.float32]
    rate: int
    mouth: NDArray[np.float64]
    step: float
    text: str

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.wave) / self.rate


def say(text: str, speaker: Speaker, prosody: Prosody, rng: np.random.Generator) -> Utterance:
    """A sentence by a person in a way."""
    sounds = [("h", PAUSE), *phones_of(text), (" ", PAUSE)]
    pace = speaker.pace * prosody.pace
    lengths = [phone.seconds / pace * rng.uniform(0.85, 1.2) for _, phone in sounds]
    wave, mouth = _render(sounds, lengths, _melody(sounds, lengths, speaker, prosody, rng), speaker, prosody, rng)
    return Utterance(wave, VOICE_RATE, mouth, STEP / VOICE_RATE, text)


def laugh(speaker: Speaker, prosody: Prosody, rng: np.random.Generator, seconds: float) -> Utterance:
    """Ha ha ha, four to five and a half a second."""
    rate = rng.uniform(4.0, 5.5)
    breath, vowel = Phone(0.0, (700, 1400, 2500), 0.0, 0.35, 0.5), Phone(0.0, (760, 1350, 2500), 1.0, 0.15, 0.95)
    count = max(2, int(seconds * rate))
    sounds, lengths = [], []
    for _ in range(count):
        sounds += [("h", breath), ("a", vowel)]
        lengths += [0.55 / rate, 0.45 / rate * rng.uniform(0.95, 1.05)]
    pitch = speaker.pitch * prosody.pitch * 1.35 * np.linspace(1.15, 0.85, len(sounds))
    wave, mouth = _render(sounds, lengths, pitch, speaker, prosody, rng)
    return Utterance(wave, VOICE_RATE, mouth, STEP / VOICE_RATE, "")


def _melody(
    sounds: list[tuple[str, Phone]], lengths: list[float], speaker: Speaker, prosody: Prosody, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The pitch at each sound: accents on some syllables over a line that falls, or rises in wonder."""
    middle = np.cumsum(lengths) - np.array(lengths) / 2
    line = prosody.rise * (middle / middle[-1] - 0.3)
    vowels = [place for place, (letter, _) in enumerate(sounds) if is_vowel(letter)]
    accents = np.zeros(len(sounds))
    for place in vowels:
        accents[place] = rng.uniform(-0.05, 0.16) if rng.random() < 0.6 else rng.uniform(0.08, 0.26)
    accents = np.convolve(accents, [0.3, 1.0, 0.3], mode="same")
    if prosody.rise > 0.15 and vowels:  # wonder goes up at the end
        accents[vowels[-1] :] += 0.5 * prosody.rise
    melody: NDArray[np.float64] = speaker.pitch * prosody.pitch * np.exp2(prosody.span * (accents + line))
    return melody


def _render(
    sounds: list[tuple[str, Phone]], lengths: list[float], pitch: NDArray[np.float64], speaker: Speaker,
    prosody: Prosody, rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:  # fmt: skip
    ends = np.cumsum(lengths)
    count = int(ends[-1] * VOICE_RATE / STEP) + 1
    t = (np.arange(count) + 0.5) * STEP / VOICE_RATE
    owner = np.minimum(np.searchsorted(ends, t), len(sounds) - 1)
    phones = [phone for _, phone in sounds]

    def smooth(values: Any, width: int) -> NDArray[np.float64]:
        curve = np.array([values[place] for place in owner], np.float64)
        window = np.hanning(width + 2)[1:-1]
        padded = np.pad(curve, width // 2, mode="edge")
        return np.convolve(padded, window / window.sum(), mode="valid")[:count]

    hertz = smooth(pitch.tolist(), 21)
    hertz = hertz * (1 + 0.09 * prosody.tremble * np.sin(2 * np.pi * (rng.uniform(5.5, 7.5) * t + rng.random())))
    hertz = hertz * (1 + speaker.rough * rng.standard_normal(count))
    voice = smooth([phone.voice for phone in phones], 5)
    voice = voice * (1 - 0.4 * prosody.tremble * (0.5 + 0.5 * np.sin(2 * np.pi * 6.3 * t)))
    noise = smooth([phone.noise for phone in phones], 5)
    mouth = smooth([phone.mouth for phone in phones], 11)
    cords = _cords(hertz, prosody.bright)
    hiss = rng.standard_normal(count * STEP)
    gate = np.repeat(voice, STEP)
    source = cords * gate + hiss * (0.25 * prosody.breath * gate + 0.3 * np.repeat(noise, STEP))
    formants = np.stack([smooth([phone.formants[k] for phone in phones], 9) for k in range(3)]) / speaker.throat
    wave = _resonate(source, formants)
    bright = np.repeat([phones[place].bright > 0 for place in owner], STEP)
    wave += 0.5 * lfilter([1, -0.9], [1], hiss) * np.repeat(noise, STEP) * bright * np.abs(wave).max() * 0.05
    loud = np.sqrt(np.mean(wave[np.repeat(voice > 0.3, STEP)] ** 2)) if (voice > 0.3).any() else np.abs(wave).max()
    scaled = wave / max(loud, 1e-9) * 10 ** (prosody.level / 20)
    return np.tanh(scaled).astype(np.float32), mouth * min(1.3, 0.75 + 0.03 * (prosody.level + 32))


def _cords(hertz: NDArray[np.float64], bright: float) -> NDArray[np.float64]:
    """Pulses at a pitch (K,): a saw of few or many harmonics, (N,)."""
    phase = np.cumsum(np.repeat(hertz, STEP)) / VOICE_RATE
    saw = 2 * (phase % 1) - 1
    keep = 0.93 - 0.55 * bright  # of a low-pass that takes the edge off a calm voice
    pulses: NDArray[np.float64] = lfilter([1 - keep], [1, -keep], np.diff(saw, prepend=0.0))
    return pulses


def _resonate(source: NDArray[np.float64], formants: NDArray[np.float64]) -> NDArray[np.float64]:
    """Through three resonances one after the other; formants (3, K) may move."""
    wave = source
    for centres, width in zip(formants, _BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * width / VOICE_RATE)
        turn = np.cos(2 * np.pi * np.clip(centres, 150, 7000) / VOICE_RATE)
        parts, state = [], np.zeros(2)
        for place, block in enumerate(wave.reshape(-1, STEP)):
            feedback = [1.0, -2 * radius * turn[place], radius**2]
            part, state = lfilter([1 - 2 * radius * turn[place] + radius**2], feedback, block, zi=state)
            parts.append(part)
        wave = np.concatenate(parts)
    return wave
