"""Which points make a face: the 68 of 478 mesh points, their mirror image, and what distances between them say."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Points = TypeVar("Points", bound=Any)  # an array or a tensor (..., 68, 2)

# The 68 points of the usual layout, as numbers of the 478-point mesh of the MediaPipe face landmarker. "Left" is the
# left of the picture: points 0-16 are the contour from ear to ear, 17-26 brows, 27-35 nose, 36-47 eyes, 48-67 mouth.
MESH_68: tuple[int, ...] = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
MESH_IRIS: tuple[int, ...] = (468, 473)  # centres of the irises: picture left, picture right

# Point i of a mirrored picture is point MIRROR_68[i] of the original.
MIRROR_68: tuple[int, ...] = (
    16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
    26, 25, 24, 23, 22, 21, 20, 19, 18, 17,
    27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip

# Scores the teacher gives reliably; nose sneer and cheek squint are always 0 with it, so geometry stands in for them.
BLENDSHAPES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "jawOpen", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthFunnel", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
)  # fmt: skip

# Distances between the 68 points, in distances between the outer eye corners (aspects: height over width).
GEOMETRY: tuple[str, ...] = (
    "eyeAspectLeft", "eyeAspectRight", "noseWingLeft", "noseWingRight", "browHeightLeft", "browHeightRight",
    "browGap", "mouthWidth", "mouthGap", "mouthCorner", "upperLip", "lowerLip", "chin",
)  # fmt: skip

ANGLES: tuple[str, ...] = ("yaw", "pitch")  # of the head, in units of 30 degrees


def _pairs(names: tuple[str, ...]) -> list[str]:
    return [name[:-4] for name in names if name.endswith("Left") and name[:-4] + "Right" in names]


NETWORK_NAMES: tuple[str, ...] = (*BLENDSHAPES, *GEOMETRY, *ANGLES)  # what the network estimates
_MEANS: tuple[str, ...] = tuple(_pairs(NETWORK_NAMES))
# What a track carries: everything above, the means of left and right, and where the eyes look.
EXPRESSION_NAMES: tuple[str, ...] = (*NETWORK_NAMES, *_MEANS, "gazeSide", "gazeUp")


def mirror_order(names: tuple[str, ...]) -> list[int]:
    """Where each value of a mirrored face comes from: Left and Right change places."""
    swap = {"Left": "Right", "Right": "Left"}
    found = []
    for name in names:
        side = next((s for s in swap if name.endswith(s)), "")
        found.append(names.index(name.removesuffix(side) + swap[side] if side else name))
    return found


def with_means(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """EXPRESSION_NAMES (..., E) from what the network estimates (..., N)."""
    at = {name: values[..., i] for i, name in enumerate(NETWORK_NAMES)}
    means = [(at[f"{name}Left"] + at[f"{name}Right"]) / 2 for name in _MEANS]
    # To the left of the picture is the person's right: out of the right eye, into the left one.
    to_left = at["eyeLookOutRight"] + at["eyeLookInLeft"]
    to_right = at["eyeLookOutLeft"] + at["eyeLookInRight"]
    up = at["eyeLookUpLeft"] + at["eyeLookUpRight"] - at["eyeLookDownLeft"] - at["eyeLookDownRight"]
    gaze = [(to_right - to_left) / 2, up / 2]
    return np.concatenate([values, np.stack([*means, *gaze], axis=-1)], axis=-1).astype(np.float32)


def _between(points: Points, a: int, b: int) -> Points:
    apart: Points = ((points[..., a, :] - points[..., b, :]) ** 2).sum(-1) ** 0.5
    return apart


def outer_eyes(points: Points) -> Points:
    """Distance between the outer eye corners (...), the yardstick of every error and distance here."""
    return _between(points, 36, 45)


def geometry(points: Points) -> list[Points]:
    """The values named by GEOMETRY, each (...), of 68 points (..., 68, 2): arrays or tensors, any unit.

    "Left" and "Right" are the person's own sides, as in blendshapes: the person's right eye is left in the picture.
    """
    yard = outer_eyes(points) + 1e-6

    def span(a: int, b: int) -> Points:
        share: Points = _between(points, a, b) / yard
        return share

    right_eye = (span(37, 41) + span(38, 40)) / 2 / (span(36, 39) + 1e-3)
    left_eye = (span(43, 47) + span(44, 46)) / 2 / (span(42, 45) + 1e-3)
    along = points[..., 45, :] - points[..., 36, :]  # its normal points down the face
    mouth = points[..., 48, :] + points[..., 54, :] - points[..., 51, :] - points[..., 57, :]
    corner = (mouth[..., 0] * along[..., 1] - mouth[..., 1] * along[..., 0]) / (2 * yard**2)  # up is positive
    return [
        left_eye, right_eye, span(35, 42), span(31, 39),
        (span(22, 42) + span(24, 44)) / 2, (span(21, 39) + span(19, 37)) / 2,
        span(21, 22), span(48, 54), span(62, 66), corner, span(33, 51), span(57, 8), span(33, 8),
    ]  # fmt: skip
