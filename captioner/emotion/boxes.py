"""Boxes of persons as EmotionCLIP's release keeps them: in pixels of a letter-boxed frame.

    VIDEO/human_boxes.json    [{"00000001.jpg": [[left, top, right, bottom, score], ...]}, ...]   or one object of all

The frame was scaled to a long side of 640 and padded to whole steps of 32. The release takes off the scale and not the
padding: its masks lie a few pixels too low, at 16:9 a quarter of a patch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.errors import ManifestError
from captioner.files import missing

LONG, STEP = 640, 32
SURE = 0.5  # least score of a box


def read_boxes(path: Path) -> dict[str, list[list[float]]]:
    """Boxes (left, top, right, bottom, score) by the name of the frame's file."""
    try:
        tree: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(missing(path)) from None
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} holds no boxes: {str(error).splitlines()[0]}") from None
    return check_boxes(tree, str(path))


def check_boxes(tree: Any, source: str) -> dict[str, list[list[float]]]:
    """What `read_boxes` gives, of a tree that was read: one object, or a list of them."""
    parts = tree if isinstance(tree, list) else [tree]
    boxes: dict[str, list[list[float]]] = {}
    for part in parts:
        if not isinstance(part, dict):
            raise ManifestError(f"{source}: {str(part)[:40]!r} is no object of frames with their boxes")
        for name, rows in part.items():
            if not isinstance(rows, list) or not all(_is_box(row) for row in rows):
                raise ManifestError(f"{source}: frame {name!r}: boxes are rows of left, top, right, bottom, score")
            boxes[str(name)] = [[float(value) for value in row] for row in rows]
    return boxes


def _is_box(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 5 and all(isinstance(v, int | float) and math.isfinite(v) for v in row)


def unboxed(rows: Sequence[Sequence[float]], width: int, height: int, released: bool = False) -> np.ndarray:
    """Boxes (N, 4) in pixels of a picture of that size, from rows in its letter-boxed frame; unsure ones are left out.

    released: with the border still in them.
    """
    sure = np.array([row[:4] for row in rows if row[4] > SURE], float).reshape(-1, 4)
    scale = LONG / max(width, height)
    border = [0.0 if released else (-round(side * scale) % STEP) / 2 for side in (width, height)]
    inside = (sure - np.array(border * 2)) / scale
    inside[:, :2], inside[:, 2:] = np.floor(inside[:, :2]), np.ceil(inside[:, 2:])
    clipped: np.ndarray = inside.clip(0, np.array([width, height] * 2))
    return clipped
