"""MFCC and log-mel: librosa's numbers, any leading axes, any length."""

import math

import pytest
import torch
from safetensors.torch import load_file

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
