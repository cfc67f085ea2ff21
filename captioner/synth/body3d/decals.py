"""Brows, wrinkles, lips and beard as layers painted on the face at rest: they move with its mesh.

Coordinates are metres of the body at rest, x to its left and z up; the skins have hardly any brows and no wrinkles.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

LEFT, WIDTH, BOTTOM, HEIGHT = -0.1, 0.2, 0.53, 0.24  # of the painted region
SIDE = 256
BROWS = 8  # kinds of brows: the first layers
WRINKLES = 10  # the next: what `scene.wrinkles` weighs
LIPS, BEARD = BROWS + WRINKLES, BROWS + WRINKLES + 1
EYES, MOUTH, NOSE = 0.6475, 0.5815, 0.6065  # heights
_FINE = 4  # strokes are drawn larger and averaged
Layer = NDArray[np.floating]
Points = Sequence[tuple[float, float]]
Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def decals() -> Layer:
    """All layers (BROWS + WRINKLES + 2, SIDE, SIDE) in 0..1."""
    return np.clip(np.stack([*_brows(), *_wrinkles(), *_lips_and_beard()]), 0, 1).astype(np.float32)


def brow_height(x: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Height of a brow at these places."""
    return 0.6615 + 0.0035 * np.sin(np.clip((np.asarray(x) - 0.010) / 0.042, 0, 1) * 2.2)


def _stroke(points: Points, widths: Sequence[float] | float, blur: float = 1.2) -> Layer:
    image = Image.new("L", (SIDE * _FINE, SIDE * _FINE))
    pen, scale = ImageDraw.Draw(image), SIDE * _FINE
    places = [((x - LEFT) / WIDTH * scale, (z - BOTTOM) / HEIGHT * scale) for x, z in points]
    radii = np.broadcast_to(widths, (len(points),)) / HEIGHT * scale / 2
    for first, second, start, end in zip(places, places[1:], radii, radii[1:], strict=False):
        for part in np.linspace(0, 1, 24):
            x, y = (a + (b - a) * part for a, b in zip(first, second, strict=True))
            r = start + (end - start) * part
            pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(small, np.float32) / 255


def _both(points: Points, widths: Sequence[float] | float, blur: float = 1.2) -> Layer:
    """The stroke on both sides of the face."""
    return np.maximum(_stroke(points, widths, blur), _stroke([(-x, z) for x, z in points], widths, blur))


def _curve(start: float, end: float, height: Curve) -> Points:
    places = np.linspace(start, end, 9)
    return list(zip(places.tolist(), height(places).tolist(), strict=True))


def _brows() -> list[Layer]:
    rng, taper = np.random.default_rng(5), np.array([0.75, 1, 1.05, 1, 0.95, 0.85, 0.7, 0.5, 0.25])
    layers = []
    for _ in range(BROWS):
        thick, arch, lift = rng.uniform(0.0035, 0.0085), rng.uniform(-0.001, 0.0035), rng.uniform(-0.0015, 0.002)
        places = np.linspace(rng.uniform(0.010, 0.015), rng.uniform(0.046, 0.053), 9)
        bow = np.sin(np.pi * np.clip(np.linspace(-0.1, 1, 9), 0, 1))
        points = list(zip(places.tolist(), (brow_height(places) + lift + arch * bow).tolist(), strict=True))
        layers.append(_both(points, (thick * taper).tolist(), 0.9))
    return layers


def _wrinkles() -> list[Layer]:
    """Forehead of AU1 and AU2, glabella of AU4, bridge of AU9, cheeks, AU6, AU17, AU15, AU14, AU7."""
    z, m = float(brow_height(0.012)), MOUTH
    middle = [_both(_curve(0, 0.03, _ripple(z + 0.012 + 0.009 * k)), 0.0016) for k in range(4)]
    outer = [_both(_curve(0.02, 0.052, _arch(z + 0.016 + 0.009 * k)), 0.0016) for k in range(4)]
    knit = _both([(0.006, z - 0.007), (0.0065, z), (0.0085, z + 0.010)], [0.0015, 0.0026, 0.0012])
    knit = knit + 0.6 * _both([(0.0125, z - 0.004), (0.0135, z + 0.008)], 0.0018)
    knit = knit + 0.35 * _both(
        [(0.012, z - 0.008), (0.03, z - 0.011), (0.048, z - 0.009)], 0.005, 3
    )  # shade below brows
    bridge = sum(
        (_stroke([(-0.009, z - 0.016 - 0.006 * k), (0, z - 0.0135 - 0.006 * k), (0.009, z - 0.016 - 0.006 * k)], 0.0016)
         for k in range(3)), 0.7 * _both([(0.009, z - 0.022), (0.015, z - 0.038)], 0.0018),
    )  # fmt: skip
    cheeks = _both(
        [(0.0165, NOSE + 0.006), (0.024, NOSE - 0.004), (0.0295, m + 0.004), (0.031, m - 0.008)],
        [0.0012, 0.0026, 0.0026, 0.0012], 1.4,
    )  # fmt: skip
    crow = sum(
        (_both([(0.0515, EYES - 0.001 + 0.003 * k), (0.061, EYES - 0.003 + 0.008 * k)], [0.0018, 0.001])
         for k in (-1, 0, 1)),
        0.6 * _both([(0.018, EYES - 0.012), (0.03, EYES - 0.0165), (0.044, EYES - 0.012)], 0.002, 1.6),
    )  # fmt: skip
    corner = _both([(0.0265, m - 0.002), (0.0295, m - 0.012), (0.0305, m - 0.020)], [0.0024, 0.002, 0.001], 1.3)
    dimple = _both([(0.0315, m + 0.006), (0.0325, m), (0.0315, m - 0.005)], [0.001, 0.0028, 0.001])
    lid = _both([(0.016, EYES - 0.0085), (0.03, EYES - 0.0115), (0.044, EYES - 0.0085)], 0.0018)
    return [sum(middle), sum(outer), knit, bridge, cheeks, crow, _chin(m), corner, dimple, lid]  # type: ignore[list-item]


def _ripple(height: float) -> Curve:
    return lambda x: height + 0.002 * np.sin(x * 60)


def _arch(height: float) -> Curve:
    return lambda x: height - 0.004 * ((x - 0.035) / 0.02) ** 2


def _chin(mouth: float) -> Layer:
    """The pitted boss of AU17."""
    grain = (np.random.default_rng(2).uniform(size=(40, 40)) * 255).astype(np.uint8)
    pits = np.asarray(Image.fromarray(grain).resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) / 255 - 0.5
    fold = 0.8 * _stroke([(-0.012, mouth - 0.0235), (0, mouth - 0.019), (0.012, mouth - 0.0235)], 0.003, 2)
    return fold + 1.6 * np.abs(pits) * _stroke([(-0.009, mouth - 0.029), (0.009, mouth - 0.029)], 0.016, 4)


def _lips_and_beard() -> list[Layer]:
    m = MOUTH
    lips = _stroke(
        [(-0.021, m), (-0.01, m + 0.001), (0, m), (0.01, m + 0.001), (0.021, m)],
        [0.005, 0.012, 0.014, 0.012, 0.005],
        1.5,
    )
    chin = _stroke([(-0.05, m), (-0.04, m - 0.02), (0, m - 0.034), (0.04, m - 0.02), (0.05, m)], 0.03, 5)
    moustache = _stroke([(-0.026, m + 0.009), (0, m + 0.011), (0.026, m + 0.009)], 0.008, 2)
    return [lips, (chin + moustache) * (1 - np.clip(lips * 1.5, 0, 1))]
