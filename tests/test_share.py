"""The manual page and the completions know every flag; the documentation builds; the notebook runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from captioner.cli import caption_parser
from captioner.share import __main__ as share
from tests.helpers import ROOT

FLAGS = [name for action in caption_parser()._actions for name in action.option_strings]


@pytest.mark.parametrize("name", ["caption.1", "caption.bash", "_caption"])
def test_every_flag_is_there(name: str) -> None:
    text = (share.FOLDER / name).read_text().replace("\\-", "-")
    assert [flag for flag in FLAGS if flag not in text] == [], "run python -m captioner.share"


def test_the_manual_page_is_troff(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = share.manual_page(caption_parser())
    assert page.startswith(".TH CAPTION 1")
    marks = {line[:3].strip() for line in page.splitlines() if line.startswith(".")}
    assert marks <= {".TH", ".SH", ".TP", ".B", ".nf", ".fi"}
    pytest.importorskip("shtab", reason="shtab is not installed")
    monkeypatch.setattr(share, "FOLDER", tmp_path)
    share.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_caption", "caption.1", "caption.bash"]


@pytest.mark.slow
def test_the_documentation_builds(tmp_path: Path) -> None:
    pytest.importorskip("pdoc", reason="pdoc is not installed")
    command = [sys.executable, "-m", "captioner.share", "docs", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    text = (tmp_path / "captioner.html").read_text()
    for name in ("load", "list_models", "to_pandas", "Failed", "Captioner"):
        assert f'id="{name}"' in text
    assert "counts as false and has a <code>reason</code>" in text  # of Captioner.caption, not a bare name


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kernel: Any = pytest.importorskip("IPython.core.interactiveshell", reason="IPython is not installed")
    monkeypatch.chdir(ROOT / "examples")
    shell, shown = kernel.InteractiveShell(), list[dict[str, Any]]()
    for cell in json.loads((ROOT / "examples" / "captioner.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            done = shell.run_cell("".join(cell["source"]))
            assert done.success, done.error_in_exec
            shown.append(shell.display_formatter.format(done.result)[0])
    assert "border-bottom:2px" in shown[1]["text/html"]
    assert "no such file: 'gone.mp4'" in capsys.readouterr().out


def test_the_notebook_is_committed_without_outputs() -> None:
    cells = json.loads((ROOT / "examples" / "captioner.ipynb").read_text())["cells"]
    assert not [cell for cell in cells if cell.get("outputs")]
