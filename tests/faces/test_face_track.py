"""Following faces, with made networks: whoever stands where `people` says is seen there."""

import numpy as np
import pytest
import torch
from torch import Tensor

from captioner.faces import track
from captioner.faces.landmarks import FaceEstimate
from captioner.faces.points import NETWORK_NAMES
from tests.faces.mean_face import mean_face, placed


@pytest.fixture(scope="module")
def template() -> Tensor:
    return mean_face()


class Stage:
    """People (T, P, 68, 2), not a number where nobody is; stands in for the finder and the landmark networks."""

    odds, score = 0.9, 0.99  # what the finder and the landmark network give whoever is there

    def __init__(self, people: Tensor, faces: Tensor | None = None) -> None:
        self.people, self.t = people, -1
        self.looks = torch.eye(people.shape[1]) if faces is None else faces

    def __call__(self, finder: object, picture: Tensor, floor: float, skip_finest: bool) -> Tensor:
        seen = [track.square_of(marks) for marks in self.people[self.t] if marks.isfinite().all()]
        return torch.stack([torch.cat([s, torch.tensor([self.odds])]) for s in seen]) if seen else torch.zeros(0, 4)

    def settle(self, grey: Tensor, faces: Tensor, still: bool = False) -> FaceEstimate:
        return self.look(grey, faces[:, None, :2].expand(-1, 68, -1))

    def look(self, grey: Tensor, marks: Tensor) -> FaceEstimate:
        now = self.people[int(grey[0, 0])]
        apart = (now.mean(1)[None] - marks.mean(1)[:, None]).norm(dim=-1).nan_to_num(1e6)
        nearest = apart.argmin(1)
        points = torch.cat([now[nearest].nan_to_num(0.0), torch.zeros(len(marks), 2, 2)], dim=1)
        score = (apart.amin(1) < 60).float() * self.score
        return FaceEstimate(points, torch.zeros(len(marks), len(NETWORK_NAMES)), score, self.looks[nearest])


def follow(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, cuts: tuple[int, ...] = (), rules: track.Rules | None = None
) -> list[track.Followed]:
    monkeypatch.setattr(track, "find_faces", stage)
    tracker = track.Tracker(None, stage, rules or track.Rules())  # type: ignore[arg-type]
    for t in range(len(stage.people)):
        stage.t = t
        grey = torch.zeros(360, 640)
        grey[:, 320:] += 200.0 * (sum(t >= cut for cut in cuts) % 2)
        grey[0, 0] = t  # how the stage knows which frame it is shown
        tracker.step(grey)
    return tracker.finish()


def walk(template: Tensor, count: int, start: tuple[float, float], speed: float, side: float = 80.0) -> Tensor:
    return torch.stack([placed(template, start[0] + speed * t, start[1], side) for t in range(count)])


def test_two_people_who_walk_stay_two(monkeypatch: pytest.MonkeyPatch, template: Tensor) -> None:
    people = torch.stack([walk(template, 30, (100, 180), 6), walk(template, 30, (500, 180), -3)], dim=1)
    seen = follow(monkeypatch, Stage(people))
    assert [sorted(each.at) for each in seen] == [list(range(30))] * 2
    for p, each in enumerate(sorted(seen, key=lambda s: float(s.marks[0][0, 0]))):
        np.testing.assert_allclose(each.marks[20], people[20, p].numpy(), atol=1e-3)


def test_who_comes_late_is_followed_back_to_the_entrance(monkeypatch: pytest.MonkeyPatch, template: Tensor) -> None:
    people = walk(template, 24, (200, 150), 2)[:, None]
    people[:9] = torch.nan
    assert [sorted(each.at) for each in follow(monkeypatch, Stage(people))] == [list(range(9, 24))]


def test_in_few_frames_who_comes_late_is_found_too(monkeypatch: pytest.MonkeyPatch, template: Tensor) -> None:
    people = walk(template, 8, (200, 150), 2)[:, None]
    people[:5] = torch.nan
    stage = Stage(people)
    stage.score = 0.9
    few = track.paced(track.Rules(), np.linspace(0, 3, 8))
    assert [sorted(each.at) for each in follow(monkeypatch, stage, rules=few)] == [[5, 6, 7]]
    assert follow(monkeypatch, stage) == []


def test_searches_are_as_often_in_time() -> None:
    dense, rules = track.paced(track.Rules(), np.arange(50) / 25), track.Rules()
    assert dense == rules == track.paced(rules, None) == track.paced(rules, np.zeros(1))
    assert [track.paced(rules, np.arange(8) * gap).every for gap in (0.19, 0.2, 0.3, 0.7, 5)] == [10, 4, 3, 2, 2]


def test_who_leaves_and_comes_back_is_the_same_person(monkeypatch: pytest.MonkeyPatch, template: Tensor) -> None:
    people = walk(template, 40, (200, 150), 0)[:, None]
    people[12:24] = torch.nan
    people[24:] += 150
    (seen,) = follow(monkeypatch, Stage(people))
    assert sorted(seen.at) == [*range(12), *range(24, 40)]


def test_another_face_after_a_cut_is_another_person(monkeypatch: pytest.MonkeyPatch, template: Tensor) -> None:
    people = torch.full((24, 2, 68, 2), torch.nan)
    people[:12, 0] = walk(template, 12, (200, 150), 0)
    people[12:, 1] = walk(template, 12, (203, 150), 0)
    seen = follow(monkeypatch, Stage(people), cuts=(12,))
    assert sorted(sorted(each.at)[0] for each in seen) == [0, 12]


def test_the_same_face_after_a_cut_is_the_same_person(monkeypatch: pytest.MonkeyPatch, template: Tensor) -> None:
    people = walk(template, 24, (200, 150), 0)[:, None]
    people[12:] = people[12:] * 1.5 + 60
    (seen,) = follow(monkeypatch, Stage(people), cuts=(12,))
    assert sorted(seen.at) == list(range(24))


@pytest.mark.parametrize(
    ("odds", "score", "people"), [(0.9, 0.8, 1), (0.5, 0.99, 1), (0.5, 0.9, 0), (0.38, 0.99, 0), (0.2, 0.99, 0)]
)
def test_where_the_finder_doubts_the_landmark_network_must_be_sure(
    monkeypatch: pytest.MonkeyPatch, template: Tensor, odds: float, score: float, people: int
) -> None:
    stage = Stage(walk(template, 24, (200, 150), 2)[:, None])
    stage.odds, stage.score = odds, score
    assert len(follow(monkeypatch, stage)) == people
