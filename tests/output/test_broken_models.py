"""Checkpoints that do not fit are refused in one line; no video is blamed for a model's fault."""

import dataclasses
from pathlib import Path

import pytest

from captioner.cli import main
from eval.proofs.broken_models import broken_models
from eval.proofs.cases import Case
from tests.helpers import noise_video
from tests.output.fakes import FakeModel


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder = tmp_path_factory.mktemp("models")
    return list(broken_models(folder, noise_video(folder / "clip.mp4", 0), 3, 41))


@pytest.mark.slow
def test_every_kind_of_fault_is_one_line(cases: list[Case], capfd: pytest.CaptureFixture[str]) -> None:
    for case in cases:
        code = main(case.command[1:])
        out, err = capfd.readouterr()
        err = "".join(line for line in err.splitlines(True) if not line.startswith("[transformers]"))
        assert code in case.codes, (case.name, err)
        assert err.count("\n") == (1 if code else 0), (case.name, err)
        assert "Error: " not in err and "fault of this program" not in err, (case.name, err)
        assert not out or code == 0


def test_a_fault_of_the_model_is_no_fault_of_a_video(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def hook(name: str) -> None:
        raise RuntimeError("size mismatch")

    model.hook, model.broken = hook, True
    assert main(["clips", "-q"]) == 2
    assert capsys.readouterr().err == (
        "error: model 'fake' cannot caption any video (size mismatch); "
        "check its config.json, or give another with --model\n"
    )


def test_a_fault_at_one_video_is_its_own(folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    def hook(name: str) -> None:
        if name.endswith("a.mp4"):
            raise RuntimeError("size mismatch")

    model.hook = hook
    assert main(["clips", "-q"]) == 1
    assert capsys.readouterr().err.startswith("error: 'clips/a.mp4': RuntimeError: size mismatch\n")


def test_numbers_that_are_not_finite_are_no_caption(
    folder: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = model.one
    model.one = lambda *args, **kw: dataclasses.replace(sound(*args, **kw), score=float("nan"))  # type: ignore[method-assign]
    assert main(["clips/a.mp4", "-q"]) == 2
    assert "its weights are spoilt" in capsys.readouterr().err
