"""What the tests of the command share: a fake captioner, and a folder of clips."""

from pathlib import Path

import numpy as np
import pytest

import captioner
from captioner.video.reading import write_video
from tests.output.fakes import FakeModel


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    fake = FakeModel()
    monkeypatch.setattr(captioner, "load", fake.load)
    return fake


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """clips/a.mp4 (50), clips/b.mkv (100), clips/deep/c.mp4 (150), and things that are no videos."""
    for name, level in (("a.mp4", 50), ("b.mkv", 100), ("deep/c.mp4", 150)):
        write_video(tmp_path / "clips" / name, np.full((3, 16, 16, 3), level, np.uint8), 25)
    (tmp_path / "clips" / "notes.txt").write_text("no video")
    (tmp_path / "clips" / "._a.mp4").write_text("left by another system")
    monkeypatch.chdir(tmp_path)
    return tmp_path
