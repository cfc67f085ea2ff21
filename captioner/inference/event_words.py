"""A sentence that somebody else wrote about a clip, made to agree with what was measured of the people in it."""

import re
from collections.abc import Collection, Mapping

from captioner.errors import printable

# Words for one person and for several: what they become where nobody knows whether it is a man or a woman, and which
# of the two they claim.
_ONE: Mapping[str, tuple[str, str]] = {
    "man": ("person", "man"), "guy": ("person", "man"), "gentleman": ("person", "man"), "male": ("person", "man"),
    "boy": ("child", "man"), "woman": ("person", "woman"), "lady": ("person", "woman"), "female": ("person", "woman"),
    "girl": ("child", "woman"), "person": ("person", ""), "child": ("child", ""), "kid": ("kid", ""),
    "baby": ("baby", ""), "toddler": ("toddler", ""),
}  # fmt: skip
_MANY: Mapping[str, tuple[str, str]] = {
    "men": ("people", "man"), "guys": ("people", "man"), "gentlemen": ("people", "man"), "males": ("people", "man"),
    "boys": ("children", "man"), "women": ("people", "woman"), "ladies": ("people", "woman"),
    "females": ("people", "woman"), "girls": ("children", "woman"), "people": ("people", ""),
    "persons": ("people", ""), "children": ("children", ""), "kids": ("kids", ""),
}  # fmt: skip
_PRONOUNS: Mapping[str, tuple[str, str]] = {
    "he": ("the person", "man"), "she": ("the person", "woman"), "him": ("them", "man"), "his": ("their", "man"),
    "himself": ("themselves", "man"), "herself": ("themselves", "woman"), "hers": ("theirs", "woman"),
}  # fmt: skip
_NUMBERS = {"two": 2, "2": 2, "both": 2, "three": 3, "3": 3, "four": 4, "4": 4, "five": 5, "5": 5, "six": 6, "6": 6}
_MOST = 99  # of a group that is not counted
_LOOKS = (
    r"(?:(?:young|younger|old|older|elderly|middle-aged|little|small|tall|bearded|bald|blonde?|dark-haired|smiling|"
    r"pretty|beautiful|handsome|asian|black|white) )*"
)
_WHOLE = "|".join((*_ONE, *_MANY))
_SINGLE = rf"(?:an?|the|one|another) {_LOOKS}(?:{'|'.join(_ONE)})"
_GROUP_OF = r"a couple of|an? (?:large |small )?(?:group|crowd|bunch) of"
_HOW_MANY = rf"{'|'.join(_NUMBERS)}|several|many|some|a few|the|{_GROUP_OF}"
_SEVERAL = rf"(?:(?:{_HOW_MANY}) )?{_LOOKS}(?:{'|'.join(_MANY)})|a couple|a crowd"
_WHO = rf"(?:{_SINGLE}|{_SEVERAL})"
_BETWEEN = r", (?:and )?| and | with "
_GROUP = re.compile(rf"\b{_WHO}(?:(?:{_BETWEEN}){_WHO})*\b(?! of\b)")
_OTHER = re.compile(rf"\b(?:an?|another|the other) {_LOOKS}(?:{'|'.join(_ONE)})\b")
# What stands behind a subject and is no verb of its own.
_NO_VERB = frozenset(
    ("in", "on", "at", "with", "from", "of", "by", "to", "near", "behind", "beside", "and", "while", "who", "as")
)
_AGREE = {"are": "is", "were": "was", "have": "has", "do": "does", "is": "is", "was": "was", "has": "has"}


def reconcile(sentence: str, people: int | None, genders: Collection[str] = ()) -> str:
    """The sentence, whole and alone, with its person words as measured; "" where nothing is said.

    people: how many were counted, None or 0: unknown, as whoever shows no face may still be there. genders: "man" or
    "woman" where that is nearly certain of the only person; other words for people lose what nobody knows.
    """
    text = " ".join(re.split(r"[.!?](?:\s|$)", printable(" ".join(sentence.split())))[0].lower().split()).strip(" ,;")
    text = _ungendered(_counted(text, people or 0), genders if people == 1 else ())
    if people != 1:
        head, person, rest = text.partition("a person")
        text = head + person + re.sub(r"\ba person\b", "another person", rest)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _counted(text: str, people: int) -> str:
    """Groups of another number get ours; where one person was counted, a further one is but someone."""
    out = ""
    while match := _GROUP.search(text):
        words, before, text = match.group(), text[: match.start()], text[match.end() :]
        told, mixed = _number_of(words), bool(re.search(_BETWEEN, words))
        vague = told >= _MOST and people in (0, *range(3, _MOST))  # as many as were counted, for all we know
        if told > 1 and (mixed or not (vague or told == (people or told))):
            number = people or told
            words = "a person" if number == 1 else "two people" if number == 2 else "several people"
            if number == 1 and out:
                words = "someone"
            elif number == 1:
                before = re.sub(r"\bthere (are|were) $", lambda each: f"there {_AGREE[each[1]]} ", before)
                text = _agreeing(text)
        elif people == 1 and out and _OTHER.fullmatch(words):
            words = "someone"
        out += before + words
    return re.sub(r"\b(?:each other|one another)\b", "someone", out + text) if people == 1 else out + text


def _number_of(words: str) -> int:
    """How many people a group of words names."""
    found = 0
    for part in re.split(_BETWEEN, words):
        if re.fullmatch(_SINGLE, part):
            found += 1
        elif part.startswith(("a couple", *_NUMBERS)):
            found += _NUMBERS.get(part.split()[0], 2)
        else:
            found += _MOST
    return found


def _agreeing(rest: str) -> str:
    """What follows a subject that was many and is one: its verb, where it stands there."""
    match = re.match(r" ([a-z']+)", rest)
    if not match:
        return rest
    verb = match[1]
    if verb in _AGREE:
        one = _AGREE[verb]
    elif verb in _NO_VERB or verb.endswith(("ing", "ed", "ly")):
        return re.sub(r" (are|were|have)\b", lambda each: f" {_AGREE[each[1]]}", rest, count=1)
    else:
        one = verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")
    return f" {one}{rest[match.end() :]}"


def _ungendered(text: str, known: Collection[str]) -> str:
    """The text without words for men and women, but for those known."""

    def plain(match: re.Match[str]) -> str:
        word = match.group()
        if word == "her":
            return word if "woman" in known else "their" if re.match(r" [a-z]", text[match.end() :]) else "them"
        neutral, gender = _ONE.get(word) or _MANY.get(word) or _PRONOUNS[word]
        return word if not gender or gender in known else neutral

    plain_words = re.sub(rf"\b(?:her|{_WHOLE}|{'|'.join(_PRONOUNS)})\b", plain, text)
    return re.sub(r"\ban (?=person\b|child\b)", "a ", plain_words)
