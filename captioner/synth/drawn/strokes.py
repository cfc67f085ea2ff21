"""The pen of the drawn face: curves in the face's own coordinates, put on a picture through the head's pose.

Coordinates: x to the viewer's right, y down, origin at the centre of the head, unit = half the head's height.
Features lie on an ellipsoid that turns with the head; the silhouette is that of the ellipsoid.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captioner.synth.identity import RGB, Face, State, mix

Points = NDArray[np.float64]
Curve = Sequence[Sequence[float]] | Points

DEPTH = 0.8  # of the head, in half heights
PIVOT_Y = 0.95  # the head tilts around its neck
DARK: RGB = (44, 18, 16)


@lru_cache(maxsize=64)
def _spline(count: int, closed: bool, steps: int = 5) -> Points:
    """Catmull-Rom weights (points, count): one product turns control points into a smooth curve."""
    rows = []
    for segment in range(count if closed else count - 1):
        for t in np.arange(steps) / steps:
            weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
            row = np.zeros(count)
            for offset, weight in enumerate(weights, start=segment - 1):
                index = offset % count if closed else min(max(offset, 0), count - 1)
                row[index] += weight / 2
            rows.append(row)
    if not closed:
        rows.append(np.eye(count)[-1])
    return np.array(rows)


def smooth_curve(points: Curve, closed: bool = False) -> Points:
    """A smooth curve through control points (n, 2)."""
    control = np.asarray(points, dtype=float)
    return np.asarray(_spline(len(control), closed) @ control)


def mirror(points: Points) -> Points:
    """The same points on the other side of the face."""
    return points * (-1.0, 1.0)


class Pen:
    """Draws local coordinates on a picture, through the pose of the head."""

    def __init__(self, image: Image.Image, face: Face, state: State) -> None:
        side = image.width
        yaw, pitch, roll = np.radians([state.yaw, state.pitch, state.roll])
        self._draw = ImageDraw.Draw(image)
        self._sin_yaw, self._cos_yaw = float(np.sin(yaw)), float(np.cos(yaw))
        self._sin_pitch, self._cos_pitch = float(np.sin(pitch)), float(np.cos(pitch))
        self._turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        self._width = face.width
        self.skin = face.skin
        self.unit = face.height * state.scale * side / 2
        self.centre = np.array([0.5 + state.x, 0.52 + state.y]) * side
        self.side = side

    def surface(self, points: Points) -> Points:
        """Pixels of points on the face, (n, 2) -> (n, 2)."""
        x, y = points[:, 0], points[:, 1]
        z = DEPTH * np.sqrt(np.clip(1 - (x / self._width) ** 2 - (y / 1.25) ** 2, 0.05, 1.0))
        high = y * self._cos_pitch + z * self._sin_pitch
        near = z * self._cos_pitch - y * self._sin_pitch
        return self._screen(x * self._cos_yaw + near * self._sin_yaw, high)

    def outline(self, points: Points) -> Points:
        """Pixels of points on the silhouette, which keeps its width while the head turns."""
        x, y = points[:, 0], points[:, 1]
        chin = np.clip(y, 0.0, None) ** 2
        return self._screen(x + 0.34 * chin * self._sin_yaw, y + 0.10 * self._sin_pitch * (1 + chin))

    def _screen(self, x: Points, y: Points) -> Points:
        flat = np.stack([x, y - PIVOT_Y], axis=1) @ self._turn
        flat[:, 1] += PIVOT_Y
        return np.asarray(flat * self.unit + self.centre)

    def fill(self, pixels: Points, colour: RGB) -> None:
        """A polygon."""
        self._draw.polygon(pixels.ravel().tolist(), fill=colour)

    def stroke(self, pixels: Points, colour: RGB, width: float) -> None:
        """A line; `width` in half head heights."""
        self._draw.line(pixels.ravel().tolist(), fill=colour, width=max(1, round(width * self.unit)))

    def patch(self, points: Points, colour: RGB, amount: float) -> None:
        """An area of skin tinted towards `colour`; nothing where `amount` is nearly zero."""
        if amount > 0.01:
            self.fill(self.surface(points), mix(self.skin, colour, amount))

    def crease(self, points: Curve, strength: float, width: float = 0.03) -> None:
        """A fold of skin on both sides of the face; nothing where `strength` is nearly zero."""
        if strength > 0.04:
            # It has to be darker still where the skin is dark.
            colour = mix(self.skin, DARK, (0.75 + 0.2 * (1 - sum(self.skin) / 700)) * strength)
            curve = smooth_curve(points)
            for side in (curve, mirror(curve)):
                self.stroke(self.surface(side), colour, width * (0.6 + 0.4 * strength))


def ellipse(x: float, y: float, rx: float, ry: float, count: int = 16) -> Points:
    """Points (count, 2) around an ellipse."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)
