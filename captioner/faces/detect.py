"""Where faces are in one picture: the finder over a pyramid of pictures, the best of what overlaps.

H, W of a picture in pixels; M cells of a level; N faces.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.faces.nets import Finder

LONGEST = 640  # the finest level is at most this long: a face of ten of its pixels is the smallest found
_PAD = 8  # around each level, so that faces at the border are seen whole
_SMALLEST_LEVEL = 20
_WINDOW = 5  # cells of 8 pixels over which brightness and contrast are evened out


def even_out(pictures: Tensor) -> Tensor:
    """Pictures (N, 1, H, W), H and W multiples of 8, with brightness and contrast the same everywhere.

    A face in the dark half of a bright picture then looks like any other.
    """
    cells = F.avg_pool2d(pictures, 8)
    squares = F.avg_pool2d(pictures * pictures, 8)
    reach = _WINDOW // 2

    def around(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (reach,) * 4, mode="replicate"), _WINDOW, 1)

    mean, square = around(cells), around(squares)
    deviation = (square - mean * mean).clamp_min(0) ** 0.5 + 4
    shape = pictures.shape[-2:]
    mean = F.interpolate(mean, size=shape, mode="bilinear")
    scale = F.interpolate(1 / deviation, size=shape, mode="bilinear")
    return (pictures - mean) * scale


def find_faces(finder: Finder, picture: Tensor, floor: float, skip_finest: bool = False) -> Tensor:
    """Faces (N, 4): centre x, y, size (side of a square as large as the landmarks' bounds), score; best first.

    picture: grey (H, W) in 0..255. skip_finest leaves out the level that holds the smallest faces and most work.
    """
    level = picture[None, None].float()
    shrink = max(picture.shape) / LONGEST
    if shrink > 1:
        height, width = (max(1, round(side / shrink)) for side in picture.shape)
        level = F.interpolate(level, size=(height, width), mode="bilinear", antialias=True)
    scale_x, scale_y = picture.shape[1] / level.shape[3], picture.shape[0] / level.shape[2]
    factor, found = 1.0, []
    while True:
        # a small picture shows its face on the finest level only when the face is tiny: that level costs little there
        if not (skip_finest and factor == 1.0 and max(level.shape[-2:]) > LONGEST // 2):
            faces = _find_level(finder, level, floor)
            faces[:, :3] *= factor
            found.append(faces)
        if max(level.shape[-2:]) <= _SMALLEST_LEVEL or min(level.shape[-2:]) < 4:
            break
        level = F.avg_pool2d(level, 2, ceil_mode=True, count_include_pad=False)
        factor *= 2
    faces = torch.cat(found)
    faces = faces * torch.tensor([scale_x, scale_y, (scale_x * scale_y) ** 0.5, 1.0])
    return suppress(faces[faces[:, 3].argsort(descending=True)][:400])


def _find_level(finder: Finder, level: Tensor, floor: float) -> Tensor:
    height, width = level.shape[-2:]
    right, bottom = _PAD + -(width + 2 * _PAD) % 8, _PAD + -(height + 2 * _PAD) % 8
    # plain grey: an edge repeated outwards deforms faces that touch it
    padded = F.pad(level, (_PAD, right, _PAD, bottom), value=float(level.mean()))
    out = finder(even_out(padded).contiguous(memory_format=torch.channels_last))[0].float()
    score = torch.sigmoid(out[0])
    peak = F.max_pool2d(score[None, None], 3, 1, 1)[0, 0]
    y, x = torch.nonzero((score >= floor) & (score == peak), as_tuple=True)
    dx, dy, log_size = out[1:, y, x]
    stride = finder.stride
    centre_x = (x + 0.5 + dx) * stride - _PAD - 0.5
    centre_y = (y + 0.5 + dy) * stride - _PAD - 0.5
    size = torch.exp(log_size.clamp(-1.5, 1.5)) * 16
    return torch.stack([centre_x, centre_y, size, score[y, x]], dim=1)


def suppress(faces: Tensor, most: float = 0.3) -> Tensor:
    """Of faces (N, 4), best first, those that no better one overlaps by more than `most` of their union."""
    kept: list[int] = []
    overlaps = overlap(faces, faces)
    for i in range(len(faces)):
        if not kept or float(overlaps[i, kept].max()) <= most:
            kept.append(i)
    return faces[kept]


def overlap(a: Tensor, b: Tensor, of_smaller: bool = False) -> Tensor:
    """Intersection over union (or over the smaller, (N, M)) of squares (N, 3+), (M, 3+) given by centre and side."""
    low = torch.maximum((a[:, None, :2] - a[:, None, 2:3] / 2), (b[None, :, :2] - b[None, :, 2:3] / 2))
    high = torch.minimum((a[:, None, :2] + a[:, None, 2:3] / 2), (b[None, :, :2] + b[None, :, 2:3] / 2))
    both = (high - low).clamp_min(0).prod(-1)
    if of_smaller:
        return both / torch.minimum(a[:, None, 2] ** 2, b[None, :, 2] ** 2).clamp_min(1e-6)
    return both / (a[:, None, 2] ** 2 + b[None, :, 2] ** 2 - both).clamp_min(1e-6)
