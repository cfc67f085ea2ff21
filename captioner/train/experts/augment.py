"""Aligned faces under other conditions: moved, mirrored, in other light, coarse, partly covered.

Axes: B batch, S side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mirror_signs(count: int, random: torch.Generator) -> Tensor:
    """1 or -1 (B,) at random: whether `jitter` mirrors a picture."""
    return 1 - 2 * torch.rand(count, generator=random, device=random.device).round()


def jitter(frames: Tensor, random: torch.Generator, side: Tensor, strength: float = 1.0) -> Tensor:
    """The frames (B, 2, 3) turned (12 degrees), scaled (12 %), shifted (6 %) at random, mirrored where `side` is -1."""
    count, device = len(frames), frames.device
    turn, scale, x, y = torch.randn(4, count, generator=random, device=device).clamp(-2, 2) * strength / 2
    angle, scale = turn * 0.21, (scale * 0.12).exp()
    cos, sin = angle.cos() * scale, angle.sin() * scale
    # About the middle of the crop: u -> R (u - 1/2) + 1/2 + shift.
    left = 0.5 + x * 0.06 - (side * cos - side * sin) / 2
    top = 0.5 + y * 0.06 - (sin + cos) / 2
    rows = [side * cos, -side * sin, left, sin, cos, top, 0 * cos, 0 * cos, 0 * cos + 1]
    return frames @ torch.stack(rows, 1).view(-1, 3, 3)


def relight(crops: Tensor, random: torch.Generator, erase: float = 0.3, coarse: float = 0.0) -> Tensor:
    """Crops (B, 1, S, S) under other light, gamma, sharpness and noise; a share `erase` loses a rectangle.

    A share `coarse` is small and dim, as faces far from a camera are.
    """
    count, size, device = len(crops), crops.shape[-1], crops.device
    gain, lift, bend, grain = torch.randn(4, count, 1, 1, 1, generator=random, device=device).clamp(-2, 2)
    slope = torch.randn(count, 2, 1, generator=random, device=device).clamp(-2, 2) * 0.15
    line = torch.linspace(-1, 1, size, device=device)
    light = (slope[:, 0] * line)[:, None, :] + (slope[:, 1] * line)[:, :, None]  # (B, S, S)
    crops = crops.clamp(1e-4, 1) ** (bend * 0.25).exp()
    crops = (crops - 0.5) * (gain * 0.2).exp() + 0.5 + lift * 0.08 + light[:, None] * crops
    soft = F.avg_pool2d(F.pad(crops, (1, 1, 1, 1), mode="replicate"), 3, 1)
    blur, fill = torch.rand(2, count, 1, 1, 1, generator=random, device=device)
    crops = crops.lerp(soft, (blur - 0.5).clamp(min=0) * 2)
    if coarse:
        crops = _distant(crops, random, coarse)
    crops = crops + grain.abs() * 0.012 * torch.randn(crops.shape, generator=random, device=device)
    return torch.where(_holes(count, size, random, erase), fill, crops).clamp(0, 1)


def _distant(crops: Tensor, random: torch.Generator, share: float) -> Tensor:
    """A share of the crops (B, 1, S, S) at 0.25 to 0.8 of their resolution, as many at 0.2 to 0.9 of their light."""
    count, size, device = len(crops), crops.shape[-1], crops.device
    small = round(size * (0.25 + 0.55 * float(torch.rand(1, generator=random, device=device))))
    low = F.interpolate(crops, (small, small), mode="bilinear", antialias=True)
    low = F.interpolate(low, (size, size), mode="bilinear")
    lots = torch.rand(3, count, 1, 1, 1, generator=random, device=device)
    crops = torch.where(lots[0] < share, low, crops)
    return torch.where(lots[1] < share, crops * (0.2 + 0.7 * lots[2]), crops)


def _holes(count: int, size: int, random: torch.Generator, share: float) -> Tensor:
    """Masks (B, 1, S, S), true in a rectangle of a tenth to four tenths of the side each way."""
    device = random.device
    extent = torch.rand(2, count, 1, generator=random, device=device) * 0.3 + 0.1
    start = torch.rand(2, count, 1, generator=random, device=device) * (1 - extent)
    place = torch.arange(size, device=device).add(0.5).div(size)
    inside = (place >= start) & (place < start + extent)  # (2, B, S)
    chosen = torch.rand(count, 1, 1, generator=random, device=device) < share
    return (inside[0][:, None, :] & inside[1][:, :, None] & chosen)[:, None]
