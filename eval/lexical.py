"""What METEOR 1.5 knows of English: function words, stems, synsets, paraphrases; read from its files."""

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from eval.normalize import prefixes
from eval.stem import stem

LONGEST = 7  # words in a phrase of the paraphrase table
_CHUNK = 1 << 23  # bytes of the table unpacked at once
_MARK_BITS = 23  # a mark for each of 8 million, so that few phrases share one by chance
_ODD = np.array((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F), dtype=np.uint64)  # multipliers that mix bits well
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
def meteor_lexicon(jar: Path) -> Lexicon:
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
    marked = np.zeros(1 << _MARK_BITS, dtype=bool)
    listed = _Part(b"".join(b"\n\n%b\n" % phrase for phrase in said))
    marked[listed.marks(2)] = True
    found = []
    for part in _parts(table):
        # Nearly all entries are dropped here, by marks alone.
        for row in np.flatnonzero(marked[part.marks(1)] | marked[part.marks(2)]).tolist():
            a, b = part.phrase(row, 1), part.phrase(row, 2)
            if (a in said and _follows(b, pairs)) or (b in said and _follows(a, pairs)):
                found.append((a.decode("utf-8"), b.decode("utf-8")))
    return found


class _Part:
    """Some whole entries of the table: each three lines, a probability and two phrases."""

    def __init__(self, data: bytes) -> None:
        # Eight bytes around the text, so that the eight at either end of any phrase can be read.
        self._text = bytes(8) + data + bytes(8)
        ends = np.flatnonzero(np.frombuffer(self._text, dtype=np.uint8) == ord("\n"))
        self._ends = ends.reshape(-1, 3)
        self._eights = np.ndarray(len(self._text) - 7, "<u8", self._text, strides=(1,))

    def phrase(self, row: int, line: int) -> bytes:
        """Line 1 or 2 of an entry."""
        return self._text[self._ends[row, line - 1] + 1 : self._ends[row, line]]

    def marks(self, line: int) -> np.ndarray:
        """A small number for that line of each entry, of its first and last eight bytes and its length, (N,)."""
        start, end = self._ends[:, line - 1] + 1, self._ends[:, line]
        length = end - start
        spare = (8 * (8 - np.minimum(length, 8))).astype(np.uint64)
        first = np.where(length > 0, self._eights[start] << spare, 0)
        last = np.where(length > 0, self._eights[end - 8] >> spare, 0)
        mixed = (first ^ length.astype(np.uint64)) * _ODD[0] ^ last * _ODD[1]
        marks: np.ndarray = (mixed * _ODD[0]) >> np.uint64(64 - _MARK_BITS)
        return marks


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


def _parts(table: Path) -> Iterator[_Part]:
    """The entries of the table, some at a time."""
    left = b""
    for data in _unpacked(table):
        data = left + data
        lines = data.count(b"\n")
        end = len(data)
        for _ in range(lines % 3 + 1):
            end = data.rfind(b"\n", 0, end)
        yield _Part(data[: end + 1])
        left = data[end + 1 :]


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
                break
    if not machine.eof:
        raise zlib.error("the file ends too early")
