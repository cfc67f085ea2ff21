"""The lexicon of facial phrases: what text contains, what action units make true."""

import pytest

from captioner.lexicon.phrases import PHRASES, find_phrases, phrases_of


def names(text: str) -> list[str]:
    return [found.name for found in find_phrases(text)]


VARIANTS: list[tuple[str, list[str]]] = [
    ("The deep frown.", ["frown"]),
    ("Frowning, she looks away.", ["frown"]),
    ("the furrowed brows", ["frown"]),
    ("He lowers his eyebrows.", ["frown"]),
    ("the raised eyebrows", ["raised_brows"]),
    ("eyebrows slightly raised", ["raised_brows"]),
    ("She raises her eyebrows.", ["raised_brows"]),
    ("The inner corners of the eyebrows are slightly raised", ["raised_inner_brows"]),
    ("raised inner eyebrows", ["raised_inner_brows"]),
    ("wide open eyes", ["wide_eyes"]),
    ("wide-open eyes", ["wide_eyes"]),
    ("opens her eyes wide", ["wide_eyes"]),
    ("a wide-eyed man", ["wide_eyes"]),
    ("narrowed eyes", ["narrowed_eyes"]),
    ("the eyes are half closed", ["narrowed_eyes"]),
    ("A man closes his eyes.", ["closed_eyes"]),
    ("with his eyes tightly shut", ["closed_eyes"]),
    ("The wrinkled nose.", ["wrinkled_nose"]),
    ("She wrinkles her nose.", ["wrinkled_nose"]),
    ("wrinkles on the nose", ["wrinkled_nose"]),
    ("an upward pull on the cheeks", ["raised_cheeks"]),
    ("the upper lip raised", ["raised_upper_lip"]),
    ("raised lip corners", ["smile"]),
    ("the corners of the mouth turned up", ["smile"]),
    ("a slight smile", ["smile"]),
    ("grinning", ["smile"]),
    ("a downward pull on the lip corners", ["lip_corners_down"]),
    ("pulled down lip corners", ["lip_corners_down"]),
    ("The corners of his mouth are pulled down", ["lip_corners_down"]),
    ("mouth corners droop", ["lip_corners_down"]),
    ("the raised chin", ["raised_chin"]),
    ("puckered lips", ["puckered_lips"]),
    ("she pouts", ["puckered_lips"]),
    ("the lips stretched sideways", ["stretched_lips"]),
    ("tightly pressed lips", ["pressed_lips"]),
    ("lips pressed together", ["pressed_lips"]),
    ("tight-lipped", ["pressed_lips"]),
    ("the slightly open mouth", ["open_mouth"]),
    ("his mouth slightly opened", ["open_mouth"]),
    ("parted lips", ["open_mouth"]),
    ("the wide-open mouth", ["wide_open_mouth"]),
    ("the wide - open mouth", ["wide_open_mouth"]),
    ("his mouth wide open", ["wide_open_mouth"]),
    ("opens the mouth wide", ["wide_open_mouth"]),
    ("biting her lower lip", ["bitten_lip"]),
    ("raised cheeks and lip corners", ["raised_cheeks", "smile"]),
    ("the wide open eyes and mouth", ["wide_eyes", "wide_open_mouth"]),
    ("The frown, wide-open eyes and the open mouth.", ["frown", "wide_eyes", "open_mouth"]),
    ("THE FROWN", ["frown"]),
]


@pytest.mark.parametrize(("text", "expected"), VARIANTS)
def test_finds_the_phrase(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "with open eyes", "He raises his head and his hand.", "not smiling", "without a frown",
        "She has no wrinkled nose.",
        "a closed mouth", "A woman nods her head.", "A man looks to the left and talks.", "", "frownland",
    ],
)  # fmt: skip
def test_finds_nothing(text: str) -> None:
    assert names(text) == []


def test_spans_are_the_words_themselves() -> None:
    text = "A man talks. The deep frown and the wide-open mouth."
    assert [text[found.start : found.end] for found in find_phrases(text)] == [
        "deep frown",
        "wide-open mouth",
    ]


@pytest.mark.parametrize("name", PHRASES)
def test_every_wording_is_found_as_itself(name: str) -> None:
    for wording in PHRASES[name].wordings:
        text = f"A woman nods. The {wording} and nothing else."
        found = find_phrases(text)
        assert [span.name for span in found] == [name], wording
        assert text[found[0].start : found[0].end] in wording


def test_wordings_are_unambiguous() -> None:
    wordings = [wording for phrase in PHRASES.values() for wording in phrase.wordings]
    assert len(set(wordings)) == len(wordings)


@pytest.mark.parametrize(
    ("aus", "expected"),
    [
        ((1, 2), ("raised_brows",)), ((1,), ("raised_inner_brows",)), ((2,), ("raised_brows",)),
        ((1, 4), ("frown", "raised_inner_brows")), ((25, 26), ("open_mouth",)), ((25,), ("open_mouth",)),
        ((25, 27), ("wide_open_mouth",)), ((6, 12), ("raised_cheeks", "smile")), ((24,), ("pressed_lips",)),
        ((38,), ()), ((), ()),
    ],
)  # fmt: skip
def test_phrases_of_action_units(aus: tuple[int, ...], expected: tuple[str, ...]) -> None:
    assert phrases_of(aus) == expected
