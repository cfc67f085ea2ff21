"""Where people are in the picture and how it is filmed: places, takes, camera moves, light."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.synth.identity import SKINS
from captioner.synth.story.motion import GROWN, SHRUNK, Curve, Window, smooth_step, wave

Box = tuple[float, float, float]  # face centre x (share of width), y and face height (shares of height)
Spots = tuple[Box | None, ...]  # of every role in one take

FACE_WIDTH = 0.78  # face heights
BUST = 2.5  # the lower edge is at most so many face heights under the chin: nobody floats
CLEARLY = 1.15  # more prominent than the other person the main one is, at least
APART = 1.28  # the least distance of two faces, in the sum of their half widths: hair needs room
FRAMINGS: tuple[str, ...] = ("film", "portrait")
DIM = 0.45  # an exposure up to here is darkness


@dataclass(frozen=True)
class CameraPose:
    """The camera at one frame: what it films is zoomed and rolled (degrees, clockwise) about the picture's
    centre, then shifted by `dx`, `dy` picture heights to the right and down; `cut` counts the takes from 0."""

    dx: float = 0.0
    dy: float = 0.0
    zoom: float = 1.0
    roll: float = 0.0
    cut: int = 0


@dataclass(frozen=True)
class Grade:
    """How a clip was lit, filmed and stored; the defaults change nothing.

    `exposure` 0.2 dim .. 1.3 bright; `warmth` -1 .. 1; `saturation` 0 is grey; `side_light` -1 .. 1 (from the
    left .. right); `noise` sd of 0..255; `blur` sigma in pixels of a 224-pixel picture; `letterbox` height of each
    bar (share); `backdrop` own, gradient, texture or picture; `tint` skin colour that grey photos take.
    """

    exposure: float = 1.0
    contrast: float = 1.0
    warmth: float = 0.0
    saturation: float = 1.0
    side_light: float = 0.0
    vignette: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    crf: int = 20
    letterbox: float = 0.0
    backdrop: str = "own"
    seed: int = 0
    tint: tuple[float, float, float] | None = None


@dataclass
class Track:
    """A face on its way through the picture, curves (frames,): centre, height, whether it is filmed at all."""

    x: Curve
    y: Curve
    height: Curve
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class Staging:
    """The staging: where each role is in each take, when takes start (seconds), how roles come and go.

    `arrangement` is alone, beside, behind or reverse (the two are filmed in turn); `side` is where the second
    person is, seen from the first: -1 left, 1 right, 0 nowhere.
    """

    arrangement: str
    starts: tuple[float, ...]
    takes: tuple[Spots, ...]
    side: int
    passages: tuple[str, ...]  # "", "enters" or "leaves" of each role
    times: tuple[Window, ...]  # when the passage of each role begins and ends


def through_camera(box: Box, pose: CameraPose, aspect: float) -> Box:
    """Where a place ends up in the picture once the camera has moved."""
    x, y = (box[0] - 0.5) * aspect, box[1] - 0.5
    angle = np.radians(pose.roll)
    right, down = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    return (
        float(0.5 + (pose.zoom * right + pose.dx) / aspect),
        float(0.5 + pose.zoom * down + pose.dy),
        box[2] * pose.zoom,
    )


def inside(box: Box, aspect: float, bar: float = 0.0) -> float:
    """The share of a face's box that lies in the picture, between the bars of a letterbox."""
    half = 0.5 * FACE_WIDTH * box[2] / aspect
    across = min(box[0] + half, 1.0) - max(box[0] - half, 0.0)
    down = min(box[1] + 0.5 * box[2], 1.0 - bar) - max(box[1] - 0.5 * box[2], bar)
    return max(0.0, across) * max(0.0, down) / (2 * half * box[2])


def _largest(aspect: float, bar: float) -> float:
    """The height of a face that fills the picture."""
    return min(0.95 * (1 - 2 * bar), 1.1 * aspect / FACE_WIDTH)


def _height(rng: np.random.Generator, most: float) -> float:
    """Face heights of films: mostly close-ups, sometimes far away, sometimes filling the picture."""
    kind = rng.random()
    low, high = (0.25, 0.7) if kind < 0.8 else ((1 / 12, 0.25) if kind < 0.87 else (0.7, 0.95))
    return float(min(np.exp(rng.uniform(np.log(low), np.log(high))), most))


def _within(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high)) if low <= high else 0.5 * (low + high)


def _down(rng: np.random.Generator, height: float, grow: float, bar: float) -> float:
    """The face's centre: room above for the hair, the lower edge no further below than a bust reaches."""
    tall, small = height * grow, height * SHRUNK
    low, high = bar + (0.5 + min(0.25, 0.12 / tall)) * tall, 1 - bar - 0.6 * tall
    floor = 1 - bar - (0.5 + BUST) * small
    wanted = 1 - bar - (0.5 + rng.uniform(0.3, BUST)) * small
    return _within(wanted, low, min(high, max(0.58, floor)))


def _alone(rng: np.random.Generator, aspect: float, bar: float, grow: float, least: float = 0.0) -> Box:
    height = max(least, _height(rng, _largest(aspect, bar) / grow))
    half = 0.5 * FACE_WIDTH * height * grow / aspect
    wanted = 0.5 + (rng.normal(0, 0.07) if rng.random() < 0.6 else rng.choice((-1, 1)) * rng.uniform(0.1, 0.3))
    return _within(wanted, 0.85 * half, 1 - 0.85 * half), _down(rng, height, grow, bar), height


def _pair(rng: np.random.Generator, behind: bool, side: int, aspect: float, bar: float, grow: float) -> Spots:
    """Two faces that do not cover each other, the first at most as wide as its half of the picture."""
    ratio = rng.uniform(0.55, 0.7) if behind else rng.uniform(0.68, 1.0)
    most = min(0.95 * aspect / (FACE_WIDTH * 0.5 * (1 + APART) * (grow + ratio)), 0.5 / grow)
    height = float(min(np.exp(rng.uniform(np.log(0.22), np.log(0.5))), most))
    other = ratio * height
    halves = 0.5 * FACE_WIDTH * (height * grow + other) / aspect
    apart = APART * halves + rng.uniform(0.0, 0.5) * max(0.0, 1 - (1 + APART) * halves)
    middle = 0.5 * FACE_WIDTH * height * grow / aspect, 0.5 * FACE_WIDTH * other / aspect
    low, high = (middle[0], 1 - apart - middle[1]) if side > 0 else (middle[1] + apart, 1 - middle[0])
    x = _within(low + rng.random() * (high - low), low, high)
    y = _down(rng, height, grow, bar)
    lower = y + rng.uniform(-0.08, 0.08) * height - (0.2 * height if behind else 0.0)
    floor = 1 - bar - (0.5 + 1.4 * BUST) * other
    y2 = _within(lower, max(bar + 0.6 * other, floor), 1 - bar - 0.6 * other)
    return (x, y, height), (x + side * apart, y2, other)


def _takes(rng: np.random.Generator, seconds: float, reverse: bool) -> tuple[float, ...]:
    """When the takes start."""
    kind = rng.random()
    if reverse:
        cut = seconds * rng.uniform(0.5, 0.65)
        again = cut + seconds * rng.uniform(0.18, 0.3)
        return (0.0, cut, again) if kind < 0.4 and seconds >= 3 else (0.0, cut)
    if seconds < 2 or kind < 0.78:
        return (0.0,)
    if kind < 0.92 or seconds < 3:
        return 0.0, seconds * rng.uniform(0.3, 0.7)
    return 0.0, seconds * rng.uniform(0.25, 0.4), seconds * rng.uniform(0.55, 0.75)


def sample_staging(
    rng: np.random.Generator, seconds: float, aspect: float, people: int, bar: float, passage: str, leans: bool
) -> Staging:
    """A staging; a given `passage` (enters, leaves) or `leans` of the main person keep it to one take.

    Of two people the first is clearly the more prominent: captions describe them.
    """
    second = people > 1 and rng.random() < 0.33
    single = bool(passage or leans)
    kinds = ("beside", "beside", "behind") if single or seconds < 2.4 else ("beside", "beside", "behind", "reverse")
    arrangement = kinds[int(rng.integers(len(kinds)))] if second else "alone"
    for _ in range(50):  # of plans for two one in three is drawn again
        staging = _draw_staging(rng, seconds, aspect, bar, passage, leans, arrangement)
        if not second or prominence(staging, 0, seconds) > CLEARLY * prominence(staging, 1, seconds):
            break
    return staging


def sample_portrait(rng: np.random.Generator, seconds: float) -> Staging:
    """The staging of a portrait: one take of one person, head and shoulders, as the experts for drawn faces know it."""
    box = (0.5 + rng.uniform(-0.06, 0.06), rng.uniform(0.53, 0.58), rng.uniform(0.46, 0.57))
    return Staging("alone", (0.0,), ((box,),), 0, ("",), ((0.0, seconds),))


def prominence(staging: Staging, role: int, seconds: float) -> float:
    """How large, how central and how long a role is in the picture: by this, viewers know whom a clip is about."""
    begin, finish = staging.times[role]
    low = 0.5 * (begin + finish) if staging.passages[role] == "enters" else 0.0
    high = 0.5 * (begin + finish) if staging.passages[role] == "leaves" else seconds
    total = 0.0
    for start, end, spots in zip(staging.starts, (*staging.starts[1:], seconds), staging.takes, strict=True):
        spot = spots[role]
        if spot is not None:
            x, y, height = spot
            central = np.exp(-(((x - 0.5) / 0.4) ** 2 + ((y - 0.5) / 0.5) ** 2) / 2)
            total += max(0.0, min(end, high) - max(start, low)) * height * float(central)
    return total


def _draw_staging(
    rng: np.random.Generator, seconds: float, aspect: float, bar: float, passage: str, leans: bool, arrangement: str
) -> Staging:
    single, second = bool(passage or leans), arrangement != "alone"
    starts = (0.0,) if single else _takes(rng, seconds, arrangement == "reverse")
    side = int(rng.choice((-1, 1))) if second else 0
    grow = GROWN if leans else 1.02
    passages, times = [passage], [_when(rng, seconds, passage)]
    takes: list[Spots] = []
    if arrangement == "reverse":
        first = _alone(rng, aspect, bar, grow)
        other: Spots = (None, _alone(rng, aspect, bar, 1.02))
        # Half of the time the second person is filmed first.
        takes = [(first, None), other, (first, None)][: len(starts)]
        if len(starts) == 2 and rng.random() < 0.5:
            takes, starts = takes[::-1], (0.0, seconds - starts[1])
    elif second:
        takes = [_pair(rng, arrangement == "behind", side, aspect, bar, grow) for _ in starts]
    else:
        # No long shot among several takes: what the face does in it would be lost.
        least = min(0.2, _largest(aspect, bar)) if len(starts) > 1 else 0.0
        takes = [(_alone(rng, aspect, bar, grow, least),) for _ in starts]
    if second:
        comes = arrangement != "reverse" and len(starts) == 1 and not passage and rng.random() < 0.12
        passages.append(("enters", "leaves")[int(rng.integers(2))] if comes else "")
        times.append(_when(rng, seconds, passages[1]))
    return Staging(arrangement, starts, tuple(takes), side, tuple(passages), tuple(times))


def _when(rng: np.random.Generator, seconds: float, passage: str) -> Window:
    if not passage:
        return 0.0, seconds
    length = min(rng.uniform(0.6, 1.3), 0.35 * seconds)
    margin = rng.uniform(0.0, 0.12) * seconds
    if passage == "enters":
        return margin, margin + length
    return seconds - margin - length, seconds - margin


def window(staging: Staging, role: int, seconds: float) -> Window:
    """The longest time in which a role is in the picture, not counting its coming and going."""
    ends = (*staging.starts[1:], seconds)
    spans = [
        (start, end)
        for start, end, take in zip(staging.starts, ends, staging.takes, strict=True)
        if take[role] is not None
    ]
    joined = [spans[0]]
    for start, end in spans[1:]:
        if start == joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    start, end = max(joined, key=lambda span: span[1] - span[0])
    begin, finish = staging.times[role]
    if staging.passages[role] == "enters":
        return finish, end
    return (start, begin) if staging.passages[role] == "leaves" else (start, end)


def track(
    rng: np.random.Generator, t: Curve, staging: Staging, role: int, size: Curve, bob: Curve, aspect: float
) -> Track:
    """The way of a role's face, from its places in the takes and what its head does."""
    take = np.searchsorted(staging.starts, t + 1e-9, side="right") - 1
    spots = [spots[role] for spots in staging.takes]
    boxes = np.array([spot or (0.5, 0.5, 0.3) for spot in spots])[take]
    seen = np.array([spot is not None for spot in spots])[take]
    height = boxes[:, 2] * size
    x = boxes[:, 0] + 0.015 * boxes[:, 2] * wave(rng, t, 0.1, 0.4)
    y = boxes[:, 1] + bob * height
    if staging.passages[role]:
        half = 0.5 * FACE_WIDTH * height / aspect
        # Nobody walks through the other person: in and out on one's own side.
        right = (role == 1) == (staging.side > 0) if staging.side else bool(rng.random() < 0.5)
        outside = 1 + 1.1 * half if right else -1.1 * half
        begin, finish = staging.times[role]
        share = smooth_step(t, begin, finish - begin)
        away = 1 - share if staging.passages[role] == "enters" else share
        x = x + away * (outside - x)
        seen = seen & (x > -0.9 * half) & (x < 1 + 0.9 * half)
    return Track(x, y, height, seen)


def sample_camera(
    rng: np.random.Generator, t: Curve, starts: Sequence[float], tracks: Sequence[Track], aspect: float, bar: float
) -> tuple[CameraPose, ...]:
    """The camera over the frames: still, hand-held, zooming or panning, as far as nobody leaves the picture by it."""
    take = np.searchsorted(starts, t + 1e-9, side="right") - 1
    kind, dx, dy = rng.random(), np.zeros(len(t)), np.zeros(len(t))
    roll, zoom = dx, np.ones(len(t))
    if 0.4 < kind < 0.8:
        size = np.exp(rng.uniform(np.log(0.002), np.log(0.014)))
        dx = size * (wave(rng, t, 0.3, 0.9) + 0.5 * wave(rng, t, 1.0, 2.6))
        dy = size * (wave(rng, t, 0.3, 0.9) + 0.5 * wave(rng, t, 1.0, 2.6))
        roll = 60 * size * wave(rng, t, 0.2, 0.7)
    elif 0.8 <= kind < 0.9:
        dx = rng.choice((-1, 1)) * rng.uniform(0.05, 0.2) * (_glide(rng, t) - 0.5)
    if kind > 0.9 or 0.72 < kind < 0.8:
        glide = _glide(rng, t)
        zoom = 1 + rng.uniform(0.12, 0.3) * (glide if rng.random() < 0.6 else 1 - glide)
    if rng.random() < 0.06:
        roll = roll + rng.normal(0, 2.5)
    curves = zip(dx.tolist(), dy.tolist(), zoom.tolist(), roll.tolist(), take.tolist(), strict=True)
    poses = [CameraPose(*values) for values in curves]
    if all(_kept(one, poses, aspect, bar) for one in tracks):
        return tuple(poses)
    return tuple(CameraPose(cut=int(number)) for number in take)


def _glide(rng: np.random.Generator, t: Curve) -> Curve:
    """0 to 1, slowly, over most of the clip."""
    length = max(1.0, float(t[-1]))
    return smooth_step(t, rng.uniform(-0.2, 0.2) * length, rng.uniform(0.7, 1.2) * length)


def _kept(one: Track, poses: Sequence[CameraPose], aspect: float, bar: float) -> bool:
    """Whether the camera cuts off next to nothing of a face; every fourth frame tells."""
    for i in range(0, len(poses), 4):
        if one.seen[i]:
            box = (float(one.x[i]), float(one.y[i]), float(one.height[i]))
            if inside(through_camera(box, poses[i], aspect), aspect, bar) < min(0.88, inside(box, aspect, bar) - 0.02):
                return False
    return True


def sample_grade(rng: np.random.Generator, pictures: bool) -> Grade:
    """Light, lens and storage of a clip, from studio to night."""
    light = int(rng.choice(4, p=(0.68, 0.18, 0.07, 0.07)))
    low, high = ((0.8, 1.15), (DIM, 0.8), (0.2, DIM), (1.15, 1.3))[light]
    exposure = float(rng.uniform(low, high))
    dark = max(0.0, 1 - exposure)
    kinds = ("own", "own", "gradient", "texture") + ("picture",) * 3 * pictures
    skin = np.array(SKINS[int(rng.integers(len(SKINS)))]) + rng.uniform(-10, 10, 3)
    tinted, grey = rng.random() < 0.75, rng.random() < 0.08
    return Grade(
        exposure=exposure,
        contrast=float(rng.uniform(0.75, 1.25)),
        warmth=float(np.clip(rng.normal(0, 0.35), -1, 1)),
        saturation=0.0 if grey else float(rng.uniform(0.5, 1.2)),
        side_light=float(rng.choice((-1, 1)) * rng.uniform(0.2, 0.9) * (rng.random() < 0.35)),
        vignette=float(rng.uniform(0.1, 0.6) * (rng.random() < 0.25)),
        noise=float(min(rng.exponential(1.5 + 4 * dark), 14.0)),
        blur=float(rng.uniform(0.2, 1.4) * (rng.random() < 0.35)),
        crf=int(rng.integers(18, 35)),
        letterbox=float(rng.uniform(0.06, 0.13) * (rng.random() < 0.12)),
        backdrop=kinds[int(rng.integers(len(kinds)))],
        seed=int(rng.integers(2**31)),
        tint=(float(skin[0]), float(skin[1]), float(skin[2])) if tinted and not grey else None,
    )


def even_light(rng: np.random.Generator) -> Grade:
    """The light of a portrait: nothing is damaged, some are a little darker than others."""
    return Grade(exposure=float(rng.uniform(0.85, 1.08)), seed=int(rng.integers(2**31)))
