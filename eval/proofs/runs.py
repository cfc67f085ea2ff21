"""Training runs in any number of CPU processes, forked from one that has imported everything, and what they log."""

import json
import multiprocessing
import os
import resource
import runpy
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path

from captioner.errors import CaptionerError
from eval.repository import ROOT, script_path

PATIENCE = 1800.0  # seconds for a run
PARTING = 120.0  # seconds for the others to notice that one is gone
TOLERANCE = 1e-5
IMPORTED = (
    *("captioner.train.setup", "captioner.train.trainer", "captioner.train.deepspeed_engine", "eval.report"),
    *("transformers.models.bert.modeling_bert", "torchvision.models.video.swin_transformer"),
    *("torch.utils.tensorboard", "torch.utils.flop_counter", "deepspeed"),
)
SAVE_EVERY = 2  # steps; writing takes a good part of the time then, and kills fall into it


class ProofError(CaptionerError):
    """A run that should have come to its end has not."""


def available_engines() -> list[str]:
    """torch alone, and ZeRO 0 to 3 where DeepSpeed is installed."""
    return ["plain", *(f"zero{stage}" for stage in range(4) if find_spec("deepspeed"))]


@dataclass
class TrainingRuns:
    """Starts scripts/train.py in any number of processes, forked from one that has imported everything."""

    config: str
    out: Path
    overrides: Sequence[str] = ()
    clips: int = 200
    steps: int = 0

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        paths = [str(ROOT), str(ROOT / "scripts")]
        sys.path[:] = dict.fromkeys([*paths, *sys.path])  # what is forked takes it over
        named = os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])
        os.environ |= {"PYTHONPATH": named, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([module for module in IMPORTED if find_spec(module.split(".")[0])])

    def folder(self, name: str) -> Path:
        """Where a run writes."""
        return self.out / name

    def arguments(self, name: str, engine: str) -> list[str]:
        """The command line of a run."""
        given = [
            self.config, f"train.out={self.folder(name)}", f"data.drawn={self.clips}",
            f"data.manifest={self.out / 'clips' / 'manifest.jsonl'}", f"data.cache={self.out / 'cache'}",
            "model.text.dropout=0", "model.fusion.dropout=0", "model.video.drop_path=0", "train.threads=1",
            "train.precision=float32", "train.log_every=1", "train.validate_every=0", *self.overrides,
            f"train.max_steps={self.steps}", f"train.save_every={SAVE_EVERY}",
        ]  # fmt: skip
        return given if engine == "plain" else [*given, f"train.deepspeed={self.setting(engine)}"]

    def setting(self, engine: str) -> Path:
        """The shipped JSON of an engine; ZeRO 3 shares out this small model's weights too."""
        settings = json.loads((ROOT / "configs" / f"ds_{engine}.json").read_text(encoding="utf-8"))
        if settings["zero_optimization"]["stage"] == 3:
            settings["zero_optimization"]["stage3_param_persistence_threshold"] = 100
        path = self.out / f"{engine}.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        return path

    def start(self, name: str, size: int, engine: str = "plain", largest: int = -1) -> list[BaseProcess]:
        """The processes of a run, just started; what they say goes to NAME.log. `largest` bounds a file's bytes."""
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            port = door.getsockname()[1]
        given = self.arguments(name, engine)
        started: list[BaseProcess] = []
        for rank in range(size):
            environment = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_PORT": port}
            texts = {key: str(value) for key, value in environment.items()} | {"MASTER_ADDR": "127.0.0.1"}
            process = self.context.Process(target=_train, args=(given, texts, self.out / f"{name}.log", largest))
            process.start()
            started.append(process)
        return started

    def whole(self, name: str, size: int, engine: str = "plain") -> dict[int, list[float]]:
        """A run to its end, or on to it; its losses by step."""
        if newest_step(self.folder(name)) == self.steps:
            return logged_losses(self.folder(name))
        codes = exit_codes(self.start(name, size, engine), PATIENCE)
        if any(codes):
            raise ProofError(f"{name} ended with {codes}: {self.said(name)[-3000:]}")
        return logged_losses(self.folder(name))

    def said(self, name: str) -> str:
        """What a run's processes wrote to stdout and stderr."""
        return (self.out / f"{name}.log").read_text(encoding="utf-8", errors="replace")


def _train(arguments: list[str], environment: dict[str, str], log: Path, largest: int) -> None:
    """One process of a run, which ends with the script's exit code."""
    os.environ |= environment
    if largest >= 0:  # the nearest thing to a full disk that needs no rights
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    script = str(script_path("train.py"))
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


def exit_codes(processes: Sequence[BaseProcess], patience: float) -> list[int | None]:
    """Exit codes once all have ended; who has not by then is killed, and has None."""
    until = time.monotonic() + patience
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return codes


def logged_losses(folder: Path, keys: Sequence[str] = ("loss", "mlm", "er", "au")) -> dict[int, list[float]]:
    """What a run's log says of every step: the whole loss, word loss, ER, AU (as configured)."""
    found = {}
    path = folder / "log.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut short by a kill; the run drops it when it goes on
        found[int(row["step"])] = [row[key] for key in keys if key in row]
    return found


def logged_seconds(folder: Path) -> float:
    """What the steps of a run took, checkpoints included."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return sum(float(row["seconds"]) for row in rows)


def loss_distance(one: dict[int, list[float]], other: dict[int, list[float]]) -> float:
    """The greatest difference of any loss in any step; infinite when steps are missing."""
    if one.keys() != other.keys():
        return float("inf")
    return max(abs(a - b) for step in one for a, b in zip(one[step], other[step], strict=True))


def wait_for_step(folder: Path, processes: Sequence[BaseProcess], step: int) -> None:
    """Until a step is done, or a process has ended."""
    while max(logged_losses(folder), default=0) < step and all(process.exitcode is None for process in processes):
        time.sleep(0.05)


def newest_step(folder: Path) -> int:
    """The step of the checkpoint that a run would go on from; 0 for none."""
    from captioner.train.checkpoints import CheckpointStore
    from captioner.train.processes import Processes

    found = CheckpointStore(folder, Processes()).newest()
    return int(found.values["progress"]["step"]) if found else 0
