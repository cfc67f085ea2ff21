"""What lies below the skin: eyeballs made from the photo, and the inside of a mouth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from captioner.synth.photo.basis import IRISES, LOWER_LIDS, LOWER_LIP, UPPER_LIDS, UPPER_LIP

Array = NDArray[np.floating[Any]]

_GLANCE = (0.22, 0.16)  # how far the iris travels at most, in widths of the eye
_SKIN = (50, 280, 205, 425, 101, 330)


def coverage(points: Array, upper: Array, lower: Array) -> Array:
    """How much (N,) of each pixel at points (N, 2) lies between two chains (K, 2) from one corner to the other."""
    start, end = upper[0], upper[-1]
    axis = end - start
    length = float(np.hypot(*axis))
    if length < 1:
        return np.zeros(len(points), np.float32)
    axis = axis / length
    normal = np.array([-axis[1], axis[0]], np.float32)
    if normal[1] < 0:
        normal = -normal
    u, v = (points - start) @ axis, (points - start) @ normal
    top = np.interp(u, *_chain((upper - start) @ axis, (upper - start) @ normal))
    bottom = np.interp(u, *_chain((lower - start) @ axis, (lower - start) @ normal))
    inside = np.minimum(v + 0.5, bottom) - np.maximum(v - 0.5, top)
    return np.asarray(np.clip(inside, 0, 1), np.float32)


def _chain(u: Array, v: Array) -> tuple[Array, Array]:
    return np.maximum.accumulate(u), v


def _patch(loops: Array, shape: tuple[int, ...]) -> tuple[slice, slice, Array] | None:
    """Rows, columns and pixel coordinates (N, 2) of the part of a picture that holds points (K, 2)."""
    low = np.maximum(np.floor(loops.min(0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(loops.max(0)).astype(int) + 2, [shape[1], shape[0]])
    if (high <= low).any():
        return None
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]]
    return slice(low[1], high[1]), slice(low[0], high[0]), np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)


def _affine(source: Array, target: Array) -> tuple[Array, Array]:
    """The matrix (2, 2) and offset (2,) with source @ matrix + offset nearest target, (K, 2) each."""
    full = np.concatenate([source, np.ones((len(source), 1), np.float32)], axis=1)
    solution = np.linalg.lstsq(full, target, rcond=None)[0].astype(np.float32)
    return solution[:2], solution[2]


def _bilinear(image: Array, x: Array, y: Array) -> Array:
    """Values (N, 3) of an image (H, W, 3) at pixel coordinates, edges continued."""
    x, y = np.clip(x, 0, image.shape[1] - 1.001), np.clip(y, 0, image.shape[0] - 1.001)
    x0, y0 = x.astype(np.int64), y.astype(np.int64)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
    return np.asarray(top * (1 - fy) + (image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx) * fy)


class Eye:
    """One eyeball: the photo where it shows it, continued below the lids. Side 0 is the person's right."""

    def __init__(self, image: Array, landmarks: Array, side: int) -> None:
        self.upper, self.lower = list(UPPER_LIDS[side]), list(LOWER_LIDS[side])
        self.loop = self.upper + self.lower[1:-1]
        upper, lower = landmarks[self.upper, :2], landmarks[self.lower, :2]
        self.rest = landmarks[self.loop, :2]
        self.iris = landmarks[IRISES[side][0], :2]
        self.radius = float(np.linalg.norm(landmarks[list(IRISES[side][1:]), :2] - self.iris, axis=1).mean())
        self.width = float(np.linalg.norm(upper[0] - upper[-1]))
        pad = round(self.width * 0.5)
        x0, y0 = (np.floor(self.rest.min(0)).astype(int) - pad).tolist()
        x1, y1 = (np.ceil(self.rest.max(0)).astype(int) + pad + 1).tolist()
        self.corner = np.array([x0, y0], np.float32)
        y, x = np.mgrid[y0:y1, x0:x1]
        cut = image[y.clip(0, image.shape[0] - 1), x.clip(0, image.shape[1] - 1)]
        points = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
        inside = coverage(points, upper, lower).reshape(x.shape)
        self.photo = cut.astype(np.float32)
        seen = self.photo[inside > 0.3]
        self.lash = 0.8 * np.percentile(seen, 5, axis=0) if len(seen) else np.full(3, 40.0)
        self.ball = self._ball(cut, inside, x - self.iris[0], y - self.iris[1])

    def _ball(self, cut: Array, inside: Array, dx: Array, dy: Array) -> Array:
        """The eyeball (h, w, 3) without lids: seen parts as they are, white and iris continued around them."""
        trust = np.clip((gaussian_filter(inside, 0.05 * self.width) - 0.72) / 0.2, 0, 1)
        far = np.hypot(dx, dy) / max(self.radius, 1.0)
        white = trust * np.clip((far - 1.1) / 0.2, 0, 1) + 1e-6 * inside
        mean = (cut * white[..., None]).sum((0, 1)) / max(white.sum(), 1e-9)
        wide = [gaussian_filter(white, 0.12 * self.width) + 1e-3]
        filled = np.stack(
            [gaussian_filter(white * cut[..., c], 0.12 * self.width) + 1e-3 * mean[c] for c in range(3)], axis=-1
        )
        ball = filled / wide[0][..., None]
        bins = np.minimum((far * 8).astype(int), 11)
        weight = np.bincount(bins.ravel(), (trust + 1e-4 * inside).ravel(), 12) + 1e-9
        for c in range(3):
            profile = np.bincount(bins.ravel(), ((trust + 1e-4 * inside) * cut[..., c]).ravel(), 12) / weight
            iris = np.interp(far * 8 - 0.5, np.arange(12), profile)
            share = np.clip((1.15 - far) / 0.2, 0, 1)
            ball[..., c] += share * (iris - ball[..., c])
        return np.asarray(ball + trust[..., None] * (cut - ball), np.float32)

    def glance(self, rigid: Array, gaze: tuple[float, float]) -> Array:
        """How far (2,) the iris moves in the picture, whose rigid landmarks (478, 2) tell place and size."""
        width = float(np.linalg.norm(rigid[self.upper[0]] - rigid[self.upper[-1]]))
        return np.array([gaze[0] * _GLANCE[0] * width, gaze[1] * _GLANCE[1] * width], np.float32)

    def draw(
        self, picture: Array, skin: Array, rigid: Array, gaze: tuple[float, float], wide: float, shut: float
    ) -> None:
        """Paint the eyeball where the lids (in `skin`) leave it open, and the lashes of lids that close."""
        patch = _patch(skin[self.loop], picture.shape)
        if patch is None:
            return
        rows, columns, points = patch
        target = picture[rows, columns]
        open_ = coverage(points, skin[self.upper], skin[self.lower])
        if open_.max() > 0:
            colour = self._seen(points, skin, rigid, gaze, wide)
            target += (open_.reshape(target.shape[:2]))[..., None] * (colour.reshape(target.shape) - target)
        if shut > 0.3:
            lashes = (shut - 0.3) / 0.7 * self._lashes(points, skin[self.upper])
            target += lashes.reshape(target.shape[:2])[..., None] * (self.lash - target)

    def _lashes(self, points: Array, upper: Array) -> Array:
        """How much (N,) the lashes along the edge (K, 2) of a lid cover each pixel."""
        axis = upper[-1] - upper[0]
        length = max(float(np.hypot(*axis)), 1.0)
        axis = axis / length
        normal = np.array([-axis[1], axis[0]])
        u, v = (points - upper[0]) @ axis, (points - upper[0]) @ normal
        edge = np.interp(u, *_chain((upper - upper[0]) @ axis, (upper - upper[0]) @ normal))
        ends = np.clip(np.minimum(u, length - u) / (0.2 * length), 0, 1)
        return np.asarray(0.75 * ends * np.exp(-0.5 * ((v - edge) / max(0.7, 0.03 * length)) ** 2))

    def _seen(self, points: Array, skin: Array, rigid: Array, gaze: tuple[float, float], wide: float) -> Array:
        """Colours (N, 3) of the eyeball at pixels (N, 2)."""
        matrix, offset = _affine(rigid[self.loop], self.rest)
        there = points @ matrix + offset
        glance = self.glance(rigid, gaze) @ matrix
        away = np.linalg.norm(there - glance - self.iris, axis=1)
        share = np.clip((0.55 * self.width - away) / (0.55 * self.width - self.radius), 0, 1)[:, None]
        at = there - glance * share - self.corner
        clean = min(1.0, 3 * wide + 4 * float(np.hypot(*gaze)))
        colour = _bilinear(self.ball, at[:, 0], at[:, 1]) * clean
        if clean < 1:
            colour += _bilinear(self.photo, at[:, 0], at[:, 1]) * (1 - clean)
        colour *= 1 - 0.25 * clean * self._lash_shadow(points, skin)[:, None]
        return colour

    def _lash_shadow(self, points: Array, skin: Array) -> Array:
        """The shadow (N,) of the upper lid on the eyeball, 1 at its edge."""
        upper = skin[self.upper]
        order = np.argsort(upper[:, 0])
        depth = points[:, 1] - np.interp(points[:, 0], upper[order, 0], upper[order, 1])
        return np.asarray(np.clip(1 - depth / (0.12 * self.width), 0, 1))


class Mouth:
    """The dark inside of a mouth with teeth and a tongue, in tones that suit the photo."""

    def __init__(self, image: Array, landmarks: Array, gray: bool) -> None:
        self.upper, self.lower = list(UPPER_LIP[3]), list(LOWER_LIP[3])
        # points of the upper jaw and of the lower one, by which teeth keep their places
        self.fixed = [61, 291, 0, 2, 98, 327, 37, 267, 78, 308, 13]
        self.rest = landmarks[self.fixed, :2]
        left, right = landmarks[78, :2], landmarks[308, :2]
        self.half = float(np.linalg.norm(right - left)) / 2
        self.axis = (right - left) / (2 * self.half)
        self.normal = np.array([-self.axis[1], self.axis[0]], np.float32)
        self.middle = landmarks[[13, 14], :2].mean(0)
        self.gap = float(np.linalg.norm(landmarks[self.lower, :2] - landmarks[self.upper, :2], axis=1).max())
        x, y = landmarks[list(_SKIN), :2].round().astype(int).T
        skin = np.median(image[y.clip(0, image.shape[0] - 1), x.clip(0, image.shape[1] - 1)], axis=0)
        light = float(skin.mean())
        tint = np.ones((3, 3)) if gray else np.array([[1.05, 1.0, 0.9], [1.5, 0.8, 0.75], [1.35, 0.85, 0.85]])
        self.teeth, self.dark, self.tongue = (
            (tone * shade).astype(np.float32)
            for tone, shade in zip(tint, (np.clip(1.2 * light, 90, 215), 0.13 * light + 5, 0.42 * light), strict=True)
        )

    def draw(self, picture: Array, skin: Array, rigid: Array) -> None:
        """Paint what the lips (in `skin`) leave open."""
        patch = _patch(np.concatenate([skin[self.upper], skin[self.lower]]), picture.shape)
        if patch is None:
            return
        rows, columns, points = patch
        open_ = coverage(points, skin[self.upper], skin[self.lower])
        matrix, offset = _affine(rigid[self.fixed], self.rest)
        # what the photo itself shows between the lips stays until they open further
        gap = float(np.linalg.norm((skin[self.lower] - skin[self.upper]) @ matrix, axis=1).max()) - self.gap
        open_ = open_ * np.clip(gap / (0.05 * self.half), 0, 1)
        if open_.max() <= 0.02:
            return
        there = (points @ matrix + offset - self.middle) / self.half
        u, v = there @ self.axis, there @ self.normal
        jaw = ((skin[14] - rigid[14]) @ matrix / self.half) @ self.normal
        colour = self._inside(u, v, float(jaw))
        top = ((skin[self.upper] @ matrix + offset - self.middle) / self.half) @ np.stack([self.axis, self.normal], 1)
        depth = v - np.interp(u, top[:, 0], top[:, 1])
        colour *= (0.45 + 0.55 * np.clip(depth / 0.16, 0, 1))[:, None]
        target = picture[rows, columns]
        target += open_.reshape(target.shape[:2])[..., None] * (colour.reshape(target.shape) - target)

    def _inside(self, u: Array, v: Array, jaw: float) -> Array:
        """Colours (N, 3) at positions in half widths of the mouth, right and down of the middle of the seam."""
        throat = 0.5 + 0.9 * np.exp(-((u / 0.55) ** 2) - ((v - 0.75 * jaw) / 0.6) ** 2)
        colour = throat[:, None] * self.dark
        tongue = (
            _ramp((v - jaw + 0.42 - 0.5 * u * u) / 0.25) * _ramp((jaw - 0.35) / 0.35) * _ramp((0.8 - np.abs(u)) / 0.3)
        )
        colour += (0.8 * tongue)[:, None] * (self.tongue - colour)
        low = _ramp((v - jaw + 0.07 - 0.1 * u * u) / 0.06) * _ramp((0.75 - np.abs(u)) / 0.25) * _ramp((jaw - 0.1) / 0.3)
        colour += (0.8 * low)[:, None] * (0.7 * self._row(u * 1.25) - colour)
        edge = 0.24 - 0.16 * u * u
        high = _ramp((edge - v) / 0.05) * _ramp((1.02 - np.abs(u)) / 0.2)
        colour += high[:, None] * (self._row(u) - colour)
        return np.asarray(colour)

    def _row(self, u: Array) -> Array:
        """A row of teeth (N, 3): darker to the sides, faint lines between."""
        bright = 1 - 0.6 * np.abs(u) ** 1.8
        lines = sum(np.exp(-(((np.abs(u) - at) / 0.025) ** 2)) for at in (0.0, 0.32, 0.58, 0.8))
        return np.asarray((bright * (1 - 0.11 * lines))[:, None] * self.teeth)


def _ramp(x: Array | float) -> Array:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
