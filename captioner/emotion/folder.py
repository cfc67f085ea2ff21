"""A trained recogniser as a folder: config.json, model.safetensors, CARD.md. It needs no CLIP beside it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from captioner.config_io import build_config, to_dict
from captioner.emotion.classifier import Anchors
from captioner.emotion.pe_clip import PEClip, Prototypes
from captioner.emotion.settings import PEClipConfig
from captioner.emotion.tower import Decoder
from captioner.emotion.vision import VisionTower
from captioner.errors import CheckpointError, ConfigError
from captioner.files import SHIPPED, missing, recover, staged
from captioner.model.checkpoint import state_of
from captioner.model.weights import fill, read_weights
from captioner.version import __version__

FORMAT, KIND = 1, "pe_clip"
FILES = ("config.json", "model.safetensors")


@torch.no_grad()
def save_pe_clip(
    folder: str | Path, model: PEClip, *, meta: Mapping[str, Any] | None = None, card: str = "", half: bool = False
) -> None:
    """Write the folder, whole or not. The category vectors are stored as they are now, however they were made."""
    fixed = copy.copy(model)
    fixed._modules = dict(model._modules) | {"classifier": Anchors(model.classifier().detach().clone())}
    about = {**(meta or {}), "format": FORMAT, "kind": KIND, "version": __version__, "emotion": to_dict(model.config)}
    with staged(folder) as staging:
        (staging / "config.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        save_file(state_of(fixed, half), staging / "model.safetensors", metadata={"format": "pt"})
        if card:
            (staging / "CARD.md").write_text(card, encoding="utf-8")


def find_pe_clip(source: str | Path) -> Path:
    """The folder of that path, or of a shipped recogniser by that name."""
    shipped = SHIPPED / source
    return shipped if not Path(source).exists() and (shipped / FILES[0]).is_file() else Path(source)


def shipped_names() -> list[str]:
    """The recognisers that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{FILES[0]}") if KIND in path.read_text("utf-8"))


def load_pe_clip(source: str | Path) -> PEClip:
    """The recogniser in a folder, or a shipped one by name, in evaluation mode and without gradients."""
    folder = recover(find_pe_clip(source))
    for name in FILES:
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} holds no trained PE-CLIP: {missing(folder / name)}; make one with scripts/train.py and a "
                f"configuration of configs/emotion; shipped: {', '.join(shipped_names()) or 'none'}"
            )
    config = read_pe_clip_config(folder / "config.json")
    state = read_weights(folder / "model.safetensors")
    odd = [name for name in ("prototypes.hidden", "prototypes.ends", "classifier.vectors") if name not in state]
    if odd:
        raise CheckpointError(f"{folder / 'model.safetensors'} lacks {', '.join(odd)}: it is of another kind of model")
    hidden, ends = (torch.zeros_like(state[f"prototypes.{name}"]) for name in ("hidden", "ends"))
    prototypes = Prototypes(hidden.float(), ends, learned=config.prototype == "learned")
    anchors = Anchors(torch.zeros(len(config.labels), config.clip.width))
    model = PEClip(config, VisionTower(config.clip), Decoder(config.clip, config.decoder), prototypes, anchors)
    fill(model, state, str(folder))
    return model.eval().requires_grad_(False)


def read_pe_clip_config(path: Path) -> PEClipConfig:
    """The configuration in a folder's config.json."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(about, dict) or about.get("kind") != KIND or not isinstance(about.get("emotion"), dict):
        raise CheckpointError(f"{path} is not a PE-CLIP's config.json: kind {KIND!r} with 'emotion' is needed")
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {about.get('format')!r}, this version reads {FORMAT}: update captioner"
        )
    try:
        return build_config(PEClipConfig, about["emotion"], where=str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
