"""Who plays in a clip: persons of its split, in an order that the seed decides."""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from captioner.data.manifest import SPLITS
from captioner.synth.actor import Actor
from captioner.synth.identity import DRAWN_AUS, sample_face
from captioner.synth.photo.photo_set import PhotoError, PhotoSet, check_eyes
from captioner.synth.story.tale import PHOTO_AUS

if TYPE_CHECKING:
    from captioner.synth.actors import PhotoActor

log = logging.getLogger(__name__)

Tint = tuple[float, float, float] | None
WOMEN = 3  # times that a woman stands in the order of persons, a man once
REMEMBERED = 6  # actors kept by a process: clips of one person follow each other
_ORDER, _FACE, _LOOK = 100, 101, 102  # what a generator of the cast is for


@dataclass(frozen=True)
class Player:
    """An actor, the group of persons it belongs to, and the photo it was made of."""

    actor: Actor
    group: str
    photo: str | None = None


class Cast(Protocol):
    """Persons by split and place; `faults` says, a line each, which photos had to be passed over."""

    source: str
    aus: tuple[int, ...]
    one_sided: bool
    fingerprint: str | None
    faults: list[str]

    def count(self, split: str) -> int:
        """How many persons a split has."""
        ...

    def play(self, split: str, place: int, tint: Tint) -> Player:
        """The person at a place of the split's order."""
        ...


class DrawnCast:
    """Drawn faces: as many persons as anybody asks for, none of them in two splits."""

    source: str = "drawn"
    aus: tuple[int, ...] = DRAWN_AUS
    one_sided: bool = False
    fingerprint: str | None = None

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.faults: list[str] = []

    def count(self, split: str) -> int:
        """More than any run needs."""
        return 2**31

    def play(self, split: str, place: int, tint: Tint) -> Player:
        """A drawn face; its colours are its own, whatever the tint."""
        from captioner.synth.actors import DrawnActor  # brings torch, which `--help` does not need

        rng = np.random.default_rng([self.seed, SPLITS.index(split), _FACE, place])
        return Player(DrawnActor(sample_face(rng)), f"face_{split}_{place:05d}")


class PhotoCast:
    """The persons of a folder of photos, each in the split the folder gives them."""

    source: str = "photo"
    # Dimples show on 38 % of the photos only: no caption shall name them.
    aus: tuple[int, ...] = tuple(au for au in PHOTO_AUS if au != 14)
    one_sided: bool = True

    def __init__(self, photos: PhotoSet, seed: int, genders: bool = False) -> None:
        self.photos, self.seed, self.genders = photos, seed, genders
        if genders:
            photos.name_genders()
        self.fingerprint: str | None = photos.fingerprint
        self.faults: list[str] = []
        self._bad: set[int] = set()
        self._made: OrderedDict[tuple[int, Tint], PhotoActor] = OrderedDict()

    @cached_property
    def _persons(self) -> Mapping[str, list[list[int]]]:
        """Rows of each person, persons in the order of the seed, by split."""
        order = {}
        for number, split in enumerate(SPLITS):
            rows: dict[int, list[int]] = {}
            for row in self.photos.rows(split).tolist():
                rows.setdefault(int(self.photos.table["person"][row]), []).append(row)
            rng = np.random.default_rng([self.seed, number, _ORDER])
            persons = [one for one in rows.values() for _ in range(self._weight(one[0]))]
            order[split] = [persons[index] for index in rng.permutation(len(persons))]
        return order

    def _weight(self, row: int) -> int:
        """How often a person stands in the order: press photos show three men a woman."""
        return WOMEN if self.genders and self.photos.table["gender"][row] == "woman" else 1

    def count(self, split: str) -> int:
        """Persons with a photo that can be animated."""
        return len(self._persons[split])

    def play(self, split: str, place: int, tint: Tint) -> Player:
        """The person at a place of the order, or the next whose photo can be used."""
        persons = self._persons[split]
        for step in range(len(persons)):
            rows = persons[(place + step) % len(persons)]
            row = rows[place // len(persons) % len(rows)]  # when all have played, another photo of each
            if row in self._bad:
                continue
            try:
                actor = self._actor(row, tint)
            except PhotoError as error:
                self._bad.add(row)
                self.faults.append(str(error))
                continue
            return Player(actor, f"person_{int(self.photos.table['person'][row])}", _key(self.photos, row))
        raise PhotoError(f"no photo of split {split!r} in {self.photos.folder} can be used")

    def _actor(self, row: int, tint: Tint) -> "PhotoActor":
        known = self._made.get((row, tint))
        if known is None:
            from captioner.synth.actors import PhotoActor
            from captioner.synth.photo.basis import load_basis

            rng = np.random.default_rng([self.seed, row, _LOOK])
            photo = self.photos.photo(row)
            check_eyes(photo)
            known = self._made[row, tint] = PhotoActor(photo, load_basis(), rng, tint)
            while len(self._made) > REMEMBERED:
                self._made.popitem(last=False)
        return known


def _key(photos: PhotoSet, row: int) -> str:
    key = photos.table["key"][row]
    return key.decode() if isinstance(key, bytes) else str(key)
