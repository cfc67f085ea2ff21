"""Damaged videos are captioned or refused: no traceback, no hang, no crash, bounded memory."""

import contextlib
import io
import json
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from eval.speed.timing import peak_mebibytes

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
class FuzzOutcome:
    """What became of one file."""

    name: str
    fault: str  # "" where all promises were kept
    code: int | None
    seconds: float
    memory: int  # KiB, the most so far


def make_sound_video(path: Path, container: str, codec: str, pixels: str) -> bool:
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


def damage_bytes(data: bytes, rng: np.random.Generator) -> bytes:
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


class CaptionWorker:
    """A process that captions the files it is told, one after the other."""

    def __init__(self, model: str | None) -> None:
        command = [sys.executable, "-m", "eval.proofs.fuzz", *([model] if model else [])]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, text=True, bufsize=1, **pipes)
        self.limit = START

    def caption(self, path: Path) -> FuzzOutcome:
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
            return FuzzOutcome(path.name, fault, None, took, 0)
        self.limit = LONGEST
        told = json.loads(line)
        return FuzzOutcome(path.name, broken_promises(told), told["code"], told["seconds"], told["memory"])

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def broken_promises(told: dict[str, Any]) -> str:
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


def caption_lines(model: str | None) -> int:
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
        used = int(peak_mebibytes() * 1024)
        told = {"code": code, "out": out.getvalue(), "err": err.getvalue(), "memory": used}
        print(json.dumps(told | {"seconds": time.monotonic() - began}), flush=True)
    return 0


def fuzz_videos(folder: Path, files: int, seed: int, model: str | None) -> list[FuzzOutcome]:
    """Outcomes of `files` damaged videos in `folder`; those that broke no promise are deleted."""
    sound = {name: folder / f"sound-{name}" for name in KINDS}
    sound = {name: path for name, path in sound.items() if make_sound_video(path, *KINDS[name])}
    outcomes: list[FuzzOutcome] = []
    worker = CaptionWorker(model)
    try:
        for number in range(files):
            rng = np.random.default_rng([seed, number])
            name = list(sound)[number % len(sound)]
            path = folder / f"{number:04d}-{name}"
            path.write_bytes(damage_bytes(sound[name].read_bytes(), rng))
            outcome = worker.caption(path)
            outcomes.append(outcome)
            if outcome.fault:
                print(f"{path}: {outcome.fault}", file=sys.stderr)
            else:
                path.unlink()
            if outcome.code is None and worker.process.returncode is not None:
                worker = CaptionWorker(model)
    finally:
        worker.stop()
    for path in sound.values():
        path.unlink()
    return outcomes


if __name__ == "__main__":
    sys.exit(caption_lines(sys.argv[1] if len(sys.argv) > 1 else None))
