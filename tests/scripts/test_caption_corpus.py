"""Captioning a corpus with Ray: flags, faults, and a run on workers of this machine."""

import threading
import time
from pathlib import Path
from typing import Any

import caption_corpus
import pytest

from captioner.output.corpus import CorpusStore
from tests.helpers import noise_video


def test_what_is_lacking_or_wrong_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(caption_corpus, "find_spec", lambda name: None)
    assert caption_corpus.main([str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "this needs ray, pyarrow, fsspec: pip install 'captioner[scale]'" in capsys.readouterr().err
    monkeypatch.setattr(caption_corpus, "find_spec", lambda name: name)
    assert caption_corpus.main([str(tmp_path), "-o", "out", "--part", "0"]) == 2
    assert "--part 0, --workers" in capsys.readouterr().err


@pytest.mark.slow
def test_a_second_run_does_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow", reason="the extra [scale] is not installed")
    pytest.importorskip("ray", reason="the extra [scale] is not installed")
    for number in range(5):
        noise_video(tmp_path / "clips" / f"{number}.mp4", number)
    asked: list[list[str]] = []

    def run(left: list[Any], options: Any, out: str, given: Any) -> int:
        asked.append([part.name for part in left])
        for part in left[:2]:
            CorpusStore(out).write(part, [])
        return 0

    monkeypatch.setattr(caption_corpus, "run_parts", run)
    command = [str(tmp_path / "clips"), "-o", str(tmp_path / "out"), "--part", "2", "--style", "faces"]
    assert caption_corpus.main(command) == 1
    assert "1 parts are missing" in capsys.readouterr().err
    assert caption_corpus.main(command) == 0
    assert [len(each) for each in asked] == [3, 1]
    assert caption_corpus.main(command) == 0 and len(asked) == 2  # nothing is left
    assert caption_corpus.main([*command[:-1], "feelings"]) == 2
    assert "was begun with another style" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_caption_a_folder(tmp_path: Path) -> None:
    ray: Any = pytest.importorskip("ray", reason="the extra [scale] is not installed")
    parquet: Any = pytest.importorskip("pyarrow.parquet", reason="the extra [scale] is not installed")
    for number in range(3):
        noise_video(tmp_path / "clips" / f"{number}.mp4", number)
    (tmp_path / "clips" / "bad.mp4").write_text("no video")
    command = [str(tmp_path / "clips"), "-o", str(tmp_path / "out"), "--part", "2", "--workers", "1", "--beams", "1"]
    try:
        assert caption_corpus.main(command) == 1  # one clip failed
    finally:
        ray.shutdown()
    rows = [row for path in (tmp_path / "out").glob("*.parquet") for row in parquet.read_table(path).to_pylist()]
    assert sorted((Path(row["file"]).name, row["error"] is None) for row in rows) == [
        ("0.mp4", True), ("1.mp4", True), ("2.mp4", True), ("bad.mp4", False),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_killed_node_costs_no_clip(tmp_path: Path) -> None:
    ray: Any = pytest.importorskip("ray", reason="the extra [scale] is not installed")
    parquet: Any = pytest.importorskip("pyarrow.parquet", reason="the extra [scale] is not installed")
    utilities: Any = pytest.importorskip("ray.cluster_utils")
    for number in range(8):
        noise_video(tmp_path / "clips" / f"{number}.mp4", number)
    out = tmp_path / "out"
    cluster = utilities.Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    left: list[int] = []  # parts that were missing when the node was killed

    def kill() -> None:
        until = time.monotonic() + 240
        while len(list(out.glob("part-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        left.append(8 - len(list(out.glob("part-*"))))
        cluster.remove_node(nodes[0], allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    command = [str(tmp_path / "clips"), "-o", str(out), "--part", "1", "--workers", "2", "--beams", "1"]
    try:
        assert caption_corpus.main([*command, "--address", cluster.address]) == 0
        killer.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert left[0] > 0
    rows = [row["file"] for path in out.glob("*.parquet") for row in parquet.read_table(path).to_pylist()]
    assert sorted(Path(row).name for row in rows) == [f"{number}.mp4" for number in range(8)]
