"""The networks of the built-in reader: one that places landmarks in a crop, one that finds faces in a frame.

N crops, S side in pixels, P points, E values, C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

FACE_SPAN = 0.48  # distance between the outer eye corners in an aligned crop, in crop sides


@dataclass(frozen=True)
class CropNetConfig:
    """Sizes of a CropNet: crop side, channels and blocks of the four stages, widths of the head, points, values,
    width of a refinement of both (0: none)."""

    size: int = 112
    widths: tuple[int, ...] = (16, 32, 72, 144)
    blocks: tuple[int, ...] = (1, 2, 2, 2)
    squeeze: int = 48
    hidden: int = 320
    points: int = 70
    values: int = 0
    refine: int = 0


@dataclass(frozen=True)
class FinderConfig:
    """Sizes of a Finder: channels at strides 2, 4 and 8, blocks at stride 8, channels where both meet."""

    widths: tuple[int, ...] = (16, 24, 48)
    blocks: int = 2
    join: int = 32


def _conv(before: int, after: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = kernel // 2 * dilation
    conv = nn.Conv2d(before, after, kernel, stride, padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.first = _conv(before, after, 3, stride)
        self.second = _conv(after, after, 3, 1, dilation)
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else _conv(before, after, 1, stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        out: Tensor = self.act(self.second(self.act(self.first(x))) + self.shortcut(x))
        return out


class CropNet(nn.Module):
    """Landmarks, values and the odds that a grey crop shows a face at all."""

    def __init__(self, config: CropNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        layers: list[nn.Module] = [_conv(1, widths[0], 5, 2), nn.ReLU(inplace=True)]
        before = widths[0]
        for stage, (width, count) in enumerate(zip(widths, config.blocks, strict=True)):
            for i in range(count):
                layers.append(Block(before, width, 2 if stage and i == 0 else 1))
                before = width
        self.trunk = nn.Sequential(*layers)
        side = config.size // 2 ** len(widths)
        self.squeeze = nn.Sequential(_conv(before, config.squeeze, 1), nn.ReLU(inplace=True))
        self.hidden = nn.Linear(config.squeeze * side * side, config.hidden)
        features = config.hidden + before
        self.points = nn.Linear(features, config.points * 2)
        self.values = nn.Linear(features, config.values) if config.values else None
        self.score = nn.Linear(features, 1)
        self.refine: nn.Sequential | None = None
        if config.refine:
            more = nn.Linear(config.refine, config.values + config.points * 2)
            self.refine = nn.Sequential(nn.Linear(features, config.refine), nn.GELU(), more)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised crops (N, 1, S, S) -> points (N, P, 2) in crop sides from its centre, values (N, E), score."""
        x = self.trunk(x)
        hidden = torch.relu(self.hidden(self.squeeze(x).flatten(1)))
        x = self.drop(torch.cat([hidden, x.mean((2, 3))], dim=1)).float()
        points = self.points(x).view(len(x), -1, 2)
        values = x.new_zeros(len(x), 0) if self.values is None else self.values(x)
        if self.refine is not None:
            more = self.refine(x)
            values = values + more[:, : values.shape[1]]
            points = points + more[:, values.shape[1] :].view_as(points)
        return points, values, self.score(x)[:, 0]


class Finder(nn.Module):
    """Faces of about 10 to 26 pixels, everywhere in a grey picture; a pyramid of pictures finds the larger ones."""

    stride = 4

    def __init__(self, config: FinderConfig) -> None:
        super().__init__()
        self.config = config
        low, mid, high = config.widths
        self.stem = nn.Sequential(
            *(_conv(1, low, 3, 2), nn.ReLU(inplace=True)), *(_conv(low, mid, 3, 2), nn.ReLU(inplace=True)),
            *(_conv(mid, mid), nn.ReLU(inplace=True)),
        )  # fmt: skip
        self.deep = nn.Sequential(Block(mid, high, 2), *(Block(high, high, 1, d) for d in (1, 2, 1)[: config.blocks]))
        self.fine, self.coarse = nn.Conv2d(mid, config.join, 1, bias=False), nn.Conv2d(high, config.join, 1, bias=False)
        self.norm = nn.BatchNorm2d(config.join)
        self.last = Block(config.join, config.join)
        self.head = nn.Conv2d(config.join, 4, 1)  # logit, dx, dy, log size

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (N, 1, H, W), H and W multiples of 8 -> (N, 4, H / 4, W / 4)."""
        fine = self.stem(x)
        # summed rather than stacked: the deep half is brought to few channels while it is still small
        coarse = nn.functional.interpolate(self.coarse(self.deep(fine)), scale_factor=2.0, mode="nearest")
        out: Tensor = self.head(self.last(torch.relu(self.norm(self.fine(fine) + coarse))))
        return out


def standardise(crops: Tensor) -> Tensor:
    """Crops (N, 1, S, S) with mean 0 and deviation 1 each: a dim face looks like a bright one."""
    crops = crops - crops.mean((1, 2, 3), keepdim=True)
    deviation = (crops * crops).mean((1, 2, 3), keepdim=True) ** 0.5  # several times faster than std
    return crops / (deviation + 0.01 * 255)


def fold_norms(module: nn.Module) -> nn.Module:
    """Each convolution takes in the batch norm that follows it: the same output, about a third less time."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[1], nn.BatchNorm2d):
            conv, norm = child[0], child[1]
            assert isinstance(conv, nn.Conv2d)
            setattr(module, name, nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval()))
        else:
            fold_norms(child)
    return module
