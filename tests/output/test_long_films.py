"""Films beyond 30 seconds are captioned by scenes; bars and lines keep out of each other's way; loading shows."""

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from captioner.cli import main
from captioner.output import long_films, progress
from captioner.video.reading import write_video
from tests.output.fakes import FakeModel


@pytest.fixture
def film(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A film of four seconds, where three are long."""
    monkeypatch.setattr(long_films, "LONG", 3.0)
    write_video(folder / "film.mp4", np.full((100, 16, 16, 3), 90, np.uint8), 25)
    return folder / "film.mp4"


def test_a_long_film_is_captioned_by_scenes(film: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clips/a.mp4", "film.mp4", "clips/b.mkv", "-o", "out", "-f", "json,srt"]) == 0
    said = capsys.readouterr()
    names = [line.split("\t")[0] for line in said.out.splitlines()]
    assert names == ["clips/a.mp4", "film.mp4", "film.mp4", "clips/b.mkv"]
    assert "film.mp4: 4 s, captioned by scenes (--window 0: one sentence for all of it)" in said.err
    assert [wish.get("seconds") for wish in model.wishes] == [None, 10.0, None]
    record = json.loads((film.parent / "out" / "film.json").read_text())
    assert (record["settings"]["window"], len(record["segments"])) == (10.0, 2)
    short = json.loads((film.parent / "out" / "a.json").read_text())
    assert short["settings"]["window"] is None and "segments" not in short
    with av.open(str(film.parent / "out" / "film.srt")) as subtitles:  # FFmpeg's reader, which VLC and mpv use too
        cues = [packet for packet in subtitles.demux(subtitles.streams[0]) if packet.size]
    assert len(cues) == 2 and b"Brightness 90." in bytes(cues[0])
    calls = len(model.calls)
    assert main(["film.mp4", "-o", "out", "-f", "txt"]) == 0
    assert len(model.calls) == calls  # a second run knows what is done, and that it was timed
    assert (film.parent / "out" / "film.txt").read_text().startswith("0:00.0-")


def test_one_sentence_can_be_asked_for(film: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["film.mp4", "--window", "0", "-q", "-o", "out", "-f", "json"]) == 0
    assert capsys.readouterr().out == "Brightness 90.\n"
    assert json.loads((film.parent / "out" / "film.json").read_text())["settings"]["window"] is None
    with pytest.raises(SystemExit, match="2"):
        main(["film.mp4", "--window", "0.1"])


def test_a_film_that_fails_amid_its_scenes_costs_itself(
    film: Path, model: FakeModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(model, "windows", broken)
    assert main(["film.mp4", "clips/a.mp4"]) == 1
    said = capsys.readouterr()
    assert "'film.mp4': RuntimeError: shapes differ" in said.err
    assert "clips/a.mp4\tBrightness 50." in said.out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_pass_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = progress.progress(2, windows=False, quiet=False)
    handler = progress.LineHandler(terminal)
    handler.emit(logging.LogRecord("captioner", logging.INFO, "", 0, "a line", (), None))
    before = terminal.getvalue()[: terminal.getvalue().index("a line")]
    assert before.endswith("\r")  # the bar was cleared: the line begins in an empty one
    assert "0/2" in terminal.getvalue()[terminal.getvalue().index("a line\n") + 7 :]  # and is drawn again below it
    bar.close()
    length = len(terminal.getvalue())
    handler.emit(logging.LogRecord("captioner", logging.INFO, "", 0, "another", (), None))
    assert terminal.getvalue()[length:] == "another\n"


def test_loading_shows_on_a_terminal_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.loading("mine", quiet=False):
        assert terminal.getvalue() == "loading model mine ...\r"
    assert terminal.getvalue().endswith(" " * 22 + "\r")
    with progress.loading(None, quiet=True):
        pass
    assert "default" not in terminal.getvalue()
