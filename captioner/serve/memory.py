"""Memory that the C library keeps for itself: a server gives it back after each video and stays as small as idle."""

import ctypes
from contextlib import suppress
from functools import cache
from typing import Any

_ARENA_MAX = -8  # mallopt's M_ARENA_MAX


@cache
def _library() -> Any:
    return ctypes.CDLL(None)


def share_arenas(count: int = 2) -> None:
    """Let all threads share few heaps; each video is decoded in a thread of its own, whose heap would stay."""
    with suppress(AttributeError, OSError, TypeError):  # no glibc
        _library().mallopt(_ARENA_MAX, count)


def give_back() -> None:
    """What is free in the heaps goes back to the system."""
    with suppress(AttributeError, OSError, TypeError):
        _library().malloc_trim(0)
