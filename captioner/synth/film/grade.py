"""Light, colour and damage of a clip: what a lens, a sensor and a colourist do to a finished picture."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from captioner.synth.actor import Picture
from captioner.synth.pixels import LUMA

if TYPE_CHECKING:
    from captioner.synth.story.tale import Grade

_MIDDLE = 116.0  # the grey that contrast turns around
_DIMMEST = 30.0  # brightness that a person keeps
_GRAINIEST = 0.15  # share of the brightness that noise reaches
_COARSE = 50.0  # pixels; faces lower than that bear less noise
_BLURRIEST = 0.035  # sigma, in face heights
_REFERENCE = 224.0  # the picture height that a blur is given for


@dataclass(frozen=True)
class Subject:
    """What a grading must be kind to: where the main face is (share of the width), how bright the darkest person is,
    how many pixels high the smallest face, and whether colour would only show on the backdrop."""

    x: float = 0.5
    level: float = 128.0
    smallest: float = 112.0
    grey: bool = False


class Grader:
    """One take's grading of pictures (H, W, 3); what does not change from frame to frame is computed once."""

    def __init__(self, grade: "Grade", height: int, width: int, subject: Subject = Subject()) -> None:
        level = max(subject.level, 1.0)
        exposure = max(grade.exposure, min(1.0, _DIMMEST / level))
        saturation = 0.0 if subject.grey else grade.saturation
        warm = 1 + 0.11 * grade.warmth * np.array([1.0, 0.1, -1.0], np.float32)
        # a row vector times this matrix: towards its own grey, then warmer
        colour = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * np.outer(LUMA, np.ones(3))
        self._matrix = (colour * (1 if subject.grey else warm) * exposure * grade.contrast).astype(np.float32)
        self._offset = np.float32(min(_MIDDLE, level) * exposure * (1 - grade.contrast))
        self._gain = _gain(grade, height, width, subject.x)
        self._blur = min(grade.blur * height / _REFERENCE, _BLURRIEST * subject.smallest)
        self._bars = round(grade.letterbox * height)
        noise = min(grade.noise, _GRAINIEST * exposure * level * min(1.0, subject.smallest / _COARSE))
        self._noise = _noise(grade, noise, height, width) if noise > 0 else None
        self._settings, self._size = grade, (height, width)

    def __call__(self, picture: Picture, frame: int) -> NDArray[np.uint8]:
        """The graded picture, uint8; `frame` only chooses the grain."""
        height, width = self._size
        if self._blur > 0.05:
            sharp = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
            picture = np.asarray(sharp.filter(ImageFilter.GaussianBlur(self._blur)), np.float32)
        graded = picture.reshape(-1, 3) @ self._matrix
        graded += self._offset
        graded = graded.reshape(height, width, 3)
        if self._gain is not None:
            graded *= self._gain
        if self._noise is not None:
            y, x = np.random.default_rng((self._settings.seed, frame)).integers(0, _SLACK + 1, 2)
            graded += self._noise[y : y + height, x : x + width]
        graded += 0.5
        if self._bars:
            graded[: self._bars] = graded[height - self._bars :] = 0
        return np.clip(graded, 0, 255, out=graded).astype(np.uint8)


_SLACK = 61  # pixels by which the grain is larger than the picture, so that every frame cuts another one


def _gain(grade: "Grade", height: int, width: int, face: float) -> NDArray[np.float32] | None:
    if not (grade.vignette or grade.side_light):
        return None
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    side = np.tanh((x / width - face) * width / height / 0.22)
    far = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) / 0.5
    gain = (1 + 0.45 * grade.side_light * side) * (1 - 0.8 * min(1.0, grade.vignette) * far)
    return np.asarray(gain[..., None], np.float32)


def _noise(grade: "Grade", strength: float, height: int, width: int) -> NDArray[np.float32]:
    """Grain, mostly of brightness, a little of colour where there is any."""
    rng = np.random.default_rng((grade.seed, 7))
    shape = (height + _SLACK, width + _SLACK)
    bright = rng.standard_normal((*shape, 1), dtype=np.float32)
    coloured = rng.standard_normal((*shape, 3), dtype=np.float32)
    share = 0.4 * min(1.0, grade.saturation)
    grain = np.sqrt(1 - share**2) * bright + share * coloured
    return np.asarray(strength * grain, np.float32)
