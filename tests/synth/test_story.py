"""Stories: curves in seconds, phrases that are true, people who stay in the picture."""

import numpy as np
import pytest

from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.synth.identity import DRAWN_AUS, State
from captioner.synth.story.camera import CameraPose, Grade, inside, through_camera
from captioner.synth.story.motion import LIMITS, episode, smooth_step
from captioner.synth.story.plot import CONFLICTS, SALIENT, SHUT, SUBTLE, phrases_shown, showable
from captioner.synth.story.tale import PHOTO_AUS, Role, Story, StorySettings, phrases_true, sample_story, timeline


def story(seed: int, settings: StorySettings | None = None) -> Story:
    return sample_story(np.random.default_rng(seed), settings or StorySettings())


@pytest.fixture(scope="module")
def stories() -> list[Story]:
    return [story(seed) for seed in range(900)]


def role(*frames: dict[int, float], hidden: tuple[int, ...] = ()) -> Role:
    places = tuple(None if i in hidden else (0.5, 0.5, 0.5) for i in range(len(frames)))
    return Role(tuple(State(frame) for frame in frames), places, {}, (), ())


def heights(one: Role) -> np.ndarray:
    return np.array([place[2] for place in one.places if place is not None])


def test_the_same_generator_gives_the_same_story() -> None:
    assert story(5) == story(5)
    assert story(5) != story(6)


def test_settings_are_kept() -> None:
    settings = StorySettings(seconds=(1, 8), fps=(8, 30), people=1, one_sided=False, aus=DRAWN_AUS, aspect=16 / 9)
    made = [story(seed, settings) for seed in range(150)]
    for one in made:
        assert 1 <= one.seconds <= 8 and 8 <= one.fps <= 30
        assert len(one.roles) == 1 and one.arrangement == "alone"
        assert one.grade.backdrop != "picture"
        main = one.roles[0]
        assert len(main.states) == len(main.places) == len(one.camera) == round(one.seconds * one.fps)
        assert {au for state in main.states for au in state.aus} <= {*DRAWN_AUS, SHUT}
        assert not any(state.sides for state in main.states)
        if SHUT in main.peaks:  # a drawn face closes its eyes by a blink
            assert all(state.blink >= state.aus[SHUT] for state in main.states)
    assert min(one.seconds for one in made) < 2 and max(one.seconds for one in made) > 7
    assert min(one.fps for one in made) < 10 and max(one.fps for one in made) > 28
    assert "dimples" not in {name for one in made for name in one.roles[0].phrases}


def test_pictures_are_backdrops_only_where_there_are_some() -> None:
    kinds = {story(seed, StorySettings(pictures=True)).grade.backdrop for seed in range(60)}
    assert kinds == {"own", "gradient", "texture", "picture"}


@pytest.mark.parametrize("seed", range(20))
def test_a_finer_frame_rate_shows_the_same_movements(seed: int) -> None:
    coarse, fine = (story(seed, StorySettings((2.0, 6.0), (fps, fps))) for fps in (10.0, 30.0))
    assert coarse.seconds == fine.seconds and coarse.grade == fine.grade
    for few, many in zip(coarse.roles, fine.roles, strict=True):
        assert few.actions == many.actions and few.manners == many.manners
        count = min(len(few.states), len(many.states[::3]))
        for au in few.states[0].aus:
            np.testing.assert_allclose(timeline(few, au)[:count], timeline(many, au)[::3][:count], atol=1e-9)
        for name in ("yaw", "pitch", "roll", "blink", "speech"):
            ours, theirs = ([getattr(state, name) for state in one.states] for one in (few, many))
            np.testing.assert_allclose(ours[:count], theirs[::3][:count], atol=1e-9)


def test_a_ramp_takes_its_seconds() -> None:
    for fps in (8, 30):
        t = np.arange(0, 4, 1 / fps)
        curve = smooth_step(t, 1.0, 0.5)
        assert curve[t <= 1.0].max() == 0 and curve[t >= 1.5].min() == 1
        assert 0.4 < np.interp(1.25, t, curve) < 0.6


@pytest.mark.parametrize("length", [1.0, 3.0, 8.0])
def test_an_episode_rises_holds_its_apex_and_mostly_falls(length: float) -> None:
    t = np.arange(0, length, 0.005)
    onsets, falls = [], 0
    for seed in range(200):
        curve = episode(np.random.default_rng(seed), t, (0.0, length))
        assert curve.min() >= 0 and curve.max() <= 1
        assert 0.005 * (curve > 0.85).sum() >= 0.3
        if curve[0] == 0:
            first = int(np.argmax(curve > 0.85))
            onsets.append(t[first] - t[np.argmax(curve > 0)])
        falls += curve[-1] < 0.5
    assert 20 <= falls <= 160
    assert len(onsets) > 80 and min(onsets) > 0.08 and max(onsets) < 0.6


def test_states_stay_within_their_ranges(stories: list[Story]) -> None:
    for one in stories[::6]:
        for person in one.roles:
            for state in person.states:
                assert (state.x, state.y, state.scale) == (0, 0, 1)
                assert all(0 <= value <= 1 for value in (*state.aus.values(), state.blink, state.speech))
                assert all(abs(getattr(state, name)) <= limit for name, limit in LIMITS.items())
                assert max(map(abs, state.gaze)) <= 1


def test_phrases_follow_the_peaks_while_the_face_is_seen() -> None:
    assert phrases_true(role({12: 0.9}, {12: 0.2})) == ("smile",)
    assert phrases_true(role({12: 0.2}, {12: 0.9}, hidden=(1,))) == ()
    assert phrases_true(role({12: SALIENT - 0.01})) == ()
    assert phrases_true(role({1: 0.8, 2: 0.8})) == ("raised_brows",)
    assert phrases_true(role({1: 0.8, 2: 0.1})) == ("raised_inner_brows",)
    assert phrases_true(role({25: 0.9, 27: 0.9})) == ("wide_open_mouth",)
    assert phrases_true(role({SHUT: 0.9})) == ("closed_eyes",)
    assert phrases_true(role({23: 0.7})) == ("pressed_lips",)


def test_the_most_salient_phrase_comes_first_and_hides_others() -> None:
    assert phrases_true(role({4: 0.7, 25: 0.9})) == ("open_mouth", "frown")
    assert phrases_true(role({4: 0.9, 25: 0.9}, {4: 0.9, 25: 0.0}, {4: 0.9, 25: 0.0})) == ("frown", "open_mouth")
    assert phrases_true(role({12: 0.9, 15: 0.7})) == ("smile",)
    assert phrases_true(role({12: 0.7, 15: 0.9})) == ("lip_corners_down",)


def test_phrases_never_hide_each_other_and_the_rest_is_faint(stories: list[Story]) -> None:
    for one in stories:
        for person in one.roles:
            names = person.phrases
            assert names == phrases_true(person)
            assert set(names) == set(phrases_shown(person.peaks))  # none was dropped as hidden
            assert not any(frozenset((a, b)) in CONFLICTS for a in names for b in names if a != b)
            for au in person.states[0].aus:
                seen = [state.aus[au] for state, place in zip(person.states, person.places, strict=True) if place]
                assert max(seen) <= SUBTLE or max(seen) >= SALIENT
                assert (max(seen) >= SALIENT) == (au in person.peaks)


def test_everything_occurs(stories: list[Story]) -> None:
    assert {one.emotion for one in stories} == set(MAFW_LABELS)
    assert {action for one in stories for action in one.roles[0].actions} == set(ACTIONS)
    assert {one.arrangement for one in stories} == {"alone", "beside", "behind", "reverse"}
    assert {name for one in stories for name in one.roles[0].phrases} == set(showable(PHOTO_AUS))
    assert 0.1 < np.mean([len(one.mixture) == 2 for one in stories]) < 0.3
    assert {shot.cut for one in stories for shot in one.camera} == {0, 1, 2}
    counts = {name: sum(name in one.roles[0].phrases for one in stories) for name in showable(PHOTO_AUS)}
    assert sorted(counts, key=counts.__getitem__)[-2:] == ["open_mouth", "frown"]


@pytest.mark.parametrize("aspect", [1.0, 16 / 9, 9 / 16])
def test_faces_stay_in_the_picture(aspect: float) -> None:
    for seed in range(150):
        one = story(seed, StorySettings(aspect=aspect))
        for person in one.roles:
            kept = [
                inside(through_camera(place, shot, aspect), aspect, one.grade.letterbox)
                for place, shot in zip(person.places, one.camera, strict=True)
                if place is not None
            ]
            if {"enters", "leaves"} & set(person.actions):
                kept = sorted(kept)[len(kept) // 2 :]
            assert kept and min(kept) > 0.7


def test_faces_are_of_all_sizes_and_none_floats(stories: list[Story]) -> None:
    largest = np.array([heights(one.roles[0]).max() for one in stories])
    assert largest.min() < 0.1 and largest.max() > 0.85
    assert np.mean((largest > 0.25) & (largest < 0.75)) > 0.6
    for one in stories:
        for place in (place for person in one.roles for place in person.places if place):
            assert (1 - one.grade.letterbox - place[1]) / place[2] < 0.5 + 3.7


def test_two_people_do_not_cover_each_other(stories: list[Story]) -> None:
    for one in stories:
        if one.arrangement in ("beside", "behind"):
            for first, second in zip(*(person.places for person in one.roles), strict=True):
                if first and second and not {"enters", "leaves"} & {*one.roles[0].actions, *one.roles[1].actions}:
                    assert abs(first[0] - second[0]) > 0.38 * (first[2] + second[2])


def test_captions_are_about_the_more_prominent_of_two_people(stories: list[Story]) -> None:
    pairs = [one for one in stories if len(one.roles) == 2]

    def shown(role: Role) -> float:
        """Height times centrality, summed over the frames."""
        places = [place for place in role.places if place is not None]
        return sum(h * float(np.exp(-(((x - 0.5) / 0.4) ** 2 + ((y - 0.5) / 0.5) ** 2) / 2)) for x, y, h in places)

    shares = [shown(one.roles[0]) / shown(one.roles[1]) for one in pairs]
    assert len(pairs) > 30
    assert np.mean([share > 1.05 for share in shares]) > 0.97


def test_only_one_person_is_filmed_at_a_time_in_reverse_shots(stories: list[Story]) -> None:
    for one in (one for one in stories if one.arrangement == "reverse"):
        assert all((a is None) != (b is None) for a, b in zip(*(p.places for p in one.roles), strict=True))
        assert max(shot.cut for shot in one.camera) >= 1


def test_what_is_done_can_be_seen(stories: list[Story]) -> None:
    for one in stories:
        main = one.roles[0]
        seen = [state for state, place in zip(main.states, main.places, strict=True) if place is not None]
        yaw, pitch, roll = (np.array([getattr(state, name) for state in seen]) for name in LIMITS)
        speech, down = max(state.speech for state in seen), np.array([state.gaze[1] for state in seen])
        for action in main.actions:
            if action == "nods":
                assert np.ptp(pitch) > 6
            elif action == "shakes_head":
                assert np.ptp(yaw) > 10
            elif action in ("turns_left", "turns_right"):
                assert (yaw[-1] - yaw[0]) * (1 if action == "turns_right" else -1) > 8
            elif action == "tilts_head":
                assert np.ptp(roll) > 8
            elif action in ("looks_down", "looks_up"):
                assert np.abs(down).max() > 0.6
            elif action in ("leans_in", "moves_away"):
                ratio = heights(main)[-1] / heights(main)[0]
                assert ratio > 1.15 if action == "leans_in" else ratio < 0.9
            elif action == "closes_eyes":
                assert "closed_eyes" in main.phrases
            elif action in ("enters", "leaves"):
                edge = main.places[0 if action == "enters" else -1]
                assert edge is None or inside(edge, 1.0) < 0.5
        assert (speech > 0.25) == bool({"talks", "talks_to", "shouts"} & set(main.actions))
        assert set(main.manners) <= set(main.actions)
        assert set(main.manners.values()) <= {"slowly", "suddenly", "repeatedly"}


def test_whom_one_listens_to_talks(stories: list[Story]) -> None:
    listening = [one for one in stories if "listens" in one.roles[0].actions]
    assert listening and all("talks_to" in one.roles[1].actions for one in listening)


def test_contempt_is_often_one_sided(stories: list[Story]) -> None:
    scornful = [one.roles[0] for one in stories if "contempt" in one.mixture and {12, 14} & set(one.roles[0].peaks)]
    uneven = [min(min(share) for share in person.states[0].sides.values()) < 0.35 for person in scornful]
    assert len(scornful) > 20 and 0.4 < np.mean(uneven) < 0.95


def test_light_reaches_from_dim_to_bright(stories: list[Story]) -> None:
    looks = [one.grade for one in stories]
    assert min(look.exposure for look in looks) < 0.3 and max(look.exposure for look in looks) > 1.2
    assert 0.02 < np.mean([look.saturation == 0 for look in looks]) < 0.2
    assert all(look.tint is None or 0 < min(look.tint) <= max(look.tint) < 270 for look in looks)
    assert all(18 <= look.crf <= 34 and 0 <= look.letterbox <= 0.13 for look in looks)
    assert Grade() == Grade(exposure=1.0, tint=None) and CameraPose().zoom == 1


def test_a_place_follows_the_camera() -> None:
    assert through_camera((0.5, 0.5, 0.4), CameraPose(zoom=1.5, roll=20), 1.0) == pytest.approx((0.5, 0.5, 0.6))
    assert through_camera((0.7, 0.5, 0.2), CameraPose(dx=0.1), 2.0) == pytest.approx((0.75, 0.5, 0.2))
    assert through_camera((0.75, 0.5, 0.2), CameraPose(roll=90), 1.0) == pytest.approx((0.5, 0.75, 0.2))  # clockwise
    assert inside((0.5, 0.5, 0.5), 1.0) == pytest.approx(1.0)
    assert inside((0.0, 0.5, 0.5), 1.0) == pytest.approx(0.5)
    assert inside((0.5, 0.25, 0.5), 1.0, bar=0.25) == pytest.approx(0.5)
