"""Where persons are in the squares that a recogniser looks at: followed faces grown to bodies, or boxes of any source.

Axes: T pictures, H W their pixels, S pixels of a square, N boxes (left, top, right, bottom).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.errors import CheckpointError
from captioner.faces import FaceTrack

WIDE, TALL = 3.0, 7.0  # a body in widths and heights of its face
ABOVE = 0.5  # of these heights lie above the face: hair, and a hat
PERSON, SURE = 1, 0.5  # of the detector: COCO's class, and the least score


def body_boxes(faces: np.ndarray) -> np.ndarray:
    """Boxes of bodies (N, 4) from those of their faces, in the same pixels, not yet cut at the picture's edge."""
    left, top, right, bottom = faces.T
    width, height, middle = right - left, bottom - top, (left + right) / 2
    above = top - ABOVE * height
    return np.stack([middle - WIDE / 2 * width, above, middle + WIDE / 2 * width, above + TALL * height], 1)


def body_masks(tracks: Sequence[FaceTrack], shape: Sequence[int], size: int) -> Tensor:
    """bool (T, S, S): the bodies of followed people in pictures of shape (T, H, W), cut to their centre squares."""
    count, height, width = shape
    rows = [
        body_boxes(np.array([track.boxes[t] for track in tracks if track.present[t]]).reshape(-1, 4))
        for t in range(count)
    ]
    return torch.stack([square_mask(boxes, height, width, size) for boxes in rows])


def detected_masks(frames: np.ndarray, size: int) -> Tensor:
    """bool (T, S, S): persons that a detector finds in frames (T, H, W, 3), cut to their centre squares."""
    return torch.stack([square_mask(detected_boxes(frame), frame.shape[0], frame.shape[1], size) for frame in frames])


@torch.no_grad()
def detected_boxes(frame: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) of the persons that a detector finds in a frame (H, W, 3)."""
    found = person_detector()([torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).float() / 255])[0]
    sure = (found["labels"] == PERSON) & (found["scores"] > SURE)
    boxes: np.ndarray = found["boxes"][sure].cpu().numpy().reshape(-1, 4)
    return boxes


@cache
def person_detector() -> Any:
    """torchvision's small detector of COCO's things, its weights fetched once; nothing but tensors is unpickled."""
    from torchvision.models import detection

    kind = detection.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.DEFAULT
    try:
        state = kind.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"the person detector's weights cannot be fetched ({cause}): connect once, or set subject.persons=faces, "
            f"which needs nothing"
        ) from None
    net = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


def square_mask(boxes: np.ndarray, height: int, width: int, size: int) -> Tensor:
    """bool (S, S): the union of boxes (N, 4) in a picture, whose short side becomes S and whose centre is kept."""
    scale = size / min(height, width)
    left, top = (size * side // min(height, width) - size for side in (width, height))
    mask = torch.zeros(size, size, dtype=torch.bool)
    for x0, y0, x1, y1 in (boxes * scale - np.array([left // 2, top // 2] * 2)).tolist():
        across = slice(max(0, int(np.floor(x0))), max(0, min(size, int(np.ceil(x1)))))
        down = slice(max(0, int(np.floor(y0))), max(0, min(size, int(np.ceil(y1)))))
        mask[down, across] = True
    return mask
