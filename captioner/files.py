"""Files: which ones an argument means, how a missing one is named, how one is written whole or not at all."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from glob import glob, has_magic
from pathlib import Path
from tempfile import mkstemp
from urllib.parse import unquote, urlsplit

from captioner.errors import CaptionerError

STDIN = "-"
_SUFFIXES = ".3gp .asf .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv"
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())


@dataclass(frozen=True)
class Input:
    """A video to work on, and the relative path (without suffix) that its outputs are named after."""

    source: str
    target: Path
    fault: str = ""  # why it cannot be worked on, where that is known already


def expand(arguments: Iterable[str]) -> list[Input]:
    """The inputs that files, folders, globs, @lists, web addresses and "-" mean, each once, in that order."""
    found: dict[str, Input] = {}
    for argument in arguments:
        for each in _expand_one(argument):
            found.setdefault(each.source if "://" in each.source else os.path.realpath(each.source), each)
    return list(found.values())


def _expand_one(argument: str) -> list[Input]:
    path = Path(argument)
    if argument == STDIN:
        return [Input(STDIN, Path("stdin"))]
    if argument.startswith(("http://", "https://")):
        return [Input(argument, Path(_named(argument)))]
    if os.path.isdir(path):
        return _walk(path)
    if os.path.exists(path):
        return [Input(argument, Path(path.stem))]
    if argument.startswith("@"):
        return expand(_listed(argument[1:]))
    if has_magic(argument):
        return _match(argument)
    # missing: named when its turn comes, the others are still done
    return [Input(argument, Path(path.stem))]


def _named(address: str) -> str:
    """What the outputs of a web address are called: the last part of its path, a plain name in any case."""
    name = unquote(urlsplit(address).path).rstrip("/").rsplit("/", 1)[-1]
    plain = "".join(c for c in Path(name).stem if c.isprintable() and c not in '\\/:*?"<>|')[:80]
    return plain.strip(". ") or "video"


def _match(pattern: str) -> list[Input]:
    files = [Path(name) for name in sorted(glob(pattern, recursive=True)) if os.path.isfile(name)]
    if not files:
        raise CaptionerError(f"nothing matched {pattern!r}")
    files = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES] or files
    fixed = Path(*_before_magic(Path(pattern).parts))  # outputs are named after what the pattern leaves open
    return [Input(str(path), path.relative_to(fixed).with_suffix("")) for path in files]


def _walk(folder: Path) -> list[Input]:
    inputs: list[Input] = []

    def unreadable(error: OSError) -> None:
        name = str(error.filename)
        cause = f"folder {name!r} cannot be read: {(error.strerror or str(error)).lower()}"
        inputs.append(Input(name, Path(name).relative_to(folder), cause))

    for root, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(root, name) for name in sorted(names) if not name.startswith("."))
        kept = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
        inputs += [Input(str(path), path.relative_to(folder).with_suffix("")) for path in kept]
    if not inputs:
        raise CaptionerError(f"no video in folder {str(folder)!r}; known suffixes: {_SUFFIXES}")
    if all(each.fault for each in inputs):
        raise CaptionerError(inputs[0].fault)
    return inputs


def _listed(name: str) -> list[str]:
    try:
        lines = Path(name).read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        raise CaptionerError(missing(name)) from None
    except OSError as error:
        raise CaptionerError(f"list {name!r} cannot be read: {(error.strerror or str(error)).lower()}") from error
    names = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not names:
        raise CaptionerError(f"list {name!r} names no video; write one input a line")
    return [f"./{name}" if name.startswith("@") else name for name in names]  # a list in a list is a plain name


def _before_magic(parts: tuple[str, ...]) -> list[str]:
    kept: list[str] = []
    for part in parts[:-1]:
        if has_magic(part):
            break
        kept.append(part)
    return kept


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix) that replaces it on success, vanishes on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = mkstemp(prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.chmod(0o666 & ~_umask())  # mkstemp gives 0600, which other users of a shared folder cannot read
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> None:
    """`text` in the file at `path`, UTF-8 with plain line feeds, written atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


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
