"""Training pictures of the landmark network: photos turned, blurred, dimmed, compressed, covered, all in batches.

N crops, S side in pixels; aligned coordinates are crop sides from the crop's centre with the face upright.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.faces.nets import FACE_SPAN
from captioner.faces.points import MESH_68, MIRROR_68
from captioner.faces.warp import apply, fit_similarity, grid, inverse, sample


@dataclass(frozen=True)
class Jitter:
    """How far crops stray from the aligned one: degrees, log scale, crop sides."""

    turn: float = 6.0
    scale: float = 0.06
    shift: float = 0.03
    yaw: float = 18.0
    pitch: float = 10.0


@dataclass
class FaceTable:
    """Photos (N, H, W) uint8 with mesh points (N, 478, 3) in pixels and what the networks should say about them."""

    images: Tensor
    points: Tensor
    known: Tensor  # (478,) weight of each point in the error
    values: Tensor  # (N, E), standardised
    values_weight: float
    odds: Tensor  # (N,) how often each is drawn
    align: Tensor  # (N, 2, 3): aligned coordinates -> pixels
    depth: Tensor  # (N, 6): depth as a quadratic of aligned x and y


@dataclass
class CropBatch:
    """Crops (N, 1, S, S) in 0..255 with points (N, 478, 2), their weights, values (N, E), weights (N,), is-a-face."""

    crops: Tensor
    points: Tensor
    known: Tensor
    values: Tensor
    values_weight: Tensor
    face: Tensor


def mean_shape(points: Tensor) -> Tensor:
    """Template (68, 2) in aligned coordinates: the mean of faces (N, 68, 2) laid over each other."""
    shape: Tensor = points[0]
    for _ in range(4):
        shape = apply(fit_similarity(points, shape), points).mean(0)
    shape = shape - shape.mean(0)
    shape = (shape + shape[torch.tensor(MIRROR_68)] * torch.tensor([-1.0, 1.0])) / 2
    level = shape[45] - shape[36]
    angle = torch.atan2(level[1], level[0])
    turn: Tensor = torch.tensor([[torch.cos(angle), torch.sin(angle)], [-torch.sin(angle), torch.cos(angle)]])
    shape = shape @ turn.T * (FACE_SPAN / level.norm())
    middle: Tensor = (shape.amin(0) + shape.amax(0)) / 2
    return shape - middle


def prepare_faces(images: Tensor, points: Tensor, template: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mesh points in aligned coordinates (N, 478, 3), aligned -> pixels (N, 2, 3), depth polynomial (N, 6)."""
    to_aligned = fit_similarity(points[:, list(MESH_68), :2], template)
    flat = apply(to_aligned, points[..., :2])
    scale = to_aligned[:, :, 0].norm(dim=1)
    depth = points[..., 2] * scale[:, None]
    depth = depth - depth[:, list(MESH_68)].mean(1, keepdim=True)
    basis = _quadratic(flat[..., 0], flat[..., 1])
    fit = torch.linalg.lstsq(basis, depth[..., None]).solution[..., 0]
    return torch.cat([flat, depth[..., None]], dim=2), inverse(to_aligned), fit


def _quadratic(x: Tensor, y: Tensor) -> Tensor:
    x, y = x.clamp(-0.5, 0.5), y.clamp(-0.5, 0.5)
    return torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y], dim=-1)


def _depth(x: Tensor, y: Tensor, fit: Tensor) -> Tensor:
    return torch.einsum("npk,nk->np", _quadratic(x, y), fit)


def _turned(x: Tensor, y: Tensor, fit: Tensor, yaw: Tensor, pitch: Tensor) -> tuple[Tensor, Tensor]:
    """Where points of a face land when the head turns."""
    z = _depth(x, y, fit)
    u = x * torch.cos(yaw) + z * torch.sin(yaw)
    back = z * torch.cos(yaw) - x * torch.sin(yaw)
    return u, y * torch.cos(pitch) - back * torch.sin(pitch)


def _unturned(u: Tensor, v: Tensor, fit: Tensor, yaw: Tensor, pitch: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse, by fixed point: depth changes slowly over a face."""
    x, y = u, v
    for _ in range(3):
        z = _depth(x, y, fit)
        back = z * torch.cos(yaw) - x * torch.sin(yaw)
        x, y = (u - z * torch.sin(yaw)) / torch.cos(yaw), (v + back * torch.sin(pitch)) / torch.cos(pitch)
    return x, y


def _stray(count: int, jitter: Jitter) -> Tensor:
    """Random maps (N, 2, 3) from output coordinates to aligned ones."""
    wide = torch.where(torch.rand(count) < 0.25, 2.0, 1.0)
    angle = torch.randn(count).clamp(-2.2, 2.2) * math.radians(jitter.turn) * wide
    scale = torch.exp(torch.randn(count).clamp(-2.2, 2.2) * jitter.scale * wide)
    stretch = torch.exp(torch.randn(count) * 0.03)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([torch.stack([cos * stretch, -sin], -1), torch.stack([sin * stretch, cos], -1)], 1)
    shift = torch.randn(count, 2).clamp(-2.5, 2.5) * jitter.shift * wide[:, None]
    return torch.cat([matrix, shift[..., None]], dim=2)


def _astray(maps: Tensor) -> Tensor:
    """The same maps spoilt, so that what they show is no face or not where a face should be."""
    count = len(maps)
    kind = torch.randint(0, 5, (count,))  # upside down, a detail, beside it, from afar, half beside it
    least = torch.tensor([[1.8, 1, 0], [0, 0.12, 0], [0, 1, 0.45], [0, 1.7, 0], [0, 0.7, 0.28]])[kind]
    most = torch.tensor([[4.4, 1, 0], [0, 0.45, 0.25], [0, 1, 1.0], [0, 3.2, 0.8], [0, 1.5, 0.5]])[kind]
    angle, scale, away = (least + (most - least) * torch.rand(count, 3)).unbind(1)
    where = torch.empty(count).uniform_(0, 2 * math.pi)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    spoil = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    size = maps[:, :, 0].norm(dim=1, keepdim=True)
    shift = torch.stack([torch.cos(where), torch.sin(where)], -1) * away[:, None] * size
    return torch.cat([maps[:, :, :2] @ spoil, (maps[:, :, 2] + shift)[..., None]], dim=2)


def render_crops(faces: FaceTable, rows: Tensor, size: int, jitter: Jitter, wrong: int = 0) -> CropBatch:
    """Crops of some photos, each strayed, half of them mirrored by the caller; the last `wrong` ones show no face."""
    count = len(rows)
    maps = _stray(count, jitter)
    if wrong:
        maps[count - wrong :] = _astray(maps[count - wrong :])
    fit = faces.depth[rows]
    turned = torch.rand(count) < 0.3
    yaw = torch.randn(count).clamp(-1.6, 1.6) * math.radians(jitter.yaw) * turned
    pitch = torch.randn(count).clamp(-1.6, 1.6) * math.radians(jitter.pitch) * turned
    # Positions vary smoothly: a quarter of the resolution does, and costs a sixteenth.
    coarse = size // 4
    line = torch.linspace(0.5 / size - 0.5, 0.5 - 0.5 / size, coarse)
    out = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).view(1, -1, 2).expand(count, -1, -1)
    out = apply(maps, out)
    x, y = _unturned(out[..., 0], out[..., 1], fit, yaw[:, None], pitch[:, None])
    at = apply(faces.align[rows], torch.stack([x, y], -1)).mT.reshape(count, 2, coarse, coarse)
    at = F.interpolate(at, size=(size, size), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
    images = faces.images[rows].unsqueeze(1).float()
    padding = "border" if torch.rand(()) < 0.7 else "zeros"
    crops = sample(images, at, padding)
    for i in range(count - wrong, count - wrong * 2 // 3):
        crops[i] = _clutter(size)
    mesh = faces.points[rows]
    u, v = _turned(mesh[..., 0], mesh[..., 1], fit, yaw[:, None], pitch[:, None])
    points = apply(inverse(maps), torch.stack([u, v], -1))
    face = torch.ones(count)
    face[count - wrong :] = 0
    known = faces.known.expand(count, -1) * face[:, None]
    return CropBatch(crops, points, known, faces.values[rows], faces.values_weight * face, face)


def _clutter(size: int) -> Tensor:
    """A crop (1, S, S) of walls, clouds and bars with hardly anything in it, or nothing but noise."""
    cells = int(torch.randint(1, 12, ()))
    shown = F.interpolate(torch.rand(1, 1, cells, cells), size=(size, size), mode="bilinear")[0]
    for _ in range(int(torch.randint(0, 4, ()))):
        height, width = (torch.rand(2) * size).long().tolist()
        top, left = (torch.rand(2) * size).long().tolist()
        shown[:, top : top + height + 1, left : left + width + 1] = torch.rand(())
    contrast = torch.rand(()) ** 2 * 120
    return 20 + torch.rand(()) * 100 + shown * contrast + torch.randn(1, size, size) * torch.rand(()) * 4


def join_batches(batches: list[CropBatch]) -> CropBatch:
    """Several batches as one."""
    return CropBatch(*(torch.cat([getattr(b, name) for b in batches]) for name in CropBatch.__dataclass_fields__))


def spoil(crops: Tensor) -> Tensor:
    """Crops (N, 1, S, S) as a film might show them: covered, dim, blurred, small, noisy, compressed; 0..255."""
    crops = _cover(crops)
    crops = _light(crops)
    crops = _some(crops, 0.16, _blur)
    crops = _shrink(crops)
    contrast = _contrast(crops)
    noise = torch.randn_like(crops) * (torch.rand(len(crops), 1, 1, 1) ** 3 * 12 * contrast)
    crops = _some((crops + noise).clamp(0, 255), 0.22, _compress)
    return crops.round().clamp(0, 255)


def _contrast(crops: Tensor) -> Tensor:
    """1 for an ordinary picture, down to 0.25 for a faint one, which noise and coders treat more gently."""
    power = (crops * crops).mean((1, 2, 3), keepdim=True) - crops.mean((1, 2, 3), keepdim=True) ** 2
    return (power.clamp_min(0) ** 0.5 / 50).clamp(0.25, 1)


def _some(crops: Tensor, odds: float, change) -> Tensor:  # type: ignore[no-untyped-def]
    chosen = torch.nonzero(torch.rand(len(crops)) < odds)[:, 0]
    if len(chosen):
        crops[chosen] = change(crops[chosen])
    return crops


def _light(crops: Tensor) -> Tensor:
    count, size = len(crops), crops.shape[-1]
    one = (count, 1, 1, 1)
    crops = (crops / 255).clamp(1e-3, 1) ** torch.exp(torch.randn(one) * 0.3)
    at = grid(size)
    slope = torch.randn(count, 2, 1, 1) * 0.5 * (torch.rand(one) < 0.5)
    ramp = 1 + slope[:, :1] * at[None, None, ..., 0] + slope[:, 1:] * at[None, None, ..., 1]
    gain = torch.where(torch.rand(one) < 0.2, torch.empty(one).uniform_(0.12, 0.5), torch.empty(one).uniform_(0.5, 1.2))
    lift = torch.rand(one) ** 2 * 60 * (torch.rand(one) < 0.3)
    return (crops * ramp.clamp_min(0.1) * gain * 255 + lift).clamp(0, 255)


def _blur(crops: Tensor) -> Tensor:
    """Gaussian or motion blur, each crop its own."""
    count, reach = len(crops), 4
    line = torch.arange(-reach, reach + 1).float()
    y, x = torch.meshgrid(line, line, indexing="ij")
    angle = torch.rand(count, 1, 1) * math.pi
    along = x * torch.cos(angle) + y * torch.sin(angle)
    across = y * torch.cos(angle) - x * torch.sin(angle)
    long = torch.empty(count, 1, 1).uniform_(0.5, 3.0)
    short = torch.where(torch.rand(count, 1, 1) < 0.5, long.clamp_max(2.0), 0.4)
    kernel = torch.exp(-((along / long) ** 2 + (across / short) ** 2) / 2)
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    padded = F.pad(crops, (reach,) * 4, mode="replicate").view(
        1, count, *(side + 2 * reach for side in crops.shape[-2:])
    )
    return F.conv2d(padded, kernel[:, None], groups=count).view_as(crops)


def _shrink(crops: Tensor) -> Tensor:
    """Some crops made small and large again, as a face far from the camera is."""
    size = crops.shape[-1]
    parts = list(crops.chunk(9))
    for i in range(0, len(parts), 4):
        small = int(size * math.exp(float(torch.empty(()).uniform_(math.log(0.25), math.log(0.85)))))
        part = F.interpolate(parts[i], size=(small, small), mode="bilinear", antialias=True)
        parts[i] = F.interpolate(part, size=(size, size), mode="bilinear")
    return torch.cat(parts)


def _dct() -> Tensor:
    n = torch.arange(8).float()
    basis = torch.cos(math.pi * (2 * n[None] + 1) * n[:, None] / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


def _compress(crops: Tensor) -> Tensor:
    """What a block transform coder leaves: 8x8 cosines, rounded more coarsely the higher they are."""
    count, size = len(crops), crops.shape[-1]
    basis = _dct()
    contrast = _contrast(crops)[..., None]
    shift = int(torch.randint(0, 8, ()))
    blocks = torch.roll(crops, (shift, shift), (2, 3)).view(count, size // 8, 8, size // 8, 8).transpose(2, 3) - 128
    step = (
        (2 + torch.arange(8).float()[:, None] + torch.arange(8).float())
        * (0.5 + 9 * torch.rand(count, 1, 1, 1, 1))
        * contrast
    )
    rough = torch.round(basis @ blocks @ basis.T / step) * step
    back = (basis.T @ rough @ basis + 128).transpose(2, 3).reshape(count, 1, size, size)
    return torch.roll(back, (-shift, -shift), (2, 3))


def _cover(crops: Tensor) -> Tensor:
    """Bars, hands' worth of something else, and the edge of the picture."""
    count, size = len(crops), crops.shape[-1]
    other = crops.flip(0)
    for i in torch.nonzero(torch.rand(count) < 0.14)[:, 0].tolist():
        height, width = (int(size * s) for s in torch.empty(2).uniform_(0.1, 0.4).tolist())
        top, left = int(torch.randint(0, size - height, ())), int(torch.randint(0, size - width, ()))
        kind = float(torch.rand(()))
        if kind < 0.15:  # the frame ends here
            crops[i, :, size - height :] = 0.0
        elif kind < 0.3:
            crops[i, :, :, : width // 2] = 0.0
        else:
            patch = other[i, :, :height, :width] if kind < 0.65 else float(torch.rand(())) * 255
            crops[i, :, top : top + height, left : left + width] = patch
    return crops
