"""Training pictures of the finder: whole photos and film frames, several beside each other, each at its own scale.

F pictures, K faces in each, N scenes, M views, S side in pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor
from torch.nn import functional as F

from captioner.data.manifest import SPLITS
from captioner.errors import ManifestError
from captioner.faces.points import MESH_68
from captioner.faces.warp import grid, sample
from captioner.synth.photo.photo_set import PhotoSet
from captioner.train.faces.scenes import SIDE, Scenes, degrade, finder_targets, grained
from captioner.video import LUMA
from captioner.video.reading import read_clip

_SHOWN = (7.0, 34.0)  # sides of faces in a scene, as a rule
_LARGE = 110.0  # and at most: such faces are texture, another level of the pyramid finds them


@dataclass
class PictureSet:
    """Grey pictures (F, 1, S, S) of bytes with the centre x, y and size of their faces (F, K, 3), NaN for none."""

    images: Tensor
    faces: Tensor

    @cached_property
    def levels(self) -> list[Tensor]:
        """The pictures at whole, half, quarter and eighth size."""
        levels = [self.images]
        for _ in range(3):
            parts = [F.avg_pool2d(part.float(), 2).round().byte() for part in levels[-1].split(512)]
            levels.append(torch.cat(parts))
        return levels

    @cached_property
    def mean(self) -> Tensor:
        """The grey (F,) that surrounds each picture, as it does in use."""
        return self.levels[-1].float().mean((1, 2, 3))


def photo_pictures(photos: PhotoSet, split: str = "train") -> PictureSet:
    """The photos of a split, one face in each."""
    rows = np.flatnonzero(photos.table["split"] == SPLITS.index(split))
    images = np.stack([_grey(photos.photo(int(row)).image) for row in rows])
    marks = photos.table["landmarks"][rows].astype(np.float32)[:, list(MESH_68), :2] * images.shape[-1] - 0.5
    return PictureSet(torch.from_numpy(images)[:, None], squares(torch.from_numpy(marks))[:, None])


def film_pictures(folder: Path, frames: int = 4, split: str = "train") -> PictureSet:
    """Some frames of every square made clip of a split, with whoever is seen in them."""
    labels = sorted((folder / "labels").glob(f"*_{split}_*.safetensors"))
    if not labels:
        raise ManifestError(
            f"{folder} holds no labels/*_{split}_*.safetensors; wanted a folder of scripts/make_clips.py"
        )
    images: list[NDArray[np.uint8]] = []
    faces: list[Tensor] = []
    for path in labels:
        clip = read_clip(folder / "videos" / f"{path.stem}.mp4", frames)
        points = load_file(path)["landmarks"].astype(np.float32)
        if clip.frames.shape[1] != clip.frames.shape[2] or points.shape[2] < 478:
            raise ManifestError(
                f"{path.stem} is no square clip of photos; wanted one of make_clips.py --faces --size N"
            )
        at = np.clip(np.round(clip.times * clip.fps).astype(int), 0, points.shape[1] - 1)
        images += [_grey(frame) for frame in clip.frames]
        marks = torch.from_numpy(points[:, at][:, :, list(MESH_68)] - 0.5)
        faces += list(squares(marks.flatten(0, 1)).view(len(points), len(at), 3).swapaxes(0, 1))
    most = max(len(each) for each in faces)
    padded = torch.full((len(faces), most, 3), torch.nan)
    for i, each in enumerate(faces):
        padded[i, : len(each)] = each
    return PictureSet(torch.from_numpy(np.stack(images))[:, None], padded)


def squares(marks: Tensor) -> Tensor:
    """Centre x, y and side (N, 3) of the bounds of landmarks (N, 68, 2)."""
    low, high = marks.amin(1), marks.amax(1)
    return torch.cat([(low + high) / 2, (high - low).prod(1, keepdim=True) ** 0.5], dim=1)


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.ndim == 2:
        return image
    return (image.astype(np.float32) @ np.array(LUMA, np.float32)).round().astype(np.uint8)


class Mosaic:
    """Draws scenes from several sets of pictures, each as often as its odds say."""

    def __init__(self, sets: Sequence[PictureSet], odds: Sequence[float]) -> None:
        self.sets, self.odds = sets, torch.tensor(odds)

    def scenes(self, count: int) -> Scenes:
        """`count` scenes of 1, 4 or 16 views each."""
        across = (1, 2, 2, 2, 4, 4)[int(torch.randint(0, 6, ()))]
        side, views = SIDE // across, count * across**2
        pictures = torch.empty(views, 1, side, side)
        kind = torch.multinomial(self.odds, views, replacement=True)
        spots, cells = [], []
        for i, each in enumerate(self.sets):
            here = torch.nonzero(kind == i)[:, 0]
            if len(here):
                pictures[here], shown = _views(each, len(here), side)
                spots.append(shown.flatten(0, 1))
                cells.append(here.repeat_interleave(shown.shape[1]))
        spot, cell = torch.cat(spots), torch.cat(cells)
        whole = (spot[:, 0] > -0.5) & (spot[:, 1] > -0.5) & (spot[:, :2] < side - 0.5).all(1)  # NaN is not
        spot, cell = spot[whole], cell[whole]
        corner = torch.stack([cell % across, cell // across % across], 1) * float(side)
        spot = torch.cat([spot[:, :2] + corner, spot[:, 2:], torch.ones(len(spot), 1)], dim=1)
        room = torch.cat([corner, corner + side], dim=1)
        pictures = _lit(pictures).view(count, across, across, side, side).transpose(2, 3).reshape(count, 1, SIDE, SIDE)
        return finder_targets(degrade(pictures), cell // across**2, spot, room)


def _views(given: PictureSet, count: int, side: int) -> tuple[Tensor, Tensor]:
    """Views (M, 1, side, side) of random pictures around one of their faces, and all their faces (M, K, 3) there."""
    rows = torch.randint(0, len(given.images), (count,))
    faces, whole = given.faces[rows], given.images.shape[-1]
    there = faces.isfinite().all(2)
    chosen = faces[torch.arange(count), (torch.rand(there.shape) * there).argmax(1)]
    anywhere = torch.cat([torch.rand(count, 2) * whole, torch.empty(count, 1).uniform_(0.15, 0.5) * whole], dim=1)
    anchor = torch.where(there.any(1, keepdim=True), chosen, anywhere)
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    size = torch.exp(torch.empty(count).uniform_(math.log(_SHOWN[0]), math.log(_SHOWN[1])))
    size = torch.where(torch.rand(count) < 0.15, torch.empty(count).uniform_(_SHOWN[1], _LARGE), size)
    scale = (anchor[:, 2] / size.clamp_max(1.2 * side)).clamp_min(0.4)  # picture pixels a pixel of the view
    # the picture fills the view, or lies in it whole; its face is mostly in sight
    start = torch.where(flip < 0, whole - 1 - anchor[:, 0], anchor[:, 0])
    before = torch.stack([start, anchor[:, 1]], 1) / scale[:, None]
    spare = (side - whole / scale)[:, None]
    edge = torch.where(spare > 0, torch.rand(count, 2) * spare, torch.rand(count, 2) * side - before)
    place = torch.maximum(torch.minimum(edge, spare.clamp_min(0)), spare.clamp_max(0)) + before
    angle = torch.randn(count).clamp(-2, 2) * math.radians(9) * (torch.rand(count) < 0.6)
    squeeze = torch.exp(torch.randn(count) * 0.06)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    turn = torch.stack([torch.stack([cos / squeeze * flip, -sin * flip], -1), torch.stack([sin / squeeze, cos], -1)], 1)
    local = (grid(side).view(1, -1, 2) + 0.5) * side - 0.5 - place[:, None]
    at = local @ turn.mT + anchor[:, None, :2]
    level = (torch.log2(scale) + torch.rand(count) * 0.6).floor().clamp(0, len(given.levels) - 1).long()
    pictures = torch.empty(count, 1, side, side)
    for i, images in enumerate(given.levels):
        here = torch.nonzero(level == i)[:, 0]
        if len(here):
            shrunk = ((at[here] + 0.5) / 2**i - 0.5).view(len(here), side, side, 2)
            pictures[here] = sample(images[rows[here]].float(), shrunk)
    inside = ((at > -0.5) & (at < whole - 0.5)).all(2).view(count, 1, side, side)
    pictures = torch.where(inside, pictures, given.mean[rows].view(count, 1, 1, 1))
    centres = (faces[:, :, :2] - anchor[:, None, :2]) @ torch.linalg.inv(turn).mT + place[:, None]
    return pictures, torch.cat([centres, faces[:, :, 2:] / (scale / squeeze**0.5)[:, None, None]], dim=2)


def _lit(views: Tensor) -> Tensor:
    """Views (M, 1, S, S) in other light: dim, flat, from one side, through another curve."""
    one = (len(views), 1, 1, 1)
    gain = torch.where(
        torch.rand(one) < 0.25, torch.empty(one).uniform_(0.15, 0.5), torch.empty(one).uniform_(0.5, 1.15)
    )
    flat = torch.where(torch.rand(one) < 0.25, torch.empty(one).uniform_(0.3, 0.8), 1.0)
    mean = views.mean((1, 2, 3), keepdim=True)
    views = ((views - mean) * flat + mean).clamp_min(0.3) / 255
    at = grid(views.shape[-1])
    slope = torch.randn(len(views), 2, 1, 1) * 0.6 * (torch.rand(one) < 0.4)
    ramp = 1 + slope[:, :1] * at[..., 0] + slope[:, 1:] * at[..., 1]
    return grained((views ** torch.exp(torch.randn(one) * 0.25) * ramp.clamp_min(0.2) * gain * 255).clamp(0, 255))
