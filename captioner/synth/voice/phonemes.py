"""Sounds of English, roughly: what letters stand for, where the formants lie, how far the mouth is open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phone:
    """Seconds, first three formants in hertz, voicing and noise 0 to 1, opening of the mouth 0 to 1."""

    seconds: float
    formants: tuple[float, float, float]
    voice: float = 1.0
    noise: float = 0.0
    mouth: float = 0.3
    bright: float = 0.0
    """Centre of the noise in hertz; 0: it goes through the formants."""


PAUSE = Phone(0.14, (500, 1500, 2500), 0.0, 0.0, 0.0)
_VOWELS = {
    "a": Phone(0.12, (730, 1100, 2450), mouth=0.95), "e": Phone(0.10, (550, 1800, 2500), mouth=0.6),
    "i": Phone(0.09, (320, 2250, 2950), mouth=0.35), "o": Phone(0.11, (520, 920, 2450), mouth=0.7),
    "u": Phone(0.10, (340, 950, 2300), mouth=0.3), "y": Phone(0.08, (300, 2200, 2900), mouth=0.3),
}  # fmt: skip
_CONSONANTS = {
    "m": Phone(0.07, (280, 1000, 2200), 0.6, mouth=0.0), "n": Phone(0.06, (280, 1600, 2500), 0.6, mouth=0.15),
    "l": Phone(0.06, (360, 1200, 2700), 0.8, mouth=0.3), "r": Phone(0.06, (400, 1250, 1650), 0.8, mouth=0.25),
    "w": Phone(0.06, (310, 700, 2200), 0.8, mouth=0.15), "h": Phone(0.05, (600, 1500, 2500), 0.0, 0.5, 0.4),
    "s": Phone(0.09, (400, 1600, 2600), 0.0, 0.8, 0.12, 5600),
    "f": Phone(0.08, (400, 1400, 2400), 0.0, 0.4, 0.08, 4500),
    "z": Phone(0.07, (300, 1600, 2600), 0.5, 0.5, 0.12, 5400),
    "v": Phone(0.06, (300, 1400, 2400), 0.6, 0.2, 0.08, 4300),
    "p": Phone(0.07, (400, 1000, 2300), 0.0, 0.25, 0.0), "b": Phone(0.06, (300, 1000, 2300), 0.3, 0.05, 0.0),
    "t": Phone(0.06, (400, 1700, 2600), 0.0, 0.45, 0.12, 4000), "d": Phone(0.05, (300, 1700, 2600), 0.3, 0.15, 0.12),
    "k": Phone(0.07, (400, 1900, 2400), 0.0, 0.35, 0.25, 2200), "g": Phone(0.06, (300, 1900, 2400), 0.3, 0.1, 0.25),
    "j": Phone(0.07, (300, 1900, 2600), 0.4, 0.4, 0.2, 3200), "c": Phone(0.07, (400, 1900, 2500), 0.0, 0.5, 0.2, 3000),
}  # fmt: skip
_PAIRS = {
    "th": "f", "sh": "c", "ch": "c", "ph": "f", "ee": "i", "oo": "u",
    "ou": "ao", "ow": "ao", "ck": "k", "qu": "kw", "ai": "ei", "ay": "ei", "wh": "w", "ng": "n",
    "ll": "l", "tt": "t", "ss": "s", "rr": "r",
}  # fmt: skip
_SINGLE = {"x": "ks", "q": "k"}


def phones_of(text: str) -> list[tuple[str, Phone]]:
    """The sounds of a sentence with their letters; words are parted by nothing, marks by a pause."""
    found: list[tuple[str, Phone]] = []
    for word in text.lower().split():
        letters = "".join(letter for letter in word if letter.isalpha() and letter.isascii())
        at = 0
        while at < len(letters):
            pair = letters[at : at + 2]
            sounds = _PAIRS.get(pair) or _SINGLE.get(letters[at], letters[at])
            if sounds == "e" and at == len(letters) - 1 and at > 2:
                sounds = ""  # a silent one
            found += [(sound, {**_VOWELS, **_CONSONANTS}[sound]) for sound in sounds]
            at += 2 if pair in _PAIRS else 1
        if word[-1:] in ",.!?;:":
            found.append((" ", PAUSE))
    return found


def is_vowel(letter: str) -> bool:
    """Whether a sound carries a syllable."""
    return letter in _VOWELS
