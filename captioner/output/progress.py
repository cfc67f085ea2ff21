"""What a watcher of the command sees while it works: bars that give way to lines, and that a model is being loaded."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from captioner.errors import OutputError

_bars: list[Any] = []  # those that are drawn now


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Bars give way to what is written meanwhile, and are drawn again below it."""
    for bar in _bars:
        bar.clear()
    try:
        yield
    finally:
        for bar in _bars:
            bar.refresh()


class LineHandler(logging.StreamHandler[Any]):
    """Log lines on standard error, above the bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        with aside():
            super().emit(record)


@contextlib.contextmanager
def loading(model: str | None, quiet: bool) -> Iterator[None]:
    """On a terminal a word that a model is being loaded, gone when it is there."""
    shown = sys.stderr.isatty() and not quiet
    text = f"loading model {model or 'default'} ..."
    if shown:
        print(text, end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print(" " * len(text), end="\r", file=sys.stderr, flush=True)


class Silent:
    """No bar: lines go straight to standard output."""

    def update(self) -> None:
        """One more input is done."""

    def reach(self, second: float, duration: float) -> None:
        """A video is done up to this second."""

    def close(self) -> None:
        """Nothing is left to draw."""

    def say(self, text: str) -> None:
        """A line on standard output, at once."""
        try:
            with aside():
                print(text, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"cannot write to standard output: {(error.strerror or str(error)).lower()}") from error


class Bar(Silent):
    """A bar on standard error; lines pass above it."""

    def __init__(self, total: int | None, unit: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit=unit, dynamic_ncols=True, file=sys.stderr)
        _bars.append(self._bar)

    def update(self) -> None:
        """One step."""
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar in _bars:
            _bars.remove(self._bar)
        self._bar.close()


class FilmBar(Bar):
    """A bar along one long video."""

    def update(self) -> None:
        """Its seconds have said so."""

    def reach(self, second: float, duration: float) -> None:
        """As far as this second."""
        self._bar.total = round(duration)
        self._bar.update(round(second) - self._bar.n)


def progress(inputs: int, windows: bool, quiet: bool) -> Silent:
    """A bar where somebody watches several inputs, or one in windows."""
    if quiet or not sys.stderr.isatty() or (inputs < 2 and not windows):
        return Silent()
    return Bar(inputs, "clip") if inputs > 1 else FilmBar(None, "s")
