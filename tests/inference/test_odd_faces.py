"""What dense reading makes of pictures that are hard, or show nobody: said here so that a change is seen."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from captioner.data.face_readings import DenseReader
from captioner.faces.face_reading import FaceReadings
from captioner.synth.drawn.paint import draw_face
from captioner.synth.identity import State, sample_face
from captioner.video.reading import read_clip
from tests.helpers import ROOT

Frames = NDArray[np.uint8]
EXAMPLE = ROOT / "examples" / "smile.mp4"
COUNT, HEIGHT, WIDTH = 10, 360, 640


@pytest.fixture(scope="module")
def reader() -> DenseReader:
    return DenseReader()


@pytest.fixture(scope="module")
def clip() -> Frames:
    """A face of about 147 of 360 pixels, in the middle of 480 x 360."""
    return read_clip(EXAMPLE, COUNT).frames


@pytest.fixture(scope="module")
def marks(reader: DenseReader, clip: Frames) -> NDArray[np.float32]:
    return reader.read(clip, fps=10.0)[0].landmarks[0]


def placed(clip: Frames, face: float, places: list[tuple[int, int]], angle: float = 0.0) -> Frames:
    """The clip so small that its face has `face` pixels, around each of the places of a grey picture."""
    side = round(face * 360 / 147)
    out = np.full((len(clip), HEIGHT, WIDTH, 3), 90, np.uint8)
    for t, frame in enumerate(clip):
        square = Image.fromarray(frame[:, 60:420]).resize((side, side), Image.Resampling.BOX)
        cut = np.asarray(square.rotate(angle))
        for x, y in places:
            out[t, y - side // 2 : y - side // 2 + side, x - side // 2 : x - side // 2 + side] = cut
    return out


def covered(
    clip: Frames, marks: NDArray[np.float32], points: list[int], grow: tuple[float, float], grey: int
) -> Frames:
    """The clip with a bar over some of the landmarks."""
    low, high = marks[points].min(0), marks[points].max(0)
    spare = (high - low) * grow
    (left, top), (right, bottom) = (low - spare).astype(int).clip(0), (high + spare).astype(int)
    out = clip.copy()
    out[:, top:bottom, left:right] = grey
    return out


def people(readings: FaceReadings) -> list[tuple[int, int]]:
    """Frames of each person, and in how many of them they are seen."""
    return [(len(one), int(one.success.sum())) for one in readings]


@pytest.mark.parametrize(
    "make",
    [
        lambda g: np.zeros((COUNT, HEIGHT, WIDTH, 3)),
        lambda g: np.full((COUNT, HEIGHT, WIDTH, 3), 255),
        lambda g: g.integers(0, 256, (COUNT, HEIGHT, WIDTH, 3)),
        lambda g: np.broadcast_to(np.linspace(0, 255, WIDTH)[:, None], (COUNT, HEIGHT, WIDTH, 3)),
    ],
    ids=["black", "white", "noise", "ramp"],
)
def test_nobody_is_seen_in_nothing(reader: DenseReader, make: Callable[[np.random.Generator], Frames]) -> None:
    readings = reader.read(make(np.random.default_rng(0)).astype(np.uint8), fps=10.0)
    assert people(readings) == [] and len(readings.table()["frame"]) == 0


@pytest.mark.slow
def test_grey_dark_and_one_channel_are_read_like_colour(reader: DenseReader, clip: Frames) -> None:
    (colour,) = reader.read(clip, fps=10.0)
    grey = clip.mean(3, keepdims=True).astype(np.uint8)
    for other in (np.repeat(grey, 3, axis=3), grey[..., 0], clip // 8):
        (one,) = reader.read(other, fps=10.0)
        assert one.success.all()
        assert np.abs(one.landmarks - colour.landmarks).mean() < 2.5  # pixels
        assert np.abs(one.au(12) - colour.au(12)).mean() < 0.2


@pytest.mark.parametrize("angle", [0, 20, 35])
def test_a_tilted_head_is_found_and_its_roll_told(reader: DenseReader, clip: Frames, angle: float) -> None:
    (one,) = reader.read(placed(clip, 110, [(320, 180)], angle), fps=10.0)
    assert one.success.all()
    assert one.roll.mean() == pytest.approx(2 - angle, abs=6)  # counterclockwise is negative; at rest it is 2


def test_nobody_is_seen_upside_down(reader: DenseReader, clip: Frames) -> None:
    assert people(reader.read(clip[:, ::-1], fps=10.0)) == []


@pytest.mark.parametrize(("face", "found"), [(50, 1), (20, 1), (14, 1), (8, 0)])
def test_small_faces_are_found_down_to_about_a_dozen_pixels(
    reader: DenseReader, clip: Frames, face: float, found: int
) -> None:
    readings = reader.read(placed(clip, face, [(300, 180)]), fps=10.0)
    assert people(readings) == [(COUNT, COUNT)] * found


@pytest.mark.slow
def test_forty_faces_are_forty_people(reader: DenseReader, clip: Frames) -> None:
    places = [(44 + 78 * x, 36 + 70 * y) for y in range(5) for x in range(8)]
    readings = reader.read(placed(clip[:6], 24, places), fps=10.0)
    assert people(readings) == [(6, 6)] * 40
    assert len({(round(float(one.boxes[0, 0])), round(float(one.boxes[0, 1]))) for one in readings}) == 40


def test_sunglasses_and_masks_hide_no_person(reader: DenseReader, clip: Frames, marks: NDArray[np.float32]) -> None:
    glasses = covered(clip, marks, list(range(36, 48)), (0.2, 1.2), 20)
    mask = covered(clip, marks, [*range(2, 15), *range(31, 36), *range(48, 68)], (0.0, 0.05), 190)
    for frames in (glasses, mask):
        assert people(reader.read(frames, fps=10.0)) == [(COUNT, COUNT)]


def test_a_still_shown_for_a_while_is_one_unmoving_person(reader: DenseReader, clip: Frames) -> None:
    (one,) = reader.read(np.repeat(clip[6:7], 12, axis=0), fps=10.0)
    assert one.success.all() and float(np.ptp(one.landmarks, axis=0).max()) < 1.0


@pytest.mark.slow
def test_a_drawn_face_may_be_taken_for_one_but_is_never_more(reader: DenseReader) -> None:
    """Drawings and statues look like faces: nothing here tells them from people."""
    counts = []
    for seed in range(8):
        still = draw_face(sample_face(np.random.default_rng(seed)), State({}), 200)
        frames = np.full((COUNT, HEIGHT, WIDTH, 3), 128, np.uint8)
        frames[:, 80:280, 220:420] = still
        counts.append(len(reader.read(frames, fps=10.0)))
    assert max(counts) <= 1 and sum(counts) >= 1
