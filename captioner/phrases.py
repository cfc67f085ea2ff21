"""The facial phrases of MAFW-like captions: the words, the action units (AUs) behind them, how to find them in text.

Used three ways: to write captions of synthetic clips, to score captions, to link a word to the AU that supports it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Phrase:
    """A facial phrase: its AUs (all of them, or any one: see `phrases_of`) and its wordings, the favourite first."""

    name: str
    aus: tuple[int, ...]
    wordings: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A phrase in a text: `text[start:end]` are its words."""

    name: str
    start: int
    end: int


PHRASES: dict[str, Phrase] = {
    phrase.name: phrase
    for phrase in (
        Phrase("frown", (4,), ("frown", "knitted brows", "furrowed eyebrows")),
        Phrase("raised_brows", (1, 2), ("raised eyebrows", "lifted eyebrows", "arched eyebrows")),
        Phrase("raised_inner_brows", (1,), ("raised inner eyebrows", "lifted inner brows", "inner ends of the eyebrows raised")),
        Phrase("wide_eyes", (5,), ("wide open eyes", "widened eyes", "wide eyes")),
        Phrase("narrowed_eyes", (7,), ("narrowed eyes", "tightened eyelids", "squinted eyes")),
        Phrase("closed_eyes", (), ("closed eyes", "shut eyes", "lowered eyelids")),
        Phrase("wrinkled_nose", (9,), ("wrinkled nose", "scrunched nose", "wrinkles on the nose")),
        Phrase("raised_cheeks", (6,), ("raised cheeks", "lifted cheeks", "upward pull on the cheeks")),
        Phrase("raised_upper_lip", (10,), ("raised upper lip", "lifted upper lip", "upward pull on the upper lip")),
        Phrase("smile", (12,), ("raised lip corners", "smile", "upward pull on the lip corners", "grin")),
        Phrase("dimples", (14,), ("dimples", "dimpled cheeks")),
        Phrase("lip_corners_down", (15,), ("pulled down lip corners", "downward pull on the lip corners", "drooping mouth corners")),
        Phrase("raised_chin", (17,), ("raised chin", "wrinkled chin", "upward push of the chin")),
        Phrase("puckered_lips", (18,), ("puckered lips", "pouting lips", "pucker")),
        Phrase("stretched_lips", (20,), ("stretched lips", "sideways stretched lips", "stretched lip corners")),
        Phrase("pressed_lips", (24, 23), ("pressed lips", "tightly closed lips", "tight lips")),
        Phrase("open_mouth", (25, 26), ("open mouth", "parted lips", "open lips")),
        Phrase("wide_open_mouth", (27,), ("wide open mouth", "widely opened mouth", "gaping mouth")),
        Phrase("bitten_lip", (32,), ("bitten lip", "bite on the lower lip")),
    )
}  # fmt: skip


def phrases_of(aus: Iterable[int]) -> tuple[str, ...]:
    """The phrases that a set of salient AUs makes true, in the order of the lexicon.

    Brows are raised when AU 1 and 2 are both there; a wide open mouth is not also an open one.
    """
    active = set(aus)
    names = [phrase.name for phrase in PHRASES.values() if active & set(phrase.aus)]
    brows = "raised_brows" if 2 in active else "raised_inner_brows"
    for hidden in ({"raised_brows", "raised_inner_brows"} - {brows}) | (
        {"open_mouth"} if "wide_open_mouth" in names else set()
    ):
        if hidden in names:
            names.remove(hidden)
    return tuple(names)


# Patterns: "_" is a space or a hyphen, also as WordPiece decoding spaces it; capitals are parts below.
_PARTS = {
    "BROW": r"(?:eye_?)?brows?",
    "INNER": r"(?:inner_(?:corners?|ends?|parts?|sides?)_of_(?:DET_)?BROW|(?:eye_?)?brow_inner_(?:corners?|ends?)|inner_BROW|BROW_(?:inner_)?heads?)",
    "LIDS": r"(?:upper_)?(?:eye_?)?lids?",
    "EYES": r"eyes?",
    "NOSE": r"(?:nose|nasal_bridge|bridge_of_DET_nose)",
    "CHEEK": r"cheeks?",
    "UPPER": r"upper_lips?",
    "CORNERS": r"(?:(?:the_)?corners?_of_(?:DET_)?(?:mouth|lips?)|(?:mouths?|lips?)_corners?)",
    "CHIN": r"chin(?:_boss)?",
    "LIPS": r"(?:lips?|mouth)",
    "DET": r"(?:the|his|her|their|its|both)",
    "ADV": r"(?:slightly|a_little|a_bit|tightly|widely|wide|deeply|highly|high|gently|strongly|fully|partly|half|"
           r"very|so|firmly|tight|sideways|outwards?|horizontally|together|closely|upwards?|up)",
    "UP": r"(?:raised|raises?|raising|lifted|lifts?|lifting|pulled_up|pulls?_up|pulling_up|upturned|elevated|arched|arching)",
    "DOWN": r"(?:pulled_down|pulls?_down|pulling_down|drawn_down|turned_down|down_?turned|turns?_down|turning_down|droop(?:s|ed|ing|y)?|"
            r"lowered|lowering|lowers?|depressed|sagging|dropped|drops?)",
    "BE": r"(?:(?:is|are|was|were|being|be|get|gets|stay|stays)_)?",
}  # fmt: skip


def _both(state: str, part: str, adverb: str = "(?:ADV_){0,2}") -> tuple[str, str]:
    """State and part in either order: "raised his eyebrows", "eyebrows slightly raised"."""
    return f"{adverb}{state}_(?:DET_)?(?:own_)?{part}", f"{part}_BE{adverb}{state}"


def _pull(direction: str, part: str) -> str:
    move = r"(?:pull|pulling|push|pushing|lift|lifting|raise|raising|drag|stretch|stretching|movement|turn)"
    return f"(?:slight_|strong_)?{direction}_{move}_(?:on|of|in|at)_(?:DET_)?{part}"


_PATTERNS: dict[str, tuple[str, ...]] = {
    "frown": (
        r"(?:(?:deep|slight|heavy|light|strong)_)?(?:deep_)?frown(?:s|ed|ing)?",
        *_both(r"(?:furrow(?:ed|s|ing)?|knit(?:ted|s|ting)?|lower(?:ed|s|ing)|contracted|wrinkled|drawn_together)", "BROW"),
        r"BROW_(?:furrow|lower(?:ed|ing)?)", r"(?:pulling|drawing)_(?:DET_)?BROW_together", r"scowl(?:s|ed|ing)?",
    ),
    "raised_brows": (*_both("UP", "BROW"), r"BROW_(?:going_|go_)?up", r"BROW_(?:raise|lift)",
                     *_both("UP", r"(?:outer_BROW|outer_(?:corners?|ends?)_of_(?:DET_)?BROW)"), _pull("upward", "BROW")),
    "raised_inner_brows": (*_both("UP", "INNER"), r"INNER_(?:going_|go_)?up", _pull("upward", "INNER"),
                           r"(?:worried_)?oblique_BROW"),
    "wide_eyes": (
        *_both(r"(?:wide_?(?:ly)?_open(?:ed|s|ing)?|opens?_wide|open(?:ed|ing)?_wide|widen(?:ed|s|ing)?|bulging|staring_wide)", "EYES", ""),
        r"wide_EYES", r"wide_?eyed", r"EYES_BE(?:very_|so_)?wide(?:_open(?:ed)?)?",
        r"open(?:s|ed|ing)?_(?:DET_)?EYES_(?:very_|so_)?(?:wide|widely)", *_both("UP", "LIDS"),
        r"(?:stares?|staring|stared|glares?|glaring|glared)_EYES",
    ),
    "narrowed_eyes": (
        *_both(r"(?:narrow(?:ed|s|ing)?|squint(?:ed|s|ing)?|squeezed|slit|half_closed|tight(?:ened|ens|ening)?)", "(?:EYES|LIDS)"),
        r"squint(?:s|ed|ing)?", r"EYES_BE(?:slightly_)?narrow", r"slitted_EYES",
    ),
    "closed_eyes": (*_both(r"(?:closed|closes?|closing|shut|shuts|shutting)", "(?:EYES|LIDS)"),
                    *_both(r"(?:lowered|lowers|lowering|drooping)", "LIDS")),
    "wrinkled_nose": (
        *_both(r"(?:wrinkl(?:ed|es|ing|e)|scrunch(?:ed|es|ing)?(?:_up)?|crinkl(?:ed|es|ing)|screwed_up|twitch(?:ed|es|ing))", "NOSE"),
        r"(?:nose_)?wrinkles?_(?:on|of|across|around)_(?:DET_)?NOSE", r"nose_wrinkl(?:es?|ing)", r"wrinkling_of_(?:DET_)?NOSE",
    ),
    "raised_cheeks": (*_both("UP", "CHEEK"), _pull("upward", "CHEEK"), r"CHEEK_(?:go_|going_)?up", r"cheek_raise"),
    "raised_upper_lip": (*_both(r"(?:UP|curled)", "UPPER"), _pull("upward", "UPPER"), r"UPPER_(?:going_)?up", r"snarl(?:s|ed|ing)?",
                         r"curled_lips?"),
    "smile": (
        r"(?:(?:broad|big|slight|faint|bright|happy|wide|gentle|small)_)?(?:smil(?:e|es|ed|ing)|grin(?:s|ned|ning)?|laugh(?:s|ed|ing|ter)?)",
        *_both(r"(?:UP|turned_up|upturned|drawn_up|turn_up)", "CORNERS"), _pull("upward", "CORNERS"),
        r"CORNERS_(?:going_|go_|turn_|turned_|pulled_)?up(?:wards?)?",
    ),
    "dimples": (r"dimples?", r"dimpled_CHEEK", r"dimpl(?:ed|ing)_CORNERS"),
    "lip_corners_down": (*_both("DOWN", "CORNERS"), _pull("downward", "CORNERS"),
                         r"CORNERS_(?:going_|go_|pulled_|turned_|drawn_|pull_|turn_)?down(?:wards?)?", *_both("(?:DOWN|downturned)", "mouth")),
    "raised_chin": (*_both(r"(?:UP|wrinkl(?:ed|ing|es)|puckered|pushed_up|bunched)", "CHIN"), _pull("upward", "CHIN"),
                    r"CHIN_(?:going_|pushed_)?up", r"chin_raise"),
    "puckered_lips": (*_both(r"(?:pucker(?:ed|s|ing)?|pout(?:ed|s|ing)?|protrud(?:ed|es|ing)|purs(?:ed|es|ing)|rounded)(?:_up)?", "LIPS"),
                      r"pucker(?:s|ed|ing)?", r"pout(?:s|ed|ing|y)?(?:_LIPS)?"),
    "stretched_lips": (*_both(r"stretch(?:ed|es|ing)?", "(?:CORNERS|LIPS)"), _pull("(?:sideways|outward|horizontal)", "(?:CORNERS|LIPS)"),
                       r"stretch(?:ing)?_of_(?:DET_)?(?:CORNERS|LIPS)"),
    "pressed_lips": (
        *_both(r"(?:press(?:ed|es|ing)?(?:_together)?|tight(?:ened|ens|ening)?|compressed|clos(?:ed|es|ing)|shut|sealed|clenched)", "LIPS"),
        r"tight_?lipped", r"press(?:ed|es|ing)?_(?:DET_)?LIPS_(?:tightly_|firmly_)?together",
    ),
    "open_mouth": (
        *_both(r"(?:open(?:ed|s|ing)?|agape|ajar)", "mouth", r"(?:(?:slightly|a_little|a_bit|half|partly|gently|very_slightly)_)?"),
        *_both(r"(?:part(?:ed|s|ing)?|open(?:ed)?|separated)", "lips?", r"(?:(?:slightly|a_little|a_bit|half|partly|gently)_)?"),
        r"jaw_(?:BE)?(?:drop(?:s|ped|ping)?|lowered)", r"dropp(?:ed|ing)_(?:DET_)?jaw",
    ),
    "wide_open_mouth": (
        r"wide(?:ly)?_open(?:ed|s|ing)?_(?:DET_)?mouth", r"mouth_BE(?:very_)?wide(?:ly)?_open(?:ed)?", r"mouth_BEopen(?:ed|s|ing)?_wide(?:ly)?",
        r"open(?:s|ed|ing)?_(?:DET_)?mouth_(?:very_)?wide(?:ly)?", r"(?:gaping|stretched_open)_mouth", r"mouth_(?:BE)?(?:gaping|gapes|stretched_open)",
        r"wide_mouth",
    ),
    "bitten_lip": (*_both(r"(?:bitten|bites?|biting|bit)", r"(?:lower_|upper_)?lips?"), r"(?:lower_)?lip_bit(?:e|ing)",
                   r"bit(?:e|ing)_(?:on|of)_(?:DET_)?(?:lower_)?lips?"),
}  # fmt: skip

_NEGATED = re.compile(r"\b(?:no|not|without|never|n't|neither|nor)\s+(?:a\s+|an\s+|any\s+|the\s+)?$")


def _expand(pattern: str) -> str:
    """Parts written in capitals replaced, from the longest name to the shortest, until none is left."""
    names = "|".join(sorted(_PARTS, key=len, reverse=True))
    while re.search(names, pattern):
        pattern = re.sub(names, lambda match: _PARTS[match.group()], pattern)
    return pattern.replace("_?", r"[\s-]*").replace("_", r"(?:\s*-\s*|\s+)")


@cache
def _compiled() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(
        (name, re.compile(rf"\b(?:{'|'.join(_expand(pattern) for pattern in patterns)})(?!\w)"))
        for name, patterns in _PATTERNS.items()
    )


def find_phrases(text: str) -> list[Found]:
    """The facial phrases in a text, in order; where two overlap the longer one stays, negated ones are left out."""
    lowered = text.lower()
    spans = [
        Found(name, match.start(), match.end()) for name, pattern in _compiled() for match in pattern.finditer(lowered)
    ]
    kept: list[Found] = []
    for found in sorted(spans, key=lambda span: (span.start - span.end, span.start)):
        free = all(found.end <= other.start or found.start >= other.end for other in kept)
        if free:
            kept.append(found)
    return sorted(
        (found for found in kept if not _NEGATED.search(lowered[: found.start])), key=lambda found: found.start
    )
