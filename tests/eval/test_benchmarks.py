"""`python -m eval bench`: the same scores from one process, from two, and after a kill; nothing lost in silence."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from captioner.config_io import load_config
from captioner.data.manifest import Record, write_manifest
from captioner.errors import CaptionerError
from captioner.model import checkpoint
from captioner.model.captioner import EmotionCaptioner
from captioner.model.tokenizer import Tokenizer
from captioner.video.reading import write_video
from eval import benchmarks, shards
from eval.__main__ import main
from eval.benchmarks import Benchmark, run_benchmark
from tests.helpers import CAPTIONS, ROOT, tiny_config, with_vocabulary

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None, reason="pycocoevalcap is not installed"
)
CLIPS = 6
TEXT = """\
name: Drawn
manifest: MANIFEST
prepare: python scripts/make_clips.py --out data
device: cpu
metrics: [bleu, rouge, cider, phrases, words, classes]
intervals: 20
published:
  - {system: Somebody, source: Table 0, bleu4: 1, meteor: 2.5, rouge: 3, cider: 4}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of noise clips, a random checkpoint and a config."""
    folder = tmp_path_factory.mktemp("bench")
    records = []
    for n in range(CLIPS + 2):
        frames = np.random.default_rng(n).integers(0, 256, (5, 72, 72, 3), dtype=np.uint8)
        write_video(folder / f"{n}.mp4", frames, 5)
        split = "test" if n < CLIPS else "train"
        record = Record(f"clip{n}", folder / f"{n}.mp4", split, (CAPTIONS[n % 3],), emotion="anger")
        records.append(record)
    silent = Record("quiet", folder / "none.mp4", "test", emotion="neutral")  # no caption: never looked at
    write_manifest(folder / "manifest.jsonl", [*records, silent])
    (folder / "bench.yaml").write_text(TEXT.replace("MANIFEST", str(folder / "manifest.jsonl")))
    save(folder / "tiny", seed=0)
    return folder


def save(folder: Path, seed: int) -> None:
    tokenizer = Tokenizer.build(CAPTIONS)
    torch.manual_seed(seed)
    model = EmotionCaptioner(with_vocabulary(tiny_config(), tokenizer))
    with torch.no_grad():  # or a random net tells all clips apart by nothing
        for value in model.parameters():
            value.mul_(3.0 if value.ndim > 1 else 1.0)
    checkpoint.save_checkpoint(folder, model, tokenizer)


@pytest.fixture(scope="module")
def whole(world: Path) -> dict[str, Any]:
    """The undisturbed run of one process."""
    return run_benchmark(world / "bench.yaml", str(world / "tiny"), world / "whole")


def same(report: dict[str, Any], other: dict[str, Any]) -> None:
    for key in ("metrics", "intervals", "per_video", "videos", "details"):
        assert report[key] == other[key], key


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_run_leaves_predictions_scores_and_table(world: Path, whole: dict[str, Any]) -> None:
    out = world / "whole"
    rows = lines(out / "predictions.jsonl")
    assert [row["id"] for row in rows] == [f"clip{n}" for n in range(CLIPS)]
    assert len({row["caption"] for row in rows}) > 1  # or equal scores would prove nothing
    assert json.loads((out / "scores.json").read_text())["metrics"] == whole["metrics"]
    assert whole["videos"] == CLIPS and whole["unreadable"] == {}
    assert {"BLEU-4", "ROUGE-L", "CIDEr", "Phrase F1", "Acc_sw strict", "BFS compat", "Emotion accuracy"} <= set(
        whole["metrics"]
    )
    table = (out / "table.md").read_text()
    assert "| Somebody (published, Table 0) | 1 | 2.5 | 3 | 4 | |" in table
    assert re.search(r"\| \*\*tiny\*\* \(measured\) \| \d+\.\d\d \[", table)
    assert table.count("blind to the video") == 2
    assert "No comparison" not in table
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_scores_are_those_of_the_score_command(world: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    files = ["--refs", str(world / "manifest.jsonl"), "--hyps", str(world / "whole" / "predictions.jsonl")]
    options = ["--split", "test", "--metrics", "bleu,rouge,cider,phrases", "--output", str(tmp_path / "s.json")]
    assert main(["score", *files, *options]) == 0
    for name, value in json.loads((tmp_path / "s.json").read_text())["metrics"].items():
        assert whole["metrics"][name] == value


@pytest.mark.slow
def test_two_processes_give_the_same_scores(world: Path, whole: dict[str, Any]) -> None:
    same(run_benchmark(world / "bench.yaml", str(world / "tiny"), world / "two", shards=2), whole)
    assert len(list((world / "two" / "parts").iterdir())) == 2
    assert (world / "two" / "predictions.jsonl").read_bytes() == (world / "whole" / "predictions.jsonl").read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on(world: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    out = world / "killed"
    command = [sys.executable, "-m", "eval", "bench", str(world / "bench.yaml"), "--checkpoint", str(world / "tiny")]
    process = subprocess.Popen([*command, "--out", str(out)], cwd=ROOT, stderr=subprocess.DEVNULL)
    part = out / "parts" / "0.jsonl"
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None, "it ended before it captioned anything"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "scores.json").exists()
    text = part.read_bytes()
    assert 0 < text.count(b"\n") < CLIPS
    first = text[: text.index(b"\n") + 1]
    part.write_bytes(first + first[:25])  # a kill in the midst of a write
    captioned = spied(monkeypatch)
    same(run_benchmark(world / "bench.yaml", str(world / "tiny"), out), whole)
    assert captioned == [f"{n}.mp4" for n in range(1, CLIPS)]
    captioned.clear()
    same(run_benchmark(world / "bench.yaml", str(world / "tiny"), out), whole)  # all done: scored again only
    assert captioned == []


@pytest.mark.slow
def test_a_cut_at_any_byte_loses_the_last_line_only(world: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    text = (world / "whole" / "parts" / "0.jsonl").read_bytes()
    part = tmp_path / "parts" / "0.jsonl"
    part.parent.mkdir()
    for cut in range(0, len(text), 7):
        part.write_bytes(text[:cut])
        found = shards.recover_predictions(part.parent)
        complete = text[:cut].count(b"\n") + (text[cut : cut + 1] == b"\n")
        assert list(found) == [f"clip{n}" for n in range(complete)]
        assert part.read_bytes() in (b"", b"".join(text.splitlines(keepends=True)[:complete]))


def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the videos that are looked at from now on."""
    from captioner.data import inputs

    seen: list[str] = []
    read: Callable[..., Any] = inputs.read_inputs

    def noted(path: Path, config: Any) -> Any:
        seen.append(path.name)
        return read(path, config)

    monkeypatch.setattr(inputs, "read_inputs", noted)
    return seen


def test_batches_stay_whole_over_a_restart(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_benchmark(world / "bench.yaml", str(world / "tiny"), tmp_path / "a", overrides=["batch=4"])
    part = tmp_path / "a" / "parts" / "0.jsonl"
    part.write_bytes(b"".join(part.read_bytes().splitlines(keepends=True)[:2]))
    captioned = spied(monkeypatch)
    same(run_benchmark(world / "bench.yaml", str(world / "tiny"), tmp_path / "a", overrides=["batch=4"]), whole)
    assert captioned == [f"{n}.mp4" for n in range(CLIPS)]
    assert len(lines(tmp_path / "a" / "predictions.jsonl")) == CLIPS


def test_unreadable_videos_are_named(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    rows = lines(world / "manifest.jsonl")
    for row in rows:
        row["video"] = str(world / row["video"])
    rows[1]["video"], rows[2]["video"] = str(tmp_path / "bad.mp4"), str(tmp_path / "gone.mp4")
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["bench", str(world / "bench.yaml"), "--checkpoint", str(world / "tiny"), "--out", str(tmp_path / "o")]
    arguments.append(f"manifest={tmp_path / 'm.jsonl'}")
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: 2 of 6 videos could not be read")
    assert "bad.mp4" in error and "gone.mp4" in error and "skip_unreadable=true" in error
    assert main([*arguments, "skip_unreadable=true"]) == 0
    table = capsys.readouterr().out
    assert "Not scored: 2 videos that could not be read** (clip1, clip2)" in table
    assert f"**No comparison with the published rows**: manifest={tmp_path / 'm.jsonl'}." in table
    report = json.loads((tmp_path / "o" / "scores.json").read_text())
    assert report["videos"] == 4 and set(report["unreadable"]) == {"clip1", "clip2"}
    # once repaired, they are captioned and all is scored
    (tmp_path / "bad.mp4").write_bytes((world / "1.mp4").read_bytes())
    (tmp_path / "gone.mp4").write_bytes((world / "2.mp4").read_bytes())
    assert main(arguments) == 0
    assert json.loads((tmp_path / "o" / "scores.json").read_text())["videos"] == CLIPS


def test_references_without_phrases_are_told_but_no_fault(
    world: Path, whole: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"video": str(world / row["video"])} for row in lines(world / "manifest.jsonl")]
    told = [row | {"captions": ["A man nods."]} if row["captions"] else row for row in rows]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    given = ["bench", str(world / "bench.yaml"), "--checkpoint", str(world / "tiny"), "--out", str(tmp_path / "o")]
    assert main([*given, f"manifest={tmp_path / 'm.jsonl'}", "metrics=[bleu,phrases]", "clips=2"]) == 0
    assert "Skipped Phrases: no reference names a facial phrase." in capsys.readouterr().out


def test_captions_of_another_run_are_not_mixed_in(world: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    save(tmp_path / "other", seed=1)
    with pytest.raises(CaptionerError, match="holds captions of a run with other checkpoint: choose another --out"):
        run_benchmark(world / "bench.yaml", str(tmp_path / "other"), world / "whole")
    with pytest.raises(CaptionerError, match="other beams"):
        run_benchmark(world / "bench.yaml", str(world / "tiny"), world / "whole", overrides=["beams=2"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["manifest=none.jsonl"], "no such file: 'none.jsonl'; make it: python scripts/make_clips.py --out data"),
        (["metrics=[blue]"], "unknown metric 'blue' (did you mean 'bleu'?)"),
        (["metrics=[words]"], "at least one of bleu, meteor, rouge, cider"),
        (["split=tests"], "unknown split 'tests' (did you mean 'test'?)"),
        (["batch=0"], "batch is 0: 1 or more is needed"),
        (["bems=2"], "unknown key 'bems' (did you mean 'beams'?)"),
        (["device=cuda:99"], "cuda:99"),
        (["--shards", "0"], "--shards is 0"),
        (["split=val"], "no record of split 'val'"),
        (["--checkpoint", "nowhere"], "nowhere"),
    ],
)
def test_faults_are_one_line(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    options = ["--checkpoint", str(world / "tiny"), "--out", str(tmp_path / "out")]
    assert main(["bench", str(world / "bench.yaml"), *options, *change]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out" / "scores.json").exists()


def test_strange_arguments_are_usage_errors(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rest in (["extra"], ["--beams=2"]):
        with pytest.raises(SystemExit) as end:
            main(["bench", str(world / "bench.yaml"), "--checkpoint", "x", *rest])
        assert end.value.code == 2
        assert f"unrecognized arguments: {rest[0]}" in capsys.readouterr().err


@pytest.mark.slow
def test_a_process_that_dies_is_named(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_work", os._exit)  # its arguments do not fit: code 1, long before any model
    with pytest.raises(CaptionerError, match=r"process \d of 2 ended with code 1 .*run the same command again"):
        run_benchmark(world / "bench.yaml", str(world / "tiny"), tmp_path / "o", shards=2)


def test_scoring_alone_does_not_load_the_captioner() -> None:
    code = "import sys, eval.__main__; print('torch' in sys.modules, 'eval.benchmarks' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "bench").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_benchmarks(path: Path) -> None:
    bench = load_config(Benchmark, path)
    assert bench.prepare.startswith("python scripts/prepare.py ")
    assert f"--out {bench.manifest}" in bench.prepare
    assert bench.note and replace(bench, clips=1).clips == 1
    with pytest.raises(CaptionerError, match=re.escape(f"no such file: '{bench.manifest}'; make it: {bench.prepare}")):
        benchmarks.clips_of(bench)
