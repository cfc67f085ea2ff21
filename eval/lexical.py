"""What METEOR 1.5 knows of English: function words, stems, synsets, paraphrases; read from its files."""

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import compress, pairwise
from operator import or_
from pathlib import Path

from eval.normalize import prefixes
from eval.stem import stem

LONGEST = 7  # words in a phrase of the paraphrase table
_CHUNK = 1 << 23  # bytes of the table unpacked at once
_ENDINGS = (
    ("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
    ("ies", "y"), ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"),
    ("ing", ""), ("er", ""), ("est", ""), ("er", "e"), ("est", "e"),
)  # fmt: skip


@dataclass(frozen=True)
class Word:
    """A word as the matchers see it: `key` and `stem` are Java's hash codes, by which METEOR compares."""

    key: int
    stem: int
    synsets: frozenset[str]
    function: bool


class Lexicon:
    """The tables inside the METEOR jar."""

    def __init__(self, jar: Path) -> None:
        with zipfile.ZipFile(jar) as archive:
            read = {name: archive.read(name).decode("utf-8") for name in _TABLES}
        self.abbreviations = prefixes(read["nonbreaking/english.prefixes"])
        self._function = frozenset(read["function/english.words"].splitlines())
        synsets, exceptions = (read[f"synonym/english.{name}"].splitlines() for name in ("synsets", "exceptions"))
        self._synsets = dict(zip(synsets[::2], synsets[1::2], strict=True))
        self._bases: dict[str, list[str]] = {}
        for base, forms in zip(exceptions[::2], exceptions[1::2], strict=True):
            for form in forms.split():
                self._bases.setdefault(form, []).append(base)
        self._words: dict[str, Word] = {}

    def word(self, text: str) -> Word:
        """What is known of a lower-case word."""
        if text not in self._words:
            self._words[text] = Word(java_hash(text), java_hash(stem(text)), self._senses(text), text in self._function)
        return self._words[text]

    def _senses(self, text: str) -> frozenset[str]:
        bases = self._bases.get(text) or [self._base(text)]
        return frozenset(sense for form in (text, *bases) for sense in self._synsets.get(form, "").split())

    def _base(self, text: str) -> str:
        """The base form by the first ending whose exchange gives a word of WordNet."""
        if text.endswith("ss") or len(text) <= 2:
            return text
        forms = (text[: -len(old)] + new for old, new in _ENDINGS if text.endswith(old))
        return next((form for form in forms if form in self._synsets), "")


_TABLES = (
    "nonbreaking/english.prefixes",
    "function/english.words",
    "synonym/english.synsets",
    "synonym/english.exceptions",
)


@cache
def lexicon(jar: Path) -> Lexicon:
    """The lexicon of that jar, read once."""
    return Lexicon(jar)


def java_hash(text: str) -> int:
    """Java's hash code of a text, unsigned."""
    code = 0
    units = text if text.isascii() or max(text) <= "\uffff" else _halves(text)
    for unit in units:
        code = (code * 31 + ord(unit)) & 0xFFFFFFFF
    return code


def _halves(text: str) -> str:
    data = text.encode("utf-16-le", "surrogatepass")
    return "".join(chr(data[at] | data[at + 1] << 8) for at in range(0, len(data), 2))


def paraphrases(
    table: Path, hypotheses: Iterable[Sequence[str]], references: Iterable[Sequence[str]]
) -> list[tuple[str, str]]:
    """Entries of the table, in its order, of which one side is said and the other could be meant.

    Said: it is a phrase of a hypothesis. Could be meant: its words follow each other in references.
    """
    said, pairs = _phrases(hypotheses, LONGEST), _phrases(references, 2)
    found = []
    for first, second in _entries(table):
        # Nearly all entries are dropped here, so no Python code runs for each.
        kept = map(or_, map(said.__contains__, first), map(said.__contains__, second))
        for at in compress(range(len(first)), kept):
            a, b = first[at], second[at]
            if (a in said and _follows(b, pairs)) or (b in said and _follows(a, pairs)):
                found.append((a.decode("utf-8"), b.decode("utf-8")))
    return found


def _phrases(captions: Iterable[Sequence[str]], longest: int) -> set[bytes]:
    """All phrases of up to so many words."""
    found: set[bytes] = set()
    for caption in captions:
        words = [word.encode("utf-8") for word in caption]
        found.update(words)
        for length in range(2, min(longest, len(words)) + 1):
            found.update(map(b" ".join, zip(*(words[start:] for start in range(length)), strict=False)))
    return found


def _follows(phrase: bytes, pairs: set[bytes]) -> bool:
    if b" " not in phrase:
        return phrase in pairs
    words = phrase.split(b" ")
    return all(map(pairs.__contains__, map(b" ".join, pairwise(words))))


def _entries(table: Path) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Two lists of phrases for each part of the table; lines come in threes: probability, phrase, phrase."""
    left: list[bytes] = [b""]  # lines of an unfinished three, the last of them unfinished itself
    for data in _unpacked(table):
        lines = data.split(b"\n")
        lines[0] = left.pop() + lines[0]
        lines = left + lines
        whole = (len(lines) - 1) // 3 * 3
        yield lines[1:whole:3], lines[2:whole:3]
        left = lines[whole:]


def _unpacked(table: Path) -> Iterator[bytes]:
    """Parts of the unpacked file; the next is unpacked in a thread while the last one is read."""
    machine = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def part(data: bytes) -> bytes:
        return machine.decompress(data, _CHUNK)

    with table.open("rb") as file, ThreadPoolExecutor(1) as pool:
        coming = pool.submit(part, file.read(_CHUNK // 4))
        while True:
            ready = coming.result()
            data = machine.unconsumed_tail or file.read(_CHUNK // 4)
            coming = pool.submit(part, data)
            if ready:
                yield ready
            elif not data:
                return
