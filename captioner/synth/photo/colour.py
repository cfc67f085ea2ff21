"""Grey photos in plausible colours: skin, lips and eyes by landmarks, hair by its darkness, the rest a faint tone."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from captioner.synth.actor import Picture
from captioner.synth.photo.basis import LOWER_LIDS, LOWER_LIP, OVAL, UPPER_LIDS, UPPER_LIP
from captioner.synth.photo.outline import find_head
from captioner.synth.photo.photo_set import Photo
from captioner.synth.photo.portrait import hair_tone
from captioner.synth.pixels import LUMA

Tint = tuple[float, float, float]

# rings of landmarks around the parts whose colour is not skin's
_LIPS = UPPER_LIP[0] + LOWER_LIP[0][-2:0:-1]
_EYES = tuple(upper + lower[-2:0:-1] for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True))
_ROSE = np.array([1.16, 0.92, 0.94], np.float32)  # lips, times skin
_HAIR = np.array([1.14, 0.98, 0.86], np.float32)
_AIR = np.array([0.985, 1.0, 1.02], np.float32)  # what is neither


def colourise(photo: Photo, tint: Tint) -> Photo:
    """The photo in colour, its brightness unchanged; `tint` is a skin colour (RGB 0..255). Coloured ones stay."""
    if not photo.gray:
        return photo
    bright = photo.image.astype(np.float32) @ LUMA
    face = float(np.linalg.norm(photo.landmarks[10, :2] - photo.landmarks[152, :2]))
    head = _inside(photo)
    skin, sure = _skin(photo, bright, face)
    skin = np.maximum(sure, skin * head)
    lips = _area(photo, _LIPS, 0.012 * face)
    eyes = np.maximum(*(_area(photo, ring, 0.006 * face) for ring in _EYES))
    tone = _even(np.array(tint, np.float32), float(np.median(bright[sure > 0.5])))
    hair = head[..., None] * np.clip(1.8 - bright / 130, 0.45, 1)[..., None]
    other = _AIR + (_HAIR / (_HAIR @ LUMA) - _AIR) * hair
    colour = other + skin[..., None] * (tone - other)
    colour = colour * (1 + lips[..., None] * (_ROSE - 1))
    colour = colour + (0.75 * eyes)[..., None] * (_AIR - colour)
    # highlights and the deepest shadows carry little colour
    share = np.clip((268 - bright) / 60, 0.25, 1) * np.clip((bright + 25) / 60, 0.4, 1)
    image = _keep_luma((1 + share[..., None] * (colour - 1)).astype(np.float32), bright)
    return replace(photo, image=np.clip(image + 0.5, 0, 255).astype(np.uint8), gray=False)


def _even(tint: NDArray[np.float32], level: float) -> NDArray[np.float32]:
    """The tint as factors of a brightness; weaker where the photo's skin is lighter than the tint, never pale."""
    chroma = np.log(np.maximum(tint, 1) / max(float(tint @ LUMA), 1.0))
    redness = float(chroma[0] - chroma[2])  # log of red over blue
    wanted = np.clip(redness * np.clip(1 - (level - float(tint @ LUMA)) / 260, 0.55, 1.0), 0.36, 0.58)
    return np.asarray(np.exp(chroma * wanted / max(redness, 0.1)), np.float32)


def _keep_luma(colour: NDArray[np.float32], bright: NDArray[np.float32]) -> Picture:
    return np.asarray(colour / (colour @ LUMA)[..., None] * bright[..., None], np.float32)


def _skin(photo: Photo, bright: NDArray[np.float32], face: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """0..1: where skin is (face, and ears and scalp where they are as bright), and where the face surely is."""
    inside = _area(photo, OVAL, 0.01 * face)
    wide = np.clip(gaussian_filter(inside, 0.13 * face) * 6.0, 0, 1)
    hair = hair_tone(photo, find_head(photo))
    level = float(np.median(bright[inside > 0.9]))
    other = level if hair is None else float(hair @ LUMA)
    if level - other < 10:  # grey hair is not told from a shining forehead by its brightness
        return np.maximum(inside, np.clip(3 * gaussian_filter(inside, 0.06 * face), 0, 1)), inside
    between = (bright - other) / (level - other)  # 0 hair .. 1 skin
    alike = 0.5 + 0.5 * np.tanh(4 * (between - 0.55))
    alike = gaussian_filter(alike.astype(np.float32), 0.008 * face)
    return np.maximum(inside, wide * alike), inside


def _inside(photo: Photo) -> NDArray[np.float32]:
    """0..1: the head, hair included."""
    head = find_head(photo)
    y, x = np.mgrid[0 : photo.image.shape[0], 0 : photo.image.shape[1]]
    angle, radius = head.polar(x, y)
    outline = np.interp(angle, head.angle, head.radius, period=2 * np.pi)
    return np.asarray(np.clip((outline - radius) / (0.06 * head.face) + 0.5, 0, 1), np.float32)


def _area(photo: Photo, ring: tuple[int, ...], blur: float) -> NDArray[np.float32]:
    height, width = photo.image.shape[:2]
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).polygon(photo.landmarks[list(ring), :2].ravel().tolist(), fill=255)
    return np.asarray(gaussian_filter(np.asarray(mask, np.float32) / 255, blur), np.float32)
