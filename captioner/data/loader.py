"""Batches for a loop that must not wait, and what became of the videos that cannot be read."""

import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from captioner.config import DataConfig
from captioner.data.dataset import Place
from captioner.data.feature_store import lone_worker
from captioner.errors import VideoError
from captioner.model.batch import Batch, ClipItem

BAD_LIST = "bad_videos.jsonl"  # in a run's folder

log = logging.getLogger(__name__)


class BatchSchedule(Sampler[list[Place]]):
    """The batches of the epoch that is on."""

    def __init__(self) -> None:
        self.batches: Sequence[list[Place]] = ()

    def __iter__(self) -> Iterator[list[Place]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class EpochLoader:
    """Reads epoch after epoch ahead in processes that stay, which keeps their face readers and open entries warm."""

    def __init__(
        self,
        dataset: Dataset[ClipItem],
        config: DataConfig,
        collate: Callable[[Sequence[ClipItem]], Batch],
        *,
        seed: int = 0,
        pin: bool = False,
    ) -> None:
        self.schedule = BatchSchedule()
        ahead: dict[str, Any] = (
            {"prefetch_factor": config.prefetch, "persistent_workers": True} if config.workers else {}
        )
        # Without a generator of its own, opening a loader draws from the one that dropout uses.
        self.loader: DataLoader[Any] = DataLoader(
            dataset, batch_sampler=self.schedule, num_workers=config.workers or 0, collate_fn=collate, pin_memory=pin,
            worker_init_fn=partial(seed_worker, seed), generator=torch.Generator().manual_seed(seed), **ahead,
        )  # fmt: skip

    def epoch(self, batches: Sequence[list[Place]]) -> Iterator[Batch]:
        """The batches, in their order; what an earlier epoch left unread is dropped."""
        self.schedule.batches = batches
        return iter(self.loader)


def seed_worker(seed: int, number: int) -> None:
    """Every process its own random state, the same in each run; items draw from generators of their own."""
    mixed = (seed * 1_000_003 + number) % (1 << 32)
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)
    lone_worker(number)


class BadVideos:
    """Clips that cannot be read: each told once after a start, listed in a file; more than a share of all end a run."""

    def __init__(self, clips: int, limit: float, path: Path, *, write: bool = True) -> None:
        self.clips, self.limit, self.path, self.write = clips, limit, path, write
        self.faults: dict[str, str] = {}
        if write:
            path.unlink(missing_ok=True)

    def note(self, found: Mapping[str, str]) -> None:
        """Tell and list those that are new; a VideoError once there are too many."""
        new = {key: fault for key, fault in found.items() if key not in self.faults}
        if not new:
            return
        self.faults |= new
        if self.write:
            for key, fault in new.items():
                log.warning("clip %r cannot be read, others take its place: %s", key, fault)
            self.append(new)
        if len(self.faults) > self.limit * self.clips:
            raise VideoError(
                f"{len(self.faults)} of {self.clips} clips cannot be read, more than data.max_bad={self.limit:g} "
                f"allows; {self.path} lists them: mend them, take them out of the manifest, or raise data.max_bad"
            )

    def append(self, new: Mapping[str, str]) -> None:
        """Add to the list; a full disk costs the list, not the run."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps({"id": k, "fault": v}) + "\n" for k, v in new.items())
        except OSError as error:
            log.error("%s: %s", self.path, error.strerror or error)
