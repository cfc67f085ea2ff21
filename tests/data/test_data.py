"""Dataset and batches: what an epoch sees, and that it depends on nothing but the seed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from captioner.config import DataConfig, TrainConfig
from captioner.data.dataset import ClipDataset, EpochOrder, Place, without_face
from captioner.data.feature_store import lone_worker
from captioner.data.manifest import Record
from captioner.faces import EXPRESSION_NAMES, FaceReader, FaceTrack
from captioner.faces import crops as crops_module
from captioner.faces.crops import FaceCrops, expert_crops
from captioner.faces.reader import make_track
from captioner.lexicon.phrases import find_phrases
from captioner.model.batch import NO_LABEL, ClipInputs, collate
from captioner.model.tokenizer import TextPieces, Tokenizer
from captioner.video.reading import Clip
from prompts.visual import ExpertFeatures
from tests.helpers import CAPTIONS, noise_video, tiny_config, with_vocabulary


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    made = []
    for number in range(5):
        captions = tuple(CAPTIONS) if number != 4 else ()
        emotion = "neutral" if number == 4 else "anger"
        made.append(
            Record(
                id=f"clip{number}",
                video=noise_video(tmp_path / f"{number}.mp4", number),
                split="train",
                captions=captions,
                emotion=emotion,
            )
        )
    return made


def dataset(records: list[Record], tokenizer: Tokenizer, seed: int = 0, captions: int = 1) -> ClipDataset:
    config, pieces = with_vocabulary(tiny_config(), tokenizer), TextPieces(tokenizer, None, 20)
    train = TrainConfig(seed=seed, captions=captions)
    return ClipDataset(records, config, tokenizer, pieces, data=DataConfig(short_side=72), train=train)


def test_items_follow_from_seed_epoch_and_index(records: list[Record], tokenizer: Tokenizer) -> None:
    first, second = dataset(records, tokenizer, seed=1), dataset(records, tokenizer, seed=1)
    second[Place(0, 3)]  # what was read before does not matter
    for place in (Place(0, 1), Place(7, 2)):
        a, b = first[place], second[place]
        assert torch.equal(a.inputs.frames, b.inputs.frames)
        assert a.captions == b.captions and a.captions.text_words
    masks = {tuple(first[Place(epoch, 1)].captions.targets[0]) for epoch in range(6)}
    assert len(masks) > 3
    assert dataset(records, tokenizer, seed=2)[Place(0, 1)].captions.targets != first[Place(0, 1)].captions.targets


class FaceStore:
    """Stands for the feature store: frames, and experts who see a face."""

    def __init__(self, present: bool) -> None:
        self.present = present

    def load(self, _: Path) -> ClipInputs:
        zeros = {name: torch.zeros(1, 1) for name in ExpertFeatures.__dataclass_fields__}
        experts = ExpertFeatures(**zeros | {"present": torch.tensor([self.present])})
        return ClipInputs(torch.zeros(4, 3, 72, 72, dtype=torch.uint8), experts=experts)


def test_of_a_face_that_is_not_seen_nothing_is_said(records: list[Record], tokenizer: Tokenizer) -> None:
    def told(share: float, present: bool) -> list[tuple[bool, bool]]:
        """Of twenty items: whether the face is there, whether a word on a face is asked for."""
        config = with_vocabulary(tiny_config("prompts.mask_words=0.99"), tokenizer)
        store: Any = FaceStore(present)
        data = ClipDataset(
            records, config, tokenizer, data=DataConfig(hide_faces=share), train=TrainConfig(seed=0), store=store
        )
        items = [data[Place(epoch, 1)] for epoch in range(20)]
        said = [tokenizer.decode([t for t in item.captions.targets[0] if t != NO_LABEL]) for item in items]
        return [(bool(i.inputs.experts.present), bool(find_phrases(s))) for i, s in zip(items, said, strict=True)]

    assert set(told(0.0, True)) == {(True, True)}
    assert set(told(0.0, False)) == {(False, True)}  # data sets' captions stay as they are
    assert set(told(0.5, True)) == {(True, True), (False, False)}
    assert set(told(0.01, False)) == {(False, False)}
    assert without_face("A man talks. The frown.") == "A man talks."
    assert without_face("The frown.") == "The frown."


def test_workers_change_nothing(records: list[Record], tokenizer: Tokenizer) -> None:
    data = dataset(records, tokenizer)
    order = EpochOrder(len(data), 2, seed=3, epoch=1)
    workers = {"collate_fn": collate, "worker_init_fn": lone_worker}
    batches = [list(DataLoader(data, batch_sampler=order, num_workers=n, **workers)) for n in (0, 2)]
    for a, b in zip(*batches, strict=True):
        assert a.ids == b.ids
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.masked, b.masked)
        assert torch.equal(a.faces.pixels, b.faces.pixels)


def test_everything_of_a_batch_is_pinned(
    records: list[Record], tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(records, tokenizer)
    batch = collate([data[Place(0, i)] for i in range(2)], tokenizer.pad_id)
    batch.faces = replace(batch.faces, height=torch.ones(2))
    batch.experts = FaceStore(True).load(Path()).experts
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    again = pin_memory(batch)  # as a data loader does it
    held = [*vars(batch).values(), *vars(batch.faces).values(), *vars(batch.experts).values()]
    wanted = [value for value in held if isinstance(value, torch.Tensor)]
    assert len(wanted) == 8 + 2 + 8
    assert {id(value) for value in pinned} == {id(value) for value in wanted}
    assert again.ids == batch.ids


def test_a_batch_takes_no_clips_that_know_different_things(records: list[Record], tokenizer: Tokenizer) -> None:
    data = dataset(records, tokenizer)
    items = [data[Place(0, i)] for i in range(3)]
    items[1].inputs.faces = None
    with pytest.raises(ValueError, match="1 of 3 clips of a batch lack what the others have"):
        collate(items)


def test_epoch_order_resumes_and_shuffles() -> None:
    whole = list(EpochOrder(10, 3, seed=1, epoch=4))
    assert list(EpochOrder(10, 3, seed=1, epoch=4, start=2)) == whole[2:]
    assert sorted(p.index for batch in whole for p in batch) == list(range(10))
    assert whole != list(EpochOrder(10, 3, seed=1, epoch=5))


def test_clips_without_caption_are_not_trained_on(records: list[Record], tokenizer: Tokenizer) -> None:
    assert len(dataset(records, tokenizer)) == 4


def clip_of(frames: np.ndarray) -> Clip:
    return Clip(frames, np.arange(len(frames)) / 8, "clip.mp4", 8.0, len(frames) / 8)


def test_expert_crops_spread_over_the_clip() -> None:
    frames = np.zeros((9, 40, 60, 3), dtype=np.uint8)
    frames[:] = np.arange(9)[:, None, None, None] * 20
    config = tiny_config("experts.frames=3", "experts.size=32").experts
    faces = expert_crops(clip_of(frames), config)
    assert faces.pixels.shape == (1, 3, 3, 32, 32)
    assert faces.pixels[0, :, 0, 5, 5].tolist() == [0, 80, 160]
    assert (faces.shown, faces.expression, faces.height, faces.people) == (None,) * 4
    assert faces.hidden() is faces
    assert expert_crops(clip_of(frames[:1]), tiny_config("experts.frames=3").experts).pixels.shape[1] == 3


class OneFace(FaceReader):
    """Sees a face in the left half of every frame but the first."""

    def _read(self, clip: np.ndarray, times: np.ndarray | None) -> list[FaceTrack]:
        marks = np.random.default_rng(0).uniform(4, 26, (68, 2)).astype(np.float32)
        seen, values = list(range(1, len(clip))), np.zeros(len(EXPRESSION_NAMES), np.float32)
        return [
            make_track(
                len(clip), clip.shape[1:3], seen, [marks for _ in seen], [1.0 for _ in seen], [values for _ in seen]
            )
        ]


class NoFace(FaceReader):
    def _read(self, clip: np.ndarray, times: np.ndarray | None) -> list[FaceTrack]:
        return []


def test_expert_crops_follow_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.zeros((5, 40, 60, 3), dtype=np.uint8)
    frames[:, :, :30] = 200
    config = tiny_config("experts.frames=3", "experts.size=32", "experts.margin=0.1").experts
    monkeypatch.setattr("captioner.faces.crops.open_reader", lambda name: OneFace())
    crops_module.shared_reader.cache_clear()
    left = expert_crops(clip_of(frames), config)
    assert left.pixels.shape == (1, 3, 3, 32, 32)
    assert left.height is not None and 0 < left.height.item() < 1
    assert left.pixels.float().mean() > 150  # the left half, not the middle
    assert left.shown is not None and left.shown.tolist() == [[False, True, True]]
    assert left.people is not None and left.people.tolist() == [1]
    assert left.hidden().shown.tolist() == [[False] * 3]  # type: ignore[union-attr]
    monkeypatch.setattr("captioner.faces.crops.open_reader", lambda name: NoFace())
    crops_module.shared_reader.cache_clear()
    nobody = expert_crops(clip_of(frames), config)
    assert not any(value.any() for value in vars(nobody).values())
    both = FaceCrops.stack([left, nobody])
    assert both.pixels.shape == (2, 3, 3, 32, 32)
    assert both.shown is not None and both.shown.tolist() == [[False, True, True], [False] * 3]
    assert both.people is not None and both.people.tolist() == [1, 0]
    crops_module.shared_reader.cache_clear()


def test_several_captions_a_clip(records: list[Record], tokenizer: Tokenizer) -> None:
    data = dataset(records, tokenizer, captions=4)
    batch = collate([data[Place(0, i)] for i in range(2)], tokenizer.pad_id)
    assert batch.masked is not None and batch.text_ids is not None and batch.targets is not None
    assert len(batch.masked) == len(batch.targets) == 8
    assert len(batch.frames) == len(batch.text_ids) == 2
    whole = [torch.where(t == NO_LABEL, m, t) for m, t in zip(batch.masked[:4], batch.targets[:4], strict=True)]
    sentences = [tokenizer.decode(ids.tolist()) for ids in whole]
    assert len(set(sentences)) == 3  # three captions, the fourth is the first with other words hidden
    assert sentences[0] == sentences[3]
    assert not torch.equal(batch.targets[0], batch.targets[3])


def test_collate_pads(records: list[Record], tokenizer: Tokenizer) -> None:
    data = dataset(records, tokenizer)
    batch = collate([data[Place(0, i)] for i in range(4)], tokenizer.pad_id)
    assert batch.masked is not None and batch.text_mask is not None and batch.targets is not None
    assert batch.masked.shape == batch.targets.shape == batch.text_mask.shape
    padding = ~batch.text_mask
    assert (batch.targets[padding] == NO_LABEL).all()
    assert not batch.text_words[padding].any()  # type: ignore[index]
    assert batch.faces is not None and batch.experts is None


def test_words_for_matching_are_content_words(tokenizer: Tokenizer) -> None:
    pieces = TextPieces(tokenizer, None, 40)
    ids, words = pieces(CAPTIONS[0])
    kept = [pieces.piece(i) for i, ok in zip(ids, pieces.matchable(ids, words), strict=True) if ok]
    assert kept == ["woman", "nods", "frown", "wrinkled", "nose"]
    assert pieces.word_at(ids, ids.index(tokenizer.encode("frown", 9)[1])) == "frown"


def test_a_text_encoder_with_its_own_tokenizer(tokenizer: Tokenizer) -> None:
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "frown": 1, "nods": 2, "nose": 3}, "[UNK]"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    pieces = TextPieces(tokenizer, own, 40)
    ids, words = pieces("nods frown nose")
    assert ids == [2, 1, 3]
    assert words == [True] * 3
    assert pieces.word_at(ids, 1) == "frown"
