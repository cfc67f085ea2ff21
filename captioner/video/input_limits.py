"""How much one input may ask for, checked before the memory, disk or time is taken; SECURITY.md has the same table."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from functools import lru_cache

from captioner.errors import ConfigError, unknown

KEY = "CAPTIONER_LIMITS"  # in the environment: "pixels=90000000 hours=48"


@dataclass(frozen=True)
class Limits:
    """The table; a docstring under a field says what it bounds."""

    pixels: float = 40_000_000
    """Of a decoded frame, as its header says; 8K video has 35 million."""
    ratio: float = 50
    """Of the sides of a picture as shown, pixel aspect included."""
    pictures_mb: float = 512
    """Of all pictures that are kept of one clip at a time."""
    hours: float = 24
    """Of a film by its clock."""
    gap_hours: float = 1
    """Between two pictures; a clock that leaps further counts for nothing, pictures come evenly then."""
    stdin_mb: float = 400
    """Of a video on standard input, through a pipe or out of an open stream, which is held in memory."""
    read_seconds: float = 20
    """For opening, and for each read of, an address or a file."""
    download_seconds: float = 600
    """For all of an address."""
    download_mb: float = 4096
    """Of all of an address, on the disk while it is captioned."""
    segments: float = 5000
    """Of a playlist."""


def limits() -> Limits:
    """The limits of this process, as the environment changes them."""
    return _changed(os.environ.get(KEY, ""))


@lru_cache(maxsize=8)
def _changed(text: str) -> Limits:
    found: dict[str, float] = {}
    for word in text.replace(",", " ").split():
        name, equals, value = word.partition("=")
        if name not in {field.name for field in fields(Limits)}:
            raise ConfigError(f"{KEY}: {unknown('limit', name, [field.name for field in fields(Limits)])}")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = -1.0
        if not equals or not 0 < found[name] < float("inf"):
            raise ConfigError(f"{KEY}: {name} is {value!r}: a number above 0 is needed")
    return replace(Limits(), **found)


def raised(name: str) -> str:
    """The end of a message: how to ask for more."""
    return f"raise it with {KEY}={name}=N"
