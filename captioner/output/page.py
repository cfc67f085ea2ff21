"""A page about a video's captions and what they rest on: one HTML file without scripts that fetches nothing."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from captioner.errors import printable
from captioner.inference.results import AttentionShares, AUCurve, Caption, Evidence, Link, Person, Picture, Portrait
from captioner.lexicon.phrases import find_phrases
from captioner.lexicon.units import region_of

if TYPE_CHECKING:
    import numpy as np
    from jinja2 import Template
    from numpy.typing import NDArray

HERE = Path(__file__).parent
MOST_UNITS, MOST_BARS = 8, 5  # drawn; all units are in the table
MANY = 4  # captions from which on a page keeps fewer pictures of each
FEW_FRAMES, MOST_SLOTS = 4, 8
HEAT = (232, 112, 20)  # colour of attention
DENSEST = 190  # its opacity where it is highest, of 255


class TextPart(NamedTuple):
    """A piece of a caption, and the number of the phrase that it is."""

    text: str
    link: int | None


def page(captions: Sequence[Caption], file: str, run: Mapping[str, Any], duration: float | None = None) -> str:
    """The HTML of captions (windows or people of one file); those without evidence show only what they say."""
    many = len(captions) > MANY
    shown = [caption_context(each, f"c{i + 1}", many) for i, each in enumerate(captions)]
    model = str(run.get("model") or (captions[0].model if captions else ""))
    facts = [f"{duration:.1f} s" if duration else "", f"model {model}" if model else ""]
    return _template().render(
        file=file,
        facts=[fact for fact in facts if fact],
        captions=shown,
        most_looks=max((len(each["looks"]) for each in shown), default=0),
        settings=list(_flat(run)),
        css=page_style(),
    )


def caption_context(caption: Caption, name: str, many: bool = False) -> dict[str, Any]:
    """What the template shows of one caption; ids begin with `name`."""
    evidence = caption.evidence
    links = caption.phrases if evidence else []
    span = f"{caption.start:.1f} to {caption.end:.1f} s"
    context: dict[str, Any] = {
        "id": name,
        "text": caption.text,
        "parts": parts(caption.text, links),
        "where": f"person {caption.person}, {span}" if caption.person else span,
        "start": f"{caption.start:.1f}",
        "end": f"{caption.end:.1f}",
        "facts": _facts(caption),
        "evidence": evidence is not None,
        "beliefs": _beliefs(caption),
        "frames": [], "phrases": [], "units": [], "tables": [], "looks": [], "slots": [],
    }  # fmt: skip
    if evidence is None:
        return context
    times = (caption.start, caption.end)
    frames = _thin(evidence.frames, FEW_FRAMES if many else len(evidence.frames))
    context["frames"] = [_frame(each, evidence) for each in frames]
    context["phrases"] = [_phrase(each, evidence, times) for each in links]
    context["units"] = [_unit(each, links, times) for each in _drawn(evidence, links)]
    context["tables"] = _tables(evidence.curves)
    if not many:
        context |= _attention(evidence, links)
    return context


def _drawn(evidence: Evidence, links: Sequence[Link]) -> list[AUCurve]:
    """The curves of units that the caption names, that the model was given, or that show."""
    linked = {each.au for each in links}
    drawn = [each for each in evidence.curves if each.au in linked or each.au in evidence.kept or each.seen]
    return drawn[:MOST_UNITS]


def parts(text: str, links: Sequence[Link]) -> list[TextPart]:
    """The text cut at its phrases."""
    cut, at = [], 0
    for number, each in enumerate(links):
        cut += [TextPart(text[at : each.start], None), TextPart(text[each.start : each.end], number)]
        at = each.end
    cut.append(TextPart(text[at:], None))
    return [part for part in cut if part.text]


def _facts(caption: Caption) -> list[str]:
    """The line under a caption."""
    emotion, facts = caption.emotion, []
    if caption.event_source:
        facts.append(f"first sentence {caption.event_source}")
    if emotion:
        top = max(emotion, key=emotion.__getitem__)
        facts.append(f"{top} {emotion[top]:.2f}")
    facts.append(f"mean word probability {caption.score:.2f}")
    facts.append("no face found" if not caption.faces else f"{caption.faces} face{'s' * (caption.faces > 1)}")
    return facts


def _beliefs(caption: Caption) -> list[dict[str, Any]]:
    """Emotion bars, likeliest first, by source."""
    sources = [(each.source, each.probs) for each in caption.evidence.emotions] if caption.evidence else []
    sources = sources or ([("captioner", caption.emotion)] if caption.emotion else [])
    return [{"source": source, "rows": _bars(probs)} for source, probs in sources]


def _bars(probs: Mapping[str, float]) -> list[dict[str, str]]:
    """The likeliest emotions and what is left for the others."""
    ranked = sorted(probs.items(), key=lambda pair: -pair[1])
    rows, rest = ranked[:MOST_BARS], ranked[MOST_BARS:]
    if rest:
        rows.append((f"{len(rest)} others together", sum(p for _, p in rest)))
    # 80: room for the number beside the longest bar
    return [{"label": label, "value": f"{p:.2f}", "width": f"{80 * p:.1f}"} for label, p in rows]


def _frame(picture: Picture, evidence: Evidence) -> dict[str, Any]:
    place = min(range(len(evidence.seconds)), key=lambda i: abs(evidence.seconds[i] - picture.second))
    boxes = [_box(person, place) for person in evidence.people]
    return _image(picture) | {"boxes": [box for box in boxes if box]}


def _image(picture: Picture) -> dict[str, Any]:
    size = {"width": picture.width, "height": picture.height}
    return size | {"uri": data_uri(picture.jpeg, "jpeg"), "second": f"{picture.second:.2f}"}


def _box(person: Person, place: int) -> dict[str, Any] | None:
    box = person.boxes[place]
    if box is None:
        return None
    x0, y0, x1, y1 = box
    return {"captioned": person.captioned, "x": x0, "y": y0, "width": round(x1 - x0, 4), "height": round(y1 - y0, 4)}


def _phrase(link: Link, evidence: Evidence, span: tuple[float, float]) -> dict[str, Any]:
    curve = next((each for each in evidence.curves if each.au == link.au), None)
    face = evidence.portraits.get(link.au)
    region, points = region_of(link.au)
    return {
        "text": link.text,
        "au": link.au,
        "name": link.name,
        "region": region,
        "reason": reason(link),
        "face": _face(face, points) if face else None,
        "chart": _chart(curve, span) if curve else None,
    }


def reason(link: Link) -> str:
    """One or two sentences on why a phrase is linked to its unit."""
    if link.score is None or link.second is None:
        return "By its meaning: nothing measures this unit in this video."
    told = f"Best seen at {link.second:.2f} s, {link.score:.2f} by the {link.source}"
    told += "." if link.seen else ", which do not confirm the phrase." if link.source == "experts" else (
        ", which does not confirm the phrase."
    )  # fmt: skip
    if link.similarity is not None:
        told += f" The model matched unit and words with cosine {link.similarity:.2f}."
    return told


def _face(face: Portrait, points: tuple[int, ...]) -> dict[str, Any]:
    acting = set(points)
    marks = [f"M{x:.3f} {y:.3f}h0" for x, y in face.landmarks]
    return {
        "uri": data_uri(face.jpeg, "jpeg"),
        "side": 192,
        "second": f"{face.second:.2f}",
        "others": "".join(mark for i, mark in enumerate(marks) if i not in acting),
        "acting": "".join(mark for i, mark in enumerate(marks) if i in acting),
    }


def _unit(curve: AUCurve, links: Sequence[Link], span: tuple[float, float]) -> dict[str, Any]:
    note = "" if curve.source == "experts" else f"by the {curve.source}"
    words = [{"text": each.text, "link": i} for i, each in enumerate(links) if each.au == curve.au]
    return {"id": curve.au, "name": curve.name, "note": note, "words": words, "chart": _chart(curve, span)}


def _chart(curve: AUCurve, span: tuple[float, float]) -> dict[str, str]:
    """Paths of a curve in a box of 100 x 30: seconds of the caption to the right, 0..1 upwards."""
    length, scores = max(span[1] - span[0], 1e-6), _scores(curve)
    points = {round(100 * min(max((s - span[0]) / length, 0), 1), 1): round(29.5 - 28 * v, 1)
              for s, v in zip(curve.seconds, scores, strict=True)}  # fmt: skip
    places = list(points.items())
    if len(places) == 1:
        places = [(0, places[0][1]), (100, places[0][1])]
    line = "M" + "L".join(f"{x} {y}" for x, y in places)
    area = f"{line}L{places[-1][0]} 29.5L{places[0][0]} 29.5Z"
    peak = round(100 * min(max((curve.peak - span[0]) / length, 0), 1), 1)
    highest = f"highest {max(scores):.2f} at {curve.peak:.2f} seconds, lowest {min(scores):.2f}"
    return {"line": line, "area": area, "peak": str(peak), "told": f"AU {curve.au} {curve.name} over time: {highest}"}


def _scores(curve: AUCurve) -> list[float]:
    return [round(value, 4) for value in curve.values]


def _tables(curves: Iterable[AUCurve]) -> list[dict[str, Any]]:
    """All scores, a table a source, since sources read different frames."""
    tables: dict[str, dict[str, Any]] = {}
    for curve in curves:
        row = {"id": curve.au, "name": curve.name, "scores": [f"{score:.2f}" for score in _scores(curve)]}
        seconds = [f"{second:.2f}" for second in curve.seconds]
        tables.setdefault(curve.source, {"source": curve.source, "seconds": seconds, "rows": []})["rows"].append(row)
    for table in tables.values():
        table["rows"].sort(key=lambda row: row["id"])
    return list(tables.values())


def _attention(evidence: Evidence, links: Sequence[Link]) -> dict[str, Any]:
    """Words and prompts to choose from, and the frames with the maps of each."""
    words = [each for each in evidence.words if any(c.isalnum() for c in each.name)]
    rows = [*words, *evidence.prompts]
    if not rows:
        return {}
    chosen = _first_phrase_word(links, words)
    names = list(rows[0].prompts)

    def shares(row: AttentionShares) -> list[float]:
        return [row.words, *(row.prompts[name] for name in names), row.video]

    return {
        "has_prompts": bool(evidence.prompts),
        "looks": [
            {
                "name": each.name if i < len(words) else _prompt(each.name, evidence),
                "prompt": i >= len(words),
                "first_prompt": i == len(words),
                "chosen": i == chosen,
                "told": describe_attention(each, evidence),
            }
            for i, each in enumerate(rows)
        ],
        "look_columns": ["words before", *(_prompt(name, evidence) for name in names), "video"],
        "look_rows": [{"name": each.name, "shares": [f"{v:.3f}" for v in shares(each)]} for each in rows],
        "slots": _slots(evidence, rows),
    }


def _first_phrase_word(links: Sequence[Link], words: Sequence[AttentionShares]) -> int:
    """The place of the last word of the first facial phrase: the one chosen when the page opens."""
    written = " ".join(each.name for each in words)  # by the network; the caption may word it anew
    spans = find_phrases(written) if links else []
    return written[: spans[0].end].count(" ") if spans else 0


def _prompt(name: str, evidence: Evidence) -> str:
    """A prompt's name with what it stands for."""
    known = {f"AU{each.au}": f"AU {each.au} {each.name}" for each in evidence.curves}
    return known.get(name, f"{name} prompt")


def describe_attention(row: AttentionShares, evidence: Evidence) -> str:
    """The attention of a word or prompt in words."""
    shares = {_prompt(name, evidence): share for name, share in row.prompts.items()}
    strongest = sorted(shares.items(), key=lambda pair: -pair[1])[:3]
    targets = [f"{share:.0%} on {name}" for name, share in strongest if share >= 0.01]
    targets.append(f"{row.video:.0%} on the video")
    if row.words:
        targets.append(f"{row.words:.0%} on the words before")
    densest = ""
    if row.map is not None and row.map.size > 1 and row.map.sum() > 0:
        densest = f" Its most watched place had {row.map.max() / row.map.mean():.1f} times an even share."
    name = row.name if row.words else _prompt(row.name, evidence)
    return f"“{name}”: {', '.join(targets)}.{densest}"


def _slots(evidence: Evidence, rows: Sequence[AttentionShares]) -> list[dict[str, Any]]:
    """Frames with the map of every row over them; none where the maps' places are not known."""
    first = rows[0].map
    if first is None or not evidence.frames:
        return []
    count, slots = len(first), []
    for slot in _thin(range(count), MOST_SLOTS):
        second = evidence.seconds[min(slot * len(evidence.seconds) // count, len(evidence.seconds) - 1)]
        picture = min(evidence.frames, key=lambda each: abs(each.second - second))
        maps = [heat_map(row.map, slot) for row in rows if row.map is not None]
        slots.append(_image(picture) | _window(picture, evidence.square) | {"maps": maps})
    return slots


def _window(picture: Picture, square: bool) -> dict[str, float]:
    """Where on a picture the maps lie, in percent: all of it, or its centre square."""
    side = min(picture.width, picture.height)
    across = 100 * side / picture.width if square else 100.0
    down = 100 * side / picture.height if square else 100.0
    place = {"left": (100 - across) / 2, "top": (100 - down) / 2, "across": across, "down": down}
    return {key: round(value, 2) for key, value in place.items()}


def heat_map(shares: NDArray[np.float32], slot: int) -> str:
    """One slot of a map (slots, rows, columns) as a PNG: transparent up to an even share, dense at the highest."""
    ratio = shares / max(float(shares.mean()), 1e-12)
    top = max(float(ratio.max()), 1.25)  # what is nearly even stays pale
    rows, columns = ratio[slot].shape
    pixels = bytearray()
    for row in range(rows):
        pixels.append(0)
        for value in ratio[slot][row]:
            dense = min(max((float(value) - 1) / (top - 1), 0.0), 1.0)
            pixels += bytes((*HEAT, round(DENSEST * dense)))
    return data_uri(_png(columns, rows, bytes(pixels)), "png")


def _png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG file of RGBA rows, each after its filter byte."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    parts_ = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts_


def data_uri(content: bytes, kind: str) -> str:
    """A picture as an address that needs no network."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _thin(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, spread evenly."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _flat(run: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Settings as (name, text), those of inner mappings one by one; what was not set is left out."""
    for key, value in run.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif value:
            yield str(key).replace("_", " "), str(value)


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    shelf = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return shelf.get_template("page.html.j2")


@cache
def page_style() -> Any:
    """The style that our pages share."""
    from markupsafe import Markup

    return Markup((HERE / "page.css").read_text(encoding="utf-8"))  # ours, and no place for escapes
