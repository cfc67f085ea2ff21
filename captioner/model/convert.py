"""Public checkpoints in our layout: SwinBERT's model.bin, and Video Swin as its authors publish it.

Every tensor finds its place or is named. One that the layout does not know means another network and is
refused: its captions would differ in ways that nothing shows.
"""

import math
import os
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captioner.config import FusionConfig, ModelConfig, PromptsConfig, VideoConfig
from captioner.errors import CheckpointError
from captioner.files import missing
from captioner.model.captioner import EmotionCaptioner
from captioner.model.video_encoder import SWIN_SIZES, build_swin
from captioner.model.weights import fill

State = Mapping[str, Tensor]
Names = dict[str, tuple[str, ...]]  # ours -> theirs, several lie one below the other in ours

BACKBONE, SWIN, BERT = "backbone.", "swin.backbone.", "trans_encoder.bert."
HEAD = "trans_encoder.cls.predictions"
WORDS, DECODER = f"{BERT}embeddings.word_embeddings.weight", f"{HEAD}.decoder.weight"
KINDS, PLACES = (f"{BERT}embeddings.{table}_embeddings.weight" for table in ("token_type", "position"))
VIDEO_MASK = "learn_vid_att.weight"
LAYER = {  # parts of a layer of the transformer, ours -> BERT's
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}
# what writing captions never reads: the pooler, the head for masked image features, Video Swin's classifier
UNREAD = (f"{BERT}pooler.", "trans_encoder.cls_img_feat.", f"{BERT}embeddings.position_ids", "cls_head.")
UNFILLED = "fusion.kinds.weight"  # types of prompt tokens, which SwinBERT has none of
WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model")  # under which files keep their tensors
HEAD_WIDTH = 64  # of BERT in all its sizes; a state dict does not tell the number of heads


@dataclass(frozen=True)
class Report:
    """Names without a counterpart: the source's, and ours (zeros, which nothing reads)."""

    unused: list[str]
    unfilled: list[str]


def read_tensors(path: str | Path, key: str = "") -> dict[str, Tensor]:
    """The state dict in a torch file, at its top or under `key` or a usual name; nothing but tensors is unpickled."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{str(path)!r} is a folder: name the file" if path.is_dir() else missing(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one line is enough
            tree: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a cut or foreign file fails in a dozen ways
        found = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if found or _is_pickle(path):
            what = found[1] if found else "more than tensors"
            fault = f"needs unpickling of {what}, which could run code: give a file with tensors alone"
        else:
            fault = "is damaged or no torch file: copy or download it again"
        raise CheckpointError(f"{path} {fault}") from error
    names = (key,) if key else WRAPPERS
    wrapped = next((name for name in names if isinstance(tree, dict) and isinstance(tree.get(name), dict)), None)
    tree = tree[wrapped] if wrapped else tree
    if not isinstance(tree, dict) or not tree or any(not isinstance(v, Tensor) for v in tree.values()):
        raise CheckpointError(f"{path} holds no state dict (tensors by name)")
    return {str(name): value for name, value in tree.items()}


def _is_pickle(path: Path) -> bool:
    """Whether a whole file is a pickle, as Python writes it."""
    with path.open("rb") as file:
        if file.read(1) != b"\x80" or file.read(1) < b"\x03":
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() == b"."


def convert_swin(state: State, source: str) -> tuple[VideoConfig, dict[str, Tensor], Report]:
    """The arch of an official Video Swin, its tensors under torchvision's names, and what was left."""
    config = swin_config(state, source, BACKBONE)
    names: Names = {ours: (f"{BACKBONE}{theirs}",) for ours, theirs in swin_names(config.arch).items()}
    placed = place(build_swin(config).state_dict(), names, state, source)
    return config, placed, Report(leftovers(names, state, source), [])


def convert_swinbert(
    state: State,
    source: str,
    *,
    size: int = 224,
    frames: int | None = None,
    heads: int | None = None,
    max_text: int = 50,
) -> tuple[EmotionCaptioner, Report]:
    """The captioner of a SwinBERT state dict, in evaluation mode, and what was left.

    `frames` follows from the learned video mask where there is one; else it is 32, as in the published runs.
    """
    config = swinbert_config(state, source, size=size, frames=frames, heads=heads, max_text=max_text)
    names: Names = {f"video.net.{a}": (f"{SWIN}{b}",) for a, b in swin_names(config.video.arch).items()}
    names |= bert_names(config.fusion)
    model = EmotionCaptioner(config, load=False)
    wanted = model.state_dict()
    rows = len(wanted["fusion.embed.positions.weight"])
    given = dict(state)
    given[KINDS] = state[KINDS][0]  # captions are of type 0
    given[PLACES] = F.pad(state[PLACES][:rows], (0, 0, 0, max(0, rows - len(state[PLACES]))))
    if config.fusion.video_mask:
        given[VIDEO_MASK] = state[VIDEO_MASK].reshape(config.fusion.video_tokens, -1)
    placed = place(wanted, names, given, source)
    left = leftovers(names, state, source)
    fill(model, placed | {UNFILLED: torch.zeros_like(wanted[UNFILLED])}, source)
    return model.eval(), Report([*left, f"{KINDS}[1:]"], [UNFILLED])


def place(wanted: State, names: Names, state: State, source: str) -> dict[str, Tensor]:
    """Our tensors, in our precision; gaps, other shapes and other relative places are refused."""
    need(state, {name: None for group in names.values() for name in group}, source)
    placed = {}
    for ours, theirs in names.items():
        rows, *rest = wanted[ours].shape
        for name in theirs:
            if state[name].shape != (rows // len(theirs), *rest):
                given = tuple(state[name].shape)
                raise CheckpointError(
                    f"{source}: {name} has shape {given}, {(rows // len(theirs), *rest)} is needed"
                )
        placed[ours] = torch.cat([state[name] for name in theirs]).to(wanted[ours].dtype)
        if ours.endswith("_index") and not torch.equal(placed[ours], wanted[ours]):
            raise CheckpointError(f"{source}: {theirs[0]} orders the places of a window in another way")
    return placed


def leftovers(names: Names, state: State, source: str) -> list[str]:
    """Names of the state that were not placed, all of which captions do without; others are refused."""
    left = sorted(state.keys() - {name for group in names.values() for name in group})
    if strange := [name for name in left if not name.startswith(UNREAD)]:
        raise CheckpointError(f"{source} is of another architecture: no place for {some(strange)}")
    return left


def need(state: State, names: Mapping[str, int | None], source: str) -> None:
    """Refuse a state that lacks a name or has it with another number of dimensions."""
    if gaps := [name for name in names if name not in state]:
        raise CheckpointError(f"{source} is of another architecture: it lacks {some(gaps)}")
    for name, dims in names.items():
        if dims and state[name].dim() != dims:
            raise CheckpointError(f"{source}: {name} has {state[name].dim()} dimensions, {dims} are needed")


def some(names: list[str]) -> str:
    """How many names, and the first three."""
    shown = ", ".join([*names[:3], "..."] if len(names) > 3 else names)
    return f"{len(names)} tensor{'s' * (len(names) > 1)} ({shown})"


def count(names: Iterable[str], pattern: str) -> int:
    """One more than the largest number that the pattern finds in the names; 0 if it finds none."""
    return max((int(found[1]) + 1 for name in names if (found := re.match(pattern, name))), default=0)


def swin_config(state: State, source: str, prefix: str) -> VideoConfig:
    """The arch whose sizes a Video Swin has; official names behind `prefix`."""
    stem, layers = f"{prefix}patch_embed.proj.weight", re.escape(f"{prefix}layers.")
    stages = count(state, rf"{layers}(\d+)\.blocks\.")
    table = "blocks.0.attn.relative_position_bias_table"
    tables = [f"{prefix}layers.{stage}.{table}" for stage in range(stages or 1)]
    need(state, {stem: 5} | dict.fromkeys(tables, 2), source)
    width, patch = len(state[stem]), list(state[stem].shape[2:])
    depths = [count(state, rf"{layers}{stage}\.blocks\.(\d+)\.") for stage in range(stages)]
    rows, heads = len(state[tables[0]]), [state[name].shape[1] for name in tables]
    for arch, (channels, *sizes, window) in SWIN_SIZES.items():
        places = math.prod(2 * side - 1 for side in window)
        if channels in (width, 0) and sizes == [patch, depths, heads] and places == rows:
            return VideoConfig(arch=arch, width=VideoConfig.width if channels else width)  # type: ignore[arg-type]
    raise CheckpointError(
        f"{source} holds a Video Swin of width {width}, patch {patch}, depths {depths}, heads {heads} and "
        f"{rows} relative places; known are (width, patch, depths, heads, window): "
        + "; ".join(f"{arch} {', '.join(map(str, sizes))}" for arch, sizes in SWIN_SIZES.items() if sizes[0])
    )


def swin_names(arch: str) -> dict[str, str]:
    """torchvision's names -> the official ones."""
    depths = SWIN_SIZES[arch][2]
    parts = {part: part for part in ("patch_embed.proj", "patch_embed.norm", "norm")}
    names = {}
    for stage, depth in enumerate(depths):
        for block in range(depth):
            ours, theirs = f"features.{2 * stage}.{block}", f"layers.{stage}.blocks.{block}"
            parts |= {f"{ours}.{p}": f"{theirs}.{p}" for p in ("norm1", "attn.qkv", "attn.proj", "norm2")}
            parts |= {f"{ours}.mlp.0": f"{theirs}.mlp.fc1", f"{ours}.mlp.3": f"{theirs}.mlp.fc2"}
            for table in ("bias_table", "index"):
                names[f"{ours}.attn.relative_position_{table}"] = f"{theirs}.attn.relative_position_{table}"
        if stage + 1 < len(depths):
            ours, theirs = f"features.{2 * stage + 1}", f"layers.{stage}.downsample"
            parts[f"{ours}.norm"] = f"{theirs}.norm"
            names[f"{ours}.reduction.weight"] = f"{theirs}.reduction.weight"
    return names | {f"{a}.{kind}": f"{b}.{kind}" for a, b in parts.items() for kind in ("weight", "bias")}


def swinbert_config(
    state: State, source: str, *, size: int, frames: int | None, heads: int | None, max_text: int
) -> ModelConfig:
    """Sizes of a SwinBERT: what its shapes tell, and what only the caller knows."""
    up = f"{BERT}encoder.layer.0.intermediate.dense.weight"
    need(state, dict.fromkeys(("fc.weight", WORDS, DECODER, KINDS, PLACES, up), 2), source)
    vocab, width = state[WORDS].shape
    tokens = math.isqrt(state[VIDEO_MASK].numel()) if VIDEO_MASK in state else 0
    if max_text > len(state[PLACES]):
        raise CheckpointError(f"{source} knows {len(state[PLACES])} places of a text, not {max_text}")
    if tokens and tokens**2 != state[VIDEO_MASK].numel():
        raise CheckpointError(f"{source}: {VIDEO_MASK} has {state[VIDEO_MASK].numel()} values, no square")
    swin = swin_config(state, source, SWIN)
    return ModelConfig(
        video=replace(swin, size=size, frames=video_frames(tokens, size, frames, source)),
        prompts=PromptsConfig(vep=False, tep=False, er_sentence="off", au_word="off"),
        fusion=FusionConfig(
            layers=count(state, re.escape(BERT) + r"encoder\.layer\.(\d+)\."),
            heads=max(1, width // HEAD_WIDTH) if heads is None else heads,
            width=width,
            ffn=len(state[up]),
            visual_width=len(state["fc.weight"]),
            max_text=max_text,
            tie_head=torch.equal(state[WORDS], state[DECODER]),
            video_mask=bool(tokens),
            video_tokens=tokens or FusionConfig.video_tokens,
        ),
        vocab_size=vocab,
    )


def video_frames(tokens: int, size: int, frames: int | None, source: str) -> int:
    """The number of frames that gives a learned mask's number of video tokens; else as told, or 32."""
    if not tokens:
        return VideoConfig.frames if frames is None else frames
    area = max(1, math.ceil(size / 32)) ** 2  # video tokens of two frames
    frames = 2 * tokens // area if frames is None else frames
    if math.ceil(frames / 2) * area != tokens:
        raise CheckpointError(
            f"{source} has a learned mask of {tokens} video tokens; {frames} frames of {size} pixels give "
            f"{math.ceil(frames / 2) * area}: tell the size and number of frames it was trained with"
        )
    return frames


def bert_names(config: FusionConfig) -> Names:
    """Our names outside the video encoder -> SwinBERT's."""
    names: Names = {
        "fusion.embed.words.weight": (WORDS,),
        "fusion.embed.positions.weight": (PLACES,),
        "fusion.embed.kind": (KINDS,),
        "fusion.head.decoder.weight": (DECODER,),
        "fusion.head.decoder.bias": (f"{HEAD}.bias",),
    }
    parts = {
        "video_in": "fc",
        "video_out": f"{BERT}img_embedding",
        "fusion.embed.norm": f"{BERT}embeddings.LayerNorm",
        "fusion.head.dense": f"{HEAD}.transform.dense",
        "fusion.head.norm": f"{HEAD}.transform.LayerNorm",
    }
    for number in range(config.layers):
        ours, theirs = f"fusion.layers.{number}", f"{BERT}encoder.layer.{number}"
        parts |= {f"{ours}.{a}": f"{theirs}.{b}" for a, b in LAYER.items()}
        for kind in ("weight", "bias"):
            qkv = [f"{theirs}.attention.self.{part}.{kind}" for part in ("query", "key", "value")]
            names[f"{ours}.qkv.{kind}"] = tuple(qkv)
    if config.video_mask:
        names["fusion.video_mask"] = (VIDEO_MASK,)
    return names | {f"{a}.{kind}": (f"{b}.{kind}",) for a, b in parts.items() for kind in ("weight", "bias")}
