"""The `caption` command as people meet it: from a cold start, warm, on a long film, on many clips."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle, islice
from pathlib import Path

from captioner.video.reading import write_video
from eval.repository import ROOT
from eval.speed.films import WIDE_FPS, repeat_film, wide_scenes
from eval.speed.timing import BenchTable, Spent, peak_of_children, time_call

EXAMPLES = ROOT / "examples"
HEADER = ["what", "s", "CPU s", "memory"]


@dataclass
class Watched:
    """What a command took."""

    spent: Spent
    lines: int = 0
    memory: dict[int, int] = field(default_factory=dict)
    """MiB in use after so many lines."""


def command_table(what: str, model: str | None, clips: Path | None, count: int) -> BenchTable:
    """One of cold, warm, film, many; `clips` and `count` are for many."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if what == "many":
            row = many_row(short_clips(clips, count, scratch), model)
        else:
            clip = scratch / "part.mp4"
            write_video(clip, wide_scenes(EXAMPLES, 30 if what == "film" else 5), WIDE_FPS, crf=23)
            if what == "film":
                clip = repeat_film(clip, scratch / "film.mp4", 20)
            row = {"cold": cold_row, "warm": warm_row, "film": film_row}[what](clip, model)
    return BenchTable("The command `caption` on a CPU", HEADER, [row])


def cold_row(clip: Path, model: str | None) -> list[str]:
    """The command on one clip, everything included."""
    watched = watch_command(caption_command([str(clip)], model))
    return _row("cold start, 5 s of 720p", watched.spent, f"at most {peak_of_children():.0f} MiB")


def warm_row(clip: Path, model: str | None) -> list[str]:
    """The third caption of a loaded captioner."""
    import captioner

    loaded = captioner.load(model, device="cpu")
    spent = [time_call(lambda: loaded.caption(clip))[0] for _ in range(3)][-1]
    return _row("warm, 5 s of 720p", spent, "")


def film_row(clip: Path, model: str | None) -> list[str]:
    """Ten minutes in windows."""
    watched = watch_command(caption_command([str(clip), "--window", "5"], model), marks=(20, 60, 100))
    memory = f"{_marks(watched)}, at most {peak_of_children():.0f} MiB"
    return _row(f"10 minutes of 720p, {watched.lines} windows", watched.spent, memory)


def many_row(clips: list[Path], model: str | None) -> list[str]:
    """Clips in one call."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "clips.txt"
        names.write_text("\n".join(map(str, clips)), encoding="utf-8")
        watched = watch_command(caption_command([f"@{names}"], model), marks=(100, 500, len(clips)))
    rate = watched.lines / watched.spent.clock
    return _row(f"{watched.lines} clips, {rate:.2f} a second", watched.spent, _marks(watched))


def _row(what: str, spent: Spent, memory: str) -> list[str]:
    return [what, f"{spent.clock:.2f}", f"{spent.cpu:.2f}", memory]


def _marks(watched: Watched) -> str:
    return ", ".join(f"{value} MiB after {lines}" for lines, value in watched.memory.items())


def caption_command(arguments: Sequence[str], model: str | None) -> list[str]:
    """The words that run `caption`."""
    return [sys.executable, "-m", "captioner", *arguments, "-q", "-d", "cpu", *(["-m", model] if model else [])]


def watch_command(words: list[str], marks: tuple[int, ...] = ()) -> Watched:
    """Run a command and count its lines; its CPU seconds are those of the processes waited for."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    lines, memory = 0, {}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in process.stdout:
            lines += 1
            if lines in marks:
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                memory[lines] = pages * os.sysconf("SC_PAGE_SIZE") >> 20
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Watched(Spent(time.monotonic() - began, cpu), lines, memory)


def short_clips(folder: Path | None, count: int, scratch: Path) -> list[Path]:
    """`count` clips; of fewer files some are copied several times, a link would count as the same clip."""
    folder = folder or EXAMPLES
    found = sorted(chain(folder.rglob("*.mp4"), folder.rglob("*.webm")))
    names = [scratch / f"{number:05d}{path.suffix}" for number, path in zip(range(count), cycle(found), strict=False)]
    for name, path in zip(names, islice(cycle(found), count), strict=True):
        shutil.copyfile(path, name)
    return names
