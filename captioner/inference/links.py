"""Which action unit a facial phrase rests on, and when the face shows it best.

The lexicon says which units a phrase may mean; the experts' scores, the AU-word matching and, for units that the
experts never learned, the face reader's values choose among them. Axes: T frames, N main action units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.faces import FaceTrack
from captioner.lexicon.phrases import PHRASES, Found
from prompts.au_graph import MAIN_AUS

EYES_CLOSED = 43  # no unit of the experts
NAMES: dict[int, str] = {**MAIN_AUS, EYES_CLOSED: "eyes closed"}
EXPERT, READER, WORDS = "experts", "face reader", "words alone"
# Strength from which on a unit counts as shown. On frames of 40 made training clips .6 found 77 % of the commanded
# units and 4 % of the others; a clip's mean half a deviation above the usual found 69 % and 7 %.
SEEN = 0.6

# What the face reader estimates of a unit, 0..1; units without an entry show in no value of it.
SIGNS: dict[int, str] = {
    1: "browInnerUp", 2: "browOuterUp", 4: "browDown", 5: "eyeWide", 6: "eyeSquint", 7: "eyeSquint",
    10: "mouthUpperUp", 12: "mouthSmile", 14: "mouthDimple", 15: "mouthFrown", 17: "mouthShrugLower",
    18: "mouthPucker", 20: "mouthStretch", 24: "mouthPress", 26: "jawOpen", 27: "jawOpen", EYES_CLOSED: "eyeBlink",
}  # fmt: skip


@dataclass(frozen=True)
class Course:
    """A unit through a clip: its values 0..1 at seconds, and who says so."""

    au: int
    source: str
    seconds: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def best(self) -> int:
        """The place of the highest value, of nearly equal ones the middle one: rises and ends show less."""
        top, low = max(self.values), min(self.values)
        places = [i for i, value in enumerate(self.values) if value >= top - 0.05 * (top - low)]
        return places[len(places) // 2]

    @property
    def strength(self) -> float:
        """Mean of the highest quarter: expressions last longer than a blink, shorter than a clip."""
        highest = sorted(self.values)[-max(1, round(len(self.values) / 4)) :]
        return sum(highest) / len(highest)

    @property
    def seen(self) -> bool:
        """Whether the unit counts as shown."""
        return self.strength >= SEEN


@dataclass(frozen=True)
class Link:
    """A facial phrase, `text[start:end]` of the caption, and the unit it rests on.

    second: when the unit shows best, None without a course; seen: whether its source confirms the phrase;
    similarity: cosine of the unit's prompt with the phrase's best word, None where the model kept no such prompt.
    """

    phrase: str
    text: str
    start: int
    end: int
    au: int
    name: str
    source: str
    score: float | None
    second: float | None
    seen: bool
    similarity: float | None = None


def units_of(phrase: str) -> tuple[int, ...]:
    """The action units that a phrase of the lexicon may mean."""
    return PHRASES[phrase].aus or (EYES_CLOSED,)


def expert_courses(
    scores: NDArray[np.float32], seconds: Sequence[float], usable: NDArray[np.bool_]
) -> dict[int, Course]:
    """Courses of the units that the experts know: scores (T, N) of frames with a face, usable (N,)."""
    if not len(scores):
        return {}
    known = [(place, au) for place, au in enumerate(MAIN_AUS) if usable[place]]
    return {au: Course(au, EXPERT, tuple(seconds), tuple(map(float, scores[:, place]))) for place, au in known}


def reader_courses(track: FaceTrack | None, seconds: Sequence[float]) -> dict[int, Course]:
    """Courses of the units that the face reader's values tell of, frames without the face left out."""
    if track is None or not track.present.any():
        return {}
    at = tuple(float(s) for s, there in zip(seconds, track.present, strict=True) if there)
    courses = {}
    for au, sign in SIGNS.items():
        if sign in track.names:
            values = np.clip(track.value(sign)[track.present], 0, 1)
            courses[au] = Course(au, READER, at, tuple(map(float, values)))
    return courses


def link(
    found: Found,
    text: str,
    courses: Mapping[int, Course],
    similarity: Mapping[int, float],
) -> Link:
    """The unit that a phrase rests on; `similarity` holds the cosines of kept units with the phrase's words."""
    options = units_of(found.name)
    au = max(options, key=lambda unit: _support(courses.get(unit), similarity.get(unit)))
    course = courses.get(au)
    return Link(
        phrase=found.name,
        text=text[found.start : found.end],
        start=found.start,
        end=found.end,
        au=au,
        name=NAMES[au],
        source=course.source if course else WORDS,
        score=max(course.values) if course else None,
        second=course.seconds[course.best] if course else None,
        seen=course is not None and course.seen,
        similarity=similarity.get(au),
    )


def _support(course: Course | None, similarity: float | None) -> float:
    """What speaks for a unit: how clearly it is shown, and how near its prompt is to the phrase."""
    return (course.strength if course else -1.0) + (similarity or 0.0)
