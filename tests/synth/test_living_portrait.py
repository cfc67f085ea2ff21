"""A portrait that comes alive: it rests, smiles when told, and must fill the picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.errors import CaptionerError
from captioner.synth import living_portrait
from captioner.synth.living_portrait import ENLARGED, PortraitShot, film_shots, make_puppets, read_portrait
from captioner.synth.teacher import TeacherReading, read_geometry
from tests.synth.test_portrait import fake


class FakeTeacher:
    """Sees the face of `fake()` wherever it is asked, shifted as a cut picture is."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size, self.landmarks = size, fake().landmarks

    def read(self, image: np.ndarray) -> TeacherReading | None:
        points = self.landmarks
        if image.shape[:2] != self.size:  # the second look: the cut begins 0.35 face heights above and beside
            low, high = points[:, :2].min(0), points[:, :2].max(0)
            corner = np.maximum(low - 0.35 * (high[1] - low[1]), 0).astype(int)
            points = points - np.array([*corner, 0], np.float32)
        return read_geometry(points.astype(np.float32), dict.fromkeys(fake().blendshapes, 0.0))


def test_a_shot_follows_its_action_units(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = fake()
    smiling, relaxed = make_puppets(photo.image, FakeTeacher(photo.image.shape[:2]))  # type: ignore[arg-type]
    monkeypatch.setattr(living_portrait, "WIDTH", 96)
    monkeypatch.setattr(living_portrait, "HEIGHT", 96)
    still, frown = (PortraitShot(1.0, (1.0, 1.0), aus, 0.2, 0.3) for aus in ({}, {4: 1.0}))
    calm, cross = (np.stack(list(film_shots((shot,), smiling, relaxed))) for shot in (still, frown))
    assert calm.shape == cross.shape == (15, 96, 96, 3) and calm.dtype == np.uint8
    np.testing.assert_array_equal(calm[:3], cross[:3])
    assert np.abs(calm[-1].astype(int) - cross[-1]).max() > 10
    again = np.stack(list(film_shots((frown,), smiling, relaxed)))
    np.testing.assert_array_equal(cross, again)
    assert len(list(film_shots((still, frown), smiling, relaxed))) == 30


def test_a_portrait_that_leaves_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = fake()
    smiling, relaxed = make_puppets(photo.image, FakeTeacher(photo.image.shape[:2]))  # type: ignore[arg-type]
    with pytest.raises(CaptionerError, match="shows too little around the face"):
        next(film_shots((PortraitShot(1.0, (0.3, 0.3), {}),), smiling, relaxed))


def test_portraits_are_read_enlarged_or_refused(tmp_path: Path) -> None:
    Image.new("RGB", (20, 30), (1, 2, 3)).save(tmp_path / "a.png")
    assert read_portrait(tmp_path / "a.png").shape == (30 * ENLARGED, 20 * ENLARGED, 3)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(CaptionerError, match=r"cannot read the portrait .*b\.png"):
        read_portrait(tmp_path / "b.png")


def test_a_portrait_without_a_face_is_refused() -> None:
    class Blind:
        def read(self, _: np.ndarray) -> None:
            return None

    with pytest.raises(CaptionerError, match="no face in the portrait"):
        make_puppets(fake().image, Blind())  # type: ignore[arg-type]
