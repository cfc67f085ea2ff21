"""The frozen experts: what a folder holds, how strictly it loads, what the shipped ones see."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from captioner.config_io import load_config
from captioner.errors import CheckpointError, ConfigError
from captioner.files import SHIPPED
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.model.experts import ExpertsRecipe, ExpertsSpec, au_labels, load_experts, save_experts
from captioner.synth.drawn.stills import sample_still
from captioner.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from prompts.action_units import MAIN_AUS
from prompts.au_graph import AUGraph, AUGraphConfig
from prompts.er_net import ERNet, ERNetConfig

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "configs/experts_drawn.yaml")


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
    with pytest.raises(CheckpointError, match=r"cannot read .*config\.json"):
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


def test_recipe_is_checked() -> None:
    assert load_config(ExpertsRecipe, ROOT / "configs/experts_drawn.yaml").au_backbone == "small"
    with pytest.raises(ConfigError, match=r"stills is 0: at least 1 is needed; zoom is 2\.0"):
        load_config(ExpertsRecipe, None, ["stills=0", "zoom=2.0"])


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_file_location("train_experts", ROOT / "scripts/train_experts.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_recipe_runs(tmp_path: Path, script: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    """Draws, trains, measures and saves; the next run takes the stills from the cache."""
    caplog.set_level("INFO")
    keys = ["stills=32", "val_stills=16", "drawn_size=48", "size=32", "batch=8", "workers=0", "au_epochs=1"]
    keys += ["er_epochs=1", f"out={tmp_path / 'out'}", f"cache={tmp_path / 'cache'}"]
    assert script.main([RECIPE, *keys]) == 0
    assert caplog.text.count("drawing") == 2
    assert load_experts(tmp_path / "out").config.size == 32
    assert "Measured on 16 drawn (synthetic) faces" in (tmp_path / "out" / "CARD.md").read_text()
    first = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert script.main([RECIPE, *keys]) == 0
    assert caplog.text.count("drawing") == 2
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == first  # the same seed, the same nets


def test_recipe_errors_take_one_line(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([RECIPE, "au_backbone=smal"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: unknown backbone 'smal' (did you mean 'small'?)")
    assert error.count("\n") == 1
    assert script.main([RECIPE, "epochs=3"]) == 2
    assert "unknown key 'epochs' (did you mean 'er_epochs'?)" in capsys.readouterr().err


def test_plain_view_is_the_still(script: ModuleType) -> None:
    """Nothing moved, nothing zoomed: the pixels themselves; a mirror mirrors."""
    images = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
    ones = torch.ones(2, 1)
    plain = script.view(images, 32, ones, torch.zeros(2, 2), 0 * ones, ones)
    torch.testing.assert_close(plain, torch.from_numpy(images).permute(0, 3, 1, 2) / 255, atol=1e-4, rtol=0)
    mirrored = script.view(images, 32, ones, torch.zeros(2, 2), 0 * ones, -ones)
    torch.testing.assert_close(mirrored, plain.flip(3), atol=1e-4, rtol=0)


def test_f1_skips_unknown_labels(script: ModuleType) -> None:
    """One hit, one false alarm, one miss, one unknown: 2 / (2 + 2)."""
    scores = torch.tensor([[0.9], [0.6], [0.1], [0.9]])
    assert script.f1(scores, torch.tensor([[1], [0], [1], [-1]])).tolist() == [0.5]


@pytest.mark.skipif(not (SHIPPED / "drawn-experts").is_dir(), reason="the experts are not shipped here")
def test_shipped_experts_read_a_drawn_face() -> None:
    """On 40 drawn faces nobody trained on, shown AUs outrank absent ones and emotions beat chance."""
    experts = load_experts("drawn-experts")
    spec = experts.config
    stills = [sample_still(np.random.default_rng([99, number]), spec.size) for number in range(40)]
    pixels = torch.from_numpy(np.stack([still.image for still in stills])).permute(0, 3, 1, 2) / 255
    images = (pixels - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    scores = experts.au(images).scores[:, :27]
    labels = torch.tensor([au_labels(still.au) for still in stills])
    trained = torch.tensor([au not in spec.untrained_aus for au in MAIN_AUS])
    assert 0 <= scores.min() <= scores.max() <= 1
    assert scores[labels == 1].mean() > scores[(labels == 0) & trained].mean() + 0.2
    emotions = torch.tensor([spec.labels.index(still.emotion) for still in stills])
    assert (experts.er(images).logits.argmax(1) == emotions).float().mean() > 0.25


@pytest.mark.skipif(not (SHIPPED / "drawn-experts").is_dir(), reason="the experts are not shipped here")
def test_shipped_experts_are_small_and_say_synthetic() -> None:
    folder = SHIPPED / "drawn-experts"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4e6
    assert "synthetic" in (folder / "CARD.md").read_text().lower()
