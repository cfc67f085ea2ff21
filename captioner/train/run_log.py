"""What a run of the captioner leaves to look at: log.jsonl, TensorBoard's curves, a bar on the terminal."""

import hashlib
import json
import logging
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from captioner.errors import ConfigError
from captioner.files import write_text

log = logging.getLogger(__name__)

_LOSSES = ("loss", "mlm", "er", "au", "scst", "reward")


class RunLog:
    """The records of the main process; in the others every method does nothing."""

    def __init__(self, out: Path, main: bool, project: str = "") -> None:
        self.path, self.main, self.project = out / "log.jsonl", main, project
        self.remote: Any = None
        self.recent: list[dict[str, Any]] = []
        self.curves: Any = None
        self.bar: Any = None

    def open(self, step: int, total: int) -> None:
        """Begin at a step; a run from the start forgets what an earlier one wrote."""
        if not self.main:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if step == 0:
            self.path.unlink(missing_ok=True)
        self.curves = open_curves(self.path.parent, step)
        if self.project:
            self.remote = open_remote(self.project, self.path.parent)
        self.bar = tqdm(total=total, initial=step, desc="training", unit="step", disable=None)

    def add(self, row: Mapping[str, Any], speed: Mapping[str, float]) -> None:
        """One step; with its speed, all steps since the last flush go to the disk."""
        if not self.main:
            return
        self.recent.append({**row, **speed})
        if self.bar is not None:
            self.bar.update(1)
        if speed:
            self.flush()
            shown = {name: f"{row[name]:.3f}" for name in _LOSSES if name in row}
            if self.bar is not None:
                self.bar.set_postfix(shown | {"clips/s": f"{speed['clips_per_second']:.1f}"})
        train = {name: row[name] for name in (*_LOSSES, "positives", "above_threshold", "grad_norm") if name in row}
        self.draw(row["step"], {"train": train, "weight": row["weights"], "speed": speed})

    def draw(self, step: int, groups: Mapping[str, Mapping[str, float]]) -> None:
        """Points of the curves of each group."""
        flat = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
        if self.curves is not None:
            for name, value in flat.items():
                self.curves.add_scalar(name, value, step)
        if self.remote is not None and flat:
            self.remote.log(flat, step=step)

    def flush(self) -> None:
        """Append the steps since the last flush; a full disk costs lines of log, not the run."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in self.recent)
        except OSError as error:
            log.error("log.jsonl: %s", error.strerror or error)
        self.recent.clear()

    def cut(self, step: int) -> None:
        """Drop lines of steps that the checkpoint does not know: they will be done again."""
        if self.main:
            cut_log(self.path, step)

    def close(self) -> None:
        """End bar and curves."""
        for each in (self.bar, self.curves):
            if each is not None:
                each.close()
        if self.remote is not None:
            self.remote.finish()


def open_curves(out: Path, step: int) -> Any:
    """A TensorBoard writer, or None with a line of log where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("no curves: install captioner[train] for TensorBoard")
        return None
    return SummaryWriter(str(out / "curves"), purge_step=step or None)


def open_remote(project: str, out: Path) -> Any:
    """A run of Weights & Biases, the same one again where a run goes on."""
    if find_spec("wandb") is None:
        raise ConfigError(
            f"train.wandb={project} needs wandb, which is not installed: pip install wandb, or set train.wandb=''"
        )
    name = hashlib.sha256(str(out.absolute()).encode()).hexdigest()[:16]
    return import_module("wandb").init(project=project, name=out.name, id=name, dir=str(out), resume="allow")


def cut_log(path: Path, step: int) -> None:
    """Drop lines of steps that the checkpoint does not know: they will be done again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (json.JSONDecodeError, KeyError):
            continue  # a line cut short by the kill
    write_text(path, "".join(line + "\n" for line in kept))
