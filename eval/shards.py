"""Captions batches of clips in one process or several, each to a file of its own that a killed run goes on from.

Predictions are appended batch by batch. Batches are fixed slices of the clips, so that neither the number of processes
nor a restart changes a caption.
"""

import json
import logging
import multiprocessing
import os
import queue
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from captioner.config import DecodeConfig
from captioner.data.manifest import Record
from captioner.errors import CaptionerError, VideoError
from captioner.files import write_text

if TYPE_CHECKING:
    from captioner.inference.predictor import Captioner

_log = logging.getLogger(__name__)

Batches = Sequence[Sequence[Record]]


class ShardError(CaptionerError):
    """A process that cannot caption its share of the clips."""


@dataclass(frozen=True)
class ShardJob:
    """How clips are captioned, and the folder of the files that the processes append to."""

    checkpoint: str
    parts: Path
    device: str = "auto"
    threads: int = 1
    beams: int = 0
    max_words: int = 0


def caption_all(
    job: ShardJob, batches: Batches, shards: int = 1, title: str = ""
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Predictions by id once what was missing is captioned, and {id: fault} of the videos that cannot be read."""
    done = recover_predictions(job.parts)
    missing = [batch for batch in batches if any(record.id not in done for record in batch)]
    if not missing:
        return done, {}
    shards = min(shards, len(missing))
    clips = sum(map(len, batches))
    failed = {}
    with tqdm(total=clips, initial=clips - sum(map(len, missing)), desc=title, unit="clip", disable=None) as bar:
        for key, fault in _captioned_here(job, missing) if shards == 1 else _captioned_there(job, missing, shards):
            bar.update(1)
            if fault:
                failed[key] = fault
    return recover_predictions(job.parts), failed


def json_line(row: Mapping[str, Any]) -> str:
    """A row of a JSON-lines file."""
    return json.dumps(row, ensure_ascii=False) + "\n"


# --- one process -------------------------------------------------------------------------------------------------


def _captioned_here(job: ShardJob, batches: Batches, shard: int = 0) -> Iterator[tuple[str, str]]:
    """Captions batches in this process; yields (id, fault or "") of each clip once it is on disk."""
    import torch

    from captioner.inference.predictor import Captioner

    threads = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    try:
        model = Captioner.from_pretrained(job.checkpoint, device=job.device)
        options = DecodeConfig(beams=job.beams, max_words=job.max_words)
        job.parts.mkdir(parents=True, exist_ok=True)
        with (job.parts / f"{shard}.jsonl").open("ab", buffering=0) as file:
            for batch in batches:
                rows, faults = _caption_batch(model, batch, options)
                for row in rows:  # one write a line: what a kill leaves is whole lines and at most one torn
                    file.write(json_line(row).encode())
                yield from ((record.id, faults.get(record.id, "")) for record in batch)
    finally:
        torch.set_num_threads(threads)


def _caption_batch(
    model: "Captioner", batch: Sequence[Record], options: DecodeConfig
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The predictions of a batch, and {id: fault} of the videos that cannot be read."""
    from torch import OutOfMemoryError

    from captioner.data.inputs import read_inputs
    from captioner.inference.predictor import caption_batch
    from captioner.model.batch import ClipItem, collate

    items, faults = [], {}
    for record in batch:
        try:
            clip = read_inputs(record.video, model.model.config)
        except VideoError as error:
            faults[record.id] = str(error)
            continue
        items.append(ClipItem(clip.inputs[0], record.id))
    if not items:
        return [], faults
    try:
        made = caption_batch(model.model, model.tokenizer, model.pieces, collate(items).to(model.device), options)
    except OutOfMemoryError:
        raise ShardError(f"{model.device} is out of memory: batch=1 or device=cpu") from None
    rows: list[dict[str, Any]] = []
    for item, caption in zip(items, made, strict=True):
        rows.append({"id": item.id, "caption": caption.text, "score": round(caption.score, 6)})
        if caption.emotion:
            rows[-1]["emotion"] = {name: round(p, 6) for name, p in caption.emotion.items()}
    return rows, faults


# --- several -----------------------------------------------------------------------------------------------------


def _captioned_there(job: ShardJob, batches: Batches, shards: int) -> Iterator[tuple[str, str]]:
    """As `_captioned_here`, in several processes; one that fails ends the others."""
    context = multiprocessing.get_context("spawn")
    news: Any = context.Queue()
    workers = [
        context.Process(target=_work, args=(job, batches[n::shards], n, news), daemon=True) for n in range(shards)
    ]
    for worker in workers:
        worker.start()
    try:
        yield from _news(workers, news)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _news(workers: Sequence[Any], news: Any) -> Iterator[tuple[str, str]]:
    """What the processes tell, until all are done; a ShardError where one fails or dies."""
    at_work, silent = set(range(len(workers))), set[int]()
    while at_work:
        try:
            kind, shard, value = news.get(timeout=0.5)
        except queue.Empty:
            ended = {shard for shard in at_work if workers[shard].exitcode is not None}
            for shard in ended & silent:  # its last words may still have been on their way
                raise ShardError(
                    f"process {shard + 1} of {len(workers)} ended with code {workers[shard].exitcode} (out of "
                    f"memory?): run the same command again to go on, with fewer --shards"
                ) from None
            silent = ended
            continue
        if kind == "clip":
            yield value
        elif kind == "error":
            raise ShardError(value)
        else:
            at_work.discard(shard)


def _work(job: ShardJob, batches: Batches, shard: int, news: Any) -> None:
    """What one process does; it ends when its parent is gone."""
    parent = os.getppid()
    try:
        for row in _captioned_here(job, batches, shard):
            news.put(("clip", shard, row))
            if os.getppid() != parent:
                return
        news.put(("done", shard, None))
    except CaptionerError as error:
        news.put(("error", shard, str(error)))
    except KeyboardInterrupt:
        pass


# --- what is on disk ---------------------------------------------------------------------------------------------


def recover_predictions(parts: Path) -> dict[str, dict[str, Any]]:
    """Predictions by id from all parts; torn lines are dropped, from the files too."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(parts.glob("*.jsonl")):
        lines = path.read_bytes().split(b"\n")
        kept = []
        for raw in lines:
            row = _parsed(raw)
            if row is not None:
                found.setdefault(row["id"], row)
                kept.append(raw)
        whole = b"".join(raw + b"\n" for raw in kept)
        if whole != b"\n".join(lines):
            _log.warning("%s: a line was cut short; its clip is captioned again", path)
            write_text(path, whole.decode())
    return found


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(raw)
    except ValueError:  # a UnicodeDecodeError is one too
        return None
    return row if isinstance(row, dict) and isinstance(row.get("id"), str) and "caption" in row else None
