"""What synthetic clips to make, and which wishes cannot be met."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from captioner.errors import ConfigError
from captioner.synth.story.camera import FRAMINGS
from captioner.synth.story.grammar import STYLES
from captioner.synth.voice.espeak import has_espeak
from captioner.synth.workers import split_counts

LEAST_SIDE, MOST_SIDE = 64, 1920

Span = tuple[float, float]


@dataclass(frozen=True)
class MakerOptions:
    """What clips to make; `faces` is a folder of photos (None: drawn faces), `bundle` the checker's model file.

    genders: people are named by gender.npy of the photos, and women play as often as men; oblique: sad and frightened
    faces often raise and knit their brows at once; voices: who talks is heard, by a voice of our own or espeak-ng.
    """

    out: Path
    clips: int = 200
    seed: int = 0
    faces: Path | None = None
    height: int = 224
    width: int = 224
    seconds: Span = (3.0, 3.0)
    fps: Span = (12.0, 12.0)
    style: str = "faces"
    captions: int = 3
    people: int = 2
    genders: bool = False
    oblique: bool = False
    voices: Literal["", "own", "espeak"] = ""
    framing: str = "film"
    backgrounds: Path | None = None
    val: float = 0.1
    test: float = 0.1
    workers: int = 1
    bundle: Path | None = None

    def __post_init__(self) -> None:
        checks = [
            (self.seed >= 0, f"seed is {self.seed}; it must be 0 or more"),
            (_is_side(self.width) and _is_side(self.height),
             f"size is {self.width}x{self.height}; sides are even numbers of pixels from {LEAST_SIDE} to {MOST_SIDE}"),
            (0.5 <= self.width / max(self.height, 1) <= 3,
             f"size is {self.width}x{self.height}; the width must be 0.5 to 3 heights"),
            (_is_range(self.seconds, 1, 8), f"seconds is {_shown(self.seconds)}; it must lie within 1 to 8"),
            (_is_range(self.fps, 8, 30), f"fps is {_shown(self.fps)}; it must lie within 8 to 30"),
            (self.style in STYLES, f"style is {self.style!r}; allowed: {', '.join(STYLES)}"),
            (1 <= self.captions <= 20, f"captions is {self.captions}; it must be 1 to 20"),
            (1 <= self.people <= 2, f"people is {self.people}; it must be 1 or 2"),
            (self.framing in FRAMINGS, f"framing is {self.framing!r}; allowed: {', '.join(FRAMINGS)}"),
            (self.framing == "film" or self.backgrounds is None,
             "backgrounds are for films: a portrait has its person's own; leave one of them out"),
            (self.workers >= 1, f"workers is {self.workers}; it must be at least 1"),
            (self.voices != "espeak" or has_espeak(),
             "voices is espeak, whose package is not installed: pip install 'captioner[sound]', or give own"),
            (not self.genders or self.faces is not None,
             "genders is given without faces: it names people of photos; leave one of them out"),
            (self.bundle is None or self.faces is not None,
             "check is given without faces: it reads photos, drawn faces are not checked; leave one of them out"),
        ]  # fmt: skip
        for good, message in checks:
            if not good:
                raise ConfigError(message)
        split_counts(self.clips, self.val, self.test)


def _is_side(pixels: int) -> bool:
    return LEAST_SIDE <= pixels <= MOST_SIDE and pixels % 2 == 0


def _is_range(span: Span, low: float, high: float) -> bool:
    return low <= span[0] <= span[1] <= high


def _shown(span: Span) -> str:
    return f"{span[0]:g}" if span[0] == span[1] else f"{span[0]:g}-{span[1]:g}"
