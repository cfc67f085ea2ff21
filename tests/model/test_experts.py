"""The frozen experts: what a folder holds, how strictly it loads, what the shipped ones see."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from captioner.errors import CheckpointError
from captioner.files import SHIPPED
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.model.experts import ExpertsSpec, au_labels, load_experts, save_experts
from captioner.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from prompts.action_units import MAIN_AUS
from prompts.au_graph import AUGraph, AUGraphConfig
from prompts.er_net import ERNet, ERNetConfig
from tests.helpers import drawn_portrait

ROOT = Path(__file__).parents[2]


def nets() -> tuple[ERNet, AUGraph, ExpertsSpec]:
    torch.manual_seed(0)
    er, au = ERNet(ERNetConfig("small")), AUGraph(AUGraphConfig("small"))
    spec = ExpertsSpec(
        er=er.config,
        au=au.config,
        labels=MAFW_LABELS,
        size=96,
        training_data="nothing",
        licence="Apache-2.0",
        au_mean=(0.5,) * 27,
        au_std=(0.1,) * 27,
        untrained_aus=(11, 39),
    )
    return er.eval(), au.eval(), spec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    er, au, spec = nets()
    save_experts(tmp_path, er, au, spec, "# A card\n")
    return tmp_path


def test_save_and_load(folder: Path) -> None:
    """The same spec comes back, half precision moves no probability by 1e-3, everything is frozen."""
    er, au, spec = nets()
    loaded = load_experts(folder)
    assert loaded.config == spec
    assert (folder / "CARD.md").read_text() == "# A card\n"
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(loaded.au(images).scores, au(images).scores)
        assert (loaded.er(images).logits.softmax(-1) - er(images).logits.softmax(-1)).abs().max() < 1e-3
    for net in (loaded.er, loaded.au):
        assert not net.train().training
        assert not any(p.requires_grad for p in net.parameters())


def test_keys_are_prefixed_and_emotion_matrices_halved(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    assert {key.split(".")[0] for key in state} == {"er", "au"}
    assert state["er.fc.weight"].dtype == torch.float16
    assert state["er.backbone.layer1.0.bn1.running_var"].dtype == torch.float32
    assert state["au.head.main_sc"].dtype == torch.float32


def test_config_is_plain_json(folder: Path) -> None:
    tree = json.loads((folder / "config.json").read_text())
    assert tree["er"] == {"arch": "small", "classes": 11}
    assert tree["au"]["backbone"] == "small"
    assert tree["labels"] == list(MAFW_LABELS)
    assert tree["untrained_aus"] == [11, 39]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("au.head.gnn.U.weight", None, r"1 tensors missing \(au\.head\.gnn\.U\.weight\)"),
        ("er.extra", torch.zeros(1), r"1 unknown \(er\.extra\)"),
        ("er.fc.bias", torch.zeros(7), r"1 of another shape \(er\.fc\.bias: \(7,\), needed"),
    ],
)
def test_loading_is_strict(folder: Path, key: str, value: torch.Tensor | None, message: str) -> None:
    state = load_file(folder / "model.safetensors")
    if value is None:
        del state[key]
    else:
        state[key] = value
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not fit this architecture: " + message):
        load_experts(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"au_mean": [0.5]}, "au_mean has 1 entries: 27 are needed"),
        ({"labels": ["anger"]}, "labels has 1 entries: 11 are needed"),
        ({"untrained_aus": [3]}, r"untrained_aus \[3\]: not among the main AUs"),
        ({"sizes": 96}, r"unknown key 'sizes' \(did you mean 'size'\?\)"),
        ({"er": {"arch": "smal"}}, r"unknown backbone 'smal' \(did you mean 'small'\?\)"),
        ({"au": {"backbone": "smal"}}, r"unknown backbone 'smal' \(did you mean 'small'\?\)"),
    ],
)
def test_bad_config_is_named(folder: Path, change: dict[str, object], message: str) -> None:
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(tree | change))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_experts(folder)
    assert "\n" not in str(caught.value)
    assert "config.json" in str(caught.value)


def test_broken_files_are_named(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load_experts(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        load_experts(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config\.json holds a list, not a mapping"):
        load_experts(folder)


def test_unknown_experts() -> None:
    with pytest.raises(CheckpointError, match=r"unknown experts 'drawn-expert' \(did you mean 'drawn-experts'\?\)"):
        load_experts("drawn-expert")


def test_au_labels() -> None:
    labels = dict(zip(MAIN_AUS, au_labels({1: 0.5, 2: 0.49, 4: 0.25, 5: 0.24, 12: 1.0}), strict=True))
    assert [labels[au] for au in (1, 2, 4, 5, 6, 12)] == [1, -1, -1, 0, 0, 1]


@pytest.mark.slow
@pytest.mark.skipif(not (SHIPPED / "drawn-experts").is_dir(), reason="the experts are not shipped here")
def test_shipped_experts_read_a_drawn_face() -> None:
    """On 40 drawn faces nobody trained on, at their apex, shown AUs outrank absent ones and emotions beat chance."""
    experts = load_experts("drawn-experts")
    spec = experts.config
    pictures, labels, emotions = [], [], []
    for seed in range(40):
        story, frames = drawn_portrait(seed)
        role = story.roles[0]
        frame = int(np.argmax([sum(state.aus.get(au, 0.0) for au in role.peaks) for state in role.states]))
        state = role.states[frame]
        pictures.append(frames[frame].picture)
        labels.append(au_labels({**state.aus, 25: max(state.aus.get(25, 0.0), 0.9 * state.speech)}))
        emotions.append(spec.labels.index(story.emotion))
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    images = (pixels - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    scores, known = experts.au(images).scores[:, :27], torch.tensor(labels)
    trained = torch.tensor([au not in spec.untrained_aus for au in MAIN_AUS])
    assert 0 <= scores.min() <= scores.max() <= 1
    assert scores[known == 1].mean() > scores[(known == 0) & trained].mean() + 0.5
    assert (experts.er(images).logits.argmax(1) == torch.tensor(emotions)).float().mean() > 0.25


@pytest.mark.skipif(not (SHIPPED / "drawn-experts").is_dir(), reason="the experts are not shipped here")
def test_shipped_experts_are_small_and_say_synthetic() -> None:
    folder = SHIPPED / "drawn-experts"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4e6
    assert "synthetic" in (folder / "CARD.md").read_text().lower()
