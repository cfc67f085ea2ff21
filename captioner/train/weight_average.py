"""An exponential moving average of the trained weights: what is validated and kept as `best` where it is asked for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

PREFIX = "average."  # of its tensors in a checkpoint


class WeightAverage:
    """average = decay * average + (1 - decay) * weights, after each step; young averages forget faster."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.members = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.members.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.members.items():
            self.average[name].lerp_(parameter.detach().to(self.average[name]), 1 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """While it is open the model has the average's weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.members.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.average[name])
            self.average[name] = kept

    def state(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint."""
        return {PREFIX + name: value.cpu() for name, value in self.average.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`; a checkpoint without an average leaves the weights as they are now."""
        for name, parameter in self.members.items():
            value = tensors.get(PREFIX + name)
            self.average[name] = (parameter.detach() if value is None else value.to(parameter.device)).clone()
