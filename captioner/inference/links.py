"""Which action unit a facial phrase rests on, and when the face shows it best.

The lexicon says which units a phrase may mean; the experts' scores, the AU-word matching and, for units that the
experts never learned, the face reader's values choose among them. Axes: T frames, N main action units.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.faces import FaceTrack
from captioner.inference.results import AUCurve, Link
from captioner.lexicon.phrases import PHRASES, Span
from captioner.lexicon.units import EYES_CLOSED, SIGNS, UNIT_NAMES
from prompts.action_units import MAIN_AUS

EXPERT, READER, WORDS = "experts", "face reader", "words alone"


def units_of(phrase: str) -> tuple[int, ...]:
    """The action units that a phrase of the lexicon may mean."""
    return PHRASES[phrase].aus or (EYES_CLOSED,)


def expert_curves(
    scores: NDArray[np.float32], seconds: Sequence[float], usable: NDArray[np.bool_]
) -> dict[int, AUCurve]:
    """Curves of the units that the experts know: scores (T, N) of frames with a face, usable (N,)."""
    if not len(scores):
        return {}
    known = [(place, au) for place, au in enumerate(MAIN_AUS) if usable[place]]
    return {
        au: AUCurve(au, UNIT_NAMES[au], EXPERT, tuple(seconds), tuple(map(float, scores[:, place])))
        for place, au in known
    }


def reader_curves(track: FaceTrack | None, seconds: Sequence[float]) -> dict[int, AUCurve]:
    """Curves of the units that the face reader's values tell of, frames without the face left out."""
    if track is None or not track.present.any():
        return {}
    at = tuple(float(s) for s, there in zip(seconds, track.present, strict=True) if there)
    curves = {}
    for au, sign in SIGNS.items():
        if sign in track.names:
            values = np.clip(track.value(sign)[track.present], 0, 1)
            curves[au] = AUCurve(au, UNIT_NAMES[au], READER, at, tuple(map(float, values)))
    return curves


def link_phrase(
    found: Span,
    text: str,
    curves: Mapping[int, AUCurve],
    similarity: Mapping[int, float],
) -> Link:
    """The unit that a phrase rests on; `similarity` holds the cosines of kept units with the phrase's words."""
    options = units_of(found.name)
    au = max(options, key=lambda unit: _support(curves.get(unit), similarity.get(unit)))
    curve = curves.get(au)
    return Link(
        phrase=found.name,
        text=text[found.start : found.end],
        start=found.start,
        end=found.end,
        au=au,
        name=UNIT_NAMES[au],
        source=curve.source if curve else WORDS,
        score=max(curve.values) if curve else None,
        second=curve.peak if curve else None,
        seen=curve is not None and curve.seen,
        similarity=similarity.get(au),
    )


def _support(curve: AUCurve | None, similarity: float | None) -> float:
    """What speaks for a unit: how clearly it is shown, and how near its prompt is to the phrase."""
    return (curve.strength if curve else -1.0) + (similarity or 0.0)
