"""Where somebody speaks: Silero's net where its package is installed, else a rule on level, pitch and how they change.

Axes: N samples, K chunks of 32 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from captioner.errors import CheckpointError, ConfigError
from captioner.sound.audio import RATE, Sound

Judge = Literal["auto", "silero", "energy"]
CHUNK, CONTEXT = 512, 64  # samples at 16 kHz that Silero's net takes in, and those that it sees again
STARTS, ENDS = 0.5, 0.35  # a chunk above the first begins speech, one below the second ends it
SHORTEST, JOINED = 0.12, 0.15  # seconds: shorter speech is a noise, a shorter pause is part of speech
PITCH = (70.0, 500.0)  # hertz of voices
ABOVE_FLOOR = 9.0  # dB over the quietest tenth that voices reach
LEAST_DB = -55.0
AROUND = 31  # chunks: about a second, over which the next three are judged
CHANGES_DB = 6.0  # between the quiet and the loud tenth: who speaks, pauses; motors, sirens and most music do not
HELD = 0.5  # share of chunks that keep their pitch exactly: notes do, voices do not
BODY_HERTZ, BODY = 400, 0.05  # a voice has so much of its power above that; hums and drums have less


@dataclass(frozen=True)
class Speech:
    """Spans in seconds in which somebody speaks, on the clock of the pictures, and their share of the sound."""

    spans: tuple[tuple[float, float], ...]
    share: float
    by: str


def find_speech(sound: Sound, judge: Judge = "auto") -> Speech:
    """Where somebody speaks; sound of another rate than 16 kHz is refused."""
    if sound.rate != RATE:
        raise ConfigError(f"speech is looked for at {RATE} Hz, this sound has {sound.rate}: read it at {RATE}")
    by = judge if judge != "auto" else ("silero" if silero_file() is not None else "energy")
    if sound.silent:
        return Speech((), 0.0, by)
    probs = silero_probs(sound.wave) if by == "silero" else voiced_probs(sound.wave)
    spans = spans_of(probs, CHUNK / RATE)
    shifted = tuple((sound.start + a, min(sound.start + b, sound.start + sound.duration)) for a, b in spans)
    return Speech(shifted, sum(b - a for a, b in shifted) / sound.duration, by)


def spans_of(probs: NDArray[np.float32], step: float) -> list[tuple[float, float]]:
    """Spans in seconds of probabilities (K,), with hysteresis; short pauses are bridged, short bursts dropped."""
    spans: list[list[float]] = []
    on = False
    for place, prob in enumerate(probs.tolist()):
        if not on and prob >= STARTS:
            if spans and place * step - spans[-1][1] <= JOINED:
                spans[-1][1] = (place + 1) * step
            else:
                spans.append([place * step, (place + 1) * step])
            on = True
        elif on and prob < ENDS:
            on = False
        if on:
            spans[-1][1] = (place + 1) * step
    return [(a, b) for a, b in spans if b - a >= SHORTEST]


# -- Silero's net -------------------------------------------------------------------------------------------------


def silero_file() -> Path | None:
    """The weights that come with the package silero-vad, which itself is not imported; None without it."""
    spec = find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "data" / "silero_vad_16k.safetensors"
    return path if path.is_file() else None


class SileroNet(nn.Module):
    """Chunks (K, 64 + 512) in their order -> the probability (K,) that each holds speech."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, chunks: Tensor) -> Tensor:
        waves = F.pad(chunks[:, None], (0, 64), mode="reflect")
        parts = self.stft_conv(waves)  # real and imaginary rows, (K, 258, 4)
        x = (parts[:, :129].square() + parts[:, 129:].square()).sqrt()
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = conv(x).relu()
        states, state = [], None
        for row in x.squeeze(-1).split(1):
            state = self.lstm_cell(row, state)
            states.append(state[0])
        logits = self.final_conv(torch.cat(states).relu()[:, :, None])
        probs: Tensor = logits.sigmoid().flatten()
        return probs


@lru_cache(maxsize=1)
def _silero() -> SileroNet:
    path = silero_file()
    if path is None:
        raise ConfigError("Silero's net is not installed: pip install 'captioner[sound]', or choose the energy rule")
    net = SileroNet()
    try:
        net.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit: {str(error).splitlines()[0]}; install silero-vad again") from None
    return net.eval().requires_grad_(False)


@torch.no_grad()
def silero_probs(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """The net's probabilities (K,) of samples at 16 kHz."""
    padded = F.pad(torch.from_numpy(wave.copy()), (CONTEXT, -len(wave) % CHUNK))
    probs: NDArray[np.float32] = _silero()(padded.unfold(0, CONTEXT + CHUNK, CHUNK)).numpy()
    return probs


# -- the rule -----------------------------------------------------------------------------------------------------


def voiced_probs(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 where a chunk is loud, periodic and lively as a voice is, 0 elsewhere, smoothed over three chunks: (K,)."""
    level, period, pitch = voicing(wave)
    floor = np.percentile(level, 10)
    loud = level > max(LEAST_DB, min(floor + ABOVE_FLOOR, level.max() - ABOVE_FLOOR))
    near = _around(level)
    changes = np.percentile(near, 90, axis=1) - np.percentile(near, 10, axis=1) >= CHANGES_DB
    held = _around(np.pad(np.diff(pitch) == 0, (1, 0), mode="edge").astype(np.float32)).mean(1) >= HELD
    power = (10 ** (level / 10)).astype(np.float32)
    bodied = _around(body_shares(wave) * power).mean(1) >= BODY * _around(power).mean(1)
    voiced = (loud & (period > 0.45) & changes & ~held & bodied).astype(np.float32)
    return np.convolve(voiced, np.ones(3, np.float32), mode="same").clip(0, 1)


def _around(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each chunk the values (K, AROUND) of the second around it."""
    padded = np.pad(values, AROUND // 2, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, AROUND)


def body_shares(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each chunk the share of its power above `BODY_HERTZ`: (K,)."""
    width = 2 * CHUNK
    power = np.abs(np.fft.rfft(_frames(wave, width) * np.hanning(width).astype(np.float32))) ** 2
    shares: NDArray[np.float32] = power[:, round(BODY_HERTZ * width / RATE) :].sum(1) / (power.sum(1) + 1e-12)
    return shares


def _frames(wave: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Overlapping frames (K, width), one for each chunk, in its middle."""
    padded = np.pad(wave.astype(np.float32), (CHUNK // 2, width))
    count = max(1, -(-len(wave) // CHUNK))
    return np.lib.stride_tricks.sliding_window_view(padded, width)[::CHUNK][:count]


def voicing(wave: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Of each chunk: level in dB, height of the autocorrelation's peak among voices' pitches, that pitch in hertz."""
    width = 2 * CHUNK  # 64 ms: four periods of a low voice
    frames = _frames(wave, width)
    frames = frames - frames.mean(1, keepdims=True)
    power = np.fft.rfft(frames * np.hanning(width).astype(np.float32), 2 * width)
    correlation = np.fft.irfft(np.abs(power) ** 2)[:, :width]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(width), 2 * width)) ** 2)[:width]
    correlation = correlation / np.maximum(correlation[:, :1], 1e-9) / (window / window[0])
    low, high = int(RATE / PITCH[1]), int(RATE / PITCH[0])
    lag = correlation[:, low:high].argmax(1) + low
    level = 10 * np.log10((frames**2).mean(1) + 1e-10)
    peak = np.take_along_axis(correlation, lag[:, None], 1)[:, 0]
    return level.astype(np.float32), peak.astype(np.float32), (RATE / lag).astype(np.float32)
