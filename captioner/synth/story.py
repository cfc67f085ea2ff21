"""What happens in a synthetic clip of any length: people, their faces over time, the camera, the light."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.synth.identity import State

Curve = NDArray[np.float64]
Box = tuple[float, float, float]  # face centre x (share of width), y and face height (shares of height)

# AUs a photo can be made to show; 43 closes the eyes, as a blink does.
PHOTO_AUS: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 27, 43)


@dataclass(frozen=True)
class Shot:
    """The camera at one frame: what it films is zoomed and rolled (degrees, clockwise) about the picture's
    centre, then shifted by `dx`, `dy` picture heights to the right and down; `cut` counts the takes from 0."""

    dx: float = 0.0
    dy: float = 0.0
    zoom: float = 1.0
    roll: float = 0.0
    cut: int = 0


@dataclass(frozen=True)
class Look:
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


@dataclass(frozen=True)
class Role:
    """One person of a clip, frame by frame.

    `states` and `places` have one entry a frame; a place is where the face is before the camera moves
    (None: not in the picture), so `x`, `y`, `scale` of the states stay 0, 0, 1.
    `peaks` are the salient AUs, `phrases` what is true of the face, most salient first.
    """

    states: tuple[State, ...]
    places: tuple[Box | None, ...]
    peaks: Mapping[int, float]
    phrases: tuple[str, ...]
    actions: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """A clip before it is filmed; `roles[0]` is whom captions describe, `mixture` one or two emotions."""

    seconds: float
    fps: float
    emotion: str
    mixture: tuple[str, ...]
    roles: tuple[Role, ...]
    shots: tuple[Shot, ...]
    look: Look


@dataclass(frozen=True)
class Settings:
    """What stories may hold: ranges of seconds and fps, the most people, AUs the actors can show.

    `pictures`: a folder of background pictures is there; `one_sided`: actors can show an AU on one side;
    `aspect`: width / height of the picture.
    """

    seconds: tuple[float, float] = (3.0, 3.0)
    fps: tuple[float, float] = (12.0, 12.0)
    people: int = 2
    pictures: bool = False
    aus: tuple[int, ...] = PHOTO_AUS
    one_sided: bool = True
    aspect: float = 1.0


def timeline(scene: Story | Role, au: int) -> Curve:
    """Intensity (frames,) of an AU; of a story, that of its main person."""
    role = scene.roles[0] if isinstance(scene, Story) else scene
    return np.array([state.aus.get(au, 0.0) for state in role.states])


def sample_story(rng: np.random.Generator, settings: Settings = Settings()) -> Story:
    """A random clip; the same generator state gives the same story."""
    low, high = settings.fps
    fps = float(rng.uniform(low, high))
    seconds = float(rng.uniform(*settings.seconds))
    count = max(2, round(seconds * fps))
    role = Role((State(),) * count, ((0.5, 0.45, 0.5),) * count, {}, (), ("still",))
    return Story(seconds, fps, "neutral", ("neutral",), (role,), (Shot(),) * count, Look())
