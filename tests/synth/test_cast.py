"""Who plays in a clip, and whether a reader of faces sees what they were told to show."""

from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from captioner.synth import check
from captioner.synth.cast import PhotoCast
from captioner.synth.identity import State
from captioner.synth.photo.photo_set import PhotoError, PhotoSet
from captioner.synth.story.tale import CameraPose, Grade, Role, Story
from captioner.synth.teacher import TeacherReading
from tests.synth.test_photos import folder


def test_photos_play_in_their_own_split_only(tmp_path: Path) -> None:
    photos = PhotoSet(folder(tmp_path / "faces"))
    cast = PhotoCast(photos, seed=3)
    rows = {split: {row for person in cast._persons[split] for row in person} for split in ("train", "val", "test")}
    assert rows == {"train": {0, 1, 2, 3, 8, 9, 10, 11}, "val": {4, 5}, "test": {6, 7}}
    assert (cast.count("train"), cast.count("val")) == (4, 1)
    assert cast._persons["train"] == PhotoCast(photos, seed=3)._persons["train"]
    orders = {str(PhotoCast(photos, seed=seed)._persons["train"]) for seed in range(9)}
    assert len(orders) > 1, "the seed decides the order"


def test_a_photo_that_cannot_be_used_is_named_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = folder(tmp_path / "faces")
    photos = PhotoSet(faces)
    cast = PhotoCast(photos, seed=3)
    first = cast._persons["train"][0][0]
    (faces / f"{first:05d}.jpg").write_bytes(b"broken")
    monkeypatch.setattr("captioner.synth.actors.PhotoActor", lambda photo, *_: SimpleNamespace(photo=photo))
    cast = PhotoCast(PhotoSet(faces), seed=3)
    player = cast.play("train", 0, None)
    assert player.photo == f"{cast._persons['train'][1][0]:05d}"
    assert player.group == f"person_{cast._persons['train'][1][0] // 2}"
    assert cast.play("train", 0, None).photo == player.photo
    assert len(cast.faults) == 1
    assert f"photo '{first:05d}'" in cast.faults[0]
    for row in (6, 7):
        (faces / f"{row:05d}.jpg").write_bytes(b"broken")
    cast = PhotoCast(PhotoSet(faces), seed=3)
    with pytest.raises(PhotoError, match=r"^no photo of split 'test' in .*faces can be used$"):
        cast.play("test", 0, None)


def test_apexes_cover_every_salient_unit_near_its_peak() -> None:
    states = tuple(State({4: min(1.0, i / 5), 12: max(0.0, (i - 6) / 4), 25: 0.5}) for i in range(11))
    role = Role(states, (None,) * 11, {4: 1.0, 12: 1.0, 25: 0.5}, (), ())
    assert check.apexes(role) == [(10, [4, 12, 25])]
    early = tuple(State({4: float(i < 3), 12: float(i > 7)}) for i in range(11))
    assert check.apexes(Role(early, (None,) * 11, {4: 1.0, 12: 1.0}, (), ())) == [(0, [4]), (8, [12])]


class Mime:
    """An actor whose smile is the level of the first pixel."""

    looks: ClassVar[dict[str, str]] = {}
    grey = False
    level = 128.0

    def draw(self, picture: np.ndarray, state: State, place: object) -> np.ndarray:
        assert (state.yaw, state.blink, state.speech) == (0, 0, 0), "only the action units are looked at"
        picture[0, 0] = 200 * state.aus.get(12, 0.0)
        return np.zeros((1, 2), np.float32)

    def backdrop(self, height: int, width: int, place: object) -> np.ndarray:
        return np.zeros((height, width, 3), np.float32)


class Eye:
    """A reader of that pixel, which sees `gain` of a smile; none: it sees no face."""

    def __init__(self, gain: float | None) -> None:
        self.gain, self.reads = gain, 0

    def read(self, image: np.ndarray) -> TeacherReading | None:
        self.reads += 1
        smile = float(image[0, 0, 0]) / 200 * (self.gain or 0)
        scores = {"mouthSmileLeft": smile, "mouthSmileRight": 0.0}
        return None if self.gain is None else TeacherReading(np.zeros((478, 3), np.float32), scores, (0, 0), (0, 0), 0)


@pytest.mark.parametrize(("gain", "missed"), [(0.9, None), (0.1, (12,)), (None, ())])
def test_the_check_compares_apex_and_rest(
    monkeypatch: pytest.MonkeyPatch, gain: float | None, missed: tuple[int, ...] | None
) -> None:
    monkeypatch.setattr(check, "FaceTeacher", lambda _: Eye(gain))
    states = tuple(State({12: level}, yaw=9, blink=1, speech=1) for level in (0.0, 0.3, 0.8, 0.8, 0.1))
    role = Role(states, (None,) * 5, {12: 0.8}, ("smile",), ("talks",))
    story = Story(1, 5, "happiness", ("happiness",), (role,), (CameraPose(),) * 5, Grade())
    checker, actor = check.ShowCheck(Path("bundle")), Mime()
    assert checker.missed(actor, story) == missed
    reads = checker.teacher.reads
    assert checker.missed(actor, story) == missed
    assert checker.teacher.reads - reads == (gain is not None), "a face at rest is read once"
