"""What a caption says that somebody does, as made clips name it: nods, talks, looks down, ...

The words are those of the grammar that captions made clips; whoever writes otherwise is not understood.
"""

import re
from functools import cache, lru_cache

from captioner.lexicon.phrases import Found, longest
from captioner.synth.story.words import DEEDS as ACTIONS

__all__ = ["ACTIONS", "find_deeds"]
_GIVEN = re.compile(r"\\\{\w+\\\}")  # {their}, {other}, ... in an escaped wording: one word stands for it


def find_deeds(text: str) -> tuple[frozenset[str], ...]:
    """The deeds of a caption's first sentence; several in one set where the words do not tell which.

    Of overlapping wordings the longest counts: "talks to them" is not "talks".
    """
    return _in_sentence(text.lower().partition(".")[0])


@lru_cache(maxsize=4096)  # a search asks again and again, while the second sentence is written
def _in_sentence(sentence: str) -> tuple[frozenset[str], ...]:
    wordings = _wordings()
    spans = (Found(each.pattern, *match.span()) for each, _ in wordings.values() for match in each.finditer(sentence))
    return tuple(wordings[found.name][1] for found in longest(spans))


@cache
def _wordings() -> dict[str, tuple[re.Pattern[str], frozenset[str]]]:
    """By its regular expression each wording, and the deeds it is used for."""
    found: dict[str, set[str]] = {}
    for name, pairs in ACTIONS.items():
        for wording in {wording for pair in pairs for wording in pair}:
            words = _GIVEN.sub(r"\\w+", re.escape(wording))
            found.setdefault(rf"\b{words}\b", set()).add(name)
    return {pattern: (re.compile(pattern), frozenset(names)) for pattern, names in found.items()}
