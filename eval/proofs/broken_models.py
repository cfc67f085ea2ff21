"""Checkpoints that do not fit, made by kind and seed: each must be refused in one line, or caption as ever."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from captioner.config import ModelConfig
from captioner.config_io import load_config
from captioner.files import SHIPPED
from captioner.model.captioner import EmotionCaptioner
from captioner.model.checkpoint import DEFAULT, save_checkpoint
from captioner.model.tokenizer import Tokenizer
from eval.proofs.cases import Case

_SMALL = (
    "video.arch=swin3d_small_cpu", "video.width=16", "video.frames=4", "video.size=64", "video.drop_path=0",
    "text.pretrained=", "text.layers=1", "text.width=32", "text.heads=2", "experts.er_arch=small",
    "experts.au_backbone=small", "experts.size=48", "experts.frames=2", "fusion.layers=2", "fusion.heads=4",
    "fusion.width=32", "fusion.ffn=64", "fusion.visual_width=24", "fusion.max_text=12", "tokenizer=captions",
)  # fmt: skip
# What no key of a network's shape can be: too small, too large, of another type, endless, deep.
_ODD: tuple[Any, ...] = (
    -1, 0, 5, 7, 10**6, 10**9, 2**63, 10**40, -0.5, 1e308, float("nan"), float("inf"), "x", "", "é" * 300, None, [], {},
    True, [[["a"]]], ["\x1b[2J", "b"], "resnet5O", "../../etc",
)  # fmt: skip

_Change = Callable[[Path, np.random.Generator], None]


def save_small_model(folder: Path, seed: int = 0) -> Path:
    """A sound random captioner of a few hundred KB."""
    tokenizer = Tokenizer.build(["A woman nods. The frown.", "A man looks down. The open mouth."])
    torch.manual_seed(seed)
    config = load_config(ModelConfig, None, [*_SMALL, f"vocab_size={tokenizer.vocab_size}"])
    save_checkpoint(folder, EmotionCaptioner(config), tokenizer, card="synthetic")
    return folder


def broken_models(folder: Path, clip: Path, seed: int, count: int) -> Iterator[Case]:
    """Cases of `count` broken checkpoints; every kind comes before any comes again."""
    small = save_small_model(folder / "sound")
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        name, change = list(_CHANGES.items())[number % len(_CHANGES)]
        base = SHIPPED / DEFAULT if name.startswith("config") and number % 2 else small
        place = _copied(base, folder / f"{number:03d}-{name}")
        change(place, rng)
        named = place.with_name("m" * 300) if name == "folder-name" else place
        codes = (2,) if name not in _HARMLESS else (0, 1, 2)  # 1: a random captioner may find no word
        yield Case(place.name, ["caption", str(clip), "-q", "-m", str(named)], codes, place)


def _copied(base: Path, place: Path) -> Path:
    """A copy of a checkpoint whose large file is shared until it is replaced."""
    place.mkdir()
    for file in base.iterdir():
        if file.name == "model.safetensors":
            try:
                os.link(file, place / file.name)
                continue
            except OSError:
                pass
        shutil.copyfile(file, place / file.name)
    return place


# -- config.json ----------------------------------------------------------------------------------------------------


def _config(place: Path, change: Callable[[dict[str, Any]], None]) -> None:
    about = json.loads((place / "config.json").read_bytes())
    change(about)
    (place / "config.json").write_text(json.dumps(about))


def _odd_value(place: Path, rng: np.random.Generator) -> None:
    def change(about: dict[str, Any]) -> None:
        model = about["model"]
        groups = [model, *(part for part in model.values() if isinstance(part, dict))]
        group = groups[rng.integers(len(groups))]
        group[list(group)[rng.integers(len(group))]] = _ODD[rng.integers(len(_ODD))]

    _config(place, change)


def _set(group: str, key: str, *values: Any) -> _Change:
    def change(place: Path, rng: np.random.Generator) -> None:
        value = values[rng.integers(len(values))]
        _config(place, lambda about: (about["model"][group] if group else about["model"]).__setitem__(key, value))

    return change


def _about(key: str, *values: Any) -> _Change:
    def change(place: Path, rng: np.random.Generator) -> None:
        _config(place, lambda about: about.__setitem__(key, values[rng.integers(len(values))]))

    return change


def _text(file: str, *contents: bytes) -> _Change:
    def change(place: Path, rng: np.random.Generator) -> None:
        (place / file).unlink(missing_ok=True)
        (place / file).write_bytes(contents[rng.integers(len(contents))])

    return change


def _replaced(file: str, kind: str) -> _Change:
    """A folder, a pipe, a device or an endless file in place of a file."""

    def change(place: Path, rng: np.random.Generator) -> None:
        path = place / file
        path.unlink(missing_ok=True)
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "loop":
            path.symlink_to(path)
        else:
            with path.open("wb") as file_:
                file_.truncate(1 << 40)  # a hole: it takes no disk

    return change


# -- model.safetensors ------------------------------------------------------------------------------------------------


def _tensors(change: Callable[[dict[str, torch.Tensor], str, np.random.Generator], None]) -> _Change:
    def apply(place: Path, rng: np.random.Generator) -> None:
        path = place / "model.safetensors"
        state = load_file(path)
        floats = [name for name, value in state.items() if value.is_floating_point() and value.numel() > 1]
        change(state, floats[rng.integers(len(floats))], rng)
        path.unlink()
        save_file({name: value.contiguous() for name, value in state.items()}, path)

    return apply


def _value(state: dict[str, torch.Tensor], name: str, rng: np.random.Generator) -> None:
    state[name].view(-1)[int(rng.integers(state[name].numel()))] = (float("nan"), float("inf"))[rng.integers(2)]


def _kind(state: dict[str, torch.Tensor], name: str, rng: np.random.Generator) -> None:
    kinds = (torch.int8, torch.bool, torch.int64, torch.float8_e5m2, torch.uint8, torch.complex64, torch.float64)
    state[name] = state[name].to(kinds[rng.integers(len(kinds))])


def _shape(state: dict[str, torch.Tensor], name: str, rng: np.random.Generator) -> None:
    changed = (torch.zeros(0), torch.zeros(()), state[name][None], state[name][:-1], state[name].flatten()[:1])
    state[name] = changed[rng.integers(len(changed))]


def _huge(state: dict[str, torch.Tensor], name: str, rng: np.random.Generator) -> None:
    for each in state.values():
        if each.is_floating_point():
            each.fill_(3e38)


def _header(place: Path, rng: np.random.Generator) -> None:
    """A header that promises more than the file holds, or is none."""
    path = place / "model.safetensors"
    data = path.read_bytes()
    big = b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'
    deep = b"[" * 50_000 + b"]" * 50_000
    lengths = (2**62, 2**40, 0, len(data) * 2)
    texts = (
        *(length.to_bytes(8, "little") + data[8:] for length in lengths),
        *(len(text).to_bytes(8, "little") + text for text in (big, deep, b"{}", b"\xff" * 9)),
    )
    path.unlink()
    path.write_bytes(texts[rng.integers(len(texts))])


def _cut(file: str) -> _Change:
    def change(place: Path, rng: np.random.Generator) -> None:
        data = (place / file).read_bytes()
        (place / file).unlink()
        (place / file).write_bytes(data[: int(rng.integers(len(data) - 10))])

    return change


def _pickled(place: Path, rng: np.random.Generator) -> None:
    (place / "model.safetensors").unlink()
    torch.save({"a": torch.ones(2)}, place / "model.safetensors")


# -- tokenizer.json ---------------------------------------------------------------------------------------------------


def _vocabulary(change: Callable[[dict[str, Any]], Any]) -> _Change:
    def apply(place: Path, rng: np.random.Generator) -> None:
        tree = json.loads((place / "tokenizer.json").read_bytes())
        change(tree)
        (place / "tokenizer.json").write_text(json.dumps(tree))

    return apply


def _sparse(tree: dict[str, Any]) -> None:
    vocabulary = tree["model"]["vocab"]
    vocabulary[list(vocabulary)[-1]] = 2**31


_DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
_LONG = b'{"model": {}, "format": 1' + b"0" * 5000 + b"}"
_TEXTS = (b"", b"{", b"[]", b"\xff\xfe{\x00}\x00", _DEEP, b"[" * 100_000, _LONG)
_CHANGES: dict[str, _Change] = {
    "config-value": _odd_value,
    "config-layers": _set("fusion", "layers", 10**6, 10**9, 200),
    "config-ffn": _set("fusion", "ffn", 10**9, 60_000),
    "config-width": _set("fusion", "width", 10**9, 16_384),
    "config-dropout": _set("fusion", "dropout", 5, -1, 1.0),
    "config-path": _set("video", "drop_path", 5, -1),
    "config-arch": _set("experts", "er_arch", "resnet5O", "hf-hub:a/b", "swin_base", 3),
    "config-kind": _set("video", "arch", "swin3d_b", "clip", "none"),
    "config-encoder": _set("text", "arch", "gpt2", "t5", "clip"),
    "config-frames": _set("video", "frames", 10**9, 0),
    "config-size": _set("video", "size", 10**6, 1),
    "config-neighbours": _set("experts", "au_neighbors", 0, 28, -3),
    "config-labels": _set("", "labels", [], ["a"], ["a"] * 12, ["a" * 300, "b"], ["\x1b[2J", "b"], [3, 4]),
    "config-pieces": _set("", "vocab_size", 0, 3, 10**7),
    "config-text": _text("config.json", *_TEXTS),
    "config-format": _about("format", [], {}, None, 99, -1, "2"),
    "config-names": _about("names", [], {}, 3, {"action_units": 3}, {"action_units": ["1"] * 27}),
    "config-model": _about("model", [], {}, None, "x", 3),
    "config-folder": _replaced("config.json", "folder"),
    "config-pipe": _replaced("config.json", "pipe"),
    "config-endless": _replaced("config.json", "hole"),
    "config-loop": _replaced("config.json", "loop"),
    "weights-value": _tensors(_value),
    "weights-kind": _tensors(_kind),
    "weights-shape": _tensors(_shape),
    "weights-missing": _tensors(lambda state, name, rng: state.__delitem__(name)),
    "weights-extra": _tensors(lambda state, name, rng: state.__setitem__("extra", torch.ones(3))),
    "weights-huge": _tensors(_huge),
    "weights-header": _header,
    "weights-cut": _cut("model.safetensors"),
    "weights-pickled": _pickled,
    "weights-device": _replaced("model.safetensors", "device"),
    "pieces-cut": _cut("tokenizer.json"),
    "pieces-text": _text("tokenizer.json", *_TEXTS),
    "pieces-sparse": _vocabulary(_sparse),
    "pieces-none": _vocabulary(lambda tree: tree["model"].__setitem__("vocab", {})),
    "pieces-kind": _vocabulary(lambda tree: tree.__setitem__("model", {"type": "BPE", "vocab": {}, "merges": []})),
    "pieces-other": _vocabulary(lambda tree: tree["model"]["vocab"].pop("[MASK]")),
    "card-bytes": _text("CARD.md", b"\xff\xfe\x00", b"\x1b[2J" * 9),
    "card-pipe": _replaced("CARD.md", "pipe"),
    "folder-name": lambda place, rng: None,
    "foreign": _text("text_tokenizer.json", *_TEXTS),
}
_HARMLESS = frozenset(("config-value", "card-bytes", "pieces-other"))  # some of these change no caption
