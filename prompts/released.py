"""Released checkpoints of AU graph nets, ME-GraphAU's and OpenGraphAU's: their shape is read off the keys."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from prompts.au_graph import AUGraph, AUGraphConfig
from prompts.backbones import BACKBONES


def load_released(source: str | Path | Mapping[str, object], neighbors: int = 4, metric: str = "dots") -> AUGraph:
    """The net of a released checkpoint (a file, or what it holds), in eval mode; shape read off the keys.

    Loads strictly. `neighbors` and `metric` leave no trace in the weights: give them if the run changed them.
    The stage-1 nets for BP4D and DISFA, whose keys lack `main_`, load too.
    """
    state = _released_state(source)
    model = AUGraph(_infer_config(state, neighbors, metric))
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    wrong = [key for key in sorted(wanted.keys() & state.keys()) if wanted[key].shape != state[key].shape]
    faults = [("missing", missing), ("unexpected", extra), ("of another shape", wrong)]
    if missing or extra or wrong:
        found = "; ".join(f"{len(keys)} keys {fault}: {_few(keys)}" for fault, keys in faults if keys)
        kind = f"{model.config.backbone} stage-{model.config.stage} AU graph"
        raise ValueError(f"the checkpoint does not fit a {kind}: {found}")
    model.load_state_dict(state)
    return model.eval()


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:4]) + (", ..." if len(keys) > 4 else "")


def _released_state(source: str | Path | Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors under our names: no `module.` prefix, timm's places for the layers of a Swin."""
    if isinstance(source, (str, Path)):
        try:
            source = torch.load(source, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"cannot read {source} as a checkpoint of weights: {reason}") from error
    state = source.get("state_dict", source) if isinstance(source, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("a released checkpoint is a dict with tensors under `state_dict`; this one is not")
    renamed = {_our_name(key): value for key, value in state.items()}
    recomputed = ("relative_position_index", "attn_mask")  # by timm, from the image size
    return {key: value for key, value in renamed.items() if not key.endswith(recomputed)}


def _our_name(key: str) -> str:
    key = key.removeprefix("module.")
    key = re.sub(r"^head\.(class_linears\.|sc$)", r"head.main_\1", key)  # the root code's names
    # the released Swin ends a stage by downsampling, timm's opens the next with it
    moved = re.match(r"backbone\.layers\.(\d)\.downsample\.", key)
    return f"backbone.layers.{int(moved[1]) + 1}.downsample.{key[moved.end() :]}" if moved else key


def _infer_config(state: Mapping[str, Tensor], neighbors: int, metric: str) -> AUGraphConfig:
    needed = ("global_linear.fc.weight", "head.main_sc")
    if absent := [key for key in needed if key not in state]:
        raise ValueError(f"the checkpoint holds no AU graph: {', '.join(absent)} missing; it has {_few(sorted(state))}")
    width, channels = state["global_linear.fc.weight"].shape
    return AUGraphConfig(
        backbone=_infer_backbone(state, channels),
        stage=2 if any(key.startswith("head.edge_extractor.") for key in state) else 1,
        neighbors=neighbors,
        metric=metric,
        main=len(state["head.main_sc"]),
        sub=len(state["head.sub_sc"]) if "head.sub_sc" in state else 0,
        width=width,
    )


def _infer_backbone(state: Mapping[str, Tensor], channels: int) -> str:
    depth = len({key.split(".")[2] for key in state if key.startswith("backbone.layer3.")})
    swin_depth = len({key.split(".")[4] for key in state if key.startswith("backbone.layers.2.blocks.")})
    shapes = {
        (160, 1, 0): "small", (512, 2, 0): "resnet18", (2048, 6, 0): "resnet50", (2048, 23, 0): "resnet101",
        (768, 0, 6): "swin_tiny", (768, 0, 18): "swin_small", (1024, 0, 18): "swin_base",
    }  # fmt: skip
    if any(key.startswith("backbone.blocks.") for key in state):  # OpenGraphAU's MAE
        return "vit_base"
    if name := shapes.get((channels, depth, swin_depth)):
        return name
    raise ValueError(f"unknown backbone of {channels} channels in the checkpoint; known: {', '.join(BACKBONES)}")
