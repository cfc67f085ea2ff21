"""Figures without a window behind them, by matplotlib of the extra `eval`."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from captioner.files import atomic


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure, in inches, and its axes."""
    figure = import_module("matplotlib.figure").Figure((width, height), layout="constrained")
    return figure, figure.subplots()


def save_figure(figure: Any, path: Path) -> None:
    """As a PNG, whole or not at all."""
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=150)
