"""Photos with all that they cut off, in colour, and filmed. The photo is painted here; real ones only if there."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captioner.synth.actor import FacePlace
from captioner.synth.actors import PhotoActor
from captioner.synth.film.stage import film_story
from captioner.synth.identity import State
from captioner.synth.photo.basis import OVAL, load_basis
from captioner.synth.photo.colour import colourise
from captioner.synth.photo.outline import find_head
from captioner.synth.photo.photo_set import Photo, PhotoSet
from captioner.synth.photo.portrait import complete_person, skin_colour, surroundings
from captioner.synth.pixels import LUMA
from captioner.synth.story.tale import CameraPose, Grade, Role, Story

FACES = Path(__file__).parents[2].parent / "shared" / "data" / "faces"
SIZE = 192
SKIN, HAIR, WALL = 170, 50, 120
SKULL = (96.0, 84.0, 82.0, 104.0)  # centre x, y, half axes of the fake head with its hair


@lru_cache
def landmarks(down: float = 0.0) -> NDArray[np.float32]:
    """The mean face as tight crops show it: 154 pixels wide; `down` moves it."""
    mean = np.array(load_basis().mean, np.float32)
    low, high = mean[:468, :2].min(0), mean[:468, :2].max(0)
    scale = 150 / (high[0] - low[0])
    points = mean * scale
    points[:, :2] += np.array([96, 104 + down], np.float32) - scale * (low + high) / 2
    return points


@lru_cache
def fake(down: float = 0.0, wall: int = WALL, light: float = 0.0, tilt: float = 0.0) -> Photo:
    """A grey photo: a wall, a cap of hair around a face, eyes, a mouth, some grain; `tilt` in degrees, clockwise."""
    points, pad = landmarks(down).copy(), 60
    image = Image.new("L", (SIZE + 2 * pad, SIZE + 2 * pad), wall)
    pen = ImageDraw.Draw(image)
    x, y, a, b = SKULL
    pen.ellipse((x - a + pad, y + down - b + pad, x + a + pad, y + down + b + pad), fill=HAIR)
    pen.polygon((points[list(OVAL), :2] + pad).ravel().tolist(), fill=SKIN)
    for at in (159, 386, 13):
        px, py = (points[at, :2] + pad).tolist()
        pen.ellipse((px - 9, py - 4, px + 9, py + 4), fill=70)
    image = image.rotate(-tilt, Image.Resampling.BILINEAR, fillcolor=wall)
    cosine, sine = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    points[:, :2] = (points[:, :2] - SIZE / 2) @ np.array([[cosine, sine], [-sine, cosine]]) + SIZE / 2
    grey = np.asarray(image.crop((pad, pad, pad + SIZE, pad + SIZE)), np.float32)
    grey = (grey + np.random.default_rng(0).normal(0, 2, grey.shape)) * (1 + light * np.linspace(-1, 1, SIZE))
    picture = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    return Photo("fake", picture, points, {}, np.eye(4, dtype=np.float32), 0, True)


def at(canvas_part: NDArray[np.float32], offset: tuple[float, float], x: float, y: float) -> NDArray[np.float32]:
    """Value of a canvas at a pixel of the photo."""
    return np.asarray(canvas_part[round(y + offset[1]), round(x + offset[0])])


def test_the_outline_finds_hair_inside_the_photo_and_a_skull_above_it() -> None:
    head = find_head(fake())
    x, y, a, b = SKULL
    for degrees in (-70, -55, 55, 70):  # there the edge of the hair is in the photo
        i = int(np.argmin(np.abs(np.degrees(head.angle) - degrees)))
        rim = head.centre + head.radius[i] * np.array([np.sin(head.angle[i]), -np.cos(head.angle[i])])
        assert np.hypot((rim[0] - x) / a, (rim[1] - y) / b) == pytest.approx(1, abs=0.06)
    top = head.radius[int(np.argmin(np.abs(head.angle)))]
    assert 0.55 < top / head.face < 0.85
    assert (head.radius >= head.oval - 1e-6).all()


def test_the_outline_follows_a_tilted_head() -> None:
    level, tilted = find_head(fake()), find_head(fake(tilt=15.0))
    assert np.degrees(np.arctan2(tilted.up[0], -tilted.up[1])) == pytest.approx(
        15 + np.degrees(np.arctan2(level.up[0], -level.up[1])), abs=0.5
    )
    assert np.abs(tilted.radius - level.radius).mean() < 0.04 * level.face


def test_the_photo_goes_on_beyond_its_border_without_a_step() -> None:
    photo = fake()
    canvas = complete_person(photo, np.random.default_rng(0))
    head = find_head(photo)
    checked = 0
    for x in range(50, 142, 4):  # the upper border lies within the hair here
        column = [float(at(canvas.image, canvas.offset, x, y)[0]) for y in range(-6, 7)]
        steps = np.abs(np.diff(column))
        assert steps.max() < 14, (x, steps)
        checked += 1
    assert checked > 20
    low = float(photo.landmarks[152, 1])
    assert head.centre[1] < SIZE < low + 20


def test_the_face_itself_is_untouched() -> None:
    photo = fake()
    canvas = complete_person(photo, np.random.default_rng(1))
    left, top = (round(v) for v in canvas.offset)
    inside = canvas.image[top + 60 : top + 150, left + 60 : left + 130]
    assert np.abs(inside - photo.image[60:150, 60:130]).max() < 1.5
    assert canvas.alpha[top + 60 : top + 150, left + 60 : left + 130].min() > 0.99


def test_nothing_of_the_old_surroundings_is_left_in_the_soft_edge() -> None:
    tones = []
    for wall in (100, 170, 235):
        canvas = complete_person(fake(wall=wall), np.random.default_rng(2))
        above = canvas.alpha[: round(canvas.offset[1]) + 40]
        soft = (above > 0.3) & (above < 0.9)
        assert soft.sum() > 150  # an edge, not a cut
        tones.append(float(canvas.image[: len(above)][soft].mean()))
    assert max(tones) - min(tones) < 15
    assert abs(tones[0] - HAIR) < 20


def test_a_person_reaches_from_head_to_shoulders() -> None:
    photo = fake()
    canvas = complete_person(photo, np.random.default_rng(3))
    height, width = canvas.alpha.shape
    assert canvas.image.shape == (height, width, 3)
    assert canvas.image.min() >= 0 and canvas.image.max() <= 255
    assert canvas.alpha[:, [0, -1]].max(initial=0) <= 1 and canvas.alpha[:20, :20].max() == 0
    assert canvas.alpha[-1, width // 2] > 0.99
    face = float(np.linalg.norm(photo.landmarks[10, :2] - photo.landmarks[152, :2]))
    assert 2.0 * face < (canvas.alpha[-1] > 0.5).sum() < 2.9 * face
    neck = canvas.alpha[round(photo.landmarks[152, 1] + canvas.offset[1] + 0.02 * face)]
    assert 0.5 * face < (neck > 0.5).sum() < 1.2 * face
    # one piece: every row from the crown to the lower edge shows somebody
    rows = np.asarray((canvas.alpha > 0.5).any(1))
    assert rows[int(np.argmax(rows)) :].all()


def test_a_chin_below_the_border_is_continued_as_skin() -> None:
    photo = fake(10.0)
    chin = photo.landmarks[152, :2]
    assert chin[1] > SIZE + 3
    canvas = complete_person(photo, np.random.default_rng(4))
    for y in np.arange(SIZE - 4, chin[1] - 3):
        assert abs(float(at(canvas.image, canvas.offset, float(chin[0]), float(y))[0]) - SKIN) < 35


def test_the_generator_dresses_the_person_and_nothing_else() -> None:
    photo = fake()
    one, same, other = (complete_person(photo, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.image, same.image)
    shoulder = round(float(photo.landmarks[152, 1]) + one.offset[1]) + 120
    assert not np.array_equal(one.image[-80:], other.image[-80:])
    assert shoulder < one.image.shape[0]
    left, top = (round(v) for v in one.offset)
    moved = round(other.offset[1]) - top
    face = one.image[top + 60 : top + 160, left + 50 : left + 140]
    assert np.abs(face - other.image[top + moved + 60 : top + moved + 160, left + 50 : left + 140]).max() < 1.5


def test_clothes_vary() -> None:
    looks = {complete_person(fake(), np.random.default_rng(seed)).image[-40:].mean().round() for seed in range(8)}
    assert len(looks) > 3


def test_a_grey_photo_makes_a_grey_person() -> None:
    canvas = complete_person(fake(), np.random.default_rng(7))
    assert np.ptp(canvas.image, axis=2).max() < 1e-2


def test_light_from_one_side_falls_on_the_body_too() -> None:
    def right_over_left(light: float) -> float:
        canvas = complete_person(fake(light=light), np.random.default_rng(8))
        middle, low = round(96 + canvas.offset[0]), canvas.image.shape[0] - 60
        return float(
            canvas.image[low:, middle + 60 : middle + 120].mean()
            / canvas.image[low:, middle - 120 : middle - 60].mean()
        )

    even = right_over_left(0.0)
    assert right_over_left(-0.25) < 0.93 * even < 1.07 * even < right_over_left(0.25)


def test_the_own_surroundings_show_no_person() -> None:
    picture, _ = surroundings(fake())
    assert np.abs(picture - WALL).max() < 25


@pytest.mark.parametrize("tint", [(250.0, 220.0, 200.0), (198.0, 146.0, 108.0), (128.0, 86.0, 60.0)])
def test_colour_changes_hue_and_not_brightness(tint: tuple[float, float, float]) -> None:
    photo = fake()
    tinted = colourise(photo, tint)
    assert not tinted.gray and photo.gray
    assert np.abs(tinted.image @ LUMA - photo.image @ LUMA).mean() < 1.5
    red, green, blue = skin_colour(tinted, find_head(tinted))
    assert red > green > blue
    assert 1.25 < red / blue < 2.3
    corner = tinted.image[:20, :12].reshape(-1, 3).astype(float).mean(0)
    assert np.ptp(corner) < 10
    lips = tinted.image[tuple(np.round(photo.landmarks[17, [1, 0]]).astype(int) - (2, 0))].astype(float)
    assert lips[0] / lips[1] > 1.05 * red / green


def test_darker_tints_carry_more_colour_and_coloured_photos_stay() -> None:
    pale, deep = (
        skin_colour(colourise(fake(), tint), find_head(fake())) for tint in ((250.0, 220.0, 200.0), (128.0, 86.0, 60.0))
    )
    assert deep[0] / deep[2] > 1.1 * pale[0] / pale[2]
    coloured = replace(fake(), gray=False)
    assert colourise(coloured, (200.0, 150.0, 120.0)) is coloured


def told(height: float, **look: object) -> Story:
    role = Role((State(),), ((0.5, 0.4, height),), {}, (), ("still",))
    base = Grade(backdrop="texture", seed=2)
    return Story(1.0, 1.0, "neutral", ("neutral",), (role,), (CameraPose(),), replace(base, **look))  # type: ignore[arg-type]


@pytest.mark.parametrize("height", [1 / 12, 0.3, 0.7])
def test_a_photo_is_filmed_at_any_size_and_stands_on_the_lower_edge(height: float) -> None:
    actor = PhotoActor(fake(), load_basis(), np.random.default_rng(0))
    frame = next(film_story(told(height), [actor], 160, 160))
    assert frame.boxes[0] is not None
    x0, y0, x1, y1 = frame.boxes[0]
    assert y1 - y0 == pytest.approx(height * 160, rel=0.05)
    assert (x0 + x1) / 2 == pytest.approx(80, abs=3)
    empty = next(
        film_story(replace(told(height), roles=(replace(told(height).roles[0], places=(None,)),)), [actor], 160, 160)
    )
    assert empty.boxes == (None,)
    below = round(min(159, y1 + 0.3 * (y1 - y0)))
    assert frame.picture[below, 80] is not None
    covered = np.zeros((160, 160, 3), np.float32)
    actor.draw(covered, State(), FacePlace(80, 64, height * 160))
    assert (covered[below:, 80].min(axis=1) > 3).all()  # no gap from the neck to the lower edge


def test_one_grey_person_makes_the_whole_picture_grey() -> None:
    basis, rng = load_basis(), np.random.default_rng(0)
    grey, tinted = PhotoActor(fake(), basis, rng), PhotoActor(fake(), basis, rng, (200.0, 150.0, 120.0))
    assert grey.grey and not tinted.grey
    assert grey.looks == {"gender": "person"}
    plain, coloured = (next(film_story(told(0.4), [actor], 96, 96)).picture.astype(int) for actor in (grey, tinted))
    assert np.ptp(plain, axis=2).max() <= 1
    assert np.ptp(coloured, axis=2).max() > 25


def test_the_own_backdrop_goes_on_from_the_photo() -> None:
    actor = PhotoActor(fake(), load_basis(), np.random.default_rng(0))
    picture = actor.backdrop(120, 200, FacePlace(100, 60, 50))
    assert picture.shape == (120, 200, 3)
    assert np.abs(picture - WALL).max() < 40


@pytest.mark.slow
@pytest.mark.skipif(not (FACES / "annotations.npz").is_file(), reason="the photos are not here")
def test_real_photos_become_whole_people() -> None:
    photos = PhotoSet(FACES)
    for row in photos.rows("train")[:120:12]:
        photo = photos.photo(int(row))
        canvas = complete_person(colourise(photo, (214.0, 164.0, 130.0)), np.random.default_rng(int(row)))
        assert np.isfinite(canvas.image).all()
        assert canvas.image.min() >= 0 and canvas.image.max() <= 255
        inside = np.round(
            photo.landmarks[list(OVAL), :2] * 0.94 + 0.06 * photo.landmarks[4, :2] + canvas.offset
        ).astype(int)
        assert canvas.alpha[inside[:, 1], inside[:, 0]].min() > 0.85
        left, top = (round(v) for v in canvas.offset)
        assert canvas.alpha[: max(top - 90, 1), : left // 3].max() == 0
