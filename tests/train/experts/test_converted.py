"""Experts of public files: both halves in turn, measured scores, and refusals in one line. Files are random."""

import pickle
from pathlib import Path

import pytest
import torch

from captioner.data.manifest import Record, write_manifest
from captioner.errors import CheckpointError
from captioner.model.convert import read_tensors
from captioner.model.experts import find_experts, load_experts
from captioner.train.experts.converted import emotion_net, named_units, start_backbone
from prompts.action_units import MAIN_AUS
from prompts.er_net import ERNet, ERNetConfig
from scripts.convert import main
from tests.helpers import ROOT
from tests.train.experts.public_files import opengraphau_file, resnet50_file

LABELS = "anger,disgust,fear,happiness,neutral,sadness,surprise"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples as the training part of a data set."""
    path = tmp_path_factory.mktemp("clips") / "manifest.jsonl"
    clips = sorted((ROOT / "examples").glob("*.mp4"))[:3]
    write_manifest(path, [Record(clip.stem, clip, "train", ("A man nods. The frown.",), "anger") for clip in clips])
    return path


@pytest.mark.slow
def test_both_halves_make_experts(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    au, er = opengraphau_file(tmp_path / "au.pth"), resnet50_file(tmp_path / "er.pth", outputs=7, prefix="module.")
    out = tmp_path / "experts"
    assert main(["opengraphau", str(au), "--clips", str(manifest), "--out", str(out)]) == 0
    assert "still to come: convert.py er-resnet50" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match=r"half of the experts, the net of emotion is missing.*er-resnet50 FILE"):
        find_experts(out)
    assert main(["er-resnet50", str(er), "--labels", LABELS, "--out", str(out)]) == 0
    assert f"use model.experts.source={out}" in capsys.readouterr().out
    made = load_experts(out)
    assert made.config.labels == tuple(LABELS.split(",")) and made.config.margin == 0.3
    assert len(made.config.au_mean) == 27 and min(made.config.au_std) > 0 and set(made.config.au_thresholds) == {0.5}
    raw = read_tensors(au)
    assert torch.equal(made.au.head.main_sc, raw["module.head.main_sc"])
    torch.testing.assert_close(made.er.fc.weight, read_tensors(er)["module.fc.weight"], atol=1e-3, rtol=1e-3)
    assert sorted(path.name for path in out.iterdir()) == ["CARD.md", "config.json", "model.safetensors"]
    assert "3 training clips" in (out / "CARD.md").read_text()
    assert main(["er-resnet50", str(er), "--labels", LABELS, "--out", str(out)]) == 2
    assert "holds whole experts already" in capsys.readouterr().err
    assert main(["er-resnet50", str(out), "--out", str(tmp_path / "again")]) == 0  # the emotion net of trained experts


@pytest.mark.slow
def test_halves_that_want_other_crops(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    au, er, out = opengraphau_file(tmp_path / "au.pth"), resnet50_file(tmp_path / "er.pth"), tmp_path / "experts"
    assert main(["opengraphau", str(au), "--clips", str(manifest), "--most", "2", "--out", str(out)]) == 0
    assert main(["er-resnet50", str(er), "--margin", "0.1", "--out", str(out)]) == 2
    assert "convert both with the same" in capsys.readouterr().err


def test_files_that_do_not_fit(tmp_path: Path, manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "experts"
    other = tmp_path / "other.pth"
    torch.save({"state_dict": {"fc.weight": torch.zeros(7, 2048), "strange": torch.zeros(1)}}, other)
    with pytest.raises(CheckpointError, match=r"7 outputs, --labels names 2"):
        emotion_net(read_tensors(other), ["a", "b"], "other.pth")
    for words, said in [
        (["er-resnet50", str(other), "--labels", LABELS], "does not fit this architecture"),
        (["opengraphau", str(other), "--clips", str(manifest)], "holds no AU graph"),
        (["opengraphau", str(tmp_path / "none.pth"), "--clips", str(manifest)], "none.pth"),
        (["opengraphau", str(other), "--clips", str(tmp_path / "none.jsonl")], "none.jsonl"),
    ]:
        assert main([*words, "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    code = tmp_path / "code.pth"
    code.write_bytes(pickle.dumps({"state_dict": print}))
    assert main(["er-resnet50", str(code), "--out", str(out)]) == 2
    assert "error: " in capsys.readouterr().err
    assert not out.exists()


def test_a_backbone_starts_from_imagenet(tmp_path: Path) -> None:
    net, other = ERNet(ERNetConfig("resnet18", 8)), ERNet(ERNetConfig("resnet18", 3))
    state = {name.removeprefix("backbone."): value for name, value in other.state_dict().items()}
    start_backbone(net, state, "imagenet.pth")
    assert torch.equal(net.backbone.conv1.weight, other.backbone.conv1.weight)  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match="does not fit er_arch=small"):
        start_backbone(ERNet(ERNetConfig("small", 8)), state, "imagenet.pth")


def test_units_that_a_clip_names() -> None:
    told = named_units(Record("a", Path("a.mp4"), "train", ("A man nods. The frown.",)))
    assert [au for au, there in zip(MAIN_AUS, told, strict=True) if there] == [4]
    listed = named_units(Record("a", Path("a.mp4"), "train", ("A man nods. The frown.",), au_ids=(12, 25)))
    assert [au for au, there in zip(MAIN_AUS, listed, strict=True) if there] == [12, 25]
