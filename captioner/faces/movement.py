"""How a person moves through a clip, as numbers that know the order of time: what judges of actions look at.

Axes: T frames. Curves are laid on an even grid first, so that neither the frame rate nor lost frames change a number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from captioner.faces.face_reading import FaceReading

Curve: TypeAlias = NDArray[np.floating[Any]]

GRID = 10.0  # values a second
SLOW = 0.9  # seconds of the running mean; what is faster is a nod, a shake, speech
ENDS = 0.15  # share of the time seen that counts as its beginning and its end
STILL = 5e-4  # of the picture's size; a picture shown again and again is read alike to the last digit
_DEGREES = 30.0  # a unit of yaw, pitch and roll
_GAP = 2.0  # mouth gaps, in distances between the eye corners, count twice: a mouth wide open is 1
SHUT = 0.32  # eyeBlink from which on eyes are closed: the reader says .13 of open ones, .46 of shut ones

_PLACED = ("yaw", "pitch", "roll", "gaze_x", "gaze_y", "height", "x", "y")  # where they begin and end means something
_LIVELY = (*_PLACED, "mouth")
MOTION_NAMES: tuple[str, ...] = (
    *(f"{name}.{part}" for name in _PLACED for part in ("first", "net", "rise", "fall", "mean", "return")),
    *(f"{name}.{part}" for name in _LIVELY for part in ("beat", "turns", "jitter")),
    "mouth.mean", "mouth.most", "smile.mean", "smile.most",
    "blink.share", "blink.longest", "blink.count", "blink.end",
    "seen.share", "seen.late", "seen.early", "seen.edge_first", "seen.edge_last", "seen.holes", "seconds",
    "other.there", "other.side", "other.yaw_to", "other.yaw_towards", "other.gaze_to", "other.mouth", "other.seen",
)  # fmt: skip


@dataclass(frozen=True)
class Movements:
    """What is followed of one person: angles in units of 30 degrees, places in widths and heights of the picture.

    The clip lasts from `start` to `end`; its frames before the person came and after they left need not be there.
    """

    times: Curve  # (T,) seconds
    seen: NDArray[np.bool_]  # (T,)
    curves: Mapping[str, Curve]  # yaw, pitch, roll, gaze_x, gaze_y, blink, mouth, smile: (T,) each
    boxes: Curve  # (T, 4) x0 y0 x1 y1, shares of the picture
    start: float
    end: float

    @property
    def moving(self) -> bool:
        """Whether anything can be seen to move: a picture that stands still says nothing of actions."""
        there = self.boxes[self.seen]
        return len(there) > 2 and bool(np.abs(there - there[0]).max() > STILL)


def motion_numbers(person: Movements, other: Movements | None = None) -> NDArray[np.float32]:
    """The numbers of MOTION_NAMES for a person, and how they stand to a second one."""
    values = dict.fromkeys(MOTION_NAMES, 0.0)
    values["seconds"] = min(person.end - person.start, 10.0) / 5
    if not person.seen.any():
        return np.array(list(values.values()), np.float32)
    grid, even = _even(person)
    for name in _PLACED:
        values |= _course(name, even[name])
    for name in _LIVELY:
        values |= _liveliness(name, even[name])
    for name in ("mouth", "smile"):
        values[f"{name}.mean"], values[f"{name}.most"] = float(even[name].mean()), _most(even[name])
    values |= _lids(even["blink"]) | _presence(person)
    if other is not None and other.seen.any():
        values |= _towards(grid, even, other)
    return np.array([values[name] for name in MOTION_NAMES], np.float32)


def _even(person: Movements) -> tuple[Curve, dict[str, Curve]]:
    """Seconds from first to last sight on an even grid, and each curve there."""
    times = person.times[person.seen]
    count = max(4, round((times[-1] - times[0]) * GRID) + 1)
    grid = np.linspace(times[0], times[-1], count)
    boxes = person.boxes[person.seen]
    height = np.maximum(boxes[:, 3] - boxes[:, 1], 1e-3)
    scale = float(np.median(height))
    measured = {name: curve[person.seen] for name, curve in person.curves.items()}
    measured |= {
        "height": np.log(height / scale) * 3,
        "x": (boxes[:, 0] + boxes[:, 2]) / 2 / scale, "y": (boxes[:, 1] + boxes[:, 3]) / 2 / scale,
    }  # fmt: skip
    return grid, {name: _clean(np.interp(grid, times, curve)) for name, curve in measured.items()}


def _clean(curve: Curve) -> Curve:
    """Without single outliers: the median of three neighbours."""
    ends = np.concatenate([curve[:1], curve, curve[-1:]])
    middle: Curve = np.median(np.stack([ends[:-2], ends[1:-1], ends[2:]]), 0)
    return middle


def _course(name: str, curve: Curve) -> dict[str, float]:
    """Where a curve begins, how far it goes up and down from there, and where it ends."""
    span = max(1, round(len(curve) * ENDS))
    first, last = float(curve[:span].mean()), float(curve[-span:].mean())
    rise, fall = float(np.percentile(curve, 95)) - first, first - float(np.percentile(curve, 5))
    there = first if name not in ("x", "y") else 0.0  # a place is no posture
    mean = float(curve.mean()) if name not in ("x", "y") else 0.0
    back = max(rise, fall) - abs(last - first)  # gone and come again
    return {
        f"{name}.first": there, f"{name}.net": last - first, f"{name}.rise": rise, f"{name}.fall": fall,
        f"{name}.mean": mean, f"{name}.return": back,
    }  # fmt: skip


def _liveliness(name: str, curve: Curve) -> dict[str, float]:
    """How strongly a curve beats about its running mean, how often it turns there, how it trembles."""
    fast = curve - _running_mean(curve)
    beat = float(fast.std())
    large = np.sign(fast) * (np.abs(fast) > 0.5 * beat)
    signs = large[large != 0]
    turns = float((signs[1:] != signs[:-1]).sum()) if len(signs) > 1 else 0.0
    jitter = float(np.abs(np.diff(curve, 2)).mean()) if len(curve) > 2 else 0.0
    seconds = max(len(curve) / GRID, 0.5)
    return {f"{name}.beat": 4 * beat, f"{name}.turns": turns / seconds, f"{name}.jitter": 8 * jitter}


def _running_mean(curve: Curve) -> Curve:
    width = min(len(curve), max(3, round(SLOW * GRID)) | 1)
    kernel = np.ones(width)
    return np.convolve(curve, kernel, "same") / np.convolve(np.ones_like(curve), kernel, "same")


def _most(curve: Curve) -> float:
    return float(np.percentile(curve, 90))


def _lids(blink: Curve) -> dict[str, float]:
    closed = blink > SHUT
    edges = np.flatnonzero(np.diff(np.concatenate([[0], closed.astype(int), [0]])))
    runs = edges[1::2] - edges[::2]
    return {
        "blink.share": float(closed.mean()), "blink.longest": float(runs.max(initial=0)) / GRID,
        "blink.count": float(len(runs)) / 4, "blink.end": float(closed[-3:].mean()),
    }  # fmt: skip


def _presence(person: Movements) -> dict[str, float]:
    """When a person comes and goes, and how near the picture's edge that is."""
    first, last = (int(place) for place in np.flatnonzero(person.seen)[[0, -1]])
    inside, length = person.seen[first : last + 1], max(person.end - person.start, 0.5)
    there = float(person.times[last] - person.times[first])

    def edge(box: Curve) -> float:
        return float(min(box[0], 1 - box[2], 0.5)) * 2

    return {
        "seen.share": min(1.0, there / length) * float(inside.mean()),
        "seen.late": float(person.times[first] - person.start) / length,
        "seen.early": float(person.end - person.times[last]) / length,
        "seen.edge_first": edge(person.boxes[first]), "seen.edge_last": edge(person.boxes[last]),
        "seen.holes": float(1 - inside.mean()),
    }  # fmt: skip


def _towards(grid: Curve, even: Mapping[str, Curve], other: Movements) -> dict[str, float]:
    """Where a second person is, and how far the first one's head and eyes turn to them."""
    boxes = other.boxes[other.seen]
    _, theirs = _even(other)
    scale = float(np.median(boxes[:, 3] - boxes[:, 1]))
    side = float(np.sign(np.median((boxes[:, 0] + boxes[:, 2]) / 2 / max(scale, 1e-3)) - np.median(even["x"])))
    span = max(1, round(len(grid) * ENDS))
    net = float(even["yaw"][-span:].mean() - even["yaw"][:span].mean())
    return {
        "other.there": 1.0, "other.side": side, "other.yaw_to": side * float(even["yaw"].mean()),
        "other.yaw_towards": side * net, "other.gaze_to": side * float(even["gaze_x"].mean()),
        "other.mouth": 4 * float((theirs["mouth"] - _running_mean(theirs["mouth"])).std()),
        "other.seen": _presence(other)["seen.share"],
    }  # fmt: skip


def movements_of(reading: FaceReading, size: tuple[int, int], start: float, end: float) -> Movements:
    """How a person moves in a clip of these seconds and of this size (width, height)."""
    width, height = size
    curves = {
        "yaw": reading.yaw / _DEGREES, "pitch": reading.pitch / _DEGREES, "roll": reading.roll / _DEGREES,
        "gaze_x": reading.gaze[:, 0], "gaze_y": reading.gaze[:, 1], "blink": reading.value("eyeBlink"),
        "mouth": np.clip(_GAP * reading.value("mouthGap"), 0, 1), "smile": reading.value("mouthSmile"),
    }  # fmt: skip
    boxes: Curve = np.asarray(reading.boxes / np.array([width, height, width, height]), np.float64)
    return Movements(reading.times, reading.success, curves, boxes, start, max(end, float(reading.times[-1])))
