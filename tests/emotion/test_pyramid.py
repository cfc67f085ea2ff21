"""LISF: the public module's numbers, exact windows, streams that may change places."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from captioner.emotion.av_canet.pyramid import HeadedAttention, Pyramid, pyramid_like, window_mask
from captioner.errors import CheckpointError
from eval.quality.golden_sound import compare_mfcc, compare_pyramid
from tests.helpers import SHARED

GOLDENS = SHARED / "data" / "goldens"
needs_goldens = pytest.mark.skipif(not GOLDENS.is_dir(), reason="needs the goldens beside the repository")


@needs_goldens
def test_golden_parity() -> None:
    assert max(compare_pyramid(GOLDENS).values()) <= 1e-5
    assert max(compare_mfcc(GOLDENS).values()) <= 1e-3


@needs_goldens
def test_a_golden_that_is_none_is_one_line(tmp_path: Path) -> None:
    tensors = load_file(GOLDENS / "lisf_tiny.safetensors")
    lacking = {name: value for name, value in tensors.items() if name != "w.msa.1.lv2.bias"}
    save_file(lacking, tmp_path / "lisf.safetensors")
    with pytest.raises(CheckpointError, match="do not fit") as fault:
        compare_pyramid(tmp_path)
    assert "\n" not in str(fault.value)
    save_file(tensors | {"w.extra.weight": torch.zeros(2)}, tmp_path / "lisf.safetensors")
    with pytest.raises(CheckpointError, match="extra"):
        compare_pyramid(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        compare_pyramid(tmp_path / "none")
    with pytest.raises(CheckpointError, match="missing"):
        pyramid_like({})


def test_each_snippet_sees_exactly_its_window() -> None:
    mask = window_mask(7, 2)
    assert [row.nonzero().flatten().tolist() for row in mask] == [
        [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [3, 4, 5, 6], [4, 5, 6],
    ]  # fmt: skip
    attention = HeadedAttention(8, 2, 0.0)
    x = torch.randn(1, 7, 8)
    shares = attention.weights(x, x, mask)
    assert torch.equal(shares[0, 0] > 0, mask) and torch.allclose(shares.sum(-1), torch.ones(1, 2, 7))
    before = attention(x, x, mask)
    x[:, 6] += 5
    after = attention(torch.cat([x[:, :6], x[:, 6:]], 1), x, mask)
    assert torch.equal(before[:, :4], after[:, :4]) and not torch.equal(before[:, 4], after[:, 4])


def test_one_level_and_streams_that_change_places() -> None:
    torch.manual_seed(0)
    one = Pyramid(8, 2, 12, 1, 0.0).eval()
    layer = one.layers[0]
    for name in ("self", "gate", "mix"):
        getattr(layer, f"video_{name}").load_state_dict(getattr(layer, f"audio_{name}").state_dict())
    a, v = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    heard, seen = one(a, v)
    assert heard.shape == (2, 5, 1, 8)
    swapped = one(v, a)
    assert torch.equal(swapped[0], seen) and torch.equal(swapped[1], heard)


def test_two_levels_have_the_published_number_of_parameters() -> None:
    count = sum(p.numel() for p in Pyramid(512, 8, 512, 2, 0.2).parameters())
    assert abs(count / 1e6 - 17.9) < 1.6  # the published count holds a norm and a block that nothing uses
