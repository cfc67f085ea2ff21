"""The recipe of the net that names people: labels, the beginning, calibration."""

from pathlib import Path

import numpy as np
import pytest
import torch

from captioner.errors import ManifestError
from captioner.model.appearance import AppearanceNet, load_appearance
from captioner.model.experts import load_experts
from captioner.train.experts import appearance_recipe
from captioner.train.experts.appearance_recipe import (
    AppearanceRecipe,
    NamedFaces,
    balanced_loss,
    begin_with,
    calibrate,
    error_rows,
    genders,
    named_faces,
    train_appearance,
)
from captioner.train.experts.portraits import FacePictures, whole_frames
from tests.helpers import SHARED

FACES = SHARED / "data" / "faces"


def test_labels_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no such file.*gender\.npy.*1 man, 0 woman"):
        genders(tmp_path, 3)
    np.save(tmp_path / "gender.npy", np.array([0, 1, 2], np.int8))
    with pytest.raises(ManifestError, match="1, 0 and -1 is needed"):
        genders(tmp_path, 3)
    np.save(tmp_path / "gender.npy", np.array([0, 1, -1], np.int8))
    assert genders(tmp_path, 3).tolist() == [0, 1, -1]
    with pytest.raises(ManifestError, match=r"shape \(3,\): \(4,\)"):
        genders(tmp_path, 4)


def test_it_begins_with_what_fits_of_the_emotion_net() -> None:
    net, known = AppearanceNet("face_small"), load_experts("experts").er.backbone.state_dict()
    before = net.backbone.state_dict()["layer4.0.conv1.weight"].clone()
    assert begin_with(net.backbone, load_experts("experts").er.backbone) > 40
    state = net.backbone.state_dict()
    assert torch.equal(state["layer3.0.conv1.weight"], known["layer3.0.conv1.weight"])
    assert torch.equal(state["layer4.0.conv1.weight"], before)


def test_calibration_is_for_as_many_men_as_women() -> None:
    draw = torch.Generator().manual_seed(0)
    women = torch.arange(4000) % 5 == 0
    true = torch.randn(4000, generator=draw) * 2 + torch.where(women, 4.0, -4.0)  # log odds 2 * true of even groups
    net, odds = AppearanceNet("face_small"), 5 * true + 3
    bias = net.fc.bias.item()
    slope, shift = calibrate(net, odds, women)
    assert balanced_loss(odds * slope + shift, women) < 0.5 * balanced_loss(odds, women)
    assert slope == pytest.approx(0.4, rel=0.25) and shift == pytest.approx(-3 * slope, abs=0.5)
    assert net.fc.bias.item() == pytest.approx(bias * slope + shift, abs=1e-4)


@pytest.mark.slow
def test_rows_of_the_card_say_who_is_wronged() -> None:
    if not FACES.is_dir():
        pytest.skip("needs ../shared/data/faces")
    part = named_faces(FACES, 2)
    assert (len(part.women), int(part.women.sum())) == (538, 142)
    odds = torch.where(part.women, 5.0, -5.0)
    odds[part.women.nonzero()[0]] = -5.0
    odds[(~part.women).nonzero()[0]] = 1.0
    rows = {str(row[0]): row[1:] for row in error_rows(odds, part)}
    assert rows["women"] == [142, pytest.approx(141 / 142), 1.0, pytest.approx(141 / 142)]
    assert rows["men"] == [396, pytest.approx(395 / 396), pytest.approx(395 / 396), 1.0]
    assert rows["grey"][0] + rows["colour"][0] == 538  # type: ignore[operator]


def test_the_recipe_leaves_a_net_and_a_card_measured_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def some(folder: str, split: int) -> NamedFaces:
        """Sixteen squares of noise, light above in those called women."""
        draw, women = torch.Generator().manual_seed(split), torch.arange(16) % 2 == 0
        pixels = torch.randint(0, 120, (16, 48, 48), generator=draw, dtype=torch.uint8)
        pixels[women, :24] += 100
        shares, shapes = torch.zeros(16, 8), torch.zeros(16, 52)
        pictures = FacePictures(pixels, whole_frames(16), shares, shapes, torch.arange(16))
        return NamedFaces(pictures, women, torch.arange(16) < 12)

    monkeypatch.setattr(appearance_recipe, "named_faces", some)
    out = str(tmp_path / "net")
    recipe = AppearanceRecipe(out=out, work=str(tmp_path / "work"), start="", epochs=1, batch=8)
    assert train_appearance(recipe) == Path(out)
    assert load_appearance(out).config.training_data.startswith("16 portraits (16 persons), 8 of them of women")
    card = (tmp_path / "net" / "CARD.md").read_text()
    assert "It names an appearance, not what somebody is" in card
    assert "### val" in card and "### test" in card and "| women in grey | 6 |" in card
