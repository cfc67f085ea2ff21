"""The recipe of the face reader on a few synthetic photos: its stages follow each other, resume, and ship a reader."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import train
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from captioner.config_io import load_config
from captioner.errors import CheckpointError, ConfigError
from captioner.faces.builtin import WEIGHTS, BuiltinReader, load_parts
from captioner.faces.points import BLENDSHAPES, MESH_68
from captioner.faces.track import DENSE
from captioner.train.faces import finder_training, landmark_training
from captioner.train.faces.landmark_training import OneCycle
from captioner.train.faces.reader_recipe import FacesRecipe, make_reader
from captioner.train.faces.turned_heads import faceless_pictures, rendered_heads
from captioner.train.fitting import BEST, FitConfig, fit, read_run_state
from tests.faces.mean_face import mean_face, placed
from tests.helpers import ROOT
from tests.synth.test_photos import folder, table


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photos of six persons, grey surfaces whose annotations say where a face would be."""
    notes = table()
    draw = np.random.default_rng(0)
    for row in range(12):
        x, y, side, angle = draw.uniform([0.45, 0.45, 0.5, -0.1], [0.55, 0.55, 0.7, 0.1])
        notes["landmarks"][row, list(MESH_68), :2] = placed(mean_face(), x, y, side, angle).numpy()
    notes["blendshapes"] = draw.uniform(0, 0.3, (12, 52)).astype(np.float16)
    notes["blendshape_names"] = np.array([*BLENDSHAPES, *(f"x{i}" for i in range(52 - len(BLENDSHAPES)))], "S30")
    return folder(tmp_path_factory.mktemp("photos") / "faces", notes, side=192)


def recipe(photos: Path, out: Path, *more: str) -> FacesRecipe:
    places = [f"photos={photos}", f"out={out}", f"weights={out / 'shipped'}"]
    short = [f"{stage}.{key}" for stage in ("finder", "aligned", "tune") for key in ("epochs=1", "minutes=0")]
    return load_config(FacesRecipe, None, [*places, *short, *more])


@pytest.mark.slow
def test_stages_ship_a_reader_and_resume(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder_training, "STEPS", 2)
    monkeypatch.setattr(finder_training, "PICTURES", 2)
    monkeypatch.setattr(landmark_training, "BATCH", 8)
    monkeypatch.setattr(landmark_training, "VISITS", 1)
    shipped = make_reader(recipe(photos, tmp_path, "stages=[finder, aligned, refine, tune, export]"))
    tracks = BuiltinReader(shipped).read(np.zeros((2, 96, 96, 3), np.uint8))
    assert isinstance(tracks, list)
    for stage in ("finder", "aligned", "tune"):
        assert read_run_state(tmp_path / stage).epoch == 1
    before = (tmp_path / "aligned" / BEST).read_bytes()
    make_reader(recipe(photos, tmp_path, "stages=[aligned]"))  # all of its epochs are done
    assert (tmp_path / "aligned" / BEST).read_bytes() == before
    make_reader(recipe(photos, tmp_path, "stages=[aligned]", "aligned.epochs=2"))
    assert read_run_state(tmp_path / "aligned").epoch == 2

    (tmp_path / "measured.json").write_text(json.dumps({"photos, test": {"error": 0.02361, "ms a frame": 3.0}}))
    make_reader(recipe(photos, tmp_path, "stages=[card]"))
    card = (shipped / "CARD.md").read_text()
    assert "### Photos, test\n\n| | |\n|---|---|\n| error | 0.02361 |\n" in card
    assert "ms a frame" not in card and "finder 0 minutes, aligned 0 minutes, tune 0 minutes." in card


def test_the_finder_of_dense_reading_goes_on_from_another(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finder_training, "STEPS", 2)
    monkeypatch.setattr(finder_training, "PICTURES", 2)
    monkeypatch.setattr(finder_training, "FACELESS", 6)
    monkeypatch.setattr(finder_training, "rendered_heads", lambda folder, count: faceless_pictures(4))
    weights = tmp_path / "shipped"
    shutil.copytree(WEIGHTS, weights, ignore=shutil.ignore_patterns("dense*"))
    make_reader(recipe(photos, tmp_path, "stages=[widen]", "skins=skins", "widen.epochs=1"))
    shipped, dense = load_parts(weights).finder, load_parts(weights, dense=True).finder
    assert not torch.equal(shipped.head.weight, dense.head.weight)
    assert torch.allclose(shipped.head.weight, dense.head.weight, atol=0.05)  # two small steps from the shipped one
    assert torch.equal(BuiltinReader(weights, DENSE).parts.finder.head.weight, dense.head.weight)
    with pytest.raises(ConfigError, match="stage widen renders heads: name a folder of skins"):
        recipe(photos, tmp_path, "stages=[widen]")


@pytest.mark.slow
def test_pictures_without_a_face_come_from_all_kinds() -> None:
    pictures = faceless_pictures(55, seed=1)
    assert pictures.images.shape == (55, 1, 192, 192) and not pictures.faces.isfinite().any()
    assert torch.equal(pictures.images, faceless_pictures(55, seed=1).images)
    assert len({float(image.float().mean()) for image in pictures.images}) > 50


@pytest.mark.slow
def test_heads_are_turned_to_all_sides_and_marked() -> None:
    pytest.importorskip("anny")
    skins = ROOT.parent / "shared" / "data" / "skins"
    if not skins.is_dir():
        pytest.skip("no ../shared/data/skins")
    heads = rendered_heads(str(skins), 7)
    assert heads.images.shape == (7, 1, 192, 192)
    faces = heads.faces[:, 0]
    assert (faces[:, 2] > 40).all() and (faces[:, 2] < 150).all()
    assert ((faces[:, :2] > 40) & (faces[:, :2] < 152)).all()  # about the middle


def test_a_state_of_something_else_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "aligned").mkdir()
    (tmp_path / "aligned" / "last.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=r"last\.safetensors does not continue this run"):
        make_reader(recipe(photos, tmp_path, "stages=[aligned]"))


def test_bad_recipes_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown stage 'tun' \(did you mean 'tune'\?\)"):
        load_config(FacesRecipe, None, ["stages=[tun]"])
    with pytest.raises(ConfigError, match=r"finder\.epochs is 0: at least 1 is needed"):
        load_config(FacesRecipe, None, ["finder.epochs=0"])
    words = ["configs/faces.yaml", f"photos={tmp_path / 'none'}", f"out={tmp_path / 'run'}"]
    assert train.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "annotations.npz" in error


def test_one_cycle_is_torchs() -> None:
    """Rate and momentum of every step, and so the weights, are those of a plain loop with torch's schedule."""
    torch.manual_seed(0)
    x, ours = torch.randn(40, 3), nn.Linear(3, 2)
    theirs = nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    config = FitConfig(None, 3, 40, 16, average=0.0, clip_norm=0.0, drop_last=False, half=False, epoch_seed=4)
    optimizers = [torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05) for net in (ours, theirs)]

    def loss_of(net: nn.Module, rows: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        return (net(nn.functional.dropout(x[rows], 0.1)) - 1).square().mean()

    fit(ours, config, loss_of, optimizer=optimizers[0], pace=OneCycle(1.5e-3, 9))
    schedule = OneCycleLR(optimizers[1], 1.5e-3, epochs=3, steps_per_epoch=3)
    for epoch in range(3):
        torch.manual_seed(4 + epoch)
        draw = torch.Generator().manual_seed(4 + epoch)
        for rows in torch.randperm(40, generator=draw).split(16):
            optimizers[1].zero_grad()
            loss_of(theirs, rows, draw).backward()
            optimizers[1].step()
            schedule.step()
    assert torch.equal(ours.weight, theirs.weight)
