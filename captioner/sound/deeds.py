"""What is heard of people: speech and how loud it is, shouts, laughter, silence. Each is measured, none is guessed.

The rules look at level, pitch, brightness and rhythm; they know no words and not who is heard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.sound.audio import RATE, Sound
from captioner.sound.speech import BODY, CHUNK, Judge, body_shares, find_speech, voicing

SPOKEN = 0.12  # share of a span that makes it one in which somebody speaks
LOUD_DB, LOW_DB = -15.5, -30.0  # level of speech: a shout is above the first, a low voice below the second
BRIGHT = 0.08  # share of a shout's power above 1 kHz
BURSTS = (3.2, 7.5)  # laughs a second: "ha ha ha"
RHYTHM = 0.88  # of the envelope's autocorrelation at that pace; speech is less even
BURST_SECONDS = 1.1
STEP = 0.01  # seconds of the envelope


@dataclass(frozen=True)
class HeardDeeds:
    """Shares and measures of one span of sound; `heard` is False where there was none."""

    heard: bool
    speech: float = 0.0
    voiced: float = 0.0
    """Share that is periodic and has a voice's body, speech or not."""
    level: float = -100.0
    """Of speech, in dB of full scale."""
    bright: float = 0.0
    rhythm: float = 0.0

    @property
    def talks(self) -> bool:
        """Whether somebody speaks."""
        return self.heard and self.speech >= SPOKEN and not self.laughs

    @property
    def shouts(self) -> bool:
        """Whether speech is loud and sharp."""
        return self.talks and self.level > LOUD_DB and self.bright > BRIGHT

    @property
    def low_voice(self) -> bool:
        """Whether speech is quiet."""
        return self.talks and self.level < LOW_DB

    @property
    def laughs(self) -> bool:
        """Whether voiced bursts follow each other evenly."""
        return self.heard and self.voiced > 0.05 and self.rhythm > RHYTHM

    @property
    def silent(self) -> bool:
        """Whether nobody is heard."""
        return self.heard and self.speech < 0.02 and not self.laughs


def hear(sound: Sound | None, judge: Judge = "auto") -> HeardDeeds:
    """What is heard of people in a sound at 16 kHz."""
    if sound is None:
        return HeardDeeds(False)
    if sound.silent:
        return HeardDeeds(True)
    speech = find_speech(sound, judge)
    level, period, _ = voicing(sound.wave)
    rhythm = burst_rhythm(sound.wave, period)
    inside = np.zeros(len(level), bool)
    for start, end in speech.spans:
        inside[int((start - sound.start) * RATE / CHUNK) : int(np.ceil((end - sound.start) * RATE / CHUNK))] = True
    voiced = inside & (period > 0.45)
    # a net for speech may not count laughter as such; what has no body is a drum
    share = float(((period > 0.45) & (body_shares(sound.wave) > BODY)).mean())
    if not voiced.any():
        return HeardDeeds(True, speech.share, share, rhythm=rhythm)
    power = 10 ** (level[voiced] / 10)
    return HeardDeeds(
        True,
        speech=speech.share,
        voiced=share,
        level=float(10 * np.log10(power.mean())),
        bright=brightness(sound.wave, np.repeat(inside, CHUNK)[: len(sound.wave)]),
        rhythm=rhythm,
    )


def brightness(wave: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Share of the power above 1 kHz of the samples inside."""
    chosen = wave[: len(inside)][inside]
    if not len(chosen):
        return 0.0
    power = np.abs(np.fft.rfft(chosen)) ** 2
    knee = int(1000 / (RATE / 2) * len(power))
    return float(power[knee:].sum() / max(float(power[10:].sum()), 1e-9))


def burst_rhythm(wave: NDArray[np.float32], period: NDArray[np.float32]) -> float:
    """How evenly bursts follow each other: the envelope's autocorrelation at a laugh's pace; 0 where it is flat."""
    size = int(STEP * RATE)
    count = len(wave) // size
    envelope = np.sqrt((wave[: count * size].reshape(count, size) ** 2).mean(1) + 1e-12)
    envelope = np.convolve(envelope, np.hanning(7) / np.hanning(7).sum(), mode="same")
    width = int(BURST_SECONDS / STEP)
    low, high = int(1 / BURSTS[1] / STEP), int(1 / BURSTS[0] / STEP)
    best = 0.0
    for at in range(0, count - width - high, width // 4):
        part, voiced = envelope[at : at + width + high], period[at * size // CHUNK : (at + width) * size // CHUNK]
        if part.max() < 3e-3 or np.percentile(part, 10) > 0.35 * part.max() or (voiced > 0.45).mean() < 0.2:
            continue  # quiet, flat, or a noise that only knocks
        here = part[:width] - part[:width].mean()
        rows = [part[lag : lag + width] - part[lag : lag + width].mean() for lag in range(low, high)]
        norms = [float(np.linalg.norm(row) * np.linalg.norm(here)) + 1e-9 for row in rows]
        best = max(best, *(float(here @ row) / norm for row, norm in zip(rows, norms, strict=True)))
    return best
