"""The lesson of real faces: who teaches, who is kept back, that votes reach the units they name, that runs repeat."""

from pathlib import Path

import pytest
import torch

from captioner.errors import ConfigError
from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.synth.photo.photo_set import PhotoSet
from captioner.train.experts.au_net import au_scores
from captioner.train.experts.portraits import CropView, FacePictures, whole_frames
from captioner.train.experts.posed import Posed
from captioner.train.experts.real_faces import (
    RealFacesRecipe,
    named_by_landmarker,
    portrait_labels,
    teachers,
    train_on_real,
)
from captioner.train.experts.votes import PLACE
from prompts.action_units import MAIN_AUS, UNKNOWN
from prompts.au_graph import AUGraph, AUGraphConfig
from tests.helpers import SHARED

SIZE, VIEW = 32, CropView(32, grey=False)
NAMES = [
    "browInnerUp", "browOuterUpLeft", "browDownLeft", "mouthUpperUpLeft", "mouthSmileLeft", "mouthDimpleLeft",
    "mouthFrownLeft", "mouthShrugLower", "mouthPucker", "mouthStretchLeft", "mouthPressLeft", "jawOpen",
]  # fmt: skip


def faces(emotion: str, count: int, bright: bool) -> FacePictures:
    """Pictures whose upper half is bright or dark, with everybody's vote."""
    pixels = torch.full((count, SIZE, SIZE), 60, dtype=torch.uint8)
    pixels[:, : SIZE // 2] = 220 if bright else 20
    shares = torch.zeros(count, len(FERPLUS_LABELS))
    shares[:, FERPLUS_LABELS.index(emotion)] = 1
    return FacePictures(pixels, whole_frames(count), shares, torch.zeros(count, len(NAMES)), torch.arange(count))


def stills(count: int) -> Posed:
    """The same pictures, every second with AU4, of which half the persons are bright."""
    aus = torch.zeros(count, 41, dtype=torch.int8)
    aus[::2, PLACE[4]] = aus[::3, PLACE[12]] = 1
    pixels = torch.randint(0, 255, (count, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Posed(pixels, whole_frames(count), aus, torch.full((count,), -1), torch.arange(count))


def test_persons_kept_back_teach_nothing_and_silent_teachers_are_left_out() -> None:
    recipe = RealFacesRecipe(oblique=0, renders=0, held=4)
    taught, kept = teachers(
        recipe,
        {
            "portraits": named_by_landmarker(faces("anger", 8, True), NAMES),
            "stills": stills(20),
            "oblique": stills(20),
        },
    )
    assert [len(teacher.pixels) for teacher in taught] == [6, 15]
    assert [len(teacher.pixels) for teacher in kept] == [2, 5]
    assert taught[0].brow == recipe.portrait_brow and taught[1].brow == recipe.brow


def test_a_landmarker_may_not_deny_the_frown_of_a_face_called_angry() -> None:
    angry = portrait_labels(faces("anger", 1, True), NAMES)
    glad = portrait_labels(faces("happiness", 1, True), NAMES)
    assert angry[0, PLACE[4]] == UNKNOWN
    assert glad[0, PLACE[4]] == 0
    assert angry[0, PLACE[1]] == 0


@pytest.mark.slow
def test_votes_teach_the_unit_of_their_emotion(tmp_path: Path) -> None:
    angry, calm = faces("anger", 40, True), faces("neutral", 40, False)
    voted = FacePictures(*(torch.cat([a, b]) for a, b in zip(vars(angry).values(), vars(calm).values(), strict=True)))
    recipe = RealFacesRecipe(
        votes=16, portraits=0, stills=8, oblique=0, renders=0, steps=30, epoch=15, vote_weight=1.0, lr=3e-3
    )
    lessons = teachers(recipe, {"stills": stills(24)})
    valid = (voted, voted.shares.argmax(1))

    def taught(folder: str) -> torch.Tensor:
        torch.manual_seed(0)
        au = AUGraph(AUGraphConfig("small"))
        course = train_on_real(au, VIEW, voted, valid, lessons, recipe, tmp_path / folder, seed=0)
        assert course.epoch == 2
        return au_scores(au, VIEW, voted.pixels, voted.frames)

    scores = taught("one")
    brows = scores[:, PLACE[4]]
    assert brows[:40].mean() > brows[40:].mean() + 0.05
    assert torch.equal(scores, taught("two"))


def test_votes_alone_are_refused() -> None:
    with pytest.raises(ConfigError, match="votes alone know no action unit"):
        RealFacesRecipe(steps=5, portraits=0, stills=0, oblique=0, renders=0)
    with pytest.raises(ConfigError, match="renders is -1"):
        RealFacesRecipe(renders=-1)


def test_names_of_the_portraits_serve_the_teacher() -> None:
    if not (SHARED / "data" / "faces").is_dir():
        pytest.skip("needs ../shared/data/faces")
    names = PhotoSet(SHARED / "data" / "faces").blendshape_names
    assert set(NAMES) <= set(names)
    assert len(MAIN_AUS) == 27
