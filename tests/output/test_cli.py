"""The `caption` command with a fake model that reads real (synthetic) videos."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import captioner
from captioner.cli import main
from captioner.errors import CheckpointError
from captioner.output.arguments import expand
from captioner.output.progress import progress
from tests.output.fakes import FakeModel

ROOT = Path(__file__).parents[2]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_help_is_fast_and_imports_nothing_heavy() -> None:
    code = "import sys; from captioner.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print({'torch', 'av', 'numpy', 'transformers', 'tokenizers', 'tqdm'} & set(sys.modules))"
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 0.3
    assert done.stdout.endswith("set()\n")
    assert done.stdout.count("\n  caption ") + done.stdout.count("| caption -") == 7
    assert sum(line.lstrip().startswith("-") for line in done.stdout.splitlines()) <= 28


def test_one_video_one_line_and_nothing_written(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(folder)
    asked = ["-m", "tiny", "-d", "cpu", "--offline", "--beams", "3", "--max-words", "9", "--style", "faces"]
    assert main(["clips/a.mp4", *asked, "--faces", "builtin", "--batch", "2"]) == 0
    out = capsys.readouterr()
    assert out.out == "Brightness 50.\n"
    assert out.err == "device: cpu\n"
    assert files(folder) == before
    assert model.loads == [("tiny", "cpu", True, "builtin")]
    wish = {"beams": 3, "max_words": 9, "style": "faces", "neutral": False, "people": 0, "batch": 2, "evidence": False}
    wish |= {"habits": "none"}
    assert (model.calls, model.wishes) == (["clips/a.mp4"], [wish])


def test_windows_and_people_say_when_and_who(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clips/a.mp4", "--window", "5", "-q"]) == 0
    assert capsys.readouterr().out == "0:00.0-0:00.1 Brightness 50.\n0:00.1-0:00.1 Brightness 50.\n"
    assert model.wishes[-1]["seconds"] == 5.0
    assert main(["clips/a.mp4", "clips/b.mkv", "--people", "2", "-q"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "clips/a.mp4\tperson 1: Brightness 50.",
        "clips/a.mp4\tperson 2: Brightness 50.",
        "clips/b.mkv\tperson 1: Brightness 100.",
        "clips/b.mkv\tperson 2: Brightness 100.",
    ]


def test_bad_files_are_named_and_the_others_kept(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "clips" / "bad.mp4").write_text("I am not a video")
    assert main(["clips", "gone.mp4", "-q"]) == 1
    out = capsys.readouterr()
    assert out.out.splitlines() == [
        "clips/a.mp4\tBrightness 50.",
        "clips/b.mkv\tBrightness 100.",
        "clips/deep/c.mp4\tBrightness 150.",
    ]
    assert out.err.splitlines() == [
        "error: 'clips/bad.mp4' holds text, not a video",
        "error: no such file: 'gone.mp4'",
        "2 of 5 failed: 'clips/bad.mp4', 'gone.mp4'",
    ]


def test_a_fault_of_the_program_costs_one_file_and_its_trace_needs_verbose(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(source: str) -> None:
        if source.endswith("a.mp4"):
            raise RuntimeError("shapes differ\nat great length")

    model.hook = fail
    assert main(["clips/a.mp4", "clips/b.mkv"]) == 1
    out = capsys.readouterr()
    assert out.out == "clips/b.mkv\tBrightness 100.\n"
    assert "error: 'clips/a.mp4': RuntimeError: shapes differ\n" in out.err
    assert "Traceback" not in out.err
    assert main(["clips/a.mp4", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_no_model_is_loaded_for_a_missing_file(model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gone.mp4"]) == 1
    assert capsys.readouterr().err == "error: no such file: 'gone.mp4'\n"
    assert model.loads == []


def test_standard_input_equals_the_file(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("clips/a.mp4").read_bytes())))
    assert main(["-", "-o", "out"]) == 0
    assert capsys.readouterr().out == "Brightness 50.\n"
    assert files(folder / "out") == [".caption.jsonl", "stdin.txt"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert main(["-"]) == 1
    assert "error: 'standard input' is empty (0 bytes)" in capsys.readouterr().err


def test_files_are_written_and_a_second_run_does_no_work(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["clips", "-o", "out", "-f", "txt,json"]
    assert main(command) == 0
    written = [f"{name}.{f}" for name in ("a", "b", "deep/c") for f in ("json", "txt")]
    assert files(folder / "out") == [".caption.jsonl", *written]
    assert (folder / "out" / "deep" / "c.txt").read_text() == "Brightness 150.\n"
    assert json.loads((folder / "out" / "b.json").read_text())["file"] == "clips/b.mkv"
    assert len(model.loads) == 1
    capsys.readouterr()
    assert main(command) == 0
    out = capsys.readouterr()
    assert (out.out, out.err) == ("", "3 skipped: done before (--overwrite captions them again)\n")
    assert len(model.loads) == 1
    assert main([*command, "--overwrite"]) == 0
    assert len(model.calls) == 3 + 3


def test_what_is_known_is_written_again_without_captioning(folder: Path, model: FakeModel) -> None:
    assert main(["clips", "-o", "out", "-f", "txt"]) == 0
    (folder / "out" / "a.txt").unlink()
    assert main(["clips", "-o", "out", "-f", "txt,json,srt,csv"]) == 0
    assert (folder / "out" / "a.txt").read_text() == "Brightness 50.\n"
    assert len((folder / "out" / "captions.csv").read_text().splitlines()) == 4
    assert len(model.calls) == 3


@pytest.mark.parametrize(
    "change", ["--beams 2", "-m other", "--window 5", "--people 1", "--neutral", "--habits mafw"]
)
def test_other_settings_are_captioned_again(folder: Path, model: FakeModel, change: str) -> None:
    assert main(["clips/a.mp4", "-o", "out"]) == 0
    assert main(["clips/a.mp4", "-o", "out", *change.split()]) == 0
    assert len(model.loads) == 2


def test_a_changed_file_is_captioned_again(folder: Path, model: FakeModel) -> None:
    assert main(["clips", "-o", "out"]) == 0
    (folder / "clips" / "a.mp4").write_bytes((folder / "clips" / "b.mkv").read_bytes())
    assert main(["clips", "-o", "out"]) == 0
    assert len(model.calls) == 4
    assert (folder / "out" / "a.txt").read_text() == "Brightness 100.\n"


def test_a_journal_cut_off_by_a_crash_costs_one_clip(folder: Path, model: FakeModel) -> None:
    assert main(["clips", "-o", "out"]) == 0
    journal = folder / "out" / ".caption.jsonl"
    journal.write_bytes(b"\xff{]\n" + journal.read_bytes()[:-40])
    assert main(["clips", "-o", "out"]) == 0
    assert model.calls[3:] == ["clips/deep/c.mp4"]
    assert main(["clips", "-o", "out"]) == 0
    assert len(model.calls) == 4


def test_an_interrupted_run_leaves_whole_files_and_resumes(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(source: str) -> None:
        if source.endswith("b.mkv"):
            raise KeyboardInterrupt

    model.hook = interrupt
    assert main(["clips", "-o", "out", "-f", "txt,csv"]) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")
    assert files(folder / "out") == [".caption.jsonl", "a.txt", "captions.csv"]
    model.hook = lambda _: None
    assert main(["clips", "-o", "out", "-f", "txt,csv"]) == 0
    assert files(folder / "out") == [".caption.jsonl", "a.txt", "b.txt", "captions.csv", "deep/c.txt"]
    assert len((folder / "out" / "captions.csv").read_text().splitlines()) == 4


def test_names_that_clash_are_kept_apart_or_refused(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "clips" / "a.avi").write_bytes((folder / "clips" / "a.mp4").read_bytes())
    assert main(["clips", "-o", "out"]) == 0
    assert files(folder / "out") == [".caption.jsonl", "a.avi.txt", "a.mp4.txt", "b.txt", "deep/c.txt"]
    (folder / "b.mkv").write_bytes((folder / "clips" / "b.mkv").read_bytes())
    assert main(["b.mkv", "clips/b.mkv", "-o", "out"]) == 2
    assert "'b.mkv' and 'clips/b.mkv' would both be written to 'out/b.mkv'.*" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["with space.mp4", "é漢.mp4", "<b>&'.mp4", "50%d [x] ü?.mp4"])
def test_odd_names(folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (folder / "clips" / "a.mp4").rename(folder / name)
    assert main([name, "-o", "out", "-f", "json"]) == 0
    assert json.loads((folder / "out" / name).with_suffix(".json").read_text())["file"] == name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: no input: give a video, a folder or - (see caption --help)"),
        ([""], "error: an input is empty: give a video, a folder or - (see caption --help)"),
        (["clips", ""], "error: an input is empty: give a video, a folder or - (see caption --help)"),
        (["clips", "-o", ""], "error: argument -o/--output: the name of a folder is needed, not an empty one"),
        (["clips", "-o", "x", "-f", ""], "error: unknown format ''; allowed: txt, json"),
        (["clips", "-o", "x", "-f", ","], "error: unknown format ','; allowed: txt, json"),
        (["clips/*.webm"], "error: nothing matched 'clips/*.webm'"),
        (["@gone.txt"], "error: no such file: 'gone.txt'"),
        (["@empty.txt"], "error: list 'empty.txt' names no video; write one input a line"),
        (["empty"], "error: no video in folder 'empty'; known suffixes: .3gp "),
        (["clips", "-f", "json"], "error: -f/--format needs -o DIR"),
        (["clips", "--overwrite"], "error: --overwrite needs -o DIR"),
        (["clips", "-o", "empty.txt"], "error: -o 'empty.txt' is a file; give a folder"),
        (
            ["clips", "-o", "x", "-f", "jsn"],
            "error: unknown format 'jsn' (did you mean 'json'?); allowed: txt, json",
        ),
        (
            ["clips", "--beams", "0"],
            "error: argument --beams: a whole number of at least 1 is needed, not '0'",
        ),
        (["clips", "--save-json"], "error: unrecognized arguments: --save-json (see caption --help)"),
        (["clips", "--over"], "error: unrecognized arguments: --over"),
        (["clips", "--\x1b[31mred"], "error: unrecognized arguments: --\\x1b[31mred (see caption --help)"),
    ],
)
def test_bad_usage_is_two_with_one_line(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (folder / "empty").mkdir()
    (folder / "empty.txt").write_text("# nothing\n")
    try:
        code = main(arguments)
    except SystemExit as exit_:  # argparse leaves by itself
        code = int(exit_.code or 0)
    out = capsys.readouterr()
    assert code == 2
    assert out.err.startswith(message)
    assert out.err.count("\n") == 1
    assert out.out == ""
    assert model.loads == []


def test_a_model_that_cannot_be_loaded_is_bad_usage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise CheckpointError("unknown model 'larg'")

    monkeypatch.setattr(captioner, "load", fail)
    assert main(["clips", "-m", "larg"]) == 2
    assert capsys.readouterr().err == "error: unknown model 'larg'\n"


def test_version_and_models(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"caption {captioner.__version__}\n"
    monkeypatch.setattr(captioner, "list_models", lambda: ["base", "tiny"])
    assert main(["--list-models"]) == 0
    assert capsys.readouterr().out.startswith("captioners, for --model:\n  base\n  tiny\nrecognisers of emotion")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_for_terminals(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["clips"]) == 0
    assert "clip/s" not in capsys.readouterr().err
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(["clips"]) == 0
    assert "3/3" in sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert len(capsys.readouterr().out.splitlines()) == 3
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(["clips/a.mp4", "--window", "5"]) == 0
    assert "0s [" in sys.stderr.getvalue()  # type: ignore[attr-defined]  # a tenth of a second
    bar = progress(1, True, quiet=False)
    bar.reach(30.0, 60.0)
    bar.close()
    assert "30/60" in sys.stderr.getvalue()  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(["clips", "-q"]) == 0
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_a_reader_that_leaves_is_no_traceback(folder: Path) -> None:
    code = (
        "import captioner, sys, time\n"
        "from captioner.inference.results import Caption\n"
        "class M:\n"
        "    device, checkpoint, options = 'cpu', None, lambda self, **_: None\n"
        "    def each(self, sources, **_):\n"
        "        for source in sources:\n"
        "            time.sleep(0.1)\n"
        "            yield [Caption('x' * 100, 1.0, [], {}, [], 0, 0.0, 1.0)]\n"
        "captioner.load = lambda *_, **__: M()\n"
        "from captioner.cli import main\n"
        f"sys.exit(main([{str(folder / 'clips')!r}, '-q']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=20) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


def test_inputs_expand_in_order_and_once(folder: Path) -> None:
    def sources(*arguments: str) -> list[str]:
        return [each.source for each in expand(arguments)]

    everything = ["clips/a.mp4", "clips/b.mkv", "clips/deep/c.mp4"]
    assert sources("clips") == everything
    assert sources("clips/b.mkv", "clips", str(folder / "clips")) == [
        "clips/b.mkv",
        "clips/a.mp4",
        "clips/deep/c.mp4",
    ]
    assert sources("clips/*") == everything[:2]
    assert sources("clips/**/*.mp4") == ["clips/a.mp4", "clips/deep/c.mp4"]
    assert sources("clips/*.txt") == ["clips/notes.txt"]
    assert sources("-", "http://host/v.mp4?x=1", "gone.mp4") == ["-", "http://host/v.mp4?~93e79167", "gone.mp4"]
    (folder / "list.txt").write_text("# mine\n\nclips/deep\n clips/a.mp4 \n@list.txt\n")
    assert sources("@list.txt") == ["clips/deep/c.mp4", "clips/a.mp4", "./@list.txt"]
    (folder / "clip[1].mp4").write_bytes(b"")
    assert sources("clip[1].mp4") == ["clip[1].mp4"]


def test_outputs_are_named_after_what_an_argument_leaves_open(folder: Path) -> None:
    def targets(*arguments: str) -> list[str]:
        return [each.target.as_posix() for each in expand(arguments)]

    assert targets("clips") == ["a", "b", "deep/c"]
    assert targets("clips/**/c.mp4") == ["deep/c"]
    assert targets("*/b.mkv") == ["clips/b"]
    assert targets("clips/deep/c.mp4", "-", "https://host/some.film.mp4?x=/y.z") == [
        "c",
        "stdin",
        "some.film",
    ]
    odd = ["https://host/", "http://host/..%2f..%2fetc.mp4", "http://host/a%20b%3Ac.mp4", "http://host/%2e%2e"]
    assert targets(*odd) == ["video", "etc", "a bc", "video"]
