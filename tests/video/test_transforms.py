"""Resizing, one crop for a whole clip, normalisation."""

import numpy as np
import pytest
import torch

from captioner.video.transforms import CLIP_MEAN, CLIP_STD, crop, normalise, resize_short, square_frames


def ramp(height: int, width: int, count: int = 3) -> np.ndarray:
    """(T, H, W, 3): red grows to the right, green downwards, blue is the number of the frame."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames[..., 0] = np.linspace(0, 255, width).round()
    frames[..., 1] = np.linspace(0, 255, height).round()[:, None]
    frames[..., 2] = np.arange(count)[:, None, None]
    return frames


@pytest.mark.parametrize(("shape", "expected"), [((40, 100), (20, 50)), ((100, 40), (50, 20)), ((10, 31), (20, 62))])
def test_the_short_edge_is_resized_and_the_picture_stays_upright(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    out = resize_short(ramp(*shape), 20)
    assert out.dtype == torch.uint8
    assert out.shape == (3, 3, *expected)
    red, green = out[0, 0].float(), out[0, 1].float()
    assert torch.all(red.diff(dim=1) >= 0)
    assert torch.all(green.diff(dim=0) >= 0)
    assert out[2, 2].eq(2).all()


def test_resizing_agrees_with_the_size_that_decoding_gives() -> None:
    from captioner.video.frames import scaled_size

    for height, width in [(720, 1280), (1080, 607), (240, 321), (7, 1000), (99, 99)]:
        long = resize_short(np.zeros((1, height, width, 3), np.uint8), 24).shape[-2:]
        assert scaled_size((width, height), 24) == (long[1], long[0])


def test_a_clip_of_the_right_size_is_not_resampled() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
    assert np.array_equal(resize_short(frames, 20).permute(0, 2, 3, 1).numpy(), frames)


def test_evaluation_takes_the_centre() -> None:
    frames = torch.arange(6 * 10).view(1, 6, 10)
    assert crop(frames, 4)[0, 0, 0] == frames[0, 1, 3]
    assert crop(frames, 4).shape == (1, 4, 4)


def test_training_takes_one_window_for_all_frames_and_follows_its_generator() -> None:
    frames = torch.arange(30 * 40).view(30, 40).repeat(4, 3, 1, 1)
    drawn = [crop(frames, 8, True, torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert all((each == each[0, 0]).all() for each in drawn)
    assert len({int(each[0, 0, 0, 0]) for each in drawn}) > 10
    again = crop(frames, 8, True, torch.Generator().manual_seed(3))
    assert torch.equal(again, drawn[3])


def test_training_can_reach_every_window() -> None:
    frames = torch.arange(4).view(1, 2, 2)
    generator = torch.Generator().manual_seed(0)
    assert {int(crop(frames, 1, True, generator)) for _ in range(60)} == {0, 1, 2, 3}


def test_cropping_more_than_there_is_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="cannot crop 8 pixels from 4 x 9; resize first"):
        crop(torch.zeros(1, 4, 9), 8)


def test_normalising_any_leading_axes() -> None:
    frames = torch.full((2, 5, 3, 4, 4), 255, dtype=torch.uint8)
    out = normalise(frames, CLIP_MEAN, CLIP_STD)
    assert out.dtype == torch.float32
    assert out.shape == frames.shape
    for channel in range(3):
        assert out[0, 0, channel, 0, 0].item() == pytest.approx((1 - CLIP_MEAN[channel]) / CLIP_STD[channel], rel=1e-5)
    assert normalise(torch.zeros(3, 1, 1, dtype=torch.uint8))[0].item() == pytest.approx(-0.485 / 0.229, rel=1e-5)


def test_preparing_gives_contiguous_squares() -> None:
    out = square_frames(ramp(30, 50), 16)
    assert out.shape == (3, 3, 16, 16)
    assert out.is_contiguous()
    assert torch.equal(out, crop(resize_short(ramp(30, 50), 16), 16))


def test_resizing_agrees_with_that_of_torchvision() -> None:
    from torchvision.transforms.v2 import functional

    for shape in [(90, 161), (161, 90), (40, 57)]:
        frames = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), np.uint8)
        theirs = functional.resize(torch.from_numpy(frames).permute(0, 3, 1, 2), [32], antialias=True)
        assert (resize_short(frames, 32).int() - theirs.int()).abs().max() <= 1  # torchvision 0.21 rounds otherwise
