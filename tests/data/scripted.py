"""In place of a face reader and the expert networks: people who are where a script says, and scores that are light."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.data.face_readings import DenseReader
from captioner.faces import EXPRESSION_NAMES, FaceReader
from captioner.faces.reader import Follower, Sighting
from tests.faces.mean_face import mean_face, placed


class Script(FaceReader, Follower):
    """Whoever `cast` says is there: by person the frames, each with the frame at which it becomes known."""

    name = "script"

    def __init__(self, cast: Sequence[dict[int, int]], side: float = 60.0) -> None:
        self.cast, self.frame, self.stills = cast, -1, list[bool]()
        self.people = [Sighting() for _ in cast]
        self.marks = [placed(mean_face(), 100 + 90 * p, 100, side / (p + 1)).numpy() for p in range(len(cast))]

    def follower(self, times: NDArray[np.float64] | None = None, still: bool = False) -> "Script":
        self.stills.append(still)
        return self

    def step(self, frame: NDArray[np.uint8]) -> Sequence[Sighting]:
        self.frame += 1
        for seen, plan, marks in zip(self.people, self.cast, self.marks, strict=True):
            for at in sorted((at for at, known in plan.items() if known == self.frame), reverse=True):
                seen.at.append(at)
                seen.marks.append(marks + np.float32(at))
                seen.scores.append(0.9)
                seen.values.append(np.full(len(EXPRESSION_NAMES), at / 10, np.float32))
        return [seen for seen in self.people if seen.at]

    def finish(self) -> list[Sighting]:
        return self.between(0, self.frame)

    def between(self, first: int, last: int) -> list[Sighting]:
        parts = (seen.part(first, last) for seen in self.people)
        return [part for part in parts if part is not None]

    def forget(self, before: int) -> None:
        for seen in self.people:
            seen.forget(before)


class Brightness:
    """In place of the networks: a unit's score is how bright the face's picture is, and batches are counted."""

    au_ids, thresholds, emotions = (1, 12), (0.5, 0.5), ("neutral",)

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def add(self, seen: Sighting, place: int, picture: NDArray[np.uint8]) -> None:
        self.asked.append((id(seen), seen.at[place]))
        light = picture[0, 0, 0] / 100
        seen.notes[seen.at[place]] = np.array([light, 1 - light, 1.0], np.float32)

    def anew(self) -> "Brightness":
        return self

    def flush(self) -> None:
        """Nothing waits."""


class Scripted(DenseReader):
    """A dense reader of one such cast in whatever it reads; `scripts` are those who followed, one a shot."""

    def __init__(self, cast: Sequence[dict[int, int]], side: float = 60.0) -> None:
        self.scripts: list[Script] = []
        self.examiner = Brightness()  # type: ignore[assignment]
        self.reader: Any = self
        self._cast, self._side = cast, side

    def follower(self, times: NDArray[np.float64] | None = None, still: bool = False) -> Script:
        """A new one for each shot."""
        self.scripts.append(Script(self._cast, self._side))
        return self.scripts[-1].follower(times, still)
