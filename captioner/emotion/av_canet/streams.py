"""What is seen and heard of each snippet: Video Swin of its pictures, a ResNet of its chunk of sound.

Axes: B clips, s snippets, T pictures of a snippet, S pixels, F frames of a chunk, C their coefficients, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.video.swin_transformer import SwinTransformer3d

from captioner.emotion.av_canet.av_canet_config import AudioStreamConfig, VideoStreamConfig
from captioner.emotion.clip.vision import FaceTower
from captioner.errors import CheckpointError
from captioner.files import missing
from captioner.model.weights import fill, read_weights

SMALL_CHANNELS = 16
_PIXEL_MEAN = 100.0  # of 0 to 255; the published pictures are (x - 100) / 255


def video_swin(config: VideoStreamConfig) -> SwinTransformer3d:
    """Video Swin-T, torchvision's, or one of two short stages."""
    if config.net == "swin3d_t":
        sizes: dict[str, Any] = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]}
    else:
        sizes = {"embed_dim": SMALL_CHANNELS, "depths": [1, 1], "num_heads": [2, 4]}
    net = SwinTransformer3d(
        patch_size=[2, 4, 4], window_size=[8, 7, 7], stochastic_depth_prob=config.drop_path, **sizes
    )
    net.head = nn.Identity()
    return net


def start_swin(net: nn.Module, path: Path) -> None:
    """Fill Video Swin from torchvision's weights of it, or of its two-dimensional sister; heads are left out."""
    if not path.is_file():
        advice = "give a safetensors file of torchvision's swin3d_t (Kinetics) or swin_t (ImageNet)"
        raise CheckpointError(f"emotion.video.pretrained: {missing(path)}; {advice}")
    state = {name: value.float() for name, value in read_weights(path).items() if not name.startswith("head.")}
    wanted = {name: value for name, value in net.state_dict().items() if not name.startswith("head.")}
    if "features.0.0.weight" in state and "patch_embed.proj.weight" not in state:
        state = inflated(state, wanted)
    # masks and indices follow from the windows' shape, which weights of pictures do not have
    state |= {name: value for name, value in wanted.items() if name.endswith("relative_position_index")}
    fill(net, state, str(path))


def inflated(flat: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of Swin on pictures as those of Video Swin: patches share theirs over time, biases repeat.

    torchvision counts the patch embedding of pictures among the stages: its stage n is n - 1 here.
    """
    found: dict[str, Tensor] = {}
    for name, value in flat.items():
        if name.startswith("features.0."):
            ours = {"0": "patch_embed.proj", "2": "patch_embed.norm"}[name.split(".")[2]] + "." + name.split(".")[3]
        elif name.startswith("features."):
            _, stage, rest = name.split(".", 2)
            ours = f"features.{int(stage) - 1}.{rest}"
        else:
            ours = name
        shape = wanted[ours].shape if ours in wanted else value.shape
        if ours == "patch_embed.proj.weight":
            value = value[:, :, None].expand(-1, -1, shape[2], -1, -1) / shape[2]
        elif ours.endswith("relative_position_bias_table"):
            value = value.repeat(shape[0] // len(value), 1)
        found[ours] = value.contiguous()
    return found


class VideoStream(nn.Module):
    """Pictures uint8 (B, s * T, 3, S, S) -> (B, s, W); of the frozen experts what `frozen` says of them."""

    def __init__(self, config: VideoStreamConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.swin = None if config.net == "experts" else video_swin(config)
        self.faces = FaceTower(width) if config.net == "experts" else None
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Identity() if self.swin is None else nn.Linear(self.swin.num_features, width)

    def frozen(self, pictures: Tensor) -> Tensor:
        """What training never changes, and so may be kept: the pictures, or what the trunks say of each face."""
        if self.faces is None:
            return pictures
        trunks: Tensor = self.faces.trunks(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        return trunks

    def forward(self, pictures: Tensor) -> Tensor:
        parts = pictures.unflatten(1, (-1, self.config.frames))  # (B, s, T, ...)
        if self.faces is not None:
            seen: Tensor = self.dropout(self.faces.visual_projection(parts.float())).mean(2)
            return seen
        snippets = (parts.flatten(0, 1).float() - _PIXEL_MEAN) / 255
        out: Tensor = self.project(self.look(snippets.transpose(1, 2))).unflatten(0, parts.shape[:2])
        return out

    def look(self, snippets: Tensor) -> Tensor:
        """Snippets (N, 3, T, S, S) -> (N, channels): the mean over the picture, dropout, the mean over time."""
        net = self.swin
        assert net is not None
        tokens = net.norm(net.features(net.pos_drop(net.patch_embed(snippets))))  # (N, T', H', W', channels)
        out: Tensor = self.dropout(tokens.mean((2, 3))).mean(1)
        return out


def audio_resnet() -> nn.Module:
    """ResNet34 whose first convolution runs along time only: (N, 1, F, C) -> (N, 512)."""
    net = ResNet(BasicBlock, [3, 4, 6, 3])
    net.conv1 = nn.Conv2d(1, 64, (7, 1), stride=(2, 1), padding=(3, 0), bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.fc = nn.Identity()
    whole: nn.Module = net
    return whole


class SmallAudioNet(nn.Module):
    """Three convolutions over time and bands, for a CPU: (N, 1, F, C) -> (N, 192)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for channels in (24, 48, 96):
            layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels),
                       nn.ReLU()]  # fmt: skip
            before = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, chunks: Tensor) -> Tensor:
        maps = self.layers(chunks)
        return torch.cat([maps.mean(2).amax(2), maps.amax(2).mean(2)], 1)


class AudioStream(nn.Module):
    """Chunks (B, s, F, C) -> (B, s, W); a clip that is not heard (B,) is a learned token in every snippet."""

    def __init__(self, config: AudioStreamConfig, width: int) -> None:
        super().__init__()
        self.net: nn.Module = audio_resnet() if config.net == "resnet34" else SmallAudioNet()
        self.project = nn.Linear(512 if config.net == "resnet34" else 192, width)
        self.norm = nn.BatchNorm1d(width)
        self.silence = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, chunks: Tensor, heard: Tensor) -> Tensor:
        streams = self.silence.expand(*chunks.shape[:2], -1)
        if not heard.any():
            return streams
        loud = chunks[heard]  # silence would spoil the norms' statistics
        found = self.project(self.net(loud.flatten(0, 1)[:, None]))
        # the norm needs two rows to learn from
        normed = self.norm(found) if len(found) > 1 or not self.training else found
        streams = streams.clone()
        streams[heard] = normed.tanh().unflatten(0, loud.shape[:2]).to(streams.dtype)
        return streams
