"""What happens in a synthetic clip: salient action units (AUs) over time, actions, the motion of the head."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.lexicon.emotions import MAFW_LABELS
from captioner.lexicon.phrases import PHRASES
from captioner.synth.identity import DRAWN_AUS, Face, State, sample_face

Curve = NDArray[np.float64]

FPS = 8.0
SUBTLE = 0.2  # AUs up to here are distractors that no caption names
SALIENT = 0.55  # the smallest peak of an AU that captions name

# Emotions do not decide the AUs: `FREE` of the clips draw theirs without looking at the emotion.
PROTOTYPES: dict[str, tuple[str, ...]] = {
    "anger": ("frown narrowed_eyes", "frown pressed_lips", "frown wide_eyes", "frown wide_open_mouth"),
    "disgust": ("wrinkled_nose raised_upper_lip", "frown wrinkled_nose", "wrinkled_nose narrowed_eyes",
                "raised_upper_lip lip_corners_down"),
    "fear": ("raised_brows wide_eyes stretched_lips", "wide_eyes open_mouth", "raised_inner_brows wide_eyes",
             "wide_eyes stretched_lips"),
    "happiness": ("smile raised_cheeks", "smile", "smile open_mouth", "raised_cheeks smile open_mouth"),
    "neutral": ("", "", "raised_brows", "open_mouth"),
    "sadness": ("raised_inner_brows lip_corners_down", "frown lip_corners_down",
                "lip_corners_down raised_chin", "raised_inner_brows frown"),
    "surprise": ("raised_brows wide_eyes", "raised_brows open_mouth", "raised_brows wide_open_mouth",
                 "raised_brows wide_eyes wide_open_mouth"),
    "contempt": ("smile narrowed_eyes", "raised_upper_lip", "raised_brows pressed_lips",
                 "narrowed_eyes raised_chin"),
    "anxiety": ("frown stretched_lips", "raised_inner_brows pressed_lips", "puckered_lips frown",
                "raised_inner_brows open_mouth"),
    "helplessness": ("raised_inner_brows raised_chin", "frown raised_chin", "raised_brows lip_corners_down"),
    "disappointment": ("lip_corners_down", "frown puckered_lips", "lip_corners_down pressed_lips",
                       "puckered_lips"),
}  # fmt: skip
FREE = 0.3

# Phrases that would hide each other: never together, so that a perfect observer can name everything.
_HIDES: dict[str, str] = {
    "raised_brows": "raised_inner_brows frown",
    "wide_eyes": "narrowed_eyes raised_cheeks closed_eyes",
    "narrowed_eyes": "raised_cheeks closed_eyes",
    "raised_cheeks": "closed_eyes",
    "raised_upper_lip": "smile stretched_lips puckered_lips pressed_lips open_mouth wide_open_mouth",
    "smile": "lip_corners_down raised_chin stretched_lips puckered_lips",
    "lip_corners_down": "stretched_lips puckered_lips wide_open_mouth",
    "raised_chin": "pressed_lips open_mouth wide_open_mouth puckered_lips stretched_lips",
    "puckered_lips": "stretched_lips pressed_lips open_mouth wide_open_mouth",
    "stretched_lips": "pressed_lips wide_open_mouth",
    "pressed_lips": "open_mouth wide_open_mouth",
    "open_mouth": "wide_open_mouth",
}
CONFLICTS: frozenset[frozenset[str]] = frozenset(
    frozenset((name, other)) for name, others in _HIDES.items() for other in others.split()
)

# The AUs drawn for a phrase, where they are not simply the phrase's AUs (FACS: a dropped jaw parts the lips).
_DRAWN: dict[str, tuple[tuple[int, ...], ...]] = {
    "open_mouth": ((25,), (25, 26), (25, 26)),
    "wide_open_mouth": ((25, 27),),
    "pressed_lips": ((24,),),
}
DRAWN_PHRASES: tuple[str, ...] = tuple(
    name
    for name, phrase in PHRASES.items()
    if name in _DRAWN or (phrase.aus and set(phrase.aus) <= set(DRAWN_AUS))
)

# Actions; those of one group do not happen together.
MOTIONS: tuple[str, ...] = (
    "still", "nods", "shakes_head", "turns_left", "turns_right", "tilts_head", "leans_in", "moves_away",
)  # fmt: skip
EYES_AND_VOICE: tuple[str, ...] = (
    "talks", "looks_down", "looks_up", "looks_left", "looks_right", "closes_eyes",
)  # fmt: skip
_SECOND: tuple[str, ...] = (*EYES_AND_VOICE, "talks", "talks")  # people mostly talk
_STEADY: tuple[str, ...] = ("still", "leans_in", "moves_away")
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

    `peaks` are the salient AUs with their peak; `phrases` what is true of the face, most salient first.
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
    """Salient phrases for an emotion: mostly one of its prototypes, sometimes any that go together."""
    if emotion != "neutral" and rng.random() < FREE:
        chosen: tuple[str, ...] = ()
        for index in rng.permutation(len(DRAWN_PHRASES))[: int(rng.integers(1, most + 1)) + 2]:
            name = DRAWN_PHRASES[index]
            if len(chosen) < most and compatible(name, chosen):
                chosen += (name,)
        return chosen
    options = PROTOTYPES[emotion]
    names = options[int(rng.integers(len(options)))].split()
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
    eyes = ("closed_eyes",) if "closes_eyes" in actions else ()
    count = int(rng.integers(12, 21))
    curves = {au: peak * _envelope(rng, count) for au, peak in subtle_aus(rng, names + eyes).items()}
    peaks: dict[int, float] = {}
    for name in names:
        shape, peak = _envelope(rng, count), float(rng.uniform(SALIENT, 1.0))
        for au in drawn_aus(rng, name):
            peaks[au] = round(float(np.clip(peak * rng.uniform(0.9, 1.1), SALIENT, 1.0)), 3)
            curves[au] = peaks[au] * shape
    salience = {name: max(peaks.get(au, 0.0) for au in PHRASES[name].aus) for name in names}
    seen = tuple(sorted(names, key=salience.__getitem__, reverse=True)) + eyes
    return Scene(face, emotion, peaks, seen, actions, _states(rng, count, curves, actions))


def sample_actions(rng: np.random.Generator, names: tuple[str, ...]) -> tuple[str, ...]:
    """One or two actions that hide none of the phrases: a motion of the head, something eyes or voice do."""
    kind = rng.random()
    motion = MOTIONS[int(rng.integers(len(MOTIONS)))] if kind < 0.75 else "still"
    options = [action for action in _SECOND if _allowed(action, motion, names)]
    if kind < 0.45 or not options:
        return (motion,)
    second = options[int(rng.integers(len(options)))]
    return (second,) if motion == "still" else (motion, second)


def _allowed(action: str, motion: str, names: tuple[str, ...]) -> bool:
    if action == "talks":
        return not _MUTE & set(names)
    if action == "closes_eyes":
        return compatible("closed_eyes", names)
    # A turned or nodding head makes the direction of the gaze a guess.
    if action in ("looks_left", "looks_right"):
        return motion in _STEADY and "narrowed_eyes" not in names
    return motion in _STEADY and not {"wide_eyes", "narrowed_eyes", "raised_cheeks"} & set(names)


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
            yaw=float(motion["yaw"][i]),
            pitch=float(motion["pitch"][i]),
            roll=float(motion["roll"][i]),
            x=float(motion["x"][i]),
            y=float(motion["y"][i]),
            scale=float(motion["scale"][i]),
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
        "scale": rng.uniform(0.92, 1.04) + _sway(rng, count, 0.008),
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
        pose["scale"] = (pose["scale"] - 0.08) * (1 + rng.uniform(0.22, 0.28) * ramp)
    if "moves_away" in actions:
        pose["scale"] = (pose["scale"] + 0.1) * (1 - rng.uniform(0.19, 0.23) * ramp)
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
            rest = (
                rest + np.array(target) * rng.uniform(0.9, 1.0) * _ramp(count, start, start + 0.15)[:, None]
            )
    return np.clip(rest, -1, 1)


def _blinks(rng: np.random.Generator, count: int) -> Curve:
    blink = np.zeros(count)
    if rng.random() < 0.5:
        at = int(rng.integers(1, count - 1))
        blink[at] = 1.0
        blink[at + 1] = max(0.0, float(rng.uniform(-0.6, 0.6)))
    return blink
