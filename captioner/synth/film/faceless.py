"""Synthetic wide pictures without a face: textures, foliage, writing, lamps, wheels, patterns, whatever is none.

A wide picture is uint8 (2 H, 2 W, 3), so that a camera can move over it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Rng = np.random.Generator
Picture = NDArray[np.uint8]
HEIGHT, WIDTH = 360, 640
_TALL, _WIDE = 2 * HEIGHT, 2 * WIDTH


def _noise(rng: Rng) -> Picture:
    cells = rng.choice([4, 9, 20, 45, 100, 240, 600], 4, replace=False)
    layers = [_cloud(rng, int(count)) / 2**i for i, count in enumerate(cells)]
    return _tinted(sum(layers[1:], layers[0]) / 1.9, rng)


def _gradient(rng: Rng) -> Picture:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:_TALL, 0:_WIDE] / _TALL
    return _tinted(128 + 120 * (np.cos(angle) * (x - 0.9) + np.sin(angle) * (y - 0.5)), rng)


def _leaves(rng: Rng) -> Picture:
    image, draw = _canvas(rng, 10, 90)
    size = rng.uniform(4, 30)
    for _ in range(int(120000 / size**1.6)):
        x, y, reach = rng.uniform(0, _WIDE), rng.uniform(0, _TALL), size * rng.uniform(0.5, 1.6)
        angle, slim = rng.uniform(0, np.pi), rng.uniform(0.25, 0.6)
        turns = angle + np.arange(4) * np.pi / 2
        length = reach * np.array([1, slim, 1, slim])
        corners = np.stack([x + length * np.cos(turns), y + length * np.sin(turns)], 1)
        green = np.array([60, 90, 40]) * rng.uniform(0.3, 2.2) + rng.normal(0, 12, 3)
        draw.polygon([tuple(corner) for corner in corners.tolist()], fill=_rgb(green))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2))))


def _trunks(rng: Rng) -> Picture:
    image = Image.fromarray(_leaves(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 12))):
        x, width, bark = rng.uniform(0, _WIDE), rng.uniform(15, 90), np.array([80, 60, 45]) * rng.uniform(0.4, 1.4)
        draw.rectangle((x, 0, x + width, _TALL), fill=_rgb(bark))
        for _ in range(60):  # knots
            left, top = rng.uniform(x, x + width), rng.uniform(0, _TALL)
            spot = (left, top, left + rng.uniform(3, width / 3), top + rng.uniform(5, 50))
            draw.ellipse(spot, fill=_rgb(bark * rng.uniform(0.4, 1.2)))
    return np.asarray(image)


def _writing(rng: Rng) -> Picture:
    image, draw = _canvas(rng, 0, 255)
    y = 0.0
    while y < _TALL:
        size = int(rng.integers(10, 70))
        letters = "".join(chr(rng.integers(33, 127)) if rng.random() > 0.15 else " " for _ in range(120))
        ink = _rgb(rng.integers(0, 256, 3))
        draw.text((rng.uniform(-50, 200), y), letters, font=ImageFont.load_default(size), fill=ink)
        y += size * 1.3
    return np.asarray(image)


def _lamps(rng: Rng) -> Picture:
    light = np.zeros((_TALL, _WIDE, 3)) + rng.uniform(5, 60, 3)
    rows, columns = np.mgrid[0:_TALL, 0:_WIDE]
    for _ in range(int(rng.integers(3, 16))):
        x, y, reach, tall = rng.uniform(0, _WIDE), rng.uniform(0, _TALL), rng.uniform(8, 110), rng.uniform(0.6, 1.5)
        away = ((columns - x) / reach) ** 2 + ((rows - y) / (reach * tall)) ** 2
        warm = np.array([1, rng.uniform(0.7, 1), rng.uniform(0.4, 1)])
        light += np.exp(-away * rng.uniform(0.4, 2))[..., None] * rng.uniform(60, 240) * warm
        for _ in range(int(rng.integers(0, 5))):  # filament, frame, spots on the shade
            u, v = rng.normal(0, 0.4, 2) * reach
            spot = ((columns - x - u) / (0.15 * reach)) ** 2 + ((rows - y - v) / (0.12 * reach)) ** 2 < 1
            light[spot] *= rng.uniform(0.2, 0.7)
    return np.clip(light, 0, 255).astype(np.uint8)


def _pattern(rng: Rng) -> Picture:
    side = int(rng.integers(20, 160))
    tile = Image.new("RGB", (side, side), _rgb(rng.integers(40, 256, 3)))
    draw = ImageDraw.Draw(tile)
    for _ in range(int(rng.integers(2, 8))):
        (left, right), (top, bottom) = np.sort(rng.uniform(0, side, (2, 2)), axis=1).tolist()
        shape = draw.ellipse if rng.random() < 0.6 else draw.rectangle
        shape((left, top, right, bottom), fill=_rgb(rng.integers(0, 256, 3)))
    return np.tile(np.asarray(tile), (_TALL // side + 1, _WIDE // side + 1, 1))[:_TALL, :_WIDE].copy()


def _wheels(rng: Rng) -> Picture:
    image = Image.fromarray(_noise(rng) // 2 + 60)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 10))):
        x, y, reach = rng.uniform(0, _WIDE), rng.uniform(0, _TALL), rng.uniform(15, 140)
        for share, grey in ((1.0, 20.0), (0.75, 150.0), (0.6, rng.uniform(40, 220)), (0.2, 30.0)):
            ring = reach * share
            draw.ellipse((x - ring, y - ring, x + ring, y + ring), fill=_rgb(grey * rng.uniform(0.8, 1.1, 3)))
        spokes = int(rng.integers(3, 9))
        for angle in np.arange(spokes) / spokes * 2 * np.pi + rng.uniform(0, 6):
            end = (x + 0.7 * reach * np.cos(angle), y + 0.7 * reach * np.sin(angle))
            draw.line((x, y, *end), fill=(40, 40, 40), width=max(1, int(reach * 0.1)))
    return np.asarray(image)


def _fronts(rng: Rng) -> Picture:
    """Things with two spots above a bar: cars, sockets, cabinets; the nearest there is to a face that is none."""
    image = Image.fromarray(_noise(rng) // 3 + 40)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 9))):
        x, y, side = rng.uniform(0, _WIDE), rng.uniform(0, _TALL), rng.uniform(20, 200)
        body = rng.uniform(50, 230, 3)
        box = (x - side / 2, y - side * 0.5, x + side / 2, y + side * 0.6)
        draw.rounded_rectangle(box, radius=side * rng.uniform(0, 0.4), fill=_rgb(body))
        eye, apart, above = (side * rng.uniform(*bounds) for bounds in ((0.06, 0.16), (0.18, 0.32), (0, 0.3)))
        shape = draw.ellipse if rng.random() < 0.7 else draw.rectangle
        lit = body * (rng.uniform(0.1, 0.5) if rng.random() < 0.6 else 1.8)
        for spot in (x - apart, x + apart):
            shape((spot - eye, y - above - eye, spot + eye, y - above + eye), fill=_rgb(lit))
        half, low, thick = (side * rng.uniform(*bounds) for bounds in ((0.15, 0.35), (0.2, 0.4), (0.03, 0.15)))
        draw.rectangle((x - half, y + low, x + half, y + low + thick), fill=_rgb(body * rng.uniform(0.2, 0.7)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3))))


def _landscape(rng: Rng) -> Picture:
    sky = np.linspace(rng.uniform(120, 240), rng.uniform(150, 255), _TALL)[:, None, None]
    image = Image.fromarray(
        np.clip(sky * np.array([0.75, 0.9, 1.05]) * np.ones((1, _WIDE, 1)), 0, 255).astype(np.uint8)
    )
    draw = ImageDraw.Draw(image)
    x = np.arange(0, _WIDE + 1, 8)
    for ridge in range(4):
        rough = np.convolve(rng.normal(0, 40, len(x) + 20), np.full(21, 1 / 7), "valid")
        line = np.stack([x, 300 + 90 * ridge + rough], 1).tolist()
        green = np.array([60, 80, 60]) * (0.4 + 0.25 * ridge) + rng.normal(0, 10, 3)
        draw.polygon([(0, _TALL), *map(tuple, line), (_WIDE, _TALL)], fill=_rgb(green))
    rough = (_cloud(rng, 200) - 128)[..., None] * 0.25
    return np.clip(np.asarray(image, np.float32) + rough, 0, 255).astype(np.uint8)


FACELESS: dict[str, Callable[[Rng], Picture]] = {
    "noise": _noise, "gradient": _gradient, "leaves": _leaves, "trunks": _trunks, "writing": _writing,
    "lamps": _lamps, "pattern": _pattern, "wheels": _wheels, "fronts": _fronts, "landscape": _landscape,
}  # fmt: skip


def _canvas(rng: Rng, low: int, high: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (_WIDE, _TALL), _rgb(rng.integers(low, high, 3)))
    return image, ImageDraw.Draw(image)


def _cloud(rng: Rng, cells: int) -> NDArray[np.float32]:
    coarse = rng.integers(0, 256, (max(2, cells * 9 // 16), cells)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((_WIDE, _TALL), Image.Resampling.BICUBIC), np.float32)


def _tinted(grey: NDArray[np.floating], rng: Rng) -> Picture:
    return np.clip(grey[..., None] * rng.uniform(0.5, 1.2, 3) + rng.uniform(-20, 20, 3), 0, 255).astype(np.uint8)


def _rgb(colour: NDArray[np.floating] | NDArray[np.integer]) -> tuple[int, int, int]:
    red, green, blue = np.clip(colour, 0, 255).astype(int).tolist()
    return red, green, blue
