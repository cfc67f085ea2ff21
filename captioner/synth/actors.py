"""The two kinds of people a camera can film: animated photos and drawn faces."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captioner.synth.actor import Picture, Place
from captioner.synth.backdrop import backdrop
from captioner.synth.identity import Face, State
from captioner.synth.paint import HAIRLINE, SUPERSAMPLING, paint
from captioner.synth.pen import Pen


class DrawnActor:
    """A drawn face as an actor; what it wears is in `looks`."""

    grey = False

    def __init__(self, face: Face) -> None:
        self.face = face
        self.level = float(np.mean(face.skin))
        self.looks = {
            "gender": face.gender, "hair": face.hair, "hair_name": face.hair_name, "shirt": face.shirt,
            "beard": face.beard, "glasses": "yes" if face.glasses else "no",
            "earrings": "yes" if face.earrings else "no",
        }  # fmt: skip

    def draw(self, picture: Picture, state: State, place: Place) -> NDArray[np.float32]:
        """Paint the person over `picture`, in place; returns outline and features (n, 2) in pixels."""
        height, width = picture.shape[:2]
        fine = (width * SUPERSAMPLING, height * SUPERSAMPLING)
        image = Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8)).resize(fine, Image.Resampling.NEAREST)
        pen = Pen(image, self.face, state)
        pen.side = image.height
        pen.unit = SUPERSAMPLING * place.height * state.scale / (1 - HAIRLINE)
        middle = np.array([0, (1 + HAIRLINE) / 2]) * pen.unit  # of the face, seen from the middle of the head
        sway = np.array([state.x, state.y]) * width
        pen.centre = SUPERSAMPLING * (np.array([place.x, place.y]) + sway) - middle
        points = paint(pen, self.face, state) / SUPERSAMPLING
        picture[:] = np.asarray(image.reduce(SUPERSAMPLING), np.float32)
        return points.astype(np.float32)

    def backdrop(self, height: int, width: int, place: Place) -> Picture:
        """The drawn person's own: a plain gradient."""
        return backdrop("gradient", np.random.default_rng(self.face.texture_seed), height, width)
