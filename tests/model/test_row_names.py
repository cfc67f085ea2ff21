"""Weights name what their rows judge: the order of the lexicon, or of a file, changes nothing."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import captioner
from captioner.errors import CheckpointError
from captioner.faces.builtin import WEIGHTS as FACES
from captioner.faces.builtin import load_parts
from captioner.files import SHIPPED
from captioner.lexicon import actions
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.phrases import PHRASES
from captioner.model import checkpoint
from captioner.model.experts import load_experts
from captioner.model.row_names import FORMAT_1, in_own_order, own_names
from captioner.model.tokenizer import Tokenizer
from tests.helpers import ROOT, tiny_config, tiny_model

EXAMPLES = sorted((ROOT / "examples").glob("*.mp4"))
DEFAULT = SHIPPED / "default"


@pytest.fixture
def other_order() -> Iterator[None]:
    """Phrases and actions of the lexicon stand the other way round."""
    for table in (PHRASES, ACTIONS):
        turn(table)
    actions._patterns.cache_clear()
    actions.action_spans.cache_clear()
    yield
    for table in (PHRASES, ACTIONS):
        turn(table)
    actions._patterns.cache_clear()


def turn(table: dict[str, Any]) -> None:
    entries = list(table.items())
    table.clear()
    table.update(reversed(entries))


def told() -> list[tuple[Any, ...]]:
    model = captioner.load(device="cpu")
    captions = [model.caption(path) for path in EXAMPLES]
    assert len(captions) == 5
    return [
        (each.text, [(u.id, u.words) for u in each.action_units], [link.phrase for link in each.phrases])
        for each in captions
    ]


@pytest.fixture(scope="module")
def usual() -> list[tuple[Any, ...]]:
    return told()


@pytest.mark.slow
def test_captions_are_the_same_whatever_the_order_of_the_lexicon(
    usual: list[tuple[Any, ...]], other_order: None
) -> None:
    assert list(PHRASES)[-1] == "frown"
    assert told() == usual


@pytest.mark.slow
def test_the_shipped_measures_are_mapped_by_name(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(DEFAULT, tmp_path / "default"))
    shuffled(copy, torch.Generator().manual_seed(0))
    before, after = load_file(DEFAULT / "model.safetensors"), load_file(copy / "model.safetensors")
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved == ["visual.measured.token.weight"]
    assert same(rows_of(copy), rows_of(DEFAULT))


def shuffled(folder: Path, draw: torch.Generator) -> None:
    """The same captioner, its rows and the names they have in another order."""
    meta = json.loads((folder / "config.json").read_text())
    state = load_file(folder / "model.safetensors")
    now = {kind: [names[i] for i in torch.randperm(len(names), generator=draw)] if kind != "action_units" else names
           for kind, names in meta["names"].items()}  # fmt: skip
    save_file(in_own_order(state, meta["names"], now), folder / "model.safetensors")
    assert now != meta["names"]
    (folder / "config.json").write_text(json.dumps(meta | {"names": now}))


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A captioner with a reading of its own, as those of format 1 had."""
    tokenizer = Tokenizer.build(["a man talks. the frown."])
    model = tiny_model("prompts.reading=true", "experts.margin=0.1", f"vocab_size={tokenizer.vocab_size}")
    draw = torch.Generator().manual_seed(1)
    for buffer in model.visual.reading.buffers():
        buffer.copy_(torch.rand(buffer.shape, generator=draw))
    checkpoint.save_checkpoint(tmp_path / "earlier", model, tokenizer)
    return tmp_path / "earlier"


@pytest.fixture
def folder(earlier: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(earlier, tmp_path / "copy"))


def rows_of(folder: Path) -> dict[str, Tensor]:
    return checkpoint.load_checkpoint(folder).model.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_rows_come_to_the_places_of_their_names(folder: Path, earlier: Path) -> None:
    shuffled(folder, torch.Generator().manual_seed(0))
    before, after = load_file(earlier / "model.safetensors"), load_file(folder / "model.safetensors")
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert sorted(moved) == [f"visual.reading.{name}" for name in (
        "bias", "deed_bias", "deed_habit", "deed_weight", "mean", "std", "token.weight", "weight")]  # fmt: skip
    assert same(rows_of(folder), rows_of(earlier))


def test_a_folder_of_the_old_format_loads(folder: Path, earlier: Path) -> None:
    meta = json.loads((folder / "config.json").read_text())
    del meta["names"]
    (folder / "config.json").write_text(json.dumps(meta | {"format": 1}))
    assert same(rows_of(folder), rows_of(earlier))


def test_the_old_format_is_read_in_its_own_order(folder: Path, earlier: Path, other_order: None) -> None:
    meta = json.loads((folder / "config.json").read_text())
    del meta["names"]
    (folder / "config.json").write_text(json.dumps(meta | {"format": 1}))
    bias = checkpoint.load_checkpoint(folder).model.visual.reading.bias
    assert torch.equal(bias.flip(0), load_file(earlier / "model.safetensors")["visual.reading.bias"].float())


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("phrases", lambda names: ["scowl", *names[1:]], ("does not know scowl", "frown is missing")),
        ("actions", lambda names: names[1:], ("still is missing",)),
        ("face_values", lambda names: [*names, names[0]], ("twice",)),
        ("action_units", lambda names: names[::-1], ("the order is 39 38 32",)),
    ],
)
def test_names_that_do_not_fit_are_refused_in_one_line(
    folder: Path, kind: str, change: Any, words: tuple[str, ...]
) -> None:
    meta = json.loads((folder / "config.json").read_text())
    meta["names"][kind] = change(meta["names"][kind])
    (folder / "config.json").write_text(json.dumps(meta))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_checkpoint(folder)
    assert all(word in str(caught.value) for word in (f"names.{kind}", *words)) and "\n" not in str(caught.value)


def test_a_folder_without_its_names_is_refused(folder: Path) -> None:
    meta = json.loads((folder / "config.json").read_text())
    del meta["names"]
    (folder / "config.json").write_text(json.dumps(meta))
    with pytest.raises(CheckpointError, match="no 'names'"):
        checkpoint.load_checkpoint(folder)


def test_moments_of_an_optimiser_move_with_their_weights() -> None:
    own = own_names(tiny_config("prompts.reading=true", "experts.margin=0.1"))
    stored = {**own, "phrases": own["phrases"][::-1]}
    token = torch.randn(4, len(PHRASES))
    moved = in_own_order({"optimizer.exp_avg.visual.reading.token.weight": token, "random.cpu": token}, stored, own)
    assert torch.equal(moved["optimizer.exp_avg.visual.reading.token.weight"], token.flip(1))
    assert torch.equal(moved["random.cpu"], token)


def test_only_what_a_captioner_has_is_named(tmp_path: Path) -> None:
    assert not own_names(tiny_model("prompts.vep=false", "prompts.er_sentence=off", "prompts.au_word=off").config)
    assert set(own_names(tiny_config())) == {"action_units"}
    assert own_names(tiny_config("prompts.reading=true", "experts.margin=0.1")).keys() == FORMAT_1.keys()


@pytest.mark.parametrize("name", ["experts", "drawn-experts"])
def test_experts_name_their_action_units(name: str, tmp_path: Path) -> None:
    source = SHIPPED / name
    if not source.is_dir():
        pytest.skip("the experts are not shipped here")
    folder = Path(shutil.copytree(source, tmp_path / name))
    spec = json.loads((folder / "config.json").read_text())
    assert [str(au) for au in spec["action_units"]] == FORMAT_1["action_units"]
    (folder / "config.json").write_text(json.dumps(spec | {"action_units": spec["action_units"][::-1]}))
    with pytest.raises(CheckpointError, match="this version's nets have"):
        load_experts(folder)
    del spec["action_units"]  # an older folder
    (folder / "config.json").write_text(json.dumps(spec))
    load_experts(folder)


def test_a_face_reader_maps_its_values_by_name(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FACES, tmp_path / "faces"))
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    count = len(config["names"])
    for name, value in state.items():
        if name.startswith(("aligned.values.", "aligned.refine.2.")):
            state[name] = torch.cat([value[:count].flip(0), value[count:]])
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config | {"names": config["names"][::-1]}))
    nets = [load_parts(each).landmarker.net for each in (FACES, folder)]
    assert same(nets[0].state_dict(), nets[1].state_dict())
    (folder / "config.json").write_text(json.dumps(config | {"names": ["grin", *config["names"][1:]]}))
    with pytest.raises(CheckpointError, match="browDownLeft, grin"):
        load_parts(folder)
