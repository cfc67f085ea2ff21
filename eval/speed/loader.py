"""How fast clips come out of video files, against decoding whole files, on one thread."""

import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from captioner.video.frames import Scaler
from captioner.video.reading import read_clip
from captioner.video.source import one_thread
from captioner.video.transforms import resize_short
from eval.speed.films import SIDE, describe_film, repeat_film
from eval.speed.timing import BenchTable, in_own_process, median_spent, peak_mebibytes, time_in_turns

FRAMES = 32
LENGTHS = {"10 s": 1, "1 min": 6, "10 min": 60}  # as so many times the film of 10 s


def read_ours(path: Path) -> Tensor:
    """(T, 3, h, w) as a data loader reads it."""
    return resize_short(read_clip(path, FRAMES, short_side=SIDE).frames, SIDE).contiguous()


def read_whole_pyav(path: Path) -> Tensor:
    """The same pictures by way of all pictures in packed RGB, as PyAV's documentation reads a video."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    chosen = pictures[np.linspace(0, len(pictures) - 1, FRAMES).round().astype(int)]
    sized: Tensor = TF.resize(torch.from_numpy(chosen).permute(0, 3, 1, 2), [SIDE], antialias=True)
    return sized.contiguous()


def read_whole_scaled(path: Path) -> Tensor:
    """The same pictures by way of all pictures, each scaled as ours are."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        scaler = Scaler(stream)
        pictures = np.stack([scaler(frame, [SIDE])[SIDE] for frame in container.decode(video=0)])
    return resize_short(pictures[np.linspace(0, len(pictures) - 1, FRAMES).round().astype(int)], SIDE).contiguous()


WAYS: dict[str, Callable[[Path], Tensor]] = {
    "ours": read_ours,
    "whole, ours": read_whole_scaled,
    "whole, PyAV": read_whole_pyav,
}


def reading_table(films: list[Path], runs: int) -> BenchTable:
    """Clips a CPU second and a second of each way of reading, and ours relative to the others."""
    header = ["film", "pictures", *(f"{name}, /CPU s (/s)" for name in WAYS), "faster than"]
    table = BenchTable(f"{FRAMES} pictures of {SIDE} px, one thread, median of {runs} readings", header)
    for film in films:
        works = {name: (lambda read=read, film=film: read(film)) for name, read in WAYS.items()}
        spent = [median_spent(turns) for turns in time_in_turns(works, runs).values()]
        rates = [f"{1 / each.cpu:.1f} ({1 / each.clock:.1f})" for each in spent]
        gain = ", ".join(f"{other.cpu / spent[0].cpu:.2f}x" for other in spent[1:])
        table.rows.append([*describe_film(film), *rates, gain])
    return table


def memory_table(folder: Path, film: Path) -> BenchTable:
    """Peak memory of a process that reads a few pictures of a long film."""
    table = BenchTable("A process that reads one film", ["length", "peak memory, MiB", "CPU s a clip"])
    for name, times in LENGTHS.items():
        path = repeat_film(film, folder / f"{film.stem}-times-{times}.mp4", times)
        memory, seconds = in_own_process(memory_of_reading, path)
        table.rows.append([name, f"{memory:.0f}", f"{seconds:.3f}"])
    return table


def memory_of_reading(path: Path) -> tuple[float, float]:
    """Peak MiB of this process after a few readings, and CPU seconds of the last."""
    torch.set_num_threads(1)
    one_thread()
    began = 0.0
    for _ in range(3):
        began = time.process_time()
        read_ours(path)
    return peak_mebibytes(), time.process_time() - began
