"""The drawn face and its portraits: action units show, clips are reproducible, captions are true."""

import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from captioner.errors import ConfigError
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.circumstances import FEELINGS
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.lexicon.phrases import find_phrases, phrases_of
from captioner.synth.actors import DrawnActor
from captioner.synth.drawn.paint import draw_face
from captioner.synth.film.stage import film_story
from captioner.synth.identity import DRAWN_AUS, State, sample_face
from captioner.synth.maker import ClipJob, ClipMaker, MakerPlan, make_clips, make_drawn_clips
from captioner.synth.maker_options import MakerOptions
from captioner.synth.story.grammar import write_captions
from captioner.synth.story.plot import CONFLICTS, SALIENT, SOCIAL, SUBTLE, showable
from captioner.synth.story.tale import Story, StorySettings, sample_story
from tests.helpers import drawn_portrait

# Where on a frontal face an action unit must show, as rows of the picture (shares of its height).
UPPER, LOWER = (0.25, 0.62), (0.45, 0.95)
REGIONS = {au: UPPER if au in (1, 2, 4, 5, 6, 7, 9) else LOWER for au in DRAWN_AUS}


@pytest.mark.parametrize("au", DRAWN_AUS)
def test_each_action_unit_shows_at_96_pixels(au: int) -> None:
    top, bottom = (round(96 * edge) for edge in REGIONS[au])
    for seed in range(6):
        face = sample_face(np.random.default_rng(seed))
        rest, weak, strong = (
            draw_face(face, State({au: value}), 96).astype(float) for value in (0.0, 0.15, SALIENT)
        )
        changed = np.abs(strong - rest).max(axis=2) > 25
        assert changed[top:bottom].sum() >= 12, f"AU {au} of face {seed} changes too little"
        assert changed[: round(0.12 * 96)].sum() == 0, "the background stays"
        assert np.abs(weak - rest).sum() < np.abs(strong - rest).sum()


def test_action_units_differ_from_each_other() -> None:
    face = sample_face(np.random.default_rng(3))
    pictures = [draw_face(face, State({au: 0.8}), 96).astype(float) for au in DRAWN_AUS]
    for i, first in enumerate(pictures):
        for second in pictures[i + 1 :]:
            assert (np.abs(first - second).max(axis=2) > 25).sum() >= 10


@pytest.mark.parametrize(
    "change",
    [{"yaw": 20.0}, {"pitch": 12.0}, {"roll": 12.0}, {"scale": 1.2}, {"x": 0.05}, {"gaze": (0.9, 0.0)},
     {"gaze": (0.0, 0.9)}, {"blink": 1.0}, {"speech": 1.0}],
)  # fmt: skip
def test_pose_and_actions_show(change: dict) -> None:
    face = sample_face(np.random.default_rng(1))
    moved, rest = draw_face(face, State(**change), 96), draw_face(face, State(), 96)
    assert (np.abs(moved.astype(int) - rest).max(axis=2) > 25).sum() >= 12


def test_a_turn_to_the_right_moves_the_nose_to_the_viewers_right() -> None:
    face = sample_face(np.random.default_rng(1))
    right, left = (draw_face(face, State(yaw=yaw), 96).astype(float) for yaw in (25.0, -25.0))
    columns = np.arange(96)
    dark = [(255 - picture[35:60].mean(axis=2)) ** 4 for picture in (right, left)]
    centres = [(weight.sum(axis=0) * columns).sum() / weight.sum() for weight in dark]
    assert centres[0] > centres[1] + 1


PORTRAIT = StorySettings((1.5, 2.5), (8.0, 8.0), people=1, aus=DRAWN_AUS, one_sided=False, framing="portrait")


@pytest.fixture(scope="module")
def portraits() -> list[Story]:
    return [sample_story(np.random.default_rng(seed), PORTRAIT) for seed in range(400)]


def records(manifest: Path) -> list[dict]:
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def decoded(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_seed_gives_the_same_portrait_and_frames() -> None:
    (first, frames), (second, again) = (drawn_portrait(7, 64) for _ in range(2))
    assert first == second
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(frames, again, strict=True))
    assert drawn_portrait(8, 64)[0] != first


def test_a_portrait_shows_one_near_face_in_even_light_from_a_still_camera(portraits: list[Story]) -> None:
    for one in portraits:
        assert len(one.roles) == 1 and one.arrangement == "alone"
        assert 12 <= len(one.roles[0].states) <= 20
        assert len(set(one.camera)) == 1 and one.camera[0].zoom == 1
        assert (one.grade.noise, one.grade.blur, one.grade.letterbox, one.grade.backdrop) == (0, 0, 0, "own")
        for place in one.roles[0].places:
            assert place is not None and 0.38 < place[2] < 0.7
            assert abs(place[0] - 0.5) < 0.08 and 0.5 < place[1] < 0.65


def test_what_portraits_say_of_a_face_is_unambiguous(portraits: list[Story]) -> None:
    for one in portraits:
        main = one.roles[0]
        facial = [name for name in main.phrases if name != "closed_eyes"]
        assert set(facial) == set(phrases_of(main.peaks))
        pairs = {frozenset((a, b)) for a in main.phrases for b in main.phrases if a != b}
        assert not pairs & CONFLICTS
        for au in DRAWN_AUS:
            peak = max(state.aus.get(au, 0.0) for state in main.states)
            assert peak >= SALIENT if au in main.peaks else peak <= SUBTLE
        if "talks" in main.actions:
            assert not {18, 24, 27} & set(main.peaks)
    subtle = [value for one in portraits for state in one.roles[0].states for value in state.aus.values()]
    assert any(0 < value <= SUBTLE for value in subtle)


def test_every_phrase_and_action_of_one_person_happens(portraits: list[Story]) -> None:
    assert {name for one in portraits for name in one.roles[0].phrases} == set(showable(DRAWN_AUS))
    passing = {"enters", "leaves", *SOCIAL}
    assert {action for one in portraits for action in one.roles[0].actions} == set(ACTIONS) - passing
    assert any(not one.roles[0].phrases for one in portraits)


def test_actions_show_in_eight_frames(portraits: list[Story]) -> None:
    for one in portraits:
        main = one.roles[0]
        at = np.linspace(0, len(main.states) - 1, 8).round().astype(int)
        states = [main.states[i] for i in at]
        sizes = [place[2] for place in main.places if place]
        yaw, roll = (np.array([getattr(state, name) for state in states]) for name in ("yaw", "roll"))
        if "shakes_head" in main.actions:
            assert np.ptp(yaw) > 5
        if "turns_right" in main.actions:
            assert yaw[-1] - yaw[0] > 8
        if "turns_left" in main.actions:
            assert yaw[0] - yaw[-1] > 8
        if "tilts_head" in main.actions:
            assert np.ptp(roll) > 8
        if "leans_in" in main.actions:
            assert sizes[-1] > 1.15 * sizes[0]


def test_captions_of_portraits_are_true_complete_and_name_no_emotion(portraits: list[Story]) -> None:
    forbidden = {word for feeling in FEELINGS.values() for word in feeling.adjectives + feeling.adverbs + feeling.nouns}
    forbidden |= set(MAFW_LABELS) | {"disgusting", "hopeless", "upset", "nervous", "cheerless", "helpless"}
    for seed, one in enumerate(portraits):
        face = sample_face(np.random.default_rng(seed))
        for text in write_captions(one, [DrawnActor(face).looks], np.random.default_rng(seed), n=3)[:-1]:
            assert not forbidden & set(re.findall(r"[a-z]+", text.lower())), text
            assert {found.name for found in find_phrases(text)} == set(one.roles[0].phrases), text
            assert re.search(rf"\b{face.gender}\b", text), text
            if " hair" in text:
                assert f"{face.hair_name} hair" in text and face.hair != "bald"
            assert "close-up" not in text and "distance" not in text


@pytest.mark.slow
def test_drawn_clips_are_those_of_the_command_and_splits_share_no_face(tmp_path: Path) -> None:
    one = make_drawn_clips(tmp_path / "one", 12, seed=3, size=64)
    options = MakerOptions(
        tmp_path / "two", 12, 3, height=64, width=64, seconds=(1.5, 2.5), fps=(8, 8), people=1, framing="portrait"
    )
    two = make_clips(options).manifest
    assert one.read_text() == two.read_text()
    lines = records(one)
    for line in lines:
        assert (one.parent / line["video"]).read_bytes() == (two.parent / line["video"]).read_bytes()
    groups = {
        split: {line["group"] for line in lines if line["split"] == split} for split in ("train", "val", "test")
    }
    assert [sum(line["split"] == split for line in lines) for split in groups] == [10, 1, 1]
    assert not groups["train"] & groups["val"] and not groups["train"] & groups["test"]
    assert not groups["val"] & groups["test"]
    other = make_drawn_clips(tmp_path / "other", 2, seed=4, size=64)
    assert records(other)[0]["captions"] != lines[0]["captions"]


def test_a_clip_decodes_to_what_was_drawn(tmp_path: Path) -> None:
    options = MakerOptions(
        tmp_path, 2, height=96, width=96, seconds=(1.5, 2.5), fps=(8.0, 8.0), people=1, framing="portrait"
    )
    line = records(make_clips(options).manifest)[0]
    frames = decoded(tmp_path / line["video"])
    assert frames.shape == (line["n_frames"], 96, 96, 3)
    assert line["emotion"] in MAFW_LABELS
    assert line["extra"]["synthetic"] is True
    maker, job = ClipMaker(MakerPlan.of(options)), ClipJob("train", 0)
    story = maker.story(job, 0)
    actors = [maker.lead(job, 0, story).actor]
    shown = np.stack([frame.picture for frame in film_story(story, actors, 96, 96)])
    assert np.abs(frames.astype(int) - shown).mean() < 6


def test_drawn_clips_of_another_size_are_refused(tmp_path: Path) -> None:
    make_drawn_clips(tmp_path, 1, size=64)
    with pytest.raises(ConfigError, match=r"made with \{'size': \[64, 64\]\}, asked for .*66.*choose another"):
        make_drawn_clips(tmp_path, 1, size=66)


def test_portraits_have_no_other_backdrop(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="backgrounds are for films"):
        MakerOptions(tmp_path, framing="portrait", backgrounds=tmp_path)
    with pytest.raises(ConfigError, match=r"framing is 'close'; allowed: film, portrait"):
        MakerOptions(tmp_path, framing="close")
