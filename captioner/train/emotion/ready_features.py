"""Clips whose features are ready in a file: what it has settles the recogniser's shapes, training clips its scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captioner.data.adapters.feature_file import FeatureFile, is_feature_file
from captioner.data.manifest import Record
from captioner.errors import ConfigError
from captioner.train.emotion.run_config import EmotionDataConfig
from captioner.train.fitting import FitConfig


def with_ready(data: EmotionDataConfig, config: Any) -> Any:
    """The recogniser's configuration with the shapes of a feature file; unchanged where the root is a folder."""
    given = getattr(config, "ready", None)
    if not data.root or data.dataset not in ("mosi", "mosei") or not is_feature_file(data.root):
        if given is not None and given.shapes(config.order):
            raise ConfigError(
                f"emotion.ready names shapes of ready features, but data.root {data.root!r} is no feature file: leave "
                "emotion.ready out, or give the .safetensors of scripts/convert.py opinions"
            )
        return config
    if given is None:
        raise ConfigError(f"{data.root} holds ready features, which mer_clip takes; emotion.kind is {config.kind}")
    there = FeatureFile(data.root).shapes
    wanted = [name for name in config.order if name != "text" or config.spoken.given]
    lacking = [name for name in wanted if name not in there and name != "text"]
    if lacking:
        raise ConfigError(
            f"emotion.order has {', '.join(lacking)}, which {Path(data.root).name} has not (it has "
            f"{', '.join(there) or 'none'}): leave it out of emotion.order"
        )
    found = {name: list(there[name]) for name in wanted if name in there}
    for name, shape in vars(given).items():
        if shape and shape != found.get(name):
            raise ConfigError(
                f"emotion.ready.{name} is {shape}, {Path(data.root).name} has {found.get(name, 'none')}: leave it out"
            )
    return replace(config, ready=replace(given, **found))


class ReadyFeatures:
    """Features of clips out of a feature file; where it has none of text, its sentences through CLIP's text encoder."""

    def __init__(self, root: str, model: Any) -> None:
        self.file, self.model = FeatureFile(root), model
        self.names = [name for name in model.config.order if name in model.ready]
        self.reads = "text" in model.config.order and "text" not in model.ready
        self.records: list[Record] = []

    def start(self, records: Sequence[Record], setup: FitConfig) -> None:
        """Training on these clips begins."""
        self.records = list(records)

    def train_batch(self, rows: Sequence[int], random: torch.Generator) -> dict[str, Tensor]:
        """Features of training clips."""
        return self.batch([self.records[row] for row in rows])

    def batch(self, records: Sequence[Record]) -> dict[str, Tensor]:
        """Features of clips, side by side."""
        places = [(record.split, int(record.extra["row"])) for record in records]
        found = {name: torch.stack([self.file.row(name, *place) for place in places]) for name in self.names}
        if self.reads:
            with torch.no_grad():
                states, mask = self.model.read([str(record.extra["transcript"]) for record in records])
            found |= {"text": states.cpu(), "text_mask": mask.cpu()}
        return found

    def fill(self, train: Sequence[Record], test: Sequence[Record]) -> None:
        """Measure the mean and the spread of what training clips have; nothing else is to be kept."""
        for name in self.names:
            width = self.file.shapes[name][1]
            total, squares, count = torch.zeros(width, dtype=torch.float64), torch.zeros(width).double(), 0
            for record in train:
                frames = self.file.row(name, record.split, int(record.extra["row"])).double()
                frames = frames[frames.abs().amax(1) > 0]
                total, squares, count = total + frames.sum(0), squares + (frames**2).sum(0), count + len(frames)
            mean = total / max(1, count)
            spread = (squares / max(1, count) - mean**2).clamp(min=0).sqrt()
            self.model.ready[name].settle(mean.float(), spread.float())
