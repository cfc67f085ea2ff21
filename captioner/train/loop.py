"""The training loop: losses weighted by DWA, an engine handed in, exact resume.

A run continues bit for bit on a CPU: order, crops and hidden words follow from the seed, and `last` holds
weights, optimiser, random states, loss averages and the place in the epoch.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from captioner.config import Config, to_dict
from captioner.data.dataset import ClipDataset, EpochOrder, TextPieces, collate
from captioner.data.tokenizer import Tokenizer
from captioner.errors import CheckpointError, ConfigError
from captioner.files import write_text
from captioner.model import checkpoint
from captioner.model.captioner import EmotionCaptioner
from captioner.pipeline import Caption, caption_batch
from captioner.train.engine import Engine, learning_rate

log = logging.getLogger(__name__)

Scorer = Callable[[Mapping[str, Sequence[str]], Mapping[str, str]], Mapping[str, float]]


class DWA:
    """Dynamic weight averaging (eqs 15, 16): losses that fell less get more weight in the next epoch.

    w_x = mean(e-1) / mean(e-2), weight_x = n exp(w_x / T) / sum exp(w / T); 1 in the first two epochs.
    """

    def __init__(self, fixed: Mapping[str, float], temperature: float = 2.0, dynamic: bool = True) -> None:
        self.fixed, self.temperature, self.dynamic = dict(fixed), temperature, dynamic
        self.history: list[dict[str, float]] = []  # epoch means, the last two

    def weights(self, names: Sequence[str]) -> dict[str, float]:
        """The weight of each live loss in the current epoch."""
        if not self.dynamic or len(self.history) < 2:
            return {name: self.fixed[name] for name in names}
        before, last = self.history[-2:]
        ratio = {n: min(max(last[n] / max(before[n], 1e-8), 0.1), 10.0) for n in names}
        total = sum(math.exp(r / self.temperature) for r in ratio.values())
        return {n: self.fixed[n] * len(names) * math.exp(ratio[n] / self.temperature) / total for n in names}

    def close_epoch(self, means: Mapping[str, float]) -> None:
        """Take in the epoch's mean losses."""
        self.history = [*self.history, dict(means)][-2:]


@dataclass
class Progress:
    """Where a run is; saved with every checkpoint."""

    step: int = 0  # optimiser steps done
    epoch: int = 0
    batch: int = 0  # micro-batches of this epoch done
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch's losses
    count: int = 0
    best: float = -math.inf


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
    ) -> None:
        if not len(data):
            raise ConfigError("no clip of the training split has a caption")
        self.config, self.engine, self.model, self.tokenizer = config, engine, model, tokenizer
        self.data, self.validation, self.scorer, self.pieces = data, validation, scorer, pieces
        self.meta = dict(meta or {})
        train = config.train
        self.out = Path(train.out)
        self.batches = math.ceil(len(data) / train.batch)
        self.steps_an_epoch = math.ceil(self.batches / train.accumulate)
        self.total = train.max_steps or train.epochs * self.steps_an_epoch
        self.progress = Progress()
        fixed = {"mlm": train.weight_mlm, "er": train.weight_er, "au": train.weight_au}
        self.dwa = DWA(fixed, train.dwa_temperature, train.dwa)
        self.curves: Any = None
        self.recent: list[dict[str, Any]] = []

    # -- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> Progress:
        """Train until the last step; validates, logs and saves as configured."""
        self.out.mkdir(parents=True, exist_ok=True)
        if self.progress.step == 0:
            torch.manual_seed(self.config.train.seed)
            (self.out / "log.jsonl").unlink(missing_ok=True)
        self.curves = open_curves(self.out, self.progress.step)
        bar = tqdm(total=self.total, initial=self.progress.step, desc="training", unit="step", disable=None)
        while self.progress.step < self.total:
            self.run_epoch(bar)
        bar.close()
        if self.curves is not None:
            self.curves.close()
        return self.progress

    def run_epoch(self, bar: Any) -> None:
        """From the place of `progress` to the epoch's end (or the run's)."""
        progress, train = self.progress, self.config.train
        self.model.train()
        loader = self.loader(progress.epoch, progress.batch)
        began = time.perf_counter()
        for batch in loader:
            last_of_epoch = progress.batch + 1 == self.batches
            row = self.micro_step(batch)
            progress.batch += 1
            if progress.batch % train.accumulate and not last_of_epoch:
                continue
            norm = self.engine.step(learning_rate(progress.step, self.total, train.warmup))
            progress.step += 1
            now = time.perf_counter()
            self.report({**row, "grad_norm": norm, "seconds": now - began}, bar)
            began = now
            if progress.step >= self.total:
                break
            if train.save_every and progress.step % train.save_every == 0 and not last_of_epoch:
                self.save("last")
        self.close_epoch()

    def micro_step(self, batch: Any) -> dict[str, Any]:
        """Forward and backward of one micro-batch; returns its losses as numbers."""
        progress, train = self.progress, self.config.train
        warm = progress.step < self.config.model.prompts.warmup * self.total
        losses = self.engine.losses(batch, warm)
        weights = self.dwa.weights(list(losses.live))
        first = progress.batch - progress.batch % train.accumulate
        group = min(train.accumulate, self.batches - first)  # the epoch's last step may be short
        total = torch.stack([weights[name] * loss for name, loss in losses.live.items()]).sum()
        self.engine.backward(total / group)
        values = {name: float(loss.detach()) for name, loss in losses.live.items()}
        for name, value in values.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + value
        progress.count += 1
        return {
            "loss": float(total.detach()),
            **values,
            "weights": weights,
            "positives": int(losses.positives),
        }

    def close_epoch(self) -> None:
        """Epoch means into DWA, validation, checkpoints."""
        progress, train = self.progress, self.config.train
        means = {name: value / progress.count for name, value in progress.sums.items()}
        self.dwa.close_epoch(means)
        progress.epoch, progress.batch, progress.sums, progress.count = progress.epoch + 1, 0, {}, 0
        done = progress.step >= self.total
        scored = None
        if self.validation is not None and (progress.epoch % train.validate_every == 0 or done):
            scored = self.validate()
        if scored is not None and scored > progress.best:
            progress.best = scored
            self.save("best", resumable=False)
        elif self.validation is None and done:
            self.save("best", resumable=False)
        self.save("last")  # after `best`: killed in between, the epoch's end is done again and comes out the same

    def loader(self, epoch: int, start: int) -> DataLoader[Any]:
        """Batches of an epoch from batch `start` on."""
        train, data = self.config.train, self.config.data
        order = EpochOrder(len(self.data), train.batch, train.seed, epoch, start)
        return DataLoader(
            self.data,
            batch_sampler=order,
            num_workers=data.workers,
            collate_fn=partial(collate, pad_id=self.tokenizer.pad_id),
            pin_memory=self.engine.device.type == "cuda",
            # Without a generator of its own, opening a loader draws from the one that dropout uses.
            generator=torch.Generator().manual_seed(epoch),
        )

    # -- validation -------------------------------------------------------------------------------------------

    def validate(self) -> float | None:
        """Caption the validation clips; returns the score that chooses `best`."""
        assert self.validation is not None
        captions = predict(
            self.model, self.tokenizer, self.pieces, self.validation, self.config, self.engine.device
        )
        lines = [json.dumps({"id": i, "caption": c.text, "emotion": c.emotion}) for i, c in captions.items()]
        write_text(self.out / "validation.jsonl", "\n".join(lines) + "\n")
        if self.scorer is None:
            return None
        refs = {r.id: r.captions for r in self.validation.records if r.captions}
        scores = self.scorer(refs, {i: captions[i].text for i in refs})
        named = {r.id: r.emotion for r in self.validation.records if r.emotion in self.config.model.labels}
        right = [
            max(captions[i].emotion, key=captions[i].emotion.__getitem__) == e
            for i, e in named.items()
            if captions[i].emotion
        ]
        scores = {**scores, **({"emotion accuracy": sum(right) / len(right)} if right else {})}
        log.info("epoch %d: %s", self.progress.epoch, ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))
        if self.curves is not None:
            for name, value in scores.items():
                self.curves.add_scalar(f"validation/{name}", value, self.progress.step)
        key = self.config.train.best_by
        if key not in scores:
            raise ConfigError(f"train.best_by is {key!r}, the validation gives {', '.join(scores)}")
        return float(scores[key])

    # -- log and checkpoints ----------------------------------------------------------------------------------

    def report(self, row: dict[str, Any], bar: Any) -> None:
        """One step into log.jsonl (flushed with checkpoints and every `log_every` steps), curves and the bar."""
        step = self.progress.step
        row = {"step": step, "epoch": self.progress.epoch, **row}
        self.recent.append(row)
        bar.update(1)
        if step % self.config.train.log_every == 0 or step == self.total:
            self.flush()
            bar.set_postfix({k: f"{row[k]:.3f}" for k in ("loss", "mlm", "er", "au") if k in row})
        if self.curves is not None:
            for name in ("loss", "mlm", "er", "au", "positives", "grad_norm"):
                if name in row:
                    self.curves.add_scalar(f"train/{name}", row[name], step)
            for name, value in row["weights"].items():
                self.curves.add_scalar(f"weight/{name}", value, step)

    def flush(self) -> None:
        """Append the steps since the last flush to log.jsonl."""
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in self.recent)
        self.recent.clear()

    def save(self, name: str, resumable: bool = True) -> None:
        """Write the folder `name` in `out`: a checkpoint, with the trainer's state when resumable."""
        self.flush()
        tensors, values = self.engine.state()
        tensors |= random_state()
        progress = {k: v for k, v in vars(self.progress).items() if k != "best" or math.isfinite(v)}
        values = {
            "engine": values,
            "progress": progress,
            "dwa": self.dwa.history,
            "config": to_dict(self.config),
        }
        checkpoint.save(
            self.out / name,
            self.model,
            self.tokenizer,
            foreign=self.pieces.foreign,
            meta=self.meta,
            extra=tensors if resumable else None,
            extra_meta=values,
        )

    def resume(self) -> bool:
        """Go on from `last`, if there is one of the same configuration; False when there is none."""
        folder = checkpoint.recover(self.out / "last")
        if not (folder / "trainer.json").exists():
            return False
        values = json.loads((folder / "trainer.json").read_text(encoding="utf-8"))
        changed = differences(values["config"], to_dict(self.config))
        if changed:
            raise CheckpointError(
                f"{folder} was made with other settings ({', '.join(changed[:4])}): "
                f"restore them, choose another train.out, or delete the folder"
            )
        checkpoint.fill(self.model, checkpoint.read_weights(folder / "model.safetensors"), str(folder))
        tensors = checkpoint.read_weights(folder / "trainer.safetensors")
        self.engine.restore(tensors, values["engine"])
        restore_random_state(tensors)
        self.progress = Progress(**values["progress"])
        self.dwa.history = values["dwa"]
        cut_log(self.out / "log.jsonl", self.progress.step)
        log.info("resumed at step %d of %d", self.progress.step, self.total)
        return True


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted keys at which two configurations differ, where it matters for going on."""
    harmless = {
        "train.log_every",
        "train.save_every",
        "train.threads",
        "train.out",
        "data.workers",
        "data.cache",
    }
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{prefix}{k}.")]
    key = prefix.rstrip(".")
    return [] if old == new or key in harmless else [key]


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


def open_curves(out: Path, step: int) -> Any:
    """A TensorBoard writer, or None with a line of log where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("no curves: install captioner[train] for TensorBoard")
        return None
    return SummaryWriter(str(out / "curves"), purge_step=step or None)


def predict(
    model: EmotionCaptioner,
    tokenizer: Tokenizer,
    pieces: TextPieces,
    data: ClipDataset,
    config: Config,
    device: torch.device,
) -> dict[str, Caption]:
    """Captions of all clips of a dataset by id, in batches; the random state is left as it was."""
    kept = random_state()
    was_training = model.training
    model.eval()
    captions: dict[str, Caption] = {}
    for batch in batches_of(data, config, tokenizer):
        made = caption_batch(model, tokenizer, pieces, batch.to(device), config.decode)
        captions.update(zip(batch.ids, made, strict=True))
    model.train(was_training)
    restore_random_state(kept)
    return captions


def batches_of(data: ClipDataset, config: Config, tokenizer: Tokenizer) -> Iterator[Any]:
    """A dataset in order."""
    order = EpochOrder(len(data), config.train.batch, 0, 0, shuffle=False)
    return iter(
        DataLoader(
            data,
            batch_sampler=order,
            num_workers=config.data.workers,
            collate_fn=partial(collate, pad_id=tokenizer.pad_id),
        )
    )
