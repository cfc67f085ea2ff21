"""A folder of face photos with annotations: annotations.npz, and the photos in faces-NN.tar or beside it.

annotations.npz: key, split (0 train 1 val 2 test), person, landmarks (N, 478, 3) as fractions of the photo,
blendshapes (N, 52) with blendshape_names, pose (N, 4, 4); optional: shard, emotion, gray, gender
(gender.npy beside it: only if asked for).
"""

import hashlib
import io
import logging
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from captioner.data.manifest import SPLITS
from captioner.errors import CaptionerError, unknown
from captioner.files import missing

log = logging.getLogger(__name__)

LANDMARKS = 478
# shape of a row, and what numpy calls the kinds of values that fit: texts, whole numbers, fractions, yes or no
_LAYOUT: dict[str, tuple[tuple[int, ...], str]] = {
    "key": ((), "SU"), "split": ((), "iu"), "person": ((), "iu"),
    "landmarks": ((LANDMARKS, 3), "f"), "blendshapes": ((52,), "f"), "pose": ((4, 4), "f"),
}  # fmt: skip
_OPTIONAL: dict[str, tuple[tuple[int, ...], str]] = {
    "gray": ((), "biu"), "emotion": ((), "SU"), "gender": ((), "SU"),
}  # fmt: skip
_KINDS = {"SU": "texts", "iu": "whole numbers", "f": "fractions", "biu": "yes or no"}
# what numpy raises over files that are cut off, altered, of another kind (TypeError: one array alone)
_DAMAGE = (
    ValueError, OSError, zipfile.BadZipFile, zlib.error, KeyError, EOFError, TypeError, AttributeError,
    NotImplementedError, MemoryError,
)  # fmt: skip
SUFFIXES: tuple[str, ...] = (".jpg", ".png")
GENDERS = "gender.npy"  # beside annotations.npz: 0 woman, 1 man, -1 unknown, a row each; how captions name the person
MIN_FACE = 40.0  # pixels; the photo of a smaller face is a smear when it fills a picture
MAX_ANGLE = 15.0  # degrees of yaw or pitch; a face that looks away hides a cheek that moving would uncover
MAX_GAP = 0.04  # between the inner lips, in distances between the outer eye corners
MAX_CUT = 0.08  # of the photo's height by which a chin may lie below its edge: tight crops are common
DARK_EYES = 0.34  # brightness of the eyes over that of the skin: 3 % of the photos lie below, half of them sunglasses
_EYES = ((33, 133, 159, 145), (263, 362, 386, 374))
_SKIN = (50, 280, 4, 151)  # cheeks, tip of the nose, forehead
# An action unit that is there already cannot rise.
_AT_REST: dict[str, tuple[tuple[str, float], ...]] = {
    "upper": (("eyeBlinkLeft eyeBlinkRight", 0.4), ("browDownLeft browDownRight", 0.5), ("browInnerUp", 0.4)),
    "lower": (("mouthSmileLeft mouthSmileRight", 0.35), ("mouthUpperUpLeft mouthUpperUpRight", 0.3)),
}
PARTS = ("whole", *_AT_REST)


class PhotoError(CaptionerError):
    """A folder of photos that cannot be used, or a photo in it."""


@dataclass(frozen=True)
class Photo:
    """One face: uint8 (H, W, 3) RGB, landmarks (478, 3) in pixels, blendshapes by name, and whose it is."""

    key: str
    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    blendshapes: dict[str, float]
    pose: NDArray[np.float32]
    person: int
    gray: bool
    emotion: str | None = None
    gender: str | None = None


class PhotoSet:
    """The photos of a folder: `rows(split)` are those fit for animation, `photo(row)` opens one."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.table = _read_table(self.folder)
        names = self.table["blendshape_names"]
        self.blendshape_names = [n.decode() if isinstance(n, bytes) else str(n) for n in names.tolist()]

    def __len__(self) -> int:
        return len(self.table["key"])

    def name_genders(self) -> None:
        """Take the genders from gender.npy: captions then say woman and man, and person where nobody knows."""
        self.table["gender"] = _read_genders(self.folder / GENDERS, len(self))

    @cached_property
    def fingerprint(self) -> str:
        """A short text that changes when the list of photos, persons, splits or landmarks does."""
        digest = hashlib.blake2b(digest_size=8)
        for name in ("key", "person", "split", "landmarks"):
            digest.update(np.ascontiguousarray(self.table[name]).tobytes())
        return digest.hexdigest()

    def blendshape(self, name: str) -> NDArray[np.float32]:
        """Scores (N,) of one blendshape."""
        if name not in self.blendshape_names:
            raise PhotoError(unknown("blendshape", name, self.blendshape_names))
        return np.asarray(self.table["blendshapes"][:, self.blendshape_names.index(name)], np.float32)

    def angles(self) -> NDArray[np.float32]:
        """Yaw and pitch of every photo in degrees, (N, 2)."""
        m = np.asarray(self.table["pose"], np.float64)
        yaw = np.degrees(np.arctan2(m[:, 0, 2], m[:, 2, 2]))
        pitch = np.degrees(np.arcsin(np.clip(-m[:, 1, 2], -1, 1)))
        return np.stack([yaw, pitch], axis=1).astype(np.float32)

    def rows(self, split: str, part: str = "whole") -> NDArray[np.int64]:
        """Rows of a split that can be animated: there, near frontal, at rest, mouth shut, eyes open, not cut off.

        part: those whose upper or lower half is at rest, whatever the other half does, are more than twice as many.
        """
        if split not in SPLITS:
            raise PhotoError(unknown("split", split, SPLITS))
        if part not in PARTS:
            raise PhotoError(unknown("part", part, PARTS))
        fit = np.logical_and.reduce([self._fit[half] for half in _AT_REST if part in ("whole", half)])
        return np.flatnonzero(fit & self._there & (np.asarray(self.table["split"]) == SPLITS.index(split)))

    @cached_property
    def _fit(self) -> dict[str, NDArray[np.bool_]]:
        """Which faces (N,) can be animated in each half."""
        shape, points = self.blendshape, np.asarray(self.table["landmarks"], np.float32)[:, :468, :2]
        angles = np.abs(self.angles())
        fit = (angles[:, 0] < MAX_ANGLE) & (angles[:, 1] < MAX_ANGLE)
        low, high = points.min(1), points.max(1)
        fit &= (low.min(1) > 0) & (high[:, 0] < 1) & (high[:, 1] < 1 + MAX_CUT)
        halves = {half: fit.copy() for half in _AT_REST}
        for half, limits in _AT_REST.items():
            for names, most in limits:
                halves[half] &= np.max([shape(name) for name in names.split()], axis=0) < most
        # Speech calibrates jawOpen badly: the gap between the inner lips says whether a mouth is shut.
        gap = np.linalg.norm(points[:, 13] - points[:, 14], axis=1)
        halves["lower"] &= gap < MAX_GAP * np.linalg.norm(points[:, 33] - points[:, 263], axis=1)
        return halves

    def photo(self, row: int) -> Photo:
        """Open the photo of a row; a PhotoError names it when it cannot be read."""
        table = self.table
        key = _text(table["key"][row])
        image = self._image(row, key)
        height, width = image.shape[:2]
        landmarks = np.asarray(table["landmarks"][row], np.float32) * np.array([width, height, width], np.float32)
        tall = float(np.ptp(landmarks[:468, 1]))
        if not tall >= MIN_FACE:  # not a number is too small as well
            raise PhotoError(
                f"photo {key!r} of {self.folder}: its face is {tall:.0f} pixels high; {MIN_FACE:.0f} are needed"
            )
        scores = np.asarray(table["blendshapes"][row], np.float32).tolist()
        gray = bool(table["gray"][row]) if "gray" in table else bool(np.ptp(image, axis=2).max() < 3)
        return Photo(
            key, image, landmarks, dict(zip(self.blendshape_names, scores, strict=True)),
            np.asarray(table["pose"][row], np.float32), int(table["person"][row]), gray,
            _text(table["emotion"][row]) if "emotion" in table else None,
            _text(table["gender"][row]) if "gender" in table else None,
        )  # fmt: skip

    def _image(self, row: int, key: str) -> NDArray[np.uint8]:
        try:
            with Image.open(self._open(key)) as picture:
                return np.asarray(picture.convert("RGB"))
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise PhotoError(f"photo {key!r} of {self.folder} cannot be read: {_why(error)}") from None

    def _open(self, key: str) -> io.BytesIO:
        for suffix in SUFFIXES:
            if f"{key}{suffix}" in self._loose:
                return io.BytesIO((self.folder / f"{key}{suffix}").read_bytes())
        if key not in self._members:
            raise OSError("no such file, and no tar has it")
        path, offset, size = self._members[key]
        with path.open("rb") as file:
            file.seek(offset)
            return io.BytesIO(file.read(size))

    @cached_property
    def _there(self) -> NDArray[np.bool_]:
        """Which photos (N,) lie in the folder or in one of its tars; how many do not is said once."""
        names = {name.rsplit(".", 1)[0] for name in self._loose} | self._members.keys()
        there = np.array([_text(key) in names for key in self.table["key"].tolist()])
        if not there.all():
            log.warning("%s lists %d photos that are not there; they are skipped", self.folder, np.sum(~there))
        return there

    @cached_property
    def _loose(self) -> frozenset[str]:
        return frozenset(path.name for path in self.folder.iterdir() if path.suffix in SUFFIXES)

    @cached_property
    def _members(self) -> dict[str, tuple[Path, int, int]]:
        """Where each photo lies: tar, offset, bytes. Reading members in place needs no open tar."""
        members: dict[str, tuple[Path, int, int]] = {}
        for path in sorted(self.folder.glob("*.tar")):
            members |= {Path(name).stem: (path, offset, size) for name, offset, size in _index(path)}
        return members


def check_eyes(photo: Photo) -> None:
    """PhotoError where the eyes lie in the dark: behind sunglasses, or too deep for their lids to show."""
    grey, points = photo.image.mean(2, dtype=np.float32), photo.landmarks[:, :2]
    unit = float(np.linalg.norm(points[33] - points[263]))
    eyes = [_around(grey, points[list(eye)], 0.06 * unit) for eye in _EYES]
    skin = [_around(grey, points[[place]], 0.08 * unit) for place in _SKIN]
    if np.mean(eyes) < DARK_EYES * np.mean(skin):
        raise PhotoError(f"photo {photo.key!r}: the eyes lie in the dark (sunglasses?)")


def _around(grey: NDArray[np.float32], points: NDArray[np.float32], pad: float) -> float:
    """Mean brightness of the box of some landmarks."""
    x0, y0 = np.maximum(points.min(0) - pad, 0).astype(int)
    x1, y1 = (points.max(0) + pad).astype(int) + 1
    box = grey[y0:y1, x0:x1]
    return float(box.mean()) if box.size else 255.0


def _index(path: Path) -> Iterator[tuple[str, int, int]]:
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile():
                    yield member.name, member.offset_data, member.size
    except (tarfile.TarError, OSError, EOFError) as error:
        log.warning("%s is damaged (%s); photos after that point are skipped", path, _why(error))


def _why(error: Exception) -> str:
    if "pickle" in str(error):  # numpy recommends opening them all the same
        return "no such file format, or pickled objects, which are never opened"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _read_table(folder: Path) -> dict[str, NDArray[Any]]:
    path = folder / "annotations.npz"
    if not folder.is_dir():
        raise PhotoError(f"{str(folder)!r} is not a folder; give one with annotations.npz and photos in *.tar")
    if not path.is_file():
        raise PhotoError(f"{missing(path)}; a folder of photos needs one")
    try:
        # given as a file, or numpy would leave it open when it is damaged
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            table = {name: file[name] for name in file.files}
    except _DAMAGE as error:
        raise PhotoError(f"{path} cannot be read as npz: {_why(error)}") from None
    _check_layout(path, table)
    return table


def _read_genders(path: Path, photos: int) -> NDArray[Any]:
    """How captions name the person of each photo: woman, man, or person where nobody said."""
    if not path.is_file():
        raise PhotoError(f"{missing(path)}; it holds a number for each photo: 0 woman, 1 man, -1 unknown")
    try:
        with path.open("rb") as opened:
            codes = np.load(opened, allow_pickle=False)
    except _DAMAGE as error:
        raise PhotoError(f"{path} cannot be read as npy: {_why(error)}") from None
    fit = codes.dtype.kind in "iu" and codes.shape == (photos,) and bool(np.isin(codes, (-1, 0, 1)).all())
    if not fit:
        raise PhotoError(
            f"{path} holds {codes.dtype} {codes.shape}; wanted ({photos},) whole numbers: 0 woman, 1 man, -1 unknown"
        )
    named: NDArray[Any] = np.array(["woman", "man", "person"])[codes]  # the last is that of -1
    return named


def _check_layout(path: Path, table: dict[str, NDArray[Any]]) -> None:
    lacking = [name for name in (*_LAYOUT, "blendshape_names") if name not in table]
    if lacking:
        raise PhotoError(f"{path} lacks {', '.join(lacking)}; it has {', '.join(sorted(table)) or 'nothing'}")
    count = len(table["key"]) if table["key"].ndim else 0
    if count == 0:
        raise PhotoError(f"{path} lists no photo")
    for name, (shape, kinds) in (_LAYOUT | _OPTIONAL).items():
        if name in table and table[name].shape != (count, *shape):
            wanted = ", ".join(["N", *map(str, shape)])
            raise PhotoError(f"{path}: {name} has shape {table[name].shape}; wanted ({wanted}) with N = {count}")
        if name in table and table[name].dtype.kind not in kinds:
            raise PhotoError(f"{path}: {name} holds {table[name].dtype}; wanted {_KINDS[kinds]}")
    if table["blendshape_names"].shape != (52,) or table["blendshape_names"].dtype.kind not in "SU":
        raise PhotoError(f"{path}: blendshape_names has shape {table['blendshape_names'].shape}; wanted 52 names")
