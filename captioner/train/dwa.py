"""Weights of the losses that follow how fast each falls."""

import math
from collections.abc import Mapping, Sequence


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
