"""Furrows: how skin darkens and brightens where an action unit folds it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


class Furrows:
    """Maps (h, w) of log brightness for each AU and side of one face, on a canvas at half its size."""

    scale = 0.5

    def __init__(self, landmarks: Array, height: int, width: int) -> None:
        self.shape = (max(1, height // 2), max(1, width // 2))

    def combine(self, aus: Mapping[int, float], sides: Mapping[int, tuple[float, float]]) -> Array | None:
        """Factors (h, w) of brightness for intensities of AUs; None where nothing folds."""
        return None
