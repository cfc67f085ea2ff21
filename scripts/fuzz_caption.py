"""Damage small videos at random and caption each: no traceback, no hang, no crash, bounded memory.

    python scripts/fuzz_caption.py --files 300 [--seed 0] [--keep DIR] [--model NAME|PATH]

Prints what became of the files; the exit code is 1 where a file broke a promise, and such files are kept in DIR.
"""

import argparse
import contextlib
import io
import json
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

LONGEST = 30.0  # seconds a file may take
START = 180.0  # seconds the program may take to load, on a busy machine
MOST = 2 << 20  # KiB of memory
KINDS: dict[str, tuple[str, str, str]] = {  # file name: container, codec, pixels
    "a.mp4": ("mp4", "libx264", "yuv420p"),
    "b.mp4": ("mp4", "mpeg4", "yuv420p"),
    "c.webm": ("webm", "libvpx-vp9", "yuv420p"),
    "d.gif": ("gif", "gif", "rgb8"),
    "e.mkv": ("matroska", "libx264", "yuv420p10le"),
    "f.avi": ("avi", "mjpeg", "yuvj420p"),
    "g.ts": ("mpegts", "mpeg2video", "yuv420p"),
    "h.mov": ("mov", "libx264", "yuv420p"),
}


@dataclass
class Outcome:
    """What became of one file."""

    name: str
    fault: str  # "" where all promises were kept
    code: int | None
    seconds: float
    memory: int  # KiB, the most so far


def make_seed(path: Path, container: str, codec: str, pixels: str) -> bool:
    """A small sound video; False where this FFmpeg has no such encoder."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)
    try:
        with av.open(str(path), "w", format=container) as out:
            stream: Any = out.add_stream(codec, rate=12)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
            for shift in range(12):
                picture = av.VideoFrame.from_ndarray(np.roll(scene, shift, 1)[:48, :64].copy(), format="rgb24")
                out.mux(stream.encode(picture.reformat(format=pixels)))
            out.mux(stream.encode(None))
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with one to four faults: changed, cut off, left out, doubled, blanked."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if len(changed) < 16:
            break
        # indices and headers lie at both ends; faults there are the interesting ones
        where = rng.choice(["any", "head", "tail"], p=[0.4, 0.4, 0.2])
        low, high = {"any": (0, len(changed)), "head": (0, 200), "tail": (len(changed) - 900, len(changed))}[str(where)]
        low, high = max(low, 0), min(high, len(changed))
        at = int(rng.integers(low, high))
        length = int(rng.integers(1, 1 + min(200, len(changed) - at)))
        kind = int(rng.integers(6))
        if kind < 2:
            for place in rng.integers(low, high, size=int(rng.integers(1, 20))):
                changed[place] = int(rng.integers(256))
        elif kind == 2:
            del changed[max(at, 1) :]
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length]
        else:
            changed[at : at + length] = bytes([int(rng.choice([0, 255]))]) * length
    return bytes(changed)


class Worker:
    """A process that captions the files it is told, one after the other."""

    def __init__(self, model: str | None) -> None:
        command = [sys.executable, __file__, "--worker", *(["--model", model] if model else [])]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, text=True, bufsize=1, **pipes)
        self.limit = START

    def caption(self, path: Path) -> Outcome:
        """What becomes of a file; a worker that hangs or dies is of no further use."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        began = time.monotonic()
        self.process.stdin.write(f"{path}\n")
        ready, _, _ = select.select([self.process.stdout], [], [], self.limit)
        took = time.monotonic() - began
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.stop()
            fault = "hangs" if not ready else f"ends the program ({self.process.returncode})"
            return Outcome(path.name, fault, None, took, 0)
        self.limit = LONGEST
        told = json.loads(line)
        return Outcome(path.name, faults(told), told["code"], told["seconds"], told["memory"])

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def faults(told: dict[str, Any]) -> str:
    """Which promises a file broke."""
    found = []
    if told["code"] not in (0, 1):
        found.append(f"exit code {told['code']}")
    if "Traceback" in told["err"]:
        found.append("a traceback")
    # FFmpeg's words reach the user as one line of ours; Python's names of errors are a fault of the program
    if told["code"] == 1 and "Error: " in told["err"]:
        found.append(f"an unexplained error: {told['err'].strip()}")
    if told["code"] == 0 and not told["out"].strip():
        found.append("an empty caption")
    if told["memory"] > MOST:
        found.append(f"{told['memory'] >> 10} MiB")
    return "; ".join(found)


def work(model: str | None) -> int:
    """The worker: a path a line in, what became of it out."""
    import torch

    import captioner
    from captioner.cli import main as caption

    torch.set_num_threads(1)
    loaded = captioner.load(model, device="cpu")
    captioner.load = lambda *_, **__: loaded
    for line in sys.stdin:
        out, err, began = io.StringIO(), io.StringIO(), time.monotonic()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: int | None = caption([line.rstrip("\n"), "-q"])
            except BaseException as error:
                code = None
                err.write(f"Traceback: {error!r}")
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
        told = {"code": code, "out": out.getvalue(), "err": err.getvalue(), "memory": used}
        print(json.dumps(told | {"seconds": time.monotonic() - began}), flush=True)
    return 0


def fuzz(folder: Path, files: int, seed: int, model: str | None) -> list[Outcome]:
    """Outcomes of `files` damaged videos in `folder`; those that broke no promise are deleted."""
    sound = {name: folder / f"sound-{name}" for name in KINDS}
    sound = {name: path for name, path in sound.items() if make_seed(path, *KINDS[name])}
    outcomes: list[Outcome] = []
    worker = Worker(model)
    try:
        for number in range(files):
            rng = np.random.default_rng([seed, number])
            name = list(sound)[number % len(sound)]
            path = folder / f"{number:04d}-{name}"
            path.write_bytes(damage(sound[name].read_bytes(), rng))
            outcome = worker.caption(path)
            outcomes.append(outcome)
            if outcome.fault:
                print(f"{path}: {outcome.fault}", file=sys.stderr)
            else:
                path.unlink()
            if outcome.code is None and worker.process.returncode is not None:
                worker = Worker(model)
    finally:
        worker.stop()
    for path in sound.values():
        path.unlink()
    return outcomes


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 when all promises were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model")
    parser.add_argument("--keep", type=Path, help="where files that broke a promise stay")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        return work(options.model)
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = fuzz(folder, options.files, options.seed, options.model)
    codes = Counter(str(each.code) for each in outcomes)
    bad = [each for each in outcomes if each.fault]
    later = [each.seconds for each in outcomes[1:]] or [0.0]
    print(
        f"{len(outcomes)} files: {codes['0']} captioned, {codes['1']} refused with a cause, {len(bad)} faults; "
        f"at most {max(later):.1f} s a file and {max(each.memory for each in outcomes) >> 10} MiB"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
