"""Three-dimensional people: labels follow the action, every emotion of the table comes, pictures show the face."""

import sys
from pathlib import Path

import numpy as np
import pytest

from captioner.errors import ManifestError
from captioner.lexicon.compound import COMPOUND
from captioner.synth.body3d import bodies, renderer
from captioner.synth.body3d.acting import POSED, act, sample_acting
from captioner.synth.body3d.bodies import LANDMARKS, VERTICES
from captioner.synth.body3d.decals import BROWS, SIDE, WRINKLES, decals
from captioner.synth.body3d.scene import PROFILE, BodyLook, finish, read_skins, sample_view, wrinkles
from captioner.train.experts.renders import render_people
from prompts.action_units import MAIN_AUS, SUB_AUS, UNKNOWN
from tests.helpers import SHARED

SKINS = SHARED / "data" / "skins"
PLACE = {au: place for place, au in enumerate(MAIN_AUS)}
LOOK = BodyLook("a", "b", "c", 0, (), {}, dark=False, wrinkled=0.5)


def test_compound_table_names_units_that_can_be_posed() -> None:
    assert len(COMPOUND) == 21
    for expression in COMPOUND:
        units = {*expression.always, *expression.often}
        assert units <= set(POSED)
        assert not set(expression.always) & set(expression.often)
        assert all(0 < share < 1 for share in expression.often.values())


def test_labels_follow_the_action() -> None:
    acting = act(np.random.default_rng(0), {4: 1.0, 26: 1.0, 9: 0.3})
    labels = dict(zip(MAIN_AUS, acting.labels[: len(MAIN_AUS)].tolist(), strict=True))
    assert labels[4] == labels[25] == labels[26] == 1  # a jaw that falls parts the lips
    assert labels[9] == UNKNOWN  # between absent and present
    assert labels[10] == UNKNOWN  # a wrinkled nose lifts the lip too
    assert labels[1] == labels[12] == 0
    assert labels[11] == labels[23] == UNKNOWN  # nobody can pose them
    assert 0.22 <= acting.jaw <= 0.5
    assert len(acting.labels) == len(MAIN_AUS) + len(SUB_AUS)


def test_shut_eyes_hide_the_lids() -> None:
    acting = act(np.random.default_rng(1), {43: 1.0, 6: 1.0})
    assert [acting.labels[PLACE[au]] for au in (5, 6, 7)] == [UNKNOWN] * 3


def test_actions_cover_open_mouths_below_low_brows_and_oblique_brows() -> None:
    rng = np.random.default_rng(2)
    labels = np.stack([sample_acting(rng).labels for _ in range(1500)])
    on = labels == 1
    assert (on[:, PLACE[4]] & on[:, PLACE[25]] & ~on[:, PLACE[1]]).mean() > 0.04
    assert (on[:, PLACE[1]] & on[:, PLACE[4]]).mean() > 0.04
    assert all(on[:, PLACE[au]].sum() > 20 for au in POSED)
    assert (on[:, PLACE[4]].mean()) < 0.5


def test_views_reach_profiles() -> None:
    rng = np.random.default_rng(3)
    turns = np.abs([sample_view(rng, LOOK).yaw for _ in range(400)])
    assert turns.max() <= PROFILE
    assert (turns > np.deg2rad(45)).mean() > 0.05
    assert np.median(turns) < np.deg2rad(20)


def test_wrinkles_come_with_units_and_age() -> None:
    def depth(strength: dict[int, float], age: float) -> np.ndarray:
        return wrinkles(np.random.default_rng(4), strength, age, 1.0)

    assert not depth({}, 0.5).any()
    assert depth({4: 1.0}, 0.5)[2] > 0.4
    assert depth({}, 1.0).sum() > 0


def test_decals_lie_on_both_sides() -> None:
    layers = decals()
    assert layers.shape == (BROWS + WRINKLES + 2, SIDE, SIDE)
    assert (layers.reshape(len(layers), -1).max(1) > 0.3).all()
    assert np.abs(layers[:BROWS] - layers[:BROWS, :, ::-1]).mean() < 0.01


def test_a_finished_picture_hides_its_backdrop_behind_the_person() -> None:
    image = np.zeros((64, 64, 4), np.uint8)
    image[16:48, 16:48] = 255
    picture = finish(np.random.default_rng(5), image, 32)
    assert picture.shape == (32, 32)
    assert picture[16, 16] > 200


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("anny", "moderngl"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ManifestError, match=r"`anny`.*pip install 'captioner\[renders\]'"):
        bodies.Bodies()
    with pytest.raises(ManifestError, match=r"`moderngl`.*pip install 'captioner\[renders\]'"):
        renderer._context()


def test_a_folder_without_skins_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="has no picture skin_"):
        read_skins(tmp_path)


@pytest.mark.slow
def test_rendered_faces_lie_where_crops_expect_them() -> None:
    pytest.importorskip("anny", reason="needs captioner[renders]")
    pytest.importorskip("moderngl", reason="needs captioner[renders]")
    if not SKINS.is_dir():
        pytest.skip("needs ../shared/data/skins")
    try:
        made = render_people(SKINS, 8, seed=3)
    except ManifestError as error:
        pytest.skip(str(error))
    again = render_people(SKINS, 8, seed=3)
    assert len(LANDMARKS) == 68 and max(LANDMARKS) < VERTICES
    assert np.array_equal(made.pixels, again.pixels) and np.array_equal(made.aus, again.aus)
    assert made.persons.unique().numel() == 2  # seven pictures of a person
    assert (made.frames[:, :, 2].abs() < 1).all()
    assert made.pixels.float().flatten(1).std(1).min() > 5  # nothing is blank
