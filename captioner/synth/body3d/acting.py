"""Action units of a three-dimensional face: which are on, as shape keys of the body, and their labels.

Axes: A main AUs, O one-sided AUs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.lexicon.compound import COMPOUND
from captioner.model.experts import ABSENT, PRESENT
from prompts.action_units import MAIN_AUS, SUB_AUS, UNKNOWN

SHUT = 43  # shut eyes
# Shape keys (ARKit's names) of an AU; "*" stands for Left and Right.
SHAPES: Mapping[int, tuple[str, ...]] = {
    1: ("browInnerUp",), 2: ("browOuterUp*",), 4: ("browDown*",), 5: ("eyeWide*",), 6: ("cheekSquint*",),
    7: ("eyeSquint*",), 9: ("noseSneer*",), 10: ("mouthUpperUp*",), 12: ("mouthSmile*",), 14: ("mouthDimple*",),
    15: ("mouthFrown*",), 17: ("mouthShrugLower",), 18: ("mouthPucker",), 20: ("mouthStretch*",),
    24: ("mouthPress*",), 25: ("mouthLowerDown*",), SHUT: ("eyeBlink*",),
}  # fmt: skip
POSED = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 24, 25, 26, 27)  # units that can be posed and are labelled
_GAINS = {1: 1.35, 2: 1.35, 4: 1.35, 5: 1.3, 7: 1.35, 9: 1.35, 25: 0.9}  # shape keys that are weak at 1
_JAW = {27: (0.6, 0.95), 26: (0.22, 0.5), 25: (0.03, 0.13)}  # how far the jaw falls
# Scenes that films have and the table lacks: anger with an open mouth, oblique brows, tight eyes under low brows.
_MORE: tuple[tuple[tuple[int, ...], Mapping[int, float]], ...] = (
    ((4, 25), {10: 0.5, 9: 0.4, 7: 0.4, 26: 0.5, 27: 0.2, 5: 0.2}), ((4, 25, 26), {10: 0.5, 9: 0.5, 20: 0.3, 27: 0.3}),
    ((1, 4), {15: 0.4, 17: 0.3, 25: 0.3}), ((4,), {7: 0.5}), ((1, 2), {5: 0.4}), ((14,), {12: 0.2}),
    ((15, 17), {4: 0.4}), ((24,), {4: 0.4}), ((9,), {4: 0.4, 10: 0.4}),
    ((4, 6, 9), {7: 0.5, SHUT: 0.4, 20: 0.3, 25: 0.6}),
)  # fmt: skip
# Pairs that pull the same part opposite ways.
_CLASHES = (
    (24, 25), (24, 26), (24, 27), (18, 20), (18, 12), (12, 15), (5, SHUT), (5, 7), (26, 27), (12, 20), (24, 10),
    (17, 26), (17, 27), (17, 25), (14, 18), (15, 18), (SHUT, 7), (14, 27), (14, 26),
)  # fmt: skip
_RARE = {18: 0.6, 27: 0.5, 14: 0.8, 26: 0.8, 20: 0.9, 24: 0.9}  # how often beside others where units are free
_ONE_SIDED = (2, 4, 6, 9, 10, 12, 14, 15, 20)
_ODD = ("mouthLeft", "mouthRight", "jawLeft", "jawRight", "cheekPuff", "jawForward", "mouthFunnel")


@dataclass(frozen=True)
class Acting:
    """Strength of each AU that is on, shape keys of the body, fall of the jaw, labels int8 (A + O,)."""

    strength: Mapping[int, float]
    shapes: Mapping[str, float]
    jaw: float
    labels: NDArray[np.int8]


def sample_acting(rng: np.random.Generator) -> Acting:
    """A face at rest, one of the emotions of the compound table, or a few units that go with no emotion."""
    strength = {
        au: float(rng.uniform(0.55, 1.3) if rng.random() < 0.75 else rng.uniform(0.1, 0.6))
        for au in sorted(_without_clashes(rng, _chosen(rng)))
    }
    return act(rng, strength)


def act(rng: np.random.Generator, strength: Mapping[int, float]) -> Acting:
    """Units of that strength as shape keys and labels; now and then one-sided, or beside an odd mouth."""
    shapes: dict[str, float] = {}
    lopsided = {au for au in strength if au in _ONE_SIDED and rng.random() < (0.5 if au == 14 else 0.1)}
    for au, value in strength.items():
        sides = (1.0, float(rng.uniform(0, 0.15))) if au in lopsided else (1.0, 1.0)
        sides = sides[::-1] if rng.random() < 0.5 else sides
        for key, share in _keys(au, sides):
            shapes[key] = shapes.get(key, 0.0) + value * share * _GAINS.get(au, 1.0)
    if 17 in strength:
        shapes["mouthShrugUpper"] = strength[17] * float(rng.uniform(0.3, 0.8))
    if 24 in strength:
        shapes["mouthRollLower"] = shapes["mouthRollUpper"] = strength[24] * float(rng.uniform(0.2, 0.5))
    fallen = next((au for au in _JAW if au in strength), None)
    jaw = float(rng.uniform(*_JAW[fallen])) if fallen else 0.0
    if jaw:
        shapes["jawOpen"] = jaw
    if rng.random() < 0.12:
        shapes[str(rng.choice(_ODD))] = float(rng.uniform(0.2, 0.7))
    return Acting(strength, shapes, jaw, _labels(strength, shapes, jaw, lopsided))


def _keys(au: int, sides: tuple[float, float]) -> list[tuple[str, float]]:
    return [
        (name.replace("*", side), share)
        for name in SHAPES.get(au, ())
        for side, share in (zip(("Left", "Right"), sides, strict=True) if "*" in name else [("", 1.0)])
    ]


def _chosen(rng: np.random.Generator) -> set[int]:
    kind = rng.random()
    if kind < 0.12:
        return set()
    if kind < 0.6:
        scenes = [*((e.always, e.often) for e in COMPOUND), *_MORE]
        always, often = scenes[int(rng.integers(len(scenes)))]
        return {au for au in always if rng.random() < 0.97} | {
            au for au, share in often.items() if rng.random() < share
        }
    rate = np.array([_RARE.get(au, 1.1) for au in POSED])
    units = set(rng.choice(POSED, size=int(rng.integers(1, 5)), replace=False, p=rate / rate.sum()).tolist())
    return units | ({SHUT} if rng.random() < 0.06 else set())


def _without_clashes(rng: np.random.Generator, units: set[int]) -> set[int]:
    for pair in _CLASHES:
        if units.issuperset(pair):
            units = units - {pair[int(rng.random() < 0.5)]}
    return units


def _labels(
    strength: Mapping[int, float], shapes: Mapping[str, float], jaw: float, lopsided: set[int]
) -> NDArray[np.int8]:
    """1, 0 or UNKNOWN for each main AU, then for each side; what others hide or imitate is unknown."""
    shown = dict(strength)
    if 26 in strength or 27 in strength:
        shown[25] = shown[26] = 1.0
        shown[27] = 1.0 if 27 in strength else 0.0 if jaw < 0.42 else 0.4
    elif 25 in strength:
        shown |= {25: max(strength[25], 0.6), 26: 0.0 if jaw < 0.08 else 0.4}
    labels = dict.fromkeys(MAIN_AUS, UNKNOWN)
    for au in POSED:
        value = shown.get(au, 0.0)
        labels[au] = 1 if value >= PRESENT else 0 if value < ABSENT else UNKNOWN
    for au in _hidden(strength, shapes, jaw):
        labels[au] = UNKNOWN
    sides = [UNKNOWN if int(name[1:]) in lopsided else labels[int(name[1:])] for name in SUB_AUS]
    return np.array([*labels.values(), *sides], np.int8)


def _hidden(strength: Mapping[int, float], shapes: Mapping[str, float], jaw: float) -> set[int]:
    hidden: set[int] = set()
    if strength.get(10, 0.0) > ABSENT and not jaw:
        hidden.add(25)
    if strength.get(SHUT, 0.0) > ABSENT:
        hidden |= {5, 6, 7}
    if "mouthFunnel" in shapes or "cheekPuff" in shapes:
        hidden |= {18, 25}
    if strength.get(9, 0.0) > ABSENT and 10 not in strength:
        hidden.add(10)
    return hidden
