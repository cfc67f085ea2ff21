"""Numbers of steps on their way into the log: they stay on the device until a line needs them.

A `float(loss)` in every step would make the processor wait for the device, and the device for the processor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class _Pending:
    names: tuple[str, ...]
    values: Tensor  # (names,) on the device
    row: dict[str, Any] | None = None  # of the step that this micro-batch ends
    norm: Tensor | None = None


class StepRows:
    """What micro-batches and steps since the last settling were worth."""

    def __init__(self) -> None:
        self.pending: list[_Pending] = []

    @property
    def loss(self) -> Tensor:
        """Of the last micro-batch, on its device."""
        return self.pending[-1].values[0]

    def add(self, values: Mapping[str, Tensor]) -> None:
        """The numbers of a micro-batch."""
        flat = torch.stack([value.detach().float().reshape(()) for value in values.values()])
        self.pending.append(_Pending(tuple(values), flat))

    def end_step(self, row: dict[str, Any], norm: Tensor) -> None:
        """The last micro-batch ended a step, whose gradients had that norm."""
        self.pending[-1].row, self.pending[-1].norm = row, norm

    def settle(self) -> list[tuple[dict[str, float], dict[str, Any] | None]]:
        """The numbers of each micro-batch in their order, and the row of the step it ended; one wait for all."""
        waiting, self.pending = self.pending, []
        if not waiting:
            return []
        norms = [each.norm for each in waiting if each.norm is not None]
        table = _as_lists([*(each.values for each in waiting), *(norm.detach().float().reshape(1) for norm in norms)])
        values, grad_norms = table[: len(waiting)], iter(table[len(waiting) :])
        found = []
        for each, numbers in zip(waiting, values, strict=True):
            named = dict(zip(each.names, numbers, strict=True))
            row = None if each.row is None else {**each.row, "grad_norm": next(grad_norms)[0]}
            found.append((named, row))
        return found


def _as_lists(parts: Sequence[Tensor]) -> list[list[float]]:
    """Flat tensors as lists, fetched in one go."""
    flat = torch.cat([part.to(parts[0].device) for part in parts]).cpu()
    return [part.tolist() for part in flat.split([len(part) for part in parts])]
