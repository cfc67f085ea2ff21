"""Each format through its own reader, and JSON against the schema in the package."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

import captioner
from captioner.cli import caption_parser
from captioner.errors import ConfigError
from captioner.inference.results import ActionUnit, Caption, Link, VideoCaptions, restore
from captioner.output.destination import open_writers
from captioner.output.writers import WRITERS, TextWriter, clock

SCHEMA = json.loads((Path(captioner.__file__).parent / "output" / "schema.json").read_text())
SETTINGS = {
    "device": "cpu", "beams": 1, "max_words": None, "style": None, "neutral": False, "window": None, "people": 0,
    "faces": None,
}  # fmt: skip
ODD = 'a <b>&"é\u6f22"\n, --> x.mp4'


def caption(text: str, start: float = 0.0, end: float = 2.0, person: int = 0) -> Caption:
    phrase = Link("smile", "smile", 4, 9, 12, "lip corner puller", "experts", 0.5, 0.5, True)
    return Caption(
        text, 0.5, [{"word": "a", "log_prob": -0.1}], {"anger": 0.25, "neutral": 0.75},
        [ActionUnit(12, "lip corner puller", 0.5, 0.5, ["smile"], None)], 2, start, end, [start], ODD, "tiny",
        [phrase], "own head", person, 4.0,
    )  # fmt: skip


ONE = VideoCaptions(ODD, [caption("A man & a <woman> talk.")])
WINDOWS = VideoCaptions(ODD, [caption("One.", 0, 2), caption("Two.", 2, 3.5), caption("Two.", 3.5, 4)], timed=True)
PEOPLE = VideoCaptions(ODD, [caption("One.", person=1), caption("Two.", person=2)], persons=True)
RESULTS = {"one": ONE, "windows": WINDOWS, "people": PEOPLE}


def run_of(result: VideoCaptions) -> dict[str, Any]:
    settings = SETTINGS | {"window": 2.0 if result.timed else None, "people": 2 if result.persons else 0}
    return {"model": "tiny", "version": "0", "settings": settings}


def render(name: str, result: VideoCaptions) -> str:
    writer = WRITERS[name]()
    assert writer.suffix == name
    return (writer.head() if writer.shared else "") + writer.render(result, run_of(result))


def test_the_schema_is_one() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_json_is_what_the_schema_says(kind: str, name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    text = render(name, RESULTS[kind])
    record = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(record)
    assert text.isascii()
    assert record["file"] == ODD
    assert restore(record).record(run_of(RESULTS[kind])) == record
    assert restore(record).segments[0].phrases == RESULTS[kind].segments[0].phrases
    if name == "jsonl":
        assert text.count("\n") == 1
    assert [part["caption"] for part in record.get("segments", [record])] == [c.text for c in RESULTS[kind].segments]


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(surprise=1),
        lambda r: r.pop("score"),
        lambda r: r["emotion"].update(anger=1.5),
        lambda r: r["action_units"][0].pop("peak"),
        lambda r: r["settings"].update(beams=0),
        lambda r: r["phrases"][0].update(au="12"),
    ],
)
def test_the_schema_refuses_what_is_wrong(change: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    record = json.loads(render("json", ONE))
    change(record)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(record)


def test_sentences_of_windows_are_joined_without_repeats() -> None:
    assert WINDOWS.text == "One. Two."
    assert json.loads(render("json", WINDOWS))["caption"] == "One. Two."


def test_text() -> None:
    assert render("txt", ONE) == "A man & a <woman> talk.\n"
    assert render("txt", WINDOWS).splitlines()[1] == "0:02.0-0:03.5 Two."
    assert render("txt", PEOPLE) == "person 1: One.\nperson 2: Two.\n"


def test_csv_has_a_row_a_caption() -> None:
    rows = list(csv.DictReader(io.StringIO(render("csv", WINDOWS))))
    assert [row["caption"] for row in rows] == ["One.", "Two.", "Two."]
    assert rows[1]["file"] == ODD.replace("\n", "\\x0a")  # a table's lines are its rows
    assert (rows[1]["start"], rows[1]["end"], rows[1]["emotion"], rows[1]["action_units"]) == (
        "2.000",
        "3.500",
        "neutral",
        "AU12",
    )
    assert [row["person"] for row in csv.DictReader(io.StringIO(render("csv", PEOPLE)))] == ["1", "2"]


def cues(text: str, point: str) -> list[tuple[str, str, list[str]]]:
    """(start, end, lines) of subtitles, read strictly."""
    found = []
    for number, block in enumerate(text.strip("\n").split("\n\n"), 1):
        first, times, *lines = block.split("\n")
        assert first == str(number)
        stamp = rf"\d\d:\d\d:\d\d{re.escape(point)}\d\d\d"
        match = re.fullmatch(rf"({stamp}) --> ({stamp})", times)
        assert match, times
        assert match[1] < match[2]
        found.append((match[1], match[2], lines))
    return found


def test_srt() -> None:
    assert cues(render("srt", ONE), ",") == [("00:00:00,000", "00:00:04,000", ["A man & a <woman> talk."])]
    assert [(a, b) for a, b, _ in cues(render("srt", WINDOWS), ",")] == [
        ("00:00:00,000", "00:00:02,000"),
        ("00:00:02,000", "00:00:03,500"),
        ("00:00:03,500", "00:00:04,000"),
    ]
    assert cues(render("srt", PEOPLE), ",")[0][2] == ["person 1: One.", "person 2: Two."]


def test_vtt() -> None:
    text = render("vtt", ONE)
    assert text.startswith("WEBVTT\n\n")
    assert cues(text.removeprefix("WEBVTT\n\n"), ".")[0][2] == ["A man &amp; a &lt;woman&gt; talk."]


def test_a_picture_has_a_cue_that_can_be_seen() -> None:
    still = caption("Still.", 0, 0)
    still.duration = 0.0
    assert cues(render("srt", VideoCaptions("a.png", [still])), ",")[0][:2] == ("00:00:00,000", "00:00:00,500")


def test_clock() -> None:
    assert [clock(s) for s in (0, 7.25, 59.96, 3723)] == ["0:00.0", "0:07.2", "1:00.0", "1:02:03.0"]


def test_every_format_is_there_and_only_the_page_needs_pictures() -> None:
    assert list(WRITERS)[:7] == ["txt", "json", "jsonl", "srt", "vtt", "csv", "html"]
    assert [name for name, kind in WRITERS.items() if kind.needs_evidence] == ["html"]


def test_a_format_is_a_class_and_a_line_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class ListWriter(TextWriter):
        suffix = "md"

    monkeypatch.setitem(WRITERS, "md", ListWriter)
    assert ", md (default: txt)" in " ".join(caption_parser().format_help().split())
    assert isinstance(open_writers("md")[0], ListWriter)
    with pytest.raises(ConfigError, match=r"unknown format 'mdd' \(did you mean 'md'\?\); allowed: txt, .*, md"):
        open_writers("mdd")
