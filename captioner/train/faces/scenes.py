"""Training pictures of the finder: photo crops pasted into made scenes, with the faces that must be found.

N scenes, S side in pixels, M pasted faces, G cells of the finder's grid.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.faces.nets import Finder
from captioner.faces.warp import grid, sample
from captioner.train.faces.face_augment import _blur, _compress, _contrast, _some

SIDE = 160
SMALLEST, LARGEST = 8.5, 30.0  # sides of faces the finder must find; the pyramid halves larger ones
_PATCH = 72


@dataclass
class Scenes:
    """Pictures (N, 1, S, S) in 0..255; heat (N, G, G), where to ignore it, offsets and log size (N, 3, G, G), near."""

    pictures: Tensor
    heat: Tensor
    care: Tensor
    where: Tensor
    near: Tensor


class Paster:
    """Draws scenes with faces of the photos given."""

    def __init__(self, levels: list[Tensor], faces: Tensor) -> None:
        """levels: photos (N, 1, 192, 192) of bytes and each half as large as the one before; faces (N, 3)."""
        self.levels = levels
        self.centre, self.size = faces[:, :2], faces[:, 2]

    def scenes(self, count: int) -> Scenes:
        """`count` scenes, a sixth of them without a face."""
        pictures = self._backgrounds(count)
        many = torch.multinomial(torch.tensor([0.16, 0.3, 0.2, 0.14, 0.1, 0.06, 0.04]), count, replacement=True)
        owner = torch.repeat_interleave(torch.arange(count), many)
        spots = _spots(owner)
        patches, masks = self._patches(spots)
        for i in range(len(owner)):
            _paste(pictures[owner[i], 0], patches[i, 0], masks[i, 0], spots[i])
        pictures = _film(pictures)
        hidden = _bars(pictures)
        x, y = spots[:, :2].round().long().clamp(0, SIDE - 1).unbind(1)
        spots[hidden[owner, y, x], 3] = 0
        return finder_targets(pictures, owner, spots)

    def _backgrounds(self, count: int) -> Tensor:
        rows = torch.randint(0, len(self.size), (count,))
        # so large that what shows of a face is texture: hair, cloth, skin, an eye at most
        scale = torch.empty(count).uniform_(0.08, 0.8)
        angle = torch.rand(count) * 2 * math.pi
        turn = torch.stack([torch.stack([torch.cos(angle), -torch.sin(angle)], -1),
                            torch.stack([torch.sin(angle), torch.cos(angle)], -1)], 1)  # fmt: skip
        at = grid(SIDE).view(1, -1, 2) * SIDE @ (turn * scale[:, None, None]).mT
        corner = torch.randint(0, 2, (count, 1, 2)) * 192.0
        at = at + torch.where(torch.rand(count, 1, 1) < 0.7, corner, torch.rand(count, 1, 2) * 192)
        photo = sample(self.levels[0][rows].float(), at.view(count, SIDE, SIDE, 2), "reflection")
        clouds = [torch.rand(max(1, count // 4), 1, cells, cells) * 255 for cells in (2, 4, 8, 20)]
        wide = [F.interpolate(cloud, size=(SIDE, SIDE), mode="bilinear") for cloud in clouds]
        smooth = torch.cat(wide).repeat(2, 1, 1, 1)[torch.randperm(count)]
        mix = (torch.rand(count, 1, 1, 1) * 2.4 - 0.5).clamp(0, 1)
        pictures = photo * mix + smooth * (1 - mix)
        for i in range(count):
            if float(torch.rand(())) < 0.15:
                pictures[i] = _shuffled(pictures[i], 20)
            for _ in range(int(torch.randint(0, 7, ()))):
                _block(pictures[i, 0])
        return pictures

    def _patches(self, spots: Tensor) -> tuple[Tensor, Tensor]:
        """Face crops (M, 1, 72, 72) with the face's centre at the patch's, and how opaque they are."""
        count = len(spots)
        rows = torch.randint(0, len(self.size), (count,))
        size = spots[:, 2]
        level = torch.where(size < 11, 3, torch.where(size < 23, 2, torch.where(size < 48, 1, 0)))
        angle = torch.randn(count).clamp(-2, 2) * math.radians(13)
        squeeze = torch.exp(torch.randn(count) * 0.06) * torch.where(torch.rand(count) < 0.15, 0.8, 1.0)
        flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
        scale = self.size[rows] / size
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        turn = torch.stack(
            [torch.stack([cos / squeeze * flip, -sin * flip], -1), torch.stack([sin / squeeze, cos], -1)], 1
        )
        local = grid(_PATCH).view(1, -1, 2) * _PATCH - (spots[:, None, :2] - spots[:, None, :2].round())
        at = (local @ turn.mT + self.centre[rows][:, None]).view(count, _PATCH, _PATCH, 2)
        patches = torch.zeros(count, 1, _PATCH, _PATCH)
        for i in range(4):
            here = torch.nonzero(level == i)[:, 0]
            if len(here):
                shrunk = (at[here] + 0.5) / 2**i - 0.5
                patches[here] = sample(self.levels[i][rows[here]].float(), shrunk)
        inside = ((at > -1) & (at < 192)).all(-1).float().unsqueeze(1)
        masks = _masks(local.view(count, _PATCH, _PATCH, 2), size, inside)
        one = (count, 1, 1, 1)
        gain = torch.where(
            torch.rand(one) < 0.2, torch.empty(one).uniform_(0.3, 0.6), torch.empty(one).uniform_(0.5, 1.2)
        )
        patches = patches * gain + torch.rand(one) * 50 * (torch.rand(one) < 0.3)
        wrong = torch.nonzero(spots[:, 3] == 0)[:, 0]
        for i in wrong.tolist():
            if float(size[i]) < LARGEST:
                patches[i] = _shuffled(patches[i], 12)
        return patches, masks


def _masks(local: Tensor, size: Tensor, inside: Tensor) -> Tensor:
    """Whole photos, or heads cut out along an ellipse, with hard or soft edges."""
    count = len(size)
    wide = torch.empty(count, 1, 1).uniform_(0.55, 0.85) * size[:, None, None]
    tall = torch.empty(count, 1, 1).uniform_(0.72, 1.05) * size[:, None, None]
    up = 0.15 * size[:, None, None]
    radius = ((local[..., 0] / wide) ** 2 + ((local[..., 1] + up) / tall) ** 2) ** 0.5
    soft = torch.empty(count, 1, 1).uniform_(0.05, 0.4)
    ellipse = ((1 - radius) / soft + 0.5).clamp(0, 1).unsqueeze(1)
    whole = (torch.rand(count, 1, 1, 1) < 0.35).float()
    return inside * (whole + (1 - whole) * ellipse)


def _spots(owner: Tensor) -> Tensor:
    """Centre x, y, size, is-a-face (M, 4) of what is pasted; later ones avoid earlier ones of the same scene."""
    count = len(owner)
    low, high = math.log(SMALLEST), math.log(LARGEST)
    size = torch.exp(torch.empty(count).uniform_(low, high))
    size = torch.where(torch.rand(count) < 0.1, torch.empty(count).uniform_(48, 100), size)
    spots = torch.stack([torch.rand(count) * SIDE, torch.rand(count) * SIDE, size, torch.ones(count)], dim=1)
    spots[torch.rand(count) < 0.1, 3] = 0
    for i in range(count):
        rivals = torch.nonzero(owner[:i] == owner[i])[:, 0]
        for _ in range(8):
            apart = (spots[rivals, :2] - spots[i, :2]).abs().amax(1)
            if bool((apart > (spots[rivals, 2] + spots[i, 2]) * 0.5).all()):
                break
            spots[i, :2] = torch.rand(2) * SIDE
        else:
            spots[i, 2] = SMALLEST  # no room: a small one in whatever place came last
    return spots


def _paste(picture: Tensor, patch: Tensor, mask: Tensor, spot: Tensor) -> None:
    left, top = (int(spot[i].round()) - _PATCH // 2 for i in range(2))
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + _PATCH, SIDE), min(top + _PATCH, SIDE)
    if x1 <= x0 or y1 <= y0:
        return
    here = (slice(y0, y1), slice(x0, x1))
    there = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    picture[here] += (patch[there] - picture[here]) * mask[there]


def _shuffled(picture: Tensor, cell: int) -> Tensor:
    """The same picture (1, S, S) with its square cells in another order: no face survives it."""
    count = picture.shape[-1] // cell
    cells = picture.view(count, cell, count, cell).transpose(1, 2).reshape(-1, cell, cell)
    cells = cells[torch.randperm(len(cells))]
    return cells.view(count, count, cell, cell).transpose(1, 2).reshape_as(picture)


def _block(picture: Tensor) -> None:
    """One bar, beam or box of a plain colour."""
    height, width = (int(s) for s in (torch.rand(2) ** 2 * SIDE * 0.7 + 1))
    top, left = int(torch.randint(0, SIDE - height, ())), int(torch.randint(0, SIDE - width, ()))
    shade = float(torch.rand(())) * 255
    here = picture[top : top + height, left : left + width]
    here += (shade - here) * float(torch.empty(()).uniform_(0.3, 1.0))


def _film(pictures: Tensor) -> Tensor:
    """Dim, noisy, blurred, compressed scenes."""
    one = (len(pictures), 1, 1, 1)
    gain = torch.where(
        torch.rand(one) < 0.25, torch.empty(one).uniform_(0.12, 0.5), torch.empty(one).uniform_(0.5, 1.1)
    )
    lit = ((pictures / 255).clamp(1e-3, 1) ** torch.exp(torch.randn(one) * 0.25) * gain * 255).clamp(0, 255)
    return degrade(grained(lit))


def grained(pictures: Tensor) -> Tensor:
    """Pictures (N, 1, S, S) with noise, each its own."""
    return pictures + torch.randn_like(pictures) * (torch.rand(len(pictures), 1, 1, 1) ** 3 * 10 * _contrast(pictures))


def degrade(pictures: Tensor) -> Tensor:
    """Pictures (N, 1, S, S) some of which are blurred or compressed, in whole greys."""
    pictures = _some(pictures, 0.15, lambda some: some + (_blur(some) - some) * torch.rand(len(some), 1, 1, 1))
    return _some(pictures, 0.25, _compress).round().clamp(0, 255)


def _bars(pictures: Tensor) -> Tensor:
    """Where (N, S, S) bars were drawn above and below or beside some pictures."""
    hidden = torch.zeros(len(pictures), SIDE, SIDE, dtype=torch.bool)
    for i in torch.nonzero(torch.rand(len(pictures)) < 0.12)[:, 0].tolist():
        deep = int(torch.randint(4, 40, ()))
        side = hidden[i] if float(torch.rand(())) < 0.7 else hidden[i].mT
        side[:deep] = True
        if float(torch.rand(())) < 0.6:
            side[SIDE - deep :] = True
    pictures[hidden.unsqueeze(1)] = 0.0
    return hidden


def finder_targets(pictures: Tensor, owner: Tensor, spots: Tensor, room: Tensor | None = None) -> Scenes:
    """What the finder should say of pictures whose faces are `spots` (M, 4: centre x, y, size, is-a-face).

    owner (M,) is the picture each belongs to, room (M, 4: x0 y0 x1 y1) the part of it that the spot's picture fills.
    """
    count, cells, stride = len(pictures), SIDE // Finder.stride, Finder.stride
    face = spots[:, 3] > 0
    owner, spots = owner[face], spots[face, :3]
    room = torch.tensor([0.0, 0.0, SIDE, SIDE]).expand(len(spots), 4) if room is None else room[face]
    middle = (torch.arange(cells) + 0.5) * stride - 0.5
    dx, dy = ((spots[:, i, None] - middle) / stride for i in range(2))
    apart = dx[:, None] ** 2 + dy[:, :, None] ** 2
    near = apart == apart.amin((1, 2), keepdim=True)
    size = spots[:, 2, None, None]
    # neither asked for nor refused: what lies half beyond the edge, what the dark has swallowed, and sizes between
    # those to find and those not to
    x, y = (spots[:, :2] / stride).long().clamp(0, cells - 1).unbind(1)
    vague = (_outside(spots, room) > 0.3) | (spots[:, 2] < SMALLEST) | (spots[:, 2] > LARGEST)
    vague |= _deviation(pictures)[owner, y, x] < 1.5
    unseen = (spots[:, 2] < SMALLEST * 0.75) | (spots[:, 2] > LARGEST * 1.2)
    left, top, right, bottom = (room[:, i, None] for i in range(4))
    across, down = (middle > left) & (middle < right), (middle > top) & (middle < bottom)
    around = (
        (apart < (size / stride * 0.7) ** 2) & across[:, None] & down[:, :, None] & (vague & ~unseen)[:, None, None]
    )
    care = torch.ones(count, cells, cells)
    scene, y, x = torch.nonzero(around, as_tuple=True)
    care[owner[scene], y, x] = 0.0
    sure = ~vague
    owner, spots, apart, near, size, dx, dy = (each[sure] for each in (owner, spots, apart, near, size, dx, dy))
    spread = (size / stride / 7).clamp_min(0.45)
    bump = torch.exp(-apart / (2 * spread**2)).masked_fill(near, 1.0)
    heat = torch.zeros(count, cells, cells)
    heat.scatter_reduce_(0, owner[:, None, None].expand_as(bump), bump, "amax")
    inner, y, x = torch.nonzero(near | (apart < (spread**2 * 1.4).clamp_min(0.6)), as_tuple=True)
    where, asked = torch.zeros(count, 3, cells, cells), torch.zeros(count, cells, cells)
    where[owner[inner], :, y, x] = torch.stack([dx[inner, x], dy[inner, y], (spots[inner, 2] / 16).log()], dim=1)
    asked[owner[inner], y, x] = 1.0
    care[heat == 1] = 1.0
    return Scenes(pictures, heat, care, where, asked)


def _deviation(pictures: Tensor) -> Tensor:
    """Of the greys around each of the finder's cells (N, G, G)."""

    def around(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(x, Finder.stride), 3, 1, 1, count_include_pad=False)[:, 0]

    return (around(pictures * pictures) - around(pictures) ** 2).clamp_min(0) ** 0.5


def _outside(spots: Tensor, room: Tensor) -> Tensor:
    """How much (M,) of each spot lies beyond its room."""
    half = spots[:, 2:3] / 2
    shown = torch.minimum(spots[:, :2] + half, room[:, 2:]) - torch.maximum(spots[:, :2] - half, room[:, :2])
    return 1 - shown.clamp_min(0).prod(1) / spots[:, 2] ** 2
