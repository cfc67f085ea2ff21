"""Curves of a face as small charts: from the values of a caption's seconds to paths of an SVG, and who has which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from captioner.inference.results import AUCurve, Caption, Evidence
from captioner.lexicon.plain_names import plain_unit
from captioner.lexicon.units import UNIT_NAMES

if TYPE_CHECKING:
    from captioner.faces.face_reading import FaceReading, FaceReadings

MOST_POINTS = 100  # of a curve; a longer one keeps the highest value of each stretch
MOST_ROWS, FEW_ROWS = (3, 8), (1, 3)  # emotions and units of a person, on a page of few captions and of many
FAINT = 0.15  # emotions that never pass it are not drawn


def chart(seconds: Sequence[float], values: Sequence[float], span: tuple[float, float], name: str) -> dict[str, str]:
    """Paths of a curve in a box of 100 x 30: seconds of the caption to the right, 0..1 upwards."""
    length = max(span[1] - span[0], 1e-6)
    points: dict[float, float] = {}
    for second, value in _thinned(list(zip(seconds, values, strict=True))):
        points[round(100 * min(max((second - span[0]) / length, 0), 1), 1)] = round(29.5 - 28 * value, 1)
    places = list(points.items())
    if len(places) == 1:
        places = [(0, places[0][1]), (100, places[0][1])]
    line = "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
    area = f"{line}L{places[-1][0]:g} 29.5L{places[0][0]:g} 29.5Z"
    top = max(range(len(values)), key=values.__getitem__)
    told = f"{name} over time: highest {values[top]:.2f} at {seconds[top]:.1f} seconds, lowest {min(values):.2f}"
    return {"line": line, "area": area, "told": told}


def _thinned(points: list[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    """At most `MOST_POINTS` of the points: of each stretch the highest, so that no peak is lost."""
    step = -(-len(points) // MOST_POINTS)
    return [max(points[at : at + step], key=lambda point: point[1]) for at in range(0, len(points), step or 1)]


def people_curves(caption: Caption, evidence: Evidence, many: bool) -> list[dict[str, Any]]:
    """For each person of a caption's clip the curves that a page draws, the captioned person chosen."""
    span, most = (caption.start, caption.end), FEW_ROWS if many else MOST_ROWS
    readings = evidence.readings
    if readings is None or not len(readings):
        rows = [_unit_row(each.au, each.name, each.seconds, each.values, span) for each in _drawn(caption, evidence)]
        return [{"label": "person 1", "chosen": True, "rows": rows[: most[1]]}] if rows else []
    chosen = captioned_person(evidence, readings)
    shown = [readings[chosen]] if many else readings.people
    return [
        {
            "label": f"person {number + 1}" + (" (the caption's)" if one is readings[chosen] else ""),
            "chosen": one is readings[chosen],
            "rows": _rows(one, caption, span, most),
        }
        for number, one in enumerate(shown)
        if one.success.any()
    ]


def _rows(
    one: FaceReading, caption: Caption, span: tuple[float, float], most: tuple[int, int]
) -> list[dict[str, Any]]:
    """Units that the caption rests on, then the strongest ones, then the likeliest emotions; dense in time."""
    seen, seconds = one.success, one.times[one.success].tolist()
    linked = [link.au for link in caption.phrases]
    units = sorted(one.au_ids, key=lambda au: (au not in linked, -float(one.au(au)[seen].max())))
    rows = [_unit_row(au, UNIT_NAMES.get(au, ""), seconds, one.au(au)[seen].tolist(), span) for au in units[: most[1]]]
    names = sorted(one.emotion_names, key=lambda name: -float(one.emotion(name)[seen].max()))
    for name in names[: most[0]]:
        values = one.emotion(name)[seen].tolist()
        if max(values) >= FAINT:
            rows.append(_row(f"looks like {name}", True, seconds, values, span))
    return rows


def _unit_row(
    au: int, name: str, seconds: Sequence[float], values: Sequence[float], span: tuple[float, float]
) -> dict[str, Any]:
    return _row(plain_unit(au, name), False, seconds, values, span)


def _row(
    name: str, emotion: bool, seconds: Sequence[float], values: Sequence[float], span: tuple[float, float]
) -> dict[str, Any]:
    return {"name": name, "emotion": emotion, "most": f"{max(values):.0%}", "chart": chart(seconds, values, span, name)}


def _drawn(caption: Caption, evidence: Evidence) -> list[AUCurve]:
    """Of the sampled frames' curves those that the caption names, that the model was given, or that show."""
    linked = {each.au for each in caption.phrases}
    return [each for each in evidence.curves if each.au in linked or each.au in evidence.kept or each.seen]


def captioned_person(evidence: Evidence, readings: FaceReadings) -> int:
    """Which of the people followed densely the caption is about: the one whose boxes lie nearest."""
    person = next((each for each in evidence.people if each.captioned), None)
    if person is None:
        return 0
    width, height = readings.size
    pairs = [(s, box) for s, box in zip(evidence.seconds, person.boxes, strict=True) if box is not None]

    def distance(one: FaceReading) -> float:
        off = []
        for second, (x0, y0, x1, y1) in pairs:
            box = one.boxes[abs(one.times - second).argmin()]
            middle = ((box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height)
            off.append(max(abs((x0 + x1) / 2 - middle[0]), abs((y0 + y1) / 2 - middle[1])))
        return float(sorted(off)[len(off) // 2]) if off else 0.0

    return min(range(len(readings)), key=lambda number: distance(readings[number]))


def moving_boxes(evidence: Evidence, every: float = 0.2) -> list[list[list[float]]]:
    """Rows [second, x, y, width, height] of each person, shares of the picture, the captioned person first."""
    readings = evidence.readings
    if readings is None or not len(readings):
        return []
    chosen = captioned_person(evidence, readings)
    width, height = readings.size
    people = []
    for one in (readings[chosen], *(each for each in readings if each is not readings[chosen])):
        rows: list[list[float]] = []
        for second, seen, (x0, y0, x1, y1) in zip(one.times.tolist(), one.success, one.boxes.tolist(), strict=True):
            if seen and (not rows or second - rows[-1][0] >= every - 0.01):
                box = (x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height)
                rows.append([round(second, 2), *(round(value, 3) for value in box)])
        people.append(rows)
    return people
