"""The facial phrases of MAFW-like captions: their words, their action units (AUs), how to find them.

Used three ways: to write captions of synthetic clips, to score captions, to link a word to the AU behind it.
"""

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Phrase:
    """A facial phrase: its AUs (see `phrases_of` for which suffice), its wordings, the favourite first."""

    name: str
    aus: tuple[int, ...]
    wordings: tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """A phrase or an action in a text: `text[start:end]` are its words."""

    name: str
    start: int
    end: int


_LEXICON: tuple[tuple[str, tuple[int, ...], str], ...] = (
    ("frown", (4,), "frown | knitted brows | furrowed eyebrows"),
    ("raised_brows", (1, 2), "raised eyebrows | lifted eyebrows | arched eyebrows"),
    (
        "raised_inner_brows",
        (1,),
        "raised inner eyebrows | lifted inner brows | inner ends of the eyebrows raised",
    ),
    ("wide_eyes", (5,), "wide open eyes | widened eyes | wide eyes"),
    ("narrowed_eyes", (7,), "narrowed eyes | tightened eyelids | squinted eyes"),
    ("closed_eyes", (), "closed eyes | shut eyes | lowered eyelids"),
    ("wrinkled_nose", (9,), "wrinkled nose | scrunched nose | wrinkles on the nose"),
    ("raised_cheeks", (6,), "raised cheeks | lifted cheeks | upward pull on the cheeks"),
    ("raised_upper_lip", (10,), "raised upper lip | lifted upper lip | upward pull on the upper lip"),
    ("smile", (12,), "raised lip corners | smile | upward pull on the lip corners | grin"),
    ("dimples", (14,), "dimples | dimpled cheeks"),
    (
        "lip_corners_down",
        (15,),
        "pulled down lip corners | downward pull on the lip corners | drooping mouth corners",
    ),
    ("raised_chin", (17,), "raised chin | wrinkled chin | upward push of the chin"),
    ("puckered_lips", (18,), "puckered lips | pouting lips | pucker"),
    ("stretched_lips", (20,), "stretched lips | sideways stretched lips | stretched lip corners"),
    ("pressed_lips", (24, 23), "pressed lips | tightly closed lips | tight lips"),
    ("open_mouth", (25, 26), "open mouth | parted lips | open lips"),
    ("wide_open_mouth", (27,), "wide open mouth | widely opened mouth | gaping mouth"),
    ("bitten_lip", (32,), "bitten lip | bite on the lower lip"),
)
PHRASES: dict[str, Phrase] = {
    name: Phrase(name, aus, tuple(wordings.split(" | "))) for name, aus, wordings in _LEXICON
}


# What no face shows at once: captions that name both contradict themselves.
_NEVER_BOTH = (
    "wide_eyes narrowed_eyes | wide_eyes closed_eyes | narrowed_eyes closed_eyes | smile lip_corners_down "
    "| open_mouth pressed_lips | wide_open_mouth pressed_lips | open_mouth wide_open_mouth "
    "| puckered_lips stretched_lips | raised_brows raised_inner_brows"
)
OPPOSITES: frozenset[frozenset[str]] = frozenset(frozenset(pair.split()) for pair in _NEVER_BOTH.split(" | "))


def phrases_of(aus: Iterable[int]) -> tuple[str, ...]:
    """The phrases that a set of salient AUs makes true, in the order of the lexicon.

    One AU of a phrase suffices, but: brows are raised when AU 2 takes part, else only their inner
    ends are, and a wide open mouth is not also an open one.
    """
    active = set(aus)
    hidden = {"raised_inner_brows" if 2 in active else "raised_brows"}
    if 27 in active:
        hidden.add("open_mouth")
    return tuple(name for name, phrase in PHRASES.items() if active & set(phrase.aus) and name not in hidden)


# Patterns are regular expressions where "_" is a space or a hyphen (" - " too, as decoded WordPiece has it),
# "_?" the same or nothing, and a word in capitals stands for its entry here.
_PARTS: dict[str, str] = {
    "BROW": r"(?:eye_?)?brows?",
    "INNER": r"(?:INNERENDOF|(?:eye_?)?brow_inner_(?:corner|end)s?|inner_BROW|BROW_heads?)",
    "INNERENDOF": r"inner_(?:corner|end|part|side)s?_of_(?:DET_)?BROW",
    "OUTER": r"(?:outer_BROW|outer_(?:corner|end|part|side)s?_of_(?:DET_)?BROW)",
    "LIDS": r"(?:upper_)?(?:eye_?)?lids?",
    "EYES": r"eyes?",
    "NOSE": r"(?:nose|nasal_bridge|bridge_of_DET_nose)",
    "CHEEKS": r"cheeks?",
    "UPPERLIP": r"upper_lips?",
    "CORNERS": r"(?:(?:the_)?corners?_of_(?:DET_)?(?:mouth|lips?)|(?:mouths?|lips?)_corners?)",
    "CHIN": r"chin(?:_boss)?",
    "LIPS": r"(?:lips?|mouth)",
    "DET": r"(?:the|his|her|their|its|both|one)",
    "BE": r"(?:(?:is|are|was|were|being|be|get|gets|stay|stays)_)?",
    "WAY": r"(?:slightly|tightly|widely|wide|deeply|highly|high|gently|strongly|fully|partly|half|very|so|"
    r"firmly|tight|sideways|outwards?|horizontally|together|closely|upwards?|up|a_little|a_bit)",
    "BIT": r"(?:(?:slightly|very_slightly|a_little|a_bit|half|partly|gently)_)?",
    "RAISED": r"(?:rais(?:ed?|es|ing)|lift(?:ed|s|ing)?|pull(?:ed|s|ing)?_up|upturned|elevated|"
    r"arch(?:ed|ing))",
    "LOWERED": r"(?:lower(?:ed|s|ing)?|depressed|sagging|drop(?:ped|s)?|down_?turned|droop(?:s|ed|ing|y)?|"
    r"(?:pull(?:ed|s|ing)?|drawn?|turn(?:ed|s|ing)?)_down)",
    "FURROWED": r"(?:furrow(?:ed|s|ing)?|knit(?:ted|s|ting)?|lower(?:ed|s|ing)|contracted|wrinkled|"
    r"drawn_together)",
    "WIDENED": r"(?:wide_?(?:ly)?_open(?:ed|s|ing)?|open(?:s|ed|ing)?_wide|widen(?:ed|s|ing)?|bulging)",
    "NARROWED": r"(?:narrow(?:ed|s|ing)?|squint(?:ed|s|ing)?|squeezed|half_closed|"
    r"tight(?:ened|ens|ening)?)",
    "CLOSED": r"(?:clos(?:ed?|es|ing)|shut|shuts|shutting)",
    "WRINKLED": r"(?:wrinkl(?:ed?|es|ing)|scrunch(?:ed|es|ing)?(?:_up)?|crinkl(?:ed|es|ing)|screwed_up|"
    r"twitch(?:ed|es))",
    "BUNCHED": r"(?:RAISED|wrinkl(?:ed|ing|es)|puckered|push(?:ed|es|ing)?_up|bunched)",
    "PUCKERED": r"(?:pucker(?:ed|s|ing)?|pout(?:ed|s|ing)?|protrud(?:ed|es|ing)|purs(?:ed|es|ing)|rounded)",
    "PRESSED": r"(?:press(?:ed|es|ing)?(?:_together)?|tight(?:ened|ens|ening)?|compressed|sealed|clenched)",
    "OPENED": r"(?:open(?:ed|s|ing)?|agape|ajar)",
    "PARTED": r"(?:part(?:ed|s|ing)?|open(?:ed)?|separated)",
    "BITTEN": r"(?:bitten|bites?|biting|bit)",
    "MOVE": r"(?:pull|pulling|push|pushing|lift|lifting|raise|raising|drag|stretch|stretching|movement|turn)",
    "SMILING": r"(?:smil(?:es?|ed|ing)|grin(?:s|ned|ning)?|laugh(?:s|ed|ing|ter)?)",
}


def _both(state: str, part: str, way: str = "(?:WAY_){0,2}") -> tuple[str, str]:
    """State and part in either order: "raised his eyebrows", "eyebrows slightly raised"."""
    return f"{way}{state}_(?:DET_)?{part}", f"{part}_BE{way}{state}"


def _pull(direction: str, part: str) -> str:
    return f"(?:slight_|strong_)?{direction}_MOVE_(?:on|of|in|at)_(?:DET_)?{part}"


_PATTERNS: dict[str, tuple[str, ...]] = {
    "frown": (
        r"(?:(?:deep|slight|heavy|light|strong)_)?(?:frown|scowl)(?:s|ed|ing)?",
        *_both("FURROWED", "BROW"),
        r"(?:pulling|drawing)_(?:DET_)?BROW_together",
        r"BROW_(?:furrow|lower(?:ed|ing)?)",
    ),
    "raised_brows": (
        *_both("RAISED", "BROW"),
        *_both("RAISED", "OUTER"),
        r"BROW_(?:go_|going_)?up",
        r"BROW_(?:raise|lift)",
        _pull("upward", "BROW"),
    ),
    "raised_inner_brows": (
        *_both("RAISED", "INNER"),
        r"INNER_(?:go_|going_)?up",
        r"oblique_BROW",
        _pull("upward", "INNER"),
    ),
    "wide_eyes": (
        *_both("WIDENED", "EYES", r"(?:(?:slightly|very|suddenly)_)?"),
        *_both("RAISED", "LIDS"),
        r"EYES_BE(?:very_|so_)?wide(?:_open(?:ed)?)?",
        r"open(?:s|ed|ing)?_(?:DET_)?EYES_(?:very_|so_)?wide(?:ly)?",
        r"(?:wide|glaring|staring)_EYES",
        r"wide_?eyed",
    ),
    "narrowed_eyes": (
        *_both("NARROWED", "(?:EYES|LIDS)"),
        r"EYES_BE(?:slightly_)?narrow",
        r"slitted_EYES",
        r"squint(?:s|ed|ing)?",
    ),
    "closed_eyes": (*_both("CLOSED", "(?:EYES|LIDS)"), *_both(r"(?:lower(?:ed|s|ing)|drooping)", "LIDS")),
    "wrinkled_nose": (
        *_both("WRINKLED", "NOSE"),
        r"(?:nose_)?wrinkles?_(?:on|of|across|around)_(?:DET_)?NOSE",
        r"nose_wrinkl(?:es?|ing)",
        r"wrinkling_of_(?:DET_)?NOSE",
    ),
    "raised_cheeks": (*_both("RAISED", "CHEEKS"), _pull("upward", "CHEEKS"), r"CHEEKS_(?:go_|going_)?up"),
    "raised_upper_lip": (
        *_both("(?:RAISED|curled)", "UPPERLIP"),
        _pull("upward", "UPPERLIP"),
        r"UPPERLIP_(?:going_)?up",
        r"curled_lips?",
        r"snarl(?:s|ed|ing)?",
    ),
    "smile": (
        r"(?:(?:broad|big|slight|faint|bright|wide|gentle|small)_)?SMILING",
        *_both(r"(?:RAISED|turn(?:ed|s)?_up|drawn_up)", "(?:upper_)?CORNERS"),
        _pull("upward", "CORNERS"),
        r"CORNERS_(?:go_|going_|pull_|turn_)?up(?:wards?)?",
    ),
    "dimples": (r"dimples?", r"dimpl(?:ed|ing)_(?:CHEEKS|CORNERS)"),
    "lip_corners_down": (
        *_both("LOWERED", "CORNERS"),
        *_both("LOWERED", "mouth"),
        _pull("downward", "CORNERS"),
        r"CORNERS_(?:go_|going_|pull_|turn_)?down(?:wards?)?",
    ),
    "raised_chin": (*_both("BUNCHED", "CHIN"), _pull("upward", "CHIN"), r"CHIN_(?:going_)?up"),
    "puckered_lips": (
        *_both("PUCKERED(?:_up)?", "LIPS"),
        r"pucker(?:s|ed|ing)?",
        r"pout(?:s|ed|ing|y)?(?:_LIPS)?",
    ),
    "stretched_lips": (
        *_both(r"stretch(?:ed|es|ing)?", "(?:CORNERS|LIPS)"),
        _pull("(?:sideways|outward|horizontal)", "(?:CORNERS|LIPS)"),
        r"stretch(?:ing)?_of_(?:DET_)?(?:CORNERS|LIPS)",
        r"stretch(?:es|ed|ing)?_(?:DET_)?LIPS_sideways",
        r"LIPS_BEstretched_sideways",
    ),
    "pressed_lips": (
        *_both("PRESSED", "LIPS"),
        *_both("(?:tightly|firmly)_CLOSED", "LIPS"),
        r"(?:WAY_)?press(?:ed|es|ing)?_(?:DET_)?LIPS_(?:tightly_|firmly_)?together",
        r"CLOSED_LIPS_tightly",
        r"tight_?lipped",
    ),
    "open_mouth": (
        *_both("OPENED", "mouth", "BIT"),
        *_both("PARTED", "lips?", "BIT"),
        r"jaw_BE(?:drop(?:s|ped|ping)?|lowered)",
        r"dropp(?:ed|ing)_(?:DET_)?jaw",
    ),
    "wide_open_mouth": (
        r"wide(?:ly)?_OPENED_(?:DET_)?mouth",
        r"mouth_BE(?:very_)?wide(?:ly)?_open(?:ed)?",
        r"mouth_BEOPENED_(?:very_)?wide(?:ly)?",
        r"OPENED_(?:DET_)?mouth_(?:very_)?wide(?:ly)?",
        r"(?:gaping|wide)_mouth",
        r"mouth_BE(?:gaping|gapes)",
    ),
    "bitten_lip": (
        *_both("BITTEN", r"(?:lower_|upper_)?lips?"),
        r"(?:lower_)?lip_bit(?:e|ing)",
        r"bit(?:e|ing)_(?:on|of)_(?:DET_)?(?:lower_)?lips?",
    ),
}

# "raised cheeks and lip corners": a state that also holds of the part after "and".
_SHARED: dict[str, str] = {"RAISED": "raised", "LOWERED": "pulled down", "WIDENED": "wide open"}
_ANY_PART = "(?:INNER|BROW|LIDS|EYES|CHEEKS|UPPERLIP|CORNERS|CHIN|mouth)"

_NEGATED = re.compile(r"(?:\b(?:no|not|without|never|neither|nor)|n't)\s+(?:(?:a|an|any|the)\s+)?$")


def _expand(pattern: str) -> str:
    """The regular expression behind a pattern: entries of _PARTS filled in until none is left."""
    names = r"|".join(sorted(_PARTS, key=len, reverse=True))
    while re.search(names, pattern):
        pattern = re.sub(names, lambda match: _PARTS[match.group()], pattern)
    return pattern.replace("_?", r"[\s-]*").replace("_", r"(?:\s*-\s*|\s+)")


@cache
def _compiled() -> tuple[tuple[str, re.Pattern[str]], ...]:
    # One expression a pattern, not one a phrase: alternatives would stop at the first, not at the longest.
    return tuple(
        (name, re.compile(rf"\b{_expand(pattern)}(?!\w)"))
        for name, patterns in _PATTERNS.items()
        for pattern in patterns
    )


@cache
def _shared() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(
        (word, re.compile(_expand(rf"\b{state}_(?:DET_)?{_ANY_PART}_and_(?:DET_)?({_ANY_PART})(?!\w)")))
        for state, word in _SHARED.items()
    )


def _matches(text: str) -> list[Span]:
    """Every pattern wherever it matches, overlaps included."""
    return [Span(name, *match.span()) for name, pattern in _compiled() for match in pattern.finditer(text)]


def _coordinated(text: str) -> list[Span]:
    """Parts after "and" that share the state of the part before."""
    spans = []
    for word, pattern in _shared():
        for match in pattern.finditer(text):
            complete = f"{word} {match.group(1)}"
            names = [span.name for span in _matches(complete) if span.end - span.start == len(complete)]
            spans += [Span(name, *match.span(1)) for name in names[:1]]
    return spans


def find_phrases(text: str) -> list[Span]:
    """The facial phrases in a text, in order; of overlapping ones the longest; negated ones are left out."""
    lowered = text.lower()
    spans = longest(_matches(lowered) + _coordinated(lowered))
    return [span for span in spans if not _NEGATED.search(lowered[: span.start])]


def phrase_names(source: str | Iterable[str]) -> frozenset[str]:
    """Names of the facial phrases in a caption or any of several; a set is taken as the names themselves."""
    if isinstance(source, AbstractSet):
        return frozenset(source)
    captions = [source] if isinstance(source, str) else source
    return frozenset(span.name for caption in captions for span in find_phrases(caption))


def longest(spans: Iterable[Span]) -> list[Span]:
    """Of overlapping spans the longest (of equal ones the first), in the order of the text."""
    chosen: list[Span] = []
    for span in sorted(spans, key=lambda each: (each.start - each.end, each.start)):
        if all(span.end <= other.start or span.start >= other.end for other in chosen):
            chosen.append(span)
    return sorted(chosen, key=lambda span: span.start)
