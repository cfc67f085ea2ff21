"""What is a face over its whole life, and which tracks are one person."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from captioner.faces.people import LOST, SURE, bond, is_face, join_tracks, sort_out
from captioner.faces.track import DENSE, Followed
from tests.faces.mean_face import mean_face, placed

ANNA, BORIS = normalize(torch.tensor([[1.0, 0.2, 0.0], [0.0, 0.3, 1.0]]), dim=1)


def track(
    at: range, who: Tensor = ANNA, x: float = 200.0, score: float = 0.99, odds: float = 0.8, turn: int = 0
) -> Followed:
    """A face of 80 pixels that stands still and looks like `who`, seen from one side."""
    marks = [placed(mean_face(), x, 150, 80).numpy()] * len(at)
    values = [np.zeros(56, np.float32)] * len(at)
    seen = Followed([*at], marks, [score] * len(at), values, odds=[odds] * 3, signature=who)
    seen.turned[turn] = who
    return seen


@pytest.mark.parametrize(
    ("score", "odds", "count", "face"),
    [
        (0.99, 0.8, 20, True), (0.99, 0.5, 4, True),
        (0.9, 0.9, 50, False),  # a pattern: the finder is sure of it, the landmarks find no hold
        (0.97, 0.1, 50, False),  # a tree: the landmarks settle, the finder sees nothing
        (0.99, 0.1, 50, True), (0.99, 0.1, 5, False),  # a profile lasts
        (0.99, 0.8, 3, False),  # a glimpse
    ],
)  # fmt: skip
def test_a_face_is_one_by_both_networks_over_its_life(score: float, odds: float, count: int, face: bool) -> None:
    assert is_face(track(range(count), score=score, odds=odds), DENSE.least) is face


def test_who_leaves_is_a_face_though_half_out_of_the_picture_at_last() -> None:
    leaving = track(range(20))
    leaving.scores[-1] = 0.4
    assert np.mean(leaving.scores) < SURE
    assert is_face(leaving, DENSE.least)
    found_late = track(range(2, 20))
    found_late.at += [1, 0]  # looked back
    found_late.scores += [0.99, 0.4]
    found_late.marks += found_late.marks[:2]
    assert is_face(found_late, DENSE.least)
    leaving.scores[10] = 0.4
    assert not is_face(leaving, DENSE.least)


def test_in_a_short_clip_a_face_need_not_last() -> None:
    one = track(range(1))
    assert sort_out([one], DENSE, frames=1, cuts=[0]) == [one]
    assert sort_out([one], DENSE, frames=20, cuts=[0]) == []


def test_a_track_that_a_turn_broke_is_joined() -> None:
    side, front = track(range(12, 20), turn=2), track(range(10))
    (person,) = join_tracks([side, front], cuts=[0])
    assert sorted(person.at) == [*range(10), *range(12, 20)]
    assert len(person.marks) == len(person.scores) == len(person.values) == 18
    assert set(person.turned) == {0, 2}


def test_one_man_counted_five_times_is_one_man() -> None:
    parts = [track(range(start, start + 6), x=200 + start) for start in range(0, 50, 10)]
    assert len(join_tracks(parts, cuts=[0])) == 1


def test_who_takes_the_place_of_another_is_somebody_else() -> None:
    assert len(join_tracks([track(range(10)), track(range(12, 20), BORIS)], cuts=[0])) == 2


def test_two_in_one_frame_are_two_however_alike() -> None:
    assert len(join_tracks([track(range(10)), track(range(9, 20), x=400)], cuts=[0])) == 2


def test_a_vague_likeness_is_enough_in_place_and_not_after_a_cut_or_far_away_or_later() -> None:
    half = normalize(ANNA * 0.35 + BORIS * 0.9, dim=0)
    first, then = track(range(10)), track(range(14, 20), half)
    assert 0.2 < float(ANNA @ half) < 0.55
    assert bond(first, then, cuts=[0]) > 0
    assert bond(first, then, cuts=[0, 12]) == 0
    assert bond(first, track(range(14, 20), half, x=900), cuts=[0]) == 0
    assert bond(first, track(range(11 + LOST, 60), half), cuts=[0]) == 0


def test_the_surest_pair_is_joined_first() -> None:
    near = normalize(ANNA + BORIS * 0.3, dim=0)
    first, alike, rival = track(range(10)), track(range(12, 20), x=210), track(range(12, 20), near, x=190)
    people = join_tracks([first, rival, alike], cuts=[0])
    assert sorted(len(person.at) for person in people) == [8, 18]
    assert rival in people


def test_likeness_is_of_the_same_side_where_both_show_it() -> None:
    first, then = track(range(10)), track(range(200, 220), BORIS, turn=3)
    then.turned[0] = ANNA
    assert bond(first, then, cuts=[0]) > 0
    assert bond(first, replace(then, turned={3: BORIS}), cuts=[0]) == 0
