"""The page: it parses, links lead somewhere, nothing is fetched, names are escaped, pictures are whole."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
    VideoCaptions,
)
from captioner.output import page
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


def html(*captions: Caption, file: str = "a.mp4", run: dict[str, Any] = RUN) -> str:
    return page.page(captions or (caption(),), file, run, 1.6)


def check(text: str) -> Page:
    """Parsed, with ids once each, every link and label leading somewhere, and nothing from elsewhere."""
    found = Page(text)
    ids = found.all("id")
    assert len(ids) == len(set(ids))
    for target in found.all("href"):
        assert target.startswith("#")
        assert target[1:] in ids
    for key in ("for", "aria-labelledby"):
        assert {name for value in found.all(key) for name in value.split()} <= set(ids)
    assert all(source.startswith("data:image/") for source in found.all("src"))
    own = re.sub(r'src="data:[^"]*"', "", text).replace("http-equiv", "").lower()
    for outside in ("http", "//", "url(", "@import", "<script", "<iframe", "<link"):
        assert outside not in own
    assert all("alt" in attrs for tag, attrs in found.tags if tag == "img")
    assert [tag for tag, _ in found.tags].count("main") == 1
    return found


def test_the_page_is_whole() -> None:
    found = check(html())
    assert TEXT in found.text.replace(" .", ".")
    assert [attrs["href"] for tag, attrs in found.tags if tag == "a"][1:3] == ["#c1-p0", "#c1-p1"]
    for said in ("AU 4", "brow lowerer", "Best seen at 0.50 s, 0.90 by the experts.", "cosine 0.42",
                 "which does not confirm the phrase", "Frames the model saw", "style"):  # fmt: skip
        assert said in found.text
    assert "max words" not in found.text  # what was not set is not told
    assert ("html", {"lang": "en"}) in found.tags


def test_sizes_and_pictures() -> None:
    text = html()
    assert len(text) < 2_000_000
    for source in Page(text).all("src"):
        kind, content = source.removeprefix("data:image/").split(";base64,")
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert (image.format or "").lower() == kind
        image.load()


def test_names_cannot_leave_their_place() -> None:
    evil = '<script>alert("1")</script>\udcff\n\'"><img src=x>.mp4'
    label = "</style><b>joy</b>"
    bad = evidence(emotions=[Belief(evil, {label: 1.0})])
    bad.words[1] = replace(bad.words[1], name="<b>")
    links = caption().phrases
    links[0] = replace(links[0], text="<i>frown</i>")
    text = html(caption(text=f"{TEXT} <u>", evidence=bad, phrases=links), file=evil, run=RUN | {"model": evil})
    found = check(text)
    text.encode()  # a surrogate would not pass
    assert not {"b", "i", "u", "script"} & {tag for tag, _ in found.tags}
    assert '<script>alert("1")</script>\\udcff\\x0a' in found.text


def test_landmarks_of_the_acting_region_are_marked() -> None:
    paths = {
        attrs["class"]: attrs["d"] for tag, attrs in Page(html()).tags if tag == "path" and "mark" in attrs["class"]
    }
    assert paths["mark acting"].count("M") == 10  # the brows
    assert paths["mark"].count("M") == 58
    assert page.region_of(43)[0] == "the eyes"
    assert page.region_of(12)[0] == "the mouth"


def test_a_word_can_be_chosen_without_scripts() -> None:
    found = Page(html())
    radios = [attrs for tag, attrs in found.tags if tag == "input"]
    assert [attrs["type"] for attrs in radios] == ["radio"] * 8  # five words, three prompts, no full stop
    assert len({attrs["name"] for attrs in radios}) == 1
    assert [attrs["id"] for attrs in radios if "checked" in attrs] == ["c1-w4"]  # "frown"
    maps = [attrs for tag, attrs in found.tags if tag == "img" and "heat" in attrs.get("class", "")]
    assert len(maps) == 2 * 8  # two slots of time
    assert ".w7:checked~* .h7{display:block}" in html()


def test_attention_and_scores_have_tables() -> None:
    said = Page(html()).text
    assert "Share of the attention of each word" in said
    assert "0.220 0.100 0.100 0.300 0.280" in said
    assert "Scores by the experts, 0 to 1, at seconds" in said
    assert "0.10 0.90 0.80 0.20" in said
    assert "2 others together" in said  # bars of the rarer emotions


def heat(values: list[list[float]]) -> np.ndarray:
    shares = np.array([values], np.float32)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(page.heat_map(shares, 0).split(",")[1]))))[..., 3]


def test_heat_maps_are_honest() -> None:
    assert heat([[1, 1], [1, 1]]).max() == 0  # looked evenly
    assert heat([[0, 0], [0, 4]]).tolist() == [[0, 0], [0, page.DENSEST]]
    assert heat([[1.1, 0.9], [1, 1]]).max() < page.DENSEST / 2  # hardly uneven, hardly coloured


def test_charts_lie_between_floor_and_top() -> None:
    unit = evidence().curves[0]
    chart = page._chart(unit, (0.0, 1.5))
    assert chart["line"] == "M0.0 26.7L33.3 4.3L66.7 7.1L100.0 23.9"
    assert chart["peak"] == "33.3"
    assert "highest 0.90 at 0.50 seconds" in chart["told"]
    single = page._chart(evidence().curves[1], (0.0, 1.5))
    assert single["line"].count("L") == 1  # one reading: a level line
    assert "nan" not in page._chart(unit, (0.0, 0.0))["line"]


def test_several_captions_in_one_page() -> None:
    people = [caption(person=i + 1, start=2.0 * j, end=2.0 * j + 1.5) for j in range(2) for i in range(2)]
    found = check(html(*people))
    assert "4 captions" in found.text
    assert "person 2, 2.0 to 3.5 s" in found.text
    assert [tag for tag, _ in found.tags].count("article") == 4
    sections = [attrs["aria-labelledby"] for tag, attrs in found.tags if tag == "section"]
    assert len(set(sections)) == len(sections)


def test_pages_of_long_videos_stay_small() -> None:
    many = [caption(start=2.0 * i, end=2.0 * i + 1.5) for i in range(120)]
    text = html(*many)
    found = check(text)
    assert "radio" not in text.split("</style>")[1]
    assert len(text) < 120 * 40_000
    assert found.text.count("Frames the model saw") == 120


def test_pages_of_little() -> None:
    feeling = caption(text="A man is happy.", evidence=evidence(curves=[], portraits={}), phrases=[])
    assert "names no facial movement" in check(html(feeling)).text
    nothing = Evidence()
    alone = caption(faces=0, emotion={}, evidence=nothing, text="A room.", phrases=[])
    assert "no face found" in check(html(alone)).text
    assert "happiness" not in check(html(caption(evidence=None, emotion={}))).text
    unmapped = evidence()
    unmapped.words = [replace(each, map=None) for each in unmapped.words]
    unmapped.prompts = [replace(each, map=None) for each in unmapped.prompts]
    assert "heat" not in html(caption(evidence=unmapped)).split("</style>")[1]
    unmeasured = Link("bitten_lip", "frown", 16, 21, 32, "lip bite", WORDS, None, None, False)
    assert "nothing measures this unit" in check(html(caption(phrases=[unmeasured]))).text


@pytest.mark.parametrize(("link", "end"), [
    (Link("frown", "frown", 0, 5, 4, "", EXPERT, 0.3, 1.0, False), "which do not confirm the phrase."),
    (Link("frown", "frown", 0, 5, 4, "", READER, 0.3, 1.0, False), "which does not confirm the phrase."),
    (Link("frown", "frown", 0, 5, 4, "", READER, 0.7, 1.0, True), "0.70 by the face reader."),
])  # fmt: skip
def test_reasons(link: Link, end: str) -> None:
    assert page.reason(link).endswith(end)


def test_the_writer_renders_a_result() -> None:
    video = VideoCaptions("a.mp4", [caption(duration=1.6)])
    assert PageWriter().render(video, RUN) == html()
    assert PageWriter.suffix == "html"
    assert PageWriter.needs_evidence
