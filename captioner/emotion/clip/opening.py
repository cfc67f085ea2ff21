"""CLIP pairs from the hub, a folder, one weights file, or sizes; OpenAI's and Hugging Face's layouts, strictly.

The image tower is transformers' or our own face net (vision.py); the text tower is ours (tower.py), because its
layers are taken apart.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tokenizers
from torch import Tensor

from captioner.emotion.clip.clip_config import TEXT_NAMES, VISION_NAMES, ClipConfig
from captioner.emotion.clip.tower import TextTower
from captioner.emotion.clip.vision import VisionTower
from captioner.errors import CheckpointError
from captioner.files import SHIPPED, missing
from captioner.model.convert import read_tensors
from captioner.model.tokenizer import Tokenizer
from captioner.model.weights import fill, read_weights

log = logging.getLogger(__name__)

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
OPENCLIP = "open_clip_config.json"
VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt")
MARKS = (("<|startoftext|>", "<|endoftext|>"), ("[CLS]", "[SEP]"))  # CLIP's own, and those of our vocabularies
UNREAD = ("position_ids", "logit_scale", "input_resolution", "context_length", "vocab_size")
State = dict[str, Tensor]


@dataclass
class ClipTowers:
    """An opened pair and its vocabulary."""

    config: ClipConfig  # its sizes are those of the weights
    vision: VisionTower
    text: TextTower
    vocabulary: tokenizers.Tokenizer

    @property
    def encode(self) -> Callable[[str], list[int]]:
        """A text's ids with its start and end."""
        return encoder_of(self.vocabulary)


def open_clip(config: ClipConfig, texts: Iterable[str] = ()) -> ClipTowers:
    """The CLIP pair of a configuration, shipped ones by name; one built from sizes takes its words from `texts`."""
    if not config.source:
        return build_clip(config, texts)
    path = find_pair(config.source)
    if not path.exists():
        path = download(config.source)
    folder = path if path.is_dir() else path.parent
    state = read_clip_state(path)
    if "visual.conv1.weight" in state or "visual.proj" in state:
        state, sizes = from_openai(state, str(path), read_openclip(folder / OPENCLIP, config))
        log.info("%s: %s heads of %d and %d channels are taken", path, sizes.activation, *head_widths(sizes))
    else:
        sizes = read_clip_sizes(folder, state, str(path))
    settled = replace(sizes, source=config.source)
    vision, text = VisionTower(settled), TextTower(settled)
    ours, theirs = split_state(state, str(path))
    fill(vision, ours, f"{path} (image tower)")
    fill(text, theirs, f"{path} (text tower)")
    return ClipTowers(settled, vision.eval(), text.eval().requires_grad_(False), open_vocabulary(folder, settled))


def find_pair(source: str) -> Path:
    """The path that is meant, which need not be there, or the folder of a shipped pair by that name."""
    shipped = SHIPPED / source
    return shipped if not Path(source).exists() and shipped.is_dir() else Path(source)


def build_clip(config: ClipConfig, texts: Iterable[str]) -> ClipTowers:
    """A pair with random weights, its vocabulary made of the words of `texts`."""
    own = Tokenizer.build(texts)
    settled = replace(config, vocab_size=own.vocab_size)
    log.warning("clip.source is empty: CLIP starts from random weights")
    text = TextTower(settled).eval().requires_grad_(False)
    return ClipTowers(settled, VisionTower(settled).eval(), text, own.backend)


def download(name: str) -> Path:
    """The folder of a hub repository in the local cache, fetched when there is a connection."""
    wrong = f"cannot load CLIP {name!r}: no such file or folder"
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise CheckpointError(f"{wrong}; give a folder, a weights file or a hub repository owner/name")
    from huggingface_hub import snapshot_download

    offline = bool(os.environ.get("HF_HUB_OFFLINE"))
    kinds = [["config.json", OPENCLIP, *VOCABULARY, file] for file in WEIGHTS]
    cause = "it has none of " + ", ".join(WEIGHTS)
    for patterns in kinds:
        try:
            folder = Path(snapshot_download(name, allow_patterns=patterns, local_files_only=offline))
        except Exception as error:  # network, name, permission: the library has a dozen types for them
            cause = str(error).strip().splitlines()[0] or type(error).__name__
            cause = "not in the local cache, and HF_HUB_OFFLINE is set" if offline else cause
            break
        if (folder / patterns[-1]).is_file():
            return folder
    raise CheckpointError(
        f"{wrong}; on the hub: {cause}; connect once, give the folder of a CLIP that you have, "
        f"or set clip.source='' for random weights"
    )


def read_clip_state(path: Path) -> State:
    """All tensors of a weights file, or of the one in a folder."""
    if path.is_dir():
        found = [path / name for name in WEIGHTS if (path / name).is_file()] or sorted(path.glob("*.safetensors"))
        if len(found) == 0:
            raise CheckpointError(f"{path} holds no CLIP: {' or '.join(WEIGHTS[:2])} is missing")
        path = found[0]
    return read_weights(path) if path.suffix == ".safetensors" else read_tensors(path)


def read_clip_sizes(folder: Path, state: State, source: str) -> ClipConfig:
    """The sizes in the config.json beside weights in Hugging Face's layout."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{missing(folder / 'config.json')}: weights in Hugging Face's layout need it beside them"
        )
    from transformers import CLIPConfig

    try:
        about: Any = CLIPConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} is no CLIP's: {str(error).splitlines()[0]}") from None
    text, vision = about.text_config, about.vision_config
    if text.hidden_act != vision.hidden_act:
        raise CheckpointError(f"{source}: towers with two activations ({text.hidden_act}, {vision.hidden_act})")
    return ClipConfig(
        tower=getattr(vision, "tower", "vit"),
        width=about.projection_dim,
        **{ours: getattr(vision, theirs) for ours, theirs in VISION_NAMES.items()}
        | {ours: getattr(text, theirs) for ours, theirs in TEXT_NAMES.items()},
    )


def split_state(state: Mapping[str, Tensor], source: str) -> tuple[State, State]:
    """Tensors in Hugging Face's layout by tower, under our names; a name of neither is an error."""
    vision: State = {}
    text: State = {}
    strange = []
    for name, value in state.items():
        if name.endswith(UNREAD):
            continue
        if name.startswith(("vision_model.", "visual_projection.")):
            vision[f"net.{name}"] = value.float() if value.is_floating_point() else value
        elif name.startswith(("text_model.", "text_projection.")):
            short = name.removeprefix("text_model.").removeprefix("embeddings.").removeprefix("encoder.")
            text[short] = value.float()
        else:
            strange.append(name)
    if strange or not vision or not text:
        named = f"; unknown: {', '.join(strange[:3])}" if strange else ""
        raise CheckpointError(
            f"{source} is no CLIP pair of two transformers: {len(vision)} tensors of an image tower, "
            f"{len(text)} of a text tower{named}"
        )
    return vision, text


# OpenAI's names -> Hugging Face's, of a layer and of what stands outside the layers
_LAYER = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj"}
_LAYER |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
_OUTSIDE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_TOWERS = {"visual.transformer.resblocks.": "vision_model", "transformer.resblocks.": "text_model"}


def read_openclip(path: Path, config: ClipConfig) -> ClipConfig:
    """A configuration with the activation and the heads that the file beside OpenCLIP's weights tells, if it is there.

    Else its own: neither OpenAI's release nor a lone file of OpenCLIP says which they are.
    """
    if not path.is_file():
        return config
    try:
        about = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        vision, text = about["vision_cfg"], about["text_cfg"]
        channels = (int(vision.get("head_width", 64)), int(text["width"]) // int(text["heads"]))
        quick = bool(about.get("quick_gelu", False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path} is no OpenCLIP's: {type(error).__name__} {error}") from None
    activation = "quick_gelu" if quick else "gelu"
    return replace(config, activation=activation, head_width=channels[0], text_head_width=channels[1])


def head_widths(config: ClipConfig) -> tuple[int, int]:
    """Channels of an attention head of both towers."""
    return config.vision_width // config.vision_heads, config.text_width // config.text_heads


def from_openai(state: Mapping[str, Tensor], source: str, asked: ClipConfig) -> tuple[State, ClipConfig]:
    """A state dict of OpenAI's release, or of OpenCLIP, in Hugging Face's layout, and its sizes.

    Shapes tell the sizes; what they do not tell, the activation and the channels of a head, is as `asked`.
    """
    if "text.token_embedding.weight" in state:  # OpenCLIP's towers side by side
        state = {name.removeprefix("text."): value for name, value in state.items()}
    if "visual.layer1.0.conv1.weight" in state:
        raise CheckpointError(f"{source} is a CLIP with a ResNet image tower: one with a vision transformer is needed")
    placed: State = {}
    for name, value in state.items():
        if name in ("visual.proj", "text_projection"):
            target = "visual_projection" if name == "visual.proj" else "text_projection"
            placed[f"{target}.weight"] = value.T.contiguous()
        elif name in _OUTSIDE:
            placed[_OUTSIDE[name]] = value
        elif name not in UNREAD:
            placed |= _layer_part(name, value, source)
    try:
        return placed, _openai_sizes(placed, asked)
    except KeyError as error:
        raise CheckpointError(f"{source} is no whole CLIP of OpenAI: {error.args[0]} is missing") from None


def _layer_part(name: str, value: Tensor, source: str) -> State:
    """One tensor of a layer; the stacked query, key and value become three."""
    for prefix, tower in _TOWERS.items():
        if name.startswith(prefix):
            number, _, part = name.removeprefix(prefix).partition(".")
            layer = f"{tower}.encoder.layers.{number}"
            if part.startswith("attn.in_proj_"):
                kind = part.removeprefix("attn.in_proj_")
                parts = zip("qkv", value.chunk(3), strict=True)
                return {f"{layer}.self_attn.{key}_proj.{kind}": each.contiguous() for key, each in parts}
            stem, _, kind = part.rpartition(".")
            if stem in _LAYER:
                return {f"{layer}.{_LAYER[stem]}.{kind}": value}
    raise CheckpointError(f"{source}: {name} has no place in OpenAI's CLIP; is it another network?")


def _openai_sizes(state: Mapping[str, Tensor], asked: ClipConfig) -> ClipConfig:
    patches = state["vision_model.embeddings.patch_embedding.weight"]
    places = state["vision_model.embeddings.position_embedding.weight"]
    words = state["text_model.embeddings.token_embedding.weight"]

    def layers(tower: str) -> int:
        return len({name.split(".")[3] for name in state if name.startswith(f"{tower}.encoder.layers.")})

    return ClipConfig(
        image_size=round((len(places) - 1) ** 0.5) * patches.shape[-1],
        patch=patches.shape[-1],
        vision_width=patches.shape[0],
        vision_layers=layers("vision_model"),
        vision_heads=max(1, patches.shape[0] // asked.head_width),
        text_width=words.shape[1],
        text_layers=layers("text_model"),
        text_heads=max(1, words.shape[1] // (asked.text_head_width or asked.head_width)),
        width=state["text_projection.weight"].shape[0],
        context=len(state["text_model.embeddings.position_embedding.weight"]),
        vocab_size=len(words),
        activation=asked.activation,
        head_width=asked.head_width,
        text_head_width=asked.text_head_width,
    )


def open_vocabulary(folder: Path, config: ClipConfig) -> tokenizers.Tokenizer:
    """The tokenizer in the folder of a CLIP, which must go with the weights."""
    file = folder / "tokenizer.json"
    if file.is_file():
        try:
            backend = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"{file} is not a tokenizer: {str(error).splitlines()[0]}") from None
    elif all((folder / name).is_file() for name in VOCABULARY[1:]):
        from transformers import CLIPTokenizer

        backend = CLIPTokenizer.from_pretrained(folder).backend_tokenizer
    else:
        raise CheckpointError(
            f"{folder} has no vocabulary: put CLIP's tokenizer.json, or vocab.json and merges.txt, beside the weights"
        )
    marks, pieces = marks_of(backend), backend.get_vocab_size()
    if marks is None or pieces > config.vocab_size:
        fault = f"has {pieces} pieces, the weights {config.vocab_size}" if marks else "lacks a start or an end"
        raise CheckpointError(f"the vocabulary in {folder} {fault}: the files are of different models")
    return backend


def marks_of(backend: tokenizers.Tokenizer) -> tuple[int, int] | None:
    """The ids of a text's start and end; None of a vocabulary without them."""
    ids = ([backend.token_to_id(mark) for mark in marks] for marks in MARKS)
    return next(((start, end) for start, end in ids if start is not None and end is not None), None)


def encoder_of(backend: tokenizers.Tokenizer) -> Callable[[str], list[int]]:
    """A function from a text to its ids with start and end."""
    start, end = marks_of(backend) or (0, 0)
    return lambda text: [start, *backend.encode(text, add_special_tokens=False).ids, end]
