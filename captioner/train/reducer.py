"""Gradients averaged over processes while the backward pass still runs.

Parameters stand in buckets of a fixed order. A bucket travels as soon as all its gradients and all buckets before it
are there; what is left goes at the end. So every process sends the same messages in the same order, also where a
parameter has a gradient in some of them only.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from captioner.train.processes import Processes

BUCKET = 1 << 23  # elements of gradients that travel together


class GradientReducer:
    """Mean gradients of parameters over processes; alone it does nothing."""

    def __init__(self, parameters: Sequence[nn.Parameter], processes: Processes) -> None:
        self.processes, self.parameters = processes, list(parameters)
        self.armed = False
        self.buckets = _buckets(self.parameters) if processes.size > 1 else []
        self.place = {id(p): number for number, bucket in enumerate(self.buckets) for p in bucket}
        self.ready = [0] * len(self.buckets)
        self.sent: list[tuple[Tensor, Any]] = []
        if processes.size > 1:
            for parameter in self.parameters:
                parameter.register_post_accumulate_grad_hook(self._arrived)

    def arm(self, last: bool) -> None:
        """Before a backward pass: only the last one of a step sends anything."""
        self.armed = last and self.processes.size > 1
        self.ready, self.sent = [0] * len(self.buckets), []

    def _arrived(self, parameter: Tensor) -> None:
        if not self.armed:
            return
        self.ready[self.place[id(parameter)]] += 1
        while len(self.sent) < len(self.buckets) and self._complete(len(self.sent)):
            self._send(self.buckets[len(self.sent)])

    def _complete(self, number: int) -> bool:
        return self.ready[number] >= len(self.buckets[number])

    def _send(self, bucket: Sequence[nn.Parameter]) -> None:
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
        self.sent.append((flat, dist.all_reduce(flat, async_op=True)))

    def finish(self) -> None:
        """Before the update: send what is left, wait for all; what has a gradient nowhere keeps none."""
        if self.processes.size == 1:
            return
        while len(self.sent) < len(self.buckets):
            self._send(self.buckets[len(self.sent)])
        own = [int(p.grad is not None) for p in self.parameters]
        held = dict(zip(map(id, self.parameters), self.processes.table(own).amax(0).tolist(), strict=True))
        for bucket, (flat, work) in zip(self.buckets, self.sent, strict=True):
            work.wait()
            flat /= self.processes.size
            for parameter, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
                if held[id(parameter)]:
                    parameter.grad = part.view_as(parameter).to(parameter.dtype)
        self.armed = False


def _buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters in about the order in which their gradients come, last ones first; of one type in each bucket."""
    buckets: list[list[nn.Parameter]] = []
    room = 0
    for parameter in reversed(parameters):
        fits = bool(buckets) and room >= parameter.numel() and buckets[-1][0].dtype == parameter.dtype
        if not fits:
            buckets.append([])
            room = BUCKET
        buckets[-1].append(parameter)
        room -= parameter.numel()
    return buckets
