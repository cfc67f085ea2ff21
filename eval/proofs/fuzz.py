"""Hostile input is captioned, scored or refused in a line: no traceback, no hang, bounded memory, right exit codes."""

import contextlib
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from captioner.video.input_limits import KEY
from eval.proofs.addresses import LIMITS, addresses
from eval.proofs.broken_models import broken_models
from eval.proofs.cases import Case
from eval.proofs.score_files import score_files
from eval.proofs.special_files import special_files
from eval.speed.timing import peak_mebibytes

LONGEST = 30.0  # seconds a file may take
START = 180.0  # seconds the program may take to load, on a busy machine
MOST = 1536 << 10  # KiB of memory
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
    memory: int  # KiB at most


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


class FuzzWorker:
    """A process that runs the commands it is told, one after the other."""

    def __init__(self, model: str | None) -> None:
        command = [sys.executable, "-m", "eval.proofs.fuzz", *([model] if model else [])]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        surroundings = {**os.environ, KEY: LIMITS}
        self.process = subprocess.Popen(command, text=True, bufsize=1, env=surroundings, **pipes)
        self.limit = START

    def run(self, case: Case) -> FuzzOutcome:
        """What becomes of a case; a worker that hangs or dies is of no further use."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        began = time.monotonic()
        asked = {"command": case.command, "stdin": str(case.stdin) if case.stdin else None}
        self.process.stdin.write(json.dumps(asked) + "\n")
        ready, _, _ = select.select([self.process.stdout], [], [], self.limit)
        took = time.monotonic() - began
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.stop()
            fault = "hangs" if not ready else f"ends the program ({self.process.returncode})"
            return FuzzOutcome(case.name, fault, None, took, 0)
        self.limit = LONGEST
        told = json.loads(line)
        fault = broken_promises(told, case.codes, case.lines)
        return FuzzOutcome(case.name, fault, told["code"], told["seconds"], told["memory"])

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def broken_promises(told: dict[str, Any], codes: tuple[int, ...] = (0, 1), most: int = 2) -> str:
    """Which promises a case broke."""
    lines = told["err"].splitlines(keepends=True)
    found, said = [], "".join(line for line in lines if not line.startswith("[transformers]")).strip()
    if told["code"] not in codes:
        found.append(f"exit code {told['code']}, not {' or '.join(map(str, codes))}: {said}")
    if "Traceback" in said:
        found.append("a traceback")
    # FFmpeg's words reach the user as one line of ours; Python's names of errors are a fault of the program
    if told["code"] and ("Error: " in said or "fault of this program" in said):
        found.append(f"an unexplained error: {said}")
    if told["code"] and said.count("\n") >= most:
        found.append(f"more than a line: {said}")
    if told["code"] == 0 and not told["out"].strip():
        found.append("nothing said")
    if "S3CRET" in said + told["out"]:
        found.append("a secret told")
    if told["memory"] > MOST:
        found.append(f"{told['memory'] >> 10} MiB")
    return "; ".join(found)


def run_commands(model: str | None) -> int:
    """The worker: a command a line in, what became of it out."""
    import torch

    import captioner
    from captioner.cli import main as caption
    from eval.__main__ import main as score

    torch.set_num_threads(1)
    load = captioner.load
    loaded = load(model, device="cpu")
    captioner.load = lambda name=None, **options: loaded if name is None else load(name, **options)
    for line in sys.stdin:
        asked = json.loads(line)
        program, *arguments = asked["command"]
        out, err, began = io.StringIO(), io.StringIO(), time.monotonic()
        forget_peak()
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            kept = sys.stdin
            if asked["stdin"]:
                sys.stdin = io.TextIOWrapper(stack.enter_context(open(asked["stdin"], "rb")))
            try:
                code: int | None = (caption if program == "caption" else score)(arguments)
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else None
            except BaseException as error:
                code = None
                err.write(f"Traceback: {error!r}")
            sys.stdin = kept
        told = {"code": code, "out": out.getvalue(), "err": err.getvalue(), "memory": peak_now()}
        sys.__stdout__.write(json.dumps(told | {"seconds": time.monotonic() - began}) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
    return 0


def forget_peak() -> None:
    """Have the highest use of memory count from now on, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_now() -> int:
    """KiB at most since then."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    return int(peak_mebibytes() * 1024)


def broken_clips(folder: Path, seed: int, count: int) -> Iterator[Case]:
    """Cases of `count` damaged videos."""
    sound = {name: folder / f"sound-{name}" for name in KINDS}
    sound = {name: path for name, path in sound.items() if make_sound_video(path, *KINDS[name])}
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        name = list(sound)[number % len(sound)]
        path = folder / f"{number:04d}-{name}"
        path.write_bytes(damage_bytes(sound[name].read_bytes(), rng))
        yield Case(path.name, ["caption", str(path), "-q"], (0, 1), path)


def _clip(folder: Path) -> Path:
    make_sound_video(folder / "clip.mp4", *KINDS["b.mp4"])
    return folder / "clip.mp4"


# What is tried, how much of it in a whole run, and how its cases are made.
CORPORA: dict[str, tuple[int, Callable[[Path, int, int], Iterator[Case]]]] = {
    "clips": (500, broken_clips),
    "files": (150, special_files),
    "models": (60, lambda folder, seed, count: broken_models(folder, _clip(folder), seed, count)),
    "scores": (300, score_files),
    "addresses": (60, lambda folder, seed, count: addresses(folder, _clip(folder), seed, count)),
}


def fuzz_corpus(name: str, folder: Path, count: int, seed: int, model: str | None) -> list[FuzzOutcome]:
    """Outcomes of a corpus' cases, made in `folder`; what broke no promise is deleted."""
    outcomes: list[FuzzOutcome] = []
    worker = FuzzWorker(model)
    place = folder / name
    place.mkdir()
    try:
        for case in CORPORA[name][1](place, seed, count):
            outcome = worker.run(case)
            outcomes.append(outcome)
            if outcome.fault:
                print(f"{name} {case.name}: {outcome.fault} ({' '.join(case.command)})", file=sys.stderr)
            elif case.made is not None and case.made.is_relative_to(place):
                shutil.rmtree(case.made) if case.made.is_dir() else case.made.unlink()
            if outcome.code is None and worker.process.returncode is not None:
                worker = FuzzWorker(model)
    finally:
        worker.stop()
    return outcomes


if __name__ == "__main__":
    sys.exit(run_commands(sys.argv[1] if len(sys.argv) > 1 else None))
