"""What was measured of each person of a clip, as numbers, and what the judges of phrases and actions make of them.

DenseReader -> FaceReadings -> numbers_of -> PersonNumbers -> Judges -> logits of MEASURES, a row a person.
Axes: N people, F motion numbers, S numbers of what a face shows, M measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.config import ExpertsConfig
from captioner.data.face_readings import RATE, DenseReader
from captioner.faces.crops import reader_version
from captioner.faces.face_reading import FaceReading, FaceReadings
from captioner.faces.movement import motion_numbers, movements_of
from captioner.faces.shown import shown_numbers
from captioner.lexicon.actions import SOCIAL
from captioner.model.action_judge import load_action_judge
from captioner.model.batch import MEASURES
from captioner.model.phrase_judge import load_phrase_judge, values_in_order
from captioner.store import Part, VideoHashes, weights_hash

RECIPE = 1  # of the numbers; raised when the same reading gives others
SURE = 9.0  # a logit nobody doubts
UNKNOWN = 0.0  # log odds where nobody can say whether somebody looks like a woman or a man


@dataclass(frozen=True)
class PersonNumbers:
    """What was measured of the people of a clip, most dominant first, each field with a row a person."""

    motion: Tensor  # (N, F) named by MOTION_NAMES
    shown: Tensor  # (N, S) named by shown_names
    woman: Tensor  # (N,) log odds that annotators would write woman, not man
    height: Tensor  # (N,) of the face, as a share of the picture's short side
    middle: Tensor  # (N, 2) where the face is, shares of the picture
    moving: Tensor  # (N,) whether anything moves

    def __len__(self) -> int:
        return len(self.motion)


def numbers_of(people: FaceReadings, start: float, end: float) -> PersonNumbers:
    """The numbers of everybody in a clip of these seconds."""
    moved = [movements_of(one, people.size, start, end) for one in people]
    rows = []
    for place, one in enumerate(people):
        other = next((moved[number] for number in range(len(moved)) if number != place), None)
        rows.append((motion_numbers(moved[place], other), shown_numbers(one), *_looks(one, people.size)))
    columns = list(zip(*rows, strict=True)) or [()] * 5
    motion, shown, woman, height, middle = (torch.from_numpy(np.array(column, np.float32)) for column in columns)
    return PersonNumbers(motion, shown, woman, height, middle, torch.tensor([one.moving for one in moved]))


def _looks(one: FaceReading, size: tuple[int, int]) -> tuple[float, float, tuple[float, float]]:
    """Log odds of a woman, height and place of a face."""
    boxes = one.boxes[one.success]
    odds = UNKNOWN
    if one.woman is not None:
        chance = min(max(one.woman, 1e-4), 1 - 1e-4)
        odds = float(np.log(chance / (1 - chance)))
    height = float((boxes[:, 3] - boxes[:, 1]).mean()) / min(size)
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2 / np.array(size)).mean(0).tolist()
    return odds, height, (x, y)


class NumbersPart(Part[PersonNumbers]):
    """The numbers of the people of a clip, in a store."""

    name = "numbers"

    def pack(self, result: PersonNumbers) -> dict[str, Tensor]:
        """Each field by name."""
        return {name: value.contiguous() for name, value in vars(result).items()}

    def unpack(self, tensors: dict[str, Tensor]) -> PersonNumbers:
        """The inverse of `pack`."""
        try:
            return PersonNumbers(**tensors)
        except TypeError as error:
            raise KeyError(str(error)) from None


class NumbersReader:
    """Measures people in whole clips; `settings` say what that depends on, and name a store's folder."""

    def __init__(self, config: ExpertsConfig) -> None:
        self.dense = DenseReader(config.reader)
        examiner = self.dense.examiner
        self.values = self.dense.values
        looks = examiner.appearance
        self.settings: dict[str, Any] = {
            "recipe": RECIPE, "rate": RATE, "reader": reader_version(config),
            "experts": weights_hash(examiner.experts.er) + weights_hash(examiner.experts.au),
            "appearance": weights_hash(looks) if looks is not None else "",
        }  # fmt: skip

    def part(self, folder: str | Path, hashes: VideoHashes | None = None) -> NumbersPart:
        """Where a store in this folder keeps them."""
        return NumbersPart(folder, self.settings, hashes)

    def read(self, source: Any) -> PersonNumbers:
        """The numbers of a whole clip."""
        people = self.dense.read(source)
        return numbers_of(people, 0.0, people.duration)


class Judges:
    """The shipped judges of phrases and actions, over the numbers of one reading's values."""

    def __init__(self, values: Sequence[str]) -> None:
        self.phrases, self.actions = load_phrase_judge(), load_action_judge()
        self._order = values_in_order(self.phrases, values)
        self._phrase_places = [MEASURES.index(name) for name in self.phrases.names]
        self._action_places = [MEASURES.index(name) for name in self.actions.names]
        self._still, self._social = MEASURES.index("still"), [MEASURES.index(name) for name in SOCIAL]

    @torch.inference_mode()
    def __call__(self, numbers: PersonNumbers, habits: bool = False) -> Tensor:
        """Logits (N, M) of MEASURES; habits: phrases as often as MAFW's annotators say them.

        Who does not move does nothing but look ahead, and who is alone does nothing with others.
        """
        logits = torch.full((len(numbers), len(MEASURES)), -SURE)
        if not len(numbers):
            return logits
        phrases = self.phrases(numbers.shown[:, self._order], numbers.height)
        logits[:, self._phrase_places] = phrases + self.phrases.habits if habits else phrases
        logits[:, self._action_places] = self.actions(numbers.motion)
        if len(numbers) == 1:
            logits[:, self._social] = -SURE
        logits[~numbers.moving] = logits[~numbers.moving].index_fill(1, torch.tensor(self._action_places), -SURE)
        logits[~numbers.moving, self._still] = SURE
        logits[:, -2] = numbers.woman
        logits[:, -1] = SURE if len(numbers) > 1 else -SURE
        return logits.clamp(-SURE, SURE)

    def of_first(self, numbers: PersonNumbers) -> Tensor:
        """The logits (1, M) of the most dominant person; 0 where nobody is."""
        return self(numbers)[:1] if len(numbers) else torch.zeros(1, len(MEASURES))


def kept_numbers(video: Path, part: NumbersPart, reader: NumbersReader) -> PersonNumbers:
    """The numbers of a video, from the store or measured now and kept."""
    found = part.read(video)
    if found is None:
        found = reader.read(video)
        part.write(video, found)
    return found
