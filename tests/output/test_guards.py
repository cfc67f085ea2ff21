"""One guard an input, and nothing that a name or a journal holds leaves its place."""

import csv
import io
import json
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioner.cli import main
from captioner.errors import CaptionerError, printable
from captioner.output import journal
from captioner.output.arguments import expand
from captioner.output.destination import output_paths
from captioner.output.writers import WRITERS, CsvWriter
from tests.output.fakes import FakeModel

EVERYTHING = ",".join(name for name, kind in WRITERS.items() if not (kind.needs_evidence or kind.needs_faces))
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ANYTHING = st.text(st.characters(), max_size=12)  # controls, surrogates and all
SAID = "clips/a.mp4\tBrightness 50.\n"


def odd(text: str) -> set[str]:
    """What of a text no terminal should see."""
    return {
        c for c in text if c != "\n" and (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in "\u202e\u2066")
    }


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / ".caption.jsonl").read_text().splitlines()]


# -- lists and names ---------------------------------------------------------------------------------------------


def test_a_line_of_a_list_that_means_nothing_costs_itself(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty").mkdir()
    lines = ["a\0b.mp4", "http://[::1", "none*.mp4", "empty", "clips/a.mp4", "\x1b]red.mp4", "x" * 300]
    (folder / "list.txt").write_text("\n".join(lines))
    assert main(["@list.txt", "-o", "out"]) == 1
    out = capsys.readouterr()
    assert out.out == SAID
    assert not odd(out.err)
    told = out.err.splitlines()
    assert [line for line in told if line.startswith("error: ")] == [
        "error: 'a\\x00b.mp4' names no video: a name holds no zero byte",
        "error: 'http://[::1' names no video: Invalid IPv6 URL",
        "error: nothing matched 'none*.mp4'",
        told[3],
        "error: no such file: '\\x1b]red.mp4'",
        told[6],
    ]
    assert told[3].startswith("error: no video in folder 'empty'; known suffixes: .3gp")
    assert told[6].startswith("error: 'xxx")
    assert told[-1].startswith("6 of 7 failed: 'a\\x00b.mp4', 'http://[::1', 'none*.mp4', 'empty', ")


@pytest.mark.slow
@QUICK
@given(st.lists(ANYTHING, max_size=6))
def test_whatever_a_list_holds_the_others_are_captioned(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str], lines: list[str]
) -> None:
    safe = [line for line in lines if not line.strip().startswith(("/", "-", "~", "\\")) and ".." not in line]
    text = "\n".join([*safe, "clips/a.mp4"])
    (folder / "list.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    code = main(["@list.txt", "-q"])
    out = capsys.readouterr()
    assert code in (0, 1)
    assert out.out.endswith("Brightness 50.\n")
    assert not odd(out.out + out.err) - {"\t"}
    assert all(line.startswith("error: ") for line in out.err.splitlines()[:-1])
    assert "fault of this program" not in out.err


@QUICK
@given(ANYTHING.filter(lambda text: text not in ("", "-") and not text.startswith("@")))
def test_no_name_leads_out_of_the_folder_of_outputs(folder: Path, text: str) -> None:
    for argument in (text, f"{text}.mp4", f"../{text}/../../x", f"http://host/{text}"):
        try:
            inputs = expand([argument])
        except CaptionerError:
            continue
        for each in inputs:
            assert not each.target.is_absolute()
            assert ".." not in each.target.parts
            assert each.fault or each.target.name.strip(".")


@pytest.mark.parametrize("formats", ["txt", EVERYTHING])
def test_dots_and_globs_stay_below_the_output_folder(folder: Path, model: FakeModel, formats: str) -> None:
    clip = (folder / "clips" / "a.mp4").read_bytes()
    (folder / "other").mkdir()
    for name in ("..webm", "...mp4", "other/one.mp4", "clips/..b.mkv"):
        (folder / name).write_bytes(clip)
    known = {path for path in folder.rglob("*") if path.is_file()}
    assert main(["..webm", "...mp4", "clips/*/../../other/*.mp4", "clips/..b*", "-o", "deep/out", "-f", formats]) == 0
    made = {path for path in folder.rglob("*") if path.is_file()} - known
    assert all(path.is_relative_to(folder / "deep" / "out") for path in made)
    texts = {path.relative_to(folder / "deep" / "out").as_posix() for path in made if path.suffix == ".txt"}
    assert texts == {"webm.txt", "mp4.txt", "other/one.txt", "..b.txt"}


def test_addresses_that_end_alike_are_told_apart_without_their_secrets(tmp_path: Path) -> None:
    inputs = expand(["http://h/a.mp4?key=S3CRET", "http://h/a.mp4?key=OTHER", "http://h/..", "http://i/.."])
    paths = [path.as_posix() for path in output_paths(inputs, tmp_path).values()]
    assert len(set(paths)) == 4
    assert not any("S3CRET" in path or ".." in path for path in paths)


@pytest.mark.parametrize("letter", ["a", "\u6f22", "\U0001f600"])
def test_names_as_long_as_the_file_system_allows(folder: Path, model: FakeModel, letter: str) -> None:
    stem = letter * ((255 - len(".mp4")) // len(letter.encode()))
    stem += "x" * (251 - len(stem.encode()))
    for name in (stem, stem[:-1] + "y"):
        (folder / "clips" / f"{name}.mp4").write_bytes((folder / "clips" / "a.mp4").read_bytes())
    assert len(f"{stem}.mp4".encode()) == 255
    assert main(["clips", "-o", "out", "-f", EVERYTHING + ",html"]) == 0
    assert len([path for path in (folder / "out").glob("*.html") if len(path.name) > 50]) == 2  # each its own
    assert main(["clips", "-o", "out", "-f", EVERYTHING + ",html"]) == 0
    assert len(model.loads) == 1  # nothing left to do


def test_a_name_that_cannot_be_written_costs_itself(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out" / "a.txt").mkdir(parents=True)
    assert main(["clips", "-q", "-o", "out"]) == 1
    out = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.out.splitlines()] == ["clips/b.mkv", "clips/deep/c.mp4"]
    assert out.err.splitlines() == [
        "error: cannot write 'out/a.txt': is a directory",
        "1 of 3 failed: 'clips/a.mp4'",
    ]
    assert main(["clips", "-q", "-o", "out", "-f", "txt"]) == 1
    assert model.calls[3:] == ["clips/a.mp4"]


# -- the terminal and tables ----------------------------------------------------------------------------------------


@given(ANYTHING)
def test_printable_text_is_one_quiet_line(text: str) -> None:
    safe = printable(text)
    assert not odd(safe)
    assert "\n" not in safe
    safe.encode()
    assert printable(safe) == safe


def test_warnings_leave_the_terminal_alone(folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    def warn(source: str) -> None:
        logging.getLogger("captioner.video").warning("%s lacks its end", "a\x1b[2J\nb\u202e.mp4")
        logging.getLogger("some.library").warning("two\nlines\x07")

    model.hook = warn
    assert main(["clips/a.mp4"]) == 0
    assert capsys.readouterr().err == "device: cpu\na\\x1b[2J\\x0ab\\x202e.mp4 lacks its end\ntwo\nlines\\x07\n"


@given(st.lists(ANYTHING, min_size=2, max_size=2))
def test_no_cell_is_a_formula_or_two_rows(texts: list[str]) -> None:
    from tests.output.test_writers import caption

    file, text = texts
    made = caption(text)
    made.emotion = {text: 1.0}
    written = CsvWriter()._lines([CsvWriter()._row(file, made)])
    (row,) = csv.reader(io.StringIO(written, newline=""))
    assert written.count("\n") == 1
    assert not odd(written)
    for cell in row:
        assert not cell.startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))


# -- journals ------------------------------------------------------------------------------------------------------

JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | ANYTHING, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANYTHING, inner, max_size=3), max_leaves=6)  # fmt: skip # noqa: E501


@pytest.mark.slow
@settings(QUICK, max_examples=120)
@given(data=st.data())
def test_whatever_a_journal_holds_the_run_goes_on(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    """Values of a true row are replaced by others, on every level."""
    out = folder / "out"
    if not (out / "true").exists():
        assert main(["clips/a.mp4", "-o", "out"]) == 0
        (out / "true").write_text((out / ".caption.jsonl").read_text())
    row = json.loads((out / "true").read_text())
    inner = data.draw(
        st.sampled_from([row, row["record"], row["record"]["settings"], row["record"]["action_units"][0]])
    )
    name = data.draw(st.sampled_from(list(inner)))
    if data.draw(st.booleans()):
        del inner[name]
    else:
        inner[name] = data.draw(JSON)
    (out / ".caption.jsonl").write_text(json.dumps(row) + "\n")
    (out / "a.txt").unlink(missing_ok=True)
    assert main(["clips/a.mp4", "-o", "out", "-f", EVERYTHING]) == 0
    assert "error" not in capsys.readouterr().err
    for suffix in ("txt", "json", "srt", "vtt"):
        assert (out / f"a.{suffix}").stat().st_size
        (out / f"a.{suffix}").unlink()


@pytest.mark.parametrize(
    "line",
    [b"[" * 3000 + b"]" * 3000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b"[]", b"1", b"\xff\x00", b'{"source": []}', b""],
)  # fmt: skip
def test_lines_that_no_run_wrote(folder: Path, model: FakeModel, line: bytes) -> None:
    (folder / "out").mkdir()
    (folder / "out" / ".caption.jsonl").write_bytes(line + b"\n" + line)
    assert main(["clips/a.mp4", "-o", "out"]) == 0
    assert main(["clips/a.mp4", "-o", "out"]) == 0
    assert len(model.calls) == 1


def test_a_row_without_state_is_captioned_again(folder: Path, model: FakeModel) -> None:
    assert main(["clips/a.mp4", "-o", "out"]) == 0
    (row,) = rows(folder / "out")
    del row["state"]
    (folder / "out" / ".caption.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["clips/a.mp4", "-o", "out"]) == 0
    assert len(model.calls) == 2


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_a_journal_follows_no_link(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    (folder / "out").mkdir()
    place, victim = folder / "out" / ".caption.jsonl", folder / "victim"
    if kind == "link":
        victim.write_text("mine\n")
        place.symlink_to(victim)
    elif kind == "dangling":
        place.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    assert main(["clips/a.mp4", "-o", "out"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: cannot write 'out/.caption.jsonl': ")
    assert error.count("\n") == 1
    assert model.loads == []
    assert victim.read_text() == "mine\n" if kind == "link" else not victim.exists()


def test_an_emptied_file_is_not_done(folder: Path, model: FakeModel) -> None:
    assert main(["clips", "-o", "out", "-f", "txt,html"]) == 0
    (folder / "out" / "a.txt").write_text("")
    assert main(["clips", "-o", "out", "-f", "txt,html"]) == 0
    assert (folder / "out" / "a.txt").read_text() == "Brightness 50.\n"
    assert len(model.calls) == 3  # its captions were known
    (folder / "out" / "a.html").write_text("")
    assert main(["clips", "-o", "out", "-f", "txt,html"]) == 0
    assert (folder / "out" / "a.html").stat().st_size > 1000
    assert model.calls[3:] == ["clips/a.mp4"]


def test_standard_input_is_never_done_before(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.mp4", "b.mkv"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((folder / "clips" / name).read_bytes())))
        assert main(["-", "-o", "out", "-q"]) == 0
    assert capsys.readouterr().out == "Brightness 50.\nBrightness 100.\n"
    assert (folder / "out" / "stdin.txt").read_text() == "Brightness 100.\n"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to name open files")
def test_outputs_are_on_the_disk_before_the_journal_says_so(
    folder: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)

    monkeypatch.setattr(os, "fsync", fsync)
    assert main(["clips/a.mp4", "-o", "out", "-f", "txt,json"]) == 0
    assert [name.split("-")[0] if name.startswith(".a") else name for name in synced] == [
        ".a", "out", ".a", "out", journal.JOURNAL,
    ]  # fmt: skip
