"""The nets under the frozen experts, by name: timm's ResNets and Swins that give tokens, small ones for faces.

Axes: B batch, P positions of the token map, C channels.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prompts.lazy_imports import without_compiler

with without_compiler():
    from timm.models.resnet import BasicBlock, Bottleneck, ResNet
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.vision_transformer import VisionTransformer


class TokenResNet(ResNet):  # type: ignore[misc]
    """A ResNet of timm that returns its last map as tokens."""

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (B, P, C) of images (B, 3, H, W)."""
        tokens: Tensor = self.forward_features(images).flatten(2).transpose(1, 2)
        return tokens


class FaceNet(TokenResNet):
    """A small ResNet for a window (left, top, side) of an aligned face crop, in grey, at `side` pixels.

    With `mirror` its tokens are, in evaluation, the mean over the crop and its mirror image.
    """

    def __init__(
        self, *args: Any, side: int, window: tuple[float, float, float], mirror: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, in_chans=1, num_classes=0, **kwargs)
        self.maxpool = nn.Identity()  # a face this small has no pixel to spare
        self.side, self.window, self.mirror = side, window, mirror

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (B, P, C) of crops (B, 3, S, S) in ImageNet's normalisation, or of grey ones (B, 1, S, S) in 0..1."""
        return self.read(images if images.shape[1] == 1 else self.grey(images))

    def grey(self, images: Tensor) -> Tensor:
        """The window of normalised crops (B, 3, S, S) as (B, 1, side, side) in 0..1."""
        left, top, side = (round(images.shape[-1] * part) for part in self.window)
        images = images[..., top : top + side, left : left + side]
        colours = images * images.new_tensor(_STD).view(3, 1, 1) + images.new_tensor(_MEAN).view(3, 1, 1)
        middle = (colours * images.new_tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)
        return F.interpolate(middle, (self.side, self.side), mode="bilinear", antialias=True)

    def read(self, grey: Tensor) -> Tensor:
        """Tokens (B, P, C) of grey crops (B, 1, side, side) in 0..1."""
        spread, mean = torch.std_mean(grey, (1, 2, 3), correction=0, keepdim=True)
        grey = (grey - mean) / (spread + 0.02)  # a dim face looks like a bright one
        if self.training or not self.mirror:
            return super().forward(grey)
        one, other = super().forward(torch.cat([grey, grey.flip(-1)])).chunk(2)
        return (one + other) / 2


_MEAN, _STD, _LUMA = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (0.299, 0.587, 0.114)


class TokenSwin(SwinTransformer):  # type: ignore[misc]
    """A Swin Transformer of timm that returns its last map as tokens."""

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (B, P, C) of images (B, 3, 224, 224)."""
        tokens: Tensor = self.forward_features(images).flatten(1, 2)
        return tokens


class TokenViT(VisionTransformer):  # type: ignore[misc]
    """A Vision Transformer of timm that returns its patches as tokens, the class token left out."""

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (B, P, C) of images (B, 3, 224, 224)."""
        tokens: Tensor = self.forward_features(images)[:, 1:]
        return tokens


class _Backbone(NamedTuple):
    build: Callable[[], nn.Module]
    channels: int
    width: int  # of the nodes


def _resnet(block: type[nn.Module], layers: tuple[int, ...], last: int, **changes: object) -> _Backbone:
    return _Backbone(partial(TokenResNet, block, layers, num_classes=0, **changes), last, last // 4)


def _swin(width: int, depths: tuple[int, ...], heads: tuple[int, ...]) -> _Backbone:
    build = partial(TokenSwin, embed_dim=width, depths=depths, num_heads=heads, num_classes=0)
    return _Backbone(build, 8 * width, 4 * width)


# "small" is for 96-pixel crops on a CPU; its stem is deep because timm's plain one always has 64 channels.
# Its branches start open: with timm's zero start, four epochs on drawn faces gave AUs an AUC of .77, not .90.
_SMALL = {"stem_type": "deep", "stem_width": 8, "channels": (16, 40, 96, 160), "zero_init_last": False}
# Where crops are aligned. "face_au" is the same trunk on finer crops, for what differs by side: no mirror.
FACE_WINDOW = (8 / 96, 3 / 96, 80 / 96)  # of an aligned crop: what a picture of FER+ shows
_FACE: dict[str, Any] = {
    **_SMALL, "stem_width": 12, "channels": (32, 64, 128, 224), "side": 64, "window": FACE_WINDOW,
}  # fmt: skip
BACKBONES: dict[str, _Backbone] = {
    "resnet18": _resnet(BasicBlock, (2, 2, 2, 2), 512),
    "resnet50": _resnet(Bottleneck, (3, 4, 6, 3), 2048),
    "resnet101": _resnet(Bottleneck, (3, 4, 23, 3), 2048),
    "swin_tiny": _swin(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small": _swin(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base": _swin(128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "vit_base": _Backbone(partial(TokenViT, num_classes=0), 768, 384),
    "face": _Backbone(partial(FaceNet, BasicBlock, (1, 2, 1, 1), **_FACE, mirror=True), 224, 56),
    "face_au": _Backbone(partial(FaceNet, BasicBlock, (1, 2, 1, 1), **{**_FACE, "side": 80}), 224, 56),
    "face_small": _Backbone(
        partial(FaceNet, BasicBlock, (1, 2, 1, 1), **{**_FACE, "channels": (32, 64, 128, 56)}, mirror=True), 56, 14
    ),
    "small": _resnet(BasicBlock, (1, 1, 1, 1), 160, **_SMALL)._replace(width=64),
}


def check_name(kind: str, given: object, allowed: Mapping[str, object] | tuple[object, ...]) -> None:
    """Raise ValueError with the nearest match when a name is not allowed."""
    names = [str(name) for name in allowed]
    if str(given) not in names:
        near = get_close_matches(str(given), names, n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"unknown {kind} {given!r}{hint}; allowed: {', '.join(names)}")


def build_backbone(name: str) -> tuple[nn.Module, int]:
    """A randomly initialised net from images (B, 3, H, W) to tokens (B, P, C), and its C."""
    check_name("backbone", name, BACKBONES)
    return BACKBONES[name].build(), BACKBONES[name].channels
