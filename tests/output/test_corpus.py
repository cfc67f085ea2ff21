"""A corpus in parts: what inputs mean, rows with errors, parts that appear whole, settings that must not change."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from captioner.errors import CaptionerError, ConfigError, VideoError
from captioner.inference.background import Failed
from captioner.output import corpus
from captioner.output.corpus import CorpusPart, CorpusStore, caption_part, corpus_parts, rows_of
from tests.output.fakes import FakeModel

parquet = pytest.importorskip("pyarrow.parquet", reason="the extra [scale] is not installed")
fsspec = pytest.importorskip("fsspec", reason="the extra [scale] is not installed")
ASKED = {"people": 0, "batch": 2}


def files_of(parts: list[CorpusPart]) -> list[str]:
    return [Path(clip).name for part in parts for clip in part.clips]


def test_inputs_become_parts(folder: Path) -> None:
    arrow: Any = pytest.importorskip("pyarrow")
    parts = corpus_parts([str(folder / "clips")], 2)
    assert [len(part.clips) for part in parts] == [2, 1]
    assert parts == corpus_parts([str(folder / "clips")], 2)  # the same names in a second run
    (folder / "manifest.jsonl").write_text('{"video": "clips/a.mp4"}\n\n{"video": "clips/b.mkv"}\n')
    parquet.write_table(arrow.table({"path": ["clips/deep/c.mp4", None]}), folder / "paths.parquet")
    inputs = [str(folder / name) for name in ("manifest.jsonl", "paths.parquet")]
    assert files_of(corpus_parts(inputs, 10)) == ["a.mp4", "b.mkv", "c.mp4"]
    memory = fsspec.filesystem("memory")
    memory.pipe("/store/x.mp4", (folder / "clips" / "a.mp4").read_bytes())
    memory.pipe("/store/notes.txt", b"no video")
    assert corpus_parts(["memory://store"], 10)[0].clips == ("memory:///store/x.mp4",)
    (folder / "s1.tar").touch()
    assert corpus_parts([str(folder / "*.tar")], 10)[0].tar == str(folder / "s1.tar")
    memory.rm("/store", recursive=True)


@pytest.mark.parametrize(("name", "content", "told"), [
    ("bad.jsonl", b"{", "line 1 is no record with a 'video'"),
    ("gone.jsonl", None, "cannot be read"),
    ("bad.parquet", b"no table", "cannot be read"),
])  # fmt: skip
def test_bad_lists_are_told(folder: Path, name: str, content: bytes | None, told: str) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(CaptionerError, match=told):
        corpus_parts([str(folder / name)], 10)


def test_stores_that_do_not_exist_are_told(folder: Path) -> None:
    arrow: Any = pytest.importorskip("pyarrow")
    with pytest.raises(ConfigError, match="cannot be opened"):
        corpus_parts(["nosuch://bucket/folder"], 10)
    with pytest.raises(CaptionerError, match="no video in"):
        corpus_parts(["memory://empty"], 10)
    parquet.write_table(arrow.table({"n": [1]}), folder / "other.parquet")
    with pytest.raises(CaptionerError, match="has no column path or video"):
        corpus_parts([str(folder / "other.parquet")], 10)


def test_a_part_has_a_row_a_clip_and_errors_are_rows(folder: Path, model: FakeModel) -> None:
    (folder / "clips" / "bad.mp4").write_text("no video")
    memory = fsspec.filesystem("memory")
    memory.pipe("/s/x.mp4", (folder / "clips" / "b.mkv").read_bytes())
    clips = ("clips/a.mp4", "clips/bad.mp4", "memory://s/x.mp4", "memory://s/gone.mp4", "clips/gone.mp4")
    rows = caption_part(model, CorpusPart("part-1", clips), ASKED, None)
    assert [row["file"] for row in rows] == list(clips)
    assert [row["caption"] for row in rows] == ["Brightness 50.", None, "Brightness 100.", None, None]
    assert "holds text" in rows[1]["error"] and "cannot be fetched" in rows[3]["error"]
    windows = caption_part(model, CorpusPart("part-2", ("clips/a.mp4",)), ASKED, 5.0)
    assert [(row["start"], row["end"]) for row in windows] == [(0.0, 0.08), (0.08, 0.12)]


def test_a_tar_is_read_member_by_member(folder: Path, model: FakeModel) -> None:
    with tarfile.open(folder / "shard.tar", "w") as archive:
        for name in ("a.mp4", "deep/c.mp4", "notes.txt"):
            archive.add(folder / "clips" / name, f"000/{Path(name).name}")
    shard = str(folder / "shard.tar")
    rows = caption_part(model, CorpusPart("part-1", (), shard), ASKED, None)
    assert [(row["file"], row["caption"]) for row in rows] == [
        (f"{shard}/000/a.mp4", "Brightness 50."), (f"{shard}/000/c.mp4", "Brightness 150."),
    ]  # fmt: skip
    cut = folder / "cut.tar"
    cut.write_bytes((folder / "shard.tar").read_bytes()[:2000])
    for name in (str(cut), str(folder / "vanished.tar")):
        rows = caption_part(model, CorpusPart("part-2", (), name), ASKED, None)
        assert rows[-1]["error"] and name in rows[-1]["error"]


def test_a_clip_that_costs_its_workers_is_given_up(folder: Path, model: FakeModel) -> None:
    store = CorpusStore(str(folder / "out"))
    part = CorpusPart("part-1", ("clips/a.mp4", "clips/b.mkv", "clips/deep/c.mp4"))
    store.begin({})

    def deadly(source: str) -> None:
        if source.endswith("b.mkv"):
            raise KeyboardInterrupt  # as a worker's end: nothing more is done

    model.hook = deadly
    for _ in range(corpus.DEATHS):
        with pytest.raises(KeyboardInterrupt):
            caption_part(model, part, ASKED, None, store.attempts(part))
    rows = caption_part(model, part, ASKED, None, attempts := store.attempts(part))
    assert [row["caption"] for row in rows] == ["Brightness 50.", None, "Brightness 150."]
    assert rows[1]["error"] == "'clips/b.mkv': 3 workers ended while they captioned it; is there too little memory?"
    store.write(part, rows)
    assert store.attempts(part).lost  # until it is told that the part is whole
    attempts.end()
    assert store.attempts(part).lost == () and store.done() == {"part-1"}
    store.attempts(part).begin("x\udcff\n")
    store.begin({}, overwrite=True)
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["settings.json"]


def test_parts_appear_whole_and_settings_stay(folder: Path, model: FakeModel) -> None:
    store = CorpusStore(str(folder / "out"))
    store.begin({"style": "", "model": "tiny"})
    part = CorpusPart("part-1", ("clips/a.mp4", "gone.mp4"))
    store.write(part, caption_part(model, part, ASKED, None))
    assert store.done() == {"part-1"}
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["part-1.parquet", "settings.json"]
    rows = parquet.read_table(folder / "out" / "part-1.parquet").to_pylist()
    assert rows[0]["emotions"] == [("neutral", 0.75), ("anger", 0.25)]
    assert rows[0]["action_units"][0]["id"] == 12
    assert rows[1]["caption"] is None and "gone.mp4" in rows[1]["error"]
    store.begin({"style": "", "model": "tiny"})
    with pytest.raises(ConfigError, match="was begun with another style"):
        store.begin({"style": "feelings", "model": "tiny"})
    store.begin({"style": "feelings", "model": "tiny"}, overwrite=True)
    assert store.done() == set()
    assert json.loads((folder / "out" / corpus.SETTINGS).read_text())["style"] == "feelings"
    assert rows_of("a\udcff.mp4", Failed(VideoError("x"), ""))[0]["file"] == "a\\udcff.mp4"
