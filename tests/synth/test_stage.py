"""Filming: people at places, the camera, backdrops, grading. Everything with drawn people, so no photo is needed."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from captioner.synth.actor import FacePlace
from captioner.synth.actors import DrawnActor
from captioner.synth.drawn.paint import draw_face
from captioner.synth.film.backdrop import BackdropFolder, backdrop
from captioner.synth.film.grade import Grader, Subject
from captioner.synth.film.stage import Frame, film_story
from captioner.synth.identity import State, sample_face
from captioner.synth.photo.photo_set import PhotoError
from captioner.synth.story.tale import Box, CameraPose, Grade, Role, Story

SIZE = 96
CENTRE: Box = (0.5, 0.5, 0.4)


def actor(seed: int = 0) -> DrawnActor:
    return DrawnActor(sample_face(np.random.default_rng(seed)))


def story(
    places: Sequence[Box | None], *more: Sequence[Box | None], camera: Sequence[CameraPose] = (), **grade: object
) -> Story:
    roles = tuple(Role((State(),) * len(p), tuple(p), {}, (), ("still",)) for p in (places, *more))
    shown = tuple(camera) or (CameraPose(),) * len(places)
    base = Grade(backdrop="gradient")
    return Story(1.0, float(len(places)), "neutral", ("neutral",), roles, shown, replace(base, **grade))  # type: ignore[arg-type]


def shoot(told: Story, height: int = SIZE, width: int = SIZE) -> list[Frame]:
    return list(film_story(told, [actor(i) for i in range(len(told.roles))], height, width))


STILL = CameraPose()


def one(shot: CameraPose = STILL, place: Box = CENTRE, **grade: object) -> Frame:
    return shoot(story([place], camera=[shot], **grade))[0]


def box(frame: Frame, role: int = 0) -> NDArray[np.float64]:
    found = frame.boxes[role]
    assert found is not None
    return np.array(found)


def middle(frame: Frame) -> NDArray[np.float64]:
    x0, y0, x1, y1 = box(frame)
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2])


def test_frames_have_the_size_asked_for_and_repeat_exactly() -> None:
    told = story([CENTRE, (0.4, 0.5, 0.4)], noise=3.0, backdrop="texture", seed=4)
    first, second = shoot(told, 64, 96), shoot(told, 64, 96)
    assert [f.picture.shape for f in first] == [(64, 96, 3)] * 2
    assert first[0].picture.dtype == np.uint8
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(first, second, strict=True))
    other = shoot(replace(told, grade=replace(told.grade, seed=5)), 64, 96)
    assert not np.array_equal(first[0].picture, other[0].picture)


@pytest.mark.parametrize("size", [96, 150])
def test_a_face_has_the_height_and_place_that_the_story_says(size: int) -> None:
    frame = shoot(story([(0.4, 0.6, 0.3)]), size, size)[0]
    x0, y0, x1, y1 = box(frame)
    assert y1 - y0 == pytest.approx(0.3 * size, rel=0.06)
    assert (x0 + x1) / 2 == pytest.approx(0.4 * size, abs=0.03 * size)
    assert (y0 + y1) / 2 == pytest.approx(0.6 * size, abs=0.03 * size)


def test_boxes_are_the_bounds_of_landmarks_inside_the_picture() -> None:
    frame = one(place=(0.05, 0.5, 0.5))
    points = frame.landmarks[0]
    assert points is not None
    assert points[:, 0].min() < 0  # half of the face is outside
    limits = np.clip(np.concatenate([points.min(0), points.max(0)]), 0, SIZE)
    np.testing.assert_allclose(box(frame), limits, atol=1e-4)


def test_who_is_away_or_outside_has_neither_box_nor_landmarks() -> None:
    frames = shoot(story([None, (1.6, 0.5, 0.4), CENTRE]))
    assert [f.boxes[0] is None for f in frames] == [True, True, False]
    assert [f.landmarks[0] is None for f in frames] == [True, True, False]
    np.testing.assert_array_equal(frames[0].picture, frames[1].picture)  # only the backdrop
    assert not np.array_equal(frames[0].picture, frames[2].picture)


def test_zoom_enlarges_about_the_middle_of_the_picture() -> None:
    near, far = one(CameraPose(zoom=1.5), (0.4, 0.5, 0.3)), one(place=(0.4, 0.5, 0.3))
    grown = box(near)[3] - box(near)[1]
    assert grown == pytest.approx(1.5 * (box(far)[3] - box(far)[1]), rel=0.03)
    np.testing.assert_allclose(middle(near) - SIZE / 2, 1.5 * (middle(far) - SIZE / 2), atol=1.0)


def test_the_camera_shifts_by_picture_heights() -> None:
    still = shoot(story([CENTRE]), 64, 128)[0]
    moved = shoot(story([CENTRE], camera=[CameraPose(dx=0.2, dy=-0.1)]), 64, 128)[0]
    np.testing.assert_allclose(middle(moved) - middle(still), [0.2 * 64, -0.1 * 64], atol=0.5)


def test_roll_turns_picture_and_landmarks_clockwise() -> None:
    level, rolled = (
        one(place=(0.3, 0.5, 0.3), backdrop="texture"),
        one(CameraPose(roll=12), (0.3, 0.5, 0.3), backdrop="texture"),
    )
    assert level.landmarks[0] is not None and rolled.landmarks[0] is not None
    angle = np.radians(12)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    expected = (level.landmarks[0] - SIZE / 2) @ turn + SIZE / 2
    np.testing.assert_allclose(rolled.landmarks[0], expected, atol=0.01)
    assert expected[:, 1].mean() < level.landmarks[0][:, 1].mean()  # what is on the left rises
    back = np.asarray(Image.fromarray(rolled.picture).rotate(12, Image.Resampling.BICUBIC), float)
    inner = (slice(38, 58), slice(22, 36))  # nothing but the face
    right = np.abs(back - level.picture)[inner].mean()
    assert right < 6
    assert right < 0.5 * np.abs(rolled.picture.astype(float) - level.picture)[inner].mean()


def test_roll_and_shift_together_follow_the_order_of_a_shot() -> None:
    plain, both = one(), one(CameraPose(roll=10, dx=0.15))
    assert plain.landmarks[0] is not None and both.landmarks[0] is not None
    angle = np.radians(10)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    expected = (plain.landmarks[0] - SIZE / 2) @ turn + SIZE / 2 + (0.15 * SIZE, 0)
    np.testing.assert_allclose(both.landmarks[0], expected, atol=0.01)


@pytest.mark.parametrize(
    "pose",
    [CameraPose(roll=9), CameraPose(roll=-14, zoom=1.2), CameraPose(dx=0.3, dy=-0.2), CameraPose(zoom=0.8)],
)
def test_no_corner_is_left_unfilled(pose: CameraPose) -> None:
    picture = one(pose, backdrop="gradient").picture
    corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() > 15


def test_the_backdrop_stays_within_a_take_and_changes_with_a_cut() -> None:
    away: list[Box | None] = [None] * 3
    frames = shoot(story(away, camera=[CameraPose(), CameraPose(), CameraPose(cut=1)], backdrop="texture", seed=1))
    np.testing.assert_array_equal(frames[0].picture, frames[1].picture)
    assert not np.array_equal(frames[1].picture, frames[2].picture)


def test_the_backdrop_moves_with_the_camera() -> None:
    camera = [CameraPose(), CameraPose(dx=12 / SIZE)]
    first, second = shoot(story([None, None], camera=camera, backdrop="texture", seed=3))
    moved, still = second.picture[:, 12:].astype(float), first.picture.astype(float)
    assert np.abs(moved - still[:, :-12]).mean() < 1.5
    assert np.abs(moved - still[:, 12:]).mean() > 2


def test_the_larger_person_is_in_front_and_hides_the_other() -> None:
    near, far = (0.5, 0.5, 0.5), (0.52, 0.48, 0.3)
    alone = shoot(story([near]))[0]
    for told in (story([near], [far]),):
        frame = shoot(told)[0]
        x0, y0, x1, y1 = box(alone).astype(int)
        same = np.abs(
            frame.picture[y0 + 8 : y1 - 8, x0 + 8 : x1 - 8].astype(int)
            - alone.picture[y0 + 8 : y1 - 8, x0 + 8 : x1 - 8]
        )
        assert same.max() <= 1
        assert frame.boxes[0] is not None
        assert frame.boxes[1] is None
    beside = shoot(story([(0.3, 0.5, 0.4)], [(0.75, 0.45, 0.25)]))[0]
    assert all(found is not None for found in beside.boxes)


def test_letterbox_covers_both_edges_and_nothing_else() -> None:
    plain, barred = one(), one(letterbox=0.125)
    assert barred.picture[:12].max() == 0 and barred.picture[-12:].max() == 0
    np.testing.assert_array_equal(barred.picture[12:-12], plain.picture[12:-12])


def test_dim_is_darker_but_never_black() -> None:
    bright, dim, darkest = one(), one(exposure=0.5), one(exposure=0.05)
    assert dim.picture.mean() == pytest.approx(0.5 * bright.picture.mean(), rel=0.05)
    x0, y0, x1, y1 = box(darkest).astype(int)
    face = darkest.picture[y0:y1, x0:x1]
    assert 15 < face.mean() < 45
    assert face.std() > 4  # it can still be told apart


def test_saturation_warmth_and_contrast() -> None:
    plain, grey, warm, cold = one(), one(saturation=0.0), one(warmth=1.0), one(warmth=-1.0)
    assert np.ptp(grey.picture.astype(int), axis=2).max() <= 1

    def red_over_blue(frame: Frame) -> float:
        return float(frame.picture[..., 0].mean() / frame.picture[..., 2].mean())

    assert red_over_blue(warm) > 1.15 * red_over_blue(plain) > 1.3 * red_over_blue(cold)
    assert one(contrast=1.3).picture.std() > 1.1 * plain.picture.std() > 1.2 * one(contrast=0.7).picture.std()


def test_light_from_a_side_and_vignette() -> None:
    plain = one(place=(0.5, 0.5, 0.3)).picture.astype(float)
    left, right = (one(place=(0.5, 0.5, 0.3), side_light=s).picture.astype(float) for s in (-0.8, 0.8))
    half = SIZE // 2
    assert left[:, :half].mean() > plain[:, :half].mean() > right[:, :half].mean()
    assert left[:, half:].mean() < plain[:, half:].mean() < right[:, half:].mean()
    edges = one(place=(0.5, 0.5, 0.3), vignette=0.6).picture.astype(float)
    assert edges[:6, :6].mean() < 0.75 * plain[:6, :6].mean()
    assert (
        edges[half - 5 : half + 5, half - 5 : half + 5].mean()
        > 0.97 * plain[half - 5 : half + 5, half - 5 : half + 5].mean()
    )


def test_noise_has_the_strength_asked_for_and_changes_from_frame_to_frame() -> None:
    clean, noisy = shoot(story([CENTRE] * 2)), shoot(story([CENTRE] * 2, noise=6.0))
    grain = [b.picture.astype(float) - a.picture for a, b in zip(clean, noisy, strict=True)]
    assert grain[0].std() == pytest.approx(6.0, rel=0.15)
    assert abs(np.corrcoef(grain[0].ravel(), grain[1].ravel())[0, 1]) < 0.1


def test_blur_is_given_for_pictures_of_224_pixels() -> None:
    look = Grade(blur=1.0)
    step = np.zeros((224, 224, 3), np.float32)
    step[:, 112:] = 200
    soft = Grader(look, 224, 224)(step, 0)[100, :, 0].astype(int)
    width = int(((soft > 20) & (soft < 180)).sum())
    assert 2 <= width <= 5
    small = Grader(look, 56, 56)(step[:56, 84:140], 0)[20, :, 0].astype(int)
    assert int(((small > 20) & (small < 180)).sum()) < width


def test_small_and_dim_faces_are_spared() -> None:
    look, flat = Grade(noise=14.0, blur=1.4), np.full((224, 224, 3), 100, np.float32)
    flat[:, 112:] = 140

    def harm(subject: Subject) -> tuple[float, float]:
        hard = Grader(replace(look, blur=0.0), 224, 224, subject)(flat, 0).astype(float)
        soft = Grader(replace(look, noise=0.0), 224, 224, subject)(flat, 0).astype(float)
        return float((hard - flat).std()), float(np.abs(soft - flat).sum())

    large, small, dim = harm(Subject()), harm(Subject(smallest=25.0)), harm(Subject(level=40.0))
    assert large[0] == pytest.approx(14, rel=0.05)
    assert small[0] < 0.7 * large[0] and small[1] < 0.8 * large[1]
    assert dim[0] < 0.5 * large[0]


def test_a_drawn_face_is_the_same_over_a_picture_as_on_its_own() -> None:
    """The stage's drawn person is the one whose stills train the experts."""
    face = sample_face(np.random.default_rng(3))
    own = draw_face(face, State({12: 0.8}), 128).astype(float)
    unit = face.height * 128 / 2
    picture = np.full((128, 128, 3), 90, np.float32)
    DrawnActor(face).draw(picture, State({12: 0.8}), FacePlace(64, 0.52 * 128 + 0.1 * unit, 1.8 * unit))
    inner = (slice(45, 90), slice(45, 83))
    light = own[inner].mean() / picture[inner].mean()  # stills are lit from a side
    assert np.abs(own[inner] - light * picture[inner]).mean() < 8


def test_drawn_actors_say_what_they_look_like() -> None:
    looks = actor(2).looks
    face = sample_face(np.random.default_rng(2))
    assert looks["gender"] == face.gender
    assert (looks["hair"], looks["hair_name"], looks["shirt"], looks["beard"]) == (
        face.hair, face.hair_name, face.shirt, face.beard,
    )  # fmt: skip
    assert looks["glasses"] == ("yes" if face.glasses else "no")


def test_every_role_needs_an_actor() -> None:
    with pytest.raises(PhotoError, match="1 actors for 2 roles; give one actor a role"):
        list(film_story(story([CENTRE], [CENTRE]), [actor()], SIZE, SIZE))


def test_unknown_backdrops_are_named() -> None:
    with pytest.raises(
        PhotoError, match=r"unknown backdrop 'textures' \(did you mean 'texture'\?\); allowed: own, grad"
    ):
        one(backdrop="textures")
    with pytest.raises(PhotoError, match="needs a folder of pictures"):
        one(backdrop="picture")


@pytest.mark.parametrize("kind", ["gradient", "texture"])
def test_invented_backdrops_fill_any_picture_and_differ(kind: str) -> None:
    made = [backdrop(kind, np.random.default_rng(i), 60, 90) for i in range(12)]
    for picture in made:
        assert picture.shape == (60, 90, 3) and picture.dtype == np.float32
        assert picture.min() >= 0 and picture.max() <= 255
        assert picture.max() - picture.min() > 4
    assert len({picture.tobytes() for picture in made}) == 12
    np.testing.assert_array_equal(made[3], backdrop(kind, np.random.default_rng(3), 60, 90))


def test_pictures_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (200, 120), (10, 200, 30)).save(tmp_path / "green.png")
    Image.new("L", (90, 150), 128).save(tmp_path / "grey.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "green.png").read_bytes()[:60])
    (tmp_path / "notes.txt").write_text("not meant")
    with caplog.at_level(logging.WARNING):
        pictures = BackdropFolder(tmp_path)
    assert len(pictures) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "backdrops skipped, cannot be read: broken.jpg, cut.png"
    ]
    seen = {tuple(pictures.backdrop(np.random.default_rng(i), 40, 60).mean((0, 1)).round()) for i in range(10)}
    assert seen == {(10.0, 200.0, 30.0), (128.0, 128.0, 128.0)}
    frame = next(film_story(story([CENTRE], backdrop="picture"), [actor()], SIZE, SIZE, pictures))
    assert frame.picture.shape == (SIZE, SIZE, 3)


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"holds no readable picture; wanted \.jpg"):
        BackdropFolder(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(PhotoError, match="holds no readable picture"):
        BackdropFolder(tmp_path)
    with pytest.raises(PhotoError, match="is not a folder; give one with pictures"):
        BackdropFolder(tmp_path / "nowhere")


def test_faces_are_never_larger_than_asked_when_the_drawn_head_turns() -> None:
    told = story([CENTRE])
    turned = replace(told, roles=(replace(told.roles[0], states=(State(yaw=20, roll=10),)),))
    still, moved = shoot(told)[0], shoot(turned)[0]
    assert not np.array_equal(still.picture, moved.picture)
    assert box(moved)[3] - box(moved)[1] < 1.15 * (box(still)[3] - box(still)[1])
