"""How clips are made many at a time: shares of a split, a folder of one recipe, several processes."""

import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from typing import Any, TypeVar

from captioner.errors import CaptionerError, ConfigError
from captioner.files import write_text

Task = TypeVar("Task")
Done = TypeVar("Done")

SETTINGS_FILE = "settings.json"
_stop: Event | None = None  # in a worker process: set when nobody waits for its work any more


def split_counts(clips: int, val: float, test: float) -> dict[str, int]:
    """How many of `clips` go to each split, given the shares of val and test."""
    if clips < 1:
        raise ConfigError(f"clips is {clips}; it must be at least 1")
    if not (0 <= val < 1 and 0 <= test < 1 and val + test <= 1):
        raise ConfigError(f"val {val} and test {test} are shares of the clips: each 0 <= share < 1, together at most 1")
    held = {"val": round(clips * val), "test": round(clips * test)}
    if sum(held.values()) > clips:
        raise ConfigError(f"val {val} and test {test} ask for more than the {clips} clips there are; lower one of them")
    return {"train": clips - sum(held.values()), **held}


def claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder whose clips were made otherwise: half old, half new would be neither."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; --out names a folder")
    path = out / SETTINGS_FILE
    if path.exists():
        there = _read(path)
        if there != settings:
            raise ConfigError(f"{out} holds clips made with {_differences(there, settings)}; choose another folder")
    write_text(path, json.dumps(settings) + "\n")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return "something unreadable"


def _differences(there: Any, asked: Mapping[str, Any]) -> str:
    if not isinstance(there, dict):
        return f"{there}, asked for {dict(asked)}"
    names = [name for name in {**there, **asked} if there.get(name) != asked.get(name)]
    return f"{ {name: there.get(name) for name in names} }, asked for { {name: asked.get(name) for name in names} }"


def run_jobs(
    make: Callable[[Task], Done],
    jobs: Sequence[Task],
    workers: int,
    chunk: int = 1,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Done]:
    """make(job) for each job, in their order, by `workers` processes that take `chunk` jobs at a time.

    `prepare` runs once in each process. Abandoning the iterator (an error, Ctrl-C) ends the processes
    after the job that each has in hand.
    """
    if workers == 1 or len(jobs) <= 1:
        if prepare:
            prepare()
        yield from map(make, jobs)
        return
    # "spawn" because the caller may hold threads (torch), which a forked child cannot.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    chunks = [jobs[start : start + chunk] for start in range(0, len(jobs), chunk)]
    workers = min(workers, len(chunks))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(stop, prepare)) as pool:
        try:
            for made in pool.map(partial(_make_all, make), chunks):
                yield from made
        except BrokenProcessPool:
            raise CaptionerError(
                "a worker process was killed (out of memory?); run the same command again to go on, with fewer workers"
            ) from None
        finally:
            stop.set()


def _start(stop: Event, prepare: Callable[[], None] | None) -> None:
    """A worker's beginning. Ctrl-C reaches all processes; only the parent answers it."""
    torch = sys.modules.get("torch")
    if torch is not None:  # many processes of many threads each only hinder each other
        torch.set_num_threads(1)
    global _stop
    _stop = stop
    signal(SIGINT, SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare:
        prepare()


def _end_with_parent() -> None:
    # a worker whose parent was killed would wait for its next job for ever
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_all(make: Callable[[Task], Done], jobs: Sequence[Task]) -> list[Done]:
    return [make(job) for job in jobs if not (_stop and _stop.is_set())]
