"""A photo of a face whose action units move: the skin is a warped net, eyes and mouth lie below it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, grid_sample

from captioner.synth.actor import FacePlace, Picture
from captioner.synth.identity import State
from captioner.synth.photo.basis import IRISES, MESH_POINTS, Basis
from captioner.synth.photo.features import Eye, Mouth
from captioner.synth.photo.mesh import Net, build_net, rasterise
from captioner.synth.photo.photo_set import Photo
from captioner.synth.photo.shade import Furrows
from captioner.synth.photo.skin import Muscles

Array = NDArray[np.floating[Any]]

RECIPE = 1  # of how faces move; raised with every change of what a command looks like: stills of before are posed anew

_FADE = 0.07  # share of a bare photo's side over which it fades out
_MARGIN = 0.1  # share of its side by which a bare photo is continued
_LEVELS = 4


@dataclass(frozen=True)
class Canvas:
    """What a puppet is cut from: image (Hc, Wc, 3) in 0..255, alpha (Hc, Wc), and where the photo lies on it.

    `offset` is the canvas pixel (x, y) of the photo's pixel (0, 0); both have the same scale.
    """

    image: Array
    alpha: Array
    offset: tuple[float, float]


class Puppet:
    """Draws a photo in any state. `canvas` continues the photo; without one its edges fade out."""

    def __init__(self, photo: Photo, basis: Basis, canvas: Canvas | None = None) -> None:
        self.canvas = canvas or bare_canvas(photo)
        height, width = self.canvas.alpha.shape
        offset = np.array([*self.canvas.offset, 0], np.float32)
        self.landmarks = photo.landmarks.astype(np.float32) + offset
        self.net: Net = build_net(self.landmarks, basis, width, height)
        self.muscles = Muscles(self.landmarks, basis, photo.blendshapes)
        self.eyes = [Eye(self.canvas.image, self.landmarks, side) for side in (0, 1)]
        self.mouth = Mouth(self.canvas.image, self.landmarks, photo.gray)
        self.furrows = Furrows(self.landmarks, height, width)
        low, high = self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)
        self._centre, self._height = (low + high) / 2, float(high[1] - low[1])
        self._levels = _pyramid(self.canvas)
        self._triangles = _opaque(self.canvas.alpha, self.net)

    def draw(self, picture: Picture, state: State, place: FacePlace) -> Array:
        """Paint the person over `picture` (H, W, 3), in place; returns the landmarks (478, 2) in its pixels."""
        width = picture.shape[1]
        scale = place.height * state.scale / self._height
        aus = _active(state)
        shift = self.muscles.shift(aus, state.sides)
        turn = (state.yaw, state.pitch, state.roll)
        skin = self.net.move(shift, *turn)
        still = self.net.turn(self.landmarks, 1.0, *turn)

        def to_picture(points: Array, follow: Array | float) -> Array:
            sway = np.array([state.x * width, state.y * width], np.float32)
            where = (points[:, :2] - self._centre) * scale + np.array([place.x, place.y], np.float32)
            return np.asarray(where + sway * (0.5 + 0.5 * follow), np.float32)

        target = to_picture(skin, self.net.weight[:, None])
        rigid = to_picture(still, 1.0)
        self._draw_skin(picture, target, skin[:, 2], self.furrows.combine(aus, state.sides), scale)
        for side, eye in enumerate(self.eyes):
            wide, shut = self.muscles.lids(aus, state.sides, side)
            eye.draw(picture, target, rigid, state.gaze, wide, shut)
        self.mouth.draw(picture, target, rigid)
        seen = self.net.turn(self.landmarks[:MESH_POINTS] + shift, 1.0, *turn)
        return self._landmarks(to_picture(seen, 1.0), rigid, state)

    def _draw_skin(self, picture: Picture, target: Array, depth: Array, shade: Array | None, scale: float) -> None:
        corners = target[self._triangles].reshape(-1, 2)
        low = np.maximum(np.floor(corners.min(0)), 0).astype(int)
        high = np.minimum(np.ceil(corners.max(0)) + 1, picture.shape[1::-1]).astype(int)
        if (low >= high).any():
            return
        part = picture[low[1] : high[1], low[0] : high[0]]
        where = rasterise(target - low, self.net.rest[:, :2], depth, self._triangles, *part.shape[:2])
        level = int(np.clip(np.round(np.log2(1 / max(scale, 1e-3)) - 0.2), 0, _LEVELS - 1))
        layers = _sample(self._levels[level], where, 0.5**level)
        if shade is not None:
            layers[:3] *= _sample(torch.from_numpy(shade)[None, None], where, self.furrows.scale)
        soften_cuts(layers, where, 6 / scale)
        colour, alpha = layers[:3].permute(1, 2, 0).numpy(), layers[3].numpy()[..., None]
        part *= 1 - alpha
        part += colour

    def _landmarks(self, skin: Array, rigid: Array, state: State) -> Array:
        irises = rigid[MESH_POINTS:].copy()
        for side, eye in enumerate(self.eyes):
            rows = np.array(IRISES[side]) - MESH_POINTS
            irises[rows] += eye.glance(rigid, state.gaze)
        return np.concatenate([skin, irises])


def _active(state: State) -> dict[int, float]:
    """Intensities above zero, with blinks as closed eyes and speech as an opening mouth."""
    aus = {au: min(float(value), 1.2) for au, value in state.aus.items() if value > 1e-3}
    if state.blink > 0:
        aus[43] = max(aus.get(43, 0.0), min(state.blink, 1.0))
    if state.speech > 0:
        aus[25] = max(aus.get(25, 0.0), 0.5 * state.speech)
        aus[26] = max(aus.get(26, 0.0), 0.45 * state.speech)
    return aus


def _sample(canvas: torch.Tensor, where: Array, scale: float) -> torch.Tensor:
    """Values (C, H, W) of a canvas (1, C, Hc, Wc) at full-scale pixel coordinates (H, W, 2); 0 outside."""
    size = torch.tensor([canvas.shape[3], canvas.shape[2]], dtype=torch.float32)
    points = torch.from_numpy(where).nan_to_num(-1e4)
    grid = ((points + 0.5) * scale) * (2 / size) - 1
    return grid_sample(canvas, grid[None], mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def soften_cuts(layers: torch.Tensor, where: Array, jump: float) -> None:
    """Blur `layers` (C, H, W) in place where the canvas coordinates (H, W, 2) of neighbours are far apart.

    There one part of a head hides another, and a bare edge would show stairs.
    """
    across, down = (np.abs(np.diff(where, axis=axis)) @ np.ones(2, np.float32) > jump for axis in (1, 0))
    height, width = where.shape[0], where.shape[1]
    cut: NDArray[np.bool_] = np.zeros((height, width), bool)
    cut[:, 1:] |= across
    cut[:, :-1] |= across
    cut[1:] |= down
    cut[:-1] |= down
    y, x = np.divmod(np.flatnonzero(cut), width)
    if len(y) == 0:
        return
    total = torch.zeros(layers.shape[0], len(y))
    for dy, dx, share in ((0, 0, 0.4), (0, 1, 0.15), (0, -1, 0.15), (1, 0, 0.15), (-1, 0, 0.15)):
        rows, columns = (y + dy).clip(0, height - 1), (x + dx).clip(0, width - 1)
        total += share * layers[:, torch.from_numpy(rows), torch.from_numpy(columns)]
    layers[:, torch.from_numpy(y), torch.from_numpy(x)] = total


def _pyramid(canvas: Canvas) -> list[torch.Tensor]:
    """Colour times alpha, and alpha, (1, 4, Hc, Wc), at full, half, quarter ... size."""
    layers = np.concatenate([canvas.image * canvas.alpha[..., None], canvas.alpha[..., None]], axis=2)
    levels = [torch.from_numpy(np.ascontiguousarray(layers.transpose(2, 0, 1), np.float32))[None]]
    for _ in range(_LEVELS - 1):
        levels.append(avg_pool2d(levels[-1], 2, ceil_mode=True, count_include_pad=False))
    return levels


def _opaque(alpha: Array, net: Net) -> NDArray[np.int64]:
    """The triangles of a net that carry something of the person."""
    height, width = alpha.shape
    counts = np.zeros((height + 1, width + 1), np.int64)
    counts[1:, 1:] = (alpha > 0.002).cumsum(0).cumsum(1)
    corners = net.rest[net.triangles, :2]
    x0, y0 = np.clip(np.floor(corners.min(1)) - 1, 0, [width, height]).astype(int).T
    x1, y1 = np.clip(np.ceil(corners.max(1)) + 2, 0, [width, height]).astype(int).T
    return np.asarray(net.triangles[counts[y1, x1] - counts[y0, x1] - counts[y1, x0] + counts[y0, x0] > 0])


def bare_canvas(photo: Photo) -> Canvas:
    """The plain photo, its edges continued and faded out."""
    height, width = photo.image.shape[:2]
    pad = round(_MARGIN * max(height, width))
    image = np.pad(photo.image.astype(np.float32), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    y, x = np.mgrid[: height + 2 * pad, : width + 2 * pad].astype(np.float32) - pad
    inside = np.minimum(np.minimum(x, width - 1 - x) / width, np.minimum(y, height - 1 - y) / height)
    # a chin below the edge stays whole: inside the outline of the face nothing fades
    low, high = photo.landmarks[:, :2].min(0), photo.landmarks[:, :2].max(0)
    reach = np.hypot((x - (low + high)[0] / 2) / (high - low)[0], (y - (low + high)[1] / 2) / (high - low)[1]) * 2
    alpha = np.maximum(np.clip(inside / _FADE, 0, 1), np.clip((1.12 - reach) / 0.12, 0, 1))
    return Canvas(image, (alpha * alpha * (3 - 2 * alpha)).astype(np.float32), (float(pad), float(pad)))
