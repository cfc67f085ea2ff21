"""What was measured of a clip, as the support of everything a caption may claim of one of its people.

Kinds without an entry were not measured: phrases and feelings are judged by the network itself.
"""

from collections.abc import Mapping

import numpy as np

from captioner.data.inputs import ReadClip
from captioner.faces.face_reading import FaceReading, FaceReadings
from captioner.inference.claims import SOCIAL, THRESHOLDS, Support
from captioner.inference.movements import action_supports
from captioner.inference.results import Caption
from captioner.model.action_judge import ActionJudge

# Face heights as shares of the picture (brows to chin), from which on a person is far away or fills the picture.
FAR, NEAR = 0.14, 0.56
DARK = 0.16  # mean brightness up to which a picture is called dark
_ALLOWED = 0.51  # of what may be said where nothing else is known

NO_FACE = "No face can be seen."
DIM = "The picture is dark."


def supports_of(clip: ReadClip, row: int, judge: ActionJudge) -> dict[str, Mapping[str, Support]] | None:
    """The supports of what a caption of one row of a clip may say; None where nobody was read."""
    people = clip.readings
    if people is None or not len(people):
        return None
    person = _same_person(clip, clip.persons[row], people)
    span = (people.size, clip.start, clip.end)
    actions = action_supports(people.people, person, *span, judge)
    if len(people) == 1:
        actions = {name: support for name, support in actions.items() if name not in SOCIAL}
    others = [action_supports(people.people, other, *span, judge) for other in range(len(people)) if other != person]
    return {
        "action": _something(actions),
        "other": {name: support for each in others[:1] for name, support in each.items()},
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


def _something(actions: Mapping[str, Support]) -> dict[str, Support]:
    """The same; where nothing is likely enough to be told, that somebody looks ahead may be."""
    if any(support.probability >= THRESHOLDS["action"] for support in actions.values()):
        return dict(actions)
    return {**actions, "still": Support(_ALLOWED, None, "nothing else is likely")}


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
