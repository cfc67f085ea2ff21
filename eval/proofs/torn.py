"""Commands that are killed at random moments: no file is torn, and the same command goes on to the same outputs."""

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import captioner
from captioner.cli import main as caption
from captioner.inference.predictor import Captioner
from captioner.model.checkpoint import load_checkpoint
from captioner.video.reading import write_video
from captioner.video.source import one_thread
from eval.proofs.broken_models import save_small_model
from eval.proofs.runs import ProofError

FORMATS = "txt,json,srt,csv"
_EXAMPLE = Path(__file__).parents[2] / "examples" / "smile.mp4"


@dataclass
class TornTally:
    """What happened to one kind of writing."""

    kills: int = 0
    faults: list[str] = field(default_factory=list)


def prove_untorn(out: Path, kills: int, seed: int) -> int:
    """Windows of a film, journals of many clips, checkpoints: each killed so many times; 1 where anything is torn."""
    torch.set_num_threads(1)
    loaded = captioner.load(device="cpu")
    captioner.load = lambda name=None, **options: loaded  # the killed processes are forked from this one
    chance, wrong = random.Random(seed), 0
    for name, prove in {"windows": _windows, "journals": _journals, "checkpoints": _checkpoints}.items():
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=out))
        tally = prove(folder, kills, chance)
        told = "; ".join(tally.faults) or "nothing torn, all went on to the same outputs"
        print(f"{name}: {tally.kills} kills; {told}", flush=True)
        wrong += bool(tally.faults)
    return int(bool(wrong))


def _windows(folder: Path, kills: int, chance: random.Random) -> TornTally:
    """One film by windows; a killed run goes on behind the last window that was kept."""
    command = ["film.mp4", "--window", "0.5", "--batch", "1", "-f", FORMATS]
    _film(folder / "film.mp4", pictures=max(60, 8 * kills))
    return _killed(folder, command, kills, chance, ".caption-*.jsonl")


def _journals(folder: Path, kills: int, chance: random.Random) -> TornTally:
    """Many clips; a killed run leaves out what its journal holds."""
    for number in range(3 * kills):
        noise = np.random.default_rng(number).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
        write_video(folder / "clips" / f"{number:03d}.mp4", noise, 6)
    return _killed(folder, ["clips", "--batch", "1", "-f", FORMATS], kills, chance, ".caption.jsonl")


def _film(path: Path, pictures: int) -> None:
    """A person who nods and smiles, again and again, at 8 pictures a second."""
    from captioner.video.reading import read_clip

    seen = read_clip(_EXAMPLE, 24, short_side=160).frames
    write_video(path, np.stack([np.asarray(seen[at % len(seen)]) for at in range(pictures)]), 8)


def _killed(folder: Path, command: list[str], kills: int, chance: random.Random, log: str) -> TornTally:
    """A command that is killed after one to three more lines of its log and a moment; then left alone to its end."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        _forked(lambda: caption([*command, "-q", "-o", "whole"]), None)
        whole, tally = _outputs(folder / "whole"), TornTally()
        if not whole:
            raise ProofError(f"{' '.join(command)} writes nothing when it is left alone")
        began = time.monotonic()
        while tally.kills < kills:
            target, moment = _lines(folder / "parts", log) + chance.randint(1, 3), chance.uniform(0, 0.1)

            def wait(pid: int, target: int = target, moment: float = moment) -> None:
                while _lines(folder / "parts", log) < target and os.waitid(os.P_PID, pid, _LOOK) is None:
                    time.sleep(0.002)
                time.sleep(moment)

            tally.kills += _forked(lambda: caption([*command, "-q", "-o", "parts"]), wait)
            tally.faults += _torn(folder / "parts", whole)
            if _outputs(folder / "parts") == whole:  # it came to its end: the next kills are of a run anew
                _begin_anew(folder / "parts")
        _forked(lambda: caption([*command, "-q", "-o", "parts"]), None)
        if _outputs(folder / "parts") != whole:
            tally.faults.append(f"after {time.monotonic() - began:.0f} s the outputs differ from those left alone")
        return tally
    finally:
        os.chdir(before)


_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT


def _forked(work: Callable[[], object], wait: Callable[[int], None] | None) -> bool:
    """Work in a process of its own, killed after `wait`; whether that came before its end."""
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            one_thread()
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            work()
        os._exit(0)
    if wait is not None:
        wait(pid)
        os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def _lines(folder: Path, log: str) -> int:
    """Of the logs that are there."""
    with suppress(OSError):
        return sum(path.read_bytes().count(b"\n") for path in folder.glob(log))
    return 0


def _outputs(folder: Path) -> dict[str, bytes]:
    """What a user finds; the order of a table is that of the work."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


def _torn(folder: Path, whole: dict[str, bytes]) -> list[str]:
    """Files that are neither whole nor absent; tables hold whole rows."""
    faults = []
    for name, data in _outputs(folder).items():
        rows = set(whole.get(name, b"").splitlines())
        if data != whole.get(name) and not (name.endswith(".csv") and rows.issuperset(data.splitlines())):
            faults.append(f"{name} is torn")
    return faults


def _begin_anew(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _checkpoints(folder: Path, kills: int, chance: random.Random) -> TornTally:
    """Two captioners written by turns into one folder: it holds the one or the other, or none before the first."""
    small, tally = [save_small_model(folder / f"of-{seed}", seed) for seed in (0, 1)], TornTally()
    states = [_state(path) for path in small]

    captioners = [Captioner(load_checkpoint(path)) for path in small]

    def write() -> None:
        for turn in range(10**6):
            captioners[turn % 2].save_pretrained(folder / "both")

    for _ in range(kills):
        moment = chance.uniform(0.1, 1.0)

        def wait(_: int, moment: float = moment) -> None:
            time.sleep(moment)

        tally.kills += _forked(write, wait)
        if (folder / "both").exists() or list(folder.glob(".both.old")):
            if _state(folder / "both") not in states:
                tally.faults.append(f"kill {tally.kills}: the checkpoint is neither the one nor the other")
        else:
            tally.faults += ["the checkpoint is gone"] if tally.kills > kills // 2 else []
    return tally


def _state(folder: Path) -> tuple[float, ...]:
    """What tells two captioners apart."""
    return tuple(float(value.double().sum()) for value in load_checkpoint(folder).model.state_dict().values())
