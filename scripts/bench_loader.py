"""How fast clips come out of video files: python scripts/bench_loader.py [--videos FILE ...] [--out DIR]

Against decoding whole files, on one thread: clips a second for 32 pictures of 224 px, from made (synthetic) films of 5
and 10 s, x264 with its own defaults, or from the files given. "whole, PyAV" decodes every picture to packed RGB, stacks
them, picks and resizes; "whole, ours" turns every picture into its final size with our own scaling, and picks. Then the
peak memory of a process that reads 10 s, 1 min and 10 min. CPU seconds are what a busy machine does not change.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from captioner.errors import CaptionerError
from captioner.video.frames import Scaler
from captioner.video.reading import read_clip
from captioner.video.source import one_thread
from captioner.video.transforms import resize_short

FRAMES, SIDE, FPS = 32, 224, 30
NOISE = 0.7  # of a sensor, in grey levels: the films take 165 kbit/s, films of people at this size took 100 to 125


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="+", default=[], help="files to read (default: made films)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-loader"), help="folder of the made films")
    parser.add_argument("--runs", type=int, default=7, help="readings of each file; the median counts (default: 7)")
    parser.add_argument("--height", type=int, default=SIDE, help="of the made films, in pixels (default: 224)")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    one_thread()
    try:
        if options.memory_of:
            print(memory_of(options.memory_of))
            return 0
        films = options.videos or [make_film(options.out, seconds, options.height) for seconds in (5, 10)]
        print(speed_table(films, options.runs))
        if not options.videos:
            print(memory_table(options.out, films[-1]))
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


# -- speed ------------------------------------------------------------------------------------------------------


def ours(path: Path) -> Tensor:
    """(T, 3, h, w) as a data loader reads it."""
    return resize_short(read_clip(path, FRAMES, short_side=SIDE).frames, SIDE).contiguous()


def whole_plain(path: Path) -> Tensor:
    """The same pictures by way of all pictures, as PyAV's documentation reads a video."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    chosen = pictures[np.linspace(0, len(pictures) - 1, FRAMES).round().astype(int)]
    return TF.resize(torch.from_numpy(chosen).permute(0, 3, 1, 2), [SIDE], antialias=True).contiguous()


def whole_scaled(path: Path) -> Tensor:
    """The same pictures by way of all pictures, each scaled as ours are."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        scaler = Scaler(stream, [SIDE])
        pictures = np.stack([scaler(frame)[0] for frame in container.decode(video=0)])
    return resize_short(pictures[np.linspace(0, len(pictures) - 1, FRAMES).round().astype(int)], SIDE).contiguous()


WAYS: dict[str, Callable[[Path], Tensor]] = {
    "ours": ours, "whole, ours": whole_scaled, "whole, PyAV": whole_plain,
}  # fmt: skip


def speed_table(films: list[Path], runs: int) -> str:
    """Markdown: clips a CPU second and a second of each way of reading, and ours relative to the others."""
    lines = ["| film | pictures | " + " | ".join(f"{name}, /CPU s (/s)" for name in WAYS) + " | faster than |",
             "|---" * (len(WAYS) + 3) + "|"]  # fmt: skip
    for film in films:
        seconds = timed(film, runs)
        rates = [f"{1 / cpu:.1f} ({1 / wall:.1f})" for cpu, wall in seconds.values()]
        own, *others = (cpu for cpu, _ in seconds.values())
        gain = ", ".join(f"{other / own:.2f}x" for other in others)
        lines.append(f"| {describe(film)} | " + " | ".join(rates) + f" | {gain} |")
    return "\n".join(lines)


def timed(film: Path, runs: int) -> dict[str, tuple[float, float]]:
    """Median CPU and wall seconds of each way; they take turns, so all meet the same machine."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for turn in range(runs + 1):
        for name, read in WAYS.items():
            cpu, wall = time.process_time(), time.perf_counter()
            read(film)
            if turn:  # the first reading fills the file cache
                spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {name: (statistics.median(c for c, _ in rows), statistics.median(w for _, w in rows))
            for name, rows in spent.items()}  # fmt: skip


def describe(film: Path) -> str:
    """Name and number of pictures."""
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        packets = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
        size = f"{stream.codec_context.width}x{stream.codec_context.height}"
    return f"{film.name}, {size} | {len(packets)}, {sum(packets)} key frames"


# -- memory -----------------------------------------------------------------------------------------------------


def memory_table(folder: Path, film: Path) -> str:
    """Markdown: peak memory of a process that reads 32 pictures of a long film."""
    rows = []
    for name, times in (("10 s", 1), ("1 min", 6), ("10 min", 60)):
        path = repeated(film, folder / f"{film.stem}-times-{times}.mp4", times)
        command = [sys.executable, __file__, "--memory-of", str(path)]
        megabytes, seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        rows.append(f"| {name} | {megabytes} | {seconds} |")
    return "\n".join(["", "| length | peak memory, MB | CPU s a clip |", "|---|---|---|", *rows])


def memory_of(path: Path) -> str:
    """Peak memory of this process after a few readings, and CPU seconds of the last."""
    for _ in range(3):
        began = time.process_time()
        ours(path)
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} {time.process_time() - began:.3f}"


# -- films ------------------------------------------------------------------------------------------------------


def make_film(folder: Path, seconds: int, height: int) -> Path:
    """A film of a smooth picture that drifts under a sensor's noise; kept for the next run."""
    path = folder / f"film-{height}-{seconds}s.mp4"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    width = height if height == SIDE else round(height * 16 / 18) * 2
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in drifting(seconds * FPS, height, width):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def drifting(count: int, height: int, width: int) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3): a disc moves before a background that pans."""
    draw, place = np.random.default_rng(0), torch.Generator().manual_seed(0)
    near, far = (texture(2 * height, 2 * width, place) for _ in range(2))
    rows, columns = np.mgrid[:height, :width]
    for number in range(count):
        far_at, near_at = (round((1 + np.sin(number * speed)) / 2 * height * 0.9) for speed in (0.011, 0.023))
        middle = (height / 2 + height / 8 * np.sin(number * 0.03), width / 2 + near_at / 8)
        disc = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < (height / 3) ** 2
        back, front = (layer[at : at + height, at : at + width] for layer, at in ((far, far_at), (near, near_at)))
        clean = np.where(disc[..., None], front, back)
        yield np.clip(clean + draw.normal(0, NOISE, clean.shape), 0, 255).astype(np.uint8)


def texture(height: int, width: int, generator: torch.Generator) -> np.ndarray:
    """A picture (H, W, 3) of patches of several sizes, 0 to 255."""
    layers = [torch.rand(1, 3, cells, cells, generator=generator) for cells in (6, 24, 96)]
    sized = [torch.nn.functional.interpolate(layer, (height, width), mode="bicubic")[0] for layer in layers]
    return (0.5 * sized[0] + 0.3 * sized[1] + 0.2 * sized[2]).permute(1, 2, 0).numpy() * 255


def repeated(film: Path, path: Path, times: int) -> Path:
    """The film several times in a row, its packets copied."""
    if path.exists():
        return path
    with av.open(str(path), "w") as target:
        stream: Any = None
        for turn in range(times):
            with av.open(str(film)) as source:
                given = source.streams.video[0]
                if stream is None:
                    stream = target.add_stream_from_template(given)
                length = int(given.duration or 0)
                for packet in source.demux(given):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                    packet.stream = stream
                    target.mux(packet)
    return path


if __name__ == "__main__":
    sys.exit(main())
