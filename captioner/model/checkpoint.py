"""Checkpoint folders (config.json, model.safetensors, tokenizer.json, CARD.md): written whole or not, and strict."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from safetensors.torch import save_file
from torch import Tensor, nn

from captioner.config import ModelConfig
from captioner.config_io import build_config, to_dict
from captioner.errors import CheckpointError, ConfigError, said_in_a_line, unknown
from captioner.files import SHIPPED, list_models, read_object, read_small, recover, staged
from captioner.model.captioner import EmotionCaptioner
from captioner.model.row_names import in_own_order, own_names, stored_names
from captioner.model.tokenizer import Tokenizer, open_tokenizer
from captioner.model.weights import check_fit, fill, read_header, read_weights
from captioner.version import __version__

FORMAT = 2  # 1 stored no names of what its rows stand for
FILES = ("config.json", "model.safetensors", "tokenizer.json")
DEFAULT = "default"  # the shipped captioner that `caption` uses


@dataclass
class Checkpoint:
    """A loaded folder."""

    model: EmotionCaptioner
    tokenizer: Tokenizer
    foreign: tokenizers.Tokenizer | None  # tokenizer of a text encoder with its own vocabulary
    meta: dict[str, Any]  # licence, training data, version: whatever config.json says beside the model
    name: str
    card: str = ""


def locate(
    name: str | None, *, offline: bool = False, revision: str | None = None, cache_dir: str | None = None
) -> Path:
    """The folder of a shipped name, a path, or a hub repository (downloaded once)."""
    name = name or DEFAULT
    if name in list_models():
        return SHIPPED / name
    path = Path(name)
    try:
        there = path.exists()
    except (OSError, ValueError) as error:  # too long for a name, or with a zero byte in it
        raise CheckpointError(f"{name!r} names no model: {getattr(error, 'strerror', None) or error}") from None
    if path.is_dir():
        return path
    if there or name.count("/") != 1 or name.startswith((".", "/", "~")):
        kind = "is a file, not a checkpoint folder" if there else "is not a folder"
        raise CheckpointError(
            f"{name!r} {kind}; {unknown('model', name, list_models())}, or a folder, or a hub repository owner/name"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=offline or bool(os.environ.get("HF_HUB_OFFLINE")),
                allow_patterns=[*FILES, "CARD.md", "README.md", "text_tokenizer.json"],
            )
        )
    except LocalEntryNotFoundError:
        raise CheckpointError(
            f"model {name!r} is not in the cache: run once with a connection: `hf download {name}`"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(f"model {name!r} cannot be fetched from the hub: {said_in_a_line(error)}") from None


def save_checkpoint(
    folder: str | Path,
    model: EmotionCaptioner,
    tokenizer: Tokenizer,
    *,
    foreign: tokenizers.Tokenizer | None = None,
    meta: Mapping[str, Any] | None = None,
    card: str = "",
    half: bool = False,
) -> None:
    """Write a checkpoint folder, whole or not at all; `half` stores matrices in 16 bits."""
    about = {**(meta or {}), "format": FORMAT, "version": __version__, "model": to_dict(model.config)}
    about["names"] = own_names(model.config)
    with staged(folder) as staging:
        (staging / "config.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        save_file(state_of(model, half), staging / "model.safetensors", metadata={"format": "pt"})
        tokenizer.save(staging / "tokenizer.json")
        if foreign is not None:
            foreign.save(str(staging / "text_tokenizer.json"))
        if card:
            (staging / "CARD.md").write_text(card, encoding="utf-8")


def state_of(model: nn.Module, half: bool = False) -> dict[str, Tensor]:
    """Parameters and buffers, shared ones once; `half` stores matrices in 16 bits.

    Vectors stay whole, they cost nothing, and so does the AU graph net: rounding tips its nearest neighbours.
    """
    state: dict[str, Tensor] = {}
    shared: dict[int, str] = {}
    for name, value in model.state_dict().items():
        if value.numel() and shared.setdefault(value.data_ptr(), name) != name:
            continue
        value = value.detach().cpu().contiguous()
        short = half and value.is_floating_point() and value.ndim > 1 and not name.startswith("experts.au.")
        state[name] = value.half() if short else value
    return state


def load_checkpoint(name: str | Path | None = None, **where: Any) -> Checkpoint:
    """A checkpoint by shipped name, folder or hub repository, in evaluation mode."""
    folder = recover(locate(str(name) if name is not None else None, **where))
    for file in FILES:
        if not (folder / file).is_file():
            raise CheckpointError(
                f"{folder} is not a checkpoint: {file} is missing (a checkpoint has {', '.join(FILES)})"
            )
    meta, config = read_model_config(folder)
    tokenizer = Tokenizer.from_file(folder / "tokenizer.json")
    if tokenizer.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{folder}: tokenizer.json has {tokenizer.vocab_size} pieces, config.json says {config.vocab_size}: "
            f"the files are of different checkpoints"
        )
    model = fitting_model(config, folder)
    fill(model, state_by_name(folder), str(folder))
    meta.pop("names", None)  # of the file; in the network they stand as this program has them
    own = folder / "text_tokenizer.json"
    foreign = open_tokenizer(own) if own.exists() else None
    card = folder / "CARD.md"
    text = read_small(card).decode(errors="replace") if card.exists() else ""
    return Checkpoint(model.eval(), tokenizer, foreign, meta, folder.name, text)


def fitting_model(config: ModelConfig, folder: Path) -> EmotionCaptioner:
    """An unfilled captioner; a config.json that the folder's weights do not fit is refused before it takes memory."""

    def make() -> EmotionCaptioner:
        return EmotionCaptioner(config, load=False)

    check_fit(make, read_header(folder / "model.safetensors"), str(folder))
    return make()


def start_from(model: EmotionCaptioner, folder: Path) -> None:
    """Take up the weights of another captioner of the same shape; the frozen experts stay."""
    own = {name: value for name, value in model.state_dict().items() if name.startswith("experts.")}
    other = {k: v for k, v in state_by_name(folder).items() if not k.startswith("experts.")}
    fill(model, other | own, str(folder))


def state_by_name(folder: Path) -> dict[str, Tensor]:
    """The weights of a folder, each row and column where this program has what it stands for."""
    return arranged(read_weights(folder / "model.safetensors"), folder)


def arranged(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Tensors that were saved beside a folder's config.json, as moments of an optimiser, in this program's order."""
    meta, config = read_model_config(folder)
    return in_own_order(tensors, stored_names(meta, config, str(folder / "config.json")), own_names(config))


def read_model_config(folder: Path) -> tuple[dict[str, Any], ModelConfig]:
    """What a folder's config.json says of the model, and whatever else stands there."""
    meta = read_meta(folder / "config.json")
    try:
        return meta, build_config(ModelConfig, meta.pop("model"), where=f"{folder / 'config.json'}")
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def read_meta(path: Path) -> dict[str, Any]:
    """config.json as a dictionary with a model in it."""
    meta = read_object(path)
    if not isinstance(meta.get("model"), dict):
        raise CheckpointError(f"{path} is not a captioner's config.json: it has no 'model'")
    if meta.get("format") not in list(range(1, FORMAT + 1)):
        raise CheckpointError(
            f"{path} has format {meta.get('format')!r}, this version reads 1 to {FORMAT}: update captioner"
        )
    return meta
