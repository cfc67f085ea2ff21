"""Checkpoints that a run goes on from: `last`, the one before it, copies every n steps.

A folder holds the plain model (config.json, model.safetensors, ...) and one file of optimiser states a process, keyed
by parameter, so that any number of processes can take them up. It is written under another name, flushed to the disk,
summed up in trainer.json (written last) and renamed; what does not add up when a run goes on is left for the one
before. Nothing is pickled.
"""

import errno
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from captioner.errors import CheckpointError
from captioner.files import recover
from captioner.model.weights import read_weights
from captioner.train.processes import Processes

log = logging.getLogger(__name__)

LAST, BEFORE = "last", "last-1"
STATE = "trainer.json"
_STAGING = ".last.writing"
_RETIRED = ".last-1.old"


@dataclass(frozen=True)
class SavedRun:
    """A checkpoint that can be gone on from."""

    folder: Path
    values: dict[str, Any]  # trainer.json
    shards: list[Path]

    def tensors(self, rank: int) -> dict[str, Tensor]:
        """Optimiser states of all processes, and the random states of process `rank` if there was one."""
        merged: dict[str, Tensor] = {}
        for number, shard in enumerate(self.shards):
            part = read_weights(shard)
            merged |= {k: v for k, v in part.items() if number == rank or not k.startswith("random.")}
        return merged


class CheckpointStore:
    """The checkpoints in a run's folder; every method is called by all processes."""

    def __init__(self, out: Path, processes: Processes, keep: int = 3) -> None:
        self.out, self.processes, self.keep = out, processes, keep

    def save(self, write: Callable[[Path], None], tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Make a new `last`: the main process writes the plain model with `write`, each its own tensors.

        The old `last` becomes `last-1`. A full disk is met by dropping copies of older steps, once.
        """
        try:
            self._save(write, tensors, values)
        except CheckpointError as error:
            if not self.processes.any(bool(self.copies()) and self.processes.main):
                raise
            log.warning("%s; dropped copies of older steps to make room", error)
            if self.processes.main:
                for folder in self.copies():
                    shutil.rmtree(folder, ignore_errors=True)
            self._save(write, tensors, values)

    def _save(self, write: Callable[[Path], None], tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        staging, processes = self.out / _STAGING, self.processes
        with self._together(staging):
            if processes.main:
                shutil.rmtree(staging, ignore_errors=True)
                write(staging)
        with self._together(staging):
            shard = staging / shard_name(processes.rank, processes.size)
            save_file(dict(tensors), shard)
            shard.chmod(0o644)  # safetensors writes 0600
            flush_to_disk(shard)
        with self._together(staging):
            if processes.main:
                sums = {file.name: file_sum(file) for file in sorted(staging.iterdir())}
                text = json.dumps({**values, "processes": processes.size, "files": sums})
                (staging / STATE).write_text(text + "\n", encoding="utf-8")
                flush_to_disk(staging / STATE)
                flush_to_disk(staging)
                self._rotate(staging)

    def plain(self, name: str, write: Callable[[Path], None]) -> None:
        """A folder that is only the model, written by the main process."""
        with self._together(self.out / f".{name}.writing"):
            if self.processes.main:
                write(self.out / name)

    @contextmanager
    def _together(self, staging: Path) -> Iterator[None]:
        """A block that fails in every process when it fails in one, and leaves nothing half written."""
        cause = ""
        try:
            yield
        except (OSError, SafetensorError) as error:
            full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error)
            cause = "the disk is full" if full else (getattr(error, "strerror", None) or str(error).splitlines()[0])
        causes = [cause for cause in self.processes.all_gather_json(cause) if cause]
        if causes:
            if self.processes.main:
                for half in (staging, staging.with_name(f".{staging.name}.writing")):  # the second is the model's own
                    shutil.rmtree(half, ignore_errors=True)
            raise self.processes.error(
                f"no checkpoint could be written to {self.out} ({causes[0]}): make room; the one before is untouched"
            )

    def _rotate(self, staging: Path) -> None:
        """staging -> last -> last-1; a kill between two renames leaves complete folders (see `newest`)."""
        last, before, retired = (self.out / name for name in (LAST, BEFORE, _RETIRED))
        shutil.rmtree(retired, ignore_errors=True)
        if before.exists() and last.exists():
            before.rename(retired)
        if last.exists():
            last.rename(before)
        staging.rename(last)
        flush_to_disk(self.out)
        shutil.rmtree(retired, ignore_errors=True)

    def copy(self, step: int) -> None:
        """Keep `last` as `step-N` too, sharing its files where the disk can; the oldest copies go."""
        if not self.processes.main:
            return
        target = self.out / f"step-{step:08d}"
        staging = self.out / f".{target.name}.writing"
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        try:
            shutil.copytree(self.out / LAST, staging, copy_function=hard_link)
            flush_to_disk(staging)
            staging.rename(target)
        except (OSError, shutil.Error) as error:
            shutil.rmtree(staging, ignore_errors=True)
            log.warning("%s was not kept: %s", target, str(error).splitlines()[0])
        for folder in self.copies()[self.keep :]:
            shutil.rmtree(folder, ignore_errors=True)

    def copies(self) -> list[Path]:
        """Copies every n steps, the newest first."""
        return sorted(self.out.glob("step-" + "[0-9]" * 8), reverse=True)

    def newest(self) -> SavedRun | None:
        """The newest checkpoint that is whole; damaged ones are named in the log and passed over."""
        chosen = ""
        if self.processes.main:
            saved = self._search()
            chosen = str(saved.folder) if saved else ""
        chosen = self.processes.all_gather_json(chosen)[0]
        return read_checkpoint(Path(chosen)) if chosen else None

    def _search(self) -> SavedRun | None:
        recover(self.out / LAST)
        folders = [self.out / name for name in (LAST, BEFORE, _RETIRED)]
        if not folders[0].exists():
            folders.insert(0, self.out / _STAGING)  # complete if the kill came before its last renaming
        for folder in [*folders, *self.copies()]:
            if not (folder / STATE).exists():
                continue
            try:
                saved = read_checkpoint(folder)
                verify_checkpoint(saved)
            except CheckpointError as error:
                log.warning("%s: passed over for the one before", error)
                continue
            return saved
        return None


def shard_name(rank: int, size: int) -> str:
    """File of a process's states."""
    return "trainer.safetensors" if size == 1 else f"trainer-{rank + 1:05d}-of-{size:05d}.safetensors"


def read_checkpoint(folder: Path) -> SavedRun:
    """A folder's trainer.json and the names of its shards."""
    try:
        values = json.loads((folder / STATE).read_text(encoding="utf-8"))
        count = int(values.get("processes", 1))
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / STATE} is damaged ({error})") from None
    return SavedRun(folder, values, [folder / shard_name(rank, count) for rank in range(count)])


def verify_checkpoint(saved: SavedRun) -> None:
    """Every file as long as it was written, with the same sum; folders of older versions: all can be read."""
    sums = saved.values.get("files")
    if sums is None:
        for file in (saved.folder / "model.safetensors", *saved.shards):
            read_weights(file)
        return
    for name, wanted in sums.items():
        file = saved.folder / name
        try:
            given = file_sum(file)
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read ({error.strerror or error})") from None
        if given[0] != wanted[0]:
            raise CheckpointError(f"{file} is damaged: {given[0]} bytes, {wanted[0]} were written")
        if given != list(wanted):
            raise CheckpointError(f"{file} is damaged: its checksum is not the one that was written")


def file_sum(file: Path) -> list[int]:
    """Length and CRC-32 of a file."""
    length, value = 0, 0
    with file.open("rb") as handle:
        while block := handle.read(1 << 22):
            length, value = length + len(block), zlib.crc32(block, value)
    return [length, value]


def flush_to_disk(path: Path) -> None:
    """See to it that a file, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hard_link(source: str, target: str) -> str:
    """A hard link (files of a checkpoint never change), a copy where the disk has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def changed_settings(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted keys at which two configurations differ, where it matters for going on."""
    harmless = {
        "model.experts.untrained",
        "train.foretell",
        "train.wandb",
        "train.batch_per_device",
        "train.log_every",
        "train.save_every",
        "train.threads",
        "train.out",
        "train.deepspeed",
        "train.compile",
        "train.keep",
        "train.keep_every",
        "data.workers",
        "data.cache",
        "data.cache_frames",
        "data.prefetch",
        "data.max_bad",
    }
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [d for k in keys for d in changed_settings(old.get(k), new.get(k), f"{prefix}{k}.")]
    key = prefix.rstrip(".")
    return [] if old == new or key in harmless else [key]


def random_state() -> dict[str, Tensor]:
    """torch's generators as tensors."""
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"random.cuda.{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random_state(tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `random_state`."""
    torch.set_rng_state(tensors["random.cpu"])
    cuda = [v for k, v in sorted(tensors.items()) if k.startswith("random.cuda.")]
    if cuda and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(cuda)
