"""The same losses from every engine and number of processes; after SIGTERM, a damaged checkpoint and a full disk."""

import os
import signal
from collections.abc import Sequence
from importlib.util import find_spec

from eval.proofs.runs import (
    PARTING,
    PATIENCE,
    SAVE_EVERY,
    TOLERANCE,
    TrainingRuns,
    exit_codes,
    loss_distance,
    newest_step,
    wait_for_step,
)

# (processes, engine) that are stopped, and those that go on.
MOVES = (
    ((4, "zero3"), (1, "plain")),
    ((1, "plain"), (4, "zero3")),
    ((4, "zero2"), (2, "zero3")),
    ((2, "plain"), (4, "zero1")),
    ((4, "plain"), (2, "zero0")),
)


def prove_engines(runs: TrainingRuns, engines: Sequence[str], sizes: Sequence[int]) -> int:
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
            far = loss_distance(runs.whole(name, size, engine), alone) if name != "plain-1" else 0.0
            worst = max(worst, far)
            print(f"{far:>10.1e}", end="", flush=True)
        print()
    print(f"{'agree' if worst <= TOLERANCE else 'DIFFER'}: at most {worst:.1e}, allowed {TOLERANCE:.0e}")
    return int(worst > TOLERANCE)


def prove_stops(runs: TrainingRuns) -> int:
    """TrainingRuns that are stopped half-way and go on elsewhere, against one process left alone; then a full disk."""
    alone = runs.whole("plain-1", 1)
    faults: list[str] = []
    moves = MOVES if find_spec("deepspeed") else [((2, "plain"), (1, "plain")), ((1, "plain"), (2, "plain"))]
    for number, (old, new) in enumerate(moves):
        name = f"move{number + 1}"
        codes = stop_run(runs, name, old, runs.steps // 2)
        saved = newest_step(runs.folder(name))
        truncate = number % 2 == 0
        if truncate:
            os.truncate(runs.folder(name) / "last" / "model.safetensors", 5000)
        far = loss_distance(runs.whole(name, *new), alone)
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


def stop_run(runs: TrainingRuns, name: str, old: tuple[int, str], step: int) -> list[int | None]:
    """Start a run, send SIGTERM to all its processes at a step; their exit codes."""
    if newest_step(runs.folder(name)):
        return [143]  # of an earlier start of this script
    processes = runs.start(name, *old)
    wait_for_step(runs.folder(name), processes, step)
    for process in processes:
        if process.pid is not None and process.exitcode is None:
            os.kill(process.pid, signal.SIGTERM)
    return exit_codes(processes, PARTING)


def full_disk(runs: TrainingRuns, alone: dict[int, list[float]]) -> list[str]:
    """A run of two processes whose files may not grow beyond a checkpoint's, after one checkpoint; what is wrong."""
    name, begun = "full", runs.folder("full")
    if not newest_step(begun):
        stop_run(runs, name, (2, "plain"), SAVE_EVERY + 1)
    before = newest_step(begun)
    largest = (begun / "last" / "model.safetensors").stat().st_size // 2
    codes = exit_codes(runs.start(name, 2, "plain", largest), PATIENCE)
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
        far = loss_distance(runs.whole(name, 1), alone)
        print(f"  with room again it went on from step {before}: losses {far:.1e} from one process left alone")
        faults += ["a run differs after a full disk"] if far > TOLERANCE else []
    return faults
