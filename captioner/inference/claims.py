"""What a caption claims: everything it says that can be false, whole or half written, and whether it is supported.

A caption that ships holds supported claims only, none twice, none against another, and no words that nobody
understands. Kinds: phrase (of the face), action (of the main person), other (what a second person does), people (how
many are named), gender and other gender (of the main and of a second person), feeling, light, distance, camera.
`Supports` says how probable each is; THRESHOLDS from when on it may be said.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import combinations

from captioner.lexicon.actions import action_spans
from captioner.lexicon.circumstances import ADVERBS, FEELINGS, PLACES, SETTINGS, TAILS
from captioner.lexicon.phrases import OPPOSITES, Span, find_phrases, longest


@dataclass(frozen=True)
class Claim:
    """Something said in `text[start:end]`: one of `names`, where the words do not tell which."""

    kind: str
    names: frozenset[str]
    start: int
    end: int

    @property
    def name(self) -> str:
        """Its name, or its names in order."""
        return " or ".join(sorted(self.names))


@dataclass(frozen=True)
class Support:
    """How probable a claim is, when it was seen best, and who says so."""

    probability: float
    second: float | None = None
    source: str = ""


# What is measured of a clip: by kind and name. A kind without any entry was not measured, and nothing is held against
# it; a name that lacks in a measured kind is unsupported.
Supports = Mapping[str, Mapping[str, Support]]

# From which probability on a claim may be said. Persons are named as men and women only where that is nearly certain;
# light and distance are measured outright.
THRESHOLDS: dict[str, float] = {
    "phrase": 0.3, "action": 0.43, "other": 0.5, "people": 0.5, "gender": 0.95, "other gender": 0.95, "feeling": 0.25,
    "light": 0.5, "distance": 0.5, "camera": 0.5, "voice": 0.5,
}  # fmt: skip

# Names of the kinds whose words stand here; those of phrases, actions and feelings are in the lexicon.
_WHERE = r"(?:beside|behind|next to|opposite|at|nearby|in the background|further back)"
_ONE = r"(?:person|man|woman|character)"
_PEOPLE: dict[str, str] = {
    "several": r"several people|many people|a crowd(?: of people)?|a group of people|(?:three|four|five|six) people",
    "two": rf"two (?:people|persons|men|women)|(?:another|the other|a second) {_ONE}|somebody else|someone else"
    rf"|(?:a|the) {_ONE}(?: is)? {_WHERE}|each other|one another",
}
_SPEAKS = r"(?:says|saying|speaks|speaking|talks|talking)[\w ]{0,20}"
_VOICE: dict[str, str] = {
    "low": rf"in an? (?:low|quiet|soft|hushed) voice|{_SPEAKS} (?:quietly|softly)",
    "loud": rf"in a loud voice|{_SPEAKS} loudly",
}
_GENDER: dict[str, str] = {
    "woman": r"woman|women|lady|ladies|girl|she|her|hers|herself",
    "man": r"man|men|guy|guys|boy|he|him|his|himself",
}
_NOUN = re.compile(r"woman|women|lady|ladies|girl|man|men|guys?|boy")
_ANOTHER = re.compile(r"\b(?:a|an|another|other|second)\s+$")
# Actions of which nobody does two in one caption.
_AGAINST: tuple[frozenset[str], ...] = (
    frozenset(("turns_left", "turns_right")), frozenset(("looks_left", "looks_right")),
    frozenset(("looks_up", "looks_down")), frozenset(("lowers_head", "raises_head")),
    frozenset(("leans_in", "moves_away")),
    frozenset(("talks", "talks_to")), frozenset(("talks", "shouts")),  # one is said by the other
)  # fmt: skip
_STILL_WITH = frozenset(("still", "talks", "blinks", "closes_eyes", "laughs", "shouts"))
# Words that claim nothing; whatever is neither these nor part of a claim is not understood.
_PLAIN = frozenset(
    re.findall(
        r"\S+",
        "a an the and or , . - while with of on in to at is are being then as their them they there this that it its "
        "both person someone somebody character who slightly very high face faces something what into from by shown "
        "single lopsided crooked has have shows show deeply broadly",
    )
)
_WORD = re.compile(r"[\w'-]+")


@lru_cache(maxsize=8192)  # a search asks again and again about the same beginnings
def find_claims(text: str) -> tuple[Claim, ...]:
    """The claims of a caption in their order; a word belongs to one claim of each kind at most."""
    lowered = text.lower()
    first, dot, rest = lowered.partition(".")
    phrases = [Claim("phrase", frozenset((span.name,)), span.start, span.end) for span in find_phrases(lowered)]
    actions = [Claim("action", each.names, each.start, each.end) for each in action_spans(first)]
    offset = len(first) + len(dot)
    later = [Claim("other", each.names, offset + each.start, offset + each.end) for each in action_spans(rest)]
    later = [claim for claim in later if not _within(claim, phrases)]
    # "frowns", "smiles" and the like are phrases; the verbs of actions are longer or equal.
    claims = [claim for claim in phrases if not _within(claim, actions)] + actions + later
    for kind, table in _tables().items():
        spans = (Span(name, *match.span()) for name, pattern in table for match in pattern.finditer(lowered))
        found = [Claim(kind, frozenset((span.name,)), span.start, span.end) for span in longest(spans)]
        claims += _of_whom(found, lowered) if kind == "gender" else found
    camera = [claim for claim in claims if claim.kind == "camera"]  # it comes closer as a person does
    claims = [claim for claim in claims if claim.kind not in ("action", "other") or not _within(claim, camera)]
    return tuple(sorted(claims, key=lambda claim: (claim.start, claim.end)))


def _of_whom(named: Sequence[Claim], text: str) -> list[Claim]:
    """Women and men: the first named is the main person, and so are pronouns; a man named behind a woman is another."""
    nouns = [claim for claim in named if _NOUN.fullmatch(text[claim.start : claim.end])]
    others = [
        claim
        for claim in nouns[1:]
        if claim.names != nouns[0].names or _ANOTHER.search(text[: claim.start])
    ]
    return [replace(claim, kind="other gender") if claim in others else claim for claim in named]


def _within(claim: Claim, others: Sequence[Claim]) -> bool:
    return any(other.start < claim.end and claim.start < other.end for other in others)


@cache
def _tables() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """By kind the names and the words for them."""

    def words(options: Sequence[str]) -> str:
        return "|".join(re.escape(option) for option in sorted(options, key=len, reverse=True))

    feelings = {name: words([*each.adjectives, *each.adverbs, *each.nouns]) for name, each in FEELINGS.items()}
    camera = {name: words(SETTINGS[name]) for name in ("zooms in", "zooms out")}
    kinds = {
        "people": _PEOPLE, "gender": _GENDER, "feeling": feelings, "camera": camera, "voice": _VOICE,
        "light": {"dark": words(SETTINGS["dark"])}, "distance": {n: words(SETTINGS[n]) for n in ("far", "near")},
    }  # fmt: skip
    return {
        kind: [(name, re.compile(rf"\b(?:{pattern})\b")) for name, pattern in table.items()]
        for kind, table in kinds.items()
    }


@lru_cache(maxsize=8192)
def not_understood(text: str) -> tuple[str, ...]:
    """The words of a caption that belong to no claim and claim nothing by themselves."""
    lowered = text.lower()
    covered = [(claim.start, claim.end) for claim in find_claims(text)]
    covered += [match.span() for match in _neutral().finditer(lowered)]
    return tuple(
        match.group()
        for match in _WORD.finditer(lowered)
        if match.group() not in _PLAIN and not any(s <= match.start() and match.end() <= e for s, e in covered)
    )


@cache
def _neutral() -> re.Pattern[str]:
    """Phrases that say how or where without claiming what could be false on its own."""
    them = r"(?:them|him|her|their|his)"
    where = [re.escape(words) for options in PLACES.values() for words in options]
    places = [re.sub(r"\\\{\w+\\\}", them, words) for words in where]
    adverbs = [re.escape(words) for options in ADVERBS.values() for words in options]
    felt = [re.escape(word) for each in FEELINGS.values() for word in each.adjectives]
    seeming = rf"(?:looks?|seems?|feels?|appears?)(?= (?:{'|'.join(felt)})\b)"
    sides = ["one[ -]+sided", rf"on one side(?: of {them} mouth)?", "one(?= (?:raised|side))"]
    counted = ["no face can be seen", "the picture is dark", "can be seen", "one of them"]
    return re.compile(rf"\b(?:{'|'.join([*map(re.escape, TAILS), *places, *adverbs, seeming, *sides, *counted])})\b")


def find_faults(text: str, supports: Supports, *, whole: bool = True) -> list[str]:
    """Why a caption may not ship, a line each: unsupported, repeated or contradicting claims, words not understood."""
    claims = find_claims(text)
    found = [f"unsupported: {claim.kind} {claim.name}" for claim in claims if not supported(claim, supports)]
    found += [f"twice: {name}" for name in _repeated(claims)]
    found += [f"against each other: {one} and {other}" for one, other in _contradicting(claims)]
    understood = text if whole else text[: text.rfind(".") + 1]  # a word just begun may yet make sense
    return found + [f"not understood: {word}" for word in not_understood(understood)]


def claim_probability(claim: Claim, supports: Supports) -> float:
    """How probable a claim is: that of its likeliest meaning; 1 where its kind was not measured."""
    measured = supports.get(claim.kind)
    if measured is None:
        return 1.0
    return max((measured[name].probability for name in claim.names if name in measured), default=0.0)


def supported(claim: Claim, supports: Supports) -> bool:
    """Whether a claim may be said."""
    return claim_probability(claim, supports) >= THRESHOLDS[claim.kind]


def _repeated(claims: Sequence[Claim]) -> list[str]:
    said = [(claim.kind, claim.name) for claim in claims if claim.kind in ("phrase", "action", "other")]
    return sorted({name for kind, name in said if said.count((kind, name)) > 1})  # two people may do the same


def _contradicting(claims: Sequence[Claim]) -> list[tuple[str, str]]:
    names = {kind: [claim.names for claim in claims if claim.kind == kind] for kind in THRESHOLDS}
    pairs = []
    for one, other in combinations(names["phrase"], 2):
        if any(frozenset((a, b)) in OPPOSITES for a in one for b in other):
            pairs.append((min(min(one), min(other)), max(min(one), min(other))))
    for one, other in combinations(names["action"], 2):
        if all(cannot_both(a, b) for a in one for b in other):
            pairs.append((min(min(one), min(other)), max(min(one), min(other))))
    for kind in ("feeling", "distance", "camera"):
        different = sorted({min(each) for each in names[kind]})
        pairs += list(combinations(different, 2))
    return pairs


def cannot_both(one: str, other: str) -> bool:
    """Whether nobody does both in one clip."""
    both = frozenset((one, other))
    return both in _AGAINST or ("still" in both and not both <= _STILL_WITH)
