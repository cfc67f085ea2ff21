"""Action units by number: one table of names, what shows them, and no torch to read them."""

import subprocess
import sys

from captioner.faces import EXPRESSION_NAMES
from captioner.lexicon.phrases import PHRASES
from captioner.lexicon.units import EYES_CLOSED, SIGNS, UNIT_NAMES, region_of


def test_every_unit_of_a_phrase_has_a_name_and_a_region() -> None:
    units = {au for phrase in PHRASES.values() for au in phrase.aus} | {EYES_CLOSED}
    assert units <= UNIT_NAMES.keys()
    for au in units:
        name, points = region_of(au)
        assert name.startswith("the ") and points and set(points) <= set(range(68))
    assert [region_of(au)[0] for au in (4, 7, EYES_CLOSED, 9, 17, 12)] == [
        "the brows", "the eyes", "the eyes", "the nose", "the chin", "the mouth",
    ]  # fmt: skip


def test_signs_are_values_of_the_face_reader() -> None:
    assert set(SIGNS) <= UNIT_NAMES.keys()
    assert set(SIGNS.values()) <= set(EXPRESSION_NAMES)


def test_the_lexicon_is_light() -> None:
    code = (
        "import sys; from captioner.lexicon import actions, emotions, phrases, units; "
        "print({'torch', 'numpy', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
