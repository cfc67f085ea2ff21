"""Penn Treebank tokens as the COCO caption toolkit makes them, one line a caption, without starting Java."""

from array import array
from collections.abc import Sequence
from pathlib import Path

from captioner.errors import CaptionerError
from eval.ptb import Machine, machine, scan
from eval.toolkit import TOKENIZER, toolkit_file

# What the toolkit drops after tokenising. Output is lower-cased, so its bracket entries never match.
PUNCTUATION = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"))


class TokenizeError(CaptionerError):
    """Captions that cannot be cut into tokens."""


def one_line(caption: str) -> str:
    """The caption on one line: every run of white space one space, lone surrogates replaced by U+FFFD."""
    line = " ".join(caption.split())
    if line.isascii():
        return line
    # Through UTF-16 a pair of surrogates becomes one character and a single half shows as the fault it is.
    return line.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def tokenize(captions: Sequence[str]) -> list[str]:
    """The tokens of each clean caption, joined by single spaces, punctuation dropped."""
    return PTBTokenizer(toolkit_file(TOKENIZER)).lines(captions)


class PTBTokenizer:
    """Cuts captions as one text, in which a caption's end may look at the next caption, as the toolkit does.

    A word whose tokens depend on nothing behind the space after it is cut once and remembered.
    """

    def __init__(self, jar: Path) -> None:
        self._machine: Machine = machine(jar)
        self._inner: dict[str, str] = {}  # before a space
        self._last: dict[str, str] = {}  # before the end of a line

    def lines(self, captions: Sequence[str]) -> list[str]:
        """One line of tokens a caption; captions must be clean."""
        text = _units("\n".join(captions))
        out, start = [], 0
        for line in text.split("\n") if captions else ():
            out.append(self._line(text, start, line))
            start += len(line) + 1
        if len(out) != len(captions):
            raise TokenizeError(f"{len(captions)} captions became {len(out)} lines; clean them first")
        return out

    def _line(self, text: str, start: int, line: str) -> str:
        words, stop = line.split(" "), start + len(line)
        try:
            parts = [self._inner[word] for word in words[:-1]]
            parts.append(self._before_end(text, stop)[words[-1]])
        except KeyError:
            parts = self._scanned(text, start, stop)
        return " ".join(filter(None, parts))

    def _before_end(self, text: str, stop: int) -> dict[str, str]:
        """What is remembered of words before a line's end; nothing at the end of all, where no line end is seen."""
        return self._last if stop < len(text) else {}

    def _scanned(self, text: str, start: int, stop: int) -> list[str]:
        """The tokens of text[start:stop], word by word, remembering the words that stand for themselves."""
        parts, at = [], start
        while at < stop:
            space = text.find(" ", at, stop)
            end = space if space >= 0 else stop
            memory = self._inner if end < stop else self._before_end(text, stop)
            word = text[at:end]
            if word not in memory:
                tokens, last, seen = self._word(text, at, end)
                if last > stop:  # a rule ran over the end of the caption: cut the caption by itself
                    return self._scanned(text[start:stop], 0, stop - start)
                parts.append(tokens)
                if last == end and seen <= end:
                    memory[word] = tokens
                at = end + 1 if last == end else last
                continue
            parts.append(memory[word])
            at = end + 1
        return parts

    def _word(self, text: str, at: int, end: int) -> tuple[str, int, int]:
        """Tokens from `at` until one reaches `end`, where the last one ends, and the last unit looked at."""
        tokens, furthest, last = [], at, at
        for token, last, seen in scan(self._machine, text, at):
            furthest = max(furthest, seen)
            if token not in (None, "\n"):
                tokens.append(_text(token).lower())
            if last >= end:
                break
        return " ".join(token for token in tokens if token not in PUNCTUATION), last, furthest


def _units(text: str) -> str:
    """The text as UTF-16 units, one a character, as Java's scanner reads it."""
    if text.isascii() or max(text) <= "\uffff":
        return text
    return "".join(map(chr, array("H", text.encode("utf-16"))[1:]))


def _text(units: str) -> str:
    """The text behind UTF-16 units; a lone half becomes '?', as Java writes it."""
    if units.isascii() or not any("\ud800" <= unit <= "\udfff" for unit in units):
        return units
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\ufffd", "?")
