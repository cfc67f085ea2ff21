"""Work that can be called off from another thread: a signal, and the places that heed it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event

_signal: ContextVar[Event | None] = ContextVar("stop", default=None)


class Stopped(BaseException):
    """The work was called off; no Exception, so that nobody takes it for the fault of a video."""


@contextmanager
def stoppable(signal: Event) -> Iterator[None]:
    """What is done within ends with `Stopped` soon after the signal is set; threads with a copy of the context too."""
    token = _signal.set(signal)
    try:
        yield
    finally:
        _signal.reset(token)


def heed_stop() -> None:
    """End here if the work was called off; costs next to nothing."""
    signal = _signal.get()
    if signal is not None and signal.is_set():
        raise Stopped
