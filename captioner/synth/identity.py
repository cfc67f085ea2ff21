"""The drawn person: what stays for a whole clip (Face) and what changes from frame to frame (State)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

RGB = tuple[int, int, int]

DRAWN_AUS: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 18, 20, 24, 25, 26, 27)

HAIR_COLOURS: dict[str, RGB] = {
    "black": (30, 26, 28),
    "brown": (98, 62, 36),
    "blond": (218, 182, 104),
    "red": (176, 74, 34),
    "grey": (158, 158, 162),
}
HAIR_STYLES: dict[str, tuple[str, ...]] = {
    "woman": ("long", "bob", "bun"),
    "man": ("short", "short", "quiff", "bald"),
}
BEARDS: tuple[str, ...] = ("none", "none", "none", "beard", "moustache")
SKINS: tuple[RGB, ...] = (
    (250, 220, 200), (240, 200, 172), (226, 178, 142), (198, 146, 108), (164, 112, 78), (128, 86, 60),
)  # fmt: skip
IRISES: tuple[RGB, ...] = ((70, 44, 26), (52, 34, 24), (60, 96, 140), (70, 110, 80), (92, 84, 60))
SHIRTS: dict[str, RGB] = {
    "red": (196, 48, 44),
    "blue": (48, 92, 170),
    "green": (58, 136, 84),
    "white": (236, 234, 228),
    "black": (38, 38, 44),
    "yellow": (228, 188, 60),
    "purple": (128, 76, 156),
}
TEXTURES: tuple[str, ...] = ("plain", "plain", "stripes", "window", "blobs")


@dataclass(frozen=True)
class Face:
    """One identity. Lengths are in half head heights, colours 0..255, `height` in picture heights."""

    gender: str
    hair: str
    hair_name: str
    hair_colour: RGB
    skin: RGB
    brow_colour: RGB
    iris: RGB
    lips: RGB
    beard: str
    glasses: bool
    earrings: bool
    width: float
    taper: float
    brow_y: float
    brow_tilt: float
    brow_thick: float
    eye_gap: float
    eye_size: float
    eye_open: float
    eye_tilt: float
    nose_length: float
    nose_width: float
    mouth_y: float
    mouth_width: float
    mouth_curve: float
    fullness: float
    fold: float
    shirt: str
    shirt_colour: RGB
    backdrop: tuple[RGB, RGB]
    texture: str
    texture_seed: int
    light: tuple[float, float]
    height: float


@dataclass(frozen=True)
class State:
    """One instant: AU intensities 0..1, head angles in degrees (positive: viewer's right, down, clockwise).

    `x`, `y` shift the head in picture widths; `gaze` is (right, down) in -1..1; `blink` and `speech` in 0..1.
    `sides` makes AUs one-sided: shares of the intensity on the person's own left and right (1, 1 if absent).
    """

    aus: Mapping[int, float] = field(default_factory=dict)
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    gaze: tuple[float, float] = (0.0, 0.0)
    blink: float = 0.0
    speech: float = 0.0
    sides: Mapping[int, tuple[float, float]] = field(default_factory=dict)


def mix(a: RGB, b: RGB, amount: float) -> RGB:
    """The colour `amount` (0..1) of the way from a to b."""
    t = min(1.0, max(0.0, amount))
    return (round(a[0] + (b[0] - a[0]) * t), round(a[1] + (b[1] - a[1]) * t), round(a[2] + (b[2] - a[2]) * t))


def _jitter(rng: np.random.Generator, colour: RGB, spread: int) -> RGB:
    r, g, b = np.clip(np.array(colour) + rng.integers(-spread, spread + 1, 3), 0, 255).tolist()
    return (r, g, b)


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _colour(rng: np.random.Generator, options: tuple[RGB, ...], spread: int) -> RGB:
    return _jitter(rng, options[int(rng.integers(len(options)))], spread)


def _brow_colour(hair: RGB, skin: RGB) -> RGB:
    """Hair colour, pulled towards dark, or towards light on dark skin, until brows show on every skin."""
    for amount in (0.3, 0.5, 0.7, 0.9):
        brow = mix(hair, (26, 18, 16), amount)
        if sum(skin) - sum(brow) > 190:
            return brow
    return mix(hair, (235, 228, 215), 0.35) if sum(hair) > 400 else (22, 14, 12)


def sample_face(rng: np.random.Generator) -> Face:
    """A random identity; the neutral brow, lids and mouth vary too, as they do between people."""
    gender = _pick(rng, ("woman", "man"))
    woman = gender == "woman"
    hair_name = _pick(rng, tuple(HAIR_COLOURS))
    hair_colour = _jitter(rng, HAIR_COLOURS[hair_name], 8)
    skin = _colour(rng, SKINS, 8)
    shirt = _pick(rng, tuple(SHIRTS))
    uniform = rng.uniform
    lip_target: RGB = (178, 36, 54) if woman else (142, 50, 48)
    if sum(skin) < 380:
        lip_target = (190, 70, 84) if woman else (186, 96, 92)  # lighter than dark skin, or it would not show
    return Face(
        gender=gender,
        hair=_pick(rng, HAIR_STYLES[gender]),
        hair_name=hair_name,
        hair_colour=hair_colour,
        skin=skin,
        brow_colour=_brow_colour(hair_colour, skin),
        iris=_colour(rng, IRISES, 8),
        lips=mix(skin, lip_target, uniform(0.6, 0.85) if woman else uniform(0.45, 0.6)),
        beard="none" if woman else _pick(rng, BEARDS),
        glasses=bool(rng.random() < 0.18),
        earrings=bool(woman and rng.random() < 0.3),
        width=uniform(0.74, 0.86),
        taper=uniform(0.12, 0.28) if woman else uniform(0.02, 0.18),
        brow_y=uniform(-0.315, -0.265),
        brow_tilt=uniform(-0.025, 0.025),
        brow_thick=uniform(0.055, 0.07) if woman else uniform(0.075, 0.10),
        eye_gap=uniform(0.325, 0.365),
        eye_size=uniform(0.19, 0.22),
        eye_open=uniform(0.082, 0.10),
        eye_tilt=uniform(-0.02, 0.03),
        nose_length=uniform(0.30, 0.36),
        nose_width=uniform(0.11, 0.145),
        mouth_y=uniform(0.58, 0.61),
        mouth_width=uniform(0.275, 0.33),
        mouth_curve=uniform(-0.018, 0.022),
        fullness=uniform(0.95, 1.25) if woman else uniform(0.75, 1.0),
        fold=uniform(0.0, 0.2),
        shirt=shirt,
        shirt_colour=_jitter(rng, SHIRTS[shirt], 12),
        backdrop=(_jitter(rng, (150, 156, 164), 55), _jitter(rng, (112, 112, 120), 55)),
        texture=_pick(rng, TEXTURES),
        texture_seed=int(rng.integers(2**31)),
        light=(uniform(-0.2, 0.2), uniform(0.86, 1.0)),
        height=uniform(0.55, 0.62),
    )
