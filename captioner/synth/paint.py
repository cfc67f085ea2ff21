"""draw(face, state, size): the picture of a drawn face, features placed on an ellipsoid that turns with the head.

Coordinates: x to the viewer's right, y down, origin at the centre of the head, unit = half the head's height.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captioner.synth.identity import RGB, Face, State, mix

Points = NDArray[np.float64]

SUPERSAMPLING = 2
DEPTH = 0.8  # of the head, in half heights
PIVOT_Y = 0.95  # the head tilts around its neck
DARK: RGB = (52, 26, 24)
WHITE: RGB = (248, 246, 242)
TEETH: RGB = (246, 244, 236)


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


def _smooth(points: Sequence[Sequence[float]] | Points, closed: bool = False) -> Points:
    control = np.asarray(points, dtype=float)
    return _spline(len(control), closed) @ control


def _mirror(points: Points) -> Points:
    return points * (-1.0, 1.0)


class _Pen:
    """Draws local coordinates on a picture, through the pose of the head."""

    def __init__(self, image: Image.Image, face: Face, state: State) -> None:
        side = image.width
        yaw, pitch, roll = np.radians([state.yaw, state.pitch, state.roll])
        self._draw = ImageDraw.Draw(image)
        self._sin_yaw, self._cos_yaw = float(np.sin(yaw)), float(np.cos(yaw))
        self._sin_pitch, self._cos_pitch = float(np.sin(pitch)), float(np.cos(pitch))
        self._turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        self._width = face.width
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
        return flat * self.unit + self.centre

    def fill(self, pixels: Points, colour: RGB) -> None:
        self._draw.polygon(pixels.ravel().tolist(), fill=colour)

    def stroke(self, pixels: Points, colour: RGB, width: float) -> None:
        """A line; `width` in half head heights."""
        self._draw.line(pixels.ravel().tolist(), fill=colour, width=max(1, round(width * self.unit)))

    def crease(self, points: Sequence[Sequence[float]], skin: RGB, strength: float, width: float = 0.03) -> None:
        """A fold of skin on both sides of the face; no line where `strength` is nearly zero."""
        if strength > 0.04:
            curve = _smooth(points)
            for side in (curve, _mirror(curve)):
                self.stroke(self.surface(side), mix(skin, DARK, 0.75 * strength), width * (0.6 + 0.4 * strength))


@lru_cache(maxsize=32)
def _backdrop(face: Face, side: int) -> Image.Image:
    rng = np.random.default_rng(face.texture_seed)
    ramp = np.linspace(0, 1, side)[:, None, None]
    top, bottom = (np.array(colour, dtype=float) for colour in face.backdrop)
    image = Image.fromarray(np.broadcast_to(top + (bottom - top) * ramp, (side, side, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    shade = mix(face.backdrop[0], face.backdrop[1], 0.5)
    lighter, darker = mix(shade, WHITE, 0.25), mix(shade, (20, 20, 30), 0.2)
    if face.texture == "stripes":
        step = int(side / rng.integers(6, 11))
        for x in range(0, side, 2 * step):
            draw.rectangle((x, 0, x + step, side), fill=mix(shade, lighter, 0.4))
    elif face.texture == "window":
        left = 0.02 if rng.random() < 0.5 else 0.62
        draw.rectangle((left * side, 0.08 * side, (left + 0.36) * side, 0.55 * side), fill=lighter)
        draw.line(((left + 0.18) * side, 0.08 * side, (left + 0.18) * side, 0.55 * side), fill=darker, width=4)
    elif face.texture == "blobs":
        for x, y, r in rng.uniform((0, 0, 0.04), (1, 0.9, 0.13), (9, 3)) * side:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=lighter if rng.random() < 0.5 else darker)
    return image


@lru_cache(maxsize=32)
def _light(face: Face, size: int) -> NDArray[np.float32]:
    """Gain (size, size, 1): the light comes from one side."""
    slope, level = face.light
    ramp = level * (1 + slope * np.linspace(-1, 1, size))
    return np.broadcast_to(ramp[None, :, None], (size, size, 1)).astype(np.float32)


def draw(face: Face, state: State, size: int) -> NDArray[np.uint8]:
    """The picture of `face` in `state`, uint8 (size, size, 3)."""
    image = _backdrop(face, SUPERSAMPLING * size).copy()
    pen = _Pen(image, face, state)
    au = {**dict.fromkeys(range(1, 28), 0.0), **state.aus}
    jaw = 0.03 * au[25] + 0.11 * au[26] + 0.24 * au[27] + 0.07 * state.speech - 0.03 * au[17]
    _body(pen, face)
    _head(pen, face, jaw)
    _cheeks(pen, face, au)
    _nose(pen, face, au)
    _chin(pen, face, au, jaw)
    _mouth(pen, face, au, state.speech)
    _eyes(pen, face, au, state)
    _forehead(pen, face, au)
    _brows(pen, face, au)
    _front_hair(pen, face)
    _extras(pen, face)
    picture = np.asarray(image.reduce(SUPERSAMPLING), dtype=np.float32) * _light(face, size)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _ellipse(x: float, y: float, rx: float, ry: float, count: int = 16) -> Points:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def _head_outline(face: Face, jaw: float, grow: float = 1.0) -> Points:
    angle = np.linspace(0, 2 * np.pi, 44, endpoint=False)
    y = np.sin(angle)
    low = np.clip(y, 0, None)
    cosine = np.cos(angle)
    x = face.width * np.sign(cosine) * np.abs(cosine) ** np.where(y > 0, 0.85, 0.95) * (1 - face.taper * low**2)
    return np.stack([x, y + jaw * np.clip((y - 0.1) / 0.8, 0, 1)], axis=1) * grow


def _body(pen: _Pen, face: Face) -> None:
    """Long hair behind, shoulders, neck: everything that the head covers."""
    if face.hair in ("long", "bob"):
        reach = 1.45 if face.hair == "long" else 0.85
        half = face.width * 1.32
        shape = [(-half, reach), (-half, 0.0), (-0.8 * half, -0.75), (0, -1.14), (0.8 * half, -0.75), (half, 0.0),
                 (half, reach), (0, reach + 0.05)]  # fmt: skip
        pen.fill(pen.outline(_smooth(shape, closed=True)), mix(face.hair_colour, DARK, 0.25))
    elif face.hair == "bun":
        pen.fill(pen.outline(_ellipse(0, -1.14, 0.34, 0.27)), mix(face.hair_colour, DARK, 0.2))
    x, y = pen.centre
    u, bottom = pen.unit, pen.side + 2
    shoulders = [(x - 1.7 * u, bottom), (x - 1.5 * u, y + 1.5 * u), (x - 0.5 * u, y + 1.2 * u), (x + 0.5 * u, y + 1.2 * u),
                 (x + 1.5 * u, y + 1.5 * u), (x + 1.7 * u, bottom)]  # fmt: skip
    pen.fill(np.array(shoulders), face.shirt_colour)
    neck = [(x - 0.36 * u, y + 0.5 * u), (x - 0.36 * u, y + 1.24 * u), (x, y + 1.42 * u), (x + 0.36 * u, y + 1.24 * u),
            (x + 0.36 * u, y + 0.5 * u)]  # fmt: skip
    pen.fill(np.array(neck), mix(face.skin, DARK, 0.3))


def _head(pen: _Pen, face: Face, jaw: float) -> None:
    for side in (-1, 1):
        ear = pen.outline(_ellipse(side * face.width * 1.0, 0.08, 0.11, 0.19))
        pen.fill(ear, mix(face.skin, DARK, 0.15))
    outline = _head_outline(face, jaw)
    pen.fill(pen.outline(outline), mix(face.skin, DARK, 0.16))
    lit = outline * (0.95, 0.98) + (0.03 * np.sign(face.light[0]), -0.01)
    pen.fill(pen.outline(lit), face.skin)
    if face.beard == "beard":
        inner = _smooth([(0.62, 0.35), (0.46, 0.84), (0.0, 0.97), (-0.46, 0.84), (-0.62, 0.35)]) * (face.width / 0.76, 1)
        inner[:, 1] += jaw * np.clip((inner[:, 1] - 0.1) / 0.8, 0, 1)
        lower = outline[(outline[:, 1] > 0.18)] * (1.02, 1.03)
        strap = np.concatenate([pen.outline(lower), pen.surface(inner)[::-1]])
        pen.fill(strap, mix(face.hair_colour, DARK, 0.2))


def _cheeks(pen: _Pen, face: Face, au: dict[int, float]) -> None:
    """AU 6 lifts the cheeks; AU 9, 10, 12 and 20 fold the skin between nose and mouth."""
    if au[6] > 0.05:
        for side in (-1, 1):
            apple = pen.surface(_ellipse(side * 0.40, 0.27 - 0.05 * au[6], 0.17, 0.12))
            pen.fill(apple, mix(face.skin, (232, 104, 88), 0.42 * au[6]))
        pen.crease([(0.20, 0.17), (0.36, 0.21), (0.54, 0.11)], face.skin, 0.8 * au[6])
        for dy in (-0.09, 0.0, 0.09):
            pen.crease([(0.52, 0.0 + 0.4 * dy), (0.68, 1.3 * dy)], face.skin, au[6])
    wing, mouth_y = face.nose_width + 0.05, face.mouth_y
    pen.crease([(wing, 0.36), (0.27, 0.46), (0.34, mouth_y - 0.02)], face.skin, face.fold * (1 - au[12]))
    smile, lift = au[12], max(au[10], 0.5 * au[9])
    pen.crease([(wing, 0.32), (0.34, 0.42), (0.42, 0.54), (0.41, 0.66)], face.skin, 0.9 * smile)
    pen.crease([(0.08, 0.22), (wing + 0.03, 0.31), (0.25, 0.42), (0.28, 0.56)], face.skin, lift, 0.04)
    stretch = face.mouth_width * 1.55
    for extra in (0.0, 0.09):
        x = stretch + extra
        pen.crease([(x - 0.03, mouth_y - 0.12), (x, mouth_y), (x - 0.03, mouth_y + 0.13)], face.skin, au[20] - 2 * extra)


def _nose(pen: _Pen, face: Face, au: dict[int, float]) -> None:
    wide, tip = face.nose_width * (1 + 0.25 * au[9]), face.nose_length + 0.05 - 0.04 * au[9] - 0.02 * au[10]
    shade = mix(face.skin, DARK, 0.22)
    side = 1.0 if face.light[0] < 0 else -1.0
    bridge = [(0.03 * side, 0.0), (0.10 * side, tip - 0.06), (0.02 * side, tip)]
    pen.fill(pen.surface(_smooth(bridge, closed=True)), mix(face.skin, DARK, 0.12))
    base = _smooth([(-wide, tip - 0.05), (-wide * 0.8, tip + 0.02), (0, tip + 0.05), (wide * 0.8, tip + 0.02), (wide, tip - 0.05)])
    pen.stroke(pen.surface(base), shade, 0.04)
    for x in (-0.5, 0.5):
        pen.fill(pen.surface(_ellipse(x * wide, tip + 0.015, 0.032, 0.02, 8)), mix(face.skin, DARK, 0.7))
    for row in range(3):
        y = 0.03 + 0.075 * row
        pen.crease([(0.0, y + 0.035), (0.05, y + 0.02), (0.10 + 0.012 * row, y - 0.035)], face.skin, au[9], 0.035)


def _chin(pen: _Pen, face: Face, au: dict[int, float], jaw: float) -> None:
    """AU 17 bunches the chin under an arched crease."""
    y = face.mouth_y + jaw * 0.8
    rest = 0.12 + 0.2 * face.fold
    pen.crease([(0.0, y + 0.20), (0.12, y + 0.215)], face.skin, rest * (1 - au[17]))
    if au[17] > 0.04:
        boss = pen.surface(_ellipse(0, y + 0.30, 0.17, 0.10))
        pen.fill(boss, mix(face.skin, DARK, 0.20 * au[17]))
        pen.crease([(0.0, y + 0.15), (0.12, y + 0.18), (0.21, y + 0.29)], face.skin, au[17], 0.04)
        for x, dy in ((0.035, 0.25), (0.10, 0.28), (0.05, 0.33)):
            for sign in (-1, 1):
                pen.fill(pen.surface(_ellipse(sign * x, y + dy, 0.018, 0.018, 6)), mix(face.skin, DARK, 0.6 * au[17]))


def _lip_lines(face: Face, au: dict[int, float], speech: float) -> tuple[Points, Points, float]:
    """Inner edges of the upper and lower lip, each (7, 2) from left to right, and the gap between them."""
    half = face.mouth_width * (
        1 + 0.28 * au[12] + 0.45 * au[20] - 0.46 * au[18] - 0.10 * au[26] - 0.18 * au[27] - 0.12 * speech + 0.08 * au[24]
    )
    corner = -face.mouth_curve - 0.15 * au[12] + 0.15 * au[15] + 0.03 * au[20]
    gap = 0.075 * au[25] + 0.13 * au[26] + 0.40 * au[27] + 0.13 * speech
    x = np.array([-1.0, -0.72, -0.36, 0.0, 0.36, 0.72, 1.0])
    bend = x**2  # corners carry `corner`, the centre stays
    arch = 1 - np.abs(x) ** 3
    line = face.mouth_y + corner * bend + 0.03 * au[12] * (1 - bend) - 0.07 * au[17] * arch
    square = np.clip(1.35 - np.abs(x) ** 4 * 1.35, 0, 1)
    upper = line - 0.12 * au[10] * square - 0.28 * gap * arch
    lower = line + 0.72 * gap * arch
    return np.stack([x * half, upper], axis=1), np.stack([x * half, lower], axis=1), gap


def _mouth(pen: _Pen, face: Face, au: dict[int, float], speech: float) -> None:
    upper, lower, gap = _lip_lines(face, au, speech)
    mid = np.array([0.0, 0.55, 0.95, 0.80, 0.95, 0.55, 0.0])  # cupid's bow
    full = face.fullness * max(0.12, 1 - 0.88 * au[24] - 0.35 * au[20] - 0.25 * au[12] + 0.75 * au[18])
    top = upper - np.stack([np.zeros(7), 0.068 * full * (1 - 0.25 * au[10]) * mid], axis=1)
    pout = 0.088 * full * (1 + 0.35 * au[17])
    bottom = lower + np.stack([np.zeros(7), pout * np.array([0.0, 0.6, 0.95, 1.0, 0.95, 0.6, 0.0])], axis=1)
    _around_lips(pen, face, au, upper)
    lips = np.concatenate([_smooth(top), _smooth(bottom)[::-1]])
    pen.fill(pen.surface(lips), face.lips)
    inner_top, inner_bottom = _smooth(upper), _smooth(lower)
    show = gap + 0.1 * au[10]
    if show > 0.02:
        pen.fill(pen.surface(np.concatenate([inner_top, inner_bottom[::-1]])), (58, 16, 20))
        height = np.minimum(inner_bottom[:, 1] - inner_top[:, 1], 0.075)
        teeth = np.stack([inner_top[:, 0], inner_top[:, 1] + height * (0.95 if gap < 0.05 else 0.8)], axis=1)
        pen.fill(pen.surface(np.concatenate([inner_top, teeth[::-1]])[2:-2]), TEETH)
        if gap > 0.22:
            x, y = float(lower[3, 0]), float(lower[3, 1])
            pen.fill(pen.surface(_ellipse(x, y - 0.09, 0.6 * float(lower[-1, 0]), 0.085)), (196, 84, 84))
    pen.stroke(pen.surface(inner_top), mix(face.lips, DARK, 0.85), 0.028 + 0.022 * au[24])
    if face.beard == "moustache" or face.beard == "beard":
        ridge = _smooth(upper * (1.05, 1) - (0, 0.085))
        tip = ridge + np.stack([np.zeros(len(ridge)), 0.055 * (1 - np.linspace(-1, 1, len(ridge)) ** 2) ** 0.5], axis=1)
        pen.fill(pen.surface(np.concatenate([ridge - (0, 0.035), tip[::-1]])), mix(face.hair_colour, DARK, 0.25))


def _around_lips(pen: _Pen, face: Face, au: dict[int, float], upper: Points) -> None:
    """The skin that AU 15, 18 and 24 fold next to the lips."""
    x, y = float(upper[-1, 0]), float(upper[-1, 1])
    pen.crease([(x - 0.02, y + 0.02), (x + 0.06, y + 0.09), (x + 0.05, y + 0.20)], face.skin, au[15], 0.04)
    centre = float(upper[3, 1])
    for offset in (0.05, 0.15):
        pen.crease([(offset, centre - 0.17), (offset * 0.8, centre - 0.10)], face.skin, 0.9 * au[18])
        pen.crease([(offset * 0.8, centre + 0.16), (offset * 1.1, centre + 0.22)], face.skin, 0.9 * au[18])
    if au[24] > 0.04:
        bulge = pen.surface(_ellipse(0, centre, x * 1.05, 0.115))
        pen.fill(bulge, mix(face.skin, WHITE, 0.22 * au[24]))
        pen.crease([(x + 0.04, y - 0.09), (x + 0.075, y), (x + 0.04, y + 0.09)], face.skin, au[24], 0.04)
        pen.crease([(0.0, centre + 0.125), (x * 0.7, centre + 0.10)], face.skin, 0.7 * au[24])


def _eyes(pen: _Pen, face: Face, au: dict[int, float], state: State) -> None:
    """AU 5 lifts the upper lid, AU 7 tightens both, AU 6 pushes the lower one up; a blink closes them."""
    up = face.eye_open * (1 + 0.95 * au[5] - 0.50 * au[7] - 0.22 * au[6] - 0.25 * max(0.0, state.gaze[1]))
    down = face.eye_open * (0.72 + 0.15 * au[5] - 0.62 * au[7] - 0.45 * au[6])
    closed = min(1.0, state.blink)
    up, down = up * (1 - closed) - 0.05 * closed, max(down * (1 - closed), -0.01) + 0.055 * closed
    x = np.linspace(-1, 1, 13)
    arch = np.clip(1 - np.abs(x) ** 2.4, 0, 1)
    for side in (-1, 1):
        tilt = -face.eye_tilt * x * side
        upper = np.stack([side * face.eye_gap + face.eye_size * x, tilt - up * arch], axis=1)
        lower = np.stack([side * face.eye_gap + face.eye_size * x, tilt + down * arch], axis=1)
        lash = mix(face.skin, DARK, 0.92)
        if closed < 0.75:
            pen.fill(pen.surface(np.concatenate([upper, lower[::-1]])), WHITE)
            _iris(pen, face, state, side, upper, lower)
        pen.stroke(pen.surface(lower), mix(face.skin, DARK, 0.35 + 0.3 * au[7] * (1 - closed)), 0.025)
        pen.stroke(pen.surface(upper if closed < 0.75 else lower), lash, 0.055 if face.gender == "woman" else 0.042)
        if closed < 0.75 and au[5] < 0.6:
            fold = upper[1:-1] - (0, 0.045 + 0.02 * au[7])
            pen.stroke(pen.surface(fold), mix(face.skin, DARK, 0.28), 0.02)
    pen.crease([(0.20, 0.115), (0.32, 0.10), (0.45, 0.085)], face.skin, 0.8 * au[7], 0.03)


def _iris(pen: _Pen, face: Face, state: State, side: int, upper: Points, lower: Points) -> None:
    x = side * face.eye_gap + 0.085 * state.gaze[0]
    y = -0.012 + 0.055 * state.gaze[1]
    for radius, colour in ((0.078, face.iris), (0.040, (16, 12, 14))):
        disc = _ellipse(x, y, radius, radius)
        # Lids hide what lies beyond them.
        disc[:, 1] = np.clip(disc[:, 1], np.interp(disc[:, 0], upper[:, 0], upper[:, 1]),
                             np.interp(disc[:, 0], lower[:, 0], lower[:, 1]))  # fmt: skip
        disc[:, 0] = np.clip(disc[:, 0], upper[0, 0], upper[-1, 0])
        pen.fill(pen.surface(disc), colour)
    if upper[6, 1] < y - 0.03:
        pen.fill(pen.surface(_ellipse(x - 0.022, y - 0.022, 0.018, 0.018, 6)), (255, 255, 255))


def _forehead(pen: _Pen, face: Face, au: dict[int, float]) -> None:
    """Lines of AU 1 and 2 across the forehead, of AU 4 between the brows."""
    for row in range(2):
        y = face.brow_y - 0.22 - 0.085 * row
        pen.crease([(0.0, y - 0.015), (0.12, y - 0.02), (0.20, y + 0.01)], face.skin, 0.62 * au[1], 0.026)
        pen.crease([(0.26, y + 0.01), (0.38, y - 0.02), (0.50, y + 0.05)], face.skin, 0.62 * au[2], 0.026)
    if au[4] > 0.04:
        patch = pen.surface(_ellipse(0, face.brow_y + 0.08, 0.10, 0.14))
        pen.fill(patch, mix(face.skin, DARK, 0.20 * au[4]))
        y = face.brow_y + 0.08
        pen.crease([(0.06, y - 0.13), (0.045, y), (0.065, y + 0.12)], face.skin, au[4], 0.042)


def _brows(pen: _Pen, face: Face, au: dict[int, float]) -> None:
    gap = face.eye_gap
    inner, outer = 0.19 * au[1], 0.19 * au[2]
    low = 0.13 * au[4] * (1 - 0.6 * au[1])
    x = np.array([gap - 0.20 - 0.055 * au[4], gap - 0.10 - 0.03 * au[4], gap + 0.05, gap + 0.15, gap + 0.24])
    rest = np.array([0.01 + face.brow_tilt, -0.015 + face.brow_tilt / 2, -0.035, -0.02 - face.brow_tilt / 2, 0.035 - face.brow_tilt])
    lift = inner * np.array([1.0, 0.75, 0.22, 0.0, -0.05]) + outer * np.array([0.0, 0.25, 0.85, 1.0, 0.95])
    drop = low * np.array([1.25, 1.05, 0.7, 0.45, 0.25]) + 0.05 * au[9] * np.array([1.0, 0.7, 0.3, 0.0, 0.0]) - 0.03 * au[5]
    y = face.brow_y + rest - lift + drop
    centre = _smooth(np.stack([x, y], axis=1))
    taper = face.brow_thick / 2 * np.linspace(1.1, 0.35, len(centre))[:, None] * (0.0, 1.0)
    strip = np.concatenate([centre - taper, (centre + taper)[::-1]])
    for side in (strip, _mirror(strip)):
        pen.fill(pen.surface(side), face.brow_colour)


def _front_hair(pen: _Pen, face: Face) -> None:
    if face.hair == "bald":
        return
    half = face.width * 1.06
    high = {"quiff": 1.20, "short": 1.10}.get(face.hair, 1.12)
    dome = [(-half, 0.02), (-half, -0.40), (-0.78 * half, -0.84), (-0.35 * half, -high + 0.03), (0, -high),
            (0.35 * half, -high + 0.03), (0.78 * half, -0.84), (half, -0.40), (half, 0.02)]  # fmt: skip
    parting = {"long": -0.18, "bob": 0.16, "bun": 0.0, "quiff": 0.2, "short": 0.0}[face.hair]
    w = face.width
    line = [(0.985 * w, 0.0), (0.93 * w, -0.30), (0.72 * w, -0.58), (0.40 * w, -0.69), (parting, -0.74),
            (-0.40 * w, -0.69), (-0.72 * w, -0.58), (-0.93 * w, -0.30), (-0.985 * w, 0.0)]  # fmt: skip
    cap = np.concatenate([pen.outline(_smooth(dome)), pen.surface(_smooth(line))])
    pen.fill(cap, face.hair_colour)
    if face.hair in ("long", "bob", "quiff"):
        strand = _smooth([(parting, -0.76), (parting * 0.4 + 0.1, -0.93), (0.30, -1.0)])
        pen.stroke(pen.outline(strand), mix(face.hair_colour, WHITE, 0.25), 0.03)
    if face.hair in ("long", "bob"):
        reach = 1.0 if face.hair == "long" else 0.62
        lock = _smooth([(w * 1.10, -0.35), (w * 1.24, 0.1), (w * 1.16, reach), (w * 0.96, reach * 0.95), (w * 0.99, 0.1), (w * 0.93, -0.3)], closed=True)
        for side in (lock, _mirror(lock)):
            pen.fill(pen.outline(side), mix(face.hair_colour, DARK, 0.08))


def _extras(pen: _Pen, face: Face) -> None:
    if face.glasses:
        colour: RGB = (38, 34, 40)
        for side in (-1, 1):
            rim = _ellipse(side * face.eye_gap, 0.02, 0.245, 0.205, 20)
            pixels = pen.surface(np.concatenate([rim, rim[:1]]))
            pen.stroke(pixels, colour, 0.03)
            arm = np.array([(side * (face.eye_gap + 0.24), -0.02), (side * face.width * 0.97, -0.04)])
            pen.stroke(pen.surface(arm), colour, 0.03)
        pen.stroke(pen.surface(np.array([(-0.08, 0.0), (0.0, -0.02), (0.08, 0.0)])), colour, 0.03)
    if face.earrings:
        for side in (-1, 1):
            pen.fill(pen.outline(_ellipse(side * face.width * 1.02, 0.33, 0.05, 0.05, 8)), (236, 198, 70))
