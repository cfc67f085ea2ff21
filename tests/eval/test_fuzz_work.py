"""Fuzzing, with a worker that answers at once: what is kept, what is told, and a worker that dies is replaced."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import captioner
import captioner.cli
from captioner.video.reading import probe
from eval.proofs import fuzz
from eval.proofs.cases import Case
from eval.proofs.fuzz import KINDS, FuzzOutcome, fuzz_corpus, make_sound_video, run_commands


def test_sound_videos_are_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    assert make_sound_video(path, *KINDS["a.mp4"])
    assert (probe(path).width, probe(path).height) == (64, 48)
    assert not make_sound_video(tmp_path / "b.mp4", "mp4", "no-such-codec", "yuv420p")


class Worker:
    """Finds a fault in every third file, and dies of every fourth."""

    begun = 0

    def __init__(self, model: str | None) -> None:
        Worker.begun += 1
        self.process = SimpleNamespace(returncode=None)

    def run(self, case: Case) -> FuzzOutcome:
        number = int(case.name[:4])
        assert case.made is not None and case.made.read_bytes()
        if number % 4 == 3:
            self.process.returncode = -11
            return FuzzOutcome(case.name, "ends the program (-11)", None, 0.1, 0)
        return FuzzOutcome(case.name, "a traceback" if number % 3 == 2 else "", 0, 0.1, 9)

    def stop(self) -> None: ...


def test_what_broke_a_promise_is_kept_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz, "FuzzWorker", Worker)
    monkeypatch.setattr(fuzz, "KINDS", {name: KINDS[name] for name in ("a.mp4", "d.gif")})
    Worker.begun = 0
    outcomes = fuzz_corpus("clips", tmp_path, 8, 1, None)
    faulty = [each.name for each in outcomes if each.fault]
    assert [name[:4] for name in faulty] == ["0002", "0003", "0005", "0007"]
    kept = {path.name for path in (tmp_path / "clips").iterdir() if not path.name.startswith("sound-")}
    assert kept == set(faulty)  # the sound ones are gone
    assert Worker.begun == 3
    assert capsys.readouterr().err.splitlines()[0].startswith(f"clips {faulty[0]}: a traceback (caption ")


def test_a_worker_answers_a_line_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def caption(words: list[str]) -> int:
        if words[0] == "bad.mp4":
            raise RuntimeError("oh")
        print(captioner.load(), words[1])
        return 0

    monkeypatch.setattr(captioner, "load", lambda model, device: f"model {model} on {device}")
    monkeypatch.setattr(captioner.cli, "main", caption)
    asked = [json.dumps({"command": ["caption", name, "-q"], "stdin": None}) for name in ("good.mp4", "bad.mp4")]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(asked) + "\n"))
    told = io.StringIO()
    monkeypatch.setattr("sys.__stdout__", told)
    assert run_commands("tiny") == 0
    good, bad = map(json.loads, told.getvalue().splitlines())
    assert (good["code"], good["out"], good["err"]) == (0, "model tiny on cpu -q\n", "")
    assert (bad["code"], bad["err"]) == (None, "Traceback: RuntimeError('oh')")
    assert good["memory"] > 1000 and bad["seconds"] >= 0
