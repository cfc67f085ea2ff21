"""What was measured of a clip, as the support of everything a caption may claim of one of its people.

Kinds without an entry were not measured, and nothing is held against them. Axes: N people, M measures.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from captioner.data.inputs import ReadClip
from captioner.data.measured import Judges, numbers_of
from captioner.faces.face_reading import FaceReading, FaceReadings
from captioner.inference.claims import Support
from captioner.inference.heard import hear_clip, voice_support, with_sound
from captioner.inference.results import Caption
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.phrases import PHRASES
from captioner.model.batch import MEASURES

# Face heights as shares of the picture (brows to chin), from which on a person is far away or fills the picture.
FAR, NEAR = 0.14, 0.56
DARK = 0.16  # mean brightness up to which a picture is called dark

NO_FACE = "No face can be seen."
DIM = "The picture is dark."


def supports_of_measures(logits: Tensor) -> dict[str, Mapping[str, Support]]:
    """What judges say of a person, as logits (M,) of MEASURES, as supports of what captions claim."""
    chances = dict(zip(MEASURES, logits.sigmoid().tolist(), strict=True))
    return {
        "phrase": {name: Support(chances[name], None, "face") for name in PHRASES},
        "action": {name: Support(chances[name], None, "movement") for name in ACTIONS},
        "gender": _gender(chances["woman"]),
        "people": {"two": Support(chances["company"], None, "people followed")},
    }


def _gender(woman: float) -> dict[str, Support]:
    return {"woman": Support(woman, None, "appearance"), "man": Support(1 - woman, None, "appearance")}


def measure(clip: ReadClip, judges: Judges, habits: bool) -> Tensor | None:
    """The logits (N, M) of everybody who was followed in a clip; None where nobody was, or was looked for."""
    if clip.readings is None or not len(clip.readings):
        return None
    return judges(numbers_of(clip.readings, clip.start, clip.end), habits)


def measured_row(clip: ReadClip, row: int, logits: Tensor | None) -> Tensor:
    """The logits (1, M) of whom one row of a clip is about; 0 where nobody is."""
    if logits is None or clip.readings is None:
        return torch.zeros(1, len(MEASURES))
    person = _same_person(clip, clip.persons[row], clip.readings)
    return logits[person : person + 1]


def supports_of(clip: ReadClip, row: int, logits: Tensor | None) -> dict[str, Mapping[str, Support]] | None:
    """The supports of what a caption of one row of a clip may say; None where nobody was read."""
    people = clip.readings
    if people is None or logits is None:
        return None
    person = _same_person(clip, clip.persons[row], people)
    beside = [supports_of_measures(logits[other]) for other in range(len(people)) if other != person][:1]
    own, deeds = supports_of_measures(logits[person]), hear_clip(clip.source, clip.start, clip.end)
    return {
        **own,
        "action": with_sound(own["action"], deeds),
        "voice": voice_support(deeds),
        "other": {name: support for each in beside for name, support in each["action"].items()},
        "other gender": {name: support for each in beside for name, support in each["gender"].items()},
        "people": {
            "two": Support(float(len(people) > 1), None, "people followed"),
            "several": Support(float(len(people) > 2), None, "people followed"),
        },
        "distance": _distance(people[person], people.size),
        "light": {"dark": Support(float(clip.brightness < DARK), None, "brightness")},
        "camera": {},
    }


def nobody_there(clip: ReadClip) -> bool:
    """Whether everybody was looked for, all the time, and nobody found."""
    return clip.readings is not None and not len(clip.readings)


def say_nobody(caption: Caption, dark: bool) -> None:
    """Let a caption say that nobody is there, and claim nothing else."""
    caption.text = f"{NO_FACE} {DIM}" if dark else NO_FACE
    caption.words, caption.phrases, caption.action_units = [], [], []
    caption.emotion, caption.emotion_source, caption.score = {}, "", 0.0
    caption.claims, caption.confidence = [], 0.0


def _distance(person: FaceReading, size: tuple[int, int]) -> dict[str, Support]:
    heights = (person.boxes[person.success, 3] - person.boxes[person.success, 1]) / size[1]
    height = float(np.median(heights)) if len(heights) else 0.0
    return {
        "far": Support(float(height <= FAR), None, "height of the face"),
        "near": Support(float(height >= NEAR), None, "height of the face"),
    }


def _same_person(clip: ReadClip, wanted: int, people: FaceReadings) -> int:
    """The dense reading of a sampled track: the one whose faces lie nearest; without a track the most dominant."""
    if wanted < 0 or wanted >= len(clip.tracks):
        return 0
    track, scale = clip.tracks[wanted], np.asarray(clip.size, np.float32)
    at = np.flatnonzero(track.present)
    middles = (track.boxes[at, :2] + track.boxes[at, 2:]) / 2 / scale
    times = np.asarray(clip.times)[at]

    def distance(reading: FaceReading) -> float:
        near = np.abs(reading.times[:, None] - times).argmin(0)
        places = (reading.boxes[near, :2] + reading.boxes[near, 2:]) / 2 / np.asarray(people.size, np.float32)
        return float(np.median(np.abs(places - middles).max(1)))

    return min(range(len(people)), key=lambda number: distance(people[number]))
