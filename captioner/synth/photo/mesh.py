"""The net of triangles that carries a photo: the face, rings of hair, ears and neck around it, a border that stays.

Coordinates: canvas pixels, x right, y down, z away from the viewer. V vertices, T triangles.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.synth.photo.basis import MESH_POINTS, OVAL, STABLE, Basis

Array = NDArray[np.floating[Any]]

# Rings around the outline of the face, as multiples of its distance from the middle of the face: how much each takes
# part in the turns of the head above the chin and below it, and in what the nearest point of the outline does.
_RINGS: tuple[tuple[float, float, float, float], ...] = (
    (1.14, 1.0, 0.85, 0.85), (1.35, 0.97, 0.5, 0.6), (1.7, 0.7, 0.15, 0.25), (2.4, 0.0, 0.0, 0.0),
)  # fmt: skip
_FRONT = 0.05  # depth behind the eyes, in distances between their outer corners, up to which a face is kept as deep
_SIDES = 0.55  # how deep the rest is, as a share of what the landmarks say
_UNFOLD = 1.3  # how far hidden sides are moved out, as a share of what would undo the turn
_FOCAL = 5.0  # distance of the camera in heights of the face
_SLIVER = 1e-3  # pixels; no smaller triangle holds a pixel of its own
_EDGE = 2e-3  # pixels that a triangle reaches beyond its edge, so that no pixel falls between two


@dataclass(frozen=True)
class Net:
    """A photo's vertices at rest (V, 3), triangles (T, 3), share of the head's turns (V,), and the pivot (3,)."""

    rest: Array
    triangles: NDArray[np.int64]
    weight: Array
    pull: Array  # (V - 468,) how far the rings follow the outline
    pivot: Array
    focal: float

    def move(self, shift: Array, yaw: float, pitch: float, roll: float) -> Array:
        """Vertices (V, 3) after the landmarks moved by `shift` (468, 3) and the head turned (degrees)."""
        points = self.rest.copy()
        points[:MESH_POINTS] += shift
        outline = np.tile(shift[list(OVAL)], (len(_RINGS), 1))
        points[MESH_POINTS : MESH_POINTS + len(outline)] += self.pull[:, None] * outline
        return self.turn(points, self.weight, yaw, pitch, roll)

    def turn(self, points: Array, weight: Array | float, yaw: float, pitch: float, roll: float) -> Array:
        """Points (N, 3) after their share of a turn, seen by a camera at a finite distance."""
        away = points - self.pivot
        near = self.rest_depth(away)
        solid = np.concatenate([away[:, :2] * near, away[:, 2:]], axis=1)  # the photo is a view already
        turned = solid @ rotation(yaw, pitch, roll).T
        seen = np.concatenate([turned[:, :2] / self.rest_depth(turned), turned[:, 2:]], axis=1)
        share = weight[:, None] if isinstance(weight, np.ndarray) else weight
        return (points + share * (seen - away)).astype(np.float32)

    def rest_depth(self, away: Array) -> Array:
        """Distance from the camera (N, 1), in units of the pivot's."""
        return 1 + away[:, 2:] / self.focal


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """The matrix (3, 3) that turns to the viewer's right, down, clockwise (degrees)."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y, np.float32)


def build_net(landmarks: Array, basis: Basis, width: int, height: int) -> Net:
    """The net of a face with landmarks (478, 3) on a canvas of that size."""
    face = _flatten(landmarks, basis)
    outline = face[list(OVAL)]
    low, high = face.min(0), face.max(0)
    tall = float(high[1] - low[1])
    deep = float(face[[234, 454], 2].mean()) + 0.05 * tall  # the ears: the middle of the head
    middle = np.array([(low[0] + high[0]) / 2, low[1] + 0.45 * tall, deep], np.float32)
    ray = outline - middle
    below = np.clip((ray[:, 1] / np.linalg.norm(ray[:, :2], axis=1) - 0.1) / 0.7, 0, 1)
    rings, weights, pulls = [], [np.ones(MESH_POINTS)], []
    for reach, above, under, follow in _RINGS:
        ring = middle + ray * np.array([reach, reach, 0], np.float32)
        back = min(1.0, (reach - 1) / 1.2)
        ring[:, 2] = outline[:, 2] * (1 - back) + deep * back
        rings.append(ring)
        weights.append(above + (under - above) * below)
        pulls.append(np.full(len(OVAL), follow))
    far = _border(middle, ray, width, height)
    rest = np.concatenate([face, *rings, far]).astype(np.float32)
    weight = np.concatenate([*weights, np.zeros(len(far))]).astype(np.float32)
    pivot = np.array([middle[0], low[1] + 0.85 * tall, deep], np.float32)
    pull = np.concatenate(pulls).astype(np.float32)
    triangles = np.concatenate([basis.triangles, _strips(len(_RINGS) + 1)])
    return Net(rest, triangles, weight, pull, pivot, _FOCAL * tall)


def _flatten(landmarks: Array, basis: Basis) -> Array:
    """The face (468, 3) with sides less deep, and those that a turned head hides unfolded.

    What turns into view there has never been photographed: the picture of what lies beside it stretches instead.
    """
    turn, scale = basis.align(landmarks)
    stable = list(STABLE)
    face = landmarks[:MESH_POINTS].astype(np.float32)
    depth = (face - landmarks[stable].mean(0)) @ turn[2] / scale + basis.mean[stable, 2].mean()
    deep = scale * np.maximum(depth - _FRONT, 0)
    face[:, 2] -= (1 - _SIDES) * deep
    lean = turn[2, 0]  # where the back of the head points, seen from the front
    hidden = basis.mean[:MESH_POINTS, 0] * lean < 0
    face[:, 0] -= _UNFOLD * lean * deep * hidden
    return face


def _border(middle: Array, ray: Array, width: int, height: int) -> Array:
    # along each ray, so far out that the canvas lies inside
    reach = 2 * np.hypot(max(middle[0], width - middle[0]), max(middle[1], height - middle[1]))
    length = np.linalg.norm(ray[:, :2], axis=1, keepdims=True)
    far = middle + ray * np.maximum(1.2 * _RINGS[-1][0], reach / length)
    far[:, 2] = middle[2]
    return np.asarray(far)


def _strips(rings: int) -> NDArray[np.int64]:
    """Triangles between the outline and the rings around it."""
    count = len(OVAL)
    strips = []
    inner = np.array(OVAL)
    for ring in range(rings):
        outer = MESH_POINTS + ring * count + np.arange(count)
        a, b, c, d = inner, np.roll(inner, -1), outer, np.roll(outer, -1)
        strips += [np.stack([a, c, b], 1), np.stack([b, c, d], 1)]
        inner = outer
    return np.concatenate(strips)


def rasterise(
    target: Array, source: Array, depth: Array, triangles: NDArray[np.int64], height: int, width: int
) -> Array:
    """Source coordinates (H, W, 2) of every pixel centre of a picture under the map target (V, 2) -> source (V, 2).

    Triangles that face away are left out, nearer ones win; what no triangle covers is NaN.
    """
    order = _visible(target[triangles].astype(np.float32), depth[triangles], height, width)
    p, s = target[triangles[order]].astype(np.float32), source[triangles[order]].astype(np.float32)  # (T, 3, 2)
    # source = s0 + (x - x0) * across + (y - y0) * down
    e1, e2, f1, f2 = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0], s[:, 1] - s[:, 0], s[:, 2] - s[:, 0]
    area = _cross(e1, e2)[:, None]
    across, down = (f1 * e2[:, 1:] - f2 * e1[:, 1:]) / area, (f2 * e1[:, :1] - f1 * e2[:, :1]) / area
    origin = s[:, 0] - p[:, 0, :1] * across - p[:, 0, 1:] * down
    row, owner, left, length = _spans(p, height, width)
    start = origin[owner] + row[:, None].astype(np.float32) * down[owner]  # (R, 2) at x = 0
    span = np.repeat(np.arange(len(row)), length)
    x = np.arange(len(span)) - (np.cumsum(length) - length - left)[span]
    pixel = row[span] * width + x
    out = np.full((height * width, 2), np.nan, np.float32)
    out[pixel] = start[span] + x[:, None].astype(np.float32) * across[owner[span]]  # the last one is the nearest
    return out.reshape(height, width, 2)


def _visible(p: Array, depth: Array, height: int, width: int) -> NDArray[np.int64]:
    """Which of triangles (T, 3, 2) face the viewer within the picture, the furthest first."""
    low, high = p.min(1), p.max(1)
    seen = _cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]) > _SLIVER
    seen &= (high[:, 0] > -1) & (high[:, 1] > -1) & (low[:, 0] < width) & (low[:, 1] < height)
    order = np.flatnonzero(seen)
    return order[np.argsort(-depth[order].sum(1), kind="stable")]


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _spans(p: Array, height: int, width: int) -> tuple[NDArray[np.int64], ...]:
    """Every row of pixels of every triangle (T, 3, 2): row, triangle, first pixel, number of pixels (R,)."""
    p = np.take_along_axis(p, np.argsort(p[:, :, 1], axis=1, kind="stable")[..., None], axis=1)  # from top to bottom
    x, y = p[:, :, 0], p[:, :, 1]
    first = np.maximum(np.ceil(y[:, 0] - _EDGE), 0).astype(np.int64)
    count = np.maximum(np.minimum(np.floor(y[:, 2] + _EDGE), height - 1).astype(np.int64) - first + 1, 0)
    owner = np.repeat(np.arange(len(p)), count)
    row = np.arange(len(owner)) - (np.cumsum(count) - count - first)[owner]
    # edges: the long one from top to bottom, the upper short one, the lower short one
    rise = y[:, [2, 1, 2]] - y[:, [0, 0, 1]]
    slope = np.divide(x[:, [2, 1, 2]] - x[:, [0, 0, 1]], rise, out=np.zeros_like(rise), where=rise > 1e-6)
    at = np.clip(row, y[owner, 0], y[owner, 2])
    lower = (at >= y[owner, 1]).astype(np.int64)  # which short edge; it starts at that corner
    long = x[owner, 0] + (at - y[owner, 0]) * slope[owner, 0]
    short = x[owner, lower] + (at - y[owner, lower]) * slope[owner, 1 + lower]
    left = np.maximum(np.ceil(np.minimum(long, short) - _EDGE), 0).astype(np.int64)
    right = np.minimum(np.floor(np.maximum(long, short) + _EDGE), width - 1).astype(np.int64)
    return row, owner, left, np.maximum(right - left + 1, 0)
