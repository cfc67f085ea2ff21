"""The independent reader of faces, over a stand-in for its optional package: what it asks of it and makes of it."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from captioner.errors import CaptionerError
from captioner.synth.teacher import FaceTeacher
from tests.synth.test_portrait import landmarks


class Landmarker:
    """Finds the mean face in every picture that is not black; chatters on standard error as the real one does."""

    def __init__(self) -> None:
        self.closed = False

    def detect(self, picture: Any) -> Any:
        os.write(2, b"chatter")
        if not picture.data.any():
            return SimpleNamespace(face_landmarks=[], face_blendshapes=[])
        points = [SimpleNamespace(x=x / 300, y=y / 200, z=z / 300) for x, y, z in landmarks().tolist()]
        smile = SimpleNamespace(category_name="mouthSmileLeft", score=0.5)
        return SimpleNamespace(face_landmarks=[points], face_blendshapes=[[smile]])

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def mediapipe(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The package's few names that are used; `made` keeps the landmarker, `asked` its options."""
    state = SimpleNamespace(made=Landmarker(), asked=None)

    def create(options: Any) -> Landmarker:
        os.write(2, b"starting")
        if "bad" in options.base_options.model_asset_path:
            raise RuntimeError("not a zip archive")
        state.asked = options
        return state.made

    package = SimpleNamespace(Image=SimpleNamespace, ImageFormat=SimpleNamespace(SRGB="srgb"))
    vision = SimpleNamespace(
        FaceLandmarker=SimpleNamespace(create_from_options=create), FaceLandmarkerOptions=SimpleNamespace
    )
    monkeypatch.setitem(sys.modules, "mediapipe", package)
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python", SimpleNamespace(BaseOptions=SimpleNamespace))
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python.vision", vision)
    for name in ("GLOG_minloglevel", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "3")
    return state


def bundle(folder: Path, name: str) -> Path:
    (folder / name).write_bytes(b"bundle")
    return folder / name


def test_readings_are_in_pixels_and_starting_is_silent(
    tmp_path: Path, mediapipe: SimpleNamespace, capfd: pytest.CaptureFixture[str]
) -> None:
    teacher = FaceTeacher(bundle(tmp_path, "face.task"))
    assert mediapipe.asked.output_face_blendshapes
    picture = np.full((200, 300, 3), 90, np.uint8)
    found = teacher.read(picture)
    assert found is not None
    np.testing.assert_allclose(found.landmarks, landmarks(), atol=1e-3)
    assert found.blendshapes == {"mouthSmileLeft": 0.5} and found.gap >= 0
    assert capfd.readouterr().err == ""  # what is logged at the start
    assert teacher.read(np.zeros_like(picture)) is None
    assert capfd.readouterr().err == "chatter"  # later lines would be faults
    teacher.close()
    assert mediapipe.made.closed


@pytest.mark.usefixtures("mediapipe")
def test_a_file_that_is_no_landmarker_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CaptionerError, match=r"'.*bad\.task' is no face landmarker; give MediaPipe's"):
        FaceTeacher(bundle(tmp_path, "bad.task"))
    assert capfd.readouterr().err == ""
