"""What is killed: torn files are found, and the commands leave none."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from eval.proofs.torn import _forked, _torn
from tests.helpers import ROOT


def test_torn_files_are_found(tmp_path: Path) -> None:
    whole = {"a.txt": b"A man nods.\n", "captions.csv": b"file\nb\na\n"}
    assert _torn(tmp_path, whole) == []
    (tmp_path / "a.txt").write_bytes(b"A man nods.\n")
    (tmp_path / "captions.csv").write_bytes(b"file\na\n")
    assert _torn(tmp_path, whole) == []
    (tmp_path / "a.txt").write_bytes(b"A man no")
    (tmp_path / "captions.csv").write_bytes(b"file\na\nb")
    assert _torn(tmp_path, whole) == ["a.txt is torn"]
    (tmp_path / "captions.csv").write_bytes(b"fi")
    assert _torn(tmp_path, whole) == ["a.txt is torn", "captions.csv is torn"]


def test_a_process_that_ends_before_it_is_killed_counts_for_nothing() -> None:
    assert not _forked(lambda: None, lambda _: time.sleep(0.3))
    assert _forked(lambda: time.sleep(60), lambda _: None)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_killed_anywhere_nothing_is_torn() -> None:
    command = [sys.executable, "scripts/prove.py", "torn", "--kills", "2", "--seed", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    told = "2 kills; nothing torn, all went on to the same outputs"
    assert done.stdout.splitlines() == [f"{name}: {told}" for name in ("windows", "journals", "checkpoints")]
    assert done.returncode == 0
