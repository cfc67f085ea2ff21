"""Stills and clips of the drawn face, whose action units are known exactly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.lexicon.emotions import MAFW_LABELS
from captioner.synth.clips import make_clips
from captioner.synth.drawn.paint import draw
from captioner.synth.identity import DRAWN_AUS, Face, State, sample_face
from captioner.synth.scenario import SALIENT, Scene, drawn_aus, sample_phrases, sample_scene, subtle_aus

__all__ = [
    "DRAWN_AUS",
    "Face",
    "Scene",
    "State",
    "Still",
    "draw",
    "make_clips",
    "render",
    "sample_face",
    "sample_scene",
    "sample_still",
]


@dataclass(frozen=True)
class Still:
    """One labelled picture: uint8 (S, S, 3), the intensity of every drawn AU, the emotion behind it."""

    image: NDArray[np.uint8]
    au: dict[int, float]
    emotion: str


def sample_still(rng: np.random.Generator, size: int = 112) -> Still:
    """A random face in a random state: poses, glances, blinks, speech, faint AUs included.

    `au` tells what the picture shows, so lips parted by speech count as AU 25.
    """
    face = sample_face(rng)
    emotion = MAFW_LABELS[int(rng.integers(len(MAFW_LABELS)))]
    names = sample_phrases(rng, emotion)
    aus = subtle_aus(rng, names)
    for name in names:
        peak = rng.uniform(SALIENT, 1.0)
        aus.update(
            {au: float(np.clip(peak * rng.uniform(0.9, 1.1), SALIENT, 1)) for au in drawn_aus(rng, name)}
        )
    quiet = not {10, 17, 18, 24, 25, 26, 27} & {au for au, value in aus.items() if value >= SALIENT}
    speech = float(rng.uniform(0.2, 1.0)) if quiet and rng.random() < 0.15 else 0.0
    blink = float(rng.uniform(0.5, 1.0)) if not {5, 6, 7} & set(aus) and rng.random() < 0.08 else 0.0
    yaw, pitch, roll = rng.normal(0, (12, 6, 6)).clip(-30, 30).tolist()
    x, y = rng.uniform(-0.06, 0.06, 2).tolist()
    right, down = rng.normal(0, 0.35, 2).clip(-1, 1).tolist()
    state = State(aus, yaw, pitch, roll, x, y, float(rng.uniform(0.85, 1.15)), (right, down), blink, speech)
    shown = {au: aus.get(au, 0.0) for au in DRAWN_AUS}
    shown[25] = max(shown[25], 0.9 * speech)
    return Still(draw(face, state, size), shown, emotion)


def render(scene: Scene, size: int = 112) -> NDArray[np.uint8]:
    """The frames of a scene, uint8 (T, size, size, 3)."""
    return np.stack([draw(scene.face, state, size) for state in scene.states])
