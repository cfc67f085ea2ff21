"""scripts/_command.py: every end of a script has its exit code and at most one line."""

import subprocess
from argparse import ArgumentParser
from collections.abc import Callable

import pytest
from _command import config_arguments, guarded, run_subcommand, script_parser

from captioner.errors import CaptionerError, SilentError, Terminated


def raising(error: BaseException) -> Callable[[], int | None]:
    """A script's work that ends with that error."""

    def work() -> int | None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CaptionerError("a file named\n'a'"), 2, "error: a file named 'a'\n"),
        (SilentError("told by another"), 2, ""),
        (Terminated("stopped after step 3"), 143, "stopped after step 3\n"),
        (KeyboardInterrupt(), 130, "interrupted: start again\n"),
        (PermissionError(13, "Permission denied", "out/a"), 2, "error: out/a: Permission denied\n"),
        (
            subprocess.CalledProcessError(7, ["train"]),
            2,
            "error: a command failed with exit code 7 (see above); the same command goes on from there\n",
        ),
    ],
)
def test_ends(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(error), "start again") == code
    assert capsys.readouterr().err == line


def test_a_bug_is_no_fault_of_the_user() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded(raising(ZeroDivisionError()))


def test_own_code_and_good_end() -> None:
    assert guarded(lambda: None) == 0
    assert guarded(lambda: 1) == 1


def test_overrides_keep_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    parser = script_parser("What it does.")
    parser.add_argument("--plan", action="store_true")
    options, path, words = config_arguments(parser, ["a.yaml", "--data.root", "films", "--plan", "train.lr=1"])
    assert (options.plan, path, words) == (True, "a.yaml", ["--data.root", "films", "train.lr=1"])
    with pytest.raises(SystemExit) as ended:
        config_arguments(parser, ["--plan"])
    assert ended.value.code == 2
    assert "give a YAML config first" in capsys.readouterr().err


def test_the_first_word_names_a_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    def counts(parser: ArgumentParser, arguments: list[str]) -> int:
        """What it does."""
        parser.add_argument("number", type=int)
        return int(parser.parse_args(arguments).number)

    assert run_subcommand("All.", {"counts": counts}, ["counts", "3"]) == 3
    for words, code, line in (
        (["counts", "--help"], 0, "What it does."),
        (["cuonts"], 2, "choose from"),
        ([], 0, "All."),
    ):
        with pytest.raises(SystemExit) as end:
            run_subcommand("All.", {"counts": counts}, words)
        assert end.value.code == code
        shown = capsys.readouterr()
        assert line in shown.out + shown.err
