"""How a face and its head move: curves over time, in seconds, the same at every frame rate."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Window = tuple[float, float]  # seconds in which a person can be seen to act

LIMITS: dict[str, float] = {"yaw": 18.0, "pitch": 12.0, "roll": 18.0}  # degrees; a still turns no further
SLOW, QUICK = 0.9, 0.35  # seconds from which a movement is slow, up to which it is sudden
GROWN, SHRUNK = 1.17, 0.85  # how much a face grows and shrinks in the picture by leaning

# What changes smoothly from one value to another. SIDE is -1 or 1: towards the other person, or either way.
# `size` is a factor, `bob` a shift down in face heights, gaze_x and gaze_y go right and down.
_RAMPS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "turns_left": (("yaw", 4, -14), ("gaze_x", 0, -0.3)),
    "turns_right": (("yaw", -4, 14), ("gaze_x", 0, 0.3)),
    "tilts_head": (("roll*SIDE", 0, 14),),
    "lowers_head": (("pitch", -3, 11), ("gaze_y", 0, 0.7), ("bob", 0, 0.06)),
    "raises_head": (("pitch", 10, -3), ("gaze_y", 0.6, 0), ("bob", 0.05, 0)),
    "looks_down": (("pitch", 0, 6), ("gaze_y", 0, 0.95)),
    "looks_up": (("pitch", 0, -6), ("gaze_y", 0, -0.95)),
    "looks_left": (("yaw", 0, -3), ("gaze_x", 0, -0.95)),
    "looks_right": (("yaw", 0, 3), ("gaze_x", 0, 0.95)),
    "turns_to": (("yaw*SIDE", -4, 14), ("gaze_x*SIDE", 0, 0.45)),
    "looks_at": (("yaw*SIDE", 0, 6), ("gaze_x*SIDE", 0, 0.8)),
    "talks_to": (("yaw*SIDE", 7, 10), ("gaze_x*SIDE", 0.45, 0.55)),
    "listens": (("yaw*SIDE", 6, 8), ("gaze_x*SIDE", 0.5, 0.6)),
    "leans_in": (("size", 0.87, 1.12), ("bob", 0, 0.04)),
    "moves_away": (("size", 1.1, 0.86),),
}  # fmt: skip
_STEADY = frozenset(("talks_to", "listens"))  # too small a ramp to be slow or sudden

# What repeats: its curve, amplitudes, cycles a second, and whether it swings both ways.
_CYCLES: dict[str, tuple[str, tuple[float, float], tuple[float, float], bool]] = {
    "nods": ("pitch", (8, 11), (0.7, 2.2), False),
    "shakes_head": ("yaw", (9, 13), (0.7, 2.1), True),
    "looks_around": ("gaze_x", (0.75, 0.95), (0.4, 0.8), True),
    "trembles": ("yaw", (1.3, 1.9), (3.0, 3.7), True),
    "laughs": ("bob", (0.02, 0.035), (2.6, 3.6), False),
}
_ENDLESS = frozenset(("trembles", "laughs"))


@dataclass
class Motion:
    """Curves (frames,) of one head; see `_RAMPS` for their units."""

    yaw: Curve
    pitch: Curve
    roll: Curve
    gaze_x: Curve
    gaze_y: Curve
    bob: Curve
    size: Curve
    blink: Curve
    speech: Curve
    manners: dict[str, str] = field(default_factory=dict)


def smooth_step(t: Curve, start: float = 0.0, length: float = 1.0) -> Curve:
    """0 before `start`, 1 from `start + length` on, smooth between."""
    u = np.clip((t - start) / max(length, 1e-6), 0, 1)
    return u * u * (3 - 2 * u)


def wave(rng: np.random.Generator, t: Curve, low: float, high: float) -> Curve:
    """A sine of `low` to `high` cycles a second that starts anywhere."""
    return np.sin(2 * np.pi * (rng.uniform(low, high) * t + rng.random()))


def episode(rng: np.random.Generator, t: Curve, window: Window) -> Curve:
    """Onset, apex and mostly offset within a window, 0..1; one in four is on before the window starts.

    The apex holds at least a third of a second, or of a window shorter than one.
    """
    start, end = window
    length = end - start
    if length > 2.5 and rng.random() < 0.25:
        middle = start + length * rng.uniform(0.4, 0.6)
        second = rng.uniform(0.75, 1.0) * _arc(rng, t, (middle + 0.3, end))
        return np.maximum(_arc(rng, t, (start, middle)), second)
    return _arc(rng, t, window)


def _arc(rng: np.random.Generator, t: Curve, window: Window) -> Curve:
    start, end = window
    length = end - start
    onset = min(rng.uniform(0.15, 0.6), 0.3 * length)
    begin = start - onset if rng.random() < 0.25 else start + 0.35 * length * rng.random() ** 1.5
    hold = max(min(0.34, length / 3), (end - begin - onset) * rng.uniform(0.3, 1.0))
    curve = smooth_step(t, begin, onset)
    if rng.random() < 0.6:
        left = rng.uniform(0.0, 0.3)
        curve = curve - (1 - left) * smooth_step(t, begin + onset + hold, rng.uniform(0.25, 1.0)) * curve
    return curve * (1 - rng.uniform(0.0, 0.05) * (1 + wave(rng, t, 0.5, 2.0)))


def shut(rng: np.random.Generator, t: Curve, window: Window, held: bool) -> Curve:
    """Eyes that close for good or for half a second and more; `held` ones are closed from the start."""
    start, end = window
    length = end - start
    begin = start - 1 if held else start + rng.uniform(0.05, 0.4) * length
    closed = smooth_step(t, begin, min(rng.uniform(0.12, 0.4), 0.25 * length))
    opening = max(begin, start) + rng.uniform(0.5, 1.2) * max(1.0, length)
    return closed * (1 - smooth_step(t, opening, 0.25))


def talking(rng: np.random.Generator, t: Curve, window: Window) -> Curve:
    """Speech 0..1: syllables in phrases of one to three seconds, with pauses."""
    beat = 0.5 + 0.38 * wave(rng, t, 2.0, 2.8) + 0.3 * wave(rng, t, 3.2, 4.3)
    now, gate = window[0] - rng.uniform(0.0, 0.8), np.zeros(len(t))
    while now < window[1]:
        stop = now + rng.uniform(1.0, 3.0)
        gate = np.maximum(gate, smooth_step(t, now, 0.12) * (1 - smooth_step(t, stop, 0.15)))
        now = stop + rng.uniform(0.3, 0.8)
    return np.clip(beat, 0, 1) * gate * rng.uniform(0.6, 1.0)


def blinking(rng: np.random.Generator, t: Curve, seconds: float, fast: bool = False) -> Curve:
    """Blinks of 0.15 s, about 17 a minute; `fast` ones two a second."""
    pause = 0.35 if fast else 1.2
    now, curve = rng.uniform(0.0, 0.4 if fast else 3.0), np.zeros(len(t))
    while now < seconds:
        curve = np.maximum(curve, np.clip(1.7 * (1 - np.abs(t - now) / 0.11), 0, 1))
        now += pause + (rng.uniform(0.0, 0.2) if fast else rng.exponential(2.2))
    return curve


def _glances(rng: np.random.Generator, t: Curve, seconds: float) -> tuple[Curve, Curve]:
    """Small saccades about the viewer, right and down."""
    times, right, down = [-1.0], [0.0], [0.0]
    now = rng.uniform(0.0, 1.0)
    while now < seconds:
        times += [now, now + 0.06]
        right += [right[-1], float(np.clip(rng.normal(0, 0.12), -0.25, 0.25))]
        down += [down[-1], float(np.clip(rng.normal(0, 0.07), -0.15, 0.15))]
        now += rng.uniform(0.4, 1.6)
    return np.interp(t, times, right), np.interp(t, times, down)


def perform(
    rng: np.random.Generator, t: Curve, seconds: float, window: Window, actions: tuple[str, ...], side: int = 0
) -> Motion:
    """The motion of a head that does `actions` within a window; `side`: where the other person is (-1, 0, 1)."""
    right, down = _glances(rng, t, seconds)
    motion = Motion(
        yaw=rng.uniform(-5, 5) * (not actions or "still" in actions) + 1.5 * wave(rng, t, 0.1, 0.35),
        pitch=rng.uniform(-2.5, 2.5) + 1.2 * wave(rng, t, 0.1, 0.35),
        roll=rng.uniform(-4, 4) + 1.0 * wave(rng, t, 0.1, 0.3),
        gaze_x=right, gaze_y=down,
        bob=0.008 * wave(rng, t, 0.2, 0.4),  # breathing
        size=1 + 0.008 * wave(rng, t, 0.1, 0.3),
        blink=blinking(rng, t, seconds, "blinks" in actions), speech=np.zeros(len(t)),
    )  # fmt: skip
    if {"talks", "talks_to", "shouts"} & set(actions):
        motion.speech = talking(rng, t, window)
        # People who talk move: small nods in time with the phrases.
        motion.pitch = motion.pitch + rng.uniform(0.5, 2.0) * wave(rng, t, 0.5, 1.1)
    side = side or int(rng.choice((-1, 1)))
    for action in actions:
        if action in _RAMPS:
            _add_ramp(rng, t, window, action, side, motion)
        elif action in _CYCLES:
            _add_cycles(rng, t, window, action, motion)
    for name, limit in LIMITS.items():
        setattr(motion, name, np.clip(getattr(motion, name), -limit, limit))
    motion.gaze_x, motion.gaze_y = np.clip(motion.gaze_x, -1, 1), np.clip(motion.gaze_y, -1, 1)
    return motion


def _add_ramp(rng: np.random.Generator, t: Curve, window: Window, action: str, side: int, motion: Motion) -> None:
    room = window[1] - window[0]
    length = min(float(np.exp(rng.uniform(np.log(0.22), np.log(1.4)))), 0.5 * room)
    curve = smooth_step(t, window[0] + rng.uniform(0.08, 0.7) * (room - length), length)
    if action not in _STEADY and not QUICK < length < SLOW:
        motion.manners[action] = "slowly" if length >= SLOW else "suddenly"
    strength = rng.uniform(0.9, 1.05)
    for key, before, after in _RAMPS[action]:
        name, sided = key.removesuffix("*SIDE"), key.endswith("*SIDE")
        if name == "size":
            motion.size = motion.size * (before + (after - before) * curve)
        else:
            sign = side if sided else 1
            value = getattr(motion, name) + sign * strength * (before + (after - before) * curve)
            setattr(motion, name, value)


def _add_cycles(rng: np.random.Generator, t: Curve, window: Window, action: str, motion: Motion) -> None:
    name, sizes, rates, both = _CYCLES[action]
    room, rate = window[1] - window[0], float(np.exp(rng.uniform(*np.log(rates))))
    most = max(1, int(0.8 * room * rate))
    count = most if action in _ENDLESS else int(rng.integers(min(2, most), min(4, most) + 1))
    if count / rate > room:
        rate = count / room
    start = window[0] + rng.uniform(0.0, 0.8) * (room - count / rate)
    u = np.clip((t - start) * rate, 0, count)
    swing = np.sin(2 * np.pi * u) if both else 0.5 - 0.5 * np.cos(2 * np.pi * u)
    sign = int(rng.choice((-1, 1))) if both else 1
    setattr(motion, name, getattr(motion, name) + sign * rng.uniform(*sizes) * swing)
    if action in ("nods", "shakes_head") and (rate <= 1.0 or count >= 3):
        motion.manners[action] = "slowly" if rate <= 1.0 else "repeatedly"


def lopsided(rng: np.random.Generator, aus: tuple[int, ...], one_sided: bool) -> Mapping[int, tuple[float, float]]:
    """Shares left and right for AUs: all but gone on one side, or the small unevenness of any face."""
    weak = rng.uniform(0.0, 0.2) if one_sided else rng.uniform(0.8, 1.0)
    share = (1.0, float(weak)) if rng.random() < 0.5 else (float(weak), 1.0)
    return dict.fromkeys(aus, share)
