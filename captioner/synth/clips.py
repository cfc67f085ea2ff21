"""Clips of the drawn face on disk: short mp4 files and the manifest that says what is true of them."""

import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captioner.errors import ConfigError
from captioner.synth.captions import STYLES, captions
from captioner.synth.identity import sample_face
from captioner.synth.paint import draw
from captioner.synth.scenario import FPS, Scene, sample_scene

log = logging.getLogger(__name__)

RECIPE = (
    1  # raise it when the same seed gives other pictures: finished clips of an older recipe are then refused
)
SPLITS: tuple[str, ...] = ("train", "val", "test")
CLIPS_A_FACE = 4
CAPTIONS_A_CLIP = 3
SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class _Job:
    """One clip: its number within its split, and what it is made with."""

    out: Path
    seed: int
    split: str
    index: int
    size: int
    style: str

    @property
    def name(self) -> str:
        return f"{self.split}_{self.index:06d}"

    @property
    def video(self) -> str:
        return f"videos/{self.name}.mp4"

    @property
    def group(self) -> str:
        return f"face_{self.split}_{self.index // CLIPS_A_FACE:05d}"

    def random(self, use: int, index: int) -> np.random.Generator:
        """A generator that depends on the seed and the clip only, never on who makes it."""
        return np.random.default_rng([self.seed, SPLITS.index(self.split), use, index])

    def scene(self) -> Scene:
        face = sample_face(self.random(0, self.index // CLIPS_A_FACE))
        return sample_scene(self.random(1, self.index), face)


def make_clips(
    out: Path,
    clips: int,
    seed: int = 0,
    size: int = 112,
    workers: int = 2,
    val: float = 0.1,
    test: float = 0.1,
    style: str = "mafw",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `clips` clips of drawn faces under `out`; returns the path of manifest.jsonl.

    The same seed gives the same clips whatever `workers`; no face is in two splits. An interrupted
    run continues where it stopped. `progress(done, all)` is called after each clip.
    """
    out = Path(out)
    counts = _counts(clips, val, test)
    _check(seed, size, workers, style)
    _claim(out, {"recipe": RECIPE, "seed": seed, "size": size})
    jobs = [_Job(out, seed, split, index, size, style) for split in SPLITS for index in range(counts[split])]
    kept = sum((out / job.video).exists() for job in jobs)
    if kept:
        log.info("keeping %d finished clips in %s", kept, out)
    records = []
    for record in _run(jobs, workers):
        records.append(record)
        if progress:
            progress(len(records), len(jobs))
    manifest = out / "manifest.jsonl"
    lines = "".join(json.dumps(record) + "\n" for record in records)
    _replace(manifest, lambda temporary: temporary.write_text(lines, encoding="utf-8"))
    return manifest


def contact_sheet(path: Path, clips: int, seed: int, size: int = 112, frames: int = 8) -> None:
    """A picture of the first training clips of a seed, one a row, frames uniformly sampled."""
    rows = []
    for index in range(clips):
        scene = _Job(Path(), seed, "train", index, size, "mafw").scene()
        shown = np.linspace(0, len(scene.states) - 1, frames).round().astype(int)
        rows.append(np.concatenate([draw(scene.face, scene.states[i], size) for i in shown], axis=1))
    sheet = Image.fromarray(np.concatenate(rows, axis=0))
    _replace(path, lambda temporary: sheet.save(temporary, format="PNG"))


def write_clip(path: Path, frames: NDArray[np.uint8], fps: float = FPS) -> None:
    """An H.264 mp4 of frames (T, H, W, 3); the file appears under its name only when it is complete."""

    def encode(temporary: Path) -> None:
        with av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "18", "preset": "veryfast", "threads": "1"}
            for frame in frames:
                # Converted here: left to the encoder, the conversion gives other bytes from run to run.
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())

    _replace(path, encode)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _counts(clips: int, val: float, test: float) -> dict[str, int]:
    if clips < 1:
        raise ConfigError(f"clips is {clips}; it must be at least 1")
    if not (0 <= val < 1 and 0 <= test < 1 and val + test <= 1):
        raise ConfigError(
            f"val {val} and test {test} are shares of the clips: each 0 <= share < 1, together at most 1"
        )
    held = {"val": round(clips * val), "test": round(clips * test)}
    if sum(held.values()) > clips:
        raise ConfigError(
            f"val {val} and test {test} ask for more than the {clips} clips there are; lower one of them"
        )
    return {"train": clips - sum(held.values()), **held}


def _check(seed: int, size: int, workers: int, style: str) -> None:
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must be 0 or more")
    if size < 48 or size > 1024 or size % 2:
        raise ConfigError(f"size is {size}; it must be an even number of pixels from 48 to 1024")
    if workers < 1:
        raise ConfigError(f"workers is {workers}; it must be at least 1")
    if style not in STYLES:
        raise ConfigError(f"style is {style!r}; allowed: {', '.join(STYLES)}")


def _claim(out: Path, settings: dict[str, int]) -> None:
    """Refuse a folder whose clips were made otherwise: half old, half new would be neither."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; --out names a folder")
    path = out / SETTINGS_FILE
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            found = "something unreadable"
        if found != settings:
            raise ConfigError(
                f"{out} holds clips made with {found}, asked for {settings}; choose another folder"
            )
    _replace(path, lambda temporary: temporary.write_text(json.dumps(settings) + "\n", encoding="utf-8"))


def _run(jobs: list[_Job], workers: int) -> Iterator[dict[str, Any]]:
    if workers == 1 or len(jobs) == 1:
        yield from map(_make, jobs)
        return
    # "spawn" because the caller may hold threads (torch), which a forked child cannot.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        yield from pool.map(_make, jobs, chunksize=max(1, min(16, len(jobs) // (4 * workers))))


def _make(job: _Job) -> dict[str, Any]:
    """The manifest record of a clip, after making sure that its video exists."""
    scene = job.scene()
    path = job.out / job.video
    if not path.exists():
        write_clip(path, np.stack([draw(scene.face, state, job.size) for state in scene.states]), scene.fps)
    return {
        "id": f"drawn_{job.name}",
        "video": job.video,
        "split": job.split,
        "fold": None,
        "captions": captions(scene, job.random(2, job.index), CAPTIONS_A_CLIP, job.style),
        "emotion": scene.emotion,
        "multi_emotion": [],
        "au_ids": sorted(scene.peaks),
        "group": job.group,
        "n_frames": len(scene.states),
        "fps": scene.fps,
        "extra": {
            "synthetic": True,
            "au_peaks": {str(au): peak for au, peak in sorted(scene.peaks.items())},
            "actions": list(scene.actions),
            "phrases": list(scene.phrases),
            "seed": job.seed,
        },
    }
