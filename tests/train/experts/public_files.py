"""Files in the layouts of public checkpoints, with random weights; no public file is read."""

from pathlib import Path

import torch
from torch import Tensor, nn

from prompts.au_graph import AUGraph, AUGraphConfig
from prompts.backbones import build_backbone


def opengraphau_file(path: Path, backbone: str = "resnet18", stage: int = 1, seed: int = 0) -> Path:
    """As OpenGraphAU's training script saves a net: under `state_dict`, every name behind `module.`."""
    torch.manual_seed(seed)
    net = AUGraph(AUGraphConfig(backbone, stage))
    state = {f"module.{key}": value for key, value in net.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {}}, path)
    return path


def resnet50_file(path: Path, outputs: int = 11, seed: int = 0, prefix: str = "", apart: Tensor | None = None) -> Path:
    """As torchvision and timm name a ResNet50.

    A random net gives all pictures nearly the same features; this one is fitted to tell those of `apart`
    (B, 3, S, S), normalised, from each other.
    """
    torch.manual_seed(seed)
    net, channels = build_backbone("resnet50")
    classifier = nn.Linear(channels, outputs)
    if apart is not None:
        _tell_apart(net, apart)
    state = {f"{prefix}{key}": value for key, value in net.state_dict().items()}
    state |= {f"{prefix}fc.{key}": value for key, value in classifier.state_dict().items()}
    torch.save(state, path)
    return path


@torch.no_grad()
def _tell_apart(net: nn.Module, pictures: Tensor) -> None:
    """Batch norms that know these pictures, the last of which lets through only what stands out among them."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over what was seen
    net.train()(pictures)
    net.eval()
    net.layer4[0].downsample[-1].bias.fill_(-1.5)  # type: ignore[index, union-attr]  # the branches start at 0
