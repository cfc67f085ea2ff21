"""The learned action units: where they move a face, what they leave alone, and how they are learned and read."""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from captioner.errors import CaptionerError, CheckpointError
from captioner.synth.photo import learn_basis
from captioner.synth.photo.basis import (
    BLENDSHAPES,
    FOLDER,
    LOWER_LIDS,
    LOWER_LIP,
    MESH_POINTS,
    OVAL,
    UPPER_LIDS,
    UPPER_LIP,
    load_basis,
    rotations_and_scales,
)
from captioner.synth.photo.mesh import rotation
from captioner.synth.photo.photo_set import PhotoSet
from captioner.synth.teacher import RESPONDS, FaceTeacher, TeacherReading, read_geometry, rise

BASIS = load_basis()
BROWS, CORNERS, EYES = [105, 66, 63, 334, 296, 293], [61, 291], [159, 145, 386, 374]


def test_fields_move_what_they_should() -> None:
    down = {au: field[:, 1] for au, field in BASIS.fields.items()}
    assert down[1][[107, 336]].max() < -0.05
    assert down[2][[63, 293]].max() < -0.05
    assert down[4][BROWS].min() > 0.03
    assert BASIS.fields[4][107, 0] > 0.005  # brows draw together
    assert down[12][CORNERS].max() < -0.04
    assert BASIS.fields[12][291, 0] > 0.04  # and lips widen
    assert down[15][CORNERS].min() > 0.04
    assert BASIS.fields[18][291, 0] < -0.02
    assert down[17][[17, 200]].max() < -0.03
    assert down[9][[98, 327]].max() < -0.015
    assert down[10][0] < -0.03
    assert down[27][152] > down[26][152] > 0.1


@pytest.mark.parametrize("au", [10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 27])
def test_mouths_leave_brows_and_eyes_alone(au: int) -> None:
    assert np.abs(BASIS.fields[au][BROWS + EYES]).max() < 1e-3


@pytest.mark.parametrize("au", [1, 2, 4])
def test_brows_leave_mouths_alone(au: int) -> None:
    assert np.abs(BASIS.fields[au][[*CORNERS, 0, 17, 152, 1]]).max() == 0


@pytest.mark.parametrize("au", sorted(BASIS.fields))
def test_fields_are_symmetric(au: int) -> None:
    for right, left in ((61, 291), (105, 334), (98, 327), (159, 386), (50, 280)):
        np.testing.assert_allclose(BASIS.fields[au][right] * [-1, 1, 1], BASIS.fields[au][left], atol=2e-3)


@pytest.mark.parametrize("au", [12, 15, 17, 18, 20, 24])
def test_shut_lips_stay_shut(au: int) -> None:
    field = BASIS.fields[au]
    np.testing.assert_allclose(field[list(UPPER_LIP[3][1:-1])], field[list(LOWER_LIP[3][1:-1])], atol=1e-3)


def test_triangles_keep_lips_lids_and_outline_as_edges() -> None:
    edges = {frozenset((t[k], t[(k + 1) % 3])) for t in BASIS.triangles.tolist() for k in range(3)}
    loops = (*UPPER_LIDS, *LOWER_LIDS, UPPER_LIP[3], LOWER_LIP[3], (*OVAL, OVAL[0]))
    for loop in loops:
        assert all(frozenset(pair) in edges for pair in pairwise(loop))
    assert set(BASIS.triangles.ravel().tolist()) == set(range(MESH_POINTS))


def test_alignment_finds_pose_and_size() -> None:
    turn = rotation(12, -7, 20)
    face = 80 * BASIS.mean @ turn.T + np.array([30, 40, 5], np.float32)
    found, scale = BASIS.align(face)
    assert scale == pytest.approx(80, rel=1e-3)
    np.testing.assert_allclose(found, turn.T, atol=1e-3)


def test_similarity_never_mirrors() -> None:
    points = np.random.default_rng(0).normal(size=(3, 20, 3)).astype(np.float32)
    rotations, _ = rotations_and_scales(points, points[0] * np.array([-1, 1, 1], np.float32))
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-4)


def test_card_and_config_name_what_is_there() -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["aus"] == sorted(BASIS.fields)
    assert f"{config['photos']:,}" in (FOLDER / "CARD.md").read_text()
    assert (FOLDER / "model.safetensors").stat().st_size < 100_000


def test_errors_of_a_bad_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such file: .*model\.safetensors.*photo\.learn_basis"):
        load_basis(tmp_path)
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_basis(tmp_path)
    save_file({"mean": np.zeros((478, 3), np.float16)}, model)
    with pytest.raises(CheckpointError, match="no AU basis: it lacks 'triangles'"):
        load_basis(tmp_path)
    tensors = {"triangles": np.zeros((1, 3), np.int16), "au1": np.zeros((5, 3), np.float16)}
    save_file({"mean": np.zeros((478, 3), np.float16), **tensors}, model)
    with pytest.raises(CheckpointError, match=r"au1 is not \(478, 3\)"):
        load_basis(tmp_path)
    save_file({"brow": np.zeros((478, 3), np.float16)}, model)
    with pytest.raises(CheckpointError, match="no AU basis"):
        load_basis(tmp_path)


def fake_annotations(folder: Path, count: int) -> list[str]:
    """Landmarks of random faces that smile and open their jaws as their blendshapes say."""
    names = sorted({name for each in BLENDSHAPES.values() for name in each})
    names += ["mouthLowerDownLeft", "mouthLowerDownRight"]
    names += [f"other{k}" for k in range(52 - len(names))]
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, (count, 52)).astype(np.float32)
    smile = scores[:, [names.index("mouthSmileLeft"), names.index("mouthSmileRight")]].mean(1)
    points = BASIS.mean + smile[:, None, None] * BASIS.fields[12]
    points = points + scores[:, names.index("jawOpen"), None, None] * BASIS.fields[27]
    points = np.stack([face @ rotation(*rng.normal(0, 5, 3)).T for face in points]) * 0.4 + 0.5
    np.savez(
        folder / "annotations.npz", key=np.array([f"{k:05d}" for k in range(count)]), split=np.zeros(count, np.uint8),
        person=np.arange(count) // 3, landmarks=points.astype(np.float32), blendshapes=scores,
        pose=np.tile(np.eye(4, dtype=np.float32), (count, 1, 1)), blendshape_names=np.array(names),
    )  # fmt: skip
    return names


def test_learning_recovers_a_smile_and_a_jaw(tmp_path: Path) -> None:
    fake_annotations(tmp_path, 240)
    learn_basis.learn_basis(PhotoSet(tmp_path), tmp_path / "out")
    learned = load_basis(tmp_path / "out")
    for au, points in ((12, CORNERS), (27, [152, 17, 200])):
        mine, theirs = learned.fields[au][points], BASIS.fields[au][points]
        assert np.sum(mine * theirs) / np.linalg.norm(mine) / np.linalg.norm(theirs) > 0.85
    assert np.abs(learned.fields[1]).max() < 0.02  # no brow moved in these faces


def test_learning_needs_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_annotations(tmp_path, 20)
    assert learn_basis.main(["--faces", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "20 near frontal photos for training; at least 100" in capsys.readouterr().err


def reading(points: NDArray[Any], **scores: float) -> TeacherReading:
    names = {name: 0.1 for each in BLENDSHAPES.values() for name in each}
    return read_geometry(100 * points, names | scores)


def test_rise_reads_blendshapes_and_geometry() -> None:
    rest = reading(BASIS.mean)
    assert rise(12, rest, reading(BASIS.mean, mouthSmileLeft=0.6)) == pytest.approx(0.5)  # one side is enough
    moved = {au: reading(BASIS.mean + BASIS.fields[au]) for au in (9, 26)}
    assert rise(9, rest, moved[9]) > RESPONDS[9]
    assert rise(25, rest, moved[26]) > RESPONDS[25]
    wide = BASIS.mean.copy()
    wide[[385, 387], 1] -= 0.03
    assert rise(5, rest, reading(wide)) > RESPONDS[5]
    assert rise(5, rest, rest) == 0
    with pytest.raises(CaptionerError, match=r"no reading tells AU 38; allowed: 1, 2, 4"):
        rise(38, rest, rest)


def test_teacher_names_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CaptionerError, match=r"no such file: .*face\.task.*face_landmarker\.task"):
        FaceTeacher(tmp_path / "face.task")
    bundle = tmp_path / "face.task"
    bundle.write_bytes(b"no bundle")
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(CaptionerError, match=r'pip install "captioner\[faces\]"'):
        FaceTeacher(bundle)


def test_teacher_refuses_what_is_no_bundle(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", reason="the optional extra `faces` is not installed")
    bundle = tmp_path / "face.task"
    bundle.write_bytes(b"no bundle")
    with pytest.raises(CaptionerError, match="is no face landmarker"):
        FaceTeacher(bundle)
