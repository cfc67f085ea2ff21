"""Files: which suffixes are videos, where shipped weights are, how a file is written whole or not at all."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from tempfile import mkstemp
from typing import Any, NoReturn

from captioner.errors import CheckpointError, said_in_a_line

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf",
    ".ogv", ".ts", ".vob", ".webm", ".wmv",
))
# fmt: on
# What folders of weights hold, of whatever kind.
WEIGHT_FILES = frozenset(
    ("config.json", "model.safetensors", "tokenizer.json", "text_tokenizer.json", "persons.txt", "CARD.md")
)
LARGEST_CONFIG = 64 << 20  # bytes of a config.json, a vocabulary or a card; ours have a hundredth of that
SHIPPED = Path(__file__).parent / "weights"  # the folders of weights that come with this package


def list_models() -> list[str]:
    """Names of the captioners that come with this package."""
    folders = (path.parent for path in SHIPPED.glob("*/tokenizer.json"))
    return sorted(folder.name for folder in folders if "model" in json.loads((folder / "config.json").read_bytes()))


def list_recognisers() -> dict[str, str]:
    """Names of the recognisers of emotion that come with this package, and the kind of each."""
    found = {}
    for path in sorted(SHIPPED.glob("*/config.json")):
        about = json.loads(path.read_bytes())
        if isinstance(about.get("emotion"), dict) and about.get("kind"):
            found[path.parent.name] = str(about["kind"])
    return found


@contextmanager
def atomic(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix) that replaces it on success, vanishes on failure.

    durable: what it replaces is there even if the machine stops at once.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = mkstemp(prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.chmod(0o666 & ~_umask())  # mkstemp gives 0600, which other users of a shared folder cannot read
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: str | Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk before going on."""
    if os.name == "nt" and os.path.isdir(path):
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that know no such thing
            raise
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str, durable: bool = False) -> None:
    """`text` in the file at `path`, UTF-8 with plain line feeds, written atomically."""
    with atomic(path, durable) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def staged(folder: str | Path) -> Iterator[Path]:
    """A folder to write into that becomes the weights folder `folder` on success and vanishes on failure.

    A reader finds the old one or the new one, after a crash too (see `recover`). Of the old one what a weights folder
    holds goes; whatever else lies there stays.
    """
    folder = Path(folder).absolute()
    staging, old = folder.with_name(f".{folder.name}.writing"), _old(folder)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        for file in staging.iterdir():
            file.chmod(0o644)  # safetensors writes 0600, which other users of a shared folder cannot read
            sync(file)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _take_along(old, recover(folder))  # of a crash before
    if folder.exists():
        folder.rename(old)
    staging.rename(folder)
    _take_along(old, folder)


def recover(folder: Path) -> Path:
    """The folder, put back from its predecessor if a crash fell between the two renames of `staged`."""
    old = _old(folder)
    if not folder.exists() and old.exists():
        old.rename(folder)
    return folder


def _old(folder: Path) -> Path:
    folder = folder.absolute()  # "." has no name
    return folder.with_name(f".{folder.name}.old")


def _take_along(old: Path, folder: Path) -> None:
    """What is no part of the weights moves from the old folder to the new one; the old one goes."""
    for entry in old.iterdir() if old.is_dir() else ():
        if entry.name not in WEIGHT_FILES and not (folder / entry.name).exists():
            entry.rename(folder / entry.name)
    shutil.rmtree(old, ignore_errors=True)


def missing(path: str | Path) -> str:
    """One line for a file that is not there: its name and the nearest name in the same folder."""
    path = Path(path)
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        names = []
    near = get_close_matches(path.name, names, n=1, cutoff=0.7)
    hint = f" (did you mean {str(path.parent / near[0])!r}?)" if near else ""
    return f"no such file: {str(path)!r}{hint}"


def _umask() -> int:
    # the mask can only be read by setting it
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_small(path: Path) -> bytes:
    """The bytes of a file that lies beside weights; one that is no plain file, or far too large, is refused."""
    try:
        if not path.is_file():
            raise CheckpointError(missing(path) if not path.exists() else f"{path} is no plain file")
        if path.stat().st_size > LARGEST_CONFIG:
            raise CheckpointError(f"{path} has {path.stat().st_size:,} bytes, {LARGEST_CONFIG:,} at most are read")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a config.json; every fault is one line that names the file."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        found = json.loads(read_small(path), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {said_in_a_line(error)}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a {type(found).__name__}, not a mapping of keys to values")
    return found
