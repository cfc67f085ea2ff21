"""Log-mel and MFCC of samples, in torch, with librosa's defaults and numbers.

Axes: N samples, F frames (one every `hop` samples, centred), M mel bands, C coefficients. Any leading axes are kept.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

FLOOR = 1e-10  # of a power, before its logarithm
RANGE_DB = 80.0  # below the loudest band of a clip nothing is told apart


def log_mel(wave: Tensor, rate: int, bands: int = 64, window: int = 0, hop: int = 0) -> Tensor:
    """Mel bands in dB (..., F, M) of samples (..., N); windows of 25 ms every 10 ms unless given in samples."""
    window, hop = window or round(0.025 * rate), hop or round(0.010 * rate)
    return decibels(mel_power(wave, rate, bands, window, hop)).transpose(-1, -2)


def mfcc(wave: Tensor, rate: int, count: int = 32, bands: int = 128, window: int = 2048, hop: int = 512) -> Tensor:
    """Cepstral coefficients (..., F, C) of samples (..., N)."""
    spectrum = decibels(mel_power(wave, rate, bands, window, hop))
    return torch.einsum("cm,...mf->...fc", cosines(count, bands).to(spectrum), spectrum)


def mel_power(wave: Tensor, rate: int, bands: int, window: int, hop: int) -> Tensor:
    """Power in mel bands (..., M, F)."""
    if wave.shape[-1] == 0:
        wave = wave.new_zeros(*wave.shape[:-1], 1)
    shape = torch.hann_window(window, device=wave.device)
    flat = wave.float().reshape(-1, wave.shape[-1])
    spectrum = torch.stft(flat, window, hop, window=shape, center=True, pad_mode="constant", return_complex=True)
    power = spectrum.abs() ** 2  # (n, window / 2 + 1, F)
    mel = mel_filters(rate, window, bands).to(power) @ power
    return mel.reshape(*wave.shape[:-1], *mel.shape[-2:])


def decibels(power: Tensor) -> Tensor:
    """10 log10 of powers (..., M, F), floored and cut `RANGE_DB` below the loudest of each clip."""
    level = 10 * torch.log10(power.clamp(min=FLOOR))
    return torch.maximum(level, level.amax((-1, -2), keepdim=True) - RANGE_DB)


@lru_cache(maxsize=8)
def mel_filters(rate: int, window: int, bands: int) -> Tensor:
    """Slaney's triangles (M, window / 2 + 1), of equal area, from 0 Hz to half the rate."""
    bins = torch.arange(window // 2 + 1, dtype=torch.float64) * rate / window  # of an odd window none at half the rate
    edges = _hertz(torch.linspace(0.0, float(_mels(rate / 2)), bands + 2, dtype=torch.float64))
    widths = edges[1:] - edges[:-1]
    slopes = edges[:, None] - bins[None]
    rising, falling = -slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).float()


@lru_cache(maxsize=8)
def cosines(count: int, bands: int) -> Tensor:
    """The first rows (C, M) of the orthonormal cosine transform (type II)."""
    places = (torch.arange(bands, dtype=torch.float64) + 0.5) * math.pi / bands
    rows = torch.cos(torch.arange(count, dtype=torch.float64)[:, None] * places) * math.sqrt(2 / bands)
    rows[0] *= math.sqrt(0.5)
    return rows.float()


# Slaney's scale: linear up to 1 kHz (15 mels), logarithmic above (27 mels to 6.4 kHz).
_LINEAR, _KNEE, _STEP = 200 / 3, 1000.0, math.log(6.4) / 27


def _mels(hertz: float) -> float:
    return hertz / _LINEAR if hertz < _KNEE else _KNEE / _LINEAR + math.log(hertz / _KNEE) / _STEP


def _hertz(mels: Tensor) -> Tensor:
    knee = _KNEE / _LINEAR
    return torch.where(mels < knee, mels * _LINEAR, _KNEE * torch.exp(_STEP * (mels - knee).clamp(min=0)))
