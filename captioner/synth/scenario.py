"""What happens in a synthetic clip: salient action units (AUs) and their course, actions, blinks, the head's motion."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.emotion import MAFW_LABELS
from captioner.phrases import PHRASES, phrases_of
from captioner.synth.identity import DRAWN_AUS, Face, State, sample_face

Curve = NDArray[np.float64]

FPS = 8.0
SUBTLE = 0.2  # AUs up to here are distractors that no caption names
SALIENT = 0.55  # the smallest peak of an AU that captions name

# Emotions do not decide the AUs: `FREE` of the clips draw theirs without looking at the emotion.
PROTOTYPES: dict[str, tuple[tuple[str, ...], ...]] = {
    "anger": (("frown", "narrowed_eyes"), ("frown", "pressed_lips"), ("frown", "wide_eyes"), ("frown", "wide_open_mouth")),
    "disgust": (("wrinkled_nose", "raised_upper_lip"), ("frown", "wrinkled_nose"), ("wrinkled_nose", "narrowed_eyes"),
                ("raised_upper_lip", "lip_corners_down")),
    "fear": (("raised_brows", "wide_eyes", "stretched_lips"), ("wide_eyes", "open_mouth"), ("raised_inner_brows", "wide_eyes"),
             ("wide_eyes", "stretched_lips")),
    "happiness": (("smile", "raised_cheeks"), ("smile",), ("smile", "open_mouth"), ("raised_cheeks", "smile", "open_mouth")),
    "neutral": ((), (), ("raised_brows",), ("open_mouth",)),
    "sadness": (("raised_inner_brows", "lip_corners_down"), ("frown", "lip_corners_down"), ("lip_corners_down", "raised_chin"),
                ("raised_inner_brows", "frown")),
    "surprise": (("raised_brows", "wide_eyes"), ("raised_brows", "open_mouth"), ("raised_brows", "wide_eyes", "wide_open_mouth"),
                 ("raised_brows", "wide_open_mouth")),
    "contempt": (("smile", "narrowed_eyes"), ("raised_upper_lip",), ("raised_brows", "pressed_lips"), ("narrowed_eyes", "raised_chin")),
    "anxiety": (("frown", "stretched_lips"), ("raised_inner_brows", "pressed_lips"), ("frown", "open_mouth"),
                ("raised_inner_brows", "open_mouth")),
    "helplessness": (("raised_inner_brows", "raised_chin"), ("frown", "raised_chin"), ("raised_brows", "lip_corners_down")),
    "disappointment": (("lip_corners_down",), ("frown", "puckered_lips"), ("lip_corners_down", "pressed_lips"), ("puckered_lips",)),
}  # fmt: skip
FREE = 0.25

# Pairs that hide each other on a face: never together, so that a perfect observer can name everything.
_CONFLICTS: tuple[tuple[str, str], ...] = (
    ("raised_brows", "raised_inner_brows"), ("raised_brows", "frown"),
    ("wide_eyes", "narrowed_eyes"), ("wide_eyes", "raised_cheeks"), ("narrowed_eyes", "raised_cheeks"),
    ("closed_eyes", "wide_eyes"), ("closed_eyes", "narrowed_eyes"), ("closed_eyes", "raised_cheeks"),
    ("raised_upper_lip", "smile"), ("raised_upper_lip", "stretched_lips"), ("raised_upper_lip", "puckered_lips"),
    ("raised_upper_lip", "pressed_lips"), ("raised_upper_lip", "open_mouth"), ("raised_upper_lip", "wide_open_mouth"),
    ("smile", "lip_corners_down"), ("smile", "raised_chin"), ("smile", "stretched_lips"), ("smile", "puckered_lips"),
    ("lip_corners_down", "stretched_lips"), ("lip_corners_down", "puckered_lips"), ("lip_corners_down", "wide_open_mouth"),
    ("raised_chin", "pressed_lips"), ("raised_chin", "open_mouth"), ("raised_chin", "wide_open_mouth"),
    ("raised_chin", "puckered_lips"), ("raised_chin", "stretched_lips"),
    ("puckered_lips", "stretched_lips"), ("puckered_lips", "pressed_lips"), ("puckered_lips", "open_mouth"),
    ("puckered_lips", "wide_open_mouth"), ("stretched_lips", "pressed_lips"), ("stretched_lips", "wide_open_mouth"),
    ("pressed_lips", "open_mouth"), ("pressed_lips", "wide_open_mouth"), ("open_mouth", "wide_open_mouth"),
)  # fmt: skip
CONFLICTS: frozenset[frozenset[str]] = frozenset(frozenset(pair) for pair in _CONFLICTS)

# The AUs drawn for a phrase, where they are not simply the phrase's AUs (FACS: a dropped jaw parts the lips).
_DRAWN: dict[str, tuple[tuple[int, ...], ...]] = {
    "open_mouth": ((25,), (25, 26), (25, 26)),
    "wide_open_mouth": ((25, 27),),
    "pressed_lips": ((24,),),
}
DRAWN_PHRASES: tuple[str, ...] = tuple(
    name for name, phrase in PHRASES.items() if name in _DRAWN or (phrase.aus and set(phrase.aus) <= set(DRAWN_AUS))
)

# Actions; those of one group do not happen together.
MOTIONS: tuple[str, ...] = (
    "still", "nods", "shakes_head", "turns_left", "turns_right", "tilts_head", "leans_in", "moves_away",
)  # fmt: skip
EYES_AND_VOICE: tuple[str, ...] = ("talks", "looks_down", "looks_up", "looks_left", "looks_right", "closes_eyes")
ACTIONS: tuple[str, ...] = MOTIONS + EYES_AND_VOICE
_MUTE: frozenset[str] = frozenset(
    ("open_mouth", "wide_open_mouth", "pressed_lips", "puckered_lips", "raised_upper_lip", "raised_chin")
)
_GAZES: dict[str, tuple[float, float]] = {
    "looks_down": (0.0, 1.0), "looks_up": (0.0, -1.0), "looks_left": (-1.0, 0.0), "looks_right": (1.0, 0.0),
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """One clip before it is drawn: who, what, and the state of each frame.

    `peaks` are the salient AUs with their peak, by onset; `phrases` what is true of the face, most salient first.
    """

    face: Face
    emotion: str
    peaks: Mapping[int, float]
    phrases: tuple[str, ...]
    actions: tuple[str, ...]
    states: tuple[State, ...]
    fps: float = FPS


def compatible(name: str, others: tuple[str, ...]) -> bool:
    """Whether a phrase can be seen beside the others."""
    return all(name != other and frozenset((name, other)) not in CONFLICTS for other in others)


def sample_phrases(rng: np.random.Generator, emotion: str, most: int = 3) -> tuple[str, ...]:
    """Salient phrases for an emotion: mostly one of its prototypes, sometimes any that can be seen together."""
    if emotion != "neutral" and rng.random() < FREE:
        chosen: tuple[str, ...] = ()
        for index in rng.permutation(len(DRAWN_PHRASES))[: int(rng.integers(1, most + 1)) + 2]:
            name = DRAWN_PHRASES[index]
            if len(chosen) < most and compatible(name, chosen):
                chosen += (name,)
        return chosen
    options = PROTOTYPES[emotion]
    names = options[int(rng.integers(len(options)))]
    return tuple(names[index] for index in rng.permutation(len(names)))


def drawn_aus(rng: np.random.Generator, phrase: str) -> tuple[int, ...]:
    """The AUs that show a phrase on the drawn face."""
    options = _DRAWN.get(phrase, (PHRASES[phrase].aus,))
    return options[int(rng.integers(len(options)))]


def subtle_aus(rng: np.random.Generator, names: tuple[str, ...]) -> dict[int, float]:
    """Up to three faint AUs, away from those of the salient phrases."""
    faint: dict[int, float] = {}
    allowed = [name for name in DRAWN_PHRASES if compatible(name, names)]
    for _ in range(int(rng.integers(0, 4))):
        if allowed:
            phrase = allowed[int(rng.integers(len(allowed)))]
            faint.update(dict.fromkeys(drawn_aus(rng, phrase), float(rng.uniform(0.05, SUBTLE))))
    return faint


def sample_scene(rng: np.random.Generator, face: Face | None = None) -> Scene:
    """A random scenario of 1.5 to 2.5 seconds at 8 frames a second; a given face keeps its looks."""
    face = face or sample_face(rng)
    emotion = MAFW_LABELS[int(rng.integers(len(MAFW_LABELS)))]
    names = sample_phrases(rng, emotion)
    actions = sample_actions(rng, names)
    count = int(rng.integers(12, 21))
    curves: dict[int, Curve] = {}
    peaks: dict[int, float] = {}
    for au, peak in subtle_aus(rng, (*names, *(("closed_eyes",) if "closes_eyes" in actions else ()))).items():
        curves[au] = peak * _envelope(rng, count)
    for name in names:
        shape, peak = _envelope(rng, count), float(rng.uniform(SALIENT, 1.0))
        for au in drawn_aus(rng, name):
            peaks[au] = round(min(1.0, max(SALIENT, peak * float(rng.uniform(0.9, 1.1)))), 3)
            curves[au] = peaks[au] * shape
    order = sorted(names, key=lambda name: -max(peaks.get(au, 0.0) for au in PHRASES[name].aus))
    seen = tuple(order) + (("closed_eyes",) if "closes_eyes" in actions else ())
    if set(phrases_of(peaks)) != set(names):
        raise AssertionError(f"phrases {names} and action units {sorted(peaks)} disagree")
    states = _states(rng, count, curves, actions)
    return Scene(face, emotion, peaks, seen, actions, states)


def sample_actions(rng: np.random.Generator, names: tuple[str, ...]) -> tuple[str, ...]:
    """One or two actions that hide none of the phrases: a motion of the head, something eyes or voice do."""
    motion = MOTIONS[int(rng.integers(len(MOTIONS)))]
    options = [action for action in EYES_AND_VOICE if _allowed(action, motion, names)]
    second = options[int(rng.integers(len(options)))] if options else ""
    kind = rng.random()
    if kind < 0.5 or not second:
        return (motion,)
    if kind < 0.75 or motion == "still":
        return (second,)
    return (motion, second)


def _allowed(action: str, motion: str, names: tuple[str, ...]) -> bool:
    if action == "talks":
        return not _MUTE & set(names)
    if action == "closes_eyes":
        return compatible("closed_eyes", names)
    # A turned or nodding head makes the direction of the gaze a guess.
    return motion in ("still", "leans_in", "moves_away") and not {"wide_eyes", "narrowed_eyes"} & set(names)


def _ramp(count: int, start: float, end: float) -> Curve:
    """0 before `start`, 1 after `end` (shares of the clip), smooth between."""
    t = np.clip((np.linspace(0, 1, count) - start) / max(end - start, 1e-6), 0, 1)
    return t * t * (3 - 2 * t)


def _envelope(rng: np.random.Generator, count: int) -> Curve:
    """Onset, apex, sometimes offset; the apex covers at least 45 % of the clip and reaches 1."""
    start = rng.uniform(-0.25, 0.2)
    curve = _ramp(count, start, start + rng.uniform(0.12, 0.25))
    if rng.random() < 0.5:
        end = rng.uniform(0.88, 1.0)
        curve = np.minimum(curve, 1 - rng.uniform(0.5, 1.0) * _ramp(count, end - 0.1, end + 0.12))
    return curve


def _sway(rng: np.random.Generator, count: int, size: float) -> Curve:
    """A slow drift around zero: nobody holds the head perfectly still."""
    t = np.linspace(0, 1, count)
    return size * np.sin(2 * np.pi * (rng.uniform(0.3, 0.8) * t + rng.random()))


def _states(
    rng: np.random.Generator, count: int, curves: dict[int, Curve], actions: tuple[str, ...]
) -> tuple[State, ...]:
    motion = _motion(rng, count, actions)
    gaze, blink, speech = _gaze(rng, count, actions), _blinks(rng, count), np.zeros(count)
    if "closes_eyes" in actions:
        start = rng.uniform(0.05, 0.3)
        blink = np.maximum(blink, _ramp(count, start, start + 0.15))
    if "talks" in actions:
        # 2.3 to 3.4 openings a clip: eight uniform frames still see the jaw move.
        phase = 2 * np.pi * (rng.uniform(2.3, 3.4) * np.linspace(0, 1, count) + rng.random())
        speech = np.clip(0.5 + 0.5 * np.sin(phase) + rng.normal(0, 0.1, count), 0, 1) * rng.uniform(0.75, 1.0)
    return tuple(
        State(
            aus={au: float(curve[i]) for au, curve in curves.items()},
            **{name: float(values[i]) for name, values in motion.items()},
            gaze=(float(gaze[i, 0]), float(gaze[i, 1])),
            blink=float(blink[i]),
            speech=float(speech[i]),
        )
        for i in range(count)
    )


def _motion(rng: np.random.Generator, count: int, actions: tuple[str, ...]) -> dict[str, Curve]:
    """Yaw, pitch, roll, x, y, scale of each frame."""
    pose = {
        "yaw": rng.uniform(-7, 7) + _sway(rng, count, 2.0),
        "pitch": rng.uniform(-4, 4) + _sway(rng, count, 1.5),
        "roll": rng.uniform(-3, 3) + _sway(rng, count, 1.0),
        "x": rng.uniform(-0.06, 0.06) + _sway(rng, count, 0.006),
        "y": rng.uniform(-0.02, 0.03) + _sway(rng, count, 0.005),
        "scale": rng.uniform(0.92, 1.08) + _sway(rng, count, 0.008),
    }
    start = rng.uniform(0.05, 0.25)
    ramp = _ramp(count, start, start + rng.uniform(0.3, 0.45))
    cycles = np.sin(2 * np.pi * rng.uniform(1.5, 2.0) * np.clip(np.linspace(-0.05, 1, count), 0, 1))
    if "nods" in actions:
        pose["pitch"] = pose["pitch"] + rng.uniform(14, 18) * cycles
    if "shakes_head" in actions:
        pose["yaw"] = pose["yaw"] + rng.choice((-1, 1)) * rng.uniform(18, 24) * cycles
    for action, sign in (("turns_left", -1), ("turns_right", 1)):
        if action in actions:
            pose["yaw"] = pose["yaw"] - sign * 4 + sign * rng.uniform(26, 32) * ramp
    if "tilts_head" in actions:
        pose["roll"] = pose["roll"] + rng.choice((-1, 1)) * rng.uniform(15, 21) * ramp
    if "leans_in" in actions:
        pose["scale"] = (pose["scale"] - 0.08) * (1 + rng.uniform(0.22, 0.3) * ramp)
    if "moves_away" in actions:
        pose["scale"] = (pose["scale"] + 0.1) * (1 - rng.uniform(0.2, 0.25) * ramp)
    for action, tilt in (("looks_down", 9), ("looks_up", -9)):
        if action in actions:
            pose["pitch"] = pose["pitch"] + tilt * ramp
    return pose


def _gaze(rng: np.random.Generator, count: int, actions: tuple[str, ...]) -> Curve:
    """Direction of the eyes (count, 2): at the viewer with small glances, or where an action sends them."""
    rest = rng.normal(0, 0.1, 2) + rng.normal(0, 0.04, (count, 2))
    start = rng.uniform(0.0, 0.3)
    for action, target in _GAZES.items():
        if action in actions:
            rest = rest + np.array(target) * rng.uniform(0.9, 1.0) * _ramp(count, start, start + 0.15)[:, None]
    return np.clip(rest, -1, 1)


def _blinks(rng: np.random.Generator, count: int) -> Curve:
    blink = np.zeros(count)
    if rng.random() < 0.5:
        at = int(rng.integers(1, count - 1))
        blink[at] = 1.0
        blink[at + 1] = max(0.0, float(rng.uniform(-0.6, 0.6)))
    return blink
