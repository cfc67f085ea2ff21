"""The feature store: content-addressed, checked, resumed, pruned; and that training never notices."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from captioner.config import DataConfig, TrainConfig
from captioner.data import inputs as inputs_module
from captioner.data.dataset import ClipDataset, Place
from captioner.data.feature_store import FeatureStore, open_store
from captioner.data.inputs import read_inputs
from captioner.data.manifest import Record
from captioner.errors import VideoError
from captioner.faces import EXPRESSION_NAMES, FaceReader, FaceTrack
from captioner.faces import crops as crops_module
from captioner.faces.reader import make_track
from captioner.model.tokenizer import Tokenizer
from captioner.store import Kept, VideoHashes, check_entry, prune, stale
from captioner.video.reading import read_clip, write_video
from tests.helpers import CAPTIONS, noise_video, tiny_config, tiny_model


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    return [
        Record(f"clip{number}", noise_video(tmp_path / f"{number}.mp4", number), "train", tuple(CAPTIONS))
        for number in range(3)
    ]


def store_of(tmp_path: Path, *overrides: str, seed: int = 0, **options: object) -> FeatureStore:
    model = tiny_model(*overrides, seed=seed)
    return FeatureStore(tmp_path / "store", model.config, model.experts, 72, **options)  # type: ignore[arg-type]


def entries(folder: Path, part: str = "") -> list[Path]:
    return sorted((folder / "store").glob(f"{part}*/*/*.safetensors"))


class Halves(Kept[Tensor]):
    """Half the size of each video, for tests of a part alone."""

    name = "halves"
    tensor = "half"
    computed = 0

    def compute(self, video: Path) -> Tensor:
        self.computed += 1
        return torch.tensor([video.stat().st_size / 2])


class OneFace(FaceReader):
    """Sees one face, and counts how often it is asked."""

    read_clips = 0

    def _read(self, clip: np.ndarray, times: np.ndarray | None) -> list[FaceTrack]:
        type(self).read_clips += 1
        marks = np.random.default_rng(0).uniform(40, 160, (68, 2)).astype(np.float32)
        values = np.zeros(len(EXPRESSION_NAMES), np.float32)
        seen = list(range(1, len(clip)))
        return [
            make_track(len(clip), clip.shape[1:3], seen, [marks] * len(seen), [1.0] * len(seen), [values] * len(seen))
        ]


def test_what_is_read_back_is_what_was_computed(records: list[Record], tmp_path: Path) -> None:
    store = store_of(tmp_path)
    assert store.fill(records, progress=False) == {}
    first = store.load(records[0].video)
    again = store_of(tmp_path).load(records[0].video)
    assert first.experts is not None and again.experts is not None
    seen = read_inputs(records[0].video, store.config, short_side=72).inputs[0]
    assert torch.equal(again.frames, seen.frames)
    assert torch.equal(again.experts.au_nodes, store.nets.experts(seen.faces.pixels).au_nodes)
    assert len(entries(tmp_path)) == 2 * len(records)
    assert store_of(tmp_path).missing(records[0].video) == []


def test_names_follow_from_content_settings_and_weights(records: list[Record], tmp_path: Path) -> None:
    store_of(tmp_path).fill(records, progress=False)
    video = records[0].video
    assert store_of(tmp_path, seed=1).missing(video) == ["experts"]  # other weights: frames stay
    assert store_of(tmp_path, "experts.au_metric=cosine").missing(video) == ["experts"]
    assert store_of(tmp_path, "video.frames=5").missing(video) == ["frames", "experts"]
    config = tiny_config("prompts.vep=false", "prompts.er_sentence=off", "prompts.au_word=off")
    assert FeatureStore(tmp_path / "store", config, None, 72).missing(video) == []  # without VEP the frames serve too
    video.write_bytes(records[1].video.read_bytes())
    assert store_of(tmp_path).missing(video) == []  # it is the other clip now
    write_video(video, np.zeros((4, 72, 88, 3), np.uint8), 6)
    assert store_of(tmp_path).missing(video) == ["frames", "experts"]


@pytest.mark.parametrize("part", ["frames", "experts"])
@pytest.mark.parametrize("harm", ["cut", "empty", "flip", "other"])
def test_broken_entries_are_told_once_and_computed_anew(
    records: list[Record], tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str, part: str
) -> None:
    store = store_of(tmp_path)
    store.fill(records, progress=False)
    wanted = store.load(records[0].video)
    path = store.parts[part].path(records[0].video)
    whole = path.read_bytes()
    path.unlink()  # what is mapped into memory must not be cut in place
    if harm == "other":
        path.write_bytes(store.parts["frames" if part == "experts" else "experts"].path(records[0].video).read_bytes())
    else:
        flipped = bytearray(whole)
        flipped[-5] ^= 4
        path.write_bytes({"cut": whole[:-100], "empty": b"", "flip": bytes(flipped)}[harm])
    fresh = store_of(tmp_path)
    for _ in range(2):
        got = fresh.load(records[0].video)
        assert torch.equal(got.frames, wanted.frames)
        assert torch.equal(got.experts.er, wanted.experts.er)  # type: ignore[union-attr]
    told = [r.message for r in caplog.records if "is damaged" in r.message]
    assert len(told) == 1
    assert told[0].endswith("computed again")
    check_entry(path, store.parts[part].key)
    if harm == "flip":
        assert path.read_bytes() == whole


def test_fill_finds_broken_entries_when_asked(records: list[Record], tmp_path: Path) -> None:
    store = store_of(tmp_path)
    store.fill(records, progress=False)
    path = store.parts["experts"].path(records[1].video)
    broken = path.read_bytes()[:50]
    path.unlink()
    path.write_bytes(broken)
    store_of(tmp_path).fill(records, progress=False)
    with pytest.raises(ValueError, match="cut off"):
        check_entry(path, store.parts["experts"].key)
    store_of(tmp_path).fill(records, progress=False, check=True)
    check_entry(path, store.parts["experts"].key)


def test_faces_are_read_once_whatever_the_experts(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crops_module, "open_reader", lambda name: OneFace())
    monkeypatch.setattr(OneFace, "read_clips", 0)
    crops_module.shared_reader.cache_clear()
    margin = "experts.margin=0.1"
    store = store_of(tmp_path, margin)
    store.fill(records, progress=False)
    assert OneFace.read_clips == 3
    other = store_of(tmp_path, margin, seed=1)
    assert other.missing(records[0].video) == ["experts"]
    other.fill(records, progress=False)
    got = store_of(tmp_path, margin, seed=1).load(records[0].video)
    assert OneFace.read_clips == 3
    seen = read_inputs(records[0].video, other.config, short_side=72).inputs[0]
    assert got.experts is not None and seen.faces is not None
    assert torch.equal(got.experts.er, other.nets.experts(seen.faces.pixels, seen.faces.shown).er)
    track = OneFace().read(read_clip(records[0].video, 4, short_side=360).frames)[0]
    kept = store.parts["faces"].read(records[0].video)
    assert kept is not None and len(kept) == 1
    assert np.array_equal(kept[0].landmarks, track.landmarks)
    assert np.array_equal(kept[0].present, track.present)
    assert kept[0].dominance == track.dominance
    crops_module.shared_reader.cache_clear()


def test_nobody_in_a_clip_is_a_finding(records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(inputs_module, "face_tracks", lambda *given: asked.append(1) or [])
    store = store_of(tmp_path, "experts.margin=0.1")
    seen = store.load(records[0].video)
    assert seen.experts is not None and not seen.experts.present.any()
    assert store.parts["faces"].read(records[0].video) == []
    assert store_of(tmp_path, "experts.margin=0.1", seed=1).load(records[0].video).experts is not None
    assert len(asked) == 1


def test_tokens_of_a_frozen_encoder_stand_for_frames(records: list[Record], tmp_path: Path) -> None:
    model = tiny_model("video.frozen=true", "video.drop_path=0.5").train()
    data = DataConfig(cache=str(tmp_path / "store"), crop="centre")
    store = open_store(data, model.config, model, torch.device("cpu"))
    assert store is not None
    seen = store.load(records[0].video)
    assert seen.frames.numel() == 0 and seen.video is not None
    centre = read_inputs(records[0].video, model.config).inputs[0].frames
    torch.testing.assert_close(seen.video, model.video(centre[None]))
    assert [path.parts[-3].split("-")[0] for path in entries(tmp_path)] == ["experts", "video"]
    moving = open_store(DataConfig(cache=str(tmp_path / "store")), model.config, model, torch.device("cpu"))
    assert moving is not None and list(moving.parts) == ["frames", "experts"]


def test_frames_need_not_be_kept(records: list[Record], tmp_path: Path) -> None:
    store = store_of(tmp_path, frames=False)
    store.fill(records, progress=False)
    seen = store_of(tmp_path, frames=False).load(records[1].video)
    assert torch.equal(seen.frames, read_inputs(records[1].video, store.config, short_side=72).inputs[0].frames)
    assert seen.experts is not None
    assert not entries(tmp_path, "frames")


def test_missing_entries_are_computed_while_training(
    records: list[Record], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    store = store_of(tmp_path)
    how: dict[str, Any] = {"data": DataConfig(short_side=72), "train": TrainConfig()}
    data = ClipDataset(records, store.config, tokenizer, store=store, **how)
    direct = ClipDataset(records, store.config, tokenizer, **how)
    assert torch.equal(data[Place(0, 1)].inputs.frames, direct[Place(0, 1)].inputs.frames)
    assert len(entries(tmp_path)) == 2


def test_fill_goes_on_where_it_was_stopped_and_tells_bad_videos(records: list[Record], tmp_path: Path) -> None:
    records[1].video.write_bytes(b"no video")
    store = store_of(tmp_path)
    store.load(records[0].video)
    before = {path: path.stat().st_mtime_ns for path in entries(tmp_path)}
    faults = store.fill(records, progress=False)
    assert list(faults) == ["clip1"]
    assert "holds text, not a video" in faults["clip1"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    records[2].video.unlink()
    assert "no such file" in store_of(tmp_path).fill(records, progress=False)["clip2"]


def test_workers_fill_as_one_process_does(records: list[Record], tmp_path: Path) -> None:
    store_of(tmp_path).fill(records, progress=False)
    wanted = {path: path.read_bytes() for path in entries(tmp_path)}
    for path in wanted:
        path.unlink()
    store_of(tmp_path).fill(records, workers=2, progress=False)
    assert {path: path.read_bytes() for path in entries(tmp_path)} == wanted


def test_videos_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, folder = tmp_path / "a.mp4", tmp_path / "store"
    video.write_bytes(b"first")
    old = time.time() - 60
    os.utime(video, (old, old))
    first = VideoHashes(folder).of(video)
    assert not (folder / "videos.jsonl").exists()  # changed a moment ago: it may change again unseen
    monkeypatch.setattr("captioner.store._FRESH", -1)
    assert VideoHashes(folder).of(video) == first
    with (folder / "videos.jsonl").open("ab") as file:
        file.write(b'["torn')
    monkeypatch.setattr("captioner.store.hashlib.file_digest", None)
    assert VideoHashes(folder).of(video) == first
    monkeypatch.undo()
    video.write_bytes(b"other")  # as long, at the same second
    os.utime(video, (old, old))
    assert VideoHashes(folder).of(video) != first
    with pytest.raises(VideoError, match="no such file"):
        VideoHashes(folder).of(tmp_path / "b.mp4")


def test_a_store_that_cannot_be_written_costs_time_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"12345678")
    (tmp_path / "store").write_text("a file where the folder should be")
    part = Halves(tmp_path / "store", {})
    for _ in range(2):
        assert part.load(video).item() == 4
    assert part.computed == 2
    assert sum("cannot be written" in r.message for r in caplog.records) == 1


def test_stale_entries_are_told_by_reason_and_pruned(records: list[Record], tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = store_of(tmp_path)
    store.fill(records, progress=False)
    store_of(tmp_path, seed=1).fill(records, progress=False)
    (root / "ab").mkdir()
    (root / "ab" / f"{'ab' * 32}.safetensors").write_bytes(b"old")
    (root / "notes.txt").write_text("mine")
    (root / "mine").mkdir()
    (root / "mine" / "model.safetensors").write_bytes(b"not an entry")
    killed = store.parts["frames"].folder / "ab" / ".abc-xyz.safetensors"
    killed.parent.mkdir(exist_ok=True)
    killed.write_bytes(b"half")
    parts = list(store.parts.values())
    assert not any(entry.path == killed for entry in stale(root, parts, [r.video for r in records]))  # may be in work
    os.utime(killed, (0, 0))
    found = stale(root, parts, [r.video for r in records[1:]])
    why = sorted(entry.why for entry in found)
    assert why == sorted([
        *["experts with other settings or weights"] * 3,
        *["its video is not in the manifest, or has changed"] * 2,
        "left by a process that was killed",
        "of an older store",
    ])  # fmt: skip
    assert prune(found) == sum(entry.size for entry in found)
    assert stale(root, parts, [r.video for r in records[1:]]) == []
    assert store_of(tmp_path).missing(records[1].video) == []
    assert (root / "notes.txt").exists() and (root / "mine" / "model.safetensors").exists()
    assert not (root / "ab").exists()
    assert len([child for child in root.iterdir() if child.is_dir()]) == 3  # two parts and what is not ours


def test_settings_lie_beside_the_entries(records: list[Record], tmp_path: Path) -> None:
    store = store_of(tmp_path)
    store.load(records[0].video)
    told = json.loads((store.parts["experts"].folder / "settings.json").read_text())
    assert told["size"] == 48
    path = store.parts["experts"].path(records[0].video)
    kept = {"er", "er_probs", "au_scores", "au_nodes", "au_frames", "present", "height", "best_and_swing"}
    assert set(load_file(path)) == kept
