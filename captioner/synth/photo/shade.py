"""Furrows: how skin darkens and brightens where an action unit folds it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Patch = tuple[slice, slice, Array]

# Landmarks of the person's right side and left side.
_BROW_TOPS = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
_HAIRLINE = ((21, 54, 103, 67, 109), (251, 284, 332, 297, 338))
_NASOLABIAL = ((129, 203, 206, 216), (358, 423, 426, 436))
_BAG = ((226, 31, 228, 229, 230, 231, 232), (446, 261, 448, 449, 450, 451, 452))
_LID = ((225, 224, 223, 222, 221), (445, 444, 443, 442, 441))
_CORNER, _OUTER_EYE, _INNER_BROW = (61, 291), (33, 263), (55, 285)
_LIP_TOP, _LIP_BOTTOM = (40, 39, 37, 0, 267, 269, 270), (91, 181, 84, 17, 314, 405, 321)


@dataclass(frozen=True)
class Fold:
    """A line along points (K, 2) that an AU folds: log brightness `depth` at its bottom, `sigma` wide."""

    au: int
    side: int | None  # 0 the person's right, 1 the left, None both
    line: Array
    depth: float
    sigma: float


class Furrows:
    """Maps of log brightness for each AU and side of one face, on a canvas at half its size."""

    scale = 0.5

    def __init__(self, landmarks: Array, height: int, width: int) -> None:
        self.shape = (max(1, round(height * self.scale)), max(1, round(width * self.scale)))
        points = (landmarks[:, :2] * self.scale).astype(np.float64)
        unit = float(np.linalg.norm(points[33] - points[263]))
        self.patches: dict[int, list[tuple[int | None, Patch]]] = {}
        for fold in _folds(points, unit):
            patch = _draw(fold, unit, self.shape)
            if patch is not None:
                self.patches.setdefault(fold.au, []).append((fold.side, patch))

    def combine(self, aus: Mapping[int, float], sides: Mapping[int, tuple[float, float]]) -> Array | None:
        """Factors (h, w) of brightness for intensities of AUs; None where nothing folds."""
        active = [au for au in aus if au in self.patches]
        if not active:
            return None
        total = np.zeros(self.shape, np.float32)
        for au in active:
            left, right = sides.get(au, (1.0, 1.0))
            share = {None: max(left, right), 0: right, 1: left}
            for side, (rows, columns, values) in self.patches[au]:
                # skin folds late: faint movements leave it smooth
                total[rows, columns] += aus[au] ** 1.3 * share[side] * values
        return np.exp(np.clip(total, -0.8, 0.35))


def _folds(p: Array, unit: float) -> Iterator[Fold]:
    down = p[152] - p[10]
    down = down / np.linalg.norm(down)
    right = (p[263] - p[33]) / unit
    for side in (0, 1):
        out = right * (1 if side else -1)
        yield from _brow_folds(p, unit, side, down)
        yield from _eye_folds(p, unit, side, down, out)
        yield from _mouth_folds(p, unit, side, down, out)
    crease = p[[182, 18, 406]] + 0.035 * unit * down
    yield Fold(17, None, crease, -0.30, 0.030)
    yield Fold(17, None, crease + 0.1 * unit * down, 0.10, 0.05)
    yield Fold(24, None, p[list(_LIP_BOTTOM)] + 0.03 * unit * down, -0.16, 0.025)
    yield Fold(24, None, p[list(_LIP_TOP)] - 0.03 * unit * down, 0.08, 0.025)
    yield Fold(18, None, p[list(_LIP_BOTTOM)] + 0.04 * unit * down, -0.14, 0.03)
    for step, depth in ((0.02, -0.34), (0.10, -0.32), (0.18, -0.22)):
        bridge = p[[193, 168, 417]] * 0.8 + 0.2 * p[168] + step * unit * down
        yield Fold(9, None, bridge, depth, 0.022)
    # the tightened chin is bumpy
    for x, y in ((-0.09, 0.02), (-0.03, 0.07), (0.04, 0.03), (0.1, 0.06), (0.0, -0.02), (-0.06, 0.1), (0.07, 0.11)):
        spot = p[199] + unit * (x * right + y * down)
        yield Fold(17, None, np.stack([spot, spot + 0.02 * unit * right]), -0.10, 0.018)


def _brow_folds(p: Array, unit: float, side: int, down: Array) -> Iterator[Fold]:
    other = 1 - side
    top, hair = p[list(_BROW_TOPS[side])], p[list(_HAIRLINE[side])]
    middle = (p[_BROW_TOPS[0][-1]] + p[_BROW_TOPS[1][-1]]) / 2, (p[109] + p[338]) / 2
    for share, depth in ((0.34, -0.15), (0.54, -0.14), (0.74, -0.08)):
        row = top + share * (hair - top)
        centre = middle[0] + (share + 0.03) * (middle[1] - middle[0])
        yield Fold(1, side, np.concatenate([row[2:], centre[None]]), depth, 0.024)
        yield Fold(2, side, row[:4], 0.6 * depth, 0.022)
    lid = p[list(_LID[side])]  # the socket comes into the light
    yield Fold(1, side, lid[2:], 0.10, 0.045)
    yield Fold(2, side, lid, 0.14, 0.045)
    inner, across = p[_INNER_BROW[side]], p[_INNER_BROW[other]] - p[_INNER_BROW[side]]
    upper = p[_BROW_TOPS[side][-1]]
    line = np.stack([upper + 0.22 * across - 0.02 * unit * down, inner + 0.26 * across, inner + 0.3 * across])
    line[2] += 0.09 * unit * down
    yield Fold(4, side, line, -0.32, 0.024)
    yield Fold(4, side, line - 0.12 * across, 0.12, 0.022)
    yield Fold(4, side, p[list(_BROW_TOPS[side][1:])] - 0.05 * unit * down, 0.08, 0.03)


def _eye_folds(p: Array, unit: float, side: int, down: Array, out: Array) -> Iterator[Fold]:
    corner = p[_OUTER_EYE[side]]
    for angle, depth in ((-0.45, -0.22), (0.05, -0.30), (0.5, -0.24)):
        ray = np.cos(angle) * out + np.sin(angle) * down
        start = corner + 0.07 * unit * ray
        yield Fold(6, side, np.stack([start, start + 0.07 * unit * ray, start + 0.14 * unit * ray]), depth, 0.017)
    bag = p[list(_BAG[side])]
    yield Fold(6, side, bag[1:], -0.28, 0.020)
    yield Fold(6, side, bag[1:] + 0.06 * unit * down, 0.14, 0.035)
    yield Fold(7, side, bag[1:] - 0.02 * unit * down, -0.20, 0.018)


def _mouth_folds(p: Array, unit: float, side: int, down: Array, out: Array) -> Iterator[Fold]:
    line = p[list(_NASOLABIAL[side])]
    cheek = line + 0.06 * unit * out - 0.01 * unit * down
    for au, depth, last in (
        (9, -0.34, 3),
        (10, -0.26, 4),
        (12, -0.24, 4),
        (14, -0.10, 4),
        (15, -0.08, 4),
        (20, -0.10, 4),
    ):
        yield Fold(au, side, line[:last], depth, 0.022)
        yield Fold(au, side, cheek[:last], -0.35 * depth, 0.045)
    corner = p[_CORNER[side]]
    marionette = np.stack([corner + 0.03 * unit * out + f * unit * (down + 0.25 * out) for f in (0.0, 0.06, 0.13)])
    yield Fold(15, side, marionette, -0.22, 0.020)
    dent = corner + 0.045 * unit * out
    for au, depth in ((14, -0.38), (12, -0.14), (24, -0.12)):
        yield Fold(au, side, np.stack([dent - 0.02 * unit * down, dent + 0.03 * unit * down]), depth, 0.018)
    hollow = np.stack([p[(205, 425)[side]], p[(207, 427)[side]], p[(210, 430)[side]]]) + 0.05 * unit * out
    yield Fold(27, side, hollow, -0.14, 0.06)


def _draw(fold: Fold, unit: float, shape: tuple[int, int]) -> Patch | None:
    """The fold's map on a piece of the canvas: a groove that fades out to its ends."""
    sigma = max(fold.sigma * unit, 0.6)
    low = np.maximum(np.floor(fold.line.min(0) - 3 * sigma), 0).astype(int)
    high = np.minimum(np.ceil(fold.line.max(0) + 3 * sigma) + 1, shape[::-1]).astype(int)
    if (high - low < 1).any():
        return None
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]]
    pixels = np.stack([x, y], axis=-1) + 0.0
    starts, steps = fold.line[:-1], np.diff(fold.line, axis=0)
    away = pixels[..., None, :] - starts  # (h, w, K - 1, 2)
    along = np.clip((away * steps).sum(-1) / np.maximum((steps**2).sum(-1), 1e-9), 0, 1)
    apart = np.linalg.norm(away - along[..., None] * steps, axis=-1)
    nearest = apart.argmin(-1)
    distance = np.take_along_axis(apart, nearest[..., None], -1)[..., 0]
    where = (nearest + np.take_along_axis(along, nearest[..., None], -1)[..., 0]) / len(steps)
    ends = np.clip(np.minimum(where, 1 - where) / 0.3, 0, 1) if len(fold.line) > 2 else 1.0
    values = fold.depth * np.exp(-0.5 * (distance / sigma) ** 2) * ends
    return slice(low[1], high[1]), slice(low[0], high[0]), values.astype(np.float32)
