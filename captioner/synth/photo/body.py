"""Neck, shoulders and a garment for a face that was cropped out of its picture, drawn upright below the chin."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from captioner.synth.actor import Picture
from captioner.synth.drawn.strokes import Points, smooth_curve
from captioner.synth.identity import RGB, mix
from captioner.synth.pixels import smooth_noise

COLLARS: tuple[str, ...] = ("crew", "vneck", "shirt", "suit", "turtleneck", "scoop")
CLOTH: tuple[RGB, ...] = (
    (38, 40, 50), (52, 56, 66), (30, 34, 54), (92, 94, 98), (150, 150, 148), (196, 194, 188), (112, 52, 50),
    (58, 82, 110), (66, 92, 74), (136, 112, 84), (88, 66, 96), (168, 130, 70), (122, 148, 170), (60, 48, 44),
)  # fmt: skip
_PALE: RGB = (222, 220, 214)


@dataclass(frozen=True)
class Build:
    """Where a body hangs: the point under the chin (pixels of its picture), face height, neck half width."""

    x: float
    chin: float
    face: float
    neck: float


@dataclass(frozen=True)
class Clothes:
    """What it wears: a collar, the colours of garment and of what shows under it, the strength of a pattern."""

    collar: str
    colour: RGB
    under: RGB
    stripes: float
    seed: int


def choose_clothes(rng: np.random.Generator, worn: RGB | None, skin: float) -> Clothes:
    """Random clothes, in the light (brightness) of the skin; `worn`, what the photo shows of them, is mostly kept."""
    light = float(np.clip(skin / 140, 0.4, 1.15))
    colour = _lit(CLOTH[int(rng.integers(len(CLOTH)))], light)
    if worn is not None and rng.random() < 0.65:
        colour = worn
    colour = mix(colour, (40, 40, 44), max(0.0, 0.5 - sum(colour) / 150))  # black cloth is not black in a picture
    collar = COLLARS[int(rng.integers(len(COLLARS)))]
    under = _lit(mix(_PALE, CLOTH[int(rng.integers(len(CLOTH)))], float(rng.uniform(0, 0.5))), light)
    stripes = float(rng.uniform(0.02, 0.09)) if rng.random() < 0.18 and collar != "suit" else 0.0
    return Clothes(collar, colour, under, stripes, int(rng.integers(2**31)))


def _lit(colour: RGB, light: float) -> RGB:
    r, g, b = (min(255, round(c * light)) for c in colour)
    return (r, g, b)


def paint_body(
    height: int, width: int, build: Build, clothes: Clothes, skin: RGB
) -> tuple[Picture, NDArray[np.float32]]:
    """Picture (height, width, 3) and cover (height, width) 0..1 of a body from the jaw down to the lower edge.

    Evenly lit: the shadow of the head is the caller's.
    """
    sheet = _Sheet(height, width, build, skin, clothes.colour)
    sheet.fill(_silhouette(build), clothes.colour)
    _wear(sheet, clothes, skin, build.neck / build.face)
    x, y = sheet.grid()
    picture = np.asarray(sheet.image.filter(ImageFilter.GaussianBlur(0.7)), np.float32)
    cloth = np.asarray(sheet.cloth.filter(ImageFilter.GaussianBlur(0.7)), np.float32)[..., None] / 255
    rng = np.random.default_rng(clothes.seed)
    folds = 0.045 * smooth_noise(rng, height, width, 4) + 0.03 * _pleats(rng, height, width)
    if clothes.stripes:
        across = y if rng.random() < 0.5 else x
        folds = folds + clothes.stripes * np.sign(np.sin(across * float(rng.uniform(40, 90)) + 0.5 * folds))
    round_off = 1 - 0.34 * np.clip(np.abs(x) / 1.3, 0, 1) ** 3 - 0.12 * np.clip(y, 0, 1.5)
    garment = 1.06 * round_off + folds * np.clip(y + 0.1, 0, 1)
    neck = 0.97 - 0.18 * np.clip(np.abs(x) * build.face / build.neck, 0, 1.2) ** 3
    shade = cloth[..., 0] * garment + (1 - cloth[..., 0]) * neck
    cover = np.asarray(sheet.cover.filter(ImageFilter.GaussianBlur(0.008 * build.face)), np.float32) / 255
    return np.clip(picture * shade[..., None], 0, 255).astype(np.float32), cover.astype(np.float32)


def _pleats(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Noise (height, width) drawn out downwards, as cloth hangs."""
    tall = smooth_noise(rng, max(2, height // 5), width, 4)
    grown = Image.fromarray(tall).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(grown, np.float32)


class _Sheet:
    """Three images drawn at once: colours, what is person, what of it is cloth. Points come in face heights."""

    def __init__(self, height: int, width: int, build: Build, skin: RGB, cloth: RGB) -> None:
        self.image = Image.new("RGB", (width, height), cloth)
        self.cover = Image.new("L", (width, height))
        self.cloth = Image.new("L", (width, height))
        self._pens = [ImageDraw.Draw(image) for image in (self.image, self.cover, self.cloth)]
        self._build = build
        # where the cover is soft, at the edges, this shows: skin beside the neck, cloth beside the garment
        self._pens[0].rectangle((0, 0, width, build.chin + 0.11 * build.face), fill=skin)

    def fill(self, half: Points, colour: RGB, cloth: bool = True, mirrored: bool = True) -> None:
        """A polygon; `half` of one that is the same on both sides, from its top to its bottom."""
        points = np.concatenate([half, half[::-1] * (-1, 1)]) if mirrored else half
        pixels = (points * self._build.face + (self._build.x, self._build.chin)).ravel().tolist()
        for pen, ink in zip(self._pens, (colour, 255, 255 if cloth else 0), strict=True):
            pen.polygon(pixels, fill=ink)

    def grid(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Right and down of every pixel, in face heights from the chin."""
        y, x = np.mgrid[0 : self.image.height, 0 : self.image.width].astype(np.float32)
        return (x - self._build.x) / self._build.face, (y - self._build.chin) / self._build.face


def _silhouette(build: Build) -> Points:
    """The right half, from the neck over the shoulder to beyond the lower edge."""
    neck = build.neck / build.face
    slope = [(neck, 0.11), (neck + 0.05, 0.21), (neck + 0.20, 0.31), (0.80, 0.41), (1.03, 0.52), (1.17, 0.70),
             (1.23, 1.0), (1.26, 1.5), (1.27, 2.5), (1.27, 4.0)]  # fmt: skip
    return np.concatenate([smooth_curve(slope), [(0, 4.0)]])


def _wear(sheet: _Sheet, clothes: Clothes, skin: RGB, neck: float) -> None:
    """The skin that the garment leaves open, then its collar."""
    throat = [
        (0.86 * neck, -0.3),
        (0.96 * neck, -0.12),
        (0.985 * neck, 0.02),
        (neck + 0.012, 0.1),
        (neck + 0.06, 0.205),
    ]
    depth = {"crew": 0.40, "vneck": 0.78, "shirt": 0.52, "suit": 0.5, "turtleneck": 0.2, "scoop": 0.58}[clothes.collar]
    wide = {"scoop": 0.22, "crew": 0.07, "vneck": 0.09}.get(clothes.collar, 0.05)
    edge = neck + wide, 0.21 + 0.45 * wide
    if clothes.collar in ("vneck", "shirt", "suit"):
        opening = [*throat, edge, (0.4 * edge[0], 0.45 * edge[1] + 0.5 * depth), (0.0, depth)]
    else:
        opening = [*throat, edge, (0.75 * edge[0], 0.8 * depth), (0.35 * edge[0], 0.97 * depth), (0.0, depth)]
    rim = mix(clothes.colour, (12, 12, 16), 0.22)
    if clothes.collar in ("crew", "scoop", "vneck"):
        sheet.fill(np.array(opening[4:]) * (1.04, 1.0) + (0, 0.035), rim)
    sheet.fill(np.array(opening), skin, cloth=False)
    if clothes.collar == "turtleneck":
        roll = np.array(
            [
                (0.0, 0.12),
                (0.6 * neck, 0.105),
                (neck + 0.015, 0.06),
                (neck + 0.045, 0.12),
                (neck + 0.06, 0.25),
                (0.6 * neck, 0.36),
                (0, 0.39),
            ]
        )
        sheet.fill(roll[2:] * (1, 1.05), rim)
        sheet.fill(roll, mix(clothes.colour, _PALE, 0.05))
    elif clothes.collar in ("shirt", "suit"):
        _collar(sheet, clothes, skin, neck, rim)


def _collar(sheet: _Sheet, clothes: Clothes, skin: RGB, neck: float, rim: RGB) -> None:
    """Two wings that meet under the throat; with a suit a shirt, a tie and lapels below them."""
    suit = clothes.collar == "suit"
    shirt = clothes.under if suit else mix(clothes.colour, _PALE, 0.1)
    if suit:
        sheet.fill(np.array([(neck + 0.05, 0.24), (0.36, 0.5), (0.2, 1.1), (0.0, 1.45)]), shirt)
        tie = mix(clothes.colour, clothes.under, 0.35) if clothes.seed % 2 else mix(rim, (110, 30, 36), 0.5)
        if clothes.seed % 3:
            sheet.fill(np.array([(0.07, 0.44), (0.045, 0.55), (0.085, 1.0), (0.05, 1.45), (0.0, 1.5)]), tie)
        for side in (1, -1):
            lapel = np.array([(neck + 0.07, 0.22), (neck + 0.22, 0.45), (0.42, 0.78), (0.04, 1.5), (0.0, 1.42)])
            sheet.fill(lapel * (side, 1), mix(clothes.colour, _PALE, 0.07), mirrored=False)
        sheet.fill(np.array([(neck + 0.012, 0.09), (neck + 0.055, 0.21), (0.0, 0.5)]), skin, cloth=False)
    for side in (1, -1):
        shade = np.array([(neck, 0.08), (neck + 0.07, 0.2), (0.27, 0.62), (0.0, 0.5), (0.6 * neck, 0.36)])
        wing = np.array([(neck + 0.005, 0.06), (neck + 0.055, 0.18), (0.24, 0.58), (0.0, 0.46), (0.62 * neck, 0.33)])
        sheet.fill(shade * (side, 1), mix(shirt, (12, 12, 16), 0.3), mirrored=False)
        sheet.fill(wing * (side, 1), shirt, mirrored=False)
    if not suit:
        sheet.fill(np.array([(0.008, 0.5), (0.008, 4.0)]), rim)
