"""Clips of the drawn face on disk: short mp4 files and the manifest that says what is true of them."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captioner.data.manifest import SPLITS
from captioner.errors import ConfigError
from captioner.files import atomic, write_text
from captioner.synth.captions import STYLES, captions
from captioner.synth.drawn.paint import draw
from captioner.synth.identity import sample_face
from captioner.synth.scenario import Scene, sample_scene
from captioner.synth.workers import claim, run, split_counts
from captioner.video.reading import write_video

log = logging.getLogger(__name__)

RECIPE = 1  # raise it when the same seed gives other pictures: finished clips of an older recipe are then refused
CLIPS_A_FACE = 4
CAPTIONS_A_CLIP = 3


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
    counts = split_counts(clips, val, test)
    _check(seed, size, workers, style)
    claim(out, {"recipe": RECIPE, "seed": seed, "size": size})
    jobs = [_Job(out, seed, split, index, size, style) for split in SPLITS for index in range(counts[split])]
    kept = sum((out / job.video).exists() for job in jobs)
    if kept:
        log.info("keeping %d finished clips in %s", kept, out)
    records = []
    for record in run(_make, jobs, workers, chunk=max(1, min(16, len(jobs) // (4 * workers)))):
        records.append(record)
        if progress:
            progress(len(records), len(jobs))
    manifest = out / "manifest.jsonl"
    lines = "".join(json.dumps(record) + "\n" for record in records)
    write_text(manifest, lines)
    return manifest


def contact_sheet(path: Path, clips: int, seed: int, size: int = 112, frames: int = 8) -> None:
    """A picture of the first training clips of a seed, one a row, frames uniformly sampled."""
    rows = []
    for index in range(clips):
        scene = _Job(Path(), seed, "train", index, size, "mafw").scene()
        shown = np.linspace(0, len(scene.states) - 1, frames).round().astype(int)
        rows.append(np.concatenate([draw(scene.face, scene.states[i], size) for i in shown], axis=1))
    sheet = Image.fromarray(np.concatenate(rows, axis=0))
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")


def _check(seed: int, size: int, workers: int, style: str) -> None:
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must be 0 or more")
    if size < 48 or size > 1024 or size % 2:
        raise ConfigError(f"size is {size}; it must be an even number of pixels from 48 to 1024")
    if workers < 1:
        raise ConfigError(f"workers is {workers}; it must be at least 1")
    if style not in STYLES:
        raise ConfigError(f"style is {style!r}; allowed: {', '.join(STYLES)}")


def _make(job: _Job) -> dict[str, Any]:
    """The manifest record of a clip, after making sure that its video exists."""
    scene = job.scene()
    path = job.out / job.video
    if not path.exists():
        write_video(path, np.stack([draw(scene.face, state, job.size) for state in scene.states]), scene.fps)
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
