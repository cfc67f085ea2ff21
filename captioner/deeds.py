"""What a caption says that somebody does, as made clips name it: nods, talks, looks down, ...

The words are those of the grammar that captions made clips; whoever writes otherwise is not understood.
"""

import re
from functools import cache, lru_cache

from captioner.synth.words import DEEDS

NAMES: tuple[str, ...] = tuple(DEEDS)  # in the order of the judges that weights hold
_GIVEN = re.compile(r"\\\{\w+\\\}")  # {their}, {other}, ... in an escaped wording: one word stands for it


def find_deeds(text: str) -> tuple[frozenset[str], ...]:
    """The deeds of a caption's first sentence; several in one set where the words do not tell which.

    Of overlapping wordings the longest counts: "talks to them" is not "talks".
    """
    return _in_sentence(text.lower().partition(".")[0])


@lru_cache(maxsize=4096)  # a search asks again and again, while the second sentence is written
def _in_sentence(sentence: str) -> tuple[frozenset[str], ...]:
    spans = [(*match.span(), deeds) for wording, deeds in _wordings() for match in wording.finditer(sentence)]
    kept: list[tuple[int, int, frozenset[str]]] = []
    for start, end, deeds in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
        if all(end <= other[0] or start >= other[1] for other in kept):
            kept.append((start, end, deeds))
    return tuple(deeds for _, _, deeds in sorted(kept, key=lambda span: span[0]))


@cache
def _wordings() -> tuple[tuple[re.Pattern[str], frozenset[str]], ...]:
    found: dict[str, set[str]] = {}
    for name, pairs in DEEDS.items():
        for wording in {wording for pair in pairs for wording in pair}:
            found.setdefault(_GIVEN.sub(r"\\w+", re.escape(wording)), set()).add(name)
    return tuple((re.compile(rf"\b{pattern}\b"), frozenset(names)) for pattern, names in found.items())
