"""A trained recogniser of any kind as a folder: config.json with its kind, model.safetensors, CARD.md.

It needs nothing beside it: no CLIP, no hub.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from captioner.config_io import build_config, to_dict
from captioner.emotion.contract import Recogniser, RecogniserKind
from captioner.emotion.registry import KINDS, OLDEST, kind_of
from captioner.errors import CheckpointError, ConfigError
from captioner.files import SHIPPED, list_recognisers, missing, read_object, recover, staged
from captioner.model.weights import read_weights
from captioner.version import __version__

FORMAT = 1
FILES = ("config.json", "model.safetensors")


def save_recogniser(
    folder: str | Path,
    model: Recogniser,
    *,
    meta: Mapping[str, Any] | None = None,
    card: str = "",
    half: bool = False,
) -> None:
    """Write the folder, whole or not; `half` rounds matrices to 16 bits."""
    kind = kind_of(model.KIND)
    about = {**(meta or {}), "format": FORMAT, "kind": kind.name, "version": __version__}
    about["emotion"] = to_dict(model.config)
    state = {
        name: (value.half() if half and value.is_floating_point() and value.ndim > 1 else value)
        .detach().cpu().contiguous().clone()
        for name, value in kind.state(model).items()
    }  # fmt: skip
    with staged(folder) as staging:
        (staging / "config.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        save_file(state, staging / "model.safetensors", metadata={"format": "pt"})
        kind.keep(model, staging)
        if card:
            (staging / "CARD.md").write_text(card, encoding="utf-8")


def find_recogniser(source: str | Path) -> Path:
    """The folder of that path, or of a shipped recogniser by that name."""
    shipped = SHIPPED / source
    return shipped if not Path(source).exists() and (shipped / FILES[0]).is_file() else Path(source)


def load_recogniser(source: str | Path, kind: str | None = None) -> Any:
    """The recogniser in a folder, or a shipped one by name, in evaluation mode and without gradients.

    kind: what it must be; a folder of another kind is refused.
    """
    folder = recover(find_recogniser(source))
    for name in FILES:
        if not (folder / name).is_file():
            shipped = ", ".join(list_recognisers()) or "none"
            raise CheckpointError(
                f"{folder} holds no trained recogniser: {missing(folder / name)}; make one with scripts/train.py and a "
                f"configuration of configs/emotion; shipped: {shipped}"
            )
    found, config = read_recogniser_config(folder / "config.json")
    if kind is not None and found.name != kind_of(kind).name:
        raise CheckpointError(f"{folder} holds a recogniser of kind {found.name}, asked for was {kind}")
    state = read_weights(folder / "model.safetensors")
    return found.restore(config, state, folder).eval().requires_grad_(False)


def recogniser_digest(folder: Path) -> str:
    """A short digest of the files of a folder."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def read_recogniser_config(path: Path) -> tuple[RecogniserKind, Any]:
    """Kind and configuration in a folder's config.json; the oldest folders name no kind."""
    about = read_object(path)
    name = about.get("kind", OLDEST)
    if not isinstance(name, str) or name not in KINDS or not isinstance(about.get("emotion"), dict):
        raise CheckpointError(
            f"{path} is not a recogniser's config.json: a kind ({', '.join(KINDS)}) with 'emotion' is needed"
        )
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {about.get('format')!r}, this version reads {FORMAT}: update captioner"
        )
    kind = kind_of(name)
    try:
        return kind, build_config(kind.config, about["emotion"], where=str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
