"""The net that names a woman, a man, a person: what its folder holds, how strictly it loads."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from captioner.errors import CheckpointError
from captioner.faces.crops import MARGIN
from captioner.files import SHIPPED
from captioner.model.appearance import AppearanceNet, AppearanceSpec, load_appearance, save_appearance
from captioner.model.experts import load_experts

SPEC = AppearanceSpec("face_small", 96, MARGIN, training_data="nothing", licence="Apache-2.0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_appearance(tmp_path / "net", AppearanceNet("face_small").eval(), SPEC, "# A card\n")
    return tmp_path / "net"


def test_what_is_saved_comes_back(folder: Path) -> None:
    torch.manual_seed(0)
    net, loaded = AppearanceNet("face_small").eval(), load_appearance(folder)
    assert loaded.config == SPEC and (folder / "CARD.md").read_text() == "# A card\n"
    images = torch.randn(3, 3, 96, 96)
    with torch.no_grad():
        odds = loaded.net(images)
        assert odds.shape == (3,) and (odds - net(images)).abs().max() < 1e-2
        assert torch.allclose(odds, loaded.net(images.flip(-1)), atol=1e-4)  # a mirror image is the same person
    assert not loaded.net.train().training and not any(p.requires_grad for p in loaded.net.parameters())
    assert (folder / "model.safetensors").stat().st_size <= 1e6


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("kind", "experts", "kind 'appearance' is needed"), ("arch", "face_smal", "did you mean .face_small."),
     ("size", 8, "size is 8: at least 32"), ("margin", 9.0, "margin is 9.0: 0 to 2"), ("colour", 1, "colour")],
)  # fmt: skip
def test_a_wrong_config_is_refused(folder: Path, key: str, value: object, message: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(CheckpointError, match=message):
        load_appearance(folder)


def test_weights_that_lack_or_add_a_tensor_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    save_file({**{key: value for key, value in state.items() if key != "fc.bias"}, "other": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"1 tensors missing \(fc.bias\); 1 unknown \(other\)"):
        load_appearance(folder)
    path.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="damaged or no safetensors file"):
        load_appearance(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"no such file.*configs/appearance\.yaml"):
        load_appearance(folder)


def test_the_shipped_one_takes_the_crops_of_the_shipped_experts() -> None:
    if not (SHIPPED / "appearance").is_dir():
        pytest.skip("the appearance net is not shipped")
    given, wanted = load_experts("experts").config, load_appearance(SHIPPED / "appearance").config
    assert (given.size, given.margin, given.mean, given.std) == (wanted.size, wanted.margin, wanted.mean, wanted.std)
