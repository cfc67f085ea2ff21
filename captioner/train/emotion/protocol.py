"""The protocol of every recogniser: find the videos, split them, train and test each split, report mean and spread.

Everything random follows from (train.seed, split, epoch, clip). Labels are read in training and in scoring, never in
predicting. A finished split keeps its result and is not run again with the same settings.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from captioner.config_io import to_dict
from captioner.data.manifest import Record
from captioner.emotion import folder
from captioner.emotion.contract import RecogniserLosses
from captioner.emotion.pe_clip.pe_clip import PEClip
from captioner.emotion.registry import kind_of
from captioner.errors import ConfigError
from captioner.files import atomic, write_text
from captioner.train.cards import render_card
from captioner.train.emotion import plots
from captioner.train.emotion.clip_features import (
    ClipFeatures,
    SeenFeatures,
    feature_cache,
    moved,
    open_features,
)
from captioner.train.emotion.found_splits import Split, find_splits, seen_persons, settle_labels
from captioner.train.emotion.opinion_scores import opinions_of
from captioner.train.emotion.optimising import (
    accumulated,
    answers_numbers,
    held_out,
    optimizer_of,
    pace_of,
    wanted_answers,
)
from captioner.train.emotion.photos import TRAIN, VALIDATION, Photos, photo_loss, photo_scores
from captioner.train.emotion.ready_features import with_ready
from captioner.train.emotion.run_config import EmotionRun
from captioner.train.emotion.scores import belief_scores
from captioner.train.emotion.splits import shared_groups
from captioner.train.emotion.summary import draw_plots, protocol_report, summarise
from captioner.train.fitting import FitConfig, fit

log = logging.getLogger(__name__)


@dataclass
class Tested:
    """Test clips of a split: ids, truth (N,), probabilities (N, K), features (N, E)."""

    ids: list[str]
    truth: Tensor
    probs: Tensor
    features: Tensor

    def confusion(self) -> Tensor:
        """Counts (K, K), rows the truth."""
        classes = self.probs.shape[1]
        return torch.bincount(self.truth * classes + self.probs.argmax(1), minlength=classes**2).view(classes, -1)

    def scores(self) -> dict[str, float]:
        """Accuracy and what stands beside it."""
        return belief_scores(self.probs, self.truth)


# -- one split ------------------------------------------------------------------------------------------------


def train_split(
    run: EmotionRun,
    model: Any,
    data: ClipFeatures,
    split: Split,
    number: int,
    photos: Photos | None = None,
) -> list[float]:
    """Train in place; returns the mean loss of the task itself in each epoch.

    The last epoch's weights stay, or those of the epoch that is best on what is held out.
    """
    device, config = next(model.parameters()).device, run.train
    if config.protocol == "released":
        rows, judges = list(split.train), list(split.test)
    else:
        rows, judges = held_out(split.records, split.train, run.data.validation, config.seed)
    trained = [split.records[place] for place in rows]
    costs: list[float] = []  # of every batch, summed over its clips

    def loss_of(_: nn.Module, chosen: Tensor, random: torch.Generator) -> Tensor:
        def cost(some: Tensor) -> Tensor:
            features = moved(data.train_batch(some.tolist(), random), device)
            wanted = wanted_answers(model, [trained[row] for row in some.tolist()]).to(device)
            losses: RecogniserLosses = model.losses(features, wanted, random)
            costs.append(float(losses.task) * len(some))
            return losses.total

        loss = accumulated(cost, chosen, config.batch)
        if photos is None:
            return loss
        seen, votes = (x.to(device) for x in photos.draw(config.photo_batch, random))
        return loss + photo_loss(model, seen, votes, photos.known.to(device))

    scored = [split.records[place] for place in judges]
    folder_of_fit = Path(config.out) / f"split-{number}" / "fit" if scored else None
    if folder_of_fit is not None:
        shutil.rmtree(folder_of_fit, ignore_errors=True)  # of a run that was stopped: its labels or clips may be others
    count = len(rows)
    setup = FitConfig(
        folder_of_fit, config.epochs, count, config.batch * config.accumulate, average=0.0, clip_norm=config.clip_norm,
        drop_last=config.protocol == "released", half=False, patience=config.epochs,
        epoch_seed=(config.seed * 1009 + number) * 100_003, device=str(device), name=f"split {number}",
    )  # fmt: skip
    data.start(trained, setup)
    optimizer = optimizer_of(config, model)
    score = (lambda net: judged(run, net, data, scored)) if scored else None
    fit(model, setup, loss_of, score, optimizer=optimizer, pace=pace_of(config, optimizer))
    if folder_of_fit is not None:
        shutil.rmtree(folder_of_fit, ignore_errors=True)
    each = math.ceil(len(costs) / config.epochs)
    return [sum(costs[at : at + each]) / count for at in range(0, len(costs), each)]


def judged(run: EmotionRun, model: Any, data: ClipFeatures, records: Sequence[Record]) -> float:
    """How good an epoch is: the share of right labels, or less the mean error of opinions."""
    probs, _ = predict_beliefs(run, model, data, records)
    if answers_numbers(model.config):
        said = probs @ torch.tensor(model.config.answer.values)
        return -float((said - wanted_answers(model, records)).abs().mean())
    return float((probs.argmax(1) == wanted_answers(model, records)).double().mean())


def open_photos(run: EmotionRun, model: Any) -> tuple[Photos | None, Photos | None]:
    """The photos to learn from and those to be scored, if the run has any."""
    if not run.data.photos:
        return None, None
    cache = feature_cache(run)
    train, unseen = (Photos(run.data.photos, part, model.config.labels, model, cache) for part in (TRAIN, VALIDATION))
    return train, unseen


def predict_beliefs(
    run: EmotionRun, model: Any, data: ClipFeatures, records: Sequence[Record]
) -> tuple[Tensor, Tensor]:
    """Probabilities (N, K) and features (N, E) of clips; their labels are not looked at."""
    device, batch = next(model.parameters()).device, run.train.batch
    draw = None
    if run.train.protocol == "released" and isinstance(data, SeenFeatures):
        draw = torch.Generator().manual_seed(run.train.seed)
    beliefs = []
    for at in range(0, len(records), batch):
        some = records[at : at + batch]
        seen = data.drawn(some, draw) if draw is not None and isinstance(data, SeenFeatures) else data.batch(some)
        beliefs.append(model.predict(moved(seen, device)))
    return torch.cat([b.probs for b in beliefs]).cpu(), torch.cat([b.features for b in beliefs]).cpu()


def run_split(
    run: EmotionRun, config: Any, shared: Any, split: Split, number: int, device: torch.device
) -> dict[str, Any]:
    """Train, test and write one split, or read what it wrote before."""
    out = Path(run.train.out) / f"split-{number}"
    key = fingerprint(run, config, split)
    done = read_result(out / "result.json", key)
    if done is not None:
        log.info("split %d: finished before, top-1 %.1f %%", number, 100 * done["top1"])
        return done
    began = time.perf_counter()
    torch.manual_seed(run.train.seed * 1009 + number)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    model = kind_of(config.kind).build(config, shared).to(device)
    data = open_features(run, model)
    records = [split.records[i] for i in split.test]
    data.fill([split.records[i] for i in split.train], records)
    photos, unseen = open_photos(run, model)
    curve = train_split(run, model, data, split, number, photos)
    probs, features = predict_beliefs(run, model, data, records)
    truth = torch.tensor([config.labels.index(str(record.emotion)) for record in records])
    tested = Tested([record.id for record in records], truth, probs, features)
    result = {
        "key": key,
        "split": number,
        "top1": tested.scores()["top1"],
        "scores": tested.scores(),
        "confusion": tested.confusion().tolist(),
        "train": len(split.train),
        "test": len(split.test),
        "shared_groups": shared_groups(split.records, split.train, split.test),
        "loss": curve,
        "trained_parameters": model.trained_parameters(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "peak_memory_mb": peak_megabytes(device),
        "seconds": time.perf_counter() - began,
        **({"gates": [gate.tolist() for gate in model.open_gates()]} if isinstance(model, PEClip) else {}),
        **({"photos": photo_scores(model, unseen)} if unseen is not None else {}),
        **({"opinions": opinions_of(config, probs, records)} if answers_numbers(config) else {}),
    }
    meta = {"dataset": run.data.dataset}
    card = model_card(run, config, result)
    folder.save_recogniser(out / "model", model, meta=meta, card=card, half=run.train.half)
    write_split(out, tested, config.labels, result)
    log.info("split %d: top-1 %.1f %% of %d clips", number, 100 * result["top1"], len(records))
    return result


def write_split(out: Path, tested: Tested, labels: Sequence[str], result: dict[str, Any]) -> None:
    """Predictions, features, and last the result, whose presence says that the split is finished."""
    lines = [
        json.dumps({"id": i, "emotion": labels[t], "belief": dict(zip(labels, map(_short, row), strict=True))})
        for i, t, row in zip(tested.ids, tested.truth.tolist(), tested.probs.tolist(), strict=True)
    ]
    write_text(out / "predictions.jsonl", "\n".join(lines) + "\n")
    with atomic(out / "features.safetensors") as temporary:
        save_file({"features": tested.features.contiguous(), "truth": tested.truth}, temporary)
    write_text(out / "result.json", json.dumps(result) + "\n")


def fingerprint(run: EmotionRun, config: Any, split: Split) -> str:
    """A digest of everything that a split's result depends on."""
    train = {k: v for k, v in to_dict(run.train).items() if k not in ("out", "only", "plots", "threads")}
    clips = [
        [(r.id, r.emotion, r.extra.get("value"), r.extra.get("transcript")) for r in (split.records[i] for i in side)]
        for side in (split.train, split.test)
    ]
    data: dict[str, Any] = {"crop": run.data.crop, "candidates": run.data.candidates, "photos": bool(run.data.photos)}
    data |= {"validation": run.data.validation, "clips": clips}
    whole = json.dumps([to_dict(config), train, data], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def read_result(path: Path, key: str) -> dict[str, Any] | None:
    """What a finished split with the same settings wrote."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) and result.get("key") == key else None


def peak_megabytes(device: torch.device) -> float:
    """Most memory so far in MB: of the GPU, or of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


# -- all splits -----------------------------------------------------------------------------------------------


def run_protocol(run: EmotionRun, device: torch.device) -> dict[str, Any]:
    """The whole run; returns, and writes to train.out, what was measured."""
    if run.train.plots == "always":
        plots.check_plots()
    names, splits, notices = find_splits(run.data, seen_persons(run))
    for notice in notices:
        log.info("%s", notice)
    wrong = [number for number in run.train.only if not 0 <= number < len(splits)]
    if wrong:
        raise ConfigError(f"train.only names split {wrong[0]}: there are splits 0 to {len(splits) - 1}")
    config = with_ready(run.data, settle_labels(run, names))
    torch.manual_seed(run.train.seed)
    shared = kind_of(config.kind).open(config)
    chosen = run.train.only or range(len(splits))
    results = [run_split(run, config, shared, splits[number], number, device) for number in chosen]
    summary = summarise(run, config.labels, results, notices)
    out = Path(run.train.out)
    write_text(out / "run.json", json.dumps(to_dict(replace(run, emotion=config)), indent=1) + "\n")
    if run.train.plots != "never":
        draw_plots(out, config.labels, summary, results)
    write_text(out / "results.json", json.dumps(summary, indent=1) + "\n")
    write_text(out / "report.md", protocol_report(run, summary))
    log.info("top-1 %.1f %% (+- %.1f over %d splits): %s", 100 * summary["top1"], 100 * summary["spread"],
             len(results), out / "report.md")  # fmt: skip
    return summary


def model_card(run: EmotionRun, config: Any, result: dict[str, Any]) -> str:
    """What a reader of a trained folder should know."""
    title, clip = kind_of(config.kind).title, getattr(config, "clip", None)
    source = clip.source if clip is not None else ""
    return render_card("pe_clip", title=title, result=result, dataset=run.data.dataset, source=source)


def _short(value: float) -> float:
    return round(value, 6)
