"""Style `plain`: a caption in MAFW's manner told in whole sentences, as people would write them.

    "A woman turns her head to the left. The frown and the open mouth."
    "A woman frowns and opens her mouth while she turns her head to the left."

No network learns it: the claims of the caption are worded anew, so that nothing is added and nothing lost; words that
claim nothing, or that nobody understands, are left out. Whoever writes in this manner compares with no benchmark.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from captioner.errors import ConfigError
from captioner.inference.claims import Claim, find_claims, not_understood
from captioner.inference.results import Caption, Link
from captioner.inference.rewording import PEOPLE, counted, genderless, sentence
from captioner.lexicon.actions import ACTIONS, SOCIAL, plural
from captioner.lexicon.circumstances import ADVERBS, PLACES
from captioner.lexicon.phrases import Span, find_phrases, longest
from captioner.lexicon.plain_forms import EYES_CLOSED_TAIL, PLAIN_FORMS

PLAIN, TOLD_FROM = "plain", "faces"
MOST = 4  # verbs of one sentence
_SETTINGS = {"dark": "in dim light", "far": "in the distance", "near": "close to the camera"}
_CAMERA = {"zooms in": "The camera zooms in.", "zooms out": "The camera zooms out."}
_PRONOUNS = {"woman": ("her", "her", "she"), "man": ("his", "him", "he"), "person": ("their", "them", "they")}
_MANY = (
    r"an? (?:man|woman|person) and (?:an?|another) (?:man|woman|person)|a (?:crowd|group) of people|a crowd"
    r"|(?:two|three|four|five|six|several|many) (?:people|persons|men|women)"
)
_UNMOVED = re.compile(r"\bstill\b|\bnot\b")  # rather than looking ahead
_SLIGHT = re.compile(r"\b(?:slight|slightly|faint|gentle|gently|light|half|a little|a bit|partly)\b")
_STRONG = re.compile(r"\b(?:deep|deeply|heavy|broad|big|bright|strong|strongly|high|highly|very|tightly|firmly|wide)\b")
_ONE_SIDED = re.compile(r"\b(?:lopsided|one[ -]+sided|crooked|one|single)\b")
_ENDS = re.compile(r", | and |\. ?|$")  # of what is said of one phrase


def chosen_style(style: str, styles: Sequence[str], claims: bool = True) -> str:
    """The style meant, of a model that learned `styles`; "": plain where it can be told, else the model's first.

    Captions without claims are the network's own words: nothing rewords them unless it is asked for.
    """
    known = known_styles(styles)
    if not style:
        return PLAIN if PLAIN in known and claims else ""
    if style not in known:
        allowed = f"allowed: {', '.join(known)}" if known else "this model has one style of captions: leave it out"
        raise ConfigError(f"unknown style {style!r}; {allowed}")
    return style


def known_styles(styles: Sequence[str]) -> tuple[str, ...]:
    """What may be asked of a model that learned `styles`, the usual one first."""
    return (PLAIN, *styles) if TOLD_FROM in styles else tuple(styles)


def finish(
    caption: Caption, style: str, *, several: bool = False, neutral: bool = False, event_follows: bool = False
) -> None:
    """Word a caption as it was asked for; its phrases stay linked, its `words` remain those that the network wrote.

    several: the caption says that several people are there. event_follows: somebody else will tell the event, so that
    the face has a sentence of its own.
    """
    text = genderless(caption.text) if neutral else caption.text
    if style == PLAIN:
        face_of = "" if not event_follows else "one of them" if caption.faces > 1 else "the"
        text = plain(text, several, face_of)
    elif several:
        text = counted(text)
    if text != caption.text:
        caption.text, caption.phrases = text, moved(caption.phrases, text)


def moved(links: Sequence[Link], text: str) -> list[Link]:
    """Links of phrases at the place where another wording names them; what it does not name has none."""
    of = {link.phrase: link for link in links}
    return [
        replace(of[span.name], text=text[span.start : span.end], start=span.start, end=span.end)
        for span in find_phrases(text)
        if span.name in of
    ]


@dataclass(frozen=True)
class _Deed:
    """Something done, as a verb in the third person and a participle; `joint` leads to it from the one before."""

    names: frozenset[str]
    verb: str
    doing: str
    joint: str
    other: str  # whom it is done to


@dataclass(frozen=True)
class _Main:
    """The main person, or several: as subject, and their pronouns."""

    subject: str
    their: str
    them: str
    they: str
    who: str
    many: bool = False

    def after_subject(self, verb: str) -> str:
        """The verb that follows the noun."""
        return plural(verb) if self.many else verb


def plain(text: str, several: bool = False, face_of: str = "") -> str:
    """A caption in MAFW's manner as whole sentences; one that claims nothing stays as it is.

    several: three or more people are there, which is said first. face_of: "the" or "one of them", whose face a sentence
    apart from the event tells; "": both may be told in one.
    """
    claims = find_claims(text)
    if not claims and not PEOPLE.search(text.lower()):
        return text
    lowered = text.lower()
    first, _, rest = lowered.partition(".")
    objects = _objects(first, claims)
    main = _main(first, claims, list(objects.values()), several)
    deeds = _deeds(first, claims, objects, main)
    phrases = _phrases(lowered, claims, deeds, main)
    where = [_SETTINGS[name] for name in dict.fromkeys(claim.name for claim in claims) if name in _SETTINGS]
    told = [*_told(main, deeds, phrases, face_of), *_others(rest, main)]
    told[0] = ", ".join([*where, told[0]])
    camera = [_CAMERA[name] for name in dict.fromkeys(claim.name for claim in claims) if name in _CAMERA]
    return " ".join([*map(sentence, told), *camera])


# Reading the caption


@cache
def _object() -> re.Pattern[str]:
    """A second person to whom something is done, with the place where they are."""
    where = "|".join(_places())
    return re.compile(
        r"\b(?:(?:the other|another|a second|the|an?) (?:person|man|woman|lady|guy|character)"
        rf"(?: (?:{where}))?|(?:somebody|someone)(?: else)?|them|him|her(?! (?:head|face|gaze)))\b"
    )


@cache
def _places() -> tuple[str, ...]:
    options = [re.escape(words) for each in PLACES.values() for words in each]
    return tuple(re.sub(r"\\\{\w+\\\}", "(?:them|him|her|their|his)", words) for words in options)


def _objects(first: str, claims: Sequence[Claim]) -> dict[Claim, re.Match[str]]:
    """Whom each social action of the first sentence is done to."""
    social = [claim for claim in claims if claim.kind == "action" and claim.names <= SOCIAL]
    found = {claim: _object().search(first, claim.start) for claim in social}
    return {claim: match for claim, match in found.items() if match}


def _main(first: str, claims: Sequence[Claim], objects: Sequence[re.Match[str]], several: bool) -> _Main:
    """Whom the first sentence is about: the first person named that nothing is done to."""
    many = re.search(rf"\b(?:{_MANY})\b", first)
    if many:
        return _Main(many[0], *_PRONOUNS["person"], "people", many=True)
    elsewhere = [(each.start, each.end) for each in claims if each.kind == "action"]
    elsewhere += [match.span() for match in objects]
    heads = [match for match in PEOPLE.finditer(first) if not any(s <= match.start() < e for s, e in elsewhere)]
    word = heads[0][0] if heads else "person"
    who = {"lady": "woman", "girl": "woman", "guy": "man", "boy": "man"}.get(word, word)
    who = who if who in _PRONOUNS else "person"
    subject = f"a {who}"
    if several:
        subject = "several people can be seen; one of them" + ("" if who == "person" else f", a {who},")
    return _Main(subject, *_PRONOUNS[who], who)


def _agreeing(words: str, main: _Main) -> str:
    """A second person's place, told from the main person."""
    words = re.sub(r"\b(beside|behind|next to|opposite) (?:them|him|her)\b", rf"\1 {main.them}", words)
    return re.sub(r"\bat (?:their|his|her) side\b", f"at {main.their} side", words)


def _deeds(first: str, claims: Sequence[Claim], objects: dict[Claim, re.Match[str]], main: _Main) -> list[_Deed]:
    """What the main person does, in order, each once."""
    found = [claim for claim in claims if claim.kind == "action"]
    ends = {claim: objects[claim].end() if claim in objects else claim.end for claim in found}
    manners = _manners(first, found, ends)
    closed = any("closed_eyes" in claim.names or "closes_eyes" in claim.names for claim in claims)
    deeds: list[_Deed] = []
    for place, claim in enumerate(found):
        if any(claim.names == deed.names for deed in deeds):
            continue
        between = first[ends[found[place - 1]] : claim.start] if place else ""
        joint = next((word for word in ("while", "then") if re.search(rf"\b{word}\b", between)), "and")
        other = _agreeing(objects[claim][0], main) if claim in objects else ""
        verb, doing = _wording(claim.names, closed or bool(_UNMOVED.search(first, claim.start, claim.end)))
        filled = {"their": main.their, "them": main.them, "other": "somebody" if other in ("", "them") else other}
        manner = manners.get(claim, "")
        verb = verb.format(**filled)
        verb = f"{manner} {verb}" if manner else verb
        deeds.append(_Deed(claim.names, verb, " ".join([doing.format(**filled), manner]).strip(), joint, other))
    return deeds


def _wording(names: frozenset[str], unmoved: bool) -> tuple[str, str]:
    """Verb and participle of an action; of one whose side is not told, words that do not tell it either."""
    one, *others = sorted(names)
    if one == "still" and unmoved:
        return "keeps still", "keeping still"
    shared = [pair for pair in ACTIONS[one] if all(pair in ACTIONS[other] for other in others)]
    return (shared or ACTIONS[one])[0]


def _manners(first: str, actions: Sequence[Claim], ends: dict[Claim, int]) -> dict[Claim, str]:
    """How actions are done: of each adverb the action that it stands before or behind."""
    words = [(name, word) for name, options in ADVERBS.items() for word in options]
    found = longest(
        Span(name, *match.span()) for name, word in words for match in re.finditer(rf"\b{re.escape(word)}\b", first)
    )
    manners: dict[Claim, str] = {}
    for span in found:
        for claim in actions:
            between = first[span.end : claim.start] or first[ends[claim] : span.start]
            if between.isspace():
                manners.setdefault(claim, span.name)
                break
    return manners


@dataclass(frozen=True)
class _Shown:
    """What the face shows: verbs, clauses of their own, and how all that is done."""

    verbs: tuple[str, ...]
    clauses: tuple[str, ...]
    tail: str


def _phrases(text: str, claims: Sequence[Claim], deeds: Sequence[_Deed], main: _Main) -> _Shown:
    """The phrases of the face in order, each once; eyes that were closed already are not closed again."""
    names = [claim for claim in claims if claim.kind == "phrase"]
    once = {claim.name: claim for claim in reversed(names)}
    ordered = sorted(once.values(), key=lambda claim: claim.start)
    shut = any("closes_eyes" in deed.names for deed in deeds)
    verbs: list[str] = []
    clauses: list[str] = []
    tail = ""
    for claim in ordered:
        if claim.name == "closed_eyes":
            tail = "" if shut else EYES_CLOSED_TAIL.format(their=main.their)
            continue
        worded = _form(text, claim).format(their=main.their)
        (clauses if PLAIN_FORMS[claim.name].clause else verbs).append(worded)
    if tail and not verbs and not deeds:
        verbs, tail = [PLAIN_FORMS["closed_eyes"].usual.format(their=main.their)], ""
    return _Shown(tuple(verbs), tuple(clauses), tail)


def _form(text: str, claim: Claim) -> str:
    """The plain form of a phrase, as slight, strong or one-sided as it was called."""
    form = PLAIN_FORMS[claim.name]
    start = max((match.end() for match in _ENDS.finditer(text) if match.end() <= claim.start), default=0)
    around = text[start : _ENDS.search(text, claim.end).start()]  # type: ignore[union-attr]  # the end always matches
    if form.one_sided and _ONE_SIDED.search(around):
        return form.one_sided
    if form.strong and _STRONG.search(around) and not (claim.name == "wide_eyes" and "very" not in around):
        return form.strong
    if not _SLIGHT.search(around):
        return form.usual
    return f"slightly {form.usual}" if " " in form.usual and not form.clause else f"{form.usual} slightly"


# Writing it anew


def _told(main: _Main, deeds: Sequence[_Deed], shown: _Shown, face_of: str = "") -> list[str]:
    """One sentence, or two where it would be long: the actions and what the face shows."""
    if face_of:
        return _apart(main, deeds, shown, face_of)
    tail = f" {shown.tail}" if shown.tail else ""
    if not deeds and not shown.verbs:
        lone = [] if not shown.clauses else [_series(shown.clauses)]
        return [f"{main.subject} {main.after_subject('is shown')}{tail}", *lone]
    did = _did([main.after_subject(deed.verb) for deed in deeds], deeds)
    if not shown.verbs:
        while_ = f" while {_series(shown.clauses)}" if shown.clauses else ""
        return [f"{main.subject} {did}{tail}{while_}"]
    passing = any(deed.names & {"enters", "leaves"} for deed in deeds)
    few = len(shown.verbs) + len(deeds) <= MOST or any(deed.other for deed in deeds)
    clauses = f", and {_series(shown.clauses)}" if shown.clauses else ""
    verbs = [main.after_subject(verb) for verb in shown.verbs]
    if not deeds:
        return [f"{main.subject} {_series(verbs)}{tail}{clauses}"]
    if few and not passing and not clauses:
        meanwhile = _did([deed.verb for deed in deeds], deeds, main)
        return [f"{main.subject} {_series(verbs)}{tail} while {main.they} {meanwhile}"]
    pronoun = _series([plural(verb) if main.they == "they" else verb for verb in shown.verbs])
    return [f"{main.subject} {did}", f"{main.they} {pronoun}{tail}{clauses}"]


def _apart(main: _Main, deeds: Sequence[_Deed], shown: _Shown, face_of: str) -> list[str]:
    """A sentence of the actions, and one of the face that names whose it is."""
    did = _did([main.after_subject(deed.verb) for deed in deeds], deeds) or main.after_subject("is shown")
    verbs = shown.verbs or ((f"is shown {shown.tail}",) if shown.tail else ())
    tail = f" {shown.tail}" if shown.tail and shown.verbs else ""
    whose = f"the {main.who}" if face_of == "the" else face_of
    face = f"{whose} {_series([main.after_subject(verb) for verb in verbs])}{tail}" if verbs else ""
    told = ", and ".join(filter(None, [face, _series(shown.clauses)]))
    return [f"{main.subject} {did}", *([told] if told else [])]


def _did(verbs: list[str], deeds: Sequence[_Deed], pronoun: _Main | None = None) -> str:
    """Actions in their order, joined as they were."""
    if pronoun and pronoun.they == "they":
        verbs = [plural(verb) for verb in verbs]
    if len(deeds) > 1 and deeds[-1].joint == "while" and pronoun is None:
        return f"{_series(verbs[:-1])} while {deeds[-1].doing}"
    if deeds and deeds[-1].joint == "then":
        return f"{_series(verbs[:-1])} and then {verbs[-1]}"
    return _series(verbs)


def _others(rest: str, main: _Main) -> list[str]:
    """Sentences about a second person, where all of them is understood."""
    told = []
    for words in map(str.strip, rest.split(".")):
        kinds = {claim.kind for claim in find_claims(f". {words}")}
        if words and kinds & {"people", "other"} and not kinds & {"phrase", "camera"} and not not_understood(words):
            told.append(_agreeing(words, main))
    return list(dict.fromkeys(told))


def _series(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
