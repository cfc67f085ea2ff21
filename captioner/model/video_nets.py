"""Video encoders of other libraries: pytorchvideo's X3D and MViT, and whatever vision model transformers has.

Axes: B clips, T frames, S side in pixels, M tokens, C channels.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captioner.config import VideoConfig
from captioner.errors import CheckpointError, ConfigError
from captioner.model.weights import named_model

X3D_DEPTHS = {"x3d_xs": 2.2, "x3d_s": 2.2, "x3d_m": 2.2, "x3d_l": 5.0}
# Sizes of MViT: depth, width of the first stage, layers at which width and heads double and the map is halved.
MVIT_SIZES: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "mvit_b": (16, 96, (1, 3, 14)),
    "mvit_small_cpu": (4, 32, (1, 2, 3)),
}
PYTORCHVIDEO = (*X3D_DEPTHS, *MVIT_SIZES)
KINETICS_MEAN, KINETICS_STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)  # of pytorchvideo's models
# What of a transformers configuration says how to build the net again.
_LEFT_OUT = ("_name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype")


class X3DTokens(nn.Module):
    """X3D without its head: its last map as tokens, ordered by time, row, column.

    Its batch norms stay as loaded: a few clips a process would spoil their statistics, differently in each process.
    """

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        from pytorchvideo.models.x3d import create_x3d

        net = create_x3d(
            input_clip_length=config.frames, input_crop_size=config.size, depth_factor=X3D_DEPTHS[config.arch],
            head_output_with_global_average=False,
        )  # fmt: skip
        self.blocks = net.blocks[:-1]
        self.width = 192

    def train(self, mode: bool = True) -> "X3DTokens":
        """Batch norms stay in evaluation."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Frames (B, T, 3, S, S), normalised, to tokens (B, M, C)."""
        x = x.transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return x.flatten(2).transpose(1, 2)


class MViTTokens(nn.Module):
    """MViT without its head: tokens of places, the class token left out."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        from pytorchvideo.models.vision_transformers import create_multiscale_vision_transformers

        depth, width, steps = MVIT_SIZES[config.arch]
        self.net = create_multiscale_vision_transformers(
            spatial_size=config.size, temporal_size=config.frames, depth=depth, patch_embed_dim=width, head=None,
            embed_dim_mul=[[step, 2.0] for step in steps], atten_head_mul=[[step, 2.0] for step in steps],
            pool_q_stride_size=[[step, 1, 2, 2] for step in steps], pool_kv_stride_adaptive=[1, 8, 8],
            pool_kvq_kernel=[3, 3, 3], droppath_rate_block=config.drop_path,
        )  # fmt: skip
        self.width = width * 2 ** len(steps)

    def forward(self, x: Tensor) -> Tensor:
        """Frames (B, T, 3, S, S), normalised, to tokens (B, M, C)."""
        tokens: Tensor = self.net(x.transpose(1, 2))[:, 1:]
        return tokens


def build_pytorchvideo(config: VideoConfig) -> nn.Module:
    """X3D or MViT with random weights."""
    return X3DTokens(config) if config.arch in X3D_DEPTHS else MViTTokens(config)


class HuggingFaceTokens(nn.Module):
    """A vision model of transformers by name: tokens of a video model; of an image model one token a frame."""

    def __init__(self, config: VideoConfig, *, load: bool) -> None:
        super().__init__()
        if not config.network and not config.pretrained:
            raise ConfigError("model.video.arch=hf needs model.video.pretrained: a hub name or a folder")
        whole, self.network = _named(config) if load and config.pretrained else _rebuilt(config)
        self.net: nn.Module = getattr(whole, "vision_model", whole)  # of a pair the tower that sees
        settings: Any = self.net.config
        self.width = int(settings.hidden_size)
        self.of_video = hasattr(settings, "num_frames") or hasattr(settings, "tubelet_size")
        self.mean, self.std = tuple(self.network["image_mean"]), tuple(self.network["image_std"])
        _check_fits(config, settings, self.of_video)

    def forward(self, x: Tensor) -> Tensor:
        """Frames (B, T, 3, S, S), normalised, to tokens (B, M, C)."""
        if self.of_video:
            tokens: Tensor = self.net(pixel_values=x).last_hidden_state
            return tokens
        seen = self.net(pixel_values=x.flatten(0, 1))
        pooled = getattr(seen, "pooler_output", None)
        frames: Tensor = seen.last_hidden_state.mean(1) if pooled is None else pooled
        return frames.view(*x.shape[:2], -1)


def _named(config: VideoConfig) -> tuple[Any, dict[str, Any]]:
    """The model of a name, and what builds it again."""
    from transformers import AutoImageProcessor, AutoModel

    net, gaps = named_model(config.pretrained, AutoModel, "model.video.pretrained")
    if strange := [key for key in gaps if "pooler" not in key and "head" not in key]:
        raise CheckpointError(
            f"model.video.pretrained={config.pretrained} lacks {len(strange)} of the weights, as {strange[0]}"
        )
    settings: Any = net.config
    about = {key: value for key, value in settings.to_dict().items() if key not in _LEFT_OUT}
    try:
        processor = AutoImageProcessor.from_pretrained(config.pretrained)
        colours = {"image_mean": list(processor.image_mean), "image_std": list(processor.image_std)}
    except (OSError, ValueError, ImportError, AttributeError):
        colours = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # a folder that does not say
    return net, about | colours


def _rebuilt(config: VideoConfig) -> tuple[Any, dict[str, Any]]:
    """The same net with random weights, for a checkpoint to fill."""
    from transformers import AutoConfig, AutoModel

    about = {key: value for key, value in config.network.items() if key not in ("image_mean", "image_std")}
    kind = about.pop("model_type", "")
    try:
        return AutoModel.from_config(AutoConfig.for_model(kind, **about)), config.network
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"model.video.network describes no model: {str(error).splitlines()[0]}") from None


def _check_fits(config: VideoConfig, settings: Any, of_video: bool) -> None:
    """Position embeddings fix a model's frames and pixels."""
    wanted = {"size": getattr(settings, "image_size", None) or getattr(settings, "crop_size", None)}
    if of_video:
        wanted["frames"] = getattr(settings, "num_frames", None)
    for key, value in wanted.items():
        if isinstance(value, int) and value != getattr(config, key):
            raise ConfigError(
                f"model.video.{key} is {getattr(config, key)}, {config.pretrained or 'the encoder'} takes {value}: "
                f"set model.video.{key}={value}"
            )


def headless_state(arch: str, state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """A published X3D or MViT under the names of ours, its classification head left out; sizes are its published."""
    published = {"x3d_xs": (4, 160), "x3d_s": (13, 160), "x3d_m": (16, 224), "x3d_l": (16, 312), "mvit_b": (16, 224)}
    frames, size = published[arch]
    wanted = build_pytorchvideo(VideoConfig(arch=arch, frames=frames, size=size)).state_dict()  # type: ignore[arg-type]
    renamed = state if arch in X3D_DEPTHS else {f"net.{key}": value for key, value in state.items()}
    lacking = [key for key, value in wanted.items() if key not in renamed or renamed[key].shape != value.shape]
    strange = [key for key in renamed if key not in wanted and not _of_head(key)]
    if lacking or strange:
        raise CheckpointError(f"{source} is no {arch} of pytorchvideo: it differs in {(lacking + strange)[0]}")
    return {key: renamed[key].contiguous() for key in wanted}


def _of_head(key: str) -> bool:
    return key.startswith(("blocks.5.", "net.head."))


def read_converted(net: nn.Module, config: VideoConfig, state: dict[str, Tensor]) -> None:
    """Fill a net of pytorchvideo; MViT's places follow the number of frames and pixels by interpolation."""
    for name, value in net.state_dict().items():
        given = state.get(name)
        of_places = name.endswith(("pos_embed_spatial", "pos_embed_temporal"))
        if of_places and given is not None and given.shape != value.shape:
            state[name] = _stretched(given, value.shape[1])
    odd = sorted(
        {(n, tuple(v.shape)) for n, v in net.state_dict().items()} ^ {(n, tuple(v.shape)) for n, v in state.items()}
    )
    if odd:
        raise CheckpointError(
            f"{Path(config.pretrained)} does not fit model.video.arch={config.arch}: {len(odd)} tensors differ, as "
            f"{odd[0][0]}; set model.video.arch to the one that scripts/convert.py named"
        )
    net.load_state_dict(state)


def _stretched(places: Tensor, count: int) -> Tensor:
    """Position embeddings (1, N, C) for another number of places: in time along a line, in space on a square."""
    side, wanted = round(places.shape[1] ** 0.5), round(count**0.5)
    if side * side == places.shape[1] and wanted * wanted == count and count > 1:
        square = places.transpose(1, 2).unflatten(2, (side, side))
        grown = torch.nn.functional.interpolate(square, (wanted, wanted), mode="bicubic")
        return grown.flatten(2).transpose(1, 2)
    return torch.nn.functional.interpolate(places.transpose(1, 2), count, mode="linear").transpose(1, 2)
