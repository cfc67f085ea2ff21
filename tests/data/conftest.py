"""Fixtures of the tests of scripts/prepare.py."""

from pathlib import Path

import numpy as np
import pytest

from captioner.video.reading import write_video
from tests.data.miniatures import Run, prepare_script

SCRIPT = prepare_script()


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(dataset: str, *options: str) -> tuple[int, str, str]:
        out = tmp_path / "out" / "manifest.jsonl"
        code = SCRIPT.main([dataset, "--root", str(tmp_path / "data"), "--out", str(out), *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "tiny.mp4"
    write_video(path, np.zeros((3, 16, 16, 3), np.uint8), 5)
    return path
