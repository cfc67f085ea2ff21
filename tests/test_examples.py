"""The example videos: they open, are short, show one face, and `caption` says of them what their README says."""

import re
import shutil
from pathlib import Path

import make_examples
import numpy as np
import pytest
from PIL import Image

import captioner
from captioner.faces import open_reader
from captioner.lexicon.phrases import find_phrases
from captioner.video.reading import probe, read_clip
from tests.helpers import ROOT, read_description

FOLDER, README = ROOT / "examples", ROOT / "README.md"
VIDEOS = sorted(path.name for path in FOLDER.glob("*.mp4"))


def test_there_are_examples() -> None:
    assert {"smile.mp4", "surprise.mp4", "frown.mp4"} <= set(VIDEOS)
    assert sum((FOLDER / name).stat().st_size for name in VIDEOS) < 1_000_000


def test_the_picture_moves_and_the_readme_tells_it_in_words() -> None:
    path = FOLDER / "caption.webp"
    assert path.stat().st_size < 400_000
    with Image.open(path) as picture:
        assert picture.n_frames > 20 and picture.info["loop"] == 0  # type: ignore[attr-defined]
    shown = re.search(r"!\[([^]]*)\]\(examples/caption\.webp\)", README.read_text())
    assert shown
    assert f"“{read_description(path)}”" in shown[1] and re.search(r"\w at \d\.\d s", shown[1])
    assert f"| {read_description(path)} |" in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.slow
def test_an_example_shows_one_face(name: str) -> None:
    assert 2 <= probe(FOLDER / name).duration <= 6
    clip = read_clip(FOLDER / name, 12, short_side=360)
    tracks = open_reader().read(clip.frames, clip.times.tolist())
    seen = np.sum([track.present for track in tracks], axis=0)
    assert np.mean(seen == 1) > 0.8


@pytest.mark.slow
def test_the_pages_say_what_caption_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that writes them anew changes nothing."""
    copy = tmp_path / "examples"
    shutil.copytree(FOLDER, copy)
    shutil.copy(README, tmp_path)
    (copy / "caption.webp").unlink()
    assert make_examples.main(["--captions", "--out", str(copy)]) == 0
    assert (tmp_path / "README.md").read_text() == README.read_text()
    assert (copy / "README.md").read_text() == (FOLDER / "README.md").read_text()
    assert read_description(copy / "caption.webp") == read_description(FOLDER / "caption.webp")
    assert len(capsys.readouterr().out.splitlines()) == 3


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
