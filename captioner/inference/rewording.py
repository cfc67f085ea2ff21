"""Small changes to what a caption says, in any style: nobody called woman or man, feelings hedged, people counted."""

import re
from collections.abc import Mapping
from functools import cache

from captioner.lexicon.actions import ACTIONS, BEFORE_VERBS, plural
from captioner.lexicon.circumstances import FACIAL_VERBS, FEELINGS
from captioner.lexicon.plain_forms import PLAIN_FORMS

SEVERAL = "several people can be seen; "
PEOPLE = re.compile(r"\b(?:woman|man|lady|guy|girl|boy|person|someone|somebody|character)\b")
_NEUTRAL: dict[str, str] = {
    "woman": "person", "man": "person", "lady": "person", "guy": "person", "girl": "person", "boy": "person",
    "women": "people", "men": "people", "ladies": "people", "guys": "people", "girls": "people", "boys": "people",
    "his": "their", "him": "them", "hers": "theirs", "himself": "themself", "herself": "themself",
}  # fmt: skip
# "her" before these words says whose they are; elsewhere it is the woman herself.
_OWNED = (
    r"(?:\w+ )?(?:head|face|gaze|eyes?|eyelids?|eyelashes|eyebrows?|brows?|nose|cheeks?|mouth|lips?|chin|jaw|side)\b"
)
_SEEMS = r"(?:is|looks|seems|feels|appears)"


def sentence(text: str) -> str:
    """A text as a sentence: a capital first, a full stop last."""
    return f"{text[0].upper()}{text[1:]}." if text else text


def counted(text: str) -> str:
    """A caption that first says that several people are there."""
    text = re.sub(r"^(?:(?:a|the) (?:person|character)|someone|somebody)\b", "one of them", text, flags=re.I)
    return sentence(SEVERAL + text[:1].lower() + text[1:]).rstrip(".") + "." if text else text


# Neither woman nor man


def genderless(text: str) -> str:
    """A caption that calls nobody woman or man; verbs agree with "they"."""
    text = re.sub(r"\b(she|he)\b((?:(?! while )[^.;])*)", _they, text, flags=re.I)
    text = re.sub(rf"\bher\b(?= {_OWNED})", lambda match: _alike("their", match[0]), text, flags=re.I)
    text = re.sub(r"\bher\b", lambda match: _alike("them", match[0]), text, flags=re.I)
    words = "|".join(_NEUTRAL)
    return re.sub(rf"\b(?:{words})\b", lambda match: _alike(_NEUTRAL[match[0].lower()], match[0]), text, flags=re.I)


def _alike(word: str, like: str) -> str:
    return word.capitalize() if like[:1].isupper() else word


def _they(match: re.Match[str]) -> str:
    """ "they" and the verbs that follow, up to the end of the clause."""
    adverbs = "|".join(BEFORE_VERBS)
    verbs = re.compile(rf"((?:^|,| and| then) (?:(?:{adverbs}) )?)({'|'.join(_verbs())})\b")
    return _alike("they", match[1]) + verbs.sub(lambda found: found[1] + plural(found[2]), match[2])


@cache
def _verbs() -> tuple[str, ...]:
    """The first words of all verbs of captions, in the third person."""
    actions = [verb for pairs in ACTIONS.values() for verb, _ in pairs]
    faces = [form.usual for form in PLAIN_FORMS.values() if not form.clause]
    more = [verb for each in FACIAL_VERBS.values() for verb in each]
    words = {verb.partition(" ")[0] for verb in [*actions, *faces, *more, "seems", "appears", "feels", "looks"]}
    return tuple(sorted(words, key=len, reverse=True))


# Feelings


def hedge(text: str, belief: Mapping[str, float], sure: float, flat: float) -> str:
    """A caption in style "feelings" as sure as the belief: "a sad man" from `sure` on, "a man who seems sad" from
    `flat` on, and below it only "a man"; without a belief nothing is felt."""
    top = max(belief.values(), default=0.0)
    if top >= sure or not _felt().search(text):
        return text
    found = [match[0].lower() for match in _felt().finditer(text)]
    bare = _unfelt(text)
    return bare if top < flat else _with(bare, f"who seems {_adjective(found[0])}")


def feel(text: str, label: str) -> str:
    """A caption in style "feelings" whose words are of one emotion, where they were of another."""
    found = [match[0].lower() for match in _felt().finditer(text)]
    if not found or label not in FEELINGS or all(_emotion(word) == label for word in found):
        return text
    adjective = FEELINGS[label].adjectives[0]
    article = "an" if adjective[0] in "aeiou" else "a"
    bare = _unfelt(text)

    def felt(match: re.Match[str]) -> str:
        return f"{_alike(article, match[0])} {adjective} "

    return re.sub(rf"\b(?:an?|the) (?={PEOPLE.pattern})", felt, bare, count=1, flags=re.I)


def _with(text: str, clause: str) -> str:
    """The clause behind the first person named."""
    return re.sub(PEOPLE.pattern, lambda match: f"{match[0]} {clause}", text, count=1, flags=re.I)


@cache
def _words(kinds: tuple[str, ...]) -> str:
    options = {word for each in FEELINGS.values() for kind in kinds for word in getattr(each, kind)}
    return "|".join(sorted(options, key=len, reverse=True))


@cache
def _felt() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{_words(('adjectives', 'adverbs', 'nouns'))})\b", re.I)


def _emotion(word: str) -> str:
    return next(name for name, each in FEELINGS.items() if word in (*each.adjectives, *each.adverbs, *each.nouns))


def _adjective(word: str) -> str:
    """The same feeling as an adjective."""
    feeling = FEELINGS[_emotion(word)]
    return word if word in feeling.adjectives else feeling.adjectives[0]


def _unfelt(text: str) -> str:
    """The caption without what is felt."""
    adjectives, adverbs, nouns = _words(("adjectives",)), _words(("adverbs",)), _words(("nouns",))
    text = re.sub(rf" {_SEEMS} (?:{adjectives}) and\b", "", text, flags=re.I)
    text = re.sub(rf" with (?:{nouns}) on (?:his|her|their) face\b", "", text, flags=re.I)
    text = re.sub(rf" (?:{adverbs})\b", "", text, flags=re.I)

    def bare(match: re.Match[str]) -> str:
        return match[1] if match[1].lower() == "the" else _alike("a", match[1])

    return re.sub(rf"\b(an?|the) (?:{adjectives})(?= \w)", bare, text, flags=re.I)
