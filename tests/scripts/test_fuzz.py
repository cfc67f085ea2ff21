"""A few of the hostile inputs that scripts/prove.py fuzz makes by the hundred."""

import subprocess
import sys

import numpy as np
import pytest

from eval.proofs.fuzz import broken_promises, damage_bytes
from tests.helpers import ROOT


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="select works on sockets only")
@pytest.mark.parametrize(("corpus", "files"), [("clips", 16), ("files", 24), ("scores", 60), ("addresses", 25)])
def test_a_few_of_each_corpus_keep_every_promise(corpus: str, files: int) -> None:
    """Hostile checkpoints are in tests/output/test_broken_models.py."""
    command = [sys.executable, "scripts/prove.py", "fuzz", "--corpora", corpus, "--files", str(files), "--seed", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{files} {corpus}: ")


def test_damage_follows_from_the_seed_and_changes_the_file() -> None:
    sound = bytes(range(256)) * 8
    made = [damage_bytes(sound, np.random.default_rng([1, n])) for n in range(30)]
    assert made == [damage_bytes(sound, np.random.default_rng([1, n])) for n in range(30)]
    assert sum(each != sound for each in made) > 27


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({"code": 0, "out": "A man.\n", "err": "", "memory": 9}, ""),
        ({"code": 1, "out": "", "err": "error: 'a' is empty\n", "memory": 9}, ""),
        ({"code": 1, "out": "", "err": "error: 'a': IndexError: 3\n", "memory": 9}, "an unexplained error"),
        ({"code": 0, "out": "\n", "err": "", "memory": 3 << 20}, "nothing said; 3072 MiB"),
        ({"code": None, "out": "", "err": "Traceback: x", "memory": 9}, "exit code None, not 0 or 1: Traceback: x; "),
    ],
)
def test_broken_promises_are_told(told: dict[str, object], fault: str) -> None:
    assert broken_promises(told).startswith(fault)
    assert bool(broken_promises(told)) == bool(fault)
