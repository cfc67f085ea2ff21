"""METEOR 1.5's English normaliser (-norm): punctuation apart, hyphens open, full stops where they belong."""

import re
from collections.abc import Mapping

_ALPHA = (
    "A-Za-z\u0160\u017d\u0161\u017e\u0178\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e"
    "\u0400-\u0527\ua640-\ua66e\ua67e-\ua697\u1d00-\u1d7f"
)
_ALNUM = "0-9" + _ALPHA
_PLAIN = re.compile("[a-z0-9 ]*")  # no rule applies
_WHITE = re.compile("[ \u2000-\u200a\u202f\u205f\u3000\u00a0]+")
_BLANKS = re.compile("[ \t\n\r\f]+")  # between Java's tokens
_CONTROL = "".join(map(chr, range(33)))  # what Java trims

Rules = list[tuple[re.Pattern[str], str]]


def _rules(*pairs: tuple[str, str]) -> Rules:
    return [(re.compile(pattern), replacement) for pattern, replacement in pairs]


_APART = _rules(
    (rf"([^{_ALNUM} \t\n\v\f\r.'`,\-\u2018\u2019])", r" \1 "),
    (r"\.(\.+)", r" DOTMULTI\1"),
)
_DOTS = _rules((r"DOTMULTI\.([^.])", r"DOTDOTMULTI \1"), (r"DOTMULTI\.", "DOTDOTMULTI"))
_MARKS = _rules(
    (r"([^0-9]),([^0-9])", r"\1 , \2"),
    (r"([0-9]),([^0-9])", r"\1 , \2"),
    (r"([^0-9]),([0-9])", r"\1 , \2"),
    ("[`\u2018\u2019]", "'"),
    ("[\u201c\u201d]|''", ' " '),
    ("\u2013", "-"),
    ("--", "-"),
    (rf"([{_ALNUM}.])-([{_ALNUM}])", r"\1 \2"),
    (rf"([^{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
    (rf"([^{_ALNUM}])'([{_ALPHA}])", r"\1 ' \2"),
    (rf"([{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
    (rf"([{_ALPHA}])'([{_ALPHA}])", r"\1 '\2"),
    (r"([0-9])'(s)", r"\1 '\2"),
)


def prefixes(text: str) -> dict[str, bool]:
    """Abbreviations of a prefix file, True where they are such only before a number."""
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: row[1:2] == ["#NUMERIC_ONLY#"] for row in rows if row and not row[0].startswith("#")}


def normalize(line: str, abbreviations: Mapping[str, bool]) -> str:
    """The words METEOR sees in a line, lower-case, joined by single spaces."""
    if _PLAIN.fullmatch(line):
        return " ".join(line.split())
    text = _applied(_APART, f" {line} ")
    while "DOTMULTI." in text:
        text = _applied(_DOTS, text)
    text = _stops(_applied(_MARKS, text), abbreviations)
    while "DOTDOTMULTI" in text:
        text = text.replace("DOTDOTMULTI", "DOTMULTI.")
    text = _WHITE.sub(" ", text.replace("DOTMULTI", ".")).strip(_CONTROL)
    return " ".join(word for word in _BLANKS.split(text.lower()) if word)


def _applied(rules: Rules, text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def _stops(text: str, abbreviations: Mapping[str, bool]) -> str:
    """Full stops split off the words that are no abbreviation and are not followed by a lower-case word."""
    words = [word for word in _BLANKS.split(text) if word]
    out = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        before = word[:-1]
        if len(word) == 1 or not word.endswith("."):
            out.append(word)
        elif "." in before and re.search(f"[{_ALPHA}]", before):
            out.append(word.replace(".", ""))
        elif _kept(abbreviations.get(before), following):
            out.append(word)
        else:
            out.append(before + " .")
    return "".join(word + " " for word in out)


def _kept(numeric: bool | None, following: str) -> bool:
    """Whether the full stop stays on a word: `numeric` is None where the word is no abbreviation."""
    return numeric is False or bool(re.match("[0-9a-z]" if numeric else "[a-z]", following))
