"""The few exceptions users meet: each carries one line that says what was given, what is allowed, what to do."""

import hashlib
import re
from collections.abc import Iterable
from difflib import get_close_matches

# Controls, separators of lines, and marks that turn or hide letters.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^/?#]*@)?(?P<place>[^?#]*)(?P<rest>.*)", re.S | re.I)


class CaptionerError(Exception):
    """Base of every error whose message is meant for the user; commands print it and exit with 2."""


class ConfigError(CaptionerError):
    """A key or value of a configuration that cannot be used."""


class VideoError(CaptionerError):
    """A file that holds no readable video."""


class ManifestError(CaptionerError):
    """A manifest line that cannot be used; the message names file, line and fault."""


class CheckpointError(CaptionerError):
    """A checkpoint folder or file that does not fit."""


class SilentError(CheckpointError):
    """An error that all processes of a run raise alike, in one that is not the main one: the main one tells it."""


class Terminated(CaptionerError):
    """SIGTERM came and the run has saved its state; commands exit with 143."""


class NotFinite(CaptionerError):
    """A loss, gradient or weight of a training run is no longer finite; commands exit with 3."""


class OutputError(CaptionerError):
    """A result that cannot be written: a full disk, a folder without permission, a reader that has left."""


def unknown(kind: str, given: object, allowed: Iterable[str]) -> str:
    """One line for a name that does not exist: the name, the nearest match, everything allowed."""
    names = [str(name) for name in allowed]
    near = get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {given!r}{hint}; allowed: {', '.join(names) or 'none'}"


def said_in_a_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def is_address(source: str) -> bool:
    """Whether a source is to be fetched from the web."""
    return source.lower().startswith(("http://", "https://"))


def public_name(source: str) -> str:
    """A source as it may be told and stored: of a web address no user, password or query, which may be secrets.

    What is left out stands in a few letters, so that two addresses stay two.
    """
    parts = _ADDRESS.match(source)
    if parts is None or not (parts["user"] or parts["rest"]):
        return source
    letters = hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{parts['scheme']}{parts['place']}?~{letters}"


def printable(text: str) -> str:
    """Text that is one line and leaves terminal, table and page alone, whatever a file is called."""
    safe = text.encode("utf-8", "backslashreplace").decode()  # names may hold bytes that are no text
    return _ODD.sub(lambda match: f"\\x{ord(match[0]):02x}", safe)
