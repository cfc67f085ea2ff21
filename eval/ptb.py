"""The Stanford PTB tokeniser in Python: its own transition tables, read from the toolkit's jar, without Java.

The jar (CoreNLP 3.4.1, inside pycocoevalcap) holds a JFlex scanner: a state machine as packed strings, and a
small action for each rule. The machine is interpreted here, so each rule, its length and its look-ahead are
the jar's own; the actions are written again for the toolkit's one setting (-preserveLines -lowerCase).
"""

import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

_CLASS = "edu/stanford/nlp/process/PTBLexer.class"
_START = 2  # scanner state of the traditional treebank mode, which the toolkit runs in
_SOFT_HYPHEN, _NBSP = "\u00ad", "\u00a0"
_SPACES = " \t\n\v\f\r\x85"
# Curly quotes and the Windows code points that stand for them, as the treebank writes them.
_CURLY = str.maketrans(
    dict.fromkeys("\x91\u2018\u201b\u2039", "`")
    | dict.fromkeys("\x92\u2019\u203a", "'")
    | dict.fromkeys("\x93\u201c\xab", "``")
    | dict.fromkeys("\x94\u201d\xbb", "''")
)


@dataclass(frozen=True)
class Machine:
    """A scanner: `kinds` classes UTF-16 units, `rows[state] + class` is a place in `moves` (-1: stop)."""

    kinds: list[int]
    rows: list[int]
    moves: list[int]
    actions: list[int]  # rule of an accepting state
    accepts: list[bool]
    final: list[bool]  # accepting, and no longer match is possible


@cache
def machine(jar: Path) -> Machine:
    """The scanner inside the jar."""
    with zipfile.ZipFile(jar) as archive:
        packed = _strings(archive.read(_CLASS))
    kinds = _runs(packed["ZZ_CMAP_PACKED"])
    rows = np.array([ord(unit) for unit in packed["ZZ_ROWMAP_PACKED_0"]]).reshape(-1, 2) @ (1 << 16, 1)
    parts = sorted(name for name in packed if name.startswith("ZZ_TRANS_PACKED_"))
    moves = np.concatenate([_runs(packed[name]) for name in parts]) - 1
    attributes = _runs(packed["ZZ_ATTRIBUTE_PACKED_0"])
    actions = _runs(packed["ZZ_ACTION_PACKED_0"])
    accepts, final = (attributes & 1).astype(bool), (attributes & 9) == 9
    return Machine(*(table.tolist() for table in (kinds, rows, moves, actions, accepts, final)))


def _runs(packed: str) -> np.ndarray:
    """Numbers written as (how often, value) pairs of characters."""
    pairs = np.array([ord(unit) for unit in packed]).reshape(-1, 2)
    return np.repeat(pairs[:, 1], pairs[:, 0])


def _strings(data: bytes) -> dict[str, str]:
    """Constant string fields of a Java class file, by name (JVM specification, chapter 4)."""
    texts: dict[int, bytes] = {}
    links: dict[int, int] = {}
    at, index, size = 10, 1, struct.unpack_from(">H", data, 8)[0]
    while index < size:
        tag = data[at]
        if tag == 1:  # text
            length = struct.unpack_from(">H", data, at + 1)[0]
            texts[index] = data[at + 3 : at + 3 + length]
            at += 3 + length
        else:
            if tag == 8:  # string: the index of its text
                links[index] = struct.unpack_from(">H", data, at + 1)[0]
            at += {3: 5, 4: 5, 5: 9, 6: 9, 7: 3, 8: 3, 15: 4, 16: 3}.get(tag, 5)
        index += 2 if tag in (5, 6) else 1
    at += 6
    at += 2 + 2 * struct.unpack_from(">H", data, at)[0]  # interfaces
    fields, at = struct.unpack_from(">H", data, at)[0], at + 2
    found: dict[str, str] = {}
    for _ in range(fields):
        name, attributes = struct.unpack_from(">2xH2xH", data, at)
        at += 8
        for _ in range(attributes):
            kind, length = struct.unpack_from(">HI", data, at)
            value = struct.unpack_from(">H", data, at + 6)[0] if length >= 2 else 0
            at += 6 + length
            if texts[kind] == b"ConstantValue" and value in links:
                # Java writes NUL as two bytes and keeps surrogates apart.
                raw = texts[links[value]].replace(b"\xc0\x80", b"\0")
                found[texts[name].decode()] = raw.decode("utf-8", "surrogatepass")
    return found


def _hyphens(token: str) -> str:
    return token.replace(_SOFT_HYPHEN, "") or "-" if _SOFT_HYPHEN in token else token


def _quotes(token: str, left: bool) -> str:
    token = re.sub("&apos;|'", "`" if left else "'", token)
    token = re.sub('"|&quot;', "``" if left else "''", token)
    return token.translate(_CURLY)


def _fractions(token: str) -> str:
    for sign, plain in (("¼", "1/4"), ("½", "1/2"), ("¾", "3/4"), ("⅓", "1/3"), ("⅔", "2/3")):
        token = token.replace(sign, plain)
    return token


def _currency(token: str) -> str:
    return re.sub("[\x80¤₠€]", "$", token.replace("¢", "cents").replace("£", "#"))


def _parentheses(token: str) -> str:
    return token.replace("(", "-LRB-").replace(")", "-RRB-")


def _spaces(token: str) -> str:
    return token.replace(" ", _NBSP)


def _same(token: str) -> str:
    return token


def _constant(token: str) -> Callable[[str], str]:
    return lambda _: token


@dataclass(frozen=True)
class Action:
    """What a rule does: shorten its match, by look-ahead and by so many units, then write the rest."""

    write: Callable[[str], str] | None = _same  # None: no token
    back: int = 0
    ahead: tuple[int, int] | None = None
    trim: bool = False  # white space at the end is given back
    keep: bool = False  # the token is written before the last unit is given back: "etc." and then "."


ACTIONS: dict[int, Action] = {
    1: Action(None),
    2: Action(_constant("<")),
    4: Action(lambda token: "--" if 3 <= len(token) <= 4 else token),
    5: Action(_constant("\n")),
    6: Action(_hyphens),
    7: Action(None),
    8: Action(lambda token: _quotes(token, False)),
    10: Action(_constant(">")),
    11: Action(_constant("--")),
    12: Action(_hyphens),
    13: Action(_constant("...")),
    14: Action(_fractions),
    15: Action(_currency),
    16: Action(_constant("-RCB-")),
    17: Action(_constant("-LRB-")),
    18: Action(_constant("-RRB-")),
    20: Action(_constant("-LCB-")),
    21: Action(_constant("-RSB-")),
    22: Action(_constant("-LSB-")),
    23: Action(None),
    24: Action(ahead=(13, 14)),
    25: Action(back=1),
    26: Action(lambda token: _quotes(token, True), back=1),
    27: Action(_spaces),
    28: Action(_parentheses),
    29: Action(_hyphens),
    30: Action(_hyphens, ahead=(3, 4)),
    32: Action(_hyphens, back=1),
    33: Action(back=1, keep=True),
    34: Action(_parentheses, back=1),
    35: Action(lambda token: _quotes(token, True), back=-1),
    36: Action(lambda token: _quotes(token, False), back=1),
    37: Action(lambda token: re.sub("(?i:&amp;)", "&", token)),
    38: Action(_spaces),
    39: Action(_spaces),
    40: Action(_hyphens, ahead=(5, 6)),
    41: Action(ahead=(16, 17)),
    42: Action(back=2),
    43: Action(ahead=(15, 14)),
    44: Action(ahead=(9, 10), trim=True),
    46: Action(_hyphens, back=1),
    47: Action(back=1, ahead=(7, 8), trim=True, keep=True),
    48: Action(back=2),
    49: Action(back=1, ahead=(11, 12), keep=True),
    50: Action(back=3),
    51: Action(lambda token: re.sub("(?i:&amp;)", "&", token), back=1),
    53: Action(back=4),
    54: Action(lambda token: _parentheses(_spaces(token))),
}
_PLAIN = Action()


def scan(tables: Machine, text: str, start: int) -> Iterator[tuple[str | None, int, int]]:
    """From `start` on: a token (None: no token; "\\n": a line ends), where it ends, the last unit looked at.

    `text` holds UTF-16 units, one a character. A token's end is where the next one begins.
    """
    kinds, rows, moves, accepts, final = tables.kinds, tables.rows, tables.moves, tables.accepts, tables.final
    size = len(text)
    while start < size:
        state, rule, end, at = _START, -1, start, start
        while at < size:
            state = moves[rows[state] + kinds[ord(text[at])]]
            if state < 0:
                break
            at += 1
            if accepts[state]:
                rule, end = state, at
                if final[state]:
                    at -= 1  # the unit after it was not looked at
                    break
        token, end = _act(tables, ACTIONS.get(tables.actions[rule], _PLAIN), text, start, end)
        yield token, end, at
        start = end


def _act(tables: Machine, action: Action, text: str, start: int, end: int) -> tuple[str | None, int]:
    """The token an action writes for text[start:end], and where it lets the next one begin."""
    if action.write is None:
        return None, end
    if action.ahead:
        end = _cut(tables, text, start, end, *action.ahead)
    if action.trim:
        end = start + len(text[start:end].rstrip(_SPACES))
    shorter = start + 1 if action.back < 0 else end - action.back
    written = end if action.keep and not (action.trim and end - start == 2) else shorter
    return action.write(text[start:written]), shorter


def _cut(tables: Machine, text: str, start: int, end: int, forward: int, backward: int) -> int:
    """End of text[start:end] without its look-ahead: two automata meet, the longest first part wins."""
    kinds, rows, moves, accepts = tables.kinds, tables.rows, tables.moves, tables.accepts
    ends, state = [False] * (end - start + 1), forward
    for at in range(start, end + 1):
        ends[at - start] = accepts[state]
        if at < end:
            state = moves[rows[state] + kinds[ord(text[at])]]
        if state < 0:
            break
    at, state = end, backward
    while not (ends[at - start] and accepts[state]):
        at -= 1
        state = moves[rows[state] + kinds[ord(text[at])]]
    return at
