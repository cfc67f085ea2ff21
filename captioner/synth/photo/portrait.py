"""From a tight photo of a face to a person: the head whole, on a neck and shoulders, cut out of the surroundings."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from captioner.synth.actor import Picture
from captioner.synth.identity import RGB
from captioner.synth.photo.body import Build, choose_clothes, paint_body
from captioner.synth.photo.outline import Head, find_head
from captioner.synth.photo.photo_set import Photo
from captioner.synth.photo.puppet import Canvas
from captioner.synth.pixels import LUMA

_SIDE, _ABOVE, _BELOW = 1.42, 0.14, 1.4  # what a canvas shows beside, above and below a head, in face heights
_SOFT_HAIR, _SOFT_JAW = 0.026, 0.011  # half width of the outline's soft edge, in face heights
_INSET = 1.5  # pixels; a photo's outermost ones suffer from its compression


def complete_person(photo: Photo, rng: np.random.Generator) -> Canvas:
    """The person of a photo with all that the photo cuts off; `rng` dresses them."""
    head = _groomed(photo, find_head(photo), rng)
    left, top, width, height = _extent(photo, head)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x + left, y + top  # pixels of the photo
    colour, cover = _paint_head(photo, head, x, y)
    body, body_cover = _body(photo, head, rng, (left, top, width, height))
    body = np.minimum(body * _light(photo, head, cover, x)[..., None], 255)
    behind = body_cover * (1 - cover)
    alpha = cover + behind
    share = np.where(alpha > 1e-3, cover / np.maximum(alpha, 1e-3), (body_cover < 1e-3).astype(np.float32))[..., None]
    image = colour * share + body * (1 - share)
    return Canvas(image.astype(np.float32), alpha.astype(np.float32), (float(-left), float(-top)))


def _groomed(photo: Photo, head: Head, rng: np.random.Generator) -> Head:
    """The head with more or less hair on top, where the photo does not show how much there is."""
    rim = head.centre + head.radius[:, None] * _directions(head, head.angle)
    hidden = np.clip(-rim[:, 1] / (0.1 * head.face), 0, 1)  # above the photo's upper edge
    volume = head.face * (rng.uniform(-0.05, 0.04) + rng.uniform(-0.03, 0.03) * np.sin(head.angle))
    return replace(head, radius=head.radius + hidden * volume * np.clip(np.cos(head.angle), 0, 1))


def _extent(photo: Photo, head: Head) -> tuple[int, int, int, int]:
    """Left, top, width, height of the canvas in pixels of the photo; it holds the photo."""
    side, below = _SIDE * head.face, _BELOW * head.face
    reach = head.radius[:, None] * _directions(head, head.angle)
    top = min(0.0, head.centre[1] + float(reach[:, 1].min()) - _ABOVE * head.face)
    left, right = min(0.0, head.centre[0] - side), max(float(photo.image.shape[1]), head.centre[0] + side)
    bottom = float(photo.landmarks[152, 1]) + below
    return int(np.floor(left)), int(np.floor(top)), int(np.ceil(right - left)) + 1, int(np.ceil(bottom - top)) + 1


def _directions(head: Head, angle: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(np.sin(angle)[..., None] * head.right + np.cos(angle)[..., None] * head.up)


def _paint_head(
    photo: Photo, head: Head, x: NDArray[np.float32], y: NDArray[np.float32]
) -> tuple[Picture, NDArray[np.float32]]:
    """Colour (H, W, 3) and cover (H, W) of the head at pixels of the photo.

    Beyond the photo its edge is continued away from the face; beyond the outline the hair is, so that no
    trace of the old surroundings is left in the soft edge.
    """
    colour, cover = np.zeros((*x.shape, 3), np.float32), np.zeros(x.shape, np.float32)
    reach = float(head.radius.max()) * 1.1
    near = np.hypot(x - head.centre[0], y - head.centre[1]) < reach
    angle, radius = head.polar(x[near], y[near])
    outline = np.interp(angle, head.angle, head.radius, period=2 * np.pi)
    oval = np.interp(angle, head.angle, head.oval, period=2 * np.pi)
    hair = np.clip((outline - oval) / (0.05 * head.face), 0, 1)
    soft = head.face * (_SOFT_JAW + (_SOFT_HAIR - _SOFT_JAW) * hair)
    t = np.clip((outline + 0.3 * soft - radius) / (2 * soft) + 0.5, 0, 1)
    cover[near] = t * t * (3 - 2 * t)
    core = outline - 1.2 * soft
    # mirrored at the core, though never so far that a thin rim of hair would mirror skin
    source = np.where(radius < core, radius, np.maximum(2 * core - radius, (oval + core) / 2))
    colours, far = _sample(photo, head, source[:, None] * _directions(head, angle))
    tone = hair_tone(photo, head)
    if tone is not None:
        strands = _strands(angle, radius / head.face)
        # a hairline is no line: it frays
        share = np.clip(far * (1 + 0.5 * strands) / 0.05, 0, 1) * np.clip(2.2 - np.abs(angle), 0, 1)
        rim = np.clip(1.15 - 0.55 * np.clip(radius / outline, 0, 1) ** 6, 0, 1)
        combed = tone * (rim * (1 + 0.16 * strands))[:, None].astype(np.float32)
        colours += share[:, None].astype(np.float32) * (combed - colours)
    colour[near] = np.clip(colours, 0, 255)
    return colour, cover


def hair_tone(photo: Photo, head: Head) -> NDArray[np.float32] | None:
    """The colour of what of the head is not skin, forehead and temples; None for a bald head."""
    degrees, oval, outline = _polar_photo(photo, head)
    pixels = photo.image[(oval > 1.03) & (outline < 0.96) & (degrees < 88)].astype(np.float32)
    if len(pixels) < 60:
        return None
    lighter = (pixels - skin_colour(photo, head)) @ LUMA
    # of the darker ones most are half in shadow or half skin, so the hair's own tone is darker still
    for unlike, share in ((lighter < -18, 0.3), (lighter > 14, 0.6)):
        if unlike.mean() > 0.2:
            return np.asarray(np.quantile(pixels[unlike], share, axis=0), np.float32)
    return None


def _strands(angle: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float32]:
    """Noise of unit size, fine around the head and long away from it; radii in face heights."""
    table = np.random.default_rng(5).standard_normal((24, 420))
    table = gaussian_filter(table, (0.8, 0.8), mode="wrap")
    table = 0.8 * table / table.std()
    where = ((radius * 14) % 23, (angle / (2 * np.pi) + 0.5) * 419)
    return np.asarray(map_coordinates(table, where, order=1, mode="nearest"), np.float32)


def _sample(photo: Photo, head: Head, offset: NDArray[np.float64]) -> tuple[Picture, NDArray[np.float64]]:
    """Colours (n, 3) at offsets (n, 2) from the head's centre; beyond the photo those of its edge, blurred.

    Also how far beyond it each is, in face heights.
    """
    image = photo.image.astype(np.float32)
    height, width = image.shape[:2]
    low, high = -head.centre + _INSET, np.array([width, height]) - 1 - _INSET - head.centre
    away = np.where(np.abs(offset) < 1e-6, 1e-6, offset)
    share = np.clip(np.where(away > 0, high / away, low / away).min(axis=1), 0, 1)
    far = np.hypot(*offset.T) * (1 - share) / head.face
    point = offset * share[:, None] + head.centre
    colours = _interpolate(image, point)
    outside = np.flatnonzero(far > 0)
    for sigma, start, full in ((0.012, 0.0, 0.05), (0.035, 0.05, 0.25)):
        blurred = gaussian_filter(image, (sigma * head.face, sigma * head.face, 0), mode="nearest")
        weight = np.clip((far[outside] - start) / (full - start), 0, 1)[:, None].astype(np.float32)
        colours[outside] += weight * (_interpolate(blurred, point[outside]) - colours[outside])
    return colours * (1 - 0.35 * np.clip(far, 0, 0.5)).astype(np.float32)[:, None], far


def _interpolate(image: Picture, point: NDArray[np.float64]) -> Picture:
    channels = [
        map_coordinates(c, (point[:, 1], point[:, 0]), order=1, mode="nearest") for c in image.transpose(2, 0, 1)
    ]
    return np.stack(channels, axis=1)


def _body(
    photo: Photo, head: Head, rng: np.random.Generator, extent: tuple[int, int, int, int]
) -> tuple[Picture, NDArray[np.float32]]:
    left, top, width, height = extent
    jaw, chin = photo.landmarks[[172, 397], :2].mean(0), photo.landmarks[152, :2]
    neck = 0.37 * float(np.linalg.norm(photo.landmarks[234, :2] - photo.landmarks[454, :2]))
    low = float(chin[1]) - 0.11 * head.face  # chins cover some of a neck
    build = Build(float(0.6 * jaw[0] + 0.4 * chin[0]) - left, low - top, head.face, neck)
    skin = skin_colour(photo, head)
    clothes = choose_clothes(rng, _worn(photo, head, skin), float(np.array(skin) @ LUMA))
    body, cover = paint_body(height, width, build, clothes, skin)
    if photo.gray:
        body = np.repeat((body @ LUMA)[..., None], 3, axis=2)
    return body, cover


def _light(photo: Photo, head: Head, cover: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gain (H, W) of the body: the head's shadow on it, and the side that the light comes from."""
    degrees, oval, _ = _polar_photo(photo, head)
    columns = np.broadcast_to(np.arange(photo.image.shape[1]) > head.centre[0], oval.shape)
    cheek = (oval > 0.45) & (oval < 0.85) & (degrees > 80) & (degrees < 140)
    bright = photo.image @ LUMA
    left, right = (float(bright[cheek & side].mean()) + 10 for side in (~columns, columns))
    slope = np.clip((right - left) / (right + left), -0.25, 0.25) * np.clip(
        (x - head.centre[0]) / (0.5 * head.face), -1, 1
    )
    drop = max(1, round(0.075 * head.face / 2))
    low = np.pad(cover[::2, ::2], ((drop, 0), (0, 0)))[:-drop]
    shadow = gaussian_filter(low, 0.028 * head.face).repeat(2, 0).repeat(2, 1)[: x.shape[0], : x.shape[1]]
    return np.asarray((1 + 0.7 * slope) * (1 - 0.5 * shadow), np.float32)


def _polar_photo(photo: Photo, head: Head) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Degrees from up (absolute), and distance in shares of oval and of outline, of every pixel of the photo."""
    y, x = np.mgrid[0 : photo.image.shape[0], 0 : photo.image.shape[1]]
    angle, radius = head.polar(x, y)
    oval = np.interp(angle, head.angle, head.oval, period=2 * np.pi)
    outline = np.interp(angle, head.angle, head.radius, period=2 * np.pi)
    return np.degrees(np.abs(angle)), radius / oval, radius / outline


def skin_colour(photo: Photo, head: Head) -> RGB:
    """The colour of the lower cheeks, of their lighter half: beards and shadows are not skin."""
    degrees, oval, _ = _polar_photo(photo, head)
    pixels = photo.image[(oval > 0.5) & (oval < 0.9) & (degrees > 95) & (degrees < 145)]
    bright = pixels @ LUMA
    return _median(pixels[bright >= np.median(bright)])


def _worn(photo: Photo, head: Head, skin: RGB) -> RGB | None:
    """The colour of the lower corners if it is not skin's."""
    degrees, _, outline = _polar_photo(photo, head)
    corner = (degrees > 118) & (outline > 1.12)
    if corner.sum() < 60:
        return None
    worn = _median(photo.image[corner])
    return worn if abs(sum(worn) - sum(skin)) > 90 else None


def _median(pixels: NDArray[np.uint8]) -> RGB:
    r, g, b = np.median(pixels.reshape(-1, 3), axis=0).astype(int).tolist()
    return (r, g, b)


def surroundings(photo: Photo) -> tuple[Picture, tuple[float, float]]:
    """The photo's own background at half its scale, the person taken out, and the place of its pixel (0, 0) there."""
    head = find_head(photo)
    left, top, width, height = _extent(photo, head)
    degrees, _, outline = _polar_photo(photo, head)
    for least in (1.22, 1.1, 0.97):  # a face may fill its photo; what is at the rim then stands for a room
        seen = (outline > least) & (degrees < 112)
        if seen.mean() > 0.02:
            break
    known = np.clip(2 * gaussian_filter(seen.astype(np.float32), 5.0) - 1, 0, 1)
    image, weight = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    rows, columns = slice(-top, -top + photo.image.shape[0]), slice(-left, -left + photo.image.shape[1])
    image[rows, columns], weight[rows, columns] = photo.image, known
    small, small_weight = _halve(image, weight)
    filled = gaussian_filter(spread_colours(small, small_weight), (14, 14, 0), mode="nearest")  # out of focus
    return filled, (-left / 2, -top / 2)


def _halve(image: Picture, weight: NDArray[np.float32]) -> tuple[Picture, NDArray[np.float32]]:
    """Both at half the size; colours count by their weight, and a weight stays whole where it was."""
    height, width = weight.shape
    pad = ((0, height % 2), (0, width % 2))
    w = np.pad(weight, pad)
    c = np.pad(image, (*pad, (0, 0))) * w[..., None]
    w = w.reshape(w.shape[0] // 2, 2, -1, 2).sum((1, 3))
    c = c.reshape(c.shape[0] // 2, 2, -1, 2, 3).sum((1, 3))
    return c / np.maximum(w, 1e-6)[..., None], np.minimum(w / 2, 1)


def spread_colours(image: Picture, weight: NDArray[np.float32]) -> Picture:
    """The image where weight is 1; where it is 0, what lies around, the smoother the further away."""
    if min(weight.shape) <= 2:
        mean = (image * weight[..., None]).sum((0, 1)) / max(float(weight.sum()), 1e-6)
        return np.broadcast_to(mean, image.shape).astype(np.float32)
    coarse = spread_colours(*_halve(image, weight))
    grown = coarse.repeat(2, 0).repeat(2, 1)[: weight.shape[0], : weight.shape[1]]
    grown = gaussian_filter(grown, (1.2, 1.2, 0), mode="nearest")
    share = weight[..., None]
    return np.asarray(image * share + grown * (1 - share), np.float32)
