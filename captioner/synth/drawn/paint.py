"""draw_face(face, state, size): the picture of a drawn face, one function a part of it, from back to front."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captioner.synth.drawn.strokes import DARK, Pen, Points, ellipse, mirror, smooth_curve
from captioner.synth.identity import RGB, Face, State, mix

SUPERSAMPLING = 2
WHITE: RGB = (248, 246, 242)
BLUSH: RGB = (236, 84, 72)
TEETH: RGB = (246, 244, 236)
TONGUE: RGB = (196, 84, 84)
THROAT: RGB = (58, 16, 20)
PUPIL: RGB = (16, 12, 14)
RIM: RGB = (38, 34, 40)
GOLD: RGB = (236, 198, 70)
HAIRLINE = -0.8  # a face reaches from here to its chin at 1

Intensities = dict[int, float]  # of every AU up to 27


def draw_face(face: Face, state: State, size: int) -> NDArray[np.uint8]:
    """The picture of `face` in `state`, uint8 (size, size, 3)."""
    image = _backdrop(face, SUPERSAMPLING * size).copy()
    paint(Pen(image, face, state), face, state)
    picture = np.asarray(image.reduce(SUPERSAMPLING), dtype=np.float32) * _light(face, size)
    return np.asarray(np.clip(picture + 0.5, 0, 255), np.uint8)


def paint(pen: Pen, face: Face, state: State) -> Points:
    """Put the whole person on the pen's picture; returns pixels (n, 2) of the face's outline and features."""
    au: Intensities = {**dict.fromkeys(range(1, 28), 0.0), **state.aus}
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
    outline = _head_outline(face, jaw)
    features = [(-face.eye_gap, 0), (face.eye_gap, 0), (0, face.nose_length), (0, face.mouth_y)]
    return np.concatenate([pen.outline(outline[outline[:, 1] > HAIRLINE]), pen.surface(np.array(features))])


@lru_cache(maxsize=32)
def _backdrop(face: Face, side: int) -> Image.Image:
    rng = np.random.default_rng(face.texture_seed)
    ramp = np.linspace(0, 1, side)[:, None, None]
    top, bottom = (np.array(colour, dtype=float) for colour in face.backdrop)
    image = Image.fromarray(np.broadcast_to(top + (bottom - top) * ramp, (side, side, 3)).astype(np.uint8))
    canvas = ImageDraw.Draw(image)
    shade = mix(face.backdrop[0], face.backdrop[1], 0.5)
    lighter, darker = mix(shade, WHITE, 0.25), mix(shade, (20, 20, 30), 0.2)
    if face.texture == "stripes":
        step = int(side / rng.integers(6, 11))
        for x in range(0, side, 2 * step):
            canvas.rectangle((x, 0, x + step, side), fill=mix(shade, lighter, 0.4))
    elif face.texture == "window":
        left, top_edge, sill = (0.02 if rng.random() < 0.5 else 0.62) * side, 0.08 * side, 0.55 * side
        canvas.rectangle((left, top_edge, left + 0.36 * side, sill), fill=lighter)
        canvas.line((left + 0.18 * side, top_edge, left + 0.18 * side, sill), fill=darker, width=4)
    elif face.texture == "blobs":
        for x, y, r in rng.uniform((0, 0, 0.04), (1, 0.9, 0.13), (9, 3)) * side:
            canvas.ellipse((x - r, y - r, x + r, y + r), fill=lighter if rng.random() < 0.5 else darker)
    return image


@lru_cache(maxsize=32)
def _light(face: Face, size: int) -> NDArray[np.float32]:
    """Gain (1, size, 1): the light comes from one side."""
    slope, level = face.light
    return (level * (1 + slope * np.linspace(-1, 1, size)))[None, :, None].astype(np.float32)


def _body(pen: Pen, face: Face) -> None:
    """Long hair behind, shoulders, neck: everything that the head covers."""
    if face.hair in ("long", "bob"):
        reach = 1.45 if face.hair == "long" else 0.85
        half = face.width * 1.32
        shape = [(-half, reach), (-half, 0.0), (-0.8 * half, -0.75), (0, -1.14), (0.8 * half, -0.75),
                 (half, 0.0), (half, reach), (0, reach + 0.05)]  # fmt: skip
        pen.fill(pen.outline(smooth_curve(shape, closed=True)), mix(face.hair_colour, DARK, 0.25))
    elif face.hair == "bun":
        pen.fill(pen.outline(ellipse(0, -1.14, 0.34, 0.27)), mix(face.hair_colour, DARK, 0.2))
    # Shoulders reach to the lower edge of the picture, whatever the scale; neither they nor the neck turn.
    edge = (pen.side - pen.centre[1]) / pen.unit + 0.05
    shoulders = [(-1.7, edge), (-1.5, 1.5), (-0.5, 1.2), (0.5, 1.2), (1.5, 1.5), (1.7, edge)]
    neck = [(-0.36, 0.5), (-0.36, 1.24), (0, 1.42), (0.36, 1.24), (0.36, 0.5)]
    pen.fill(np.array(shoulders) * pen.unit + pen.centre, face.shirt_colour)
    pen.fill(np.array(neck) * pen.unit + pen.centre, mix(face.skin, DARK, 0.3))


def _head_outline(face: Face, jaw: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 44, endpoint=False)
    x, y = np.cos(angle), np.sin(angle)
    x = np.sign(x) * np.abs(x) ** np.where(y > 0, 0.85, 0.95) * (1 - face.taper * np.clip(y, 0, None) ** 2)
    return np.stack([x * face.width, y + _jaw_shift(y, jaw)], axis=1)


def _jaw_shift(y: Points, jaw: float) -> Points:
    """How far a dropped jaw carries a point: nothing above the mouth, all of it at the chin."""
    return jaw * np.clip((y - 0.1) / 0.8, 0, 1)


def _head(pen: Pen, face: Face, jaw: float) -> None:
    for side in (-1, 1):
        pen.fill(pen.outline(ellipse(side * face.width, 0.08, 0.11, 0.19)), mix(face.skin, DARK, 0.15))
    outline = _head_outline(face, jaw)
    pen.fill(pen.outline(outline), mix(face.skin, DARK, 0.16))
    lit = outline * (0.95, 0.98) + (0.03 * np.sign(face.light[0]), -0.01)
    pen.fill(pen.outline(lit), face.skin)
    if face.beard == "beard":
        inner = smooth_curve([(0.62, 0.35), (0.46, 0.84), (0.0, 0.97), (-0.46, 0.84), (-0.62, 0.35)])
        inner = np.stack([inner[:, 0] * face.width / 0.76, inner[:, 1] + _jaw_shift(inner[:, 1], jaw)], axis=1)
        lower = outline[outline[:, 1] > 0.18] * (1.02, 1.03)
        strap = np.concatenate([pen.outline(lower), pen.surface(inner)[::-1]])
        pen.fill(strap, mix(face.hair_colour, DARK, 0.2))


def _cheeks(pen: Pen, face: Face, au: Intensities) -> None:
    """AU 6 lifts the cheeks; AU 9, 10, 12 and 20 fold the skin between nose and mouth."""
    for side in (-1, 1):
        pen.patch(ellipse(side * 0.42, 0.31 - 0.05 * au[6], 0.19, 0.135), BLUSH, 0.5 * au[6])
    pen.crease([(0.20, 0.19), (0.38, 0.24), (0.58, 0.12)], au[6], 0.04)
    for dy in (-0.09, 0.0, 0.09):
        pen.crease([(0.58, 0.4 * dy), (0.74, 1.5 * dy)], au[6], 0.035)
    wing, y = face.nose_width + 0.05, face.mouth_y
    sneer = max(au[10], 0.5 * au[9])
    pen.crease([(wing, 0.36), (0.27, 0.46), (0.34, y - 0.02)], face.fold * (1 - au[12]))
    pen.crease([(wing, 0.32), (0.37, 0.40), (0.47, 0.53), (0.46, 0.66)], 0.9 * au[12])
    pen.crease([(0.08, 0.22), (wing + 0.03, 0.31), (0.29, 0.42), (0.33, 0.57)], sneer, 0.04)
    for extra in (0.0, 0.09):
        x = face.mouth_width * (1.08 + 0.58 * au[20]) + extra
        pen.crease([(x - 0.03, y - 0.12), (x, y), (x - 0.03, y + 0.13)], au[20] * (1 - 2 * extra), 0.04)


def _nose(pen: Pen, face: Face, au: Intensities) -> None:
    """AU 9 wrinkles the bridge and widens the wings."""
    wide = face.nose_width * (1 + 0.32 * au[9])
    tip = face.nose_length + 0.05 - 0.04 * au[9] - 0.02 * au[10]
    side = 1.0 if face.light[0] < 0 else -1.0  # away from the light
    bridge = smooth_curve([(0.03 * side, 0.0), (0.10 * side, tip - 0.06), (0.02 * side, tip)], closed=True)
    pen.patch(bridge, DARK, 0.12)
    pen.patch(ellipse(0, 0.12, 0.115, 0.15), DARK, 0.24 * au[9])
    x, y = np.array([-1.0, -0.8, 0.0, 0.8, 1.0]) * wide, np.array([-0.05, 0.02, 0.05, 0.02, -0.05]) + tip
    pen.stroke(pen.surface(smooth_curve(np.stack([x, y], axis=1))), mix(face.skin, DARK, 0.22), 0.04)
    for nostril in (-0.5, 0.5):
        pen.patch(ellipse(nostril * wide, tip + 0.015, 0.032, 0.02, 8), DARK, 0.7)
    for row in (0.04, 0.125, 0.21):
        pen.crease([(0.0, row + 0.045), (0.09, row + 0.02), (0.165, row - 0.06)], au[9], 0.045)


def _chin(pen: Pen, face: Face, au: Intensities, jaw: float) -> None:
    """AU 17 bunches the chin under an arched crease."""
    y = face.mouth_y + jaw * 0.8
    pen.crease([(0.0, y + 0.20), (0.12, y + 0.215)], (0.12 + 0.2 * face.fold) * (1 - au[17]))
    pen.patch(ellipse(0, y + 0.30, 0.17, 0.10), DARK, 0.2 * au[17])
    pen.crease([(0.0, y + 0.15), (0.12, y + 0.18), (0.21, y + 0.29)], au[17], 0.04)
    for x, dy in ((0.035, 0.25), (0.10, 0.28), (0.05, 0.33)):
        for side in (-1, 1):
            pen.patch(ellipse(side * x, y + dy, 0.018, 0.018, 6), DARK, 0.6 * au[17])


# Stations along the lips, from the left corner to the right one, and how the lips swell there.
_ALONG = np.array([-1.0, -0.72, -0.36, 0.0, 0.36, 0.72, 1.0])
_BOW = np.array([0.0, 0.55, 0.95, 0.80, 0.95, 0.55, 0.0])  # cupid's
_POUT = np.array([0.0, 0.60, 0.95, 1.00, 0.95, 0.60, 0.0])


def _lip_lines(face: Face, au: Intensities, speech: float) -> tuple[Points, Points, float]:
    """Inner edges of the upper and lower lip, each (7, 2), and the gap between them."""
    wider = 0.28 * au[12] + 0.58 * au[20] + 0.14 * au[24]
    narrower = 0.62 * au[18] + 0.10 * au[26] + 0.18 * au[27] + 0.12 * speech
    corner = 0.17 * au[15] - 0.18 * au[12] + 0.03 * au[20] - face.mouth_curve * (1 - au[24])
    gap = 0.075 * au[25] + 0.13 * au[26] + 0.40 * au[27] + 0.13 * speech
    bend = _ALONG**2  # 1 at the corners, 0 in the middle
    arch = 1 - np.abs(_ALONG) ** 3
    square = np.clip(1.35 - 1.35 * _ALONG**4, 0, 1)
    line = face.mouth_y + corner * bend + 0.05 * au[12] * (1 - bend) - 0.07 * au[17] * arch
    x = face.mouth_width * (1 + wider - narrower) * _ALONG
    upper = np.stack([x, line - 0.12 * au[10] * square - 0.28 * gap * arch], axis=1)
    return upper, np.stack([x, line + 0.72 * gap * arch], axis=1), gap


def _lower_by(points: Points, amount: NDArray[np.float64]) -> Points:
    return np.stack([points[:, 0], points[:, 1] + amount], axis=1)


def _mouth(pen: Pen, face: Face, au: Intensities, speech: float) -> None:
    upper, lower, gap = _lip_lines(face, au, speech)
    full = face.fullness * max(0.12, 1 - au[24] - 0.35 * au[20] - 0.25 * au[12] + 1.05 * au[18])
    top = _lower_by(upper, -0.068 * full * (1 - 0.25 * au[10]) * _BOW)
    bottom = _lower_by(lower, 0.088 * full * (1 + 0.35 * au[17]) * _POUT)
    _around_lips(pen, au, upper)
    pen.fill(pen.surface(np.concatenate([smooth_curve(top), smooth_curve(bottom)[::-1]])), face.lips)
    edge_top, edge_bottom = smooth_curve(upper), smooth_curve(lower)
    if gap + 0.1 * au[10] > 0.02:
        pen.fill(pen.surface(np.concatenate([edge_top, edge_bottom[::-1]])), THROAT)
        height = np.minimum(edge_bottom[:, 1] - edge_top[:, 1], 0.075) * (0.95 if gap < 0.05 else 0.8)
        teeth = np.concatenate([edge_top, _lower_by(edge_top, height)[::-1]])[2:-2]
        pen.fill(pen.surface(teeth), TEETH)
    if gap > 0.22:
        pen.fill(pen.surface(ellipse(0, lower[3, 1] - 0.09, 0.6 * lower[-1, 0], 0.085)), TONGUE)
    pen.stroke(pen.surface(edge_top), mix(face.lips, DARK, 0.85), 0.03 + 0.045 * au[24])
    if face.beard != "none":
        ridge = smooth_curve(upper * (0.85, 1) - (0, 0.085))
        thick = 0.045 * np.sqrt(1 - np.linspace(-1, 1, len(ridge)) ** 2)
        moustache = np.concatenate([ridge - (0, 0.02), _lower_by(ridge, thick)[::-1]])
        pen.fill(pen.surface(moustache), mix(face.hair_colour, DARK, 0.25))


def _around_lips(pen: Pen, au: Intensities, upper: Points) -> None:
    """The skin that AU 15, 18 and 24 fold next to the lips."""
    (x, y), middle = upper[-1].tolist(), float(upper[3, 1])
    pen.crease([(x - 0.02, y + 0.02), (x + 0.06, y + 0.09), (x + 0.05, y + 0.20)], au[15], 0.04)
    for near in (0.05, 0.15):
        pen.crease([(near, middle - 0.18), (near * 0.8, middle - 0.11)], au[18], 0.04)
        pen.crease([(near * 0.8, middle + 0.18), (near * 1.1, middle + 0.26)], au[18], 0.04)
    pen.patch(ellipse(0, middle, 1.05 * x, 0.12), WHITE, 0.14 * au[24])
    pen.crease([(0.0, middle + 0.13), (x * 0.75, middle + 0.10)], au[24], 0.035)
    pen.crease([(x - 0.01, y - 0.07), (x + 0.025, y), (x - 0.01, y + 0.07)], au[24], 0.05)


def _eyes(pen: Pen, face: Face, au: Intensities, state: State) -> None:
    """AU 5 lifts the upper lid, AU 7 tightens both, AU 6 pushes the lower one up; a blink closes them."""
    up = face.eye_open * (1 + 0.95 * au[5] - 0.62 * au[7] - 0.25 * au[6] - 0.3 * max(0.0, state.gaze[1]))
    down = face.eye_open * (0.72 + 0.15 * au[5] - 0.70 * au[7] - 0.50 * au[6])
    shut = min(1.0, state.blink)
    up, down = up * (1 - shut) - 0.05 * shut, max(down * (1 - shut), -0.01) + 0.055 * shut
    along = np.linspace(-1, 1, 13)
    arch = np.clip(1 - np.abs(along) ** 2.4, 0, 1)
    lash = 0.055 if face.gender == "woman" else 0.042
    for side in (-1, 1):
        lids = np.stack([side * face.eye_gap + face.eye_size * along, -face.eye_tilt * along * side], axis=1)
        upper, lower = _lower_by(lids, -up * arch), _lower_by(lids, down * arch)
        if shut < 0.75:
            pen.fill(pen.surface(np.concatenate([upper, lower[::-1]])), WHITE)
            _iris(pen, face, state, side, upper, lower)
        pen.stroke(pen.surface(lower), mix(face.skin, DARK, 0.35 + 0.3 * au[7] * (1 - shut)), 0.025)
        pen.stroke(pen.surface(upper if shut < 0.75 else lower), mix(face.skin, DARK, 0.92), lash)
        if shut < 0.75 and au[5] < 0.6:
            fold = upper[1:-1] - (0, 0.045 + 0.02 * au[7])
            pen.stroke(pen.surface(fold), mix(face.skin, DARK, 0.28), 0.02)
    pen.crease([(0.20, 0.13), (0.34, 0.125), (0.49, 0.095)], au[7], 0.035)


def _iris(pen: Pen, face: Face, state: State, side: int, upper: Points, lower: Points) -> None:
    x, y = side * face.eye_gap + 0.105 * state.gaze[0], 0.06 * state.gaze[1] - 0.012
    for radius, colour in ((0.088, face.iris), (0.045, PUPIL)):
        disc = ellipse(x, y, radius, radius)
        # Lids hide what lies beyond them.
        highest = np.interp(disc[:, 0], upper[:, 0], upper[:, 1])
        lowest = np.interp(disc[:, 0], lower[:, 0], lower[:, 1])
        disc[:, 1] = np.minimum(np.maximum(disc[:, 1], highest), lowest)
        disc[:, 0] = np.clip(disc[:, 0], upper[0, 0], upper[-1, 0])
        pen.fill(pen.surface(disc), colour)
    if upper[6, 1] < y - 0.03:
        pen.fill(pen.surface(ellipse(x - 0.022, y - 0.022, 0.018, 0.018, 6)), WHITE)


def _forehead(pen: Pen, face: Face, au: Intensities) -> None:
    """Lines of AU 1 and 2 across the forehead, of AU 4 between the brows."""
    for y in (face.brow_y - 0.27, face.brow_y - 0.345):
        pen.crease([(0.0, y - 0.015), (0.12, y - 0.02), (0.20, y + 0.01)], 0.62 * au[1], 0.026)
        pen.crease([(0.26, y + 0.01), (0.38, y - 0.02), (0.50, y + 0.05)], 0.62 * au[2], 0.026)
    y = face.brow_y + 0.08
    pen.patch(ellipse(0, y, 0.10, 0.14), DARK, 0.2 * au[4])
    pen.crease([(0.06, y - 0.13), (0.045, y), (0.065, y + 0.12)], au[4], 0.042)


# The five stations of a brow, from its inner end to its outer one, and what moves them.
_BROW_X = np.array([-0.23, -0.11, 0.05, 0.16, 0.26])
_BROW_REST = np.array([0.01, -0.015, -0.035, -0.02, 0.035])
_BROW_TILT = np.array([1.0, 0.5, 0.0, -0.5, -1.0])
_INNER_RAISE = 0.21 * np.array([1.0, 0.75, 0.22, 0.0, -0.05])  # AU 1
_OUTER_RAISE = 0.21 * np.array([0.0, 0.25, 0.85, 1.0, 0.95])  # AU 2
_LOWERING = 0.14 * np.array([1.25, 1.05, 0.7, 0.45, 0.25])  # AU 4
_SQUEEZE = np.array([0.05, 0.03, 0.0, 0.0, 0.0])  # AU 4, towards each other
_NOSE_PULL = 0.05 * np.array([1.0, 0.7, 0.3, 0.0, 0.0])  # AU 9


def _brows(pen: Pen, face: Face, au: Intensities) -> None:
    lift = au[1] * _INNER_RAISE + au[2] * _OUTER_RAISE + 0.03 * au[5]
    drop = au[4] * (1 - 0.6 * au[1]) * _LOWERING + au[9] * _NOSE_PULL
    y = face.brow_y + _BROW_REST + face.brow_tilt * _BROW_TILT - lift + drop
    centre = smooth_curve(np.stack([face.eye_gap + _BROW_X - au[4] * _SQUEEZE, y], axis=1))
    half = face.brow_thick / 2 * np.linspace(1.1, 0.35, len(centre))
    strip = np.concatenate([_lower_by(centre, -half), _lower_by(centre, half)[::-1]])
    for side in (strip, mirror(strip)):
        pen.fill(pen.surface(side), face.brow_colour)


def _front_hair(pen: Pen, face: Face) -> None:
    if face.hair == "bald":
        return
    half, w = face.width * 1.06, face.width
    high = {"quiff": 1.20, "short": 1.10}.get(face.hair, 1.12)
    dome = [(-half, 0.02), (-half, -0.40), (-0.78 * half, -0.84), (-0.35 * half, 0.03 - high), (0, -high),
            (0.35 * half, 0.03 - high), (0.78 * half, -0.84), (half, -0.40), (half, 0.02)]  # fmt: skip
    parting = {"long": -0.18, "bob": 0.16, "quiff": 0.2}.get(face.hair, 0.0)
    line = [(0.985 * w, 0.0), (0.93 * w, -0.30), (0.74 * w, -0.62), (0.40 * w, -0.74), (parting, -0.79),
            (-0.40 * w, -0.74), (-0.74 * w, -0.62), (-0.93 * w, -0.30), (-0.985 * w, 0.0)]  # fmt: skip
    cap = np.concatenate([pen.outline(smooth_curve(dome)), pen.surface(smooth_curve(line))])
    pen.fill(cap, face.hair_colour)
    if parting:
        strand = smooth_curve([(parting, -0.81), (parting * 0.5, -0.95), (-0.4 * parting, -1.04)])
        pen.stroke(pen.outline(strand), mix(face.hair_colour, WHITE, 0.2), 0.025)
    if face.hair in ("long", "bob"):
        reach = 1.0 if face.hair == "long" else 0.62
        lock = [(1.10 * w, -0.35), (1.24 * w, 0.1), (1.16 * w, reach), (0.96 * w, 0.95 * reach),
                (0.99 * w, 0.1), (0.93 * w, -0.3)]  # fmt: skip
        curve = smooth_curve(lock, closed=True)
        for side in (curve, mirror(curve)):
            pen.fill(pen.outline(side), mix(face.hair_colour, DARK, 0.08))


def _extras(pen: Pen, face: Face) -> None:
    for side in (-1, 1):
        if face.glasses:
            rim = ellipse(side * face.eye_gap, 0.02, 0.265, 0.22, 20)
            arm = np.array([(side * (face.eye_gap + 0.26), -0.02), (side * face.width * 0.97, -0.04)])
            pen.stroke(pen.surface(np.concatenate([rim, rim[:1]])), RIM, 0.03)
            pen.stroke(pen.surface(arm), RIM, 0.03)
        if face.earrings:
            pen.fill(pen.outline(ellipse(side * face.width * 1.02, 0.33, 0.05, 0.05, 8)), GOLD)
    if face.glasses:
        pen.stroke(pen.surface(np.array([(-0.08, 0.0), (0.0, -0.02), (0.08, 0.0)])), RIM, 0.03)
