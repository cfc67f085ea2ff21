"""The mean face of the built-in reader, to make faces of in tests."""

import numpy as np
import torch
from torch import Tensor

from captioner.faces.builtin import WEIGHTS, load_parts


def mean_face() -> Tensor:
    """Its landmarks (68, 2)."""
    return load_parts(WEIGHTS).landmarker.template


def placed(template: Tensor, x: float, y: float, side: float, angle: float = 0.0) -> Tensor:
    """Landmarks (68, 2) of the mean face at a place."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float32)
    return template @ turn.T * side + torch.tensor([x, y])
