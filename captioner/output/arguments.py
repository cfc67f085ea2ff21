"""What the arguments of the command mean: its options, and the videos that its inputs name."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from captioner.errors import CaptionerError, ConfigError, is_address, public_name
from captioner.files import VIDEO_SUFFIXES, missing

STDIN = "-"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.I)
LONGEST_LIST = 50_000_000  # letters of a list of inputs; a device that never ends is not read on


@dataclass(frozen=True)
class Options:
    """What the command line asks for; a field is called as its flag."""

    inputs: tuple[str, ...] = ()
    model: str | None = None
    faces: str | None = None
    device: str = "auto"
    batch: int = 4
    offline: bool = False
    style: str | None = None
    neutral: bool = False
    habits: str = "none"
    events: str | None = None
    window: float | None = None
    people: int = 0
    beams: int | None = None
    max_words: int | None = None
    output: Path | None = None
    format: str | None = None
    overwrite: bool = False
    quiet: bool = False
    verbose: bool = False
    list_models: bool = False
    emotions: bool = False
    recogniser: str | None = None
    listen: str | None = None
    serve: bool = False
    host: str = "127.0.0.1"
    port: int = 7860
    max_mb: int = 500

    @property
    def settings(self) -> dict[str, Any]:
        """What decides which captions come out, beside the model."""
        names = ("beams", "max_words", "style", "neutral", "habits", "window", "people", "faces", "events")
        return {name: getattr(self, name) for name in names}


def check_emotion_options(options: Options) -> None:
    """Raises ConfigError for options that only captions have."""
    if options.recogniser is not None and not options.emotions:
        raise ConfigError("--with names a recogniser of emotion: it needs --emotions")
    if options.listen is not None and not options.emotions:
        raise ConfigError("--listen names a speech-to-text model for a recogniser that reads: it needs --emotions")
    if not options.emotions:
        return
    captions: dict[str, Any] = {"--style": options.style, "--beams": options.beams, "--max-words": options.max_words}
    captions |= {"-m/--model": options.model, "--faces": options.faces, "--neutral": options.neutral or None}
    captions |= {"--habits": options.habits if options.habits != "none" else None}
    for flag, value in captions.items():
        if value is not None:
            raise ConfigError(f"{flag} is of captions: leave it out with --emotions (--with NAME names a recogniser)")


@dataclass(frozen=True)
class Input:
    """A video to work on, and the relative path (without suffix) that its outputs are named after."""

    source: str
    target: Path
    fault: str = ""  # why it cannot be worked on, where that is known already
    address: str = ""  # of a source on the web, in full; the source is what may be told of it


def expand(arguments: Iterable[str]) -> list[Input]:
    """The inputs that files, folders, globs, @lists, web addresses and "-" mean, each once, in that order."""
    found: dict[str, Input] = {}
    for argument in arguments:
        if not argument:
            raise CaptionerError("an input is empty: give a video, a folder or - (see caption --help)")
        for each in _expand_list(argument) if _is_list(argument) else _expand_one(argument):
            known = "://" in each.source or each.fault
            found.setdefault(each.source if known else os.path.realpath(each.source), each)
    return list(found.values())


def _expand_one(argument: str) -> list[Input]:
    path = Path(argument)
    if argument == STDIN:
        return [Input(STDIN, Path("stdin"))]
    try:
        if is_address(argument):
            return [Input(public_name(argument), Path(_named(argument)), address=argument)]
        if _SCHEME.match(argument) and not os.path.exists(argument):
            raise ValueError("of addresses those of http and https are fetched")
        if "\0" in argument:
            raise ValueError("a name holds no zero byte")
        os.fsencode(argument)  # half of a surrogate pair, from a file of names, is no name
    except ValueError as error:
        named = public_name(argument)
        return [Input(named, Path(), f"{named!r} names no video: {error}")]
    if os.path.isdir(path):
        return _walk(path)
    if not os.path.exists(path) and has_magic(argument):
        return _match(argument)
    # a missing one is named when its turn comes, the others are still done
    return [Input(argument, _target(Path(path.name)))]


def _is_list(argument: str) -> bool:
    return argument.startswith("@") and not os.path.exists(argument)


def _expand_list(argument: str) -> Iterator[Input]:
    """What the lines of a list mean; one that means nothing is named in its turn, and the others are done."""
    for line in _listed(argument[1:]):
        try:
            yield from _expand_one(line)
        except CaptionerError as error:
            yield Input(line, Path(), str(error))


def _target(path: Path) -> Path:
    """A relative path without suffix, and without parts that would lead out of the folder of outputs."""
    parts = [part for part in Path(os.path.normpath(path)).parts if part not in ("..", path.anchor)]
    name = Path(parts[-1]) if parts else path
    stem = name.stem if name.stem.strip(".") else name.name.strip(".")
    return Path(*parts[:-1], stem or "video")


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
    return [Input(str(path), _target(path.relative_to(fixed))) for path in files]


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
        inputs += [Input(str(path), _target(path.relative_to(folder))) for path in kept]
    if not inputs:
        raise CaptionerError(f"no video in folder {str(folder)!r}; known suffixes: {' '.join(sorted(VIDEO_SUFFIXES))}")
    if all(each.fault for each in inputs):
        raise CaptionerError(inputs[0].fault)
    return inputs


def _listed(name: str) -> list[str]:
    try:
        with Path(name).open(encoding="utf-8-sig", errors="surrogateescape") as file:
            text = file.read(LONGEST_LIST + 1)
    except FileNotFoundError:
        raise CaptionerError(missing(name)) from None
    except OSError as error:
        raise CaptionerError(f"list {name!r} cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(text) > LONGEST_LIST:
        raise CaptionerError(f"list {name!r} is longer than {LONGEST_LIST:,} letters; split it")
    names = [line.strip() for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
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
