"""A recogniser of forty lines: it goes by the mean colour. What adding a fifth one takes, for tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.emotion.belief import EmotionBelief
from captioner.emotion.contract import EvidenceBatch, RecogniserKind, RecogniserLosses, Wants
from captioner.model.weights import fill


@dataclass(frozen=True)
class FifthConfig:
    kind: str = "fifth"
    labels: list[str] = field(default_factory=list)


class Fifth(nn.Module):
    KIND = "fifth"
    wants = Wants(segments=2, size=8)

    def __init__(self, config: FifthConfig) -> None:
        super().__init__()
        self.config, self.labels = config, tuple(config.labels)
        self.net = nn.Linear(3, len(config.labels))

    def features(self, batch: EvidenceBatch) -> Tensor:
        assert batch.frames is not None
        return batch.frames.float().mean((1, 3, 4)) / 255

    def forward(self, features: Tensor) -> Tensor:
        return self.net(features)  # type: ignore[no-any-return]

    def losses(self, features: Tensor, labels: Tensor, generator: Any = None) -> RecogniserLosses:
        loss = F.cross_entropy(self(features), labels)
        return RecogniserLosses(loss, loss.detach())

    @torch.no_grad()
    def predict(self, features: Tensor) -> EmotionBelief:
        return EmotionBelief(self.labels, self(features).softmax(1), features)

    def parameter_groups(self, lr: float, slow: float) -> list[dict[str, Any]]:
        return [{"params": list(self.parameters()), "lr": lr}]

    def trained_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())


def restore(config: FifthConfig, state: Mapping[str, Tensor], folder: Path) -> Fifth:
    model = Fifth(config)
    fill(model, state, str(folder))
    return model


RECOGNISER = RecogniserKind("fifth", "FIFTH", FifthConfig, lambda config, shared=None: Fifth(config), restore)
