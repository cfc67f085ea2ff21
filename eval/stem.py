"""The English Snowball stemmer (Porter 2), in the edition of METEOR 1.5."""

import re

_DOUBLES = ("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")
_WHOLE = {
    "skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl",
    "gently": "gentl", "ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl",
} | {word: word for word in ("sky", "news", "howe", "atlas", "cosmos", "bias", "andes")}  # fmt: skip
_AFTER_PLURAL = frozenset(("inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed"))
# Longest first: the longest suffix of a word decides.
_STEP_2 = {
    "ization": "ize", "ational": "ate", "fulness": "ful", "ousness": "ous", "iveness": "ive",
    "tional": "tion", "biliti": "ble", "lessli": "less",
    "entli": "ent", "ation": "ate", "alism": "al", "aliti": "al", "ousli": "ous",
    "iviti": "ive", "fulli": "ful",
    "enci": "ence", "anci": "ance", "abli": "able", "izer": "ize", "ator": "ate", "alli": "al",
    "bli": "ble", "ogi": "og", "li": "",
}  # fmt: skip
_STEP_3 = {
    "ational": "ate", "tional": "tion", "alize": "al", "icate": "ic", "iciti": "ic", "ative": "",
    "ical": "ic", "ness": "", "ful": "",
}  # fmt: skip
_STEP_4 = (
    "ement", "ance", "ence", "able", "ible", "ment", "ant", "ent", "ism", "ate", "iti", "ous", "ive", "ize",
    "ion", "al", "er", "ic",
)  # fmt: skip
_REGION = re.compile("[^aeiouy]*[aeiouy]+[^aeiouy]")  # up to behind the first consonant after a vowel
_SHORT = re.compile("(?:.*[^aeiouy][aeiouy][^aeiouywxY]|[aeiouy][^aeiouy])", re.DOTALL)
_VOWEL = re.compile("[aeiouy]")


def stem(word: str) -> str:
    """The stem of a lower-case word."""
    if word in _WHOLE:
        return _WHOLE[word]
    if len(word) < 3:
        return word
    word = re.sub("([aeiouy])y", r"\1Y", re.sub("^y", "Y", word.removeprefix("'")))
    first, second = _regions(word)
    word = _plural(word)
    if word not in _AFTER_PLURAL:
        word = _past(word, first)
        if re.search(".[^aeiouy][yY]$", word, re.DOTALL):
            word = word[:-1] + "i"
        word = _derived(word, first, second)
        word = _ended(word, first, second)
    return word.replace("Y", "y")


def _regions(word: str) -> tuple[int, int]:
    """Where R1 and R2 begin."""
    prefix = re.match("gener|commun|arsen", word)
    found = prefix or _REGION.match(word)
    first = found.end() if found else len(word)
    again = _REGION.match(word, first)
    return first, again.end() if again else len(word)


def _plural(word: str) -> str:
    """Step 1a."""
    word = re.sub("'(s'?)?$", "", word) if "'" in word else word
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and _VOWEL.search(word[:-2]):
        return word[:-1]
    return word


def _past(word: str, first: int) -> str:
    """Step 1b."""
    for suffix in ("eedly", "ingly", "edly", "eed", "ing", "ed"):
        if not word.endswith(suffix):
            continue
        left = word[: -len(suffix)]
        if suffix.startswith("ee"):
            return left + "ee" if len(left) >= first else word
        if not _VOWEL.search(left):
            return word
        if left.endswith(("at", "bl", "iz")):
            return left + "e"
        if left.endswith(_DOUBLES):
            return left[:-1]
        return left + "e" if len(left) == first and _SHORT.fullmatch(left) else left
    return word


def _derived(word: str, first: int, second: int) -> str:
    """Steps 2 and 3: the longest suffix counts, and only where it lies in its region."""
    for steps in (_STEP_2, _STEP_3):
        suffix = next((suffix for suffix in steps if word.endswith(suffix)), None)
        if suffix is None:
            continue
        left = word[: -len(suffix)]
        wrong = (
            len(left) < first
            or (suffix == "ogi" and not left.endswith("l"))
            or (suffix == "li" and not left.endswith(tuple("cdeghkmnrt")))
            or (suffix == "ative" and len(left) < second)
        )
        word = word if wrong else left + steps[suffix]
    return word


def _ended(word: str, first: int, second: int) -> str:
    """Steps 4 and 5."""
    suffix = next((suffix for suffix in _STEP_4 if word.endswith(suffix)), None)
    if suffix is not None:
        left = word[: -len(suffix)]
        if len(left) >= second and (suffix != "ion" or left.endswith(("s", "t"))):
            word = left
    left = word[:-1]
    if word.endswith("e") and (len(left) >= second or (len(left) >= first and not _SHORT.fullmatch(left))):
        return left
    return left if word.endswith("ll") and len(left) >= second else word
