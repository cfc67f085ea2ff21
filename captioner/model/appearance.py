"""How a caption names a person, from aligned crops of their face: a small net, saved as a folder.

the recipe `appearance` of scripts/train.py makes such a folder; `load_appearance` reads it strictly.
Axes: B crops, S side.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from captioner.config_io import build_config, check
from captioner.errors import CheckpointError, ConfigError
from captioner.files import SHIPPED, missing, read_object, recover, staged
from captioner.model.weights import filled
from captioner.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from prompts.au_graph import freeze
from prompts.backbones import BACKBONES, build_backbone, check_name

KIND = "appearance"
FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class AppearanceSpec:
    """config.json of such a folder: the net's shape, the crops it expects, what it learned from."""

    arch: str
    size: int
    """Side of the aligned crops."""
    margin: float
    """Round the face in them, as captioner.faces cuts them."""
    training_data: str
    licence: str
    kind: str = KIND
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        try:
            check_name("arch", self.arch, BACKBONES)
        except ValueError as error:
            check([str(error)])
        faults = [] if self.kind == KIND else [f"kind is {self.kind!r}: {KIND!r} is needed"]
        faults += [] if self.size >= 32 else [f"size is {self.size}: at least 32 is needed"]
        check(faults + ([] if 0 <= self.margin <= 2 else [f"margin is {self.margin}: 0 to 2 faces are allowed"]))


class AppearanceNet(nn.Module):
    """Backbone, mean over positions, one number: the log odds that captions would say woman, not man."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        self.backbone, width = build_backbone(arch)
        self.fc = nn.Linear(width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Log odds (B,) of aligned crops as the backbone takes them: normalised (B, 3, S, S), or grey in 0..1."""
        odds: Tensor = self.fc(self.backbone(images).mean(1))[:, 0]
        return odds


@dataclass(frozen=True)
class Appearance:
    """The net, frozen, and what config.json says of it."""

    net: AppearanceNet
    config: AppearanceSpec


def save_appearance(folder: str | Path, net: AppearanceNet, spec: AppearanceSpec, card: str) -> None:
    """config.json, model.safetensors (matrices in float16) and CARD.md in `folder`."""
    state = {key: value.half() if value.dim() > 1 else value for key, value in net.state_dict().items()}
    with staged(folder) as staging:
        save_file({key: value.contiguous() for key, value in state.items()}, staging / "model.safetensors")
        (staging / "config.json").write_text(json.dumps(dataclasses.asdict(spec), indent=1) + "\n", encoding="utf-8")
        (staging / "CARD.md").write_text(card, encoding="utf-8")


def load_appearance(source: str | Path) -> Appearance:
    """The frozen net of a folder; every key must be there."""
    folder = recover(Path(source))
    for name in FILES:
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} names nobody's appearance: {missing(folder / name)}; "
                "make one with scripts/train.py and configs/appearance.yaml"
            )
    spec = _read_spec(folder / "config.json")
    path = folder / "model.safetensors"
    net = filled(lambda: AppearanceNet(spec.arch), path, str(path))
    freeze(net)
    return Appearance(net, spec)


def shipped_appearance() -> Appearance | None:
    """The net that comes with the package; None where it was left out, and nobody is named."""
    folder = SHIPPED / KIND
    return load_appearance(folder) if (folder / "config.json").is_file() else None


def _read_spec(path: Path) -> AppearanceSpec:
    tree = read_object(path)
    if tree.get("kind") != KIND:
        raise CheckpointError(f"{path} is not the config.json of an appearance net: kind {KIND!r} is needed")
    try:
        return build_config(AppearanceSpec, tree, where=str(path))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
