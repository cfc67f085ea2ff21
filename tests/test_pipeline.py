"""From a file to a Caption, with the shipped model: what it says of drawn faces it never saw."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

import captioner
from captioner.data.video import write_video
from captioner.errors import CaptionerError, VideoError
from captioner.phrases import find_phrases
from captioner.pipeline import Caption, Captioner, pick_device
from captioner.synth.drawn import render, sample_scene

EXAMPLE = ROOT / "examples" / "face.mp4"


@pytest.fixture(scope="module")
def model() -> Captioner:
    return captioner.load(device="cpu")


def test_the_example_is_described_truly(model: Captioner) -> None:
    truth = json.loads((ROOT / "examples" / "face.json").read_text())
    caption = model.caption(EXAMPLE)
    said = {found.name for found in find_phrases(caption.text)}
    assert said == set(truth["phrases"]), caption.text
    assert any(word in caption.text.lower() for word in truth["action_words"]), caption.text


def test_caption_is_complete(model: Captioner) -> None:
    caption = model.caption(EXAMPLE)
    assert sum(caption.emotion.values()) == pytest.approx(1, abs=1e-4)
    assert set(caption.emotion) == set(model.model.config.labels)
    assert len(caption.action_units) == model.model.config.prompts.k
    assert 0 < caption.score <= 1
    assert caption.faces == 1
    assert 0 <= caption.start < caption.end
    for unit in caption.action_units:
        assert 0 <= unit.score <= 1
        assert unit.peak is not None
        assert caption.start <= unit.peak <= caption.end
        assert all(word.lower() in caption.text.lower() for word in unit.words)
    text = "".join(w["word"] for w in caption.words).lower()
    assert text == "".join(caption.text.lower().split())
    assert json.loads(json.dumps(caption.to_dict()))["text"] == caption.text


def test_same_clip_same_words(model: Captioner) -> None:
    assert model.caption(EXAMPLE) == model.caption(EXAMPLE)


def test_unseen_drawn_faces(model: Captioner, tmp_path: Path) -> None:
    """Twelve clips of faces and seeds that training never used: most phrases are right."""
    right = given = wanted = 0
    for seed in range(12):
        scene = sample_scene(np.random.default_rng([991, seed]))
        write_video(tmp_path / f"{seed}.mp4", render(scene, 112), scene.fps)
        said = {found.name for found in find_phrases(model.caption(tmp_path / f"{seed}.mp4").text)}
        right += len(said & set(scene.phrases))
        given += len(said)
        wanted += len(scene.phrases)
    assert 2 * right / (given + wanted) > 0.75


def test_short_span_and_single_frame(model: Captioner, tmp_path: Path) -> None:
    span = model.caption(EXAMPLE, start=0.5, end=1.0)
    assert 0.4 <= span.start < span.end <= 1.0
    write_video(tmp_path / "one.mp4", np.full((1, 64, 64, 3), 128, np.uint8), 8)
    assert isinstance(model.caption(tmp_path / "one.mp4"), Caption)


def test_beams_and_length(model: Captioner) -> None:
    assert len(model.caption(EXAMPLE, max_words=4).words) <= 4
    assert model.caption(EXAMPLE, beams=3).text


def test_no_video(model: Captioner, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("not a video")
    with pytest.raises(VideoError, match=r"x\.mp4"):
        model.caption(tmp_path / "x.mp4")


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(CaptionerError, match="allowed: auto"):
        pick_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(CaptionerError, match="--device cpu"):
            pick_device("cuda")
