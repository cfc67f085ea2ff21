"""Clear-faced videos: a face of 64 pixels or more in 60 % of 8 uniform frames, and one face that dominates."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from captioner.data.manifest import Record
from captioner.errors import CaptionerError
from captioner.video.reading import read_clip

FRAMES = 8
SHORT_SIDE = 64  # pixels
SHARE = 0.6
DOMINANCE = 2.0  # the largest face has so many times the area of the next

Box = tuple[float, float, float, float]  # x, y, width, height in pixels
Detector = Callable[[np.ndarray], Sequence[Box]]


def open_detector() -> Detector:
    """Boxes of the faces in a frame uint8 (H, W, 3), by mediapipe or face-alignment, whichever is there."""
    for opened in (_mediapipe, _face_alignment):
        detector = opened()
        if detector is not None:
            return detector
    raise CaptionerError(
        "--faces-only needs a face detector and none is installed: `pip install face-alignment` (or mediapipe==0.10.21)"
    )


def clear_share(frames: Iterable[np.ndarray], detect: Detector) -> float:
    """The share of frames with one large face that dominates the others."""
    found = [_is_clear(detect(frame)) for frame in frames]
    return sum(found) / len(found) if found else 0.0


def clear_faced(records: Iterable[Record], detect: Detector) -> list[Record]:
    """The records that the rule keeps, the share of clear frames noted in `extra`; VideoError names bad files."""
    kept = []
    for record in records:
        share = clear_share(read_clip(record.video, FRAMES).frames, detect)
        if share >= SHARE:
            kept.append(replace(record, extra={**record.extra, "clear_faces": round(share, 3)}))
    return kept


def _is_clear(boxes: Sequence[Box]) -> bool:
    areas = sorted((width * height for _, _, width, height in boxes), reverse=True)
    if not areas or (len(areas) > 1 and areas[0] < DOMINANCE * areas[1]):
        return False
    return any(width * height == areas[0] and min(width, height) >= SHORT_SIDE for _, _, width, height in boxes)


def _mediapipe() -> Detector | None:
    if find_spec("mediapipe") is None:
        return None
    mediapipe = import_module("mediapipe")
    if not hasattr(mediapipe, "solutions"):  # newer releases come without a detector's weights
        return None
    finder = mediapipe.solutions.face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.5)

    def detect(frame: np.ndarray) -> list[Box]:
        height, width = frame.shape[:2]
        boxes = [found.location_data.relative_bounding_box for found in finder.process(frame).detections or ()]
        return [(b.xmin * width, b.ymin * height, b.width * width, b.height * height) for b in boxes]

    return detect


def _face_alignment() -> Detector | None:
    if find_spec("face_alignment") is None:
        return None
    face_alignment = import_module("face_alignment")
    device = "cuda" if import_module("torch").cuda.is_available() else "cpu"
    finder = face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D, device=device).face_detector

    def detect(frame: np.ndarray) -> list[Box]:
        found = finder.detect_from_image(frame)
        return [(x, y, right - x, bottom - y) for x, y, right, bottom, *_ in found]

    return detect
