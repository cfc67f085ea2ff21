"""The one timer and the one table of all benchmarks: clock and CPU seconds, works that take turns, peak memory."""

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from eval.tables import render_table

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of this process's CPU, which a busy machine changes least."""

    clock: float
    cpu: float


@dataclass
class BenchTable:
    """What was measured, as Markdown."""

    title: str
    header: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.title}\n\n{render_table(self.header, self.rows)}\n"


def time_call(work: Callable[[], T]) -> tuple[Spent, T]:
    """Seconds and result of a call."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    return Spent(time.perf_counter() - clock, time.process_time() - cpu), result


def time_in_turns(works: Mapping[str, Callable[[], Any]], turns: int, warm: int = 1) -> dict[str, list[Spent]]:
    """Seconds of every turn of each work; they take turns, so all meet the same machine; the first ones only warm."""
    spent: dict[str, list[Spent]] = {name: [] for name in works}
    for turn in range(warm + turns):
        for name, work in works.items():
            seconds, _ = time_call(work)
            if turn >= warm:
                spent[name].append(seconds)
    return spent


def median_spent(spent: Sequence[Spent]) -> Spent:
    """The median of clock and CPU, each by itself."""
    return Spent(statistics.median(s.clock for s in spent), statistics.median(s.cpu for s in spent))


def peak_mebibytes() -> float:
    """MiB that this process took at most; Linux's other count, ru_maxrss, starts from the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def peak_of_children() -> float:
    """MiB of the largest process that this one has waited for, at least what this one took when it started it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return used / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def in_own_process(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The call's result from a fresh process, so that memory and imports are only its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, args, kwargs)


def machine_state() -> str:
    """Cores and load, which every number of seconds needs beside it."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
