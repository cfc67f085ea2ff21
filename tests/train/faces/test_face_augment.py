"""Training pictures of the face reader: pixels and points stay together, crops without a face are marked."""

import pytest
import torch
from torch import Tensor

from captioner.faces.points import MESH_68, NETWORK_NAMES
from captioner.train.faces import face_augment, scenes
from tests.faces.mean_face import mean_face, placed


@pytest.fixture(scope="module")
def template() -> Tensor:
    return mean_face()


def made_faces(template: Tensor, count: int = 4) -> face_augment.FaceTable:
    """Photos with a bright spot between the eyes, turned and placed at random, as the training sees them."""
    torch.manual_seed(0)
    images = torch.zeros(count, 192, 192, dtype=torch.uint8)
    points = torch.zeros(count, 478, 3)
    for i in range(count):
        angle, shift = float(torch.randn(()) * 0.2), torch.rand(2) * 20 - 10
        marks = placed(template, 96 + float(shift[0]), 96 + float(shift[1]), 150, angle)
        points[i, list(MESH_68), :2] = marks
        x, y = marks[[39, 42]].mean(0).round().int().tolist()
        images[i, y - 3 : y + 4, x - 3 : x + 4] = 255
    aligned, align, depth = face_augment.prepare_faces(images, points, template)
    values, odds = torch.zeros(count, len(NETWORK_NAMES)), torch.ones(count)
    return face_augment.FaceTable(images, aligned, torch.ones(478) / 478, values, 1.0, odds, align, depth)


def test_pixels_and_points_of_a_lesson_move_together(template: Tensor) -> None:
    faces = made_faces(template)
    still = face_augment.render_crops(faces, torch.arange(4), 96, face_augment.Jitter(0, 0, 0, 0, 0))
    torch.testing.assert_close(still.points[:, list(MESH_68)].mean(0), template, atol=0.03, rtol=0)
    for jitter in (face_augment.Jitter(12, 0.1, 0.05, 0, 0), face_augment.Jitter(yaw=25, pitch=10)):
        batch = face_augment.render_crops(faces, torch.arange(4), 96, jitter)
        for crop, points in zip(batch.crops[:, 0], batch.points, strict=True):
            y, x = torch.nonzero(crop > 128).float().mean(0)
            spot = points[[MESH_68[39], MESH_68[42]]].mean(0)
            assert float((torch.stack([x, y]) - (spot + 0.5) * 96 + 0.5).norm()) < 3


def test_turning_a_head_can_be_undone() -> None:
    fit = torch.tensor([[0.02, 0.01, -0.02, 0.5, 0.4, 0.05]])
    x, y = (part.reshape(1, -1) for part in torch.meshgrid(*[torch.linspace(-0.4, 0.4, 9)] * 2, indexing="xy"))
    yaw, pitch = torch.tensor([[0.35]]), torch.tensor([[-0.2]])
    u, v = face_augment._turned(x, y, fit, yaw, pitch)
    back = face_augment._unturned(u, v, fit, yaw, pitch)
    assert float((u - x).abs().max()) > 0.02
    torch.testing.assert_close(torch.stack(back), torch.stack([x, y]), atol=0.02, rtol=0)


def test_crops_without_a_face_are_marked_so(template: Tensor) -> None:
    faces = torch.tensor([0, 1, 2, 3] * 3)
    batch = face_augment.render_crops(made_faces(template), faces, 48, face_augment.Jitter(), wrong=6)
    assert batch.face.tolist() == [1.0] * 6 + [0.0] * 6
    assert not batch.known[6:].any()
    assert not batch.values_weight[6:].any()


def test_spoilt_crops_are_still_pictures() -> None:
    torch.manual_seed(0)
    crops = face_augment.spoil(torch.rand(24, 1, 96, 96) * 255)
    assert crops.isfinite().all()
    assert 0 <= float(crops.min()) <= float(crops.max()) <= 255


def test_the_finder_learns_where_faces_were_pasted() -> None:
    spots = torch.tensor([[40.3, 61.8, 16.0, 1.0], [120.0, 120.0, 60.0, 1.0], [90.0, 20.0, 12.0, 0.0]])
    made = scenes.finder_targets(torch.rand(2, 1, 160, 160) * 99, torch.tensor([1, 1, 0]), spots)
    (cell,) = torch.nonzero(made.heat == 1).tolist()  # the large one is another level's, the last is no face
    assert cell == [1, 15, 10]
    dx, dy, size = made.where[1, :, 15, 10].tolist()
    assert ((10 + 0.5 + dx) * 4 - 0.5, (15 + 0.5 + dy) * 4 - 0.5) == pytest.approx((40.3, 61.8), abs=1e-4)
    assert size == pytest.approx(0.0)
