"""The training loop: losses weighted by DWA, an engine handed in, exact resume.

A run continues bit for bit on a CPU: order, crops and hidden words follow from the seed, and `last` holds
weights, optimiser, random states, loss averages and the place in the epoch. `train.batch` counts the clips of a
micro-batch over all processes; each takes its share of the same order.
"""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from captioner.config import Config
from captioner.config_io import build_config, to_dict
from captioner.data.dataset import ClipDataset, EpochOrder, Place
from captioner.data.loader import BAD_LIST, BadVideos, EpochLoader
from captioner.errors import CheckpointError, ConfigError, Terminated
from captioner.model import checkpoint
from captioner.model.batch import collate
from captioner.model.captioner import EmotionCaptioner
from captioner.model.tokenizer import TextPieces, Tokenizer
from captioner.model.weights import fill
from captioner.train.checkpoints import LAST, CheckpointStore, changed_settings, random_state, restore_random_state
from captioner.train.dwa import DWA
from captioner.train.engine import Engine, learning_rate, pick_precision
from captioner.train.finite import FiniteGuard
from captioner.train.processes import Processes
from captioner.train.run_log import RunLog
from captioner.train.step_rows import StepRows
from captioner.train.throughput import Meter, compile_encoders, peak_of, work_of
from captioner.train.validation import (
    Scorer,
    Told,
    autocast_on_gpu,
    chosen_score,
    predict_captions,
    score_validation,
    write_validation,
)
from captioner.train.weight_average import WeightAverage

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a run is; saved with every checkpoint."""

    step: int = 0  # optimiser steps done
    epoch: int = 0
    batch: int = 0  # micro-batches of this epoch done
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch's losses
    count: int = 0
    best: float = -math.inf


def shard(order: EpochOrder, processes: Processes) -> list[list[Place]]:
    """A process's part of every batch of an order; a stand-in, which will not count, where there is none for it."""
    return [[batch[i] for i in processes.share(len(batch))] or batch[:1] for batch in order]


def losses_without_labels(config: Config, data: ClipDataset) -> frozenset[str]:
    """Losses that no training clip has a label for, told once: they would weigh 0 in DWA and press on the others."""
    by_label = config.model.prompts.er_sentence == "aware"
    if not by_label or any(record.emotion in config.model.labels for record in data.records):
        return frozenset()
    log.warning(
        "er: no training clip has one of the emotions of model.labels, so that the ER-sentence loss is left out"
    )
    return frozenset({"er"})


class Trainer:
    """Runs a config to its end: `Trainer(...).run()`; call `resume()` first to go on from `last`."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        model: EmotionCaptioner,
        tokenizer: Tokenizer,
        data: ClipDataset,
        validation: ClipDataset | None = None,
        scorer: Scorer | None = None,
        *,
        pieces: TextPieces,
        meta: Mapping[str, Any] | None = None,
        judged_on: str = "",
    ) -> None:
        if not len(data):
            raise ConfigError("no clip of the training split has a caption")
        self.config, self.engine, self.model, self.tokenizer = config, engine, model, tokenizer
        self.data, self.validation, self.scorer, self.pieces = data, validation, scorer, pieces
        self.meta, self.judged_on = dict(meta or {}), judged_on
        train = config.train
        self.out, self.processes = Path(train.out), engine.processes
        self.store = CheckpointStore(self.out, self.processes, train.keep)
        self.meter = Meter()
        gathered = partial(collate, pad_id=tokenizer.pad_id)
        pin = engine.device.type == "cuda"
        self.loader = EpochLoader(data, config.data, gathered, seed=train.seed * 1009 + self.processes.rank, pin=pin)
        clips = len(data) + len(validation.records if validation is not None else ())
        self.bad = BadVideos(clips, config.data.max_bad, self.out / BAD_LIST, write=self.processes.main)
        self.unread: dict[str, str] = dict(data.bad or {})  # found, not yet told to the other processes
        self.stopping = False  # SIGTERM came
        self.batches = math.ceil(len(data) / train.batch)
        self.steps_an_epoch = math.ceil(self.batches / train.accumulate)
        self.total = train.max_steps or train.epochs * self.steps_an_epoch
        self.progress = Progress()
        fixed = {"mlm": train.weight_mlm, "er": train.weight_er, "au": train.weight_au, "scst": 1.0}
        self.dwa = DWA(fixed, train.dwa_temperature, train.dwa)
        self.left_out = losses_without_labels(config, data)
        self.rows = StepRows()
        self.average = WeightAverage(model, train.ema) if train.ema else None
        self.log = RunLog(self.out, self.processes.main, train.wandb)
        scaled = pick_precision(train.precision, engine.device) == torch.float16
        self.guard = FiniteGuard(self.processes, scaled)

    # -- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> Progress:
        """Train until the last step; validates, logs and saves as configured."""
        self.out.mkdir(parents=True, exist_ok=True)
        if self.progress.step == 0:
            torch.manual_seed(self.config.train.seed + self.processes.rank)
        self.note_bad()
        self.measure_work()
        if self.config.train.compile:
            compile_encoders(self.model)
        self.log.open(self.progress.step, self.total)
        handler = self.watch_termination()
        try:
            while self.progress.step < self.total:
                self.run_epoch()
        finally:
            if handler is not None:
                signal.signal(signal.SIGTERM, handler)
            self.log.close()
        return self.progress

    def watch_termination(self) -> Any:
        """From now on SIGTERM ends the run after the current step; returns the handler before."""

        def stop(number: int, frame: Any) -> None:
            self.stopping = True

        if threading.current_thread() is not threading.main_thread():
            return None
        return signal.signal(signal.SIGTERM, stop)

    def measure_work(self) -> None:
        """How much arithmetic a clip costs and the devices offer, for the log."""
        batch = collate([self.data[Place(0, 0)]], pad_id=self.tokenizer.pad_id)
        device = self.engine.device
        with self.engine.whole():
            work = work_of(self.model.to(device), batch.to(device))
        peak = peak_of(device, pick_precision(self.config.train.precision, device))
        self.meter = Meter(work.step, peak.flops * self.processes.size)
        log.info(
            "%.3g GFLOPs a clip and step; %d x %.3g TFLOP/s (%s)",
            work.step / 1e9, self.processes.size, peak.flops / 1e12, peak.source,
        )  # fmt: skip

    def run_epoch(self) -> None:
        """From the place of `progress` to the epoch's end (or the run's)."""
        progress, train = self.progress, self.config.train
        self.model.train()
        began = time.perf_counter()
        self.meter.start()
        order = EpochOrder(len(self.data), train.batch, train.seed, progress.epoch, progress.batch)
        for batch in self.meter.timed(self.loader.epoch(shard(order, self.processes))):
            self.unread |= batch.bad
            last_of_epoch = progress.batch + 1 == self.batches
            row = self.micro_step(batch)
            progress.batch += 1
            if progress.batch % train.accumulate and not last_of_epoch:
                continue
            norm = self.engine.step(learning_rate(progress.step, self.total, train.warmup))
            self.guard.watch(progress.step + 1, self.rate, self.rows.loss, norm, self.model)
            progress.step += 1
            if self.average is not None:
                self.average.update(progress.step)
            now = time.perf_counter()
            self.rows.end_step({"step": progress.step, "epoch": progress.epoch, **row, "seconds": now - began}, norm)
            self.report()
            began = now
            if progress.step >= self.total:
                break
            self.save_in_passing(last_of_epoch)
        self.close_epoch()

    def save_in_passing(self, last_of_epoch: bool) -> None:
        """What is due between two steps: `last`, a copy every n steps, the end after SIGTERM."""
        step, train = self.progress.step, self.config.train
        talks = self.processes.size == 1 or step % max(1, min(train.log_every, 10)) == 0
        stopping = talks and self.processes.any(self.stopping)
        copied = bool(train.keep_every) and step % train.keep_every == 0
        due = bool(train.save_every) and step % train.save_every == 0
        if not last_of_epoch and (due or copied or stopping):
            saved = self.save(needed=stopping)
            if copied and saved:
                self.store.copy(step)
        if stopping and not last_of_epoch:
            raise Terminated(f"stopped by SIGTERM after step {step}: the same command goes on from there")

    def micro_step(self, batch: Any) -> dict[str, Any]:
        """Forward and backward of one micro-batch; its losses wait on the device. Returns what is known of the step."""
        progress, train = self.progress, self.config.train
        warm = progress.step < self.config.model.prompts.warmup * self.total
        clips = min(train.batch, len(self.data) - progress.batch * train.batch)
        losses = self.engine.losses(batch, warm, clips)
        live = {name: loss for name, loss in losses.live.items() if name not in self.left_out}
        weights = self.dwa.weights(list(live))
        first = progress.batch - progress.batch % train.accumulate
        group = min(train.accumulate, self.batches - first)  # the epoch's last step may be short
        silent = [0.0 * losses.live[name] for name in self.left_out if name in losses.live]  # their weights take part
        total = torch.stack([*(weights[name] * loss for name, loss in live.items()), *silent]).sum()
        self.engine.backward(total / group, progress.batch + 1 == first + group)
        pairs = {"positives": losses.counts[0], "above_threshold": losses.counts[1]}
        self.rows.add({"loss": total, **live, **pairs, **losses.told})
        self.meter.clips += clips
        return {"weights": weights}

    @property
    def rate(self) -> float:
        """Of the step that is being made."""
        return self.config.train.lr * learning_rate(self.progress.step, self.total, self.config.train.warmup)

    def close_epoch(self) -> None:
        """Epoch means into DWA, validation, checkpoints."""
        self.note_bad()
        self.settle({})
        progress, train = self.progress, self.config.train
        if progress.count:  # float16 may have left out all of a short one
            self.dwa.close_epoch({name: value / progress.count for name, value in progress.sums.items()})
        progress.epoch, progress.batch, progress.sums, progress.count = progress.epoch + 1, 0, {}, 0
        done = progress.step >= self.total
        scored = None
        validates = self.validation is not None and train.validate_every > 0
        if validates and (progress.epoch % train.validate_every == 0 or done):
            scored = self.validate()
        if scored is not None and scored > progress.best:
            progress.best = scored
            self.save_best(done, scored)
        elif not validates and done:
            self.save_best(done, None)
        stopping = self.processes.any(self.stopping) and not done
        saved = self.save(needed=done or stopping)  # after `best`: killed between, the epoch's end is done again, alike
        if saved and train.keep_every and progress.step % train.keep_every == 0:
            self.store.copy(progress.step)
        if stopping:
            raise Terminated(f"stopped by SIGTERM after step {progress.step}: the same command goes on from there")

    def note_bad(self) -> None:
        """Tell all processes of videos that could not be read, and stop all of them once there are too many."""
        faults = self.processes.all_gather_json(self.unread)
        self.unread = {}
        self.bad.note({name: fault for part in faults for name, fault in part.items()})

    # -- validation -------------------------------------------------------------------------------------------

    def validate(self) -> float | None:
        """Caption the validation clips, each process its share; returns the score that chooses `best`."""
        assert self.validation is not None
        with self.engine.whole(), self.averaged(), autocast_on_gpu(self.config.train.precision, self.engine.device):
            own = predict_captions(
                self.model, self.tokenizer, self.pieces, self.validation, self.config, self.engine.device,
                self.processes,
            )  # fmt: skip
        self.unread |= self.validation.bad or {}
        self.note_bad()
        parts = self.processes.all_gather_json({i: [caption.text, caption.emotion] for i, caption in own.items()})
        told: dict[str, Any] = {i: pair for part in parts for i, pair in part.items()}
        captions = {r.id: told[r.id] for r in self.validation.records if r.id in told}
        own_score = self.scored(captions) if self.processes.main else None
        score: float | None = self.processes.all_gather_json(own_score)[0]
        return score

    def scored(self, captions: Mapping[str, Told]) -> float | None:
        """Write and score captions by id."""
        assert self.validation is not None
        write_validation(self.out / "validation.jsonl", captions)
        if self.scorer is None:
            return None
        scores = score_validation(self.validation.records, captions, self.scorer, self.config.model.labels)
        log.info("epoch %d: %s", self.progress.epoch, ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))
        self.log.draw(self.progress.step, {"validation": scores})
        return chosen_score(scores, self.config.train.best_by)

    # -- log and checkpoints ----------------------------------------------------------------------------------

    def report(self) -> None:
        """One step into the log; every `log_every` steps with its speed and what could not be read."""
        step = self.progress.step
        if step % self.config.train.log_every == 0 or step == self.total:
            self.note_bad()
            self.settle(self.meter.report() | {"bad_videos": len(self.bad.faults)})

    def settle(self, speed: Mapping[str, float]) -> None:
        """Fetch what waits on the device: sums of losses for DWA, lines of log, the last of them with the speed."""
        self.guard.verdict()
        found = self.rows.settle()
        for number, (values, row) in enumerate(found):
            live = {name: values[name] for name in self.dwa.fixed.keys() & values.keys()}
            if all(map(math.isfinite, live.values())):  # not so where float16 left out the step
                self.progress.sums = {name: self.progress.sums.get(name, 0.0) + value for name, value in live.items()}
                self.progress.count += 1
            if row is not None:
                shown = {k: int(v) if k in ("positives", "above_threshold") else v for k, v in values.items()}
                self.log.add({**row, **shown}, speed if number + 1 == len(found) else {})

    def write_model(self, folder: Path, best: Mapping[str, Any] | None = None) -> None:
        """The plain model's folder."""
        meta = self.meta | ({"best": dict(best)} if best else {})
        checkpoint.save_checkpoint(folder, self.model, self.tokenizer, foreign=self.pieces.foreign, meta=meta)

    def save(self, needed: bool = False) -> bool:
        """Write `last`; whether it is there. A failure is logged and training goes on, unless it is `needed`."""
        self.settle({})
        self.log.flush()
        tensors, values = self.engine.state()
        tensors |= random_state()
        if self.average is not None and self.processes.main:
            tensors |= self.average.state()
        progress = {k: v for k, v in vars(self.progress).items() if k != "best" or math.isfinite(v)}
        values = {"engine": values, "progress": progress, "dwa": self.dwa.history, "config": to_dict(self.config)}
        with self.engine.whole():
            return self.attempt(lambda: self.store.save(self.write_model, tensors, values), needed)

    def save_best(self, needed: bool, score: float | None) -> bool:
        """Write `best`: the plain model alone, and what it was best on."""
        about = {"on": self.judged_on, "by": self.config.train.best_by, "score": score, "step": self.progress.step}
        with self.engine.whole(), self.averaged():
            return self.attempt(lambda: self.store.plain("best", partial(self.write_model, best=about)), needed)

    def averaged(self) -> AbstractContextManager[None]:
        """While it is open the model has the averaged weights, where they are asked for."""
        return nullcontext() if self.average is None else self.average.swapped()

    def attempt(self, write: Callable[[], None], needed: bool) -> bool:
        """Whether `write` went well; a checkpoint that could not be written is logged, or raised when `needed`."""
        try:
            write()
        except CheckpointError as error:
            if needed:
                raise
            log.error("%s", error)
            return False
        return True

    def resume(self) -> bool:
        """Go on from the newest whole checkpoint of the same configuration; False when there is none."""
        saved = self.store.newest()
        if saved is None:
            return False
        values, folder = saved.values, saved.folder
        before = build_config(Config, values["config"], where=str(folder))
        changed = changed_settings(to_dict(before), to_dict(self.config))
        if changed:
            raise self.processes.error(
                f"{folder} was made with other settings ({', '.join(changed[:4])}): "
                f"restore them, choose another train.out, or delete the folder"
            )
        fill(self.model, checkpoint.state_by_name(folder), str(folder))
        tensors = checkpoint.arranged(saved.tensors(self.processes.rank), folder)
        if self.processes.any(not all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point())):
            raise self.processes.error(f"{folder} is spoilt: its optimiser's numbers are not finite; delete the folder")
        self.engine.restore(tensors, values["engine"])
        if self.average is not None:
            self.average.restore(tensors)
        self.progress = Progress(**values["progress"])
        if len(saved.shards) == self.processes.size:
            restore_random_state(tensors)
        else:  # dropout draws anew; order, crops and hidden words follow from the seed as ever
            torch.manual_seed(self.config.train.seed + self.processes.rank + 1_000_003 * self.progress.step)
        self.dwa.history = values["dwa"]
        self.log.cut(self.progress.step)
        here = "" if folder.name == LAST else f" from {folder}"
        log.info("resumed at step %d of %d%s", self.progress.step, self.total, here)
        return True
