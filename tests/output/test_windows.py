"""A film in windows whose run is stopped: what is finished stays, and the next run goes on behind it."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import captioner
from captioner.cli import main
from captioner.inference.predictor import Captioner
from captioner.inference.results import Caption
from captioner.output.windows import WindowLog
from captioner.video.reading import write_video
from tests.helpers import ROOT
from tests.output.fakes import FakeModel

COMMAND = ["clips/a.mp4", "--window", "5", "-o", "out", "-f", "txt,json,csv"]


def stop_at(model: FakeModel, call: int, error: type[BaseException] = KeyboardInterrupt) -> None:
    """The model stops the run at its so manieth look at a clip."""

    def hook(_: str) -> None:
        if len(model.calls) == call:
            raise error

    model.hook = hook


def logs(folder: Path) -> list[Path]:
    return list((folder / "out").glob(".caption-*.jsonl"))


def test_a_stopped_film_goes_on(folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(COMMAND) == 0
    whole = {path.name: path.read_text() for path in (folder / "out").glob("*[tnv]")}
    assert len(whole) == 3
    assert not logs(folder)  # nothing is left of a film that is done
    capsys.readouterr()
    stop_at(model, 4)
    assert main([*COMMAND, "--overwrite"]) == 130
    (log,) = logs(folder)
    assert len(log.read_text().splitlines()) == 2  # what it is of, and one window
    assert capsys.readouterr().out == "0:00.0-0:00.1 Brightness 50.\n"
    model.hook = lambda _: None
    (folder / "out" / ".caption.jsonl").unlink()
    assert main(COMMAND) == 0
    out = capsys.readouterr()
    assert out.out == "0:00.1-0:00.1 Brightness 50.\n"
    assert "clips/a.mp4: 1 captions done before, going on at 0:00.1\n" in out.err
    assert len(model.calls) == 2 + 2 + 1
    assert {path.name: path.read_text() for path in (folder / "out").glob("*[tnv]")} == whole
    assert not logs(folder)


def test_a_film_that_was_changed_or_is_told_otherwise_begins_anew(folder: Path, model: FakeModel) -> None:
    stop_at(model, 2)
    assert main(COMMAND) == 130
    model.hook = lambda _: None
    assert main([*COMMAND, "--beams", "3"]) == 0
    assert len(model.calls) == 2 + 2
    stop_at(model, 6)
    assert main(COMMAND) == 130
    (folder / "clips" / "a.mp4").write_bytes((folder / "clips" / "b.mkv").read_bytes())
    model.hook = lambda _: None
    assert main(COMMAND) == 0
    assert len(model.calls) == 6 + 2
    stop_at(model, 10)
    assert main([*COMMAND, "--overwrite"]) == 130
    model.hook = lambda _: None
    assert main([*COMMAND, "--overwrite"]) == 0
    assert len(model.calls) == 10 + 2


def test_a_window_that_lacks_a_person_is_told_again(folder: Path, model: FakeModel) -> None:
    for call in (4, 6):  # between the persons of the second window, twice
        stop_at(model, call)
        assert main([*COMMAND, "--people", "2"]) == 130
    model.hook = lambda _: None
    assert main([*COMMAND, "--people", "2"]) == 0
    segments = json.loads((folder / "out" / "a.json").read_text())["segments"]
    assert [(each["start"], each["person"]) for each in segments] == [(0, 1), (0, 2), (0.08, 1), (0.08, 2)]


@pytest.mark.parametrize("cut", [1, 40])
def test_a_line_that_was_cut_off_costs_its_window(folder: Path, model: FakeModel, cut: int) -> None:
    stop_at(model, 2)
    assert main(COMMAND) == 130
    (log,) = logs(folder)
    log.write_bytes(log.read_bytes()[:-cut])
    stop_at(model, 4)
    assert main(COMMAND) == 130
    assert len(log.read_text().splitlines()) == 2
    model.hook = lambda _: None
    assert main(COMMAND) == 0
    assert len(model.calls) == 2 + 2 + 1
    assert len(json.loads((folder / "out" / "a.json").read_text())["segments"]) == 2


def test_what_is_no_line_of_ours_is_not_read(folder: Path, model: FakeModel) -> None:
    stop_at(model, 2)
    assert main(COMMAND) == 130
    (log,) = logs(folder)
    head, _ = log.read_text().splitlines()
    for rest in ("[" * 3000, '{"caption": {"text": 1}, "shot": 0, "evidence": null}', "{}"):
        log.write_text(f"{head}\n{rest}\n")
        assert WindowLog(folder / "out", "clips/a.mp4", json.loads(head)["made_by"]).load() == []
        assert log.read_text() == f"{head}\n"
    log.unlink()
    log.symlink_to(folder / "elsewhere")
    model.hook = lambda _: None
    assert main(COMMAND) == 1
    assert not (folder / "elsewhere").exists()


def test_a_fault_in_one_window_keeps_those_before(folder: Path, model: FakeModel) -> None:
    stop_at(model, 2, RuntimeError)
    assert main(["clips", *COMMAND[1:]]) == 1
    assert len(model.calls) == 2 + 2 + 2
    model.hook = lambda _: None
    assert main(["clips", *COMMAND[1:]]) == 0
    assert len(model.calls) == 6 + 1


SPEAKS = """
import captioner, sys, time
from captioner.inference.results import Caption
class Model:
    device, checkpoint = "cpu", type("C", (), {"name": "fake"})
    def options(self, **_): pass
    def windows(self, source, seconds, after=None, **_):
        for second in range(int(after.end) if after else 0, 24):
            yield Caption(f"Said at {second}.", 1.0, [], {}, [], 0, second, second + 1.0, duration=24.0)
captioner.load = lambda *_, **__: Model()
from captioner.cli import main
sys.exit(main(["a.mp4", "--window", "1", "-q", "-o", sys.argv[1], "-f", "txt,json,srt,csv"]))
"""


@pytest.mark.slow
def test_killed_again_and_again_nothing_is_torn(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def run(folder: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SPEAKS, folder]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)

    assert run("whole").wait(60) == 0
    said: list[str] = []
    for lines in (1, 3, 4, 2, 5):
        process = run("parts")
        assert process.stdout is not None
        said += [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.read().splitlines(keepends=True)
        process.wait()
    rest, _ = run("parts").communicate(timeout=60)
    said += rest.splitlines(keepends=True)
    # what was told but not yet said when a run was killed is not said again
    assert said == sorted(set(said), key=said.index)
    assert len(said) > 24 - 6
    whole, parts = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("[!.]*")} for name in ("whole", "parts")
    )
    assert parts == whole


# -- with the shipped model ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Captioner:
    return captioner.load(device="cpu")


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three of the examples one after the other: three shots, about 9 s."""
    from captioner.video.reading import read_clip

    parts = [
        read_clip(ROOT / "examples" / f"{name}.mp4", 24, short_side=120).frames for name in ("smile", "talk", "sad")
    ]
    side = min(part.shape[2] for part in parts)
    write_video(tmp_path / "film.mp4", np.concatenate([part[:, :, :side] for part in parts]), 8)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "film.mp4"


@pytest.mark.slow
def test_stopped_anywhere_all_files_are_those_of_an_unbroken_run(
    film: Path, shipped: Captioner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Caption] = []
    windows = Captioner.windows

    def stopped(self: Captioner, *args: Any, **wish: Any) -> Any:
        for number, each in enumerate(windows(self, *args, **wish)):
            if number == 2:
                raise KeyboardInterrupt
            told.append(each)
            yield each

    monkeypatch.setattr(captioner, "load", lambda *_, **__: shipped)
    # in other batches the last digits of a score may differ
    command = ["film.mp4", "--window", "1.2", "--batch", "1", "-q", "-f", "txt,json,srt,vtt,csv,html", "-o"]
    assert main([*command, "whole"]) == 0
    monkeypatch.setattr(Captioner, "windows", stopped)
    caplog.set_level(logging.INFO)
    while main([*command, "parts"]) == 130:
        assert len(told) < 20
    whole = {path.name: path.read_bytes() for path in Path("whole").glob("[!.]*")}
    parts = {path.name: path.read_bytes() for path in Path("parts").glob("[!.]*")}
    assert len(told) == len(json.loads(whole["film.json"])["segments"]) > 5
    assert parts == whole


@pytest.mark.slow
def test_evidence_comes_back_whole(film: Path, shipped: Captioner, tmp_path: Path) -> None:
    caption = shipped.caption(film, evidence=True, end=3.0)
    log = WindowLog(tmp_path, str(film), {})
    assert log.load() == []
    log.add(caption)
    (back,) = log.load()
    assert back == caption
    assert back.evidence is not None
    assert caption.evidence is not None
    for each in fields(caption.evidence):
        if each.name not in ("words", "prompts", "readings"):
            assert getattr(back.evidence, each.name) == getattr(caption.evidence, each.name)
    assert back.evidence.readings is not None
    assert caption.evidence.readings is not None
    tables = back.evidence.readings.table(), caption.evidence.readings.table()
    assert tables[0].keys() == tables[1].keys()
    assert all(np.array_equal(tables[0][name], tables[1][name], equal_nan=True) for name in tables[0])
    for one, other in zip(back.evidence.words + back.evidence.prompts, caption.evidence.words + caption.evidence.prompts, strict=True):  # fmt: skip # noqa: E501
        assert one.name == other.name
        assert one.map is not None
        assert other.map is not None
        assert one.map.dtype == other.map.dtype
        assert np.array_equal(one.map, other.map)
