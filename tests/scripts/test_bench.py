"""scripts/bench.py: every command runs on small things, compares like with like and prints what it promises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import bench
import numpy as np
import pytest
import torch

from captioner.data.manifest import Record, write_manifest
from captioner.video.reading import write_video
from eval.speed import films, loader, steps
from eval.speed.timing import Spent, median_spent, peak_mebibytes, time_in_turns
from tests.helpers import CAPTIONS, ROOT
from tests.train.test_training import TINY

SMALL = [
    "model.video.arch=swin3d_small_cpu", "model.video.width=16", "model.video.frames=4", "model.video.size=64",
    "model.experts.er_arch=small", "model.experts.au_backbone=small", "model.experts.size=48", "model.text.layers=1",
    "model.text.width=32", "model.text.heads=2", "model.text.pretrained=", "model.fusion.layers=2",
    "model.fusion.heads=2", "model.fusion.width=32", "model.fusion.ffn=32", "model.fusion.visual_width=16",
]  # fmt: skip


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, headers and rules left out."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [row for place, row in enumerate(lines) if row[0] != "---" and lines[place + 1 : place + 2] != [["---"]]]


def test_caption(capsys: pytest.CaptureFixture[str]) -> None:
    small = [*SMALL, "--tokens", "3", "--runs", "1", "--threads", "1"]
    assert bench.main(["caption", str(ROOT / "configs" / "paper.yaml"), *small]) == 0
    out = capsys.readouterr().out
    assert "3 tokens" in out.splitlines()[0]
    named = {row[0]: float(row[1].split()[0]) for row in rows(out) if row[0] != "stage"}
    assert set(named) == {"experts", "encoder", "right block", "a decoding step", "total", "peak memory"}
    assert named["total"] >= named["encoder"]


def test_faults_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["caption", str(ROOT / "configs" / "paper.yaml"), "model.prompt.k=3"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "did you mean 'model.prompts'" in error


def test_help_and_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for words, code, told in ((["--help"], 0, "python scripts/bench.py loader"), (["lader"], 2, "choose from")):
        with pytest.raises(SystemExit) as end:
            bench.main(words)
        assert end.value.code == code
        shown = capsys.readouterr()
        assert told in shown.out + shown.err
    for command in bench.COMMANDS:
        with pytest.raises(SystemExit, match="0"):
            bench.main([command, "--help"])
        assert "options:" in capsys.readouterr().out


def test_works_take_turns_and_the_first_turn_is_not_counted() -> None:
    calls: list[str] = []
    works: dict[str, Callable[[], Any]] = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    spent = time_in_turns(works, 2)
    assert calls == ["a", "b"] * 3
    assert [len(turns) for turns in spent.values()] == [2, 2]
    assert median_spent([Spent(1, 5), Spent(3, 4), Spent(2, 9)]) == Spent(2, 5)
    assert 10 < peak_mebibytes() < 1e6


def test_all_ways_of_reading_give_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "FRAMES", 11)  # every third of 31: no picture is between two
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"  # type: ignore[attr-defined]
        for picture in films.drifting_pictures(31, 48, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))  # type: ignore[attr-defined]
        container.mux(stream.encode(None))  # type: ignore[attr-defined]
    monkeypatch.setattr(loader, "SIDE", 48)
    own, scaled, plain = (read(film) for read in loader.WAYS.values())
    assert own.shape == (11, 3, 48, 64)
    assert torch.equal(own, scaled)
    assert (own.float() - plain.float()).abs().mean() < 6  # its chroma is spread otherwise
    assert "film.mp4, 64x48 | 31, 1 key frames" in str(loader.reading_table([film], 1))
    longer = films.repeat_film(film, tmp_path / "longer.mp4", 3)
    assert films.describe_film(longer)[1] == "93, 3 key frames"
    assert torch.equal(loader.read_ours(longer)[0], own[0])


@pytest.mark.slow
def test_training_steps_against_a_plain_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same losses, and a row of numbers each."""
    monkeypatch.setattr(steps, "in_own_process", lambda call, case: call(case))
    small = ["model.experts.source=", "model.text.dropout=0", "model.text.share_words=false", *TINY]
    options = ["--frames", "4", "--compile", "off", "--steps", "1", "--batch", "2"]
    assert bench.main(["train", str(ROOT / "configs" / "tiny.yaml"), *options, *small]) == 0
    found = rows(capsys.readouterr().out)
    plain, ours = (next(row for row in found if row[0] == name) for name in ("plain PyTorch", "captioner"))
    assert float(plain[3]) > 0 and float(ours[3]) > 0 and int(ours[4]) > int(float(ours[3]))  # tokens of each clip
    assert found[-1][:3] == ["4", "0", "0.00"]  # nothing is copied after the first step
    assert float(ours[-1]) < 1e-5
    with pytest.raises(SystemExit, match="2"):
        bench.main(["train", "configs/tiny.yaml", "--compile", "maybe"])
    assert "allowed: off, on" in capsys.readouterr().err


def test_store_is_compared_with_what_it_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = []
    for number in range(3):
        path = tmp_path / f"{number}.mp4"
        write_video(path, np.random.default_rng(number).integers(0, 256, (5, 72, 72, 3), dtype=np.uint8), 5)
        records.append(Record(f"clip{number}", path, "train", tuple(CAPTIONS), emotion="anger"))
    write_manifest(tmp_path / "manifest.jsonl", records)
    words = [str(ROOT / "configs" / "tiny.yaml"), "model.experts.source=", *TINY, "data.drawn=0", "--runs", "1"]
    assert bench.main(["store", *words, f"data.manifest={tmp_path / 'manifest.jsonl'}", f"train.out={tmp_path}"]) == 0
    told = capsys.readouterr().out
    assert "| without VEP and prior |" in told
    assert "| the same into the store |" in told
    named = {row[0]: row[1:] for row in rows(told)}
    assert named["without VEP and prior"][1] == "1.000"
    assert len(named) == 7  # a header that both tables share, two ways of building, four kinds of epochs
