"""What a caption should say, by what was measured, and how the words that were written are made to say just that.

Sentences that hold stay as the network wrote them. One that claims what was not measured gives way to a plain one of
the lexicon, and the face sentence names the phrases whose expected F1 is largest.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from captioner.inference.claims import (
    THRESHOLDS,
    Support,
    Supports,
    cannot_both,
    find_claims,
    find_faults,
)
from captioner.inference.rewording import genderless
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.circumstances import FEELINGS
from captioner.lexicon.phrases import OPPOSITES, PHRASES
from captioner.model.phrase_judge import expected_best

NOTHING_DONE = "is in front of the camera"  # which claims nothing
MOST_ACTIONS = 2  # of the main person in a plain sentence
# The choice of phrases takes them to be independent, which they are not: with logits so much larger it names fewer that
# are false and misses no more (132 validation clips: precision .789 -> .805, F1 .794 -> .799).
SHARPER = 1.25
_PLAIN_WORDS = {"smile": "smile"}  # where the lexicon's favourite is no word of everyday


@dataclass(frozen=True)
class Plan:
    """What is to be said of the main person: phrases of the face and actions, the likeliest first, and who it is."""

    phrases: tuple[str, ...]
    actions: tuple[str, ...]
    person: str
    feeling: str = ""


def plan_of(supports: Supports) -> Plan:
    """The phrases whose expected F1 is largest, the likely actions if any, woman or man where that is certain."""
    phrases: list[str] = []
    chances: list[float] = []
    for name, support in _by_chance(supports.get("phrase", {})):
        if not any(frozenset((name, other)) in OPPOSITES for other in phrases):
            phrases.append(name)
            chances.append(_surer(support.probability))
    actions: list[str] = []
    for name, support in _by_chance(supports.get("action", {})):
        likely = support.probability >= THRESHOLDS["action"]
        if likely and len(actions) < MOST_ACTIONS and not any(cannot_both(name, other) for other in actions):
            actions.append(name)
    named = _by_chance(supports.get("gender", {}))
    person = next((name for name, support in named if support.probability >= THRESHOLDS["gender"]), "person")
    felt = [name for name, support in _by_chance(supports.get("feeling", {})) if _enough("feeling", support)]
    return Plan(tuple(phrases[: expected_best(chances)]), tuple(actions), person, *felt[:1])


def _surer(probability: float) -> float:
    odds = math.pow(max(probability, 1e-6) / max(1 - probability, 1e-6), SHARPER)
    return odds / (1 + odds)


def _enough(kind: str, support: Support) -> bool:
    return support.probability >= THRESHOLDS[kind]


def _by_chance(measured: Mapping[str, Support]) -> list[tuple[str, Support]]:
    return sorted(measured.items(), key=lambda pair: -pair[1].probability)


def true_text(text: str, plan: Plan, supports: Supports, style: str = "") -> str:
    """The caption with every sentence that does not hold replaced or left out; the same text where all hold."""
    given = text
    if plan.person == "person":  # nobody knows whether it is a woman or a man
        text = genderless(text)
    sentences = [part.strip() for part in text.split(".") if part.strip()]
    first = sentences[0] if sentences else ""
    if style == "feelings":
        return text if _event_holds(first, plan, supports) else feeling_sentence(plan)
    event = first if _event_holds(first, plan, supports) else event_sentence(plan)
    kept, face = [event], ""
    for sentence in sentences[1:]:
        kinds = {claim.kind for claim in find_claims(f"a. {sentence}.")}
        if "phrase" in kinds:
            face = face or sentence
        elif kinds and not find_faults(f"a. {sentence}.", supports):
            kept.append(sentence)
    if not _face_holds(face, event, plan, supports):
        face = face_sentence(plan, said_of(event))
    made = " . ".join([*kept, *([face] if face else [])]) + " ."
    return made if _words(made) != _words(given) else given


def _words(text: str) -> list[str]:
    return text.lower().replace(".", " . ").split()


def said_of(text: str) -> frozenset[str]:
    """The phrases of the face that a text names."""
    return frozenset(name for claim in find_claims(text) if claim.kind == "phrase" for name in claim.names)


def _event_holds(sentence: str, plan: Plan, supports: Supports) -> bool:
    """Whether an event sentence is true, and tells the planned actions."""
    claims = find_claims(f"{sentence}.")
    told = {name for claim in claims if claim.kind == "action" for name in claim.names}
    named = {name for claim in claims if claim.kind == "gender" for name in claim.names}
    right = plan.person in named or (plan.person == "person" and not named)
    told_all = set(plan.actions) <= told if plan.actions else not told
    return bool(sentence) and told_all and right and not find_faults(f"{sentence}.", supports)


def _face_holds(sentence: str, event: str, plan: Plan, supports: Supports) -> bool:
    """Whether event and face sentence together name the planned phrases, and nothing else is wrong with the latter."""
    wanted = frozenset(plan.phrases)
    whole = f"{event}. {sentence}." if sentence else f"{event}."
    return said_of(whole) == wanted and not find_faults(whole, supports)  # nor is anything said twice


def event_sentence(plan: Plan) -> str:
    """A plain sentence of the likeliest actions: "a woman turns her head to the left and talks"."""
    return f"{_article(plan.person)} {_verbs(plan)}"


def feeling_sentence(plan: Plan) -> str:
    """The same with how the person feels, if that is known: "a sad woman turns her head to the left"."""
    if not plan.feeling:
        return event_sentence(plan)
    return f"{_article(f'{FEELINGS[plan.feeling].adjectives[0]} {plan.person}')} {_verbs(plan)}"


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeio' else 'a'} {words}"


_PRONOUNS = {"woman": ("her", "her", "she"), "man": ("his", "him", "he"), "person": ("their", "them", "they")}


def _verbs(plan: Plan) -> str:
    if not plan.actions:
        return NOTHING_DONE
    their, them, they = _PRONOUNS[plan.person]
    verbs = [
        ACTIONS[name][0][0].format(their=their, them=them, they=they, other="another person") for name in plan.actions
    ]
    return " and ".join(verbs)


def face_sentence(plan: Plan, said: frozenset[str] = frozenset()) -> str:
    """The planned phrases that were not said before: "the frown, the wide eyes and the open mouth"."""
    words = [_PLAIN_WORDS.get(name, PHRASES[name].wordings[0]) for name in plan.phrases if name not in said]
    listed = [f"the {each}" for each in words]
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
