"""What the README promises: its commands name real files, its Python runs, its example says what it prints."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from captioner.cli import main
from captioner.data.manifest import read_manifest
from eval.__main__ import main as evaluation
from tests.helpers import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.strip()
]


def test_it_opens_with_the_two_commands() -> None:
    assert COMMANDS[:2] == ["pip install . && caption examples/smile.mp4", 'pip install -e ".[dev,train,eval]" && pytest']  # noqa: E501


def test_ci_runs_the_test_command() -> None:
    words = (ROOT / ".ci" / "run").read_text().replace("install -q", "install")
    assert COMMANDS[1].split(" && ")[0] in words


def test_commands_name_real_files() -> None:
    for command in COMMANDS:
        for word in shlex.split(command):
            if word.startswith(("scripts/", "configs/", "examples/")):
                assert (ROOT / word).exists(), command


@pytest.mark.parametrize("path", ["eval/README.md", "configs/README.md", "configs/LOG.md"])
def test_other_pages_name_real_files_and_commands(path: str) -> None:
    text = (ROOT / path).read_text()
    commands = re.findall(r"python (?:-m eval \w|scripts)[^`\n|]*", text)
    assert len(commands) > 5
    for command in commands:
        words = shlex.split(command.split("#")[0])
        for word in words:
            if word.startswith(("scripts/", "configs/", "examples/")):
                assert (ROOT / word).exists() or "ablate.py" in word, command
        if words[1:3] == ["-m", "eval"]:
            with pytest.raises(SystemExit, match="0"):
                evaluation([words[3], "--help"])


def test_every_configuration_has_a_row() -> None:
    text = (ROOT / "configs" / "README.md").read_text()
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert f"`{path.relative_to(ROOT / 'configs')}`" in text


@pytest.mark.slow
def test_the_example_prints_what_the_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.search(r"\$ caption examples/smile\.mp4\n(.*)\n", README)
    assert shown
    assert main([str(ROOT / "examples" / "smile.mp4"), "-q", "-d", "cpu"]) == 0
    assert capsys.readouterr().out.strip() == shown[1]


@pytest.mark.parametrize("page", ["README.md", "configs/README.md"])
@pytest.mark.slow
def test_python_block_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block = re.search(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert block
    (tmp_path / "video.mp4").write_bytes((ROOT / "examples" / "smile.mp4").read_bytes())
    (tmp_path / "code.py").write_text(block[1])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(tmp_path / "code.py"))
    assert "action_units" not in capsys.readouterr().err


def test_manifest_line_is_valid(tmp_path: Path) -> None:
    line = re.search(r"```json\n(.*?)```", (ROOT / "configs" / "README.md").read_text(), re.S)
    assert line
    record = json.loads(line[1])
    (tmp_path / record["video"]).parent.mkdir()
    (tmp_path / record["video"]).write_bytes(b"")
    (tmp_path / "manifest.jsonl").write_text(line[1])
    assert read_manifest(tmp_path / "manifest.jsonl", split="train")[0].id == "clip1"
