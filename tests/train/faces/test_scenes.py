"""Scenes with pasted faces: what is asked for lies where faces were pasted, the seed decides, films stay pictures."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.synth.body3d.scene import View3D
from captioner.train.faces import scenes, turned_heads
from captioner.train.faces.scenes import LARGEST, SIDE, SMALLEST, Paster


def levels(picture: Tensor) -> list[Tensor]:
    """A photo (192, 192) in four sizes, as bytes."""
    made = [picture[None, None]]
    for _ in range(3):
        made.append(F.avg_pool2d(made[-1], 2))
    return [each.round().byte() for each in made]


@pytest.fixture
def paster() -> Paster:
    """One photo: a bright disc of 100 pixels on black; its face is 80 wide."""
    rows, columns = torch.meshgrid(torch.arange(192.0), torch.arange(192.0), indexing="ij")
    disc = ((rows - 96) ** 2 + (columns - 96) ** 2 < 50**2).float() * 250
    return Paster(levels(disc), torch.tensor([[96.0, 96.0, 80.0]]))


def test_faces_are_asked_for_where_they_were_pasted(paster: Paster, monkeypatch: pytest.MonkeyPatch) -> None:
    """On black, unfilmed and without bars, the middle of what is asked for is bright and a face away it is not."""
    monkeypatch.setattr(Paster, "_backgrounds", lambda self, count: torch.zeros(count, 1, SIDE, SIDE))
    monkeypatch.setattr(scenes, "_film", lambda pictures: pictures)
    monkeypatch.setattr(scenes, "_bars", lambda pictures: torch.zeros(len(pictures), SIDE, SIDE, dtype=torch.bool))
    torch.manual_seed(0)
    made = paster.scenes(24)
    found = torch.nonzero(made.heat == 1)
    assert len(found) > 10 and len(found.unique(dim=0)) == len(found)
    stride = SIDE // made.heat.shape[-1]
    greys = []
    for scene, y, x in found.tolist():
        dx, dy, size = made.where[scene, :, y, x].tolist()
        centre = [round((place + 0.5 + off) * stride - 0.5) for place, off in ((y, dy), (x, dx))]
        assert SMALLEST <= 16 * np.exp(size) <= LARGEST and made.near[scene, y, x] == 1 == made.care[scene, y, x]
        greys.append(float(made.pictures[scene, 0, min(centre[0], SIDE - 1), min(centre[1], SIDE - 1)]))
    assert np.median(greys) > 80
    empty = made.heat.amax((1, 2)) == 0
    assert 0 < empty.sum() < 20
    assert (made.pictures[made.heat.amax((1, 2)) > 0].amax((1, 2, 3)) > 60).all()


def test_whole_scenes_are_pictures_and_follow_their_seed(paster: Paster) -> None:
    torch.manual_seed(3)
    one = paster.scenes(10)
    torch.manual_seed(3)
    two = paster.scenes(10)
    assert torch.equal(one.pictures, two.pictures) and torch.equal(one.heat, two.heat)
    assert one.pictures.shape == (10, 1, SIDE, SIDE)
    assert one.pictures.min() >= 0 and one.pictures.max() <= 255 and torch.equal(one.pictures, one.pictures.round())
    assert len({round(float(picture.mean())) for picture in one.pictures}) > 5


def test_spots_keep_apart_or_shrink() -> None:
    torch.manual_seed(0)
    owner = torch.tensor([0] * 4 + [1] * 60)
    spots = scenes._spots(owner)
    apart = (spots[:4, None, :2] - spots[None, :4, :2]).abs().amax(-1) + torch.eye(4) * 999
    assert (apart > (spots[:4, None, 2] + spots[None, :4, 2]) * 0.5).all()
    assert (spots[4:, 2] == SMALLEST).sum() > 5  # no room for sixty


def test_shuffled_cells_are_the_same_cells() -> None:
    torch.manual_seed(0)
    picture = torch.arange(SIDE * SIDE).float().view(1, SIDE, SIDE)
    mixed = scenes._shuffled(picture, 20)
    assert not torch.equal(mixed, picture) and torch.equal(mixed.flatten().sort().values, picture.flatten())
    assert torch.equal(mixed[0, :1, :20].diff(), torch.ones(1, 19))  # within a cell nothing moved


def test_rendered_heads_turn_to_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a stand-in for the renderer: views are turned, faces lie where points were projected."""
    views: list[View3D] = []

    class Bodies:
        def sample(self, rng: np.random.Generator) -> "Bodies":
            self.age = 0.5
            return self

        def vertices(self, person: object, shapes: object) -> np.ndarray:
            return np.zeros((68, 3), np.float32)

    class Renderer:
        def __init__(self, bodies: object, skins: object, side: int) -> None:
            self.side = side

        def draw(self, posed: object, calm: object, jaw: float, look: object, view: View3D, lines: object) -> object:
            views.append(view)
            marks = np.stack([40 + np.linspace(0, 60, 68), 50 + np.linspace(0, 60, 68)], 1)
            return np.full((self.side, self.side, 4), 255, np.uint8), lambda points: marks

    look = type("Look", (), {"wrinkled": 0.5, "dark": False})()
    for name, stand_in in (("Bodies", Bodies), ("Renderer", Renderer), ("read_skins", lambda folder: None),
                           ("sample_appearance", lambda *_: look), ("LANDMARKS", tuple(range(68)))):  # fmt: skip
        monkeypatch.setattr(turned_heads, name, stand_in)
    made = turned_heads.rendered_heads("skins", 10, seed=1)
    turns = np.degrees([view.yaw for view in views])
    assert len(turns) == 10 and turns.min() < 0 < turns.max() and np.abs(turns).max() <= turned_heads.MOST_TURNED
    assert made.faces.shape == (10, 1, 3)
    x, y, size = made.faces[0, 0].tolist()
    assert 60 < x < 80 and 70 < y < 90 and 30 < size < 120
