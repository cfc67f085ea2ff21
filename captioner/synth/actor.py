"""Who can be filmed: an actor is drawn into a picture, at a place, in a state."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from captioner.synth.identity import State

Picture = NDArray[np.float32]  # (H, W, 3), RGB, 0..255


@dataclass(frozen=True)
class FacePlace:
    """Where a face is: centre and height, in pixels, of the box of its landmarks when it looks ahead at rest."""

    x: float
    y: float
    height: float


class Actor(Protocol):
    """A person that a camera can see. `looks` are what captions may say of the person (gender, hair, ...)."""

    looks: dict[str, str]
    grey: bool  # without colour, which nothing else in the picture has then either
    level: float  # mean brightness of the person, 0..255: light is set for it

    def draw(self, picture: Picture, state: State, place: FacePlace) -> NDArray[np.float32]:
        """Paint the person over `picture`, in place; returns the landmarks (L, 2) in pixels."""
        ...

    def backdrop(self, height: int, width: int, place: FacePlace) -> Picture:
        """Surroundings that the person stands in naturally, to start a picture with."""
        ...
