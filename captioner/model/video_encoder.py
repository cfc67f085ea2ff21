"""F_V: Video Swin (torchvision) or CLIP frames in, tokens out.

Axes: B clips, T frames, S side in pixels, M video tokens, C channels.
"""

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from captioner.config import VideoConfig
from captioner.errors import CheckpointError, ConfigError
from captioner.files import missing
from captioner.model.lora import add_adapters
from captioner.model.video_nets import (
    KINETICS_MEAN,
    KINETICS_STD,
    PYTORCHVIDEO,
    HuggingFaceTokens,
    build_pytorchvideo,
    read_converted,
)
from captioner.model.weights import pretrained_model
from captioner.video.transforms import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, normalise

# embed width (0: from the config), patch, depths, heads, window; patch and window are (frames, rows, columns).
# The small one starts from patches of 8 pixels and has three stages: a fourth of the tokens, the same stride.
SWIN_SIZES: dict[str, tuple[int, list[int], list[int], list[int], list[int]]] = {
    "swin3d_t": (96, [2, 4, 4], [2, 2, 6, 2], [3, 6, 12, 24], [8, 7, 7]),
    "swin3d_s": (96, [2, 4, 4], [2, 2, 18, 2], [3, 6, 12, 24], [8, 7, 7]),
    "swin3d_b": (128, [2, 4, 4], [2, 2, 18, 2], [4, 8, 16, 32], [8, 7, 7]),
    "swin3d_small_cpu": (0, [2, 8, 8], [1, 1, 2], [2, 4, 8], [4, 6, 6]),
}


CLIP_ARCHS = ("clip", "clip_small_cpu")


@dataclass(frozen=True)
class Windows:
    """Windows of a shifted map, those that need the same mask side by side.

    After a shift only windows at an edge hold strangers, in at most eight ways: eight small masks that stay in
    the processor's cache replace one for every window (314 MB in the first stage of Swin-B at 32 frames).
    """

    order: Tensor  # (windows,) places in row order
    inverse: Tensor
    groups: list[tuple[int, Tensor | None]]  # number of windows, additive mask (N, N) or None


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept may serve a training step later
def group_windows(
    size: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...], device: torch.device
) -> Windows:
    """The grouping for a padded map of `size`, kept on the device; masks are 0 for neighbours, -100 for strangers."""
    from torchvision.models.video.swin_transformer import _compute_attention_mask_3d

    grid = [full // win for full, win in zip(size, window, strict=True)]
    edges = [
        torch.arange(n) == n - 1 if s else torch.zeros(n, dtype=torch.bool) for n, s in zip(grid, shift, strict=True)
    ]
    kind = 4 * edges[0][:, None, None] + 2 * edges[1][:, None] + edges[2].long()  # (windows along each axis)
    order = kind.flatten().argsort(stable=True)
    kinds, counts = torch.unique(kind, return_counts=True)
    groups: list[tuple[int, Tensor | None]] = []
    masks = _compute_attention_mask_3d(torch.zeros(1), size, window, shift) if any(shift) else None
    for number, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        first = int((kind.flatten() == number).nonzero()[0])
        groups.append((count, masks[first].clone().to(device) if masks is not None and number else None))
    return Windows(order.to(device), order.argsort().to(device), groups)


def window_attention(
    x: Tensor, qkv: nn.Linear, proj: nn.Linear, bias: Tensor, window: list[int], shift: list[int], heads: int
) -> Tensor:
    """Shifted-window attention on (B, D, H, W, C), fused: equals torchvision's, without its score matrices."""
    b, d, h, w, c = x.shape
    pads = [-size % win for size, win in zip((d, h, w), window, strict=True)]
    if any(pads):
        x = F.pad(x, (0, 0, 0, pads[2], 0, pads[1], 0, pads[0]))
    size = (d + pads[0], h + pads[1], w + pads[2])
    if any(shift):
        x = torch.roll(x, [-s for s in shift], dims=(1, 2, 3))
    grid = [full // win for full, win in zip(size, window, strict=True)]
    count, volume = grid[0] * grid[1] * grid[2], window[0] * window[1] * window[2]
    split = (grid[0], window[0], grid[1], window[1], grid[2], window[2])
    x = x.view(b, *split, c).permute(1, 3, 5, 0, 2, 4, 6, 7).reshape(count, b, volume, c)
    plan = group_windows(size, tuple(window), tuple(shift), x.device)
    x = x[plan.order] if len(plan.groups) > 1 else x
    triples = qkv(x).view(count, b, volume, 3, heads, c // heads)
    mixed, first = [], 0
    for number, mask in plan.groups:
        part = triples[first : first + number].flatten(0, 1)  # (number * b, volume, 3, heads, c / heads)
        q, k, v = part.permute(2, 0, 3, 1, 4)
        scores = bias if mask is None else bias + mask.to(bias)
        scores = scores.to(q.dtype).expand(number * b, -1, -1, -1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=scores)
        mixed.append(out.transpose(1, 2).reshape(number * b, volume, c))
        first += number
    x = proj(torch.cat(mixed)).view(count, b, volume, c)
    x = x[plan.inverse] if len(plan.groups) > 1 else x
    x = x.view(*grid, b, *window, c).permute(3, 0, 4, 1, 5, 2, 6, 7).reshape(b, *size, c)
    if any(shift):
        x = torch.roll(x, shift, dims=(1, 2, 3))
    return x[:, :d, :h, :w].contiguous()


@lru_cache(maxsize=1)
def fused_attention_class() -> type[nn.Module]:
    """torchvision's attention with `window_attention` for its arithmetic; torchvision loads late (3 s)."""
    from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d

    class FusedWindowAttention3d(ShiftedWindowAttention3d):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            window, shift = list(self.window_size), list(self.shift_size)
            for axis, length in enumerate(x.shape[1:4]):
                if length <= window[axis]:  # a window as large as the map has nothing to shift
                    window[axis], shift[axis] = length, 0
            bias = self.get_relative_position_bias(window)
            return window_attention(x, self.qkv, self.proj, bias, window, shift, self.num_heads)

    return FusedWindowAttention3d


def build_swin(config: VideoConfig) -> nn.Module:
    """torchvision's SwinTransformer3d in one of our sizes, its classification head removed."""
    from torchvision.models.swin_transformer import SwinTransformerBlock
    from torchvision.models.video.swin_transformer import SwinTransformer3d

    def block(*sizes: Any, **options: Any) -> nn.Module:
        module: nn.Module = SwinTransformerBlock(*sizes, **{**options, "attn_layer": fused_attention_class()})
        return module

    width, patch, depths, heads, window = SWIN_SIZES[config.arch]
    swin: nn.Module = SwinTransformer3d(
        patch_size=patch,
        embed_dim=width or config.width,
        depths=depths,
        num_heads=heads,
        window_size=window,
        stochastic_depth_prob=config.drop_path,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
        block=block,
    )
    swin.head = nn.Identity()
    if config.pretrained.endswith(".safetensors"):
        load_converted(swin, config)
    elif config.pretrained:
        load_kinetics(swin, config)
    return swin


def load_converted(swin: nn.Module, config: VideoConfig) -> None:
    """Fill a headless Swin from a file that scripts/convert.py made of an official checkpoint."""
    path, state = Path(config.pretrained), converted_state(config)
    wanted = swin.state_dict()
    shapes = [{name: value.shape for name, value in side.items()} for side in (wanted, state)]
    odd = sorted({name for name, _ in shapes[0].items() ^ shapes[1].items()})
    if odd:
        raise CheckpointError(
            f"{path} does not fit video.arch={config.arch}: {len(odd)} tensors are missing, unknown or of "
            f"another shape, as {odd[0]}; set video.arch to the one that scripts/convert.py named"
        )
    swin.load_state_dict(state)


def converted_state(config: VideoConfig) -> dict[str, Tensor]:
    """The tensors of a file that scripts/convert.py made."""
    path = Path(config.pretrained)
    if path.suffix != ".safetensors":
        raise ConfigError(
            f"no weights {config.pretrained!r} for model.video.arch={config.arch}: give a .safetensors file made by "
            f"scripts/convert.py pytorchvideo, or set model.video.pretrained=''"
        )
    if not path.is_file():
        raise CheckpointError(f"video.pretrained: {missing(path)}")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({error}): convert it again") from None


def load_kinetics(swin: nn.Module, config: VideoConfig) -> None:
    """Fill a headless Swin with torchvision's Kinetics-400 weights (downloaded once, hash checked)."""
    from torchvision.models import get_model_weights

    if config.pretrained != "kinetics400" or config.arch == "swin3d_small_cpu":
        raise ConfigError(
            f"no weights {config.pretrained!r} for video.arch={config.arch}: swin3d_t, _s and _b have "
            f"video.pretrained=kinetics400, each may have a .safetensors file made by scripts/convert.py "
            f"video-swin; use video.pretrained='' otherwise"
        )
    try:
        state = get_model_weights(config.arch)["KINETICS400_V1"].get_state_dict(progress=True, check_hash=True)
    except OSError as error:
        raise ConfigError(
            f"cannot download the Kinetics weights of {config.arch} ({error}): "
            f"connect once, or set model.video.pretrained=''"
        ) from None
    swin.load_state_dict({name: value for name, value in state.items() if not name.startswith("head.")})


class VideoEncoder(nn.Module):
    """Frames uint8 (B, T, 3, S, S) -> video tokens (B, M, width); Swin: M = ceil(T/2) * ceil(S/32)^2."""

    def __init__(self, config: VideoConfig, *, load: bool = True) -> None:
        super().__init__()
        self.config = config
        self.network: dict[str, Any] = {}
        config = config if load else replace(config, pretrained="")  # a checkpoint will fill it
        if config.arch == "hf":
            seeing = HuggingFaceTokens(config, load=load)
            self.net: nn.Module = seeing
            self.network = seeing.network
            self.width, self.mean, self.std = seeing.width, seeing.mean, seeing.std
        elif config.arch in PYTORCHVIDEO:
            self.net = build_pytorchvideo(config)
            if config.pretrained:
                read_converted(self.net, config, converted_state(config))
            self.width, self.mean, self.std = int(self.net.width), KINETICS_MEAN, KINETICS_STD  # type: ignore[arg-type]
        elif config.arch in CLIP_ARCHS:
            self.net = build_clip_vision(config)
            self.width = int(self.net.config.hidden_size)  # type: ignore[union-attr, arg-type]
            self.mean, self.std = CLIP_MEAN, CLIP_STD
        else:
            self.net = build_swin(config)
            self.width = int(self.net.num_features)  # type: ignore[arg-type]
            self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
        if config.frozen:
            self.requires_grad_(False)
        if config.lora:
            add_adapters(self.net, config.lora, "model.video.lora")

    def train(self, mode: bool = True) -> "VideoEncoder":
        """A frozen encoder stays in evaluation: no dropped paths."""
        return super().train(mode and not self.config.frozen and not self.config.lora)

    def forward(self, frames: Tensor) -> Tensor:
        x = normalise(frames, self.mean, self.std)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.fixed):
            if self.config.arch in CLIP_ARCHS:
                return self.forward_clip(x)
            if self.config.arch in SWIN_SIZES:
                return self.forward_swin(x)
            recompute = self.config.checkpointing and self.training
            tokens: Tensor = checkpoint(self.net, x, use_reentrant=False) if recompute else self.net(x)
            return tokens

    def forward_swin(self, x: Tensor) -> Tensor:
        """(B, T, 3, S, S) -> (B, M, C), tokens ordered by time, row, column."""
        x = self.net.patch_embed(x.transpose(1, 2))  # type: ignore[operator]  # (B, T/2, S/4, S/4, C0)
        for stage in self.net.features:  # type: ignore[union-attr]
            recompute = self.config.checkpointing and self.training
            x = checkpoint(stage, x, use_reentrant=False) if recompute else stage(x)
        tokens: Tensor = self.net.norm(x).flatten(1, 3)  # type: ignore[operator]
        return tokens

    def forward_clip(self, x: Tensor) -> Tensor:
        """(B, T, 3, S, S) -> (B, T, C): the class token of every frame."""
        b, t = x.shape[:2]
        if self.config.checkpointing and self.training:
            seen = checkpoint(self.net, x.flatten(0, 1), use_reentrant=False)
        else:
            seen = self.net(pixel_values=x.flatten(0, 1))
        tokens: Tensor = seen.pooler_output.view(b, t, -1)
        return tokens


def build_clip_vision(config: VideoConfig) -> nn.Module:
    """CLIP's image tower by transformers: pretrained, or ViT-B/32 sizes with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    small = {"hidden_size": 4 * config.width, "intermediate_size": 16 * config.width, "num_hidden_layers": 4,
             "num_attention_heads": 4, "patch_size": 16}  # fmt: skip

    def scratch() -> nn.Module:
        sizes = small if config.arch == "clip_small_cpu" else {}
        module: nn.Module = CLIPVisionModel(CLIPVisionConfig(image_size=config.size, **sizes))
        return module

    return pretrained_model(config.pretrained, CLIPVisionModel, scratch, "model.video.pretrained")
