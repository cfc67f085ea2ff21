"""Measures of a face reader and of the animator, by readers and photos whose truth is known."""

import json
from pathlib import Path
from typing import Any

import measure
import numpy as np
import pytest
from safetensors.numpy import save_file

import captioner.faces as faces_room
from captioner.faces import FaceReader, FaceTrack
from captioner.faces.points import BLENDSHAPES, EXPRESSION_NAMES, MESH_68, geometry, with_means
from captioner.synth.identity import State
from captioner.synth.photo.photo_set import Photo, PhotoError
from captioner.synth.teacher import TeacherReading, read_geometry
from captioner.video.reading import write_video
from eval.quality import animator, faces
from eval.quality.animator import film_puppet, measure_responses, ramp_rank, usable_photos
from tests.synth.test_portrait import fake, landmarks

SIZE, PHOTOS = 192, 6


def told_by(marks: np.ndarray, smile: float, yaw: float) -> np.ndarray:
    """What a true reader says of a face: a smile, the geometry of its points, how far it is turned."""
    shapes = [smile * (1 + number) for number in range(len(BLENDSHAPES))]
    return np.asarray(with_means(np.array([*shapes, *map(float, geometry(marks)), yaw, -yaw])))


class Photos:
    """Photos of one painted face, each moved, smiling and turned by its own amount; the last of another split."""

    def __init__(self, folder: Path) -> None:
        self.table = {"split": np.array([2] * PHOTOS + [0])}

    def angles(self) -> np.ndarray:
        return np.stack([np.arange(PHOTOS + 1), -np.arange(PHOTOS + 1)], 1) * 3.0

    def photo(self, row: int) -> Photo:
        marks = landmarks().copy()
        marks[:, 1] *= 1 + 0.02 * row
        picture = np.full((SIZE, SIZE, 3), row, np.uint8)
        shapes = {name: 0.1 * row * (1 + number) for number, name in enumerate(BLENDSHAPES)}
        return Photo(str(row), picture, marks, shapes, np.eye(4, dtype=np.float32), 0, True)


class Knows(FaceReader):
    """Reads the photos above rightly, but for a constant; of the last it sees nothing, of the first one face more."""

    def _read(self, clip: np.ndarray, times: np.ndarray | None) -> list[FaceTrack]:
        row = int(clip[0, 0, 0, 0])
        if row == PHOTOS - 1:
            return []
        marks = Photos(Path()).photo(row).landmarks[list(MESH_68), :2]
        tracks = [track(marks + 0.5, told_by(marks, 0.1 * row, row / 10)[None])]
        return [track(marks + 500, tracks[0].expression), *tracks] if row == 0 else tracks


def track(marks: np.ndarray, values: np.ndarray, count: int = 1) -> FaceTrack:
    many = np.tile(marks.astype(np.float32), (count, 1, 1))
    boxes = np.concatenate([many.min(1), many.max(1)], 1)
    shown = np.ones(count, bool)
    said = np.broadcast_to(values, (count, len(EXPRESSION_NAMES)))
    return FaceTrack(boxes, many, shown, shown.astype(np.float32), said)


def test_photos_are_found_measured_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faces, "PhotoSet", Photos)
    monkeypatch.setattr(faces_room, "open_reader", lambda name, **options: Knows())
    out = tmp_path / "scores.json"
    out.write_text('{"before": 1}')
    command = ["faces", "--photos", str(tmp_path), "--split", "test", "--json", str(out)]
    assert measure.main(command) == 0
    kept = json.loads(out.read_text())
    scores = kept["photos, test"]
    assert kept["before"] == 1
    assert scores["photos"] == PHOTOS and scores["found"] == pytest.approx(5 / 6, abs=1e-3)
    assert scores["further faces"] == pytest.approx(1 / 6, abs=1e-3)
    assert 0 < scores["error"] < 0.02 and scores["median"] <= scores["p90"]
    assert scores["r mouthSmile"] == scores["r yaw"] == scores["r eyeAspect of points"] == 1
    assert "r mouthSmile" in capsys.readouterr().out


class Sees(FaceReader):
    """One face at a place, whatever is shown; its smile grows, its brows stay."""

    def __init__(self, left: float, sign: float = 1.0) -> None:
        self.left, self.sign = left, sign

    def _read(self, clip: np.ndarray, times: np.ndarray | None) -> list[FaceTrack]:
        marks = np.stack([self.left + np.linspace(0, 40, 68), 10 + np.linspace(0, 40, 68)], 1)
        made = track(marks, np.zeros((1, len(EXPRESSION_NAMES))), len(clip))
        made.expression = np.array(made.expression)
        made.expression[:, EXPRESSION_NAMES.index("mouthPucker")] = self.sign * np.arange(len(clip))
        return [made]


def test_beside_a_teacher_its_faces_are_the_truth(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", np.zeros((12, 80, 160, 3), np.uint8), 6)
    same = faces.measure_beside(Sees(20, -1), Sees(21), [tmp_path / "a.mp4"])
    assert (same["recall"], same["false a frame"]) == (1, 0)
    assert same["r mouthPucker"] == pytest.approx(-1)
    assert "r mouthSmile" not in same  # nothing moves there
    other = faces.measure_beside(Sees(100), Sees(20), [tmp_path / "a.mp4"])
    assert (other["recall"], other["false a frame"]) == (0, 1)
    assert "r mouthPucker" not in other  # no moment shows the same face


def test_clips_are_held_against_the_landmarks_they_were_made_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a_val_0.mp4", np.zeros((12, 80, 160, 3), np.uint8), 30)
    truth = np.zeros((1, 12, 478, 2), np.float32)
    truth[0, :, list(MESH_68)] = np.stack([np.linspace(20, 60, 68), np.linspace(10, 50, 68)], 1)[:, None]
    save_file({"landmarks": truth}, tmp_path / "labels" / "a_val_0.safetensors")
    whole = faces.measure_on_clips(Sees(20), tmp_path, "val")
    assert (whole["frames"], whole["recall"], whole["people counted right"]) == (12, 1, 1)
    dense = faces.measure_on_clips(Sees(20), tmp_path, "val", dense=True)
    assert (dense["frames"], dense["recall"]) == (4, 1)
    with caplog.at_level("INFO"):
        assert faces.measure_on_clips(Sees(110), tmp_path, "val")["recall"] == 0
    assert "a_val_0: 0 of 12, 12 false, 1 tracks" in caplog.text


def test_only_photos_that_the_maker_would_take_are_animated(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def check(photo: Photo) -> None:
        if photo.key == "1":
            raise PhotoError("1: an eye is shut")

    monkeypatch.setattr(animator, "check_eyes", check)
    chosen = usable_photos(Photos(Path()), np.array([0, 1, 2]))  # type: ignore[arg-type]
    assert [photo.key for photo in chosen] == ["0", "2"]
    assert "passed over: 1: an eye is shut" in caplog.text


class Obeys:
    """An animated photo and its reader in one: the picture holds the state, the reading is the smile in it."""

    def __init__(self, *_: Any) -> None: ...

    def draw(self, picture: np.ndarray, state: State, place: Any) -> None:
        assert (picture.shape, place.x) == ((224, 224, 3), 112)
        picture[:] = 100 * state.aus.get(12, 0.0) + (255 if 4 in state.aus else 0)

    def read(self, image: np.ndarray) -> TeacherReading | None:
        value = int(image[0, 0, 0])
        if value == 255:
            return None
        shapes = dict.fromkeys(BLENDSHAPES, 0.0) | {"mouthSmileLeft": value / 100, "mouthSmileRight": value / 200}
        return read_geometry(landmarks(), shapes)


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_what_is_commanded_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animator, "Puppet", Obeys)
    monkeypatch.setattr(animator, "CASES", {"smile": ((12,), 12), "frown": ((4,), 4), "dimples": ((14,), 14)})
    tallies = measure_responses([fake(), fake()], Obeys(), ramps=1)  # type: ignore[arg-type]
    assert tallies["smile"].rises == pytest.approx([1, 1]) and tallies["smile"].ranks == pytest.approx([1.0])
    assert tallies["frown"].lost == 2 and not tallies["frown"].rises
    assert tallies["dimples"].rises == [0, 0] and tallies["dimples"].ranks == [0]  # nothing moves: no rank
    told = animator.response_table(tallies)
    assert "| smile | 2 | 1.000 | 1.000 | 100% | 1.00 | 1.00 |" in told
    rest = Obeys().read(film_puppet(Obeys(), State()))  # type: ignore[arg-type]
    assert rest is not None
    assert ramp_rank(Obeys(), Obeys(), rest, (4,), 4) == 0  # type: ignore[arg-type]
