"""Captions rest on what is in the picture: nobody where nobody is, no motion in stills, sides that a mirror swaps."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

import captioner
from captioner.inference.claims import find_claims, find_faults
from captioner.inference.predictor import Captioner
from captioner.video.reading import read_clip
from eval.quality.empty_videos import empty_videos
from eval.quality.told import MOTION, SIDES, names_said
from tests.helpers import ROOT

Frames = NDArray[np.uint8]
EXAMPLES = sorted((ROOT / "examples").glob("*.mp4"))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Captioner:
    return captioner.load()


def plain_videos() -> Iterator[tuple[str, Frames]]:
    """Black, grey, noise and a ramp."""
    rng, shape = np.random.default_rng(0), (20, 120, 160, 3)
    yield "black", np.zeros(shape, np.uint8)
    yield "grey", np.full(shape, 120, np.uint8)
    yield "noise", rng.integers(0, 256, shape, np.uint8)
    yield "ramp", np.broadcast_to(np.linspace(0, 255, 160).astype(np.uint8)[:, None], shape).copy()


def test_nobody_is_claimed_where_nobody_is(model: Captioner) -> None:
    kinds = [*plain_videos(), *empty_videos(each=1, seed=5)]
    assert len(kinds) >= 12
    wrong = []
    for kind, frames in kinds:
        caption = model.caption(frames, fps=10)
        if caption.faces:
            wrong.append((kind, caption.text))
            continue
        assert caption.text.startswith("No face can be seen."), (kind, caption.text)
        assert (caption.confidence, caption.claims, caption.phrases) == (0.0, [], []), kind
    assert {kind for kind, _ in wrong} <= {"lamps", "fronts"}, wrong  # they look like faces to every network here


@pytest.mark.parametrize("style", ["faces", "plain"])
def test_a_picture_that_stands_still_shows_no_motion(model: Captioner, style: str) -> None:
    for path in EXAMPLES:
        frame = read_clip(path, 3).frames[1]
        caption = model.caption(np.repeat(frame[None], 20, 0), fps=10, style=style)
        moved = {name for claim in find_claims(caption.text) for name in claim.names} & MOTION
        assert caption.faces and not moved, (path.name, caption.text)


def test_sides_swap_in_the_mirror(model: Captioner) -> None:
    for path in EXAMPLES:
        clip = read_clip(path, 40)
        seconds = float(clip.times[-1] - clip.times[0])
        fps = (len(clip.frames) - 1) / seconds
        here = names_said(find_claims(model.caption(clip.frames, fps=fps).text), "action")
        mirror = np.ascontiguousarray(clip.frames[:, :, ::-1])
        there = names_said(find_claims(model.caption(mirror, fps=fps).text), "action")
        for name in here & set(SIDES):
            assert name not in there, path.name


def coming_in(frames: Frames) -> Frames:
    """The pictures of a clip before a grey wall, which they slide onto from the left in the first half."""
    count, height, width, _ = frames.shape
    wall = np.full((count, height, 2 * width, 3), 110, np.uint8)
    for t, frame in enumerate(frames):
        left = int(width * (1.5 * min(1.0, 2 * t / count) - 1))
        first, last = max(0, left), min(2 * width, left + width)
        wall[t, :, first:last] = frame[:, first - left : last - left]
    return wall


def test_who_comes_in_leaves_when_the_clip_is_played_backwards(model: Captioner) -> None:
    for path in EXAMPLES:
        entering = coming_in(read_clip(path, 40).frames)
        for frames, wanted, other in ((entering, "enters", "leaves"), (entering[::-1], "leaves", "enters")):
            caption = model.caption(np.ascontiguousarray(frames), fps=13)
            said = names_said(find_claims(caption.text), "action")
            assert wanted in said and other not in said, (path.name, caption.text)


@pytest.mark.parametrize("style", ["faces", "plain", "feelings"])
def test_every_claim_of_the_examples_is_supported_and_understood(model: Captioner, style: str) -> None:
    for path in EXAMPLES:
        caption = model.caption(path, style=style)
        assert not find_faults(caption.text, {}), caption.text
        assert {link.phrase for link in caption.phrases} == names_said(find_claims(caption.text), "phrase")
        assert all(each.probability is None or each.probability >= 0.25 for each in caption.claims), caption.claims
