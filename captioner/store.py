"""The feature store: what frozen parts say of a video, computed once and read back mapped into memory.

    FOLDER/videos.jsonl                       hash of each video seen, with the size and times it had then
    FOLDER/PART-KEY/settings.json             what a part's entries were made with; KEY is its hash
    FOLDER/PART-KEY/ab/abcdef....safetensors  one entry, named by its video's hash; it holds a sum of its content

Other bytes, settings or weights give another name, so what changed is computed anew and what did not is read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from captioner.errors import VideoError
from captioner.files import atomic, missing, write_text

log = logging.getLogger(__name__)

T = TypeVar("T")

VIDEOS, SETTINGS = "videos.jsonl", "settings.json"
_FRESH = 2_000_000_000  # ns; a file touched since may change again without its clock showing it
_LEFTOVER = 3600.0  # s; a temporary file of a process that writes is never that old
_HEX = frozenset("0123456789abcdef")


class VideoHashes:
    """SHA-256 of videos' bytes; a video is read only if its size or its times differ from those on record."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / VIDEOS
        self._known: dict[str, tuple[list[int], str]] = {}
        self._here: dict[Path, str] = {}  # asked in this process: a run sees one version of a video
        for line in self.path.read_bytes().splitlines() if self.path.is_file() else ():
            try:
                name, stamp, digest = json.loads(line)
                self._known[name] = (stamp, digest)
            except (ValueError, TypeError):  # torn by a kill
                continue

    def of(self, video: Path) -> str:
        """The hash of a video; a VideoError where it cannot be read."""
        if video not in self._here:
            self._here[video] = self._looked_up(video)
        return self._here[video]

    def _looked_up(self, video: Path) -> str:
        name = os.path.realpath(video)
        try:
            about = os.stat(name)
            stamp = [about.st_size, about.st_mtime_ns, about.st_ctime_ns]
            known = self._known.get(name)
            if known is not None and known[0] == stamp:
                return known[1]
            with open(name, "rb") as file:
                digest = hashlib.file_digest(file, "sha256")
        except FileNotFoundError:
            raise VideoError(missing(video)) from None
        except OSError as error:
            raise VideoError(f"{str(video)!r} cannot be read: {(error.strerror or str(error)).lower()}") from None
        found = digest.hexdigest()
        if time.time_ns() - max(stamp[1:]) > _FRESH:
            self._known[name] = (stamp, found)
            self._append(json.dumps([name, stamp, found]) + "\n")
        return found

    def _append(self, line: str) -> None:
        try:  # one write a line: several processes may append
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                file.write(line.encode())
        except OSError as error:
            log.debug("%s: %s", self.path, error)


class Part(Generic[T]):
    """One kind of result in a store, one entry a video."""

    name: ClassVar[str]
    tensor: ClassVar[str] = ""  # what the tensor of a one-tensor result is called in its entry; "": as the part

    def __init__(self, folder: str | Path, settings: Mapping[str, Any], hashes: VideoHashes | None = None) -> None:
        self.settings = json.dumps(settings, sort_keys=True)
        self.key = hashlib.sha256(self.settings.encode()).hexdigest()[:16]
        self.folder = Path(folder) / f"{self.name}-{self.key}"
        self.hashes = hashes or VideoHashes(Path(folder))
        self._sound: set[Path] = set()  # checked in this process
        self._silent = False  # that it cannot be written has been said

    def pack(self, result: T) -> dict[str, Tensor]:
        """Contiguous tensors of a result by name; here of one that is a tensor."""
        assert isinstance(result, Tensor)
        return {self.tensor or self.name: result.contiguous()}

    def unpack(self, tensors: dict[str, Tensor]) -> T:
        """The inverse of `pack`; a KeyError where something is missing."""
        return cast(T, tensors[self.tensor or self.name])

    def path(self, video: Path) -> Path:
        """Where the entry of this video is, or will be."""
        digest = self.hashes.of(video)
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def has(self, video: Path, check: bool = False) -> bool:
        """Whether there is an entry; a broken one counts until it is read or checked, which says so."""
        path = self.path(video)
        return path.exists() and (not check or self._check(path))

    def read(self, video: Path) -> T | None:
        """The entry of a video; None where there is none, and where it is broken, which is said."""
        return self._opened(self.path(video)) if self.has(video, check=True) else None

    def _check(self, path: Path) -> bool:
        if path not in self._sound:
            try:
                check_entry(path, self.key)
            except (OSError, ValueError, TypeError, AttributeError) as error:  # a header may hold anything
                return self._damaged(path, error)
            self._sound.add(path)
        return True

    def _opened(self, path: Path) -> T | None:
        try:
            return self.unpack(load_file(path))
        except (SafetensorError, KeyError, OSError) as error:
            self._damaged(path, error)
            return None

    def _damaged(self, path: Path, error: Exception) -> bool:
        log.warning("%s is damaged (%s): computed again", path, str(error).splitlines()[0])
        return False

    def write(self, video: Path, result: T) -> None:
        """Keep a result. A store that cannot be written costs time, not the run: that is said once."""
        path = self.path(video)
        try:
            if not (self.folder / SETTINGS).exists():
                write_text(self.folder / SETTINGS, self.settings + "\n")
            with atomic(path) as temporary:
                save_entry(self.pack(result), temporary, self.key)
        except (OSError, SafetensorError) as error:  # safetensors has its own word for a full disk
            if not self._silent:
                log.warning("%s cannot be written (%s): results are computed each time", self.folder, error)
            self._silent = True
            return
        self._sound.add(path)


class Kept(ABC, Part[T]):
    """A part whose results follow from the video alone."""

    @abstractmethod
    def compute(self, video: Path) -> T:
        """The result, from the video itself."""

    def load(self, video: Path) -> T:
        """The result for a video, computed and kept if it is not there."""
        found = self.read(video)
        if found is None:
            found = self.compute(video)
            self.write(video, found)
        return found


# -- entries ----------------------------------------------------------------------------------------------------


def save_entry(tensors: Mapping[str, Tensor], path: Path, key: str) -> None:
    """A safetensors file whose metadata holds the part's key and a sum of names, shapes and values."""
    blank = f"{key} {0:08x}"  # one value: safetensors writes several in any order
    save_file(dict(tensors), path, metadata={"entry": blank})
    total = f"{entry_sum(path):08x}".encode()
    with path.open("r+b") as file:
        head = file.read(8 + int.from_bytes(file.read(8), "little"))
        file.seek(8 + head.index(blank.encode()) + len(key) + 1)
        file.write(total)


def check_entry(path: Path, key: str) -> None:
    """A ValueError that says what is wrong with an entry, if anything is."""
    made_for, _, total = str(read_header(path).get("__metadata__", {}).get("entry")).partition(" ")
    if made_for != key:
        raise ValueError("it belongs to another part")
    if total != f"{entry_sum(path):08x}":
        raise ValueError("its content has changed")


def read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file; a ValueError where there is none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= os.fstat(file.fileno()).st_size - 8:
            raise ValueError("it is cut off")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("it has no header")
    return header


def entry_sum(path: Path) -> int:
    """CRC-32 of an entry's values and, without the metadata, of its header: accidents, not forgers, are expected."""
    header = read_header(path)
    header.pop("__metadata__", None)
    total = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    with path.open("rb") as file:
        first = 8 + int.from_bytes(file.read(8), "little")
        if os.fstat(file.fileno()).st_size > first:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole, memoryview(whole) as view:
                total = zlib.crc32(view[first:], total)
    return total


def weights_hash(module: nn.Module) -> str:
    """A short digest of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


# -- what is no longer asked for --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stale:
    """An entry that nobody asks for, and why."""

    path: Path
    why: str
    size: int


def stale(folder: str | Path, parts: Sequence[Part[Any]], videos: Iterable[Path]) -> list[Stale]:
    """The entries of a store that belong neither to one of the parts nor to one of the videos.

    Only files that a store writes are named; whatever else lies in the folder is left alone.
    """
    folder = Path(folder)
    current = {part.folder.name: part for part in parts}
    hashes = VideoHashes(folder)
    wanted = {digest for video in videos if (digest := _known_hash(hashes, video))}
    found = []
    for child in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not child.is_dir():
            continue
        for path in _entries(child):
            why = _why(path, child, current, wanted)
            if why:
                found.append(Stale(path, why, path.stat().st_size))
    return found


def prune(entries: Iterable[Stale]) -> int:
    """Delete stale entries and the folders they leave empty; returns the bytes that came free."""
    freed = 0
    for entry in entries:
        entry.path.unlink(missing_ok=True)
        freed += entry.size
        few, part = entry.path.parent, entry.path.parent.parent
        if few.is_dir() and not any(few.iterdir()):
            few.rmdir()
        if (part / SETTINGS).is_file() and len(list(part.iterdir())) == 1:
            (part / SETTINGS).unlink()
            part.rmdir()
    return freed


def _known_hash(hashes: VideoHashes, video: Path) -> str:
    try:
        return hashes.of(video)
    except VideoError:
        return ""


def _entries(child: Path) -> Iterator[Path]:
    """Files in a part's folder that look like entries, temporary ones too; older stores had no part folders."""
    old = len(child.name) == 2 and set(child.name) <= _HEX
    for path in sorted(child.glob("*.safetensors" if old else "*/*.safetensors")):
        if path.name.startswith(".") or (len(path.stem) == 64 and set(path.stem) <= _HEX):
            yield path


def _why(path: Path, child: Path, current: Mapping[str, Part[Any]], wanted: set[str]) -> str:
    if path.name.startswith("."):
        old = time.time() - path.stat().st_mtime > _LEFTOVER
        return "left by a process that was killed" if old else ""
    if len(child.name) == 2:
        return "of an older store"
    part = current.get(child.name)
    if part is None:
        return f"{child.name.rpartition('-')[0]} with other settings or weights"
    return "" if path.stem in wanted else "its video is not in the manifest, or has changed"
