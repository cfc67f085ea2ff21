"""The example videos: they open, are short, show one face, and `caption` says of them what their README says."""

import re
from pathlib import Path

import numpy as np
import pytest

import captioner
from captioner.faces import open_reader
from captioner.lexicon.phrases import find_phrases
from captioner.video.reading import probe, read_clip

FOLDER = Path(__file__).parents[1] / "examples"
VIDEOS = sorted(path.name for path in FOLDER.glob("*.mp4"))


def test_there_are_examples() -> None:
    assert {"smile.mp4", "surprise.mp4", "frown.mp4"} <= set(VIDEOS)
    assert sum((FOLDER / name).stat().st_size for name in VIDEOS) < 1_000_000


@pytest.mark.parametrize("name", VIDEOS)
def test_an_example_shows_one_face(name: str) -> None:
    assert 2 <= probe(FOLDER / name).duration <= 6
    clip = read_clip(FOLDER / name, 12, short_side=360)
    tracks = open_reader().read(clip.frames, clip.times.tolist())
    seen = np.sum([track.present for track in tracks], axis=0)
    assert np.mean(seen == 1) > 0.8


@pytest.mark.slow
def test_the_readme_says_what_caption_says() -> None:
    table = re.findall(r"^\| `(\w+\.mp4)` \| (.+) \| (.+) \|$", (FOLDER / "README.md").read_text(), re.M)
    told = {name: (faces, feelings) for name, faces, feelings in table}
    assert sorted(told) == VIDEOS
    model = captioner.load(device="cpu")
    for name, (faces, feelings) in told.items():
        assert model.caption(FOLDER / name).text == faces
        assert model.caption(FOLDER / name, style="feelings").text == feelings


@pytest.mark.slow
def test_the_faces_of_the_examples_are_named() -> None:
    """Each caption names a phrase of the action units that the example's face was told to show, and few others."""
    shown = {
        "smile.mp4": {"smile", "open_mouth"}, "surprise.mp4": {"raised_brows", "raised_inner_brows", "open_mouth",
        "wide_open_mouth", "wide_eyes"}, "frown.mp4": {"frown", "lip_corners_down"},
        "sad.mp4": {"raised_inner_brows", "frown", "lip_corners_down"},
    }  # fmt: skip
    model = captioner.load(device="cpu")
    for name, phrases in shown.items():
        said = {found.name for found in find_phrases(model.caption(FOLDER / name).text)}
        assert said & phrases, (name, said)
        assert len(said - phrases) <= 1, (name, said)
