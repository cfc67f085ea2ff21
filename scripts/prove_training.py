"""Prove on CPU processes that training is the same however it is shared out, and that a stopped run loses nothing.

    python scripts/prove_training.py engines configs/tiny.yaml [--steps 50 --processes 1,2,4] [key=value ...]
    python scripts/prove_training.py kills configs/tiny.yaml [--kills 20 --steps 60] [key=value ...]
    python scripts/prove_training.py stops configs/tiny.yaml [--steps 12] [key=value ...]

engines: the losses of torch alone and ZeRO 0 to 3 in every number of processes, against one process of torch alone.
kills: SIGKILL of one process or of all at random moments; the run goes on in as many processes (its losses must be
those of a run left alone, bit for bit) or in others, under other engines (to 1e-5).
stops: SIGTERM, a truncated newest checkpoint, a full disk; the run goes on in other processes, under other engines.
No dropout: processes draw their own. Clips are drawn; everything is written under --out (a new folder by default),
where a run that came to its end before is not made again. Exit code 1: something differs.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 1800.0  # seconds for a run
PARTING = 120.0  # seconds for the others to notice that one is gone
TOLERANCE = 1e-5
IMPORTED = (
    *("train", "transformers.models.bert.modeling_bert", "torchvision.models.video.swin_transformer"),
    *("torch.utils.tensorboard", "torch.utils.flop_counter", "deepspeed"),
)
EARLY = 0.2  # share of the kills that may fall before the first step
SAVE_EVERY = 2  # steps; writing takes a good part of the time then, and kills fall into it


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("engines", "kills", "stops"))
    parser.add_argument("config")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--processes", default="1,2,4", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--engines", type=lambda text: text.split(","), help="plain,zero0,zero1,zero2,zero3")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the moments and of who is killed")
    parser.add_argument("--out", type=Path)
    options, overrides = parser.parse_known_args(arguments)
    out = options.out or Path(tempfile.mkdtemp(prefix="prove-"))
    has_deepspeed = find_spec("deepspeed") is not None
    engines = options.engines or ["plain", *(f"zero{n}" for n in range(4) if has_deepspeed)]
    if not has_deepspeed:
        print("deepspeed is not installed: torch alone is compared")
    steps = options.steps or {"engines": 50, "kills": 60, "stops": 12}[options.what]
    runs = Runs(options.config, out, overrides, steps=steps)
    print(f"{options.config} in {out}")
    if options.what == "engines":
        return prove_engines(runs, engines, options.processes)
    if options.what == "stops":
        return prove_stops(runs)
    moments = Moments(options.kills, random.Random(options.seed), options.processes, engines)
    return prove_kills(runs, moments)


# -- runs ---------------------------------------------------------------------------------------------------------


@dataclass
class Runs:
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
            process = self.context.Process(target=train, args=(given, texts, self.out / f"{name}.log", largest))
            process.start()
            started.append(process)
        return started

    def whole(self, name: str, size: int, engine: str = "plain") -> dict[int, list[float]]:
        """A run to its end, or on to it; its losses by step."""
        if newest_step(self.folder(name)) == self.steps:
            return losses(self.folder(name))
        codes = ended(self.start(name, size, engine), PATIENCE)
        if any(codes):
            raise SystemExit(f"{name} ended with {codes}:\n{self.said(name)[-3000:]}")
        return losses(self.folder(name))

    def said(self, name: str) -> str:
        """What a run's processes wrote to stdout and stderr."""
        return (self.out / f"{name}.log").read_text(encoding="utf-8", errors="replace")


def train(arguments: list[str], environment: dict[str, str], log: Path, largest: int) -> None:
    """One process of a run."""
    os.environ |= environment
    if largest >= 0:  # the nearest thing to a full disk that needs no rights
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from train import main as train_main

    sys.exit(train_main(arguments))


def ended(processes: Sequence[BaseProcess], patience: float) -> list[int | None]:
    """Exit codes once all have ended; who has not by then is killed, and has None."""
    until = time.monotonic() + patience
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return codes


def losses(folder: Path, keys: Sequence[str] = ("loss", "mlm", "er", "au")) -> dict[int, list[float]]:
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


def seconds(folder: Path) -> float:
    """What the steps of a run took, checkpoints included."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return sum(float(row["seconds"]) for row in rows)


def distance(one: dict[int, list[float]], other: dict[int, list[float]]) -> float:
    """The greatest difference of any loss in any step; infinite when steps are missing."""
    if one.keys() != other.keys():
        return float("inf")
    return max(abs(a - b) for step in one for a, b in zip(one[step], other[step], strict=True))


# -- engines ------------------------------------------------------------------------------------------------------


def prove_engines(runs: Runs, engines: Sequence[str], sizes: Sequence[int]) -> int:
    """The table; 1 when any engine is too far from one process of torch alone."""
    alone = runs.whole("plain-1", 1)
    first, last = alone[1][0], alone[runs.steps][0]
    print(f"one process, torch alone: loss {first:.4f} -> {last:.4f} in {runs.steps} steps; differences to it at most:")
    print(f"{'processes':<12}" + "".join(f"{engine:>10}" for engine in engines), flush=True)
    worst = 0.0
    for size in sizes:
        print(f"{size:<12}", end="", flush=True)
        for engine in engines:
            name = f"{engine}-{size}"
            far = distance(runs.whole(name, size, engine), alone) if name != "plain-1" else 0.0
            worst = max(worst, far)
            print(f"{far:>10.1e}", end="", flush=True)
        print()
    print(f"{'agree' if worst <= TOLERANCE else 'DIFFER'}: at most {worst:.1e}, allowed {TOLERANCE:.0e}")
    return int(worst > TOLERANCE)


# -- kills --------------------------------------------------------------------------------------------------------


@dataclass
class Moments:
    """How many kills, and the chance that says when, whom, and how the run goes on."""

    kills: int
    chance: random.Random
    sizes: Sequence[int]
    engines: Sequence[str]
    chain: int = 5
    """Kills of one run before it may come to its end."""
    span: float = 0.0
    """Seconds of two steps, checkpoints included: within them a kill falls, after a step of chance."""


@dataclass
class Tally:
    """What happened."""

    kills: int = 0
    writing: int = 0
    """Kills that fell into the writing of a checkpoint."""
    worst: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})
    """Greatest difference of the losses, with the number of processes kept and changed."""
    faults: list[str] = field(default_factory=list)


def prove_kills(runs: Runs, moments: Moments) -> int:
    """Runs that are killed again and again, against one that was left alone."""
    alone = runs.whole("plain-2", 2)
    if distance(runs.whole("alone-again", 2), alone) != 0.0:
        print("two runs of 2 processes that were left alone differ: nothing can be proved on this machine")
        return 1
    spent = seconds(runs.folder("alone-again"))
    moments.span = 2 * spent / runs.steps
    print(
        f"left alone, twice: {runs.steps} steps in 2 processes, the same bits; {spent:.0f} s without the start",
        flush=True,
    )
    tally, number = Tally(), 0
    while tally.kills < moments.kills:
        number += 1
        same = number % 2 == 1
        victim = Victim(runs, f"run{number}", same, moments, tally)
        found = victim.live(min(moments.chain, moments.kills - tally.kills))
        far = distance(found, alone)
        tally.worst[same] = max(tally.worst[same], far)
        print(f"  run {number} came to its end: losses {far:.1e} from those of the run left alone", flush=True)
    wrong = list(tally.faults)
    if tally.worst[True] > 0:
        wrong.append("in as many processes the losses are not the same bits")
    if tally.worst[False] > TOLERANCE:
        wrong.append(f"in other numbers of processes the losses differ by more than {TOLERANCE:.0e}")
    print(
        f"{tally.kills} kills, {tally.writing} in the middle of a checkpoint; losses differ by {tally.worst[True]:.1e} "
        f"in as many processes, {tally.worst[False]:.1e} in others; "
        + ("; ".join(wrong) or "nothing lost, no corrupt file")
    )
    return int(bool(wrong))


@dataclass
class Victim:
    """A run that is killed and goes on."""

    runs: Runs
    name: str
    same: bool
    """Always 2 processes of torch alone."""
    moments: Moments
    tally: Tally

    def live(self, kills: int) -> dict[int, list[float]]:
        """Kill it so many times, or until it is through; its losses at the end."""
        for _ in range(kills):
            if not self.killed_once():
                break
        size, engine = self.choose()
        return self.runs.whole(self.name, size, engine)

    def choose(self) -> tuple[int, str]:
        """Processes and engine of the next start."""
        chance = self.moments.chance
        return (2, "plain") if self.same else (chance.choice(self.moments.sizes), chance.choice(self.moments.engines))

    def killed_once(self) -> bool:
        """Start, kill, look at what is there; False when it came to its end before."""
        chance, folder = self.moments.chance, self.runs.folder(self.name)
        size, engine = self.choose()
        before = newest_step(folder)
        processes = self.runs.start(self.name, size, engine)
        if chance.random() > EARLY:
            reach(folder, processes, before + chance.randint(1, 3 * SAVE_EVERY))
        time.sleep(chance.uniform(0, self.moments.span))
        if all(process.exitcode == 0 for process in processes):
            return False
        victims = processes if chance.random() < 0.5 else [chance.choice(processes)]
        for process in victims:
            process.kill()
        writing = any(folder.glob(".*.writing"))
        seen = max(losses(folder), default=0)
        gone = time.monotonic()
        codes = ended(processes, PARTING)
        self.tally.kills += 1
        self.tally.writing += writing
        after = self.judge(seen, codes)
        whom = "all" if victims is processes else f"process {processes.index(victims[0]) + 1}"
        where = ", writing a checkpoint" if writing else ""
        rest = "" if victims is processes else f", the others ended {time.monotonic() - gone:.1f} s later"
        print(
            f"  kill {self.tally.kills}: {whom} of {size} ({engine}), started at step {before}, killed at {seen}{where}"
            f"{rest}; goes on from {after}",
            flush=True,
        )
        return True

    def judge(self, seen: int, codes: Sequence[int | None]) -> int:
        """The step that the run will go on from; what is wrong is noted."""
        from captioner.train.checkpoints import BEFORE, LAST, read_checkpoint, verify_checkpoint

        folder = self.runs.folder(self.name)
        if None in codes:
            self.tally.faults.append(f"{self.name}: a process hung on after another was killed")
        for name in (LAST, BEFORE, "best"):
            if (folder / name / "trainer.json").exists():
                verify_checkpoint(read_checkpoint(folder / name))  # raises what is corrupt
        found = newest_step(folder)
        if found < (seen - 1) // SAVE_EVERY * SAVE_EVERY:
            self.tally.faults.append(f"{self.name}: step {seen} was done, but the newest checkpoint is of {found}")
        return found


# -- stops --------------------------------------------------------------------------------------------------------

# (processes, engine) that are stopped, and those that go on.
MOVES = (
    ((4, "zero3"), (1, "plain")),
    ((1, "plain"), (4, "zero3")),
    ((4, "zero2"), (2, "zero3")),
    ((2, "plain"), (4, "zero1")),
    ((4, "plain"), (2, "zero0")),
)


def prove_stops(runs: Runs) -> int:
    """Runs that are stopped half-way and go on elsewhere, against one process left alone; then a full disk."""
    alone = runs.whole("plain-1", 1)
    faults: list[str] = []
    moves = MOVES if find_spec("deepspeed") else [((2, "plain"), (1, "plain")), ((1, "plain"), (2, "plain"))]
    for number, (old, new) in enumerate(moves):
        name = f"move{number + 1}"
        codes = stopped(runs, name, old, runs.steps // 2)
        saved = newest_step(runs.folder(name))
        truncate = number % 2 == 0
        if truncate:
            os.truncate(runs.folder(name) / "last" / "model.safetensors", 5000)
        far = distance(runs.whole(name, *new), alone)
        warned = "passed over for the one before" in runs.said(name)
        harm = ", the newest checkpoint truncated" + (" (warned)" if warned else "") if truncate else ""
        print(
            f"  {old[0]} x {old[1]} stopped by SIGTERM (exit codes {codes}) at step {saved}{harm}; "
            f"{new[0]} x {new[1]} went on: losses {far:.1e} from one process left alone",
            flush=True,
        )
        if set(codes) != {143} or far > TOLERANCE or truncate != warned:
            faults.append(name)
    faults += full_disk(runs, alone)
    print("; ".join(["WRONG", *faults]) if faults else "all went on as if nothing had happened")
    return int(bool(faults))


def stopped(runs: Runs, name: str, old: tuple[int, str], step: int) -> list[int | None]:
    """Start a run, send SIGTERM to all its processes at a step; their exit codes."""
    if newest_step(runs.folder(name)):
        return [143]  # of an earlier start of this script
    processes = runs.start(name, *old)
    reach(runs.folder(name), processes, step)
    for process in processes:
        if process.pid is not None and process.exitcode is None:
            os.kill(process.pid, signal.SIGTERM)
    return ended(processes, PARTING)


def full_disk(runs: Runs, alone: dict[int, list[float]]) -> list[str]:
    """A run of two processes whose files may not grow beyond a checkpoint's, after one checkpoint; what is wrong."""
    name, begun = "full", runs.folder("full")
    if not newest_step(begun):
        stopped(runs, name, (2, "plain"), SAVE_EVERY + 1)
    before = newest_step(begun)
    largest = (begun / "last" / "model.safetensors").stat().st_size // 2
    codes = ended(runs.start(name, 2, "plain", largest), PATIENCE)
    told = [line for line in runs.said(name).splitlines() if line.startswith("error: ")]
    print(f"  files of {largest} bytes at most: exit codes {codes}, {told[-1] if told else 'nothing was said'}")
    faults = []
    if codes != [2, 2] or len(told) != 1 or "Traceback" in runs.said(name):
        faults.append("a full disk is not told in one line")
    if newest_step(begun) != before:
        faults.append("a full disk harmed a checkpoint")
    if any(path.name.endswith(".writing") for path in begun.glob(".*")):
        faults.append("a full disk left something half written")
    if not faults:
        far = distance(runs.whole(name, 1), alone)
        print(f"  with room again it went on from step {before}: losses {far:.1e} from one process left alone")
        faults += ["a run differs after a full disk"] if far > TOLERANCE else []
    return faults


def reach(folder: Path, processes: Sequence[BaseProcess], step: int) -> None:
    """Until a step is done, or a process has ended."""
    while max(losses(folder), default=0) < step and all(process.exitcode is None for process in processes):
        time.sleep(0.05)


def newest_step(folder: Path) -> int:
    """The step of the checkpoint that a run would go on from; 0 for none."""
    from captioner.train.checkpoints import CheckpointStore
    from captioner.train.processes import Processes

    found = CheckpointStore(folder, Processes()).newest()
    return int(found.values["progress"]["step"]) if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
