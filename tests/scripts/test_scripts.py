"""Every script says how it is called, and refuses what it does not know."""

import importlib
from collections.abc import Callable

import pytest

from tests.helpers import ROOT

SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("[a-z]*.py"))


def ended(main: Callable[[list[str]], int], words: list[str]) -> int | str | None:
    """The exit code of a script, however it ends."""
    try:
        return main(words)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module(name).main
    assert ended(main, ["--help"]) == 0
    assert f"python scripts/{name}.py" in capsys.readouterr().out
    assert ended(main, ["--what-is-this"]) == 2
    assert "error: " in capsys.readouterr().err
