"""What the clips of a seed say and show never changes: the first of `make_clips.py --faces photos --seed 1`."""

import numpy as np
import pytest

from captioner.synth.cast import PhotoCast
from captioner.synth.labels import role_labels, story_facts
from captioner.synth.story.grammar import write_captions
from captioner.synth.story.tale import PHOTO_AUS, Story, StorySettings, sample_story

STORY, WORDS = 0, 2  # what a generator of the maker is for
SETTINGS = StorySettings(people=2, aus=PhotoCast.aus, one_sided=PhotoCast.one_sided)
PERSON = {"gender": "person"}
# captions (faces), the first caption (feelings), peaks of the action units, apex where the face is always seen
CLIPS = [
    (
        ["Someone enters and shivers. The slightly widened eyes and the eyebrows raised high.",
         "A person steps into the picture and then trembles. The slightly widened eyes and the raised eyebrows.",
         "Somebody comes into view and then quivers. The highly raised eyebrows and wide open eyes."],
        "an astonished person enters and trembles surprisedly in the picture",
        {"1": 0.939, "2": 0.979, "5": 0.691},
    ),
    (
        ["A person looks to the right. The pressed lips and the frown.",
         "A person looks aside all of a sudden. The tightly pressed lips and the light frown.",
         "A person looks away. The frown and the pressed lips."],
        "a person is disgusted and looks aside in this scene",
        {"4": 0.62, "24": 0.885},
    ),
    (
        ["Someone keeps still very near. The closed eyes, the deeply wrinkled nose, the sagging mouth corners and the "
         "lifted upper lip.",
         "A person keeps still very near. The lowered eyelids, wrinkled nose, sagging mouth corners and upward pull on "
         "the upper lip.",
         "A person holds still. The closed eyes, strongly wrinkled nose and sagging mouth corners."],
        "a grieved person stays still sadly in front of the camera",
        {"9": 0.919, "10": 0.823, "15": 0.777, "43": 1.0},
    ),
]  # fmt: skip


def story(index: int) -> Story:
    return sample_story(np.random.default_rng([1, 0, STORY, index, 0]), SETTINGS)


@pytest.mark.parametrize("index", range(len(CLIPS)))
def test_captions_and_labels_of_a_seed_stay_as_they_are(index: int) -> None:
    told, (faces, feelings, peaks) = story(index), CLIPS[index]
    rng, looks = np.random.default_rng([1, 0, WORDS, index, 0]), [PERSON] * len(told.roles)
    assert write_captions(told, looks, rng, n=3) == faces
    assert write_captions(told, looks, rng, n=3, style="feelings")[0] == feelings
    boxes = np.zeros((len(told.roles[0].states), 4), np.float16)
    assert story_facts(told, boxes)["au_peaks"] == peaks


def test_the_labels_of_the_first_clip_stay_as_they_are() -> None:
    told = story(0)
    labels = role_labels(told.roles, PHOTO_AUS)
    assert labels["au"].shape == (1, 36, len(PHOTO_AUS))
    brow = labels["au"][0, :, PHOTO_AUS.index(1)]
    np.testing.assert_allclose(brow[[11, 13, 16, 32]], [0.01, 0.42, 0.94, 0.93], atol=0.006)
    facts = story_facts(told, np.zeros((36, 4), np.float16))
    assert (facts["apex"], facts["actions"]) == (30, ["enters", "trembles"])
    grade = facts["look"]
    assert (grade["exposure"], grade["contrast"], grade["noise"], grade["crf"], grade["seed"]) == (
        0.503, 1.134, 4.168, 21, 1183463017,
    )  # fmt: skip
