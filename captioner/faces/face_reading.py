"""What is known of one person over a clip, densely in time: the record, and its table in OpenFace's columns.

Axes: T frames read, E expression values, A action units, C emotions. Pixels are those of the video as shown, the
centre of the first one at (0.5, 0.5).
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from captioner.errors import unknown
from captioner.faces.points import EXPRESSION_NAMES
from captioner.faces.reader import FaceError

Floats: TypeAlias = NDArray[np.float32]
Table: TypeAlias = dict[str, NDArray[Any]]
CERTAIN = 0.95  # chance from which on a person is called a woman or a man
_PIXELS = ("x_", "y_", "FaceRect")


@dataclass(frozen=True, eq=False, repr=False)
class FaceReading:
    """One person in the frames from the first to the last in which they were seen.

    Where `success` is false (looked away, hidden) boxes and landmarks are those of the nearest frame where it is
    true, and all other values are 0. Angles are degrees: yaw to the right of the picture, pitch downwards, roll
    clockwise. gaze is that of the eyes in the head, -1..1: to the right of the picture, upwards.
    """

    face_id: int  # 0 is the most dominant person: large, central, long there
    frames: NDArray[np.int64]  # (T,) numbers in the video, the first is 0
    times: NDArray[np.float64]  # (T,) seconds
    success: NDArray[np.bool_]  # (T,)
    confidence: Floats  # (T,) the landmark network's that this is a face, 0..1
    boxes: Floats  # (T, 4) x0 y0 x1 y1, bounds of the landmarks
    landmarks: Floats  # (T, 68, 2)
    yaw: Floats  # (T,)
    pitch: Floats  # (T,)
    roll: Floats  # (T,)
    gaze: Floats  # (T, 2)
    expression: Floats  # (T, E) named by expression_names
    aus: Floats  # (T, A) scores 0..1 of the units in au_ids
    emotions: Floats  # (T, C) probabilities named by emotion_names
    examined: NDArray[np.bool_]  # (T,) the networks gave aus and emotions here; else interpolated from neighbours
    au_ids: tuple[int, ...]
    au_thresholds: tuple[float, ...]  # (A,) score from which on a unit counts as there
    emotion_names: tuple[str, ...]
    dominance: float = 0.0
    woman: float | None = None  # chance that annotators would write woman, not man; None: no good look, or no network
    expression_names: tuple[str, ...] = field(default=EXPRESSION_NAMES, repr=False)

    def __post_init__(self) -> None:
        count, units, names = len(self.times), len(self.au_ids), len(self.emotion_names)
        shapes: dict[str, tuple[int, ...]] = {
            "boxes": (count, 4), "landmarks": (count, 68, 2), "gaze": (count, 2), "aus": (count, units),
            "emotions": (count, names), "expression": (count, len(self.expression_names)), "au_thresholds": (units,),
        }  # fmt: skip
        for each in fields(self):
            value = getattr(self, each.name)
            wanted = shapes.get(each.name, (count,) if isinstance(value, np.ndarray) else None)
            if wanted is not None and np.shape(value) != wanted:
                raise ValueError(f"{each.name} has shape {np.shape(value)}: {wanted} is needed")

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        span = f"{self.times[0]:.1f}-{self.times[-1]:.1f} s" if len(self) else "never seen"
        return f"FaceReading({self.face_id}, {self.named}, {span}, {len(self)} frames)"

    @property
    def present(self) -> NDArray[np.bool_]:
        """(T, A) whether each unit passes its threshold in a frame with the face."""
        passes: NDArray[np.bool_] = self.aus >= np.asarray(self.au_thresholds, np.float32)
        return passes & self.success[:, None]

    @property
    def named(self) -> Literal["woman", "man", "person"]:
        """What a caption may call them: an appearance, and a person below `CERTAIN`."""
        if self.woman is None or max(self.woman, 1 - self.woman) < CERTAIN:
            return "person"
        return "woman" if self.woman > 0.5 else "man"

    def au(self, unit: int) -> Floats:
        """The scores (T,) of an action unit, by its number."""
        if unit not in self.au_ids:
            raise FaceError(unknown("action unit", str(unit), [str(each) for each in self.au_ids]))
        return self.aus[:, self.au_ids.index(unit)]

    def emotion(self, name: str) -> Floats:
        """The probabilities (T,) of an emotion."""
        if name not in self.emotion_names:
            raise FaceError(unknown("emotion", name, self.emotion_names))
        return self.emotions[:, self.emotion_names.index(name)]

    def value(self, name: str) -> Floats:
        """The course (T,) of an expression value."""
        if name not in self.expression_names:
            raise FaceError(unknown("expression", name, self.expression_names))
        return self.expression[:, self.expression_names.index(name)]

    def table(self) -> Table:
        """The columns of `FaceReadings.table`, of this person alone."""
        radians = np.pi / 180
        columns: Table = {
            "frame": self.frames + 1,
            "face_id": np.full(len(self), self.face_id),
            "timestamp": self.times,
            "confidence": self.confidence,
            "success": self.success.astype(np.int64),
            "pose_Rx": self.pitch * radians,
            "pose_Ry": -self.yaw * radians,
            "pose_Rz": self.roll * radians,
            "gaze_x": self.gaze[:, 0],
            "gaze_y": -self.gaze[:, 1],
        }
        columns |= {f"AU{unit:02d}_r": self.aus[:, i] for i, unit in enumerate(self.au_ids)}
        columns |= {f"AU{unit:02d}_c": self.present[:, i].astype(np.int64) for i, unit in enumerate(self.au_ids)}
        columns |= {name: self.emotions[:, i] for i, name in enumerate(self.emotion_names)}
        corner, far = self.boxes[:, :2], self.boxes[:, 2:]
        columns |= {"FaceRectX": corner[:, 0], "FaceRectY": corner[:, 1]}
        columns |= {"FaceRectWidth": (far - corner)[:, 0], "FaceRectHeight": (far - corner)[:, 1]}
        columns |= {f"x_{i}": self.landmarks[:, i, 0] for i in range(68)}
        columns |= {f"y_{i}": self.landmarks[:, i, 1] for i in range(68)}
        return columns | {"examined": self.examined.astype(np.int64)}


@dataclass(frozen=True, eq=False, repr=False)
class FaceReadings(Sequence[FaceReading]):
    """Everybody in a video or picture, the most dominant person first."""

    people: tuple[FaceReading, ...]
    source: str
    fps: float  # of the video; frames are read more seldom
    duration: float  # seconds of the whole file
    size: tuple[int, int]  # width, height of the video as shown
    au_ids: tuple[int, ...]
    au_thresholds: tuple[float, ...]
    emotion_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.people)

    def __repr__(self) -> str:
        return f"FaceReadings({len(self)} people, {self.duration:.1f} s, {self.source!r})"

    @overload
    def __getitem__(self, place: int) -> FaceReading: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[FaceReading, ...]: ...

    def __getitem__(self, place: int | slice) -> FaceReading | tuple[FaceReading, ...]:
        return self.people[place]

    def __iter__(self) -> Iterator[FaceReading]:
        return iter(self.people)

    def table(self) -> Table:
        """A row for each frame and person, in order of time: columns by name; `captioner.to_pandas` makes a frame.

        The names, axes and units of pose_R*, x_* and y_* are OpenFace's (radians, pixels; frame counts from 1),
        those of FaceRect* and of the emotions py-feat's. AU*_r is the score 0..1 that captions use, not OpenFace's
        intensity 0..5; AU*_c says whether it passes the unit's threshold. gaze_x (to the right of the picture) and
        gaze_y (downwards) are shares of what eyes can turn, -1..1, in the head.
        """
        parts = [person.table() for person in self.people] or [self._nobody().table()]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.lexsort((columns["face_id"], columns["frame"]))
        return {name: column[order] for name, column in columns.items()}

    def _nobody(self) -> FaceReading:
        """A reading of no frame: its table has the columns, and no row."""
        of = np.zeros
        units, names, values = len(self.au_ids), len(self.emotion_names), len(EXPRESSION_NAMES)
        none = of(0, np.float32)
        return FaceReading(
            0, of(0, np.int64), of(0, np.float64), of(0, np.bool_), none, of((0, 4), np.float32),
            of((0, 68, 2), np.float32), none, none, none, of((0, 2), np.float32), of((0, values), np.float32),
            of((0, units), np.float32), of((0, names), np.float32), of(0, np.bool_), self.au_ids, self.au_thresholds,
            self.emotion_names,
        )  # fmt: skip


def csv_text(readings: FaceReadings) -> str:
    """The table as comma-separated values: pixels with one decimal, seconds with three, all else with four."""
    columns = readings.table()
    digits = {name: 1 if name.startswith(_PIXELS) else 3 if name == "timestamp" else 4 for name in columns}
    written = [
        [f"{value:.{digits[name]}f}" for value in (column.round(digits[name]) + 0.0).tolist()]  # no -0.0
        if column.dtype.kind == "f"
        else column.tolist()
        for name, column in columns.items()
    ]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows(zip(*written, strict=True))
    return text.getvalue()


def roll_of(landmarks: Floats) -> Floats:
    """Degrees (T,) by which the line between the eyes of landmarks (T, 68, 2) is turned, clockwise."""
    across = landmarks[:, 42:48].mean(1) - landmarks[:, 36:42].mean(1)
    turned: Floats = np.degrees(np.arctan2(across[:, 1], across[:, 0])).astype(np.float32)
    return turned
