"""EmotionCLIP as its authors publish it: 379 tensors of their names, strictly, as our recogniser.

backbone.*     OpenAI's layout of a CLIP pair, GELU
visual_head.*  the transformer over frames, as ours but for a buffer of places
logit_scale    twice, one tensor
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.clip.opening import from_openai, split_state
from captioner.emotion.emotion_clip.emotion_clip import EmotionClip
from captioner.emotion.emotion_clip.emotion_clip_config import EmotionClipConfig, FrameFusionConfig
from captioner.errors import CheckpointError
from captioner.model.convert import read_tensors
from captioner.model.weights import fill, read_weights

BACKBONE, HEAD, SCALE = "backbone.", "visual_head.", "logit_scale"
PLACES = f"{HEAD}position_ids"
_TOWERS = ("backbone.visual.transformer.resblocks.", "backbone.transformer.resblocks.")
_FUSION = f"{HEAD}fusion_layer.layers."
_BOTH = ("weight", "bias")
_LAYER = ["attn.in_proj_weight", "attn.in_proj_bias"]
_LAYER += [f"{part}.{kind}" for part in ("attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj") for kind in _BOTH]
_FUSED = ["self_attn.in_proj_weight", "self_attn.in_proj_bias"]
_FUSED += [
    f"{part}.{kind}" for part in ("self_attn.out_proj", "linear1", "linear2", "norm1", "norm2") for kind in _BOTH
]
_SINGLE = [SCALE, f"{BACKBONE}{SCALE}", PLACES, f"{HEAD}frame_position_embedding.weight"]
_SINGLE += [f"{BACKBONE}{name}" for name in ("positional_embedding", "text_projection", "token_embedding.weight")]
_SINGLE += [f"{BACKBONE}visual.{name}" for name in ("class_embedding", "positional_embedding", "proj", "conv1.weight")]
_SINGLE += [
    f"{norm}.{kind}"
    for norm in ("backbone.visual.ln_pre", "backbone.visual.ln_post", "backbone.ln_final", f"{HEAD}fusion_layer.norm")
    for kind in _BOTH
]


def read_released(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a released file, beside which it keeps arguments and an optimiser; or in a safetensors file.

    Nothing but tensors, plain values and a Namespace of arguments is unpickled.
    """
    if Path(path).suffix == ".safetensors":
        return read_weights(Path(path))
    with torch.serialization.safe_globals([argparse.Namespace]):
        return read_tensors(path, "model")


def convert_released(
    state: Mapping[str, Tensor], source: str, *, head_width: int = 64, text_head_width: int = 0, fusion_heads: int = 8
) -> EmotionClip:
    """The recogniser of a released state dict; a missing or a strange name is refused.

    What shapes do not tell: channels of a head in both towers (64 in the release), heads of the frames' transformer.
    """
    check_names(state, source)
    backbone = {
        name.removeprefix(BACKBONE): value
        for name, value in state.items()
        if name.startswith(BACKBONE) and not name.endswith(SCALE)
    }
    asked = ClipConfig(source="", activation="gelu", head_width=head_width, text_head_width=text_head_width)
    placed, clip = from_openai(backbone, source, asked)
    vision, text = split_state(placed, source)
    places = state[f"{HEAD}frame_position_embedding.weight"]
    fusion = FrameFusionConfig(
        layers=_layers(state, _FUSION), heads=fusion_heads, hidden=len(state[f"{_FUSION}0.linear1.weight"])
    )
    if places.shape[1] != clip.width or state[PLACES].tolist() != list(range(len(places))):
        raise CheckpointError(f"{source}: {PLACES} is not 0 to {len(places) - 1}, or the frames' width is no CLIP's")
    if not torch.equal(state[SCALE], state[f"{BACKBONE}{SCALE}"]):
        raise CheckpointError(f"{source}: {SCALE} and {BACKBONE}{SCALE} differ, they are one tensor")
    model = EmotionClip(EmotionClipConfig(clip=clip, fusion=fusion, frames=len(places)))
    ours = {f"vision.{name.removeprefix('net.')}": value for name, value in vision.items()}
    ours |= {f"text.{name}": value for name, value in text.items()}
    ours |= {
        f"temporal.{name.removeprefix(HEAD)}": value.float()
        for name, value in state.items()
        if name.startswith(HEAD) and name != PLACES
    }
    fill(model, {**ours, "scale": state[SCALE].float().reshape(())}, source)
    return model.eval()


def released_names(towers: tuple[int, int], fused: int) -> set[str]:
    """The names of a release with so many layers in its image and text towers and over its frames: 379 as published."""
    names = {*_SINGLE, *(f"{_FUSION}{i}.{part}" for i in range(fused) for part in _FUSED)}
    for prefix, layers in zip(_TOWERS, towers, strict=True):
        names |= {f"{prefix}{i}.{part}" for i in range(layers) for part in _LAYER}
    return names


def check_names(state: Mapping[str, Tensor], source: str) -> None:
    """Raises CheckpointError unless these are the names of the release, by layers that are numbered without a gap."""
    towers = (_layers(state, _TOWERS[0]), _layers(state, _TOWERS[1]))
    wanted = released_names(towers, _layers(state, _FUSION))
    missing, strange = sorted(wanted - set(state)), sorted(set(state) - wanted)
    faults = [f"{len(names)} {word} ({', '.join(names[:3])})" for word, names in
              (("missing", missing), ("unknown", strange)) if names]  # fmt: skip
    if faults:
        raise CheckpointError(f"{source} is no EmotionCLIP as released: of {len(wanted)} names {'; '.join(faults)}")


def _layers(state: Mapping[str, Tensor], prefix: str) -> int:
    found = [re.match(rf"{re.escape(prefix)}(\d+)\.", name) for name in state]
    return 1 + max((int(match[1]) for match in found if match), default=0)
