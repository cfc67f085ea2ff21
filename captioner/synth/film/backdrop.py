"""What stands behind the people of a clip: gradients, invented places, pictures of the user's own.

A backdrop is float32 (H, W, 3), RGB, 0..255, and always a little out of focus, as behind a portrait.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, UnidentifiedImageError

from captioner.errors import unknown
from captioner.synth.actor import Picture
from captioner.synth.identity import RGB, mix
from captioner.synth.photo.photo_set import PhotoError
from captioner.synth.pixels import smooth_noise

log = logging.getLogger(__name__)

Rng = np.random.Generator
SUFFIXES: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
KINDS: tuple[str, ...] = ("own", "gradient", "texture", "picture")
_WALLS: tuple[RGB, ...] = (
    (176, 168, 152), (140, 150, 160), (196, 190, 180), (110, 104, 98), (150, 132, 112), (92, 104, 112),
    (128, 140, 122), (168, 150, 140), (70, 72, 80),
)  # fmt: skip
_GREENS: tuple[RGB, ...] = ((70, 92, 48), (96, 118, 62), (52, 74, 44), (124, 136, 76), (38, 54, 34))
_SPINES: tuple[RGB, ...] = ((112, 44, 38), (44, 62, 92), (150, 132, 92), (60, 84, 64), (196, 184, 160), (52, 46, 44))


class BackdropFolder:
    """The pictures of a folder, cut at random to backdrops; those that cannot be read are named once and skipped."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise PhotoError(f"{str(self.folder)!r} is not a folder; give one with pictures for backdrops")
        self.paths = sorted(path for path in self.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        bad = [path for path in self.paths if not _opens(path)]
        self.paths = [path for path in self.paths if path not in set(bad)]
        if not self.paths:
            raise PhotoError(f"{self.folder} holds no readable picture; wanted {', '.join(SUFFIXES)}")
        if bad:
            log.warning("backdrops skipped, cannot be read: %s", ", ".join(path.name for path in bad))

    def __len__(self) -> int:
        return len(self.paths)

    def backdrop(self, rng: Rng, height: int, width: int) -> Picture:
        """A random cut of a random picture, a little blurred."""
        path = self.paths[int(rng.integers(len(self.paths)))]
        share, x, y, blur = rng.uniform((0.55, 0, 0, 0.002), (1, 1, 1, 0.014)).tolist()
        try:
            with Image.open(path) as file:
                picture = file.convert("RGB")
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise PhotoError(f"backdrop {path} cannot be read: {str(error).splitlines()[0]}") from None
        scale = share * min(picture.width / width, picture.height / height)
        left, top = x * (picture.width - scale * width), y * (picture.height - scale * height)
        box = (left, top, left + scale * width, top + scale * height)
        cut = picture.resize((width, height), Image.Resampling.BILINEAR, box=box)
        return _floats(cut.filter(ImageFilter.GaussianBlur(blur * height)))


def _opens(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (64, 64))  # a JPEG is then read at an eighth of its size
            picture.load()
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def backdrop(kind: str, rng: Rng, height: int, width: int, pictures: BackdropFolder | None = None) -> Picture:
    """Surroundings of a kind, float32 (height, width, 3); `own` ones are the actor's to paint."""
    if kind == "gradient":
        return _gradient(rng, height, width)
    if kind == "texture":
        return _place(rng, height, width)
    if kind == "picture":
        if pictures is None:
            raise PhotoError("backdrop 'picture' needs a folder of pictures; give one, or choose gradient or texture")
        return pictures.backdrop(rng, height, width)
    raise PhotoError(unknown("backdrop", kind, KINDS))


def _floats(image: Image.Image) -> Picture:
    return np.asarray(image, np.float32).copy()


def _choose(rng: Rng, options: tuple[RGB, ...], spread: int = 14) -> RGB:
    colour = np.array(options[int(rng.integers(len(options)))]) + rng.integers(-spread, spread + 1, 3)
    r, g, b = np.clip(colour, 0, 255).tolist()
    return (r, g, b)


def _gradient(rng: Rng, height: int, width: int) -> Picture:
    """A studio's paper: a colour that falls off in one direction, around a soft spot of light."""
    base = np.array(_choose(rng, _WALLS, 22), np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    angle, spot_x, spot_y, reach = rng.uniform((0, 0.2, 0.1, 0.35), (2 * np.pi, 0.8, 0.6, 0.9)).tolist()
    slope = (np.cos(angle) * (x - 0.5 * width / height) + np.sin(angle) * (y - 0.5)) * rng.uniform(0.1, 0.5)
    spot = np.exp(-((x - spot_x * width / height) ** 2 + (y - spot_y) ** 2) / reach**2) * rng.uniform(0, 0.5)
    return np.asarray(np.clip(base * (0.9 + slope + spot)[..., None], 0, 255), np.float32)


def _place(rng: Rng, height: int, width: int) -> Picture:
    """An invented place, drawn and put out of focus."""
    draw, blur = _PLACES[int(rng.integers(len(_PLACES)))]
    image = Image.fromarray(_gradient(rng, height, width).astype(np.uint8))
    image = draw(rng, image) or image
    image = image.filter(ImageFilter.GaussianBlur(height * rng.uniform(*blur)))
    picture = _floats(image)
    cloud = smooth_noise(rng, height, width, 4)
    return np.clip(picture * (1 + 0.10 * cloud[..., None]), 0, 255).astype(np.float32)


def _bokeh(rng: Rng, image: Image.Image) -> Image.Image:
    width, height = image.size
    layer = np.asarray(image, np.float32) * 0.55
    for _ in range(int(rng.integers(12, 30))):
        spot = Image.new("L", image.size)
        x, y, r = (rng.uniform((0, 0, 0.02), (width / height, 0.9, 0.09)) * height).tolist()
        ImageDraw.Draw(spot).ellipse((x - r, y - r, x + r, y + r), fill=255)
        colour = np.array(mix(_choose(rng, _WALLS, 40), (255, 226, 170), float(rng.uniform(0.2, 0.8))), np.float32)
        layer += np.asarray(spot, np.float32)[..., None] / 255 * colour * rng.uniform(0.12, 0.5)
    return Image.fromarray(np.clip(layer, 0, 255).astype(np.uint8))


def _room(rng: Rng, image: Image.Image) -> None:
    """A wall with a skirting line and a window, a door or a framed picture."""
    width, height = image.size
    pen, wall = ImageDraw.Draw(image), image.getpixel((width // 2, height // 2))
    shade: RGB = tuple(int(v) for v in wall)  # type: ignore[assignment,union-attr]
    floor = rng.uniform(0.72, 1.0) * height
    pen.rectangle((0, floor, width, height), fill=mix(shade, (40, 30, 24), 0.55))
    corner = float(rng.uniform(-0.2, 1.2)) * width
    pen.polygon(
        [(corner, 0), (width * 2, 0), (width * 2, height), (corner, floor)], fill=mix(shade, (20, 20, 26), 0.18)
    )
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform((-0.1, 0.02), (0.9, 0.35)) * (width, height)
        w, h = rng.uniform((0.12, 0.2), (0.4, 0.6)) * height
        light = rng.random() < 0.4
        inside = mix((236, 240, 244), shade, float(rng.uniform(0, 0.5))) if light else _choose(rng, _WALLS, 30)
        frame = mix(shade, (30, 24, 22) if rng.random() < 0.6 else (240, 236, 228), 0.6)
        edge = 0.02 * height
        pen.rectangle((x - edge, y - edge, x + w + edge, y + h + edge), fill=frame)
        pen.rectangle((x, y, x + w, y + h), fill=inside)
        if light:
            pen.line((x + w / 2, y, x + w / 2, y + h), fill=frame, width=max(1, round(0.015 * height)))


def _shelf(rng: Rng, image: Image.Image) -> None:
    width, height = image.size
    pen, step = ImageDraw.Draw(image), float(rng.uniform(0.2, 0.34)) * height
    wood = _choose(rng, ((92, 66, 44), (60, 48, 40), (150, 120, 88)))
    for row in range(int(height / step) + 2):
        bottom = (row + 0.6) * step
        pen.rectangle((0, bottom - step, width, bottom), fill=mix(wood, (16, 12, 10), 0.6))
        x = -float(rng.uniform(0, 0.05)) * height
        while x < width:
            w, h = float(rng.uniform(0.015, 0.05)) * height, float(rng.uniform(0.6, 0.88)) * step
            if rng.random() < 0.9:
                pen.rectangle((x, bottom - h, x + w, bottom), fill=_choose(rng, _SPINES, 18))
            x += w + 1
        pen.rectangle((0, bottom, width, bottom + 0.025 * height), fill=wood)


def _foliage(rng: Rng, image: Image.Image) -> Image.Image:
    width, height = image.size
    layers = [smooth_noise(rng, height, width, cells) for cells in (5, 11, 24, 48)]
    depth = layers[0] + 0.8 * layers[1] + 0.6 * layers[2] + 0.4 * layers[3]
    dark, light = (np.array(_choose(rng, _GREENS), np.float32) for _ in range(2))
    share = 1 / (1 + np.exp(-1.5 * depth))[..., None]
    leaves = dark * 0.7 * (1 - share) + light * 1.15 * share
    sky = np.clip(layers[1] + layers[2] - 1.6, 0, 1)[..., None] * np.linspace(1, 0, height)[:, None, None]
    return Image.fromarray(np.clip(leaves + 150 * sky, 0, 255).astype(np.uint8))


def _bricks(rng: Rng, image: Image.Image) -> None:
    width, height = image.size
    pen, brick = ImageDraw.Draw(image), _choose(rng, ((140, 84, 66), (156, 144, 132), (110, 104, 100), (120, 72, 60)))
    rows = int(rng.integers(12, 24))
    h = height / rows
    pen.rectangle((0, 0, width, height), fill=mix(brick, (196, 190, 180), 0.6))
    for row in range(rows + 1):
        x = -h * 2.4 * (0.5 * (row % 2) + 0.01)
        while x < width:
            pen.rectangle(
                (x, row * h, x + 2.25 * h, (row + 0.88) * h), fill=mix(brick, (30, 26, 24), float(rng.uniform(0, 0.3)))
            )
            x += 2.4 * h


def _horizon(rng: Rng, image: Image.Image) -> Image.Image:
    """Sky over hills or over roofs."""
    width, height = image.size
    top, low = ((96, 136, 186), (206, 214, 220)) if rng.random() < 0.6 else ((150, 152, 158), (214, 206, 196))
    ramp = np.linspace(0, 1, height)[:, None, None]
    cloud = np.clip(smooth_noise(rng, height, width, 3) + smooth_noise(rng, height, width, 8), 0, 1.5)[..., None]
    sky = np.array(top) * (1 - ramp) + np.array(low) * ramp + 28 * cloud
    drawn = Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8))
    pen, level, roofs = ImageDraw.Draw(drawn), float(rng.uniform(0.4, 0.75)) * height, rng.random() < 0.5
    for depth in range(3):
        colour, x = mix(_choose(rng, _WALLS if roofs else _GREENS), (206, 212, 218), 0.45 - 0.2 * depth), 0.0
        line = [(0.0, float(height)), (0.0, level)]
        while x < width:
            step, rise = float(rng.uniform(0.06, 0.25)) * height, float(rng.uniform(-0.12, 0.06)) * height
            line += [(x, level + rise), (x + step, level + rise)] if roofs else [(x + step, level + rise)]
            x += step
        pen.polygon([*line, (float(width), level), (float(width), float(height))], fill=colour)
        level += 0.12 * height
    return drawn


def _curtain(rng: Rng, image: Image.Image) -> Image.Image:
    width, height = image.size
    folds = np.cumsum(np.abs(smooth_noise(rng, 2, width, 9)[0]) + 0.4)
    shade = 0.82 + 0.18 * np.sin(folds * rng.uniform(0.05, 0.16) * 224 / height)
    colour = np.array(_choose(rng, (*_WALLS, (120, 40, 40), (60, 70, 100)), 16), np.float32)
    cloth = colour * shade[None, :, None] * np.linspace(1.05, 0.85, height)[:, None, None]
    return Image.fromarray(np.clip(cloth, 0, 255).astype(np.uint8))


_Drawing = Callable[[Rng, Image.Image], Image.Image | None]
# how each is drawn, and how far out of focus it is, in heights
_PLACES: tuple[tuple[_Drawing, tuple[float, float]], ...] = (
    (_bokeh, (0.004, 0.012)), (_room, (0.006, 0.03)), (_room, (0.006, 0.03)), (_shelf, (0.008, 0.025)),
    (_foliage, (0.004, 0.02)), (_bricks, (0.003, 0.012)), (_horizon, (0.004, 0.02)), (_curtain, (0.004, 0.015)),
)  # fmt: skip
