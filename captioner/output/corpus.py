"""A corpus of clips in parts, each a Parquet file of captions: what there is, what is done, how a part is captioned.

A part is captioned by one worker and appears whole or not at all, so that a lost worker, a second run and a killed one
leave every clip in exactly one row set. Stores are local folders or anything that fsspec opens.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from captioner.errors import CaptionerError, ConfigError, VideoError, is_address
from captioner.files import VIDEO_SUFFIXES
from captioner.inference.background import Failed
from captioner.inference.results import Caption
from captioner.output.arguments import expand
from captioner.output.long_films import scenes_of

SETTINGS = "settings.json"
DEATHS = 3  # of workers at one clip, after which it is given up
COLUMNS_OF_PATHS = ("path", "video", "file", "url")
_CAPTION = ("file", "person", "start", "end", "duration", "caption", "score", "faces", "emotion", "model", "error")


@dataclass(frozen=True)
class CorpusPart:
    """Clips that one worker captions together: paths or addresses, or the members of one tar file."""

    name: str
    clips: tuple[str, ...]
    tar: str = ""


def corpus_parts(inputs: Sequence[str], size: int) -> list[CorpusPart]:
    """The parts of inputs: folders, globs, lists, manifests, Parquet files of paths, tar files, stores."""
    clips: list[str] = []
    tars: list[str] = []
    for each in inputs:
        if each.endswith(".tar"):
            tars += _globbed(each)
        elif each.endswith(".parquet"):
            clips += _paths_in_parquet(each)
        elif each.endswith((".jsonl", ".json")):
            clips += _paths_in_manifest(each)
        elif "://" in each and not is_address(each):
            clips += _in_store(each)
        else:
            clips += [_whole(one.address or one.source) for one in expand([each])]
    clips = list(dict.fromkeys(clips))
    parts = [_part(clips[at : at + size]) for at in range(0, len(clips), size)]
    return parts + [_part([], tar) for tar in dict.fromkeys(tars)]


def _whole(source: str) -> str:
    """A path that means the same in a worker."""
    return source if "://" in source else os.path.abspath(source)


def _part(clips: Sequence[str], tar: str = "") -> CorpusPart:
    """A part whose name says what is in it, so that a later run knows it again."""
    digest = hashlib.sha256("\n".join([tar, *clips]).encode("utf-8", "backslashreplace")).hexdigest()
    return CorpusPart(f"part-{digest[:16]}", tuple(clips), tar)


def _store(address: str) -> tuple[Any, str]:
    """The file system of an address and the path in it."""
    fsspec: Any = import_module("fsspec")
    try:
        return fsspec.core.url_to_fs(address)  # type: ignore[no-any-return]
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{address!r} cannot be opened: {error}") from None


def _globbed(pattern: str) -> list[str]:
    files, path = _store(pattern)
    found = sorted(files.glob(path)) if any(mark in path for mark in "*?[") else [path]
    return [files.unstrip_protocol(each) if "://" in pattern else str(each) for each in found]


def _in_store(address: str) -> list[str]:
    files, path = _store(address)
    found = sorted(files.find(path)) if not files.isfile(path) else [path]
    kept = [files.unstrip_protocol(each) for each in found if PurePosixPath(each).suffix.lower() in VIDEO_SUFFIXES]
    if not kept:
        raise CaptionerError(f"no video in {address!r}")
    return kept


def _paths_in_parquet(address: str) -> list[str]:
    parquet: Any = import_module("pyarrow.parquet")
    files, path = _store(address)
    try:
        with files.open(path, "rb") as file:
            table = parquet.read_table(file)
    except (OSError, ValueError) as error:
        raise CaptionerError(f"{address!r} cannot be read: {str(error).splitlines()[0]}") from None
    name = next((each for each in COLUMNS_OF_PATHS if each in table.column_names), None)
    if name is None:
        raise CaptionerError(f"{address!r} has no column {' or '.join(COLUMNS_OF_PATHS)}: {table.column_names}")
    return [str(value) for value in table.column(name).to_pylist() if value]


def _paths_in_manifest(address: str) -> list[str]:
    files, path = _store(address)
    base = address.rpartition("/")[0]
    clips = []
    try:
        with files.open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    clips.append(_of_line(line, base, f"{address} line {number}"))
    except OSError as error:
        raise CaptionerError(f"{address!r} cannot be read: {error}") from None
    return clips


def _of_line(line: bytes, base: str, where: str) -> str:
    try:
        video = json.loads(line)["video"]
    except (ValueError, KeyError, TypeError):
        raise CaptionerError(f"{where} is no record with a 'video'") from None
    return str(video) if "://" in str(video) or str(video).startswith("/") or not base else f"{base}/{video}"


class CorpusStore:
    """The folder or store that parts are written to."""

    def __init__(self, address: str) -> None:
        self.files, self.path = _store(address)

    def begin(self, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        """Make it, and keep what its captions are made with; another run's settings are an error."""
        self.files.makedirs(self.path, exist_ok=True)
        place, text = f"{self.path}/{SETTINGS}", json.dumps(settings, sort_keys=True, indent=2)
        if overwrite:
            for path in self.files.glob(f"{self.path}/part-*.parquet") + self.files.glob(f"{self.path}/.part-*.begun"):
                self.files.rm(path)
        elif self.files.exists(place) and (before := self.files.cat(place).decode()) != text:
            known = json.loads(before)
            changed = [key for key in sorted({*known, *settings}) if settings.get(key) != known.get(key)]
            told = f"{self.path} was begun with another {', '.join(changed)}"
            raise ConfigError(f"{told}: give another folder or --overwrite")
        self.files.pipe(place, text.encode())

    def done(self) -> set[str]:
        """Names of the parts that are there."""
        return {PurePosixPath(path).stem for path in self.files.glob(f"{self.path}/part-*.parquet")}

    def write(self, part: CorpusPart, rows: Sequence[Mapping[str, Any]]) -> None:
        """The rows of a part, whole: written under another name, then renamed."""
        parquet: Any = import_module("pyarrow.parquet")
        target = f"{self.path}/{part.name}.parquet"
        passing = f"{self.path}/.{part.name}.writing"
        with self.files.open(passing, "wb") as file:
            parquet.write_table(_table(rows), file)
        self.files.mv(passing, target)

    def attempts(self, part: CorpusPart) -> Attempts:
        """What earlier workers of a part were doing when they were lost."""
        path = f"{self.path}/.{part.name}.begun"
        try:
            return Attempts(self.files, path, tuple(self.files.cat(path).decode().split("\n")))
        except FileNotFoundError:
            return Attempts(self.files, path, ())


@dataclass(frozen=True)
class Attempts:
    """At which clips of a part workers were lost; kept beside the parts until the part is written."""

    files: Any
    path: str
    lost: tuple[str, ...]

    def begin(self, clip: str) -> bool:
        """Note that a clip is begun; False where it has cost too many workers already."""
        clip = clip.encode("utf-8", "backslashreplace").decode().replace("\n", " ")
        self.files.pipe(self.path, "\n".join([*self.lost, clip]).encode())
        return self.lost.count(clip) < DEATHS

    def end(self) -> None:
        """Forget them: the part is whole."""
        if self.files.exists(self.path):
            self.files.rm(self.path)


def _table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as an Arrow table whose types do not depend on what is in them."""
    arrow: Any = import_module("pyarrow")
    text, number, whole = arrow.string(), arrow.float64(), arrow.int32()
    unit = arrow.struct([("id", whole), ("name", text), ("score", number), ("peak", number)])
    phrase = arrow.struct([("text", text), ("au", whole), ("second", number), ("seen", arrow.bool_())])
    kinds = {"person": whole, "faces": whole, "start": number, "end": number, "duration": number, "score": number}
    fields = [(name, kinds.get(name, text)) for name in _CAPTION]
    fields += [("emotions", arrow.map_(text, number)), ("action_units", arrow.list_(unit))]
    fields += [("phrases", arrow.list_(phrase))]
    return arrow.Table.from_pylist(list(rows), schema=arrow.schema(fields))


def rows_of(file: str, outcome: Sequence[Caption] | Failed) -> list[dict[str, Any]]:
    """A row for each caption of a clip, or the one that says why there is none."""
    file = file.encode("utf-8", "backslashreplace").decode()
    empty: dict[str, Any] = dict.fromkeys(_CAPTION) | {"file": file, "emotions": {}, "action_units": [], "phrases": []}
    if isinstance(outcome, Failed):
        return [empty | {"error": outcome.reason}]
    rows = []
    for caption in outcome:
        units = [_some(unit, "id", "name", "score", "peak") for unit in caption.action_units]
        links = [_some(link, "text", "au", "second", "seen") for link in caption.phrases]
        row = _some(caption, "person", "start", "end", "duration", "score", "faces", "model")
        emotion = max(caption.emotion, key=caption.emotion.__getitem__, default=None)
        row |= {"caption": caption.text, "emotion": emotion, "emotions": caption.emotion}
        rows.append(empty | row | {"action_units": units, "phrases": links})
    return rows


def _some(result: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(result, name) for name in names}


def caption_part(
    model: Any, part: CorpusPart, asked: Mapping[str, Any], window: float | None, attempts: Attempts | None = None
) -> list[dict[str, Any]]:
    """The rows of all clips of a part, in their order; whatever a clip lacks is in its row."""
    with TemporaryDirectory(prefix="captioner-part-") as folder, _members(part, Path(folder)) as clips:
        rows: list[dict[str, Any]] = []
        for name, path, fault in clips:
            if attempts and not attempts.begin(name):
                fault = f"{name!r}: {DEATHS} workers ended while they captioned it; is there too little memory?"
            if fault:
                rows += rows_of(name, Failed(VideoError(fault), name))
                continue
            rows += rows_of(name, _captions(model, path, asked, window))
            if path != name:
                Path(path).unlink(missing_ok=True)
    return rows


def _captions(model: Any, path: str, asked: Mapping[str, Any], window: float | None) -> list[Caption] | Failed:
    try:
        timed = scenes_of(path)[1] if window is None else window
        if timed:
            keywords = {name: value for name, value in asked.items() if name != "batch"}
            return list(model.windows(path, timed, **keywords))
        outcome: list[Caption] | Failed = next(iter(model.each([path], **asked)))
        return outcome
    except Exception as error:  # of this clip; the part goes on
        return Failed(error, path)


@contextmanager
def _members(part: CorpusPart, folder: Path) -> Iterator[Iterable[tuple[str, str, str]]]:
    """(name, local path, fault) of each clip of a part; what lies elsewhere is copied to `folder` in its turn."""
    if not part.tar:
        yield (_local(clip, folder) for clip in part.clips)
        return
    yield _unpacked(part.tar, folder)


def _local(clip: str, folder: Path) -> tuple[str, str, str]:
    if "://" not in clip or is_address(clip):
        return clip, clip, ""
    target = folder / ("clip" + PurePosixPath(clip).suffix)
    try:
        files, path = _store(clip)
        files.get_file(path, str(target))
    except (OSError, CaptionerError, ValueError) as error:
        return clip, clip, f"{clip!r} cannot be fetched: {error or type(error).__name__}"
    return clip, str(target), ""


def _unpacked(tar: str, folder: Path) -> Iterator[tuple[str, str, str]]:
    """The videos of a WebDataset shard, one on the disk at a time."""
    try:
        files, path = _store(tar)
        with files.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                suffix = PurePosixPath(member.name).suffix.lower()
                content = archive.extractfile(member) if member.isfile() and suffix in VIDEO_SUFFIXES else None
                if content is None:
                    continue
                target = folder / f"clip{suffix}"
                target.write_bytes(content.read())
                yield f"{tar}/{member.name}", str(target), ""
    except (OSError, tarfile.TarError, EOFError, CaptionerError) as error:
        yield tar, tar, f"{tar!r} cannot be read: {error or type(error).__name__}"
