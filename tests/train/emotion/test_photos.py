"""Photos with votes beside clips: shares among a recogniser's labels, trunks kept, scores by what photos can show."""

from pathlib import Path

import pytest
import torch

from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.clip.vision import FaceTower
from captioner.emotion.pe_clip.pe_clip import PEClip, build_pe_clip
from captioner.emotion.pe_clip.pe_clip_config import DecoderConfig, PEClipConfig
from captioner.errors import ConfigError
from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.train.emotion import photos
from captioner.train.emotion.photos import Photos, photo_scores, photo_trunks
from captioner.train.experts.portraits import FacePictures, whole_frames

LABELS = ["happiness", "boredom", "sadness"]
WORDS = {"text_width": 32, "text_layers": 2, "text_heads": 2, "context": 60}
SMALL = WORDS | {"source": "", "image_size": 32, "width": 16}
CLIP = ClipConfig(tower="face", **SMALL)  # type: ignore[arg-type]


def recogniser(clip: ClipConfig = CLIP) -> PEClip:
    torch.manual_seed(0)
    config = PEClipConfig(clip=clip, labels=LABELS, segments=4, crop="face", decoder=DecoderConfig(start=1))
    return build_pe_clip(config)


@pytest.fixture
def voted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Four photos: happy, sad, half happy and half angry, angry; how often they were read."""
    reads: list[int] = []
    votes = torch.zeros(4, 10)
    happy, sad, angry = (FERPLUS_LABELS.index(name) for name in ("happiness", "sadness", "anger"))
    votes[0, happy], votes[1, sad], votes[2, [happy, angry]], votes[3, angry] = 10, 10, 5, 10
    pixels = torch.randint(0, 256, (4, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    shares, frames = votes[:, :8] / votes.sum(1, keepdim=True), whole_frames(4).contiguous()
    pictures = FacePictures(pixels, frames, shares, torch.zeros(4, 52), torch.arange(4))

    def read(folder: str | Path, part: int) -> tuple[FacePictures, torch.Tensor]:
        reads.append(part)
        return pictures, votes

    monkeypatch.setattr(photos, "read_ferplus", read)
    return reads


def test_votes_become_shares_of_the_labels_that_photos_can_show(voted: list[int], tmp_path: Path) -> None:
    model = recogniser()
    known = Photos("ferplus", photos.TRAIN, LABELS, model, tmp_path)
    assert known.known.tolist() == [True, False, True]  # nobody votes for boredom
    assert known.shares.tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert known.majority.tolist() == [0, 2, -1, -1]
    assert known.useful.tolist() == [0, 1, 2]
    tower = model.vision.net
    assert isinstance(tower, FaceTower) and known.features.shape == (4, CLIP.width)
    features, shares = known.draw(50, torch.Generator().manual_seed(0))
    assert (shares.sum(1) == 1).all()  # the angry one is never drawn
    assert {tuple(row) for row in features.tolist()} <= {tuple(row) for row in known.features[:3].tolist()}


def test_trunks_are_computed_once_for_the_same_weights(voted: list[int], tmp_path: Path) -> None:
    tower = recogniser().vision.net
    assert isinstance(tower, FaceTower)
    first = photo_trunks("ferplus", 1, 32, tower, tmp_path, batch=3)
    assert voted == [1] and len(first) == 4
    assert torch.equal(photo_trunks("ferplus", 1, 32, tower, tmp_path), first) and voted == [1]
    photo_trunks("ferplus", 1, 48, tower, tmp_path)
    assert voted == [1, 1] and len(list(tmp_path.iterdir())) == 2


def test_scores_count_photos_with_a_majority(
    voted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = recogniser()
    known = Photos("ferplus", photos.VALIDATION, LABELS, model, tmp_path)
    bored = torch.tensor([[1.0, 9.0, 0.0], [1.0, 9.0, 2.0]])
    monkeypatch.setattr(photos, "still_logits", lambda model, features: bored[: len(features)])
    scores = photo_scores(model, known)
    assert scores["photos"] == 2
    assert (scores["accuracy"], scores["accuracy among the shown"]) == (0, 1)  # boredom is not among what photos show
    assert scores["recall"] == {"happiness": [0, 1], "sadness": [0, 1]}
    monkeypatch.setattr(photos, "still_logits", lambda model, features: torch.tensor([[5.0, 0, 0], [0, 0, 5.0]]))
    assert photo_scores(model, known)["recall"] == {"happiness": [1, 1], "sadness": [1, 1]}


@pytest.mark.slow
def test_labels_or_towers_that_photos_say_nothing_of_are_refused(voted: list[int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least two of them must be among the labels"):
        Photos("ferplus", 0, ["happiness", "boredom"], recogniser(), tmp_path)
    whole = recogniser(ClipConfig(tower="vit", patch=16, vision_width=32, vision_layers=1, vision_heads=2, **SMALL))  # type: ignore
    with pytest.raises(ConfigError, match=r"photos are for a face tower, but emotion\.clip\.tower is vit"):
        Photos("ferplus", 0, LABELS, whole, tmp_path)
