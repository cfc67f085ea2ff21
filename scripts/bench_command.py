"""Time the `caption` command as people meet it: from a cold start, warm, on a long film, on many clips.

    python scripts/bench_command.py cold|warm|film|many [--model NAME|PATH] [--clips FOLDER] [--count 1000]

cold and warm: a clip of 5 s, 720p; film: 10 minutes of 720p with --window 5; many: --count clips of a folder in one
call, with the memory after 100 and after all. The pictures are those of examples/. Seconds of CPU stand beside those
of the clock, for busy machines.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

SIZE, FPS = (1280, 720), 25
EXAMPLES = Path(__file__).parents[1] / "examples"


def scenes(seconds: int) -> Iterator[np.ndarray]:
    """The example videos one after the other, at 720p."""
    from captioner.video.reading import probe, read_clip

    pictures = chain.from_iterable(
        read_clip(path, round(probe(path).duration * FPS)).frames for path in cycle(sorted(EXAMPLES.glob("*.mp4")))
    )
    for picture in islice(pictures, seconds * FPS):
        wide = Image.new("RGB", SIZE, (90, 80, 70))
        small = Image.fromarray(picture)
        small = small.resize((round(small.width * SIZE[1] / small.height), SIZE[1]))
        wide.paste(small, ((SIZE[0] - small.width) // 2, 0))
        yield np.asarray(wide)


def repeat(source: Path, times: int, target: Path) -> None:
    """The same pictures again and again, without encoding them anew."""
    with av.open(str(target), "w") as out:
        stream: Any = None
        for turn in range(times):
            with av.open(str(source)) as part:
                video = part.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                assert video.duration is not None
                for packet in part.demux(video):
                    if packet.size and packet.pts is not None and packet.dts is not None:
                        packet.pts += turn * video.duration
                        packet.dts += turn * video.duration
                        packet.stream = stream
                        out.mux(packet)


def command(arguments: list[str], model: str | None) -> list[str]:
    """The words that run `caption`."""
    return [sys.executable, "-m", "captioner", *arguments, "-q", "-d", "cpu", *(["-m", model] if model else [])]


def watch(words: list[str], marks: tuple[int, ...] = ()) -> tuple[float, float, int, dict[int, int]]:
    """Seconds by the clock and of CPU, lines said, MiB of memory in use after so many lines."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    memory: dict[int, int] = {}
    lines = 0
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in process.stdout:
            lines += 1
            if lines in marks:
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                memory[lines] = pages * os.sysconf("SC_PAGE_SIZE") >> 20
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu, lines, memory


def peak() -> int:
    """MiB of the largest process so far that this one has waited for."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10


def cold(clip: Path, model: str | None) -> str:
    """The command on one clip, everything included."""
    took, cpu, _, _ = watch(command([str(clip)], model))
    return f"cold start, 5 s of 720p: {took:.1f} s ({cpu:.1f} s of CPU), {peak()} MiB"


def warm(clip: Path, model: str | None) -> str:
    """The third caption of a loaded captioner."""
    import captioner

    loaded = captioner.load(model, device="cpu")
    for _ in range(3):
        began, worked = time.monotonic(), time.process_time()
        loaded.caption(clip)
        took, cpu = time.monotonic() - began, time.process_time() - worked
    return f"warm, 5 s of 720p: {took:.2f} s ({cpu:.2f} s of CPU)"


def film(clip: Path, model: str | None) -> str:
    """Ten minutes in windows."""
    took, cpu, lines, memory = watch(command([str(clip), "--window", "5"], model), marks=(20, 60, 100))
    used = ", ".join(f"{value} MiB after {window}" for window, value in memory.items())
    return f"10 minutes of 720p, {lines} windows: {took:.1f} s ({cpu:.1f} s of CPU), {used}, at most {peak()} MiB"


def many(clips: list[Path], model: str | None) -> str:
    """Clips in one call."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "clips.txt"
        names.write_text("\n".join(map(str, clips)))
        took, cpu, lines, memory = watch(command([f"@{names}"], model), marks=(100, 500, len(clips)))
    used = ", ".join(f"{value} MiB after {count}" for count, value in memory.items())
    return f"{lines} clips: {took:.0f} s ({cpu:.0f} s of CPU), {lines / took:.2f} clips a second, {used}"


def short_clips(folder: Path | None, count: int, scratch: Path) -> list[Path]:
    """`count` clips; of fewer files some are copied several times, a link would count as the same clip."""
    folder = folder or EXAMPLES
    found = sorted(chain(folder.rglob("*.mp4"), folder.rglob("*.webm")))
    names = [scratch / f"{number:05d}{path.suffix}" for number, path in zip(range(count), cycle(found), strict=False)]
    for name, path in zip(names, islice(cycle(found), count), strict=True):
        shutil.copyfile(path, name)
    return names


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cold", "warm", "film", "many"])
    parser.add_argument("--model")
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args(arguments)
    from captioner.video.reading import write_video

    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if options.what == "many":
            line = many(short_clips(options.clips, options.count, scratch), options.model)
        else:
            seconds = 30 if options.what == "film" else 5
            write_video(scratch / "part.mp4", scenes(seconds), FPS, crf=23)
            clip = scratch / "part.mp4"
            if options.what == "film":
                clip = scratch / "film.mp4"
                repeat(scratch / "part.mp4", 20, clip)
            line = {"cold": cold, "warm": warm, "film": film}[options.what](clip, options.model)
    print(f"{line}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
