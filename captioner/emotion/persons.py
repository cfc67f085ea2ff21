"""Where persons are in the squares that a recogniser looks at: followed faces grown to bodies, or boxes of any source.

Axes: T pictures, H W their pixels, S pixels of a square, N boxes (left, top, right, bottom).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from captioner.faces import FaceTrack

WIDE, TALL = 3.0, 7.0  # a body in widths and heights of its face
ABOVE = 0.5  # of these heights lie above the face: hair, and a hat


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
