"""The two kinds of people a camera can film: animated photos and drawn faces."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from captioner.synth.actor import FacePlace, Picture
from captioner.synth.drawn.paint import HAIRLINE, SUPERSAMPLING, paint
from captioner.synth.drawn.strokes import Pen
from captioner.synth.film.backdrop import backdrop
from captioner.synth.identity import Face, State
from captioner.synth.photo.basis import Basis
from captioner.synth.photo.colour import Tint, colourise
from captioner.synth.photo.photo_set import Photo
from captioner.synth.photo.portrait import complete_person, surroundings
from captioner.synth.photo.puppet import Puppet
from captioner.synth.pixels import LUMA, smooth_noise


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

    def draw(self, picture: Picture, state: State, place: FacePlace) -> NDArray[np.float32]:
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

    def backdrop(self, height: int, width: int, place: FacePlace) -> Picture:
        """The drawn person's own: a plain gradient."""
        return backdrop("gradient", np.random.default_rng(self.face.texture_seed), height, width)


class PhotoActor:
    """An animated photo as an actor; `tint` colours a grey one, `rng` chooses the clothes."""

    def __init__(self, photo: Photo, basis: Basis, rng: np.random.Generator, tint: Tint | None = None) -> None:
        self.photo = colourise(photo, tint) if tint is not None else photo
        self.grey = self.photo.gray
        self.looks = {"gender": photo.gender or "person"}
        self.level = float((self.photo.image @ LUMA).mean())
        self.canvas = complete_person(self.photo, rng)
        self.puppet = Puppet(self.photo, basis, self.canvas)
        low, high = photo.landmarks[:, :2].min(0), photo.landmarks[:, :2].max(0)
        self._middle, self._face = (low + high) / 2 + self.canvas.offset, float(high[1] - low[1])

    def draw(self, picture: Picture, state: State, place: FacePlace) -> NDArray[np.float32]:
        """Paint the person over `picture`, in place; returns the landmarks (478, 2) in pixels."""
        landmarks = self.puppet.draw(picture, state, place)
        self._continue(picture, place)
        return np.asarray(landmarks, np.float32)

    def _continue(self, picture: Picture, place: FacePlace) -> None:
        """Below the portrait its last row goes on to the picture's lower edge: small faces are far away."""
        height, width = picture.shape[:2]
        scale = place.height / self._face
        last = self.canvas.alpha.shape[0] - 12  # its very edge is not reliable
        top = max(0, int(np.floor(place.y + (last - self._middle[1]) * scale)) - 1)
        if top >= height:
            return
        x = (np.arange(width) - place.x) / scale + self._middle[0]
        inside = (x >= 0) & (x <= self.canvas.alpha.shape[1] - 1)
        near = np.clip(x, 0, self.canvas.alpha.shape[1] - 1).round().astype(int)
        alpha = (self.canvas.alpha[last, near] * inside)[:, None]
        dim = np.linspace(1, 0.8, height - top, dtype=np.float32)[:, None, None]
        picture[top:] = picture[top:] * (1 - alpha) + self.canvas.image[last, near] * alpha * dim

    def backdrop(self, height: int, width: int, place: FacePlace) -> Picture:
        """The photo's own surroundings, continued over the whole picture."""
        image, origin = surroundings(self.photo)
        scale = place.height / (self._face / 2)  # of the surroundings, which are at half the photo's scale
        middle = (self._middle - self.canvas.offset) / 2 + origin
        y = (np.arange(height) - place.y) / scale + middle[1]
        x = (np.arange(width) - place.x) / scale + middle[0]
        where = np.meshgrid(y, x, indexing="ij")
        channels = [map_coordinates(channel, where, order=1, mode="nearest") for channel in image.transpose(2, 0, 1)]
        cloud = 1 + 0.05 * smooth_noise(np.random.default_rng(self.photo.person), height, width, 5)
        return np.asarray(np.stack(channels, axis=2) * cloud[..., None], np.float32)
