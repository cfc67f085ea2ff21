"""What a picture of a three-dimensional person shows beside the action: skin, hair, eyes; camera, lights, backdrop."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from captioner.errors import ManifestError
from captioner.synth.body3d.acting import SHUT
from captioner.synth.body3d.bodies import BodyShape
from captioner.synth.body3d.decals import BROWS, WRINKLES

PROFILE = np.deg2rad(60)
_HAIR = np.array([[0.05, 0.04, 0.035], [0.12, 0.08, 0.06], [0.22, 0.14, 0.09], [0.45, 0.32, 0.18], [0.5, 0.48, 0.46],
                  [0.3, 0.13, 0.07]])  # fmt: skip
_DARK_SKIN = 110
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Skins:
    """Textures of skins, eyes and hair by name, from a folder of pictures skin_*, eye_*, hair_*."""

    skin: Mapping[str, NDArray[np.uint8]]
    eye: Mapping[str, NDArray[np.uint8]]
    hair: Mapping[str, NDArray[np.uint8]]

    def dark(self, name: str) -> bool:
        """Whether a skin is a dark one, which needs more light."""
        return float(self.skin[name][100:500, 300:700].mean()) < _DARK_SKIN


def read_skins(folder: str | Path) -> Skins:
    """The textures of a folder."""
    found: dict[str, dict[str, NDArray[np.uint8]]] = {}
    for kind in ("skin", "eye", "hair"):
        paths = sorted(Path(folder).glob(f"{kind}_*"))
        if not paths:
            raise ManifestError(f"{folder} has no picture {kind}_*; renders need skins, eyes and hair")
        found[kind] = {
            path.stem.removeprefix(f"{kind}_"): np.asarray(Image.open(path).convert("RGB")) for path in paths
        }
    return Skins(**found)


@dataclass(frozen=True)
class BodyLook:
    """What stays with a person: names of textures, kind of brows, shells of hair, values of the shader by name."""

    skin: str
    eye: str
    hair: str
    brow: int
    shells: tuple[float, ...]
    values: Mapping[str, float | tuple[float, ...]]
    dark: bool
    wrinkled: float


@dataclass(frozen=True)
class View3D:
    """What changes from picture to picture: angles (radians), distance and width seen (metres), shift, lights."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    distance: float = 0.9
    span: float = 0.3
    shift: tuple[float, float] = (0.0, 0.0)
    gaze: Colour = (0.0, -1.0, 0.0)
    lights: NDArray[np.float64] = field(
        default_factory=lambda: np.array([[0.35, 0.45, 0.82], [-0.7, 0.1, 0.7], [0, 0.9, 0.3]])
    )
    lamps: NDArray[np.float64] = field(default_factory=lambda: np.array([[0.6] * 3, [0.2] * 3, [0.1] * 3]))
    above: Colour = (0.35, 0.35, 0.35)
    below: Colour = (0.22, 0.22, 0.22)
    shine: float = 0.06


def sample_appearance(rng: np.random.Generator, skins: Skins, person: BodyShape) -> BodyLook:
    """Skin, eyes, hair, beard and make-up of a person."""
    names = (
        [name for name in skins.skin if ("_male" in name) == person.male] if rng.random() < 0.9 else list(skins.skin)
    )
    skin = str(rng.choice(names or list(skins.skin)))
    dark = skins.dark(skin)
    share = [0.8, 0.1, 0, 0, 0.1, 0] if dark else [0.3, 0.27, 0.18, 0.1, 0.1, 0.05]
    hair = _HAIR[rng.choice(len(_HAIR), p=share)] * rng.uniform(0.7, 1.3)
    brown = [name for name in skins.eye if name.startswith("brown")] if dark else []
    beards, shares = [0.0, rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.95)], [0.6, 0.25, 0.15]
    shells, hairline = _hairdo(rng)
    values: dict[str, float | tuple[float, ...]] = {
        "tint": tuple(rng.uniform(0.8, 1.12) + rng.normal(0, 0.04, 3)),
        "hair_colour": tuple(hair),
        "brow_colour": tuple(hair * rng.uniform(0.5, 1.1)),
        "brows": float(rng.uniform(0.35, 1.1)),
        "beard": float(rng.choice(beards, p=shares)) if person.male else 0.0,
        "lip_colour": (rng.uniform(0.75, 1.0), rng.uniform(0.4, 0.8), rng.uniform(0.4, 0.8)),
        "lips": float(rng.uniform(0, 0.4 if person.male else 1)),
        "hairline": hairline,
        "iris_size": float(rng.uniform(0.38, 0.45)),
        "sclera": float(rng.uniform(0.7, 1.0)),
        "gloss": float(rng.uniform(0.1, 1.0)),
    }
    eye, locks = str(rng.choice(brown or list(skins.eye))), str(rng.choice(list(skins.hair)))
    return BodyLook(skin, eye, locks, int(rng.integers(BROWS)), shells, values, dark, float(rng.uniform(0, 1)))


def _hairdo(rng: np.random.Generator) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Shells of hair and the hairline: bald, short, long or a high forehead."""
    kind, top = rng.random(), float(rng.uniform(0.707, 0.735))
    if kind < 0.14:
        return (), (0.722, -0.02, 0.6, 0.3)
    if kind < 0.6:
        line = (top, rng.uniform(-0.06, 0.0), rng.uniform(0.62, 0.67), rng.uniform(0.1, 0.4))
        return (0.003, float(rng.uniform(0.006, 0.018))), line
    if kind < 0.85:
        thick = float(rng.uniform(0.012, 0.03))
        return (0.004, thick / 2, thick), (top, rng.uniform(-0.05, -0.02), 0.46, rng.uniform(0.1, 0.4))
    line = (rng.uniform(0.675, 0.70), rng.uniform(-0.06, -0.02), rng.uniform(0.46, 0.64), rng.uniform(-0.05, 0.1))
    return (0.004, float(rng.uniform(0.008, 0.016))), line


def sample_view(rng: np.random.Generator, look: BodyLook) -> View3D:
    """Camera, gaze and lights; one head in four is turned away, up to a profile of 60 degrees."""
    yaw = float(np.clip(rng.normal(0, 0.24), -0.7, 0.7))
    if rng.random() < 0.25:
        yaw = float(rng.choice([-1, 1]) * rng.uniform(0.5, PROFILE))
    toward = np.array([rng.normal(0, 0.18) + 0.5 * np.sin(yaw) * (rng.random() < 0.5), -1, rng.normal(0, 0.12)])
    lights = np.stack([rng.normal(0, 0.6, 3), rng.normal(0.3, 0.5, 3), rng.uniform(0.1, 1, 3)], 1)
    lights /= np.linalg.norm(lights, axis=1, keepdims=True)
    power = np.array([rng.uniform(0.3, 0.8), rng.uniform(0, 0.35), rng.uniform(0, 0.35)])
    ambient = rng.uniform(0.12, 0.45)
    total = ambient + 0.55 * power[0] + 0.3 * power[1:].sum()
    exposure = rng.uniform(0.5, 0.92) / total * (rng.uniform(1.1, 1.7) if look.dark else 1)
    return View3D(
        yaw, float(np.clip(rng.normal(0, 0.14), -0.4, 0.4)), float(rng.normal(0, 0.08)),
        float(rng.uniform(0.55, 1.6)), float(rng.uniform(0.245, 0.295)), tuple(rng.normal(0, 0.03, 2)),
        tuple(toward / np.linalg.norm(toward)), lights, power[:, None] * (1 + rng.normal(0, 0.08, (3, 3))) * exposure,
        tuple(ambient * exposure * (1 + rng.normal(0, 0.05, 3))), (ambient * exposure * rng.uniform(0.4, 1),) * 3,
        float(rng.uniform(0, 0.12)),
    )  # fmt: skip


def wrinkles(
    rng: np.random.Generator, strength: Mapping[int, float], age: float, wrinkled: float
) -> NDArray[np.float64]:
    """How deep each wrinkle of `decals` is (WRINKLES,): by action units and age."""
    s = {au: min(value, 1.2) for au, value in strength.items() if au != SHUT}
    x = {au: s.get(au, 0.0) for au in range(1, 28)}
    depth = np.array([
        x[1] * (1 if x[2] else 0.8), x[2] * (1 if x[1] else 0.5), x[4], x[9],
        max(0.8 * x[9], 0.8 * x[10], x[12], 0.5 * x[6]), x[6], x[17], max(x[15], 0.5 * x[20]),
        max(x[14], 0.4 * x[12]), max(x[7], 0.4 * x[6]),
    ])  # fmt: skip
    old = np.abs(rng.normal(0, 0.12, WRINKLES)) * max(0.0, age - 0.6) * 2.5
    return np.asarray(np.clip(depth * wrinkled * (0.6 + 0.8 * max(0.0, age - 0.5)) + old, 0, 0.7))


def finish(rng: np.random.Generator, image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The grey picture (side, side) of a rendered one (S, S, RGBA): before a backdrop, blurred and coarse at times."""
    alpha = image[..., 3:] / 255.0
    backdrop = _backdrop(rng, len(image))[..., None] * np.clip(1 + rng.normal(0, 0.06, 3), 0.8, 1.2)
    picture = Image.fromarray(np.clip(image[..., :3] * alpha + backdrop * (1 - alpha), 0, 255).astype(np.uint8))
    blur = rng.exponential(0.5)
    if blur > 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(min(blur, 2.2)))
    if rng.random() < 0.35:
        picture = picture.resize((int(side * rng.uniform(0.3, 0.6)),) * 2, Image.Resampling.BOX)
        picture = picture.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX).convert("L"))


def _backdrop(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """Grey values (side, side): plain, shaded, or blobs from coarse to fine."""
    kind = rng.random()
    if kind < 0.25:
        return np.full((side, side), rng.uniform(10, 240))
    if kind < 0.5:
        angle, steps = rng.uniform(0, 2 * np.pi), np.linspace(-1, 1, side)
        slope = np.cos(angle) * steps[None] + np.sin(angle) * steps[:, None]
        return np.asarray(np.clip(rng.uniform(40, 200) + rng.uniform(20, 90) * slope, 0, 255))
    count = int(rng.integers(3, 24))
    blobs = Image.fromarray(rng.integers(0, 256, (count, count)).astype(np.uint8))
    wide = blobs.resize((side, side), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 4)))
    return np.asarray(wide, np.float64)
