"""Turning, scaling and cutting: the similarity that lays one face on another, and crops read through it.

N crops, P points, S side in pixels. A map is (2, 3): columns x, y, shift. Aligned coordinates are crop sides from the
crop's centre; pixel centres are whole numbers.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def fit_similarity(points: Tensor, target: Tensor) -> Tensor:
    """Least-squares turn, scale and shift (N, 2, 3) that lays points (N, P, 2) on a target (P, 2) or (N, P, 2)."""
    target = target.expand_as(points)
    centre, goal = points.mean(1, keepdim=True), target.mean(1, keepdim=True)
    p, t = points - centre, target - goal
    power = (p**2).sum((1, 2)).clamp_min(1e-9)
    a = (p * t).sum((1, 2)) / power
    b = (p[..., 0] * t[..., 1] - p[..., 1] * t[..., 0]).sum(1) / power
    matrix = torch.stack([torch.stack([a, -b], -1), torch.stack([b, a], -1)], 1)
    return torch.cat([matrix, (goal - centre @ matrix.mT).mT], dim=2)


def inverse(maps: Tensor) -> Tensor:
    """The maps (N, 2, 3) backwards."""
    matrix = torch.linalg.inv(maps[:, :, :2])
    return torch.cat([matrix, -matrix @ maps[:, :, 2:]], dim=2)


def apply(maps: Tensor, points: Tensor) -> Tensor:
    """Points (N, P, 2) moved by maps (N, 2, 3)."""
    return points @ maps[:, :, :2].mT + maps[:, None, :, 2]


def grid(size: int) -> Tensor:
    """Centres of a crop's pixels (S, S, 2) in aligned coordinates."""
    line = (torch.arange(size) + 0.5) / size - 0.5
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)


def sample(images: Tensor, at: Tensor, padding: str = "border") -> Tensor:
    """Pictures (N, C, H, W) read at pixel positions (N, S, S, 2)."""
    height, width = images.shape[-2:]
    at = (at + 0.5) * torch.tensor([2 / width, 2 / height]) - 1
    return F.grid_sample(images, at, mode="bilinear", padding_mode=padding, align_corners=False)


def cut_crops(picture: Tensor, maps: Tensor, size: int) -> Tensor:
    """Crops (N, C, S, S) of one picture (C, H, W) of bytes or floats; maps (N, 2, 3) lead from aligned to pixels.

    Only the window around each crop is read, and averaged down first where the crop is much smaller than it.
    """
    return torch.cat([_cut_one(picture, each, size) for each in maps]) if len(maps) else picture.new_zeros(0)


def _cut_one(picture: Tensor, one: Tensor, size: int) -> Tensor:
    height, width = picture.shape[-2:]
    at = grid(size).view(-1, 2) @ one[:, :2].T + one[:, 2]
    step = max(1, int(float(one[:, 0].norm()) / size / 0.85))  # source pixels averaged into one
    low, high = at.amin(0).floor().long() - step, at.amax(0).ceil().long() + step + 1
    left, top = (max(0, min(int(low[i]), side - 1)) for i, side in ((0, width), (1, height)))
    right, bottom = max(left + 1, min(int(high[0]), width)), max(top + 1, min(int(high[1]), height))
    window = picture[:, top:bottom, left:right].float().unsqueeze(0)
    at = at - torch.tensor([left, top])
    if step > 1 and min(window.shape[-2:]) >= step:
        window = F.avg_pool2d(window, step, ceil_mode=True, count_include_pad=False)
        at = (at + 0.5) / step - 0.5
    return sample(window, at.view(1, size, size, 2))
