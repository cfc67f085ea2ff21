"""A run whose numbers are no longer finite ends within a step; its last good checkpoint stays the last.

float16 apart: there an overflow is the scaler's business, which leaves the step out and halves its scale. Only when
that does not help, step after step, the run ends too.
"""

import logging
import math

import torch
import torch.distributed as dist
from torch import Tensor, nn

from captioner.errors import NotFinite
from captioner.train.processes import Processes

log = logging.getLogger(__name__)

MOST_OVERFLOWS = 20  # steps in a row; by then the scale has fallen a million times


class FiniteGuard:
    """Watches loss, gradient and weights of every step; all processes come to the same verdict.

    The numbers stay on the device until the next step is under way: the processor never waits for them.
    """

    def __init__(self, processes: Processes, scaled: bool) -> None:
        self.processes, self.scaled = processes, scaled
        self.overflows = 0  # steps in a row that the scaler left out
        self.waiting: tuple[int, float, Tensor] | None = None  # step, rate, (processes, loss gradient weights)

    def watch(self, step: int, rate: float, loss: Tensor, norm: Tensor, model: nn.Module) -> None:
        """Take in a step that was made; the verdict on it falls now on a CPU, with the next step elsewhere."""
        self.verdict()
        parts = (loss, norm, weight_norm(model))
        own = torch.stack([each.detach().float().reshape(()).to(loss.device) for each in parts])
        table = [own]
        if self.processes.size > 1:
            table = [torch.empty_like(own) for _ in range(self.processes.size)]
            dist.all_gather(table, own)
        self.waiting = (step, rate, torch.stack(table))
        if own.device.type == "cpu":
            self.verdict()

    def verdict(self) -> None:
        """End the run if the last step's numbers are not finite; before anything is saved, too."""
        if self.waiting is None:
            return
        (step, rate, table), self.waiting = self.waiting, None
        rows = table.cpu().tolist()
        wrong = [rank for rank, row in enumerate(rows) if not all(map(math.isfinite, row))]
        if not wrong:
            self.overflows = 0
            return
        loss, norm, weights = rows[wrong[0]]
        if self.scaled and math.isfinite(weights):
            self.overflows += 1
            log.info("step %d: float16 overflow, the step is left out", step)
            if self.overflows < MOST_OVERFLOWS:
                return
        times = f" for {self.overflows} steps of float16" if self.overflows else ""
        text = (
            f"rank {wrong[0]}, step {step}: loss {loss:.4g}, gradient {norm:.4g}, weights {weights:.4g} are not finite"
            f"{times}, at learning rate {rate:.3g}; `last` is from before: the same command goes on from there "
            f"(try a lower train.lr)"
        )
        raise NotFinite(text if self.processes.main else "")  # the main process tells


def weight_norm(model: nn.Module) -> Tensor:
    """The norm of all that training changes: weights, and buffers as the means of norms."""
    changing = [p.detach() for p in model.parameters() if p.requires_grad]
    held = [b for b in model.buffers() if b.is_floating_point()]
    return nn.utils.get_total_norm([value for value in (*changing, *held) if value.numel()])
