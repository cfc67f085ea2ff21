"""Captions in Python: lists with failures, errors that say what to give, what is shown, saved and tabulated."""

import asyncio
import io
import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import captioner
from captioner.errors import CaptionerError, ConfigError, VideoError
from captioner.inference.background import Failed, asynchronous
from captioner.inference.decode_options import DecodeOptions, known_keywords, only_of_the_clip
from captioner.inference.results import ActionUnit, Caption, Link
from captioner.inference.tables import COLUMNS, columns_of, to_pandas, to_polars
from captioner.inference.video_like import checked
from captioner.stopping import Stopped, heed_stop, stoppable
from tests.helpers import ROOT

EXAMPLE = ROOT / "examples" / "smile.mp4"
LINK = Link("smile", "smile", 16, 21, 12, "lip corner puller", "experts", 0.9, 1.2, True)
UNIT = ActionUnit(12, "lip corner puller", 0.5, 1.2, ["smile"])
CAPTION = Caption(
    "A man <nods>. A smile.", 0.5, [], {"joy": 0.75, "anger": 0.25}, [UNIT], 1, 0.0, 3.6, [0.0], "a.mp4", "tiny", [LINK]
)


def test_a_failure_is_false_and_says_why() -> None:
    gone = Failed(VideoError("no such file: 'gone.mp4'"), "gone.mp4")
    assert not gone
    assert (gone.reason, repr(gone)) == ("no such file: 'gone.mp4'", "Failed(no such file: 'gone.mp4')")
    assert Failed(RuntimeError("shapes\ndiffer"), "b.mp4").reason == "'b.mp4': RuntimeError: shapes"
    assert captioner.Failed is Failed and captioner.Caption is Caption
    with pytest.raises(AttributeError, match="no attribute 'Capton'"):
        _ = captioner.Capton


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (5, "a video is a path, an address, .* not int"),
        (None, "not NoneType"),
        (b"abc", r"io\.BytesIO\(data\)"),
        (io.StringIO("x"), "open it with 'rb'"),
        ({"a.mp4"}, "give a list for several"),
    ],
)
def test_what_is_no_video_is_told(given: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        checked(given)


def test_pictures_of_other_libraries_are_frames() -> None:
    image = pytest.importorskip("PIL.Image").new("RGB", (4, 3), (1, 2, 3))
    assert checked(image).shape == (3, 4, 3)
    assert checked(file := io.BytesIO(b"x")) is file


def test_options_are_named() -> None:
    with pytest.raises(TypeError, match=r"unknown option 'beam' \(did you mean 'beams'\?\)"):
        known_keywords({"beam": 2})
    with pytest.raises(TypeError, match=r"model\.people\(video, 2\)"):
        only_of_the_clip({"people": 2})  # type: ignore[typeddict-unknown-key]
    for wrong, told in (
        ({"habits": "maf"}, r"unknown habits 'maf' \(did you mean 'mafw'\?\)"), ({"beams": 0.5}, "beams must be"),
        ({"max_words": 0}, "max_words must be a whole number of at least 1, not 0"), ({"people": -1}, "people must be"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            DecodeOptions(**wrong)


def test_what_is_shown_is_short_and_escaped() -> None:
    assert repr(CAPTION) == "Caption('A man <nods>. A smile.', 0.0-3.6 s)"
    assert repr(replace(CAPTION, person=2)).endswith("s, person 2)")
    html = CAPTION._repr_html_()
    assert "A man &lt;nods&gt;. A " in html and "<nods>" not in html
    assert 'title="lip corner puller, best seen at 1.2 s" style="border-bottom:2px solid' in html
    doubtful = replace(CAPTION, phrases=[replace(LINK, seen=False, second=None)])._repr_html_()
    assert "not confirmed" in doubtful and "dotted" in doubtful
    assert "joy 75%" in html


def test_a_caption_saves_itself(tmp_path: Path) -> None:
    CAPTION.save(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "A man <nods>. A smile.\n"
    CAPTION.save(tmp_path / "a.json")
    record = json.loads((tmp_path / "a.json").read_text())
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "captioner" / "output" / "schema.json").read_text())
    jsonschema.validate(record, schema)
    CAPTION.save(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().startswith("file,start,end")
    CAPTION.save(str(tmp_path / "a.html"))
    assert "A man &lt;nods&gt;" in (tmp_path / "a.html").read_text()
    with pytest.raises(ConfigError, match=r"unknown format 'htm' \(did you mean 'html'\?\)"):
        CAPTION.save(tmp_path / "a.htm")


def test_tables_have_a_row_a_caption_and_a_row_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [CAPTION, Failed(VideoError("no such file: 'gone.mp4'"), "gone.mp4"), [replace(CAPTION, person=2)]]
    columns = columns_of(results)
    assert list(columns) == list(COLUMNS)
    assert columns["file"] == ["a.mp4", "gone.mp4", "a.mp4"]
    assert columns["error"] == [None, "no such file: 'gone.mp4'", None]
    assert (columns["emotion"], columns["person"]) == (["joy", None, "joy"], [None, None, 2])
    assert columns["action_units"] == ["AU12", None, "AU12"]
    with pytest.raises(TypeError, match="make a table, not int"):
        columns_of(5)  # type: ignore[arg-type]
    fake = SimpleNamespace(DataFrame=dict)
    monkeypatch.setitem(__import__("sys").modules, "polars", fake)
    assert to_polars(CAPTION)["caption"] == [CAPTION.text]
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(CaptionerError, match="pip install polars"):
        to_polars(CAPTION)


@pytest.mark.slow
def test_pandas_takes_them() -> None:
    pytest.importorskip("pandas")
    assert to_pandas([CAPTION, CAPTION]).shape == (2, len(COLUMNS))


def test_work_ends_when_it_is_called_off() -> None:
    signal = threading.Event()
    heed_stop()
    with stoppable(signal):
        heed_stop()
        signal.set()
        with pytest.raises(Stopped):
            heed_stop()
    heed_stop()


def test_a_generator_for_async_for_ends_when_nobody_listens() -> None:
    steps: list[int] = []

    def slow() -> Any:
        for number in range(10**6):
            heed_stop()
            steps.append(number)
            yield number

    async def some() -> list[int]:
        taken = []
        walk = asynchronous(slow())
        async for each in walk:
            taken.append(each)
            if len(taken) == 3:
                break
        await walk.aclose()
        return taken

    assert asyncio.run(some()) == [0, 1, 2]
    assert len(steps) == 3


@pytest.mark.slow
def test_a_list_with_bad_files_and_threads_that_share(tmp_path: Path) -> None:
    """Two bad of ten files: eight captions, two reasons, in order; two threads say what one says."""
    model = captioner.load(device="cpu")
    assert repr(model) == "Captioner('default', device='cpu')"
    (tmp_path / "text.mp4").write_text("no video")
    frames = [np.full((4, 48, 64, 3), 20 * n, np.uint8) for n in range(8)]
    videos: list[Any] = [*frames[:3], str(tmp_path / "text.mp4"), *frames[3:], tmp_path / "gone.mp4"]
    made = model.caption(videos, beams=1)
    assert [bool(each) for each in made] == [True] * 3 + [False] + [True] * 5 + [False]
    reasons = [each.reason for each in made if isinstance(each, Failed)]
    assert "text.mp4' holds text" in reasons[0] and "gone.mp4" in reasons[1]

    alone, said = model.caption(EXAMPLE, beams=1).to_dict(), dict[int, Any]()
    threads = [
        threading.Thread(target=lambda n=n: said.update({n: model.caption(EXAMPLE, beams=1).to_dict()})) for n in (1, 2)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert said == {1: alone, 2: alone}
