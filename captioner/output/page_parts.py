"""What a page shows of one caption: its text cut at its phrases, what they rest on, emotions, frames, tables."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from captioner.inference.results import (
    SEEN,
    AUCurve,
    Caption,
    Evidence,
    Link,
    Person,
    Picture,
    Portrait,
    ToldClaim,
)
from captioner.lexicon.plain_names import plain_unit
from captioner.lexicon.units import region_of
from captioner.output.charts import moving_boxes, people_curves

MANY = 4  # captions from which on a page keeps less of each
MOST_BARS, FEW_BARS = 5, 3
MOST_FRAMES = 8
_KINDS = {
    "phrase": "face", "action": "what is done", "other": "what the other does", "people": "how many",
    "gender": "who", "other gender": "who the other is", "feeling": "what it looks like", "voice": "voice",
}  # fmt: skip
SMALL_SIDE, SMALL_QUALITY = 72, 50  # short side and JPEG's quality of the one frame that each of many captions keeps


class TextPart(NamedTuple):
    """A piece of a caption, the number of the phrase that it is, and how likely it is where that is doubtful."""

    text: str
    link: int | None
    doubt: str = ""


def caption_context(caption: Caption, name: str, many: bool = False) -> dict[str, Any]:
    """What the template shows of one caption; ids begin with `name`."""
    evidence = caption.evidence
    span = f"{caption.start:.1f} to {caption.end:.1f} s"
    context: dict[str, Any] = {
        "id": name,
        "text": caption.text,
        "parts": parts(caption),
        "where": f"person {caption.person}, {span}" if caption.person else span,
        "start": f"{caption.start:.1f}", "end": f"{caption.end:.1f}",
        "from": f"{caption.start:.3f}", "to": f"{caption.end:.3f}",
        "facts": _facts(caption),
        "doubts": doubts(caption),
        "evidence": evidence is not None,
        "beliefs": _beliefs(caption, many),
        "phrases": [_phrase(each, caption, many) for each in caption.phrases],
        "claims": [] if many else _claims(caption),
        "confidence": "" if caption.confidence is None else f"{caption.confidence:.0%}",
        "frames": [], "people": [], "tables": [], "boxes": "",
    }  # fmt: skip
    if evidence is None:
        return context
    frames = [_small(evidence)] if many and evidence.frames else _thin(evidence.frames, MOST_FRAMES)
    context["frames"] = [_frame(each, evidence) for each in frames]
    context["people"] = people_curves(caption, evidence, many)
    if boxes := moving_boxes(evidence, every=0.5 if many else 0.2):
        context["boxes"] = json.dumps(boxes, separators=(",", ":"))
    if not many:
        context["tables"] = _tables(evidence.curves)
    return context


def parts(caption: Caption) -> list[TextPart]:
    """The text cut at its phrases, and at what else is doubtful in it."""
    text, at = caption.text, 0
    spans: list[tuple[int, int, int | None, str]] = []
    for number, link in enumerate(caption.phrases):
        spans.append((link.start, link.end, number, _doubt_of(caption, link)))
    for claim in caption.claims:
        if claim.doubtful and not any(claim.start < end and start < claim.end for start, end, *_ in spans):
            spans.append((claim.start, claim.end, None, f"{claim.probability:.0%} likely"))
    cut = []
    for start, end, which, doubt in sorted(spans, key=lambda span: span[0]):
        cut += [TextPart(text[at:start], None), TextPart(text[start:end], which, doubt)]
        at = end
    cut.append(TextPart(text[at:], None))
    return [part for part in cut if part.text]


def _doubt_of(caption: Caption, link: Link) -> str:
    """What is said of a doubtful phrase; "" of one that is not."""
    claim = caption.claim_of(link)
    return "" if not caption.doubts(link) else f"{claim.probability:.0%} likely" if claim else "not confirmed"


def _claims(caption: Caption) -> list[dict[str, Any]]:
    """All that was measured of what the caption says, in its order, once each, with how likely it is."""
    known: dict[tuple[str, str], ToldClaim] = {}
    for each in sorted(caption.claims, key=lambda each: each.start):
        if each.probability is not None:
            known.setdefault((each.kind, each.name), each)  # "her" says again what "woman" said
    return [
        {
            "text": each.text, "kind": _KINDS.get(each.kind, each.kind), "value": f"{each.probability:.0%}",
            "width": f"{80 * (each.probability or 0):.1f}", "doubtful": each.doubtful,
        }
        for each in known.values()
    ]  # fmt: skip


def _facts(caption: Caption) -> list[str]:
    """The line under a caption."""
    emotion, facts = caption.emotion, []
    if caption.event_source:
        facts.append(f"first sentence {caption.event_source}")
    if emotion:
        top = max(emotion, key=emotion.__getitem__)
        facts.append(f"looks like {top} ({emotion[top]:.0%})")
    facts.append("no face found" if not caption.faces else f"{caption.faces} face{'s' * (caption.faces > 1)}")
    return facts


def doubts(caption: Caption) -> str:
    """One line that names what the caption says and measurements hardly confirm; empty where there is none."""
    unsure = dict.fromkeys((part.text, part.doubt) for part in parts(caption) if part.doubt)
    words = " and ".join(f"“{text}” ({doubt})" for text, doubt in unsure)
    return f"Doubtful: {words}." if words else ""


def _beliefs(caption: Caption, many: bool) -> list[dict[str, Any]]:
    """Emotion bars, likeliest first, by who holds them."""
    if many or caption.evidence is None or not caption.evidence.emotions:
        rows = _bars(caption.emotion, FEW_BARS if many else MOST_BARS)
        return [{"source": "the captioner", "rows": rows}] if rows else []
    return [{"source": each.source, "rows": _bars(each.probs, MOST_BARS)} for each in caption.evidence.emotions]


def _bars(probs: Mapping[str, float], most: int) -> list[dict[str, str]]:
    """The likeliest emotions and what is left for the others."""
    ranked = sorted(probs.items(), key=lambda pair: -pair[1])
    rows, rest = ranked[:most], ranked[most:]
    if rest:
        rows.append((f"{len(rest)} others together", sum(p for _, p in rest)))
    # 80: room for the number beside the longest bar
    return [{"label": label, "value": f"{p:.0%}", "width": f"{80 * p:.1f}"} for label, p in rows]


def _small(evidence: Evidence) -> Picture:
    """The middle frame as a thumbnail: of many captions each has one."""
    from PIL import Image

    middle = evidence.frames[len(evidence.frames) // 2]
    image = Image.open(io.BytesIO(middle.jpeg))
    share = min(1.0, SMALL_SIDE / min(image.size))
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    out = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=SMALL_QUALITY, optimize=True)
    return Picture(middle.second, *size, out.getvalue())


def _frame(picture: Picture, evidence: Evidence) -> dict[str, Any]:
    place = min(range(len(evidence.seconds)), key=lambda i: abs(evidence.seconds[i] - picture.second))
    boxes = [_box(person, place) for person in evidence.people]
    size = {"width": picture.width, "height": picture.height}
    told = {"uri": data_uri(picture.jpeg, "image/jpeg"), "second": f"{picture.second:.2f}"}
    return size | told | {"boxes": [box for box in boxes if box]}


def _box(person: Person, place: int) -> dict[str, Any] | None:
    box = person.boxes[place]
    if box is None:
        return None
    x0, y0, x1, y1 = box
    return {"captioned": person.captioned, "x": x0, "y": y0, "width": round(x1 - x0, 4), "height": round(y1 - y0, 4)}


def _phrase(link: Link, caption: Caption, many: bool) -> dict[str, Any]:
    evidence = caption.evidence
    face = evidence.portraits.get(link.au) if evidence and not many else None
    region, points = region_of(link.au)
    return {
        "text": link.text,
        "name": f"{plain_unit(link.au, link.name)} (action unit {link.au})",
        "region": region,
        "reason": reason(link, caption.claim_of(link)),
        "doubtful": caption.doubts(link),
        "second": None if link.second is None else f"{link.second:.3f}",
        "face": _face(face, points) if face else None,
    }


def reason(link: Link, claim: ToldClaim | None = None) -> str:
    """One or two sentences on what a phrase rests on, and how likely it is where its claim was measured."""
    likely = f"{claim.probability:.0%} likely by all that was measured. " if claim else ""
    if link.score is None or link.second is None:
        return likely.strip() or "From the wording alone: nothing measures this movement in this video."
    who = "the face reader" if link.source == "face reader" else "the network that watches facial movements"
    if claim:
        return f"{likely}Clearest at {link.second:.1f} s."
    told = f"Clearest at {link.second:.1f} s: {link.score:.0%} of what {who} can give."
    if link.seen:
        return told
    return f"{told} That is too {'short' if link.score >= SEEN else 'little'} to confirm it."


def _face(face: Portrait, points: tuple[int, ...]) -> dict[str, Any]:
    acting = set(points)
    marks = [f"M{x:.3f} {y:.3f}h0" for x, y in face.landmarks]
    return {
        "uri": data_uri(face.jpeg, "image/jpeg"),
        "side": 192,
        "second": f"{face.second:.2f}",
        "others": "".join(mark for i, mark in enumerate(marks) if i not in acting),
        "acting": "".join(mark for i, mark in enumerate(marks) if i in acting),
    }


def _tables(curves: Iterable[AUCurve]) -> list[dict[str, Any]]:
    """All scores, a table a source, since sources read different frames."""
    tables: dict[str, dict[str, Any]] = {}
    for curve in curves:
        scores = [f"{round(value, 4):.2f}" for value in curve.values]
        row = {"id": curve.au, "name": plain_unit(curve.au, curve.name), "scores": scores}
        seconds = [f"{second:.2f}" for second in curve.seconds]
        tables.setdefault(curve.source, {"source": curve.source, "seconds": seconds, "rows": []})["rows"].append(row)
    for table in tables.values():
        table["rows"].sort(key=lambda row: row["id"])
    return list(tables.values())


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _thin(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, spread evenly."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
