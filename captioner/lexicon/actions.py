"""What captions say that people do, nods, talks, looks down, ...: the words for each action, and how to find them.

Only these words are understood; whoever writes otherwise is not.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from captioner.lexicon.circumstances import ADVERBS
from captioner.lexicon.phrases import Span, longest

# Verb and participle of each wording, the same where there is no slash. In brackets what a caption fills in:
# {their} stands for the person who acts, {other} for the second person.
_WORDINGS: dict[str, str] = {
    "still": (
        "looks straight ahead | keeps still | faces the camera | looks at the camera / looking at the camera | stays "
        "still / staying still | does not move / not moving | stares ahead / staring ahead | holds still / holding "
        "still | looks into the camera / looking into the camera | keeps {their} head still / keeping {their} head "
        "still"
    ),
    "nods": (
        "nods / nodding | nods {their} head / nodding {their} head | is nodding / nodding | bobs {their} head / "
        "bobbing {their} head | moves {their} head up and down / moving {their} head up and down"
    ),
    "shakes_head": (
        "shakes {their} head / shaking {their} head | is shaking {their} head / shaking {their} head | moves {their} "
        "head from side to side / moving {their} head from side to side | turns {their} head from side to side / "
        "turning {their} head from side to side"
    ),
    "turns_left": (
        "turns {their} head to the left / turning {their} head to the left | turns to the left / turning to the left "
        "| turns {their} face to the left / turning {their} face to the left | turns {their} head / turning {their} "
        "head | turns aside / turning aside | turns {their} head away / turning {their} head away"
    ),
    "turns_right": (
        "turns {their} head to the right / turning {their} head to the right | turns to the right / turning to the "
        "right | turns {their} face to the right / turning {their} face to the right | turns {their} head / turning "
        "{their} head | turns aside / turning aside | turns {their} head away / turning {their} head away"
    ),
    "tilts_head": (
        "tilts {their} head / tilting {their} head | tilts {their} head to one side / tilting {their} head to one "
        "side | inclines {their} head / inclining {their} head | cocks {their} head / cocking {their} head | leans "
        "{their} head to the side / leaning {their} head to the side"
    ),
    "lowers_head": (
        "lowers {their} head / lowering {their} head | drops {their} head / dropping {their} head | bows {their} head "
        "/ bowing {their} head | hangs {their} head / hanging {their} head | lets {their} head sink / letting {their} "
        "head sink"
    ),
    "raises_head": (
        "raises {their} head / raising {their} head | lifts {their} head / lifting {their} head | brings {their} head "
        "up / bringing {their} head up"
    ),
    "trembles": (
        "trembles / trembling | shivers / shivering | is shaking all over / shaking all over | is trembling / "
        "trembling | quivers / quivering"
    ),
    "leans_in": (
        "leans in / leaning in | moves closer / moving closer | comes closer / coming closer | leans forward / "
        "leaning forward | approaches the camera / approaching the camera | bends forward / bending forward | draws "
        "near / drawing near"
    ),
    "moves_away": (
        "moves back / moving back | leans back / leaning back | moves away / moving away | draws back / drawing back "
        "| backs away / backing away | steps back / stepping back | moves away from the camera / moving away from the "
        "camera | retreats / retreating"
    ),
    "enters": (
        "enters / entering | comes in / coming in | walks in / walking in | appears from the side / appearing from "
        "the side | steps into the picture / stepping into the picture | comes into view / coming into view"
    ),
    "leaves": (
        "leaves / leaving | walks away / walking away | goes out of view / going out of view | walks out of the "
        "picture / walking out of the picture | goes away / going away"
    ),
    "talks": (
        "talks / talking | is talking / talking | speaks / speaking | is speaking / speaking | says something / "
        "saying something | tells something / telling something | chats / chatting | talks to someone / talking to "
        "someone | is saying something / saying something | keeps talking / talking | utters a few words / uttering a "
        "few words"
    ),
    "shouts": (
        "shouts / shouting | yells / yelling | calls out / calling out | shouts loudly / shouting loudly | is yelling "
        "/ yelling | screams / screaming"
    ),
    "laughs": "laughs / laughing | is laughing / laughing | bursts out laughing / laughing | chuckles / chuckling",
    "looks_down": (
        "looks down / looking down | is looking down / looking down | lowers {their} gaze / lowering {their} gaze | "
        "looks at the ground / looking at the ground | casts {their} gaze down / casting {their} gaze down | looks "
        "downward / looking downward"
    ),
    "looks_up": (
        "looks up / looking up | is looking up / looking up | looks upward / looking upward | lifts {their} gaze / "
        "lifting {their} gaze | gazes up / gazing up | looks at something above / looking at something above"
    ),
    "looks_left": (
        "looks to the left / looking to the left | glances to the left / glancing to the left | looks aside / looking "
        "aside | looks away / looking away | glances sideways / glancing sideways | looks at something on the left / "
        "looking at something on the left | gazes to the left / gazing to the left"
    ),
    "looks_right": (
        "looks to the right / looking to the right | glances to the right / glancing to the right | looks aside / "
        "looking aside | looks away / looking away | glances sideways / glancing sideways | looks at something on the "
        "right / looking at something on the right | gazes to the right / gazing to the right"
    ),
    "looks_around": (
        "looks around / looking around | looks left and right / looking left and right | looks about / looking about "
        "| glances around / glancing around | lets {their} gaze wander / letting {their} gaze wander"
    ),
    "closes_eyes": (
        "closes {their} eyes / closing {their} eyes | shuts {their} eyes / shutting {their} eyes | closes both eyes / "
        "closing both eyes | keeps {their} eyes closed / keeping {their} eyes closed"
    ),
    "blinks": (
        "blinks / blinking | keeps blinking / blinking | blinks again and again / blinking again and again | bats "
        "{their} eyelashes / blinking"
    ),
    "talks_to": (
        "talks to {other} / talking to {other} | speaks to {other} / speaking to {other} | says something to {other} "
        "/ saying something to {other} | talks with {other} / talking with {other} | is talking to {other} / talking "
        "to {other} | addresses {other} / addressing {other} | tells {other} something / telling {other} something"
    ),
    "listens": (
        "listens to {other} / listening to {other} | is listening to {other} / listening to {other} | hears {other} "
        "out / hearing {other} out | pays attention to {other} / paying attention to {other}"
    ),
    "looks_at": (
        "looks at {other} / looking at {other} | glances at {other} / glancing at {other} | gazes at {other} / gazing "
        "at {other} | watches {other} / watching {other} | stares at {other} / staring at {other}"
    ),
    "turns_to": (
        "turns to {other} / turning to {other} | turns towards {other} / turning towards {other} | turns {their} head "
        "to {other} / turning {their} head to {other} | faces {other} / facing {other} | looks over to {other} / "
        "looking over to {other}"
    ),
}


def _pair(wording: str) -> tuple[str, str]:
    verb, _, doing = wording.partition(" / ")
    return verb, doing or verb


ACTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    name: tuple(_pair(wording) for wording in wordings.split(" | ")) for name, wordings in _WORDINGS.items()
}
# {their}, {other}, ... in an escaped wording: one word stands for it, where words follow up to five do.
_FILLED_IN = re.compile(r"\\\{\w+\\\}")
_INSIDE = re.compile(r"\\\{other\\\}(?=\\ )")
_NOBODY = r"(?!(?:his|her|their) eyes\b)"  # "talks with his eyes closed"
BEFORE_VERBS = frozenset(word for each in ADVERBS.values() for word in each if " " not in word) | {"slightly", "then"}
_PLURALS = {"is": "are", "has": "have", "does": "do", "was": "were"}
_NO_NOUN = r"(?<!\btheir )(?<!\bthe )(?<!\ba )(?<!\bno )"  # "they face the camera", but not "joy on their face"


# Actions that need a second person.
SOCIAL: frozenset[str] = frozenset(("talks_to", "listens", "looks_at", "turns_to"))


@dataclass(frozen=True)
class ActionSpan:
    """An action in a text, `text[start:end]`: one of `names`, where the words do not tell which."""

    names: frozenset[str]
    start: int
    end: int


def plural(verb: str) -> str:
    """A verb in the third person, with an adverb before and words behind it, as it follows "they"."""
    first, _, behind = verb.partition(" ")
    if first in BEFORE_VERBS:
        return f"{first} {plural(behind)}"
    changed = _PLURALS.get(first) or re.sub(r"(?<=ss|sh|ch)es$|(?<=x|o)es$|s$", "", first)
    return f"{changed} {behind}" if behind else changed


def find_actions(text: str) -> tuple[frozenset[str], ...]:
    """The actions of a caption's first sentence; several in one set where the words do not tell which.

    Of overlapping wordings the longest counts: "talks to them" is not "talks".
    """
    return tuple(span.names for span in action_spans(text.lower().partition(".")[0]))


@lru_cache(maxsize=4096)  # a search asks again and again, while the second sentence is written
def action_spans(text: str) -> tuple[ActionSpan, ...]:
    """All actions in a text of lower case, in order."""
    names, by_word = _patterns()
    possible = (pattern for word in dict.fromkeys(re.findall(r"\w+", text)) for pattern in by_word.get(word, ()))
    spans = (Span(each.pattern, *match.span()) for each in possible for match in each.finditer(text))
    return tuple(ActionSpan(names[span.name], span.start, span.end) for span in longest(spans))


@cache
def _patterns() -> tuple[dict[str, frozenset[str]], dict[str, list[re.Pattern[str]]]]:
    """Of each wording's regular expression the actions it is used for, and the expressions by their first word."""
    used: dict[str, set[str]] = {}
    by_word: dict[str, list[re.Pattern[str]]] = {}
    for name, pairs in ACTIONS.items():
        wordings = {wording: r"\b" for pair in pairs for wording in pair}
        wordings |= {plural(verb): rf"{_NO_NOUN}\b" for verb, _ in pairs}
        for wording, begins in wordings.items():
            whom = re.escape(wording).replace(r"\{other\}", rf"{_NOBODY}\{{other\}}")
            words = _FILLED_IN.sub(r"\\w+", _INSIDE.sub(r"\\w+(?: \\w+){0,4}?", whom))
            pattern = rf"{begins}{words}\b"
            if pattern not in used:
                by_word.setdefault(wording.partition(" ")[0], []).append(re.compile(pattern))
            used.setdefault(pattern, set()).add(name)
    return {pattern: frozenset(names) for pattern, names in used.items()}, by_word
