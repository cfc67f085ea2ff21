"""The example videos: they open, are short, and show one face."""

from pathlib import Path

import numpy as np
import pytest

from captioner.data.video import probe, read_clip
from captioner.faces import open_reader

FOLDER = Path(__file__).parents[1] / "examples"
VIDEOS = sorted(path.name for path in FOLDER.glob("*.mp4") if path.name != "face.mp4")  # a drawn face


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
