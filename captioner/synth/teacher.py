"""An independent reader of faces, to check that an animated photo shows what it was told: MediaPipe's landmarker."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.errors import CaptionerError
from captioner.files import missing
from captioner.synth.photo.basis import BLENDSHAPES

# How far an AU must rise in the reading before it counts as shown; blendshapes, or the geometry below.
RESPONDS: dict[int, float] = {
    1: 0.15, 2: 0.15, 4: 0.15, 5: 0.03, 6: 0.08, 7: 0.08, 9: 0.025, 10: 0.10, 12: 0.20, 14: 0.04, 15: 0.10, 17: 0.08,
    18: 0.12, 20: 0.08, 23: 0.04, 24: 0.08, 25: 0.03, 26: 0.08, 27: 0.20, 43: 0.15,
}  # fmt: skip


@dataclass(frozen=True)
class TeacherReading:
    """A face as the teacher sees it: landmarks (478, 3) in pixels, blendshapes by name, and what they miss.

    `aspect` is the openness of the person's (left, right) eye, `nose` the distance of the nose wings from the inner
    eye corners, `gap` that between the inner lips; the last two in distances between the eyes.
    """

    landmarks: NDArray[np.float32]
    blendshapes: dict[str, float]
    aspect: tuple[float, float]
    nose: tuple[float, float]
    gap: float


def read_geometry(landmarks: NDArray[np.float32], blendshapes: dict[str, float]) -> TeacherReading:
    """The reading of landmarks (478, 3) in pixels."""

    def apart(a: int, b: int) -> float:
        return float(np.linalg.norm(landmarks[a] - landmarks[b]))

    eyes = landmarks[[33, 133]].mean(0) - landmarks[[263, 362]].mean(0)
    unit = max(float(np.linalg.norm(eyes)), 1e-6)
    left = (apart(385, 380) + apart(387, 373)) / (2 * max(apart(263, 362), 1e-6))
    right = (apart(158, 153) + apart(160, 144)) / (2 * max(apart(33, 133), 1e-6))
    nose = (apart(327, 362) / unit, apart(98, 133) / unit)
    return TeacherReading(landmarks, blendshapes, (left, right), nose, apart(13, 14) / unit)


def rise(au: int, rest: TeacherReading, now: TeacherReading) -> float:
    """How much more of an AU the reading `now` shows than `rest` does, on the side of the face that shows more."""
    if au == 5:
        return max(b - a for a, b in zip(rest.aspect, now.aspect, strict=True))
    if au == 9:
        return max(a - b for a, b in zip(rest.nose, now.nose, strict=True))
    if au == 25:
        return now.gap - rest.gap
    if au not in BLENDSHAPES:
        raise CaptionerError(f"no reading tells AU {au}; allowed: {', '.join(map(str, RESPONDS))}")
    return max(now.blendshapes[name] - rest.blendshapes[name] for name in BLENDSHAPES[au])


class FaceTeacher:
    """MediaPipe's face landmarker in a bundle file; reads single images."""

    def __init__(self, bundle: str | Path) -> None:
        path = Path(bundle)
        if not path.is_file():
            raise CaptionerError(f"{missing(path)}; give MediaPipe's face_landmarker.task")
        os.environ.setdefault("GLOG_minloglevel", "3")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            mediapipe = import_module("mediapipe")
            tasks, vision = import_module("mediapipe.tasks.python"), import_module("mediapipe.tasks.python.vision")
        except ImportError:
            raise CaptionerError('no mediapipe here; pip install "captioner[faces]"') from None
        self._image = mediapipe.Image
        self._format = mediapipe.ImageFormat.SRGB
        options = vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(path)), output_face_blendshapes=True
        )
        self._quiet = True
        try:
            with _silence():
                self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError):
            raise CaptionerError(
                f"{str(path)!r} is no face landmarker; give MediaPipe's face_landmarker.task"
            ) from None

    def read(self, image: NDArray[np.uint8]) -> TeacherReading | None:
        """The face in an image (H, W, 3), or None where there is none."""
        picture = self._image(image_format=self._format, data=np.ascontiguousarray(image))
        if self._quiet:  # the first picture is when the graph logs how it starts
            self._quiet = False
            with _silence():
                result = self._landmarker.detect(picture)
        else:
            result = self._landmarker.detect(picture)
        if not result.face_landmarks:
            return None
        height, width = image.shape[:2]
        points = [(p.x * width, p.y * height, p.z * width) for p in result.face_landmarks[0]]
        scores = {each.category_name: float(each.score) for each in result.face_blendshapes[0]}
        return read_geometry(np.array(points, np.float32), scores)

    def close(self) -> None:
        """Free the landmarker."""
        self._landmarker.close()


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing that C++ code writes to stderr gets through."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
