"""The page: it parses, links lead somewhere, nothing is fetched, names are escaped, pictures are whole."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.faces.face_reading import FaceReading, FaceReadings
from captioner.inference.evidence import jpeg
from captioner.inference.links import EXPERT, READER, WORDS
from captioner.inference.results import (
    AttentionShares,
    AUCurve,
    Belief,
    Caption,
    Evidence,
    Link,
    Person,
    Picture,
    Portrait,
    ToldClaim,
    VideoCaptions,
)
from captioner.output import charts, page, page_parts
from captioner.output.writers import PageWriter

TEXT = "A man nods. The frown and the closed eyes."
RUN = {"version": "0.1.0", "model": "tiny", "settings": {"beams": 1, "max_words": None, "style": "faces"}}
VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """A strict reading of HTML: every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, key: str) -> list[str]:
        return [attrs[key] for _, attrs in self.tags if key in attrs]


def picture(second: float) -> Picture:
    return Picture(second, 320, 180, jpeg(Image.new("RGB", (320, 180), (90, 120, int(60 * second)))))


def evidence(**changes: Any) -> Evidence:
    seconds = [0.0, 0.5, 1.0, 1.5]
    curves = [
        AUCurve(4, "brow lowerer", EXPERT, tuple(seconds), (0.1, 0.9, 0.8, 0.2)),
        AUCurve(43, "eyes closed", READER, (1.0,), (0.2,)),
        AUCurve(12, "lip corner puller", EXPERT, tuple(seconds), (0.0,) * 4),
    ]
    shares = {"class": 0.1, "emotion": 0.1, "AU4": 0.3}
    video = np.arange(8, dtype=np.float32).reshape(2, 2, 2) / 100
    words = [AttentionShares(word, 0.22, shares, 0.28, video) for word in ["a", "man", "nods", ".", "the", "frown"]]
    face = Portrait(0.5, jpeg(Image.new("RGB", (192, 192))), [(i / 68, 0.5) for i in range(68)])
    found = Evidence(
        curves=curves,
        kept=[4],
        emotions=[Belief("captioner", {f"label{i}": 1 / 7 for i in range(7)})],
        people=[Person(True, [(0.1, 0.2, 0.3, 0.4), None, (0.1, 0.2, 0.3, 0.4), None])],
        seconds=seconds,
        frames=[picture(second) for second in seconds],
        portraits={4: face},
        words=words,
        prompts=[AttentionShares(name, 0.0, shares, 0.5, video) for name in shares],
    )
    return replace(found, **changes)


def caption(**changes: Any) -> Caption:
    links = [
        Link("frown", "frown", 16, 21, 4, "brow lowerer", EXPERT, 0.9, 0.5, True, 0.42),
        Link("closed_eyes", "closed eyes", 30, 41, 43, "eyes closed", READER, 0.2, 1.0, False),
    ]
    told = Caption(TEXT, 0.7, [], {"anger": 0.6, "neutral": 0.4}, [], 1, 0.0, 1.5, model="tiny", phrases=links)
    return replace(told, **({"evidence": evidence()} | changes))


def html(*captions: Caption, file: str = "a.mp4", run: dict[str, Any] = RUN, film: Path | bytes | None = None) -> str:
    told = [replace(each, duration=1.6) for each in captions or (caption(),)]
    return page.page(VideoCaptions(file, told, film=film), run)


def check(text: str) -> Page:
    """Parsed, with ids once each, every link and label leading somewhere, one script of ours, nothing else."""
    found = Page(text)
    ids = found.all("id")
    assert len(ids) == len(set(ids))
    for target in found.all("href"):
        assert target.startswith("#")
        assert target[1:] in ids
    for key in ("for", "aria-labelledby"):
        assert {name for value in found.all(key) for name in value.split()} <= set(ids)
    pictures = [attrs["src"] for tag, attrs in found.tags if tag == "img"]
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    own = re.sub(r'src="data:[^"]*"', "", text).replace("http-equiv", "").lower()
    script = own[own.index("<script>") : own.index("</script>")]
    code = text[text.index("<script>") + 8 : text.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest())
    assert f"script-src 'sha256-{digest.decode()}'" in text
    for outside in ("http", "url(", "@import", "<script", "<iframe", "<link"):
        assert outside not in own.replace(script, "")
    assert all("alt" in attrs for tag, attrs in found.tags if tag == "img")
    assert [tag for tag, _ in found.tags].count("main") == 1
    return found


def test_the_page_is_whole() -> None:
    found = check(html())
    assert "A man nods. The frown and the closed eyes" in found.text
    phrases = [attrs for tag, attrs in found.tags if tag == "a" and "phrase" in attrs.get("class", "")]
    assert [(each["href"], each["data-seek"]) for each in phrases] == [("#c1-p0", "0.500"), ("#c1-p1", "1.000")]
    assert ["doubtful" in each["class"] for each in phrases] == [False, True]
    for said in ("brows lowered (action unit 4)", "Clearest at 0.5 s: 90% of what", "That is too little to confirm it.",
                 "Doubtful: “closed eyes” (not confirmed).", "looks like anger (60%)", "style"):  # fmt: skip
        assert said in found.text
    for jargon in ("cosine", "max words", "Where the model looked"):
        assert jargon not in found.text
    assert ("html", {"lang": "en"}) in found.tags
    assert "video" not in {tag for tag, _ in found.tags}  # there is none to play


def test_claims_tell_how_likely_they_are_and_decide_what_is_doubtful() -> None:
    claims = [
        ToldClaim("gender", "man", "man", 2, 5, 0.99), ToldClaim("action", "nod", "nods", 6, 10, 0.44),
        ToldClaim("phrase", "frown", "frown", 16, 21, 0.31), ToldClaim("phrase", "closed_eyes", "eyes", 37, 41, 0.8),
        ToldClaim("gender", "man", "the", 12, 15, 0.98),
        ToldClaim("camera", "close", "close", 0, 1, None),
    ]  # fmt: skip
    found = check(html(caption(claims=claims, confidence=0.1)))
    phrases = [attrs for tag, attrs in found.tags if tag in ("a", "span") and "phrase" in attrs.get("class", "")]
    assert [(each["class"], each.get("title")) for each in phrases] == [
        ("phrase doubtful", "44% likely"), ("phrase doubtful", "31% likely"), ("phrase", None),
    ]  # fmt: skip
    assert "Doubtful: “nods” (44% likely) and “frown” (31% likely)." in found.text
    assert "31% likely by all that was measured. Clearest at 0.5 s" in found.text
    for row in ("“man” who 99%", "“nods” what is done 44%, doubtful", "That all of it holds: 10%."):
        assert row in found.text
    assert "camera" not in found.text  # nothing was measured of it
    assert found.text.count("who 9") == 1  # a second word for the same person claims nothing more
    notebook = caption(claims=claims)._repr_html_()
    assert "31% likely" in notebook and notebook.count("dotted") == 1


def test_sizes_and_pictures() -> None:
    text = html()
    assert len(text) < 2_000_000
    for source in (attrs["src"] for tag, attrs in Page(text).tags if tag == "img"):
        kind, content = source.removeprefix("data:image/").split(";base64,")
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert (image.format or "").lower() == kind
        image.load()


def test_names_cannot_leave_their_place() -> None:
    evil = '<script>alert("1")</script>\udcff\n\'"><img src=x>.mp4'
    label = "</style><b>joy</b>"
    bad = evidence(emotions=[Belief(evil, {label: 1.0})])
    links = caption().phrases
    links[0] = replace(links[0], text="<i>frown</i>")
    text = html(caption(text=f"{TEXT} <u>", evidence=bad, phrases=links), file=evil, run=RUN | {"model": evil})
    found = check(text)
    text.encode()  # a surrogate would not pass
    assert not {"b", "u"} & {tag for tag, _ in found.tags}
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert '<script>alert("1")</script>\\udcff\\x0a' in found.text


def test_landmarks_of_the_acting_region_are_marked() -> None:
    paths = {
        attrs["class"]: attrs["d"] for tag, attrs in Page(html()).tags if tag == "path" and "mark" in attrs["class"]
    }
    assert paths["mark acting"].count("M") == 10  # the brows
    assert paths["mark"].count("M") == 58
    assert page_parts.region_of(43)[0] == "the eyes"
    assert page_parts.region_of(12)[0] == "the mouth"


def test_values_have_tables() -> None:
    said = Page(html()).text
    assert "Values from 0 to 1 at seconds, by the experts" in said
    assert "0.10 0.90 0.80 0.20" in said
    assert "2 others together" in said  # bars of the rarer emotions


def test_charts_lie_between_floor_and_top() -> None:
    unit = evidence().curves[0]
    drawn = charts.chart(unit.seconds, unit.values, (0.0, 1.5), "brows lowered")
    assert drawn["line"] == "M0 26.7L33.3 4.3L66.7 7.1L100 23.9"
    assert "brows lowered over time: highest 0.90 at 0.5 seconds" in drawn["told"]
    assert charts.chart((1.0,), (0.2,), (0.0, 1.5), "")["line"].count("L") == 1  # one reading: a level line
    assert "nan" not in charts.chart(unit.seconds, unit.values, (0.0, 0.0), "")["line"]
    long = [number / 10 for number in range(3000)]
    values = [1.0 if number == 1777 else 0.0 for number in range(3000)]
    drawn = charts.chart(long, values, (0.0, 300.0), "")
    assert drawn["line"].count("L") <= charts.MOST_POINTS
    assert "59.2 1.5" in drawn["line"]  # the one peak is not lost


def reading(face_id: int, left: float) -> FaceReading:
    """A person 40 pixels wide at `left`, seen in all but one of 16 pictures, whose brows lower at 1.0 s."""
    count, at = 16, np.arange(16)
    seen, zeros = at != 5, np.zeros(16, np.float32)
    units = np.stack([np.exp(-((at - 10.0) ** 2) / 8), np.full(16, 0.1)], 1).astype(np.float32)
    boxes = np.tile(np.array([left, 20, left + 40, 60], np.float32), (count, 1))
    return FaceReading(
        face_id, at, at / 10, seen, zeros + 1, boxes, np.zeros((16, 68, 2), np.float32), zeros, zeros, zeros,
        np.zeros((16, 2), np.float32), np.zeros((16, 1), np.float32), units,
        np.tile(np.array([0.9, 0.1], np.float32), (16, 1)), seen, (4, 12), (0.5, 0.5), ("anger", "joy"),
        expression_names=("jawOpen",),
    )  # fmt: skip


def watched() -> Evidence:
    """Evidence with two people followed densely; the captioned one is the second of them."""
    people = (reading(0, 120.0), reading(1, 20.0))
    dense = FaceReadings(people, "a.mp4", 10.0, 1.6, (200, 100), (4, 12), (0.5, 0.5), ("anger", "joy"))
    return evidence(people=[Person(True, [(0.1, 0.2, 0.3, 0.6)] * 4)], readings=dense)


def test_everybodys_curves_are_dense_and_the_captioned_person_is_chosen() -> None:
    told = caption(evidence=watched())
    assert charts.captioned_person(told.evidence, told.evidence.readings) == 1  # type: ignore[union-attr,arg-type]
    found = check(html(told))
    radios = [attrs for tag, attrs in found.tags if tag == "input"]
    assert ["checked" in attrs for attrs in radios] == [False, True]
    shown = [attrs for tag, attrs in found.tags if attrs.get("class") == "who"]
    assert ["hidden" in attrs for attrs in shown] == [True, False]
    lines = [attrs["d"] for tag, attrs in found.tags if tag == "path" and attrs["class"] == "line"]
    assert lines[0].count("L") == 14  # 15 pictures with the face
    assert "looks like anger" in found.text and "looks like joy" not in found.text
    boxes = json.loads(next(attrs["data-boxes"] for _, attrs in found.tags if "data-boxes" in attrs))
    assert boxes[0][0] == [0.0, 0.1, 0.2, 0.2, 0.4] and boxes[1][0][1] == 0.6
    assert boxes[0][1][0] == 0.2


def test_the_film_plays(tmp_path: Path) -> None:
    (tmp_path / "odd name#1.mp4").write_bytes(b"film")
    film = tmp_path / "odd name#1.mp4"
    source = next(attrs["src"] for tag, attrs in Page(html(film=film)).tags if tag == "video")
    assert source == "data:video/mp4;base64," + base64.b64encode(b"film").decode()
    assert "data:video/mp4" in html(film=b"piped")
    many = VideoCaptions("odd name#1.mp4", [caption(start=float(i)) for i in range(9)], timed=True, film=film)
    text = page.page(many, RUN, tmp_path / "out" / "deep")
    assert 'src="../../odd%20name%231.mp4"' in text  # many captions: the film stays where it is
    assert "video" not in {tag for tag, _ in Page(page.page(replace(many, film=b"piped"), RUN)).tags}


def test_several_captions_in_one_page() -> None:
    people = [caption(person=i + 1, start=2.0 * j, end=2.0 * j + 1.5) for j in range(2) for i in range(2)]
    found = check(html(*people))
    assert "4 captions over" in found.text
    assert "person 2, 2.0 to 3.5 s" in found.text
    assert [tag for tag, _ in found.tags].count("article") == 4
    sections = [attrs["aria-labelledby"] for tag, attrs in found.tags if tag == "section"]
    assert len(set(sections)) == len(sections)
    marks = [attrs["style"] for tag, attrs in found.tags if tag == "li" and attrs.get("class", "").startswith("tint")]
    assert marks[:2] == ["left:0.0%;width:42.857%;top:0.0rem", "left:0.0%;width:42.857%;top:1.1rem"]
    assert "height:2.2rem" in html(*people)


def test_pages_of_long_videos_stay_small() -> None:
    many = [caption(start=5.0 * i, end=5.0 * i + 5, evidence=watched()) for i in range(71)]
    text = html(*many)
    found = check(text)
    assert len(text) < 1_500_000
    assert found.text.count("What the words rest on") == 71
    assert [tag for tag, _ in found.tags].count("img") == 71


def test_pages_of_little() -> None:
    feeling = caption(text="A man is happy.", evidence=evidence(curves=[], portraits={}), phrases=[])
    assert "names no movement of a face" in check(html(feeling)).text
    alone = caption(faces=0, emotion={}, evidence=Evidence(), text="A room.", phrases=[])
    assert "no face found" in check(html(alone)).text
    assert "happiness" not in check(html(caption(evidence=None, emotion={}))).text
    unmeasured = Link("bitten_lip", "frown", 16, 21, 32, "lip bite", WORDS, None, None, False)
    assert "nothing measures this movement" in check(html(caption(phrases=[unmeasured]))).text


@pytest.mark.parametrize(("link", "end"), [
    (Link("frown", "frown", 0, 5, 4, "", EXPERT, 0.3, 1.0, False), "That is too little to confirm it."),
    (Link("frown", "frown", 0, 5, 4, "", EXPERT, 0.9, 1.0, False), "That is too short to confirm it."),
    (Link("frown", "frown", 0, 5, 4, "", READER, 0.7, 1.0, True), "70% of what the face reader can give."),
])  # fmt: skip
def test_reasons(link: Link, end: str) -> None:
    assert page_parts.reason(link).endswith(end)


def test_the_writer_renders_a_result() -> None:
    video = VideoCaptions("a.mp4", [caption(duration=1.6)])
    assert PageWriter().render(video, RUN) == html()
    assert PageWriter.suffix == "html"
    assert PageWriter.needs_evidence
