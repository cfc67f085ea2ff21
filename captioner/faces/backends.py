"""The optional backends: MediaPipe's face landmarker and the face-alignment package, behind the same interface."""

import hashlib
import importlib
import logging
import os
import shutil
import urllib.error
import urllib.request
import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from captioner.faces.builtin import WEIGHTS, as_grey, load_parts
from captioner.faces.points import BLENDSHAPES, MESH_68, geometry, with_means
from captioner.faces.reader import FaceError, FaceReader, Follower, Sighting
from captioner.files import atomic, missing

log = logging.getLogger(__name__)

INSTALL = 'pip install "captioner[faces]"'
BUNDLE_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
BUNDLE_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
_WAIT = 30  # seconds without an answer
_MOST_FACES = 16
_GAP = 12  # frames a face may be missing and still be the same person
_FAN_FILES = ("s3fd-619a316812.pth", "2DFAN4-cd938726ad.zip")


@dataclass
class _Found:
    """One face in one frame: landmarks (68, 2) in pixels, what the network would estimate (E,), odds."""

    marks: NDArray[np.float32]
    values: NDArray[np.float32]
    score: float


class _FrameReader(FaceReader):
    """A backend that sees single frames; faces are linked to people by where they are."""

    def follower(self, times: NDArray[np.float64] | None = None, still: bool = False) -> Follower:
        """Who takes frames of one clip; the backend needs to know no more of it."""
        return _FrameFollower(self._faces)

    @abstractmethod
    def _faces(self, frame: NDArray[np.uint8]) -> list[_Found]:
        """The faces in one frame (H, W, 3)."""


class _FrameFollower(Follower):
    """Links the faces of each frame to people."""

    def __init__(self, faces: Callable[[NDArray[np.uint8]], list[_Found]]) -> None:
        self._faces = faces
        self._frame = -1
        self.people: list[Sighting] = []

    def step(self, frame: NDArray[np.uint8]) -> Sequence[Sighting]:
        """Those seen in the next frame (H, W, 1 or 3)."""
        self._frame += 1
        _link(
            self.people, self._frame, self._faces(np.ascontiguousarray(np.broadcast_to(frame, (*frame.shape[:2], 3))))
        )
        return [person for person in self.people if person.at[-1] == self._frame]

    def finish(self) -> list[Sighting]:
        """Everybody seen."""
        return self.between(0, self._frame)

    def between(self, first: int, last: int) -> list[Sighting]:
        """Everybody seen in these frames."""
        parts = (person.part(first, last) for person in self.people)
        people = [person for person in parts if person is not None]
        for person in people:
            person.values = list(with_means(np.stack(person.values)))
        return people

    def forget(self, before: int) -> None:
        """Nobody will ask for the frames before this one."""
        self.people = [person for person in self.people if person.end() >= min(before, self._frame - _GAP)]
        for person in self.people:
            person.forget(before)


def _link(people: list[Sighting], t: int, faces: list[_Found]) -> None:
    """Give each face of frame t to the nearest person seen lately, or to a new one."""
    pairs = sorted(
        (_apart(person, face), p, f)
        for p, person in enumerate(people) if t - person.at[-1] <= _GAP
        for f, face in enumerate(faces)
    )  # fmt: skip
    taken: set[int] = set()
    for apart, p, f in pairs:
        if apart < 0.8 and f not in taken and people[p].at[-1] < t:
            _add(people[p], t, faces[f])
            taken.add(f)
    for f, face in enumerate(faces):
        if f not in taken:
            people.append(Sighting())
            _add(people[-1], t, face)


def _add(person: Sighting, t: int, face: _Found) -> None:
    person.at.append(t)
    person.marks.append(face.marks - np.float32(0.5))
    person.scores.append(face.score)
    person.values.append(face.values)


def _apart(person: Sighting, face: _Found) -> float:
    """Mean distance of the points, in outer eye distances of the face."""
    yard = max(float(np.linalg.norm(face.marks[45] - face.marks[36])), 3.0)
    return float(np.linalg.norm(person.marks[-1] + 0.5 - face.marks, axis=1).mean()) / yard


class MediapipeReader(_FrameReader):
    """MediaPipe's face landmarker; its bundle is fetched once, and checked."""

    name = "mediapipe"

    def __init__(self, bundle: str | Path | None = None, offline: bool = False) -> None:
        vision, base = _mediapipe()
        path = Path(bundle) if bundle is not None else fetch_bundle(offline)
        if not path.is_file():
            raise FaceError(f"{missing(path)}; give MediaPipe's face_landmarker.task")
        options = vision.FaceLandmarkerOptions(
            base_options=base.BaseOptions(model_asset_buffer=path.read_bytes()),
            running_mode=vision.RunningMode.IMAGE, num_faces=_MOST_FACES,
            output_face_blendshapes=True, output_facial_transformation_matrixes=True,
        )  # fmt: skip
        try:
            self._landmarker = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise FaceError(f"{path} is no face landmarker bundle: {str(error).splitlines()[0]}") from None
        weakref.finalize(self, self._landmarker.close)  # at the interpreter's end it would come too late
        self._finder = load_parts(WEIGHTS).finder

    def _faces(self, frame: NDArray[np.uint8]) -> list[_Found]:
        faces = self._look(frame, (0, 0))
        for left, top, right, bottom in self._missed(frame, faces):
            faces += self._look(np.ascontiguousarray(frame[top:bottom, left:right]), (left, top))[:1]
        return faces

    def _missed(self, frame: NDArray[np.uint8], faces: list[_Found]) -> list[tuple[int, int, int, int]]:
        """Windows around small faces, which the landmarker misses in a whole frame."""
        from captioner.faces.detect import find_faces

        height, width = frame.shape[:2]
        with torch.inference_mode():
            places = find_faces(self._finder, as_grey(frame), 0.6).tolist()
        windows = []
        for x, y, size, _ in places:
            if size > 0.25 * min(height, width) or any(_holds(face.marks, x, y) for face in faces):
                continue
            low = [max(0, int(c - 1.5 * size)) for c in (x, y)]
            high = [min(side, int(c + 1.5 * size) + 1) for c, side in ((x, width), (y, height))]
            if high[0] - low[0] > 8 and high[1] - low[1] > 8:
                windows.append((low[0], low[1], high[0], high[1]))
        return windows[:_MOST_FACES]

    def _detect(self, picture: NDArray[np.uint8]) -> Any:
        """The landmarker's own result; tiny pictures are enlarged by whole numbers."""
        mp = importlib.import_module("mediapipe")
        grow = max(1, -(-192 // min(picture.shape[:2])))
        large = np.ascontiguousarray(picture.repeat(grow, 0).repeat(grow, 1))
        return self._landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=large))

    def teach(self, picture: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """What a network learns of a picture (H, W, 3) of one face: the mesh (478, 3) in pixels, `_values` of it."""
        height, width = picture.shape[:2]
        seen = self._detect(picture)
        if not seen.face_landmarks:
            return None
        mesh = np.array([(p.x * width, p.y * height, p.z * width) for p in seen.face_landmarks[0]], np.float32)
        scores = {shape.category_name: shape.score for shape in seen.face_blendshapes[0]}
        pose = np.asarray(seen.facial_transformation_matrixes[0])
        return mesh, _values(scores, mesh[list(MESH_68), :2], pose)

    def _look(self, picture: NDArray[np.uint8], corner: tuple[int, int]) -> list[_Found]:
        height, width = picture.shape[:2]
        seen = self._detect(picture)
        found = []
        for points, shapes, pose in zip(
            seen.face_landmarks, seen.face_blendshapes, seen.facial_transformation_matrixes, strict=True
        ):
            marks = np.array([(points[i].x * width, points[i].y * height) for i in MESH_68], np.float32)
            marks += np.array(corner, np.float32)
            scores = {shape.category_name: shape.score for shape in shapes}
            found.append(_Found(marks, _values(scores, marks, np.asarray(pose)), 1.0))
        return found


def _holds(marks: NDArray[np.float32], x: float, y: float) -> bool:
    low, high = marks.min(0), marks.max(0)
    return bool(low[0] <= x <= high[0] and low[1] <= y <= high[1])


def _values(scores: dict[str, float], marks: NDArray[np.float32], pose: NDArray[np.float64]) -> NDArray[np.float32]:
    yaw = np.degrees(np.arctan2(pose[0, 2], pose[2, 2]))
    pitch = np.degrees(np.arcsin(np.clip(-pose[1, 2], -1, 1)))
    shapes = [scores.get(name, 0.0) for name in BLENDSHAPES]
    return np.array([*shapes, *geometry(marks), yaw / 30, pitch / 30], np.float32)


def _mediapipe() -> tuple[Any, Any]:
    # its native log lines cannot be switched off later
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        vision = importlib.import_module("mediapipe.tasks.python.vision")
        return vision, importlib.import_module("mediapipe.tasks.python.core.base_options")
    except ImportError:
        raise FaceError(f"the mediapipe face reader needs mediapipe: {INSTALL}") from None


def cache_folder() -> Path:
    """Where fetched bundles are kept: $XDG_CACHE_HOME/captioner or ~/.cache/captioner."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "captioner"


def fetch_bundle(offline: bool = False) -> Path:
    """MediaPipe's official bundle in the cache, fetched when it is not there yet and checked by its sha256."""
    path = cache_folder() / "face_landmarker.task"
    if path.is_file() and _sha256(path) == BUNDLE_SHA256:
        return path
    if offline:
        raise FaceError(
            f"MediaPipe's bundle is not in the cache ({path}) and offline was asked; run once with a connection"
        )
    log.info("fetching %s to %s", BUNDLE_URL, path)
    try:
        with atomic(path) as temporary:
            with urllib.request.urlopen(BUNDLE_URL, timeout=_WAIT) as answer, temporary.open("wb") as file:
                shutil.copyfileobj(answer, file)
            if (got := _sha256(temporary)) != BUNDLE_SHA256:
                raise FaceError(f"{BUNDLE_URL} gave a file with sha256 {got[:16]}...; wanted {BUNDLE_SHA256[:16]}...")
    except OSError as error:  # urllib's errors are
        reason = getattr(error, "reason", None) or error
        raise FaceError(f"MediaPipe's bundle cannot be fetched from {BUNDLE_URL}: {reason}") from None
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class FanReader(_FrameReader):
    """The face-alignment package: its S3FD detector and 2D FAN; values come from our own network on its points."""

    name = "fan"

    def __init__(self, offline: bool = False) -> None:
        try:
            face_alignment = importlib.import_module("face_alignment")
        except ImportError:
            raise FaceError(f"the fan face reader needs face-alignment: {INSTALL}") from None
        store = Path(torch.hub.get_dir()) / "checkpoints"
        absent = [name for name in _FAN_FILES if not (store / name).is_file()]
        if offline and absent:
            raise FaceError(f"{' and '.join(absent)} not in {store} and offline was asked; run once with a connection")
        try:
            self._fan = face_alignment.FaceAlignment(
                face_alignment.LandmarksType.TWO_D, device="cpu", flip_input=False, face_detector="sfd"
            )
        except (urllib.error.URLError, OSError) as error:
            raise FaceError(f"the weights of face-alignment cannot be fetched: {error}") from None
        self._landmarker = load_parts(WEIGHTS).landmarker

    def _faces(self, frame: NDArray[np.uint8]) -> list[_Found]:
        seen = self._fan.get_landmarks_from_image(frame, return_bboxes=True)
        points, boxes = (None, None) if seen is None else (seen[0], seen[2])
        if points is None or boxes is None or not len(points):
            return []
        marks = torch.from_numpy(np.stack(points)[..., :2].astype(np.float32))[:_MOST_FACES]
        with torch.inference_mode():
            values = self._landmarker.look(as_grey(frame), marks - 0.5).values.numpy()
        return [
            _Found(mark.numpy(), value, float(np.clip(box[4] if len(box) > 4 else 1.0, 0, 1)))
            for mark, value, box in zip(marks, values, boxes, strict=False)
        ]
