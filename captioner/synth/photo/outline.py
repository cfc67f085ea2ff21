"""Where a head ends in a tight photo: ears and hair included, also where the photo cuts them off.

The outline is a radius for every direction around the bridge of the nose. A dynamic programme finds the one that
best separates the colours of hair and skin from those of the surroundings, near where heads usually end.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

from captioner.synth.photo.basis import OVAL
from captioner.synth.photo.photo_set import Photo

Floats = NDArray[np.float64]

_STEP = 0.01  # of radii, in face heights
_RADII = np.arange(0.2, 1.1, _STEP)
_ANGLES = np.radians(np.arange(-150, 151, 2.5))  # from straight up, clockwise
_REACH = 0.10  # how far beyond the photo's edge its last pixels still count, in face heights
_EVIDENCE, _EDGE, _SMOOTH = 0.15, 2.0, 0.10  # weights of colour, of edges, of a smooth outline
_BINS = 24


@dataclass(frozen=True)
class Head:
    """A head in pixels of its photo: centre, face height, unit vectors right and up, outline by direction.

    `radius[i]` and `oval[i]` (the face without hair) belong to `angle[i]`, radians clockwise from up, over a full turn.
    """

    centre: Floats
    face: float
    right: Floats
    up: Floats
    angle: Floats
    radius: Floats
    oval: Floats

    def polar(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[Floats, Floats]:
        """Direction and distance (pixels) of points."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        across, along = dx * self.right[0] + dy * self.right[1], dx * self.up[0] + dy * self.up[1]
        return np.arctan2(across, along), np.hypot(across, along)


def find_head(photo: Photo) -> Head:
    """The outline of the head in a photo, continued beyond its edges."""
    points = np.asarray(photo.landmarks[:, :2], np.float64)
    top, chin = points[10], points[152]
    face = float(np.linalg.norm(chin - top))
    up = (top - chin) / face
    right = np.array([-up[1], up[0]])
    sides, bridge = (points[234] + points[454]) / 2, points[168]
    centre = bridge + ((sides - bridge) @ right) * right
    oval = _oval(points, centre, right, up, _ANGLES)
    usual = _usual(points, centre, right, up, face, oval)
    polar = np.sin(_ANGLES)[:, None] * right + np.cos(_ANGLES)[:, None] * up
    places = centre + _RADII[None, :, None] * face * polar[:, None]  # (angles, radii, 2)
    radius = _trace(photo, places, oval / face, usual / face) * face
    whole = np.radians(np.arange(-180, 180, 2.5))
    inner = _oval(points, centre, right, up, whole)
    outer = np.interp(whole, _ANGLES, radius, left=0, right=0)
    return Head(centre, face, right, up, whole, np.maximum(inner, outer), inner)


def _oval(points: Floats, centre: Floats, right: Floats, up: Floats, at: Floats) -> Floats:
    """Distances of the face's outline in directions `at`."""
    ring = points[list(OVAL)] - centre
    angle, distance = np.arctan2(ring @ right, ring @ up), np.hypot(*ring.T)
    order = np.argsort(angle)
    return np.asarray(np.interp(at, angle[order], distance[order], period=2 * np.pi))


def _usual(points: Floats, centre: Floats, right: Floats, up: Floats, face: float, oval: Floats) -> Floats:
    """Where heads usually end: a skull with some hair above the eyes, ears beside them, the jaw below."""
    half = 0.565 * abs(float((points[454] - points[234]) @ right))
    high = float((points[10] - centre) @ up) + 0.30 * face
    sine, cosine = np.abs(np.sin(_ANGLES)), np.cos(_ANGLES)
    skull = ((sine / half) ** 2.15 + (np.clip(cosine, 0, None) / high) ** 2.15) ** (-1 / 2.15)
    skull += 0.045 * face * np.clip(np.sin(2 * np.abs(_ANGLES)), 0, 1)  # hair over the temples
    below = np.clip((np.degrees(np.abs(_ANGLES)) - 92) / 22, 0, 1)  # from the lobe of the ear to the jaw
    beside = half * (1 - below) + oval * below
    return np.asarray(np.maximum(np.where(cosine > 0, skull, beside), oval * (1 + 0.02 * (1 - below))))


def _trace(photo: Photo, places: Floats, oval: Floats, usual: Floats) -> Floats:
    """Radii (angles,) of the outline, in face heights."""
    features, inside = _features(photo, places)
    edge = _edges(features, inside)
    loose = _loose_hair(features[0], inside, oval, usual)
    usual = usual + 0.11 * loose
    below = (np.abs(_ANGLES) > np.radians(100)) & (loose < 0.2)
    spread_out = np.where(inside > 0.999, np.where(below, 0.06, 0.13)[:, None], 0.05)
    offset = _RADII[None, :] - usual[:, None]
    prior = np.where(offset > 0, (offset / spread_out) ** 2, (offset / 0.07) ** 2)
    prior = prior + 1e3 * (_RADII[None, :] < oval[:, None] - _STEP)
    radius = usual
    for _ in range(2):
        likely = _likelihood(features, inside, oval, radius)
        likely[below] -= 0.5  # a dark collar beside a dark-haired head must not become hair
        gain = np.cumsum(np.where(_RADII[None, :] > oval[:, None], likely * inside, 0), axis=1)
        radius = _cheapest(prior - _EVIDENCE * gain - _EDGE * edge)
    return np.asarray(gaussian_filter1d(radius, 1.0, mode="nearest"))


def _loose_hair(bright: NDArray[np.float32], inside: Floats, oval: Floats, usual: Floats) -> Floats:
    """0..1 (angles,): where hair hangs beside the face; it then lies where an ear would be seen."""
    r, degrees = _RADII[None, :], np.degrees(_ANGLES)
    known, near = inside > 0.999, r - oval[:, None]
    crown = known & (np.abs(degrees)[:, None] < 45) & (near > 0.07) & (r < usual[:, None] - 0.03)
    cheek = (np.abs(degrees)[:, None] > 80) & (np.abs(degrees)[:, None] < 130) & (near < -0.06)
    loose = np.zeros(len(_ANGLES))
    if crown.sum() < 30 or not cheek.any():
        return loose
    hair, skin = float(np.median(bright[crown])), float(np.median(bright[cheek]))
    if abs(hair - skin) < 40:
        return loose
    for sign in (-1, 1):
        strip = known & (near > 0.03) & (near < 0.09) & (sign * degrees > 72)[:, None] & (sign * degrees < 112)[:, None]
        alike = np.abs(bright[strip] - hair) < 0.45 * np.abs(bright[strip] - skin)
        if len(alike) > 20 and alike.mean() > 0.75:
            loose += np.clip((sign * degrees - 30) / 30, 0, 1) * np.clip((150 - sign * degrees) / 10, 0, 1)
    return loose


def _features(photo: Photo, places: Floats) -> tuple[NDArray[np.float32], Floats]:
    """Brightness and colour (channels, angles, radii) at places, and how much they count (beyond the edge: less)."""
    image = photo.image.astype(np.float32)
    channels = [image.mean(2)]
    if not photo.gray:
        channels += [128 + image[..., 0] - image[..., 1], 128 + image[..., 1] - image[..., 2]]
    height, width = image.shape[:2]
    x, y = places[..., 0], places[..., 1]
    far = np.hypot(x - np.clip(x, 0, width - 1), y - np.clip(y, 0, height - 1)) / (0.9 * height)
    inside = np.exp(-((far / _REACH) ** 2)) * (far < 2 * _REACH)
    blurred = [map_coordinates(gaussian_filter(c, 1.2), (y, x), order=1, mode="nearest") for c in channels]
    return np.stack(blurred), inside


def _edges(features: NDArray[np.float32], inside: Floats) -> Floats:
    """How sharply brightness changes along each direction, 0..1."""
    slope = np.abs(gaussian_filter1d(features[0], 1.5, axis=1, order=1)) * (inside > 0.999)
    return np.asarray(np.tanh(slope / 6), np.float64)


def _likelihood(features: NDArray[np.float32], inside: Floats, oval: Floats, radius: Floats) -> Floats:
    """Log odds (angles, radii) of head against surroundings; the two sides have surroundings of their own."""
    r = _RADII[None, :]
    known = inside > 0.999
    upper = np.abs(_ANGLES)[:, None] < np.radians(110)
    near = (r < oval[:, None] + 0.10) | (np.abs(_ANGLES)[:, None] < np.radians(45))
    head = known & (r > oval[:, None] + 0.02) & (r < radius[:, None] - 0.02) & near & upper
    around = known & (r > radius[:, None] + 0.05) & upper
    if head.sum() < 40 or around.sum() < 40:
        return np.zeros(known.shape)
    total = np.zeros(known.shape)
    for channel in features:
        bins = np.clip(channel * (_BINS / 256), 0, _BINS - 1).astype(int)
        inner = _histogram(bins, head)
        for side in (_ANGLES < 0, _ANGLES >= 0):
            here = around & side[:, None]
            outer = (
                _histogram(bins, around)
                if here.sum() < 40
                else 0.7 * _histogram(bins, here) + 0.3 * _histogram(bins, around)
            )
            total[side] += np.log(inner + 0.01)[bins[side]] - np.log(outer + 0.01)[bins[side]]
    return np.asarray(np.clip(total / np.sqrt(len(features)), -1.5, 1.5))


def _histogram(bins: NDArray[np.int64], where: NDArray[np.bool_]) -> Floats:
    count = np.bincount(bins[where], minlength=_BINS).astype(np.float64)
    smoothed = gaussian_filter1d(count, 1.2)
    return np.asarray(smoothed / smoothed.sum(), np.float64)


def _cheapest(cost: Floats, jump: int = 6) -> Floats:
    """Radii (angles,) of the cheapest path through a cost (angles, radii); a jump costs its square."""
    steps = np.arange(-jump, jump + 1)
    price = _SMOOTH * steps.astype(float) ** 2
    best, back = cost[0], np.zeros(cost.shape, int)
    for i in range(1, len(cost)):
        padded = np.pad(best, jump, constant_values=1e6)
        options = np.lib.stride_tricks.sliding_window_view(padded, 2 * jump + 1) + price  # (radii, steps)
        back[i] = options.argmin(1)
        best = options.min(1) + cost[i]
    path = [int(best.argmin())]
    for i in range(len(cost) - 1, 0, -1):
        path.append(int(np.clip(path[-1] + steps[back[i, path[-1]]], 0, cost.shape[1] - 1)))
    return _RADII[path[::-1]]
