"""The benchmarks of loader and store run, and compare like with like."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from captioner.data.manifest import Record, write_manifest
from captioner.video.reading import write_video
from tests.helpers import CAPTIONS, ROOT
from tests.train.test_training import TINY

sys.path.insert(0, str(ROOT / "scripts"))  # where a script finds its neighbours
import bench_loader
import bench_store


def test_all_ways_give_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_loader, "FRAMES", 11)  # every third of 31: no picture is between two
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"  # type: ignore[attr-defined]
        for picture in bench_loader.drifting(31, 48, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))  # type: ignore[attr-defined]
        container.mux(stream.encode(None))  # type: ignore[attr-defined]
    monkeypatch.setattr(bench_loader, "SIDE", 48)
    own, scaled, plain = (read(film) for read in bench_loader.WAYS.values())
    assert own.shape == (11, 3, 48, 64)
    assert torch.equal(own, scaled)
    assert (own.float() - plain.float()).abs().mean() < 6  # its chroma is spread otherwise
    assert "film.mp4, 64x48 | 31, 1 key frames" in bench_loader.speed_table([film], 1)
    longer = bench_loader.repeated(film, tmp_path / "longer.mp4", 3)
    assert bench_loader.describe(longer).endswith("93, 3 key frames")
    assert torch.equal(bench_loader.ours(longer)[0], own[0])


def test_store_is_compared_with_what_it_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = []
    for number in range(3):
        path = tmp_path / f"{number}.mp4"
        write_video(path, np.random.default_rng(number).integers(0, 256, (5, 72, 72, 3), dtype=np.uint8), 5)
        records.append(Record(f"clip{number}", path, "train", tuple(CAPTIONS), emotion="anger"))
    write_manifest(tmp_path / "manifest.jsonl", records)
    words = [str(ROOT / "configs" / "tiny.yaml"), "model.experts.source=", *TINY, "data.drawn=0", "--runs", "1"]
    assert bench_store.main([*words, f"data.manifest={tmp_path / 'manifest.jsonl'}", f"train.out={tmp_path}"]) == 0
    told = capsys.readouterr().out
    assert "| without VEP and prior |" in told
    assert "| the same into the store |" in told
    assert len(told.splitlines()) == 11
