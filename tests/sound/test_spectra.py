"""MFCC and log-mel: librosa's numbers, any leading axes, any length."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.fft import dct

from captioner.sound.spectra import cosines, decibels, log_mel, mel_filters, mfcc
from tests.helpers import SHARED
from tests.sound.voices import tone

GOLDEN = SHARED / "data" / "goldens" / "mfcc_44k.safetensors"


@pytest.mark.skipif(not GOLDEN.is_file(), reason="needs the golden MFCC beside the repository")
def test_mfcc_equal_librosa() -> None:
    golden = load_file(GOLDEN)
    assert (mfcc(golden["wave"], 44_100).T - golden["mfcc"]).abs().max() < 1e-3


def test_filters_have_equal_area_and_cosines_are_orthonormal() -> None:
    filters = mel_filters(16_000, 400, 40)
    areas = filters.sum(1) * (8000 / 200)
    assert filters.shape == (40, 201) and float((areas[20:] - 1).abs().max()) < 0.1
    rows = cosines(32, 128)
    assert torch.allclose(rows @ rows.T, torch.eye(32), atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 192_000])
def test_mfcc_and_log_mel_are_the_formulas_at_any_rate(rate: int) -> None:
    """The same by numpy, frame by frame, in 64 bits."""
    random = np.random.default_rng(rate)
    t = np.arange(int(0.2 * rate)) / rate
    wave = (0.3 * np.sin(2 * np.pi * 300 * t) + 0.02 * random.standard_normal(len(t))).astype(np.float32)

    def level(window: int, hop: int, bands: int) -> np.ndarray:
        padded = np.pad(wave.astype(np.float64), window // 2)
        shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        frames = [padded[at : at + window] * shape for at in range(0, len(padded) - window + 1, hop)]
        power = np.abs(np.fft.rfft(frames)) ** 2
        top = 15 + math.log(rate / 2000) / (math.log(6.4) / 27)
        mels = np.linspace(0, top, bands + 2)
        edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * math.log(6.4) / 27))
        found = np.zeros((len(frames), bands))
        for band, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
            freqs = np.fft.rfftfreq(window, 1 / rate)
            rises, falls = (freqs - low) / (middle - low), (high - freqs) / (high - middle)
            found[:, band] = power @ (np.minimum(rises, falls).clip(0) * 2 / (high - low))
        decibel = 10 * np.log10(np.maximum(found, 1e-10))
        return np.maximum(decibel, decibel.max() - 80)

    ours = log_mel(torch.from_numpy(wave), rate, 40).numpy()
    assert np.abs(ours - level(round(0.025 * rate), round(0.010 * rate), 40)).max() < 1e-3
    cepstra = dct(level(2048, 512, 128), norm="ortho")[:, :20]
    assert np.abs(mfcc(torch.from_numpy(wave), rate, 20).numpy() - cepstra).max() < 1e-3


def test_a_tone_lies_in_its_band() -> None:
    level = log_mel(torch.from_numpy(tone(1.0, hertz=1000.0)), 16_000, 64)
    assert level.shape == (101, 64)
    edges = 15.0 + math.log(8000 / 1000) / (math.log(6.4) / 27)  # mels at 8 kHz; 1 kHz is 15 mels
    assert abs(int(level[50].argmax()) - (15 / edges * 65 - 1)) <= 1.5


def test_axes_and_lengths() -> None:
    waves = torch.randn(2, 3, 4000)
    batch = log_mel(waves, 16_000)
    assert batch.shape == (2, 3, 26, 64) and torch.allclose(batch[1, 2], log_mel(waves[1, 2], 16_000), atol=1e-4)
    for length in (0, 1, 7):
        assert mfcc(torch.zeros(length), 16_000).isfinite().all()
    assert float(decibels(torch.tensor([[1.0, 1e-12]])).min()) == pytest.approx(-80)
