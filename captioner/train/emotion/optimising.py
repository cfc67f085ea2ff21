"""How a recogniser's weights are changed: optimiser, rate over the run, several batches a step, validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captioner.data.manifest import Record
from captioner.train.emotion.run_config import EmotionTrainConfig
from captioner.train.emotion.splits import random_split
from captioner.train.fitting import Pace, constant_rate

EDGE = 0.05  # of a run: the published rate rises so long, and rests so long at its end
LOW, END = 0.1, 0.01  # of the rate, at the start and at the end
RELEASED_FACTOR = 0.01  # what the public code takes of the rate from first to last, by a mistake


def published_factor(epoch: float, epochs: int) -> float:
    """Share of the rate in epoch 1, 2, ...: a quadratic rise from a tenth, half a cosine to a hundredth, a rest."""
    edge = EDGE * epochs
    if epoch <= edge:
        return LOW + (1 - LOW) * (epoch / edge) ** 2
    if epoch >= epochs - edge:
        return END
    return END + 0.5 * (1 - END) * (1 + math.cos(math.pi * (epoch - edge) / (epochs - 2 * edge)))


def pace_of(config: EmotionTrainConfig, optimizer: torch.optim.Optimizer) -> Pace:
    """How the rates of the optimiser's groups change over the run."""
    if config.protocol == "released":
        return _scaled(optimizer, lambda part: RELEASED_FACTOR)
    if config.rate == "published":
        epochs = config.epochs  # the code goes by whole ones
        return _scaled(optimizer, lambda part: published_factor(min(epochs, int(part * epochs + 1e-6) + 1), epochs))
    if config.rate == "cosine":
        return _scaled(optimizer, _warm_cosine)
    return constant_rate


def _warm_cosine(part: float) -> float:
    """A straight rise over a tenth of the run, half a cosine down to 0."""
    return part / 0.1 if part < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (part - 0.1) / 0.9)


def _scaled(optimizer: torch.optim.Optimizer, factor_of: Callable[[float], float]) -> Pace:
    first = [group["lr"] for group in optimizer.param_groups]

    def pace(steered: torch.optim.Optimizer, step: int, part: float) -> None:
        for group, lr in zip(steered.param_groups, first, strict=True):
            group["lr"] = lr * factor_of(part)

    return pace


def optimizer_of(config: EmotionTrainConfig, model: Any) -> torch.optim.Optimizer:
    """Adam, or AdamW with one decay for all, of the model's groups."""
    groups = model.parameter_groups(config.lr, config.decoder_lr_scale)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups)
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def accumulated(loss_of: Callable[[Tensor], Tensor], rows: Tensor, batch: int) -> Tensor:
    """The mean loss of rows, batch after batch: all but the last have their gradients taken here.

    So a step sees several batches and only one of them is in memory.
    """
    parts = rows.split(batch)
    before = torch.zeros(())
    for part in parts[:-1]:
        loss = loss_of(part) * (len(part) / len(rows))
        loss.backward()
        before = before + loss.detach().cpu()
    last = loss_of(parts[-1]) * (len(parts[-1]) / len(rows))
    return last + before.to(last.device)


def wanted_answers(model: Any, records: Sequence[Record]) -> Tensor:
    """What a recogniser is to say: the places of labels (B,), or the values of opinions (B,)."""
    if answers_numbers(model.config):
        return torch.tensor([float(record.extra["value"]) for record in records])
    labels = list(model.labels)
    return torch.tensor([labels.index(str(record.emotion)) for record in records])


def answers_numbers(config: Any) -> bool:
    """Whether a recogniser of this configuration is asked for numbers."""
    return getattr(getattr(config, "answer", None), "task", "") == "regression"


def held_out(records: Sequence[Record], train: Sequence[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Places that train and places by which the best epoch is chosen: the data set's own part, else a share drawn."""
    if not share:
        return list(train), []
    own = [place for place in train if records[place].split == "val"]
    if own:
        chosen = set(own)
        return [place for place in train if place not in chosen], own
    first, second = random_split([records[place] for place in train], share, seed, False)
    return [train[i] for i in first], [train[i] for i in second]
