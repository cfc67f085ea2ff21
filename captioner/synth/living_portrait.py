"""A smiling portrait that comes alive whole: shots of it, in which head and face do what they are told."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from captioner.errors import CaptionerError
from captioner.synth.actor import FacePlace
from captioner.synth.identity import State
from captioner.synth.photo.basis import load_basis
from captioner.synth.photo.photo_set import Photo
from captioner.synth.photo.puppet import Canvas, Puppet
from captioner.synth.story.motion import Curve, perform, smooth_step
from captioner.synth.teacher import FaceTeacher, TeacherReading

WIDTH, HEIGHT, FPS = 480, 360, 15.0
ENLARGED = 2  # the portrait is, so that a warp costs no sharpness
MIDDLE = (0.49, 0.52)  # of the face in the picture, shares of width and height
# The smile backwards. More of -25 than lips need to close: the animator stops them where they meet.
RELAXED: dict[int, float] = {6: -0.4, 10: -0.3, 12: -1.6, 15: 0.2, 25: -1.4}
RELAX = 0  # what that is called among the action units of a puppet of the portrait itself


@dataclass(frozen=True)
class PortraitShot:
    """Some seconds without a cut: face height (share of the picture's) at start and end, what head and face do.

    `aus` rise from `start` on within `onset` seconds and stay, a few percent up and down.
    """

    seconds: float
    near: tuple[float, float]
    aus: Mapping[int, float]
    start: float = 0.8
    onset: float = 0.5
    actions: tuple[str, ...] = ()
    seed: int = 0
    smiles: bool = False  # the portrait's own smile comes back


def read_portrait(path: str | Path) -> NDArray[np.uint8]:
    """The picture (H, W, 3), enlarged."""
    try:
        with Image.open(path) as picture:
            size = (ENLARGED * picture.width, ENLARGED * picture.height)
            return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise CaptionerError(f"cannot read the portrait {str(path)!r}: {error}") from None


def make_puppets(image: NDArray[np.uint8], teacher: FaceTeacher) -> tuple[Puppet, Puppet]:
    """Two puppets that look alike at rest: one is the portrait with its smile held back, one was drawn relaxed."""
    smiling = _puppet(_photo(image, teacher))
    relaxing = smiling.muscles.shift(RELAXED, {})
    smiling.muscles.fields[RELAX] = (relaxing, np.zeros_like(relaxing))
    low, high = smiling.landmarks[:, :2].min(0), smiling.landmarks[:, :2].max(0)
    x, y = ((low + high) / 2).tolist()
    same = FacePlace(x, y, float(high[1] - low[1]))
    picture = image.astype(np.float32)
    smiling.draw(picture, State({RELAX: 1.0}), same)
    return smiling, _puppet(_photo(picture.clip(0, 255).astype(np.uint8), teacher))


def _photo(image: NDArray[np.uint8], teacher: FaceTeacher) -> Photo:
    """The face of a picture, looked at twice: in the whole, and as large as it can be."""
    points = _read_face(image, teacher).landmarks[:, :2]
    low, high = points.min(0), points.max(0)
    margin = 0.35 * (high[1] - low[1])
    (left, top), (right, bottom) = np.maximum(low - margin, 0).astype(int), (high + margin).astype(int)
    near = _read_face(image[top:bottom, left:right], teacher)
    landmarks = near.landmarks + np.array([left, top, 0], np.float32)
    return Photo("portrait", image, landmarks, near.blendshapes, np.eye(4, dtype=np.float32), 0, False)


def _read_face(picture: NDArray[np.uint8], teacher: FaceTeacher) -> TeacherReading:
    reading = teacher.read(picture)
    if reading is None:
        raise CaptionerError("no face in the portrait")
    return reading


def _puppet(photo: Photo) -> Puppet:
    """The whole picture moves with the head, and stays whole."""
    opaque = np.ones(photo.image.shape[:2], np.float32)
    return Puppet(photo, load_basis(), Canvas(photo.image.astype(np.float32), opaque, (0.0, 0.0)))


def film_shots(shots: tuple[PortraitShot, ...], smiling: Puppet, relaxed: Puppet) -> Iterator[NDArray[np.uint8]]:
    """The frames (HEIGHT, WIDTH, 3) of shots, one after the other, at FPS."""
    for shot in shots:
        yield from _film_shot(smiling if shot.smiles else relaxed, shot)


def _film_shot(puppet: Puppet, shot: PortraitShot) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(shot.seed)
    t: Curve = np.arange(round(shot.seconds * FPS)) / FPS
    motion = perform(rng, t, shot.seconds, (0.3, shot.seconds), shot.actions)
    rise = smooth_step(t, shot.start, shot.onset)
    alive = rise * (0.97 + 0.03 * np.sin(2 * np.pi * 0.9 * t))
    zoom = np.interp(t, (0, shot.seconds), shot.near)
    for i in range(len(t)):
        aus = {au: strength * float(alive[i]) for au, strength in shot.aus.items()}
        if shot.smiles:
            aus[RELAX] = 1 - float(rise[i])
        state = State(
            aus, float(motion.yaw[i]), float(motion.pitch[i]), float(motion.roll[i]),
            gaze=(float(motion.gaze_x[i]), float(motion.gaze_y[i])),
            blink=float(motion.blink[i]), speech=float(motion.speech[i]),
        )  # fmt: skip
        height = HEIGHT * float(zoom[i])
        place = FacePlace(MIDDLE[0] * WIDTH, MIDDLE[1] * HEIGHT + float(motion.bob[i]) * height, height)
        picture = np.full((HEIGHT, WIDTH, 3), -1.0, np.float32)
        puppet.draw(picture, state, place)
        if picture.min() < -0.5:
            raise CaptionerError("the portrait shows too little around the face; it does not fill the picture")
        yield np.clip(picture + 0.5, 0, 255).astype(np.uint8)
