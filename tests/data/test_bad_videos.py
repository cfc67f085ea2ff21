"""Videos that cannot be read: replaced alike each time, told once, listed, limited; in whole runs too."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from captioner.config import DataConfig, TrainConfig
from captioner.data.dataset import ClipDataset, EpochOrder, Place
from captioner.data.loader import BadVideos, EpochLoader
from captioner.data.manifest import Record, read_manifest, write_manifest
from captioner.errors import ConfigError, VideoError
from captioner.model.batch import collate
from captioner.model.tokenizer import Tokenizer
from captioner.video.reading import write_video
from tests.helpers import CAPTIONS, ROOT, tiny_config, with_vocabulary
from tests.train.test_training import TINY

sys.path.insert(0, str(ROOT / "scripts"))  # where a script finds its neighbours
import precompute
import train

CLIPS = 40


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 40 clips, 32 to train on; 5 % are broken: clip7 is no video, clip34 (val) is cut off."""
    folder = tmp_path_factory.mktemp("clips")
    records = []
    for number in range(CLIPS):
        frames = np.random.default_rng(number).integers(0, 256, (5, 72, 72, 3), dtype=np.uint8)
        path = folder / f"{number}.mp4"
        write_video(path, frames, 5)
        split = "train" if number < 32 else "val"
        records.append(Record(f"clip{number}", path, split, tuple(CAPTIONS), emotion="anger"))
    (folder / "7.mp4").write_bytes(b"\0" * 3000)
    (folder / "34.mp4").write_bytes((folder / "34.mp4").read_bytes()[:400])
    write_manifest(folder / "manifest.jsonl", records)
    return folder


def records_of(clips: Path) -> list[Record]:
    return read_manifest(clips / "manifest.jsonl", split="train")


def dataset(clips: Path, tokenizer: Tokenizer, bad: dict[str, str] | None) -> ClipDataset:
    config = with_vocabulary(tiny_config(), tokenizer)
    return ClipDataset(records_of(clips), config, tokenizer, train=TrainConfig(seed=0), bad=bad)


def test_an_unreadable_clip_gives_way_to_the_same_other_each_time(clips: Path, tokenizer: Tokenizer) -> None:
    first, second = dataset(clips, tokenizer, {}), dataset(clips, tokenizer, {"clip7": "known from before"})
    places = [Place(epoch, 7) for epoch in range(6)]
    shown = [first[place].inputs.frames for place in places]
    assert all(torch.equal(second[place].inputs.frames, frames) for place, frames in zip(places, shown, strict=True))
    assert len({frames.float().mean().item() for frames in shown}) > 2  # not the same stand-in in every epoch
    assert "7.mp4' is not a video" in first[places[0]].bad["clip7"]
    assert first[Place(0, 6)].bad == {}
    batch = collate([first[Place(0, 6)], first[Place(0, 7)]])
    assert list(batch.bad) == ["clip7"]
    assert batch.ids == ["clip6", "clip7"]
    with pytest.raises(VideoError, match=r"clip 'clip7': .*7\.mp4' is not a video"):
        dataset(clips, tokenizer, None)[places[0]]


def test_a_folder_of_nothing_but_rubbish_ends(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\0" * 99)
    config = with_vocabulary(tiny_config(), tokenizer)
    records = [Record("a", tmp_path / "a.mp4", "train", ("A man nods.",))]
    data = ClipDataset(records, config, tokenizer, train=TrainConfig(), bad={})
    with pytest.raises(VideoError, match="none of 50 clips drawn in place of 'a' can be read"):
        data[Place(0, 0)]


def test_bad_videos_are_told_once_listed_and_limited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "run" / "bad_videos.jsonl"
    bad = BadVideos(40, 0.05, path)
    for _ in range(3):
        bad.note({"a": "'a.mp4' is empty (0 bytes)"})
    bad.note({"a": "again", "b": "'b.mp4' holds text, not a video"})
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "clip 'a' cannot be read", "clip 'b' cannot be read",
    ]  # fmt: skip
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a", "b"]
    with pytest.raises(VideoError) as caught:
        bad.note({"c": "gone"})
    assert str(caught.value) == (
        f"3 of 40 clips cannot be read, more than data.max_bad=0.05 allows; {path} lists them: "
        f"mend them, take them out of the manifest, or raise data.max_bad"
    )
    assert len(path.read_text().splitlines()) == 3
    BadVideos(40, 0.05, path)  # the next start has a list of its own
    assert not path.exists()


@pytest.mark.slow
def test_readers_stay_and_give_what_one_process_gives(clips: Path, tokenizer: Tokenizer) -> None:
    data = dataset(clips, tokenizer, {})
    loaders = [EpochLoader(data, DataConfig(workers=workers), collate, seed=5) for workers in (0, 2)]
    state = torch.get_rng_state()
    pids = set()
    for epoch in range(2):
        order = list(EpochOrder(len(data), 4, 1, epoch))
        for one, other in zip(*(loader.epoch(order) for loader in loaders), strict=True):
            assert one.ids == other.ids
            assert torch.equal(one.frames, other.frames)
            assert one.bad == other.bad
        pids.add(tuple(worker.pid for worker in loaders[1].loader._iterator._workers))  # type: ignore[union-attr]
    assert len(pids) == 1
    left = loaders[1].epoch(list(EpochOrder(len(data), 4, 1, 2)))
    next(left)  # an epoch that ends early
    order = list(EpochOrder(len(data), 4, 1, 3, start=2))
    assert [batch.ids for batch in loaders[1].epoch(order)] == [batch.ids for batch in loaders[0].epoch(order)]
    assert torch.equal(torch.get_rng_state(), state)  # dropout's generator is left alone


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"data\.max_bad is 5\.0: a share between 0 and 1"):
        DataConfig(max_bad=5.0)
    with pytest.raises(ConfigError, match=r"data\.prefetch is 0: 1 or more"):
        DataConfig(prefetch=0)


def run(clips: Path, out: Path, *more: str) -> int:
    places = [f"data.manifest={clips / 'manifest.jsonl'}", f"train.out={out}", "data.drawn=0", "train.epochs=2"]
    quick = ["model.prompts.er_sentence=off", "model.prompts.au_word=off", "train.validate_every=1", "train.batch=4"]
    return train.main([str(ROOT / "configs" / "tiny.yaml"), "model.experts.source=", *TINY, *quick, *places, *more])


@pytest.mark.slow
@pytest.mark.parametrize("cached", [True, False])
def test_a_run_ends_with_each_bad_video_told_once(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, cached: bool
) -> None:
    cache = f"data.cache={tmp_path / 'cache' if cached else ''}"
    assert run(clips, tmp_path / "run", cache) == 0
    told = [record.message for record in caplog.records if "cannot be read, others take its place" in record.message]
    assert sorted(message.split()[1] for message in told) == ["'clip34'", "'clip7'"]
    listed = [json.loads(line)["id"] for line in (tmp_path / "run" / "bad_videos.jsonl").read_text().splitlines()]
    assert sorted(listed) == ["clip34", "clip7"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["bad_videos"] == 2 if cached else rows[-1]["bad_videos"] >= 1
    assert len(rows) == 16  # as many steps as with thirty-two good ones
    validated = [json.loads(line)["id"] for line in (tmp_path / "run" / "validation.jsonl").read_text().splitlines()]
    assert validated == [f"clip{number}" for number in range(32, 40) if number != 34]


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.slow
def test_too_many_bad_videos_stop_a_run(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cached: bool
) -> None:
    cache = f"data.cache={tmp_path / 'cache' if cached else ''}"
    assert run(clips, tmp_path / "run", cache, "data.max_bad=0.01") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "of 40 clips cannot be read, more than data.max_bad=0.01 allows" in last
    assert "clip7" in (tmp_path / "run" / "bad_videos.jsonl").read_text()


@pytest.mark.slow
def test_precompute_leaves_nothing_to_training(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [f"data.manifest={clips / 'manifest.jsonl'}", f"train.out={tmp_path / 'run'}", "data.drawn=0"]
    words = [
        str(ROOT / "configs" / "tiny.yaml"),
        "model.experts.source=",
        *TINY,
        *places,
        f"data.cache={tmp_path / 'c'}",
    ]
    assert precompute.main([*words, "--shard", "1/2"]) == 0
    files = set((tmp_path / "c").rglob("*.safetensors"))
    assert 0 < len(files) < 76
    assert precompute.main([*words, "--shard", "2/2"]) == 0
    whole = set((tmp_path / "c").rglob("*.safetensors"))
    assert len(whole) == 76  # frames and experts of the readable clips
    assert (tmp_path / "c" / "bad_videos-2-of-2.jsonl").exists() or (
        tmp_path / "c" / "bad_videos-1-of-2.jsonl"
    ).exists()
    with monkeypatch.context() as patch:
        patch.setattr("captioner.data.feature_store.FrozenNets.features", None)  # nobody may call it again
        assert run(clips, tmp_path / "run", f"data.cache={tmp_path / 'c'}", "train.epochs=1") == 0

    capsys.readouterr()
    assert precompute.main([*words, "--stale"]) == 0
    assert capsys.readouterr().out == "nothing is stale\n"
    assert precompute.main([*words, "model.experts.au_metric=l2", "--prune"]) == 0
    told = capsys.readouterr().out
    assert "38 entries" in told and "experts with other settings or weights" in told and "MB are free now" in told
    assert len(set((tmp_path / "c").rglob("*.safetensors"))) == 38


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "3/2"], "--shard 3/2: write I/N with I from 1 to N, as 2/4"),
        (["--splits", "train,vall"], "unknown split 'vall' (did you mean 'val'?)"),
        (["data.cache="], "data.cache is empty: name the folder of the store"),
    ],
)
def test_precompute_says_what_is_wrong(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    places = [f"data.manifest={clips / 'manifest.jsonl'}", f"data.cache={tmp_path}", "data.drawn=0"]
    assert precompute.main([str(ROOT / "configs" / "tiny.yaml"), *places, *words]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
