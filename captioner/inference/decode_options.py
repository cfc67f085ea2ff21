"""What can be asked of a captioner when it writes: one type, and the keywords of its methods that make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, TypedDict

from captioner.config import DecodeConfig
from captioner.errors import ConfigError, unknown
from captioner.inference.manner import PLAIN, TOLD_FROM

HABITS = ("mafw", "none")


@dataclass(frozen=True)
class DecodeOptions:
    """How captions are to be written, and of whom."""

    beams: int = 0
    """Width of the search; 1: greedy, 0: the model's own."""
    max_words: int | None = None
    """Word pieces at most; None: the model's own."""
    style: str = ""
    """One of the model's styles, or plain; "": plain where the model can tell it, else its first."""
    people: int = 0
    """A caption for each of so many people, the most dominant ones; 0: one for the clip."""
    evidence: bool = False
    """With pictures, faces and curves behind each caption."""
    neutral: bool = False
    """Nobody is called woman or man."""
    claims: bool = True
    """Nothing is claimed that was not measured; False: the network's own words, as a paper would score them."""
    habits: Literal["mafw", "none"] = "none"
    """mafw: phrases of the face are named as often as MAFW's annotators name them; none: as surely as they are seen."""
    events: str | Path | None = None
    """A public captioner, by hub name or folder, whose sentence about the event takes the place of our own."""

    def __post_init__(self) -> None:
        for name, least in (("beams", 0), ("max_words", 1), ("people", 0)):
            given = getattr(self, name)
            if given is not None and (not isinstance(given, Integral) or given < least):
                raise ConfigError(f"{name} must be a whole number of at least {least}, not {given!r}")
        if self.habits not in HABITS:
            raise ConfigError(unknown("habits", str(self.habits), HABITS))

    @property
    def keeps(self) -> bool:
        """Whether pictures are needed after the model has seen them."""
        return self.evidence or self.events is not None

    @property
    def decoding(self) -> DecodeConfig:
        """What concerns the choice of words."""
        written = TOLD_FROM if self.style == PLAIN else self.style
        return DecodeConfig(beams=self.beams, max_words=self.max_words or 0, style=written, claims=self.claims)


class WritingKeywords(TypedDict, total=False):
    """DecodeOptions as keywords, of a method that settles itself who is described."""

    beams: int
    max_words: int | None
    style: str
    evidence: bool
    neutral: bool
    claims: bool
    habits: Literal["mafw", "none"]
    events: str | Path | None


class DecodeKeywords(WritingKeywords, total=False):
    """DecodeOptions as keywords."""

    people: int


def known_keywords(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same keywords; a TypeError names one that does not exist, and the nearest that does."""
    names = [each.name for each in fields(DecodeOptions)]
    for name in given:
        if name not in names:
            raise TypeError(unknown("option", name, names))
    return dict(given)


def only_of_the_clip(given: WritingKeywords) -> WritingKeywords:
    """The same keywords; a TypeError where people are asked of `caption`, which gives one sentence."""
    if "people" in given:
        raise TypeError("caption() writes one sentence about a clip: use model.people(video, 2) for one a person")
    return given
