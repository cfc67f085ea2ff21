"""How a face moves when an action unit acts: displacements of 478 landmarks, learned from photos of many people.

Lengths are in distances between the outer eye corners; x points to the viewer's right, y down, z away from the viewer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from captioner.errors import CheckpointError
from captioner.files import missing

Points = NDArray[np.floating[Any]]

FOLDER = Path(__file__).parents[2] / "weights" / "au-basis"
MESH_POINTS = 468  # the ten points of the irises follow the gaze, not the skin
# What speaking, chewing or raising a brow leaves where it is; poses are aligned on these points.
STABLE: tuple[int, ...] = (
    10, 67, 109, 338, 297, 33, 133, 362, 263, 6, 168, 197, 195, 5, 4, 1, 234, 454, 127, 356, 93, 323, 98, 327, 2,
    129, 358, 21, 251, 162, 389, 123, 352, 116, 345,
)  # fmt: skip
OVAL: tuple[int, ...] = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
# Lids from the outer corner to the inner one, both corners included; the person's right eye, then the left.
UPPER_LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362))
LOWER_LIDS = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (263, 249, 390, 373, 374, 380, 381, 382, 362))
IRISES = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))
# Rows of lip points from the skin to the seam, each from the person's right corner to the left one.
UPPER_LIP = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
)
LOWER_LIP = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)

# The blendshapes that tell how far an AU shows.
BLENDSHAPES: dict[int, tuple[str, ...]] = {
    1: ("browInnerUp",), 2: ("browOuterUpLeft", "browOuterUpRight"), 4: ("browDownLeft", "browDownRight"),
    6: ("eyeSquintLeft", "eyeSquintRight"), 7: ("eyeSquintLeft", "eyeSquintRight"),
    10: ("mouthUpperUpLeft", "mouthUpperUpRight"), 12: ("mouthSmileLeft", "mouthSmileRight"),
    14: ("mouthDimpleLeft", "mouthDimpleRight"), 15: ("mouthFrownLeft", "mouthFrownRight"), 17: ("mouthShrugLower",),
    18: ("mouthPucker",), 20: ("mouthStretchLeft", "mouthStretchRight"), 23: ("mouthRollLower", "mouthRollUpper"),
    24: ("mouthPressLeft", "mouthPressRight"), 26: ("jawOpen",), 27: ("jawOpen",),
    43: ("eyeBlinkLeft", "eyeBlinkRight"),
}  # fmt: skip


@dataclass(frozen=True)
class Basis:
    """The mean face (478, 3), triangles (T, 3) of its first 468 points, and a field (478, 3) for each AU."""

    mean: Points
    triangles: NDArray[np.int64]
    fields: Mapping[int, Points]

    def align(self, landmarks: Points) -> tuple[Points, float]:
        """Rotation (3, 3) and scale that carry mean-face displacements to those of `landmarks` (478, 3)."""
        rotation, scale = rotations_and_scales(landmarks[None, list(STABLE)], self.mean[list(STABLE)])
        return rotation[0].T, float(1 / scale[0])


def rotations_and_scales(points: Points, target: Points) -> tuple[Points, Points]:
    """Rotations (N, 3, 3) and scales (N,) with scale * (points - centre) @ rotation nearest target (K, 3)."""
    points = points - points.mean(1, keepdims=True)
    u, s, vt = np.linalg.svd(np.einsum("nki,kj->nij", points, target - target.mean(0)))
    flip = np.sign(np.linalg.det(u @ vt))  # a mirror is no rotation
    u[:, :, 2] *= flip[:, None]
    s[:, 2] *= flip
    return (u @ vt).astype(np.float32), (s.sum(1) / (points**2).sum((1, 2))).astype(np.float32)


@lru_cache(maxsize=2)
def load_basis(folder: str | Path = FOLDER) -> Basis:
    """The basis in a folder with model.safetensors, by default the one that is shipped."""
    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise CheckpointError(f"{missing(path)}; learn one with python -m captioner.synth.photo.learn_basis")
    try:
        tensors = load_file(path)
        mean = tensors.pop("mean").astype(np.float32)
        triangles = tensors.pop("triangles").astype(np.int64)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
    except KeyError as error:
        raise CheckpointError(f"{path} is no AU basis: it lacks {error}") from None
    fields = {int(name.removeprefix("au")): field.astype(np.float32) for name, field in tensors.items()}
    wrong = [f"au{au}" for au, field in fields.items() if field.shape != mean.shape]
    if wrong or mean.shape != (478, 3):
        raise CheckpointError(f"{path} is no AU basis: {', '.join(wrong) or 'mean'} is not (478, 3)")
    return Basis(mean, triangles, fields)
