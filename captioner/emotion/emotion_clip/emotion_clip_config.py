"""Configuration of EmotionCLIP; every ablation of the paper is a key here."""

from dataclasses import dataclass, field
from typing import Literal

from captioner.config_io import Bound, at_least, broken, check, divisors, out_of_bounds
from captioner.emotion.belief import BeliefKind
from captioner.emotion.clip.clip_config import ClipConfig


def _openclip() -> ClipConfig:
    return ClipConfig(source="laion/CLIP-ViT-B-32-laion2B-s34B-b79K", activation="gelu")


@dataclass(frozen=True)
class SubjectConfig:
    """How the image tower is told where the persons are (section 3 of the paper, Table 1)."""

    rule: Literal["soft", "hard", "mask", "none"] = "soft"
    """soft: a token that sums the places of patches, each by its share covered by persons, as released; hard: by
    whether any of it is covered, as printed; mask: attention masking (SAAM); none: CLIP as it is."""
    mask_from: int = 6
    """First layer whose attention is masked, of rule `mask`."""
    mask_start: float = -4.0
    """Start of the masking weight before its sigmoid, one a head: almost plain attention."""
    persons: Literal["faces", "detector", "none"] = "faces"
    """Who says where persons are in a clip: followed faces, grown to bodies; torchvision's detector, whose weights are
    fetched once; or nobody (an empty mask)."""


@dataclass(frozen=True)
class FrameFusionConfig:
    """From the features of frames to that of a clip (Table 3)."""

    kind: Literal["transformer", "mean", "conv_1d"] = "transformer"
    layers: int = 6
    heads: int = 8
    hidden: int = 2048
    dropout: float = 0.1
    residual: bool = True
    """Add the frames' features again behind the transformer."""


@dataclass(frozen=True)
class EmotionClipConfig:
    """Everything that fixes the recogniser; saved in its config.json."""

    kind: Literal["emotion_clip"] = "emotion_clip"
    clip: ClipConfig = field(default_factory=_openclip)
    subject: SubjectConfig = field(default_factory=SubjectConfig)
    fusion: FrameFusionConfig = field(default_factory=FrameFusionConfig)
    frames: int = 8
    """Evenly spread over a clip, the first and the last among them; the places of its frames are learned."""
    crop: Literal["frame", "face"] = "frame"
    """What is seen of a frame: its centre square; or the dominant face, upright and grey, by the experts' small nets
    (clip.tower: face), which know no subject token. Not in the paper: for clips too few to learn pictures from."""
    pixels: Literal["imagenet", "clip"] = "imagenet"
    """Mean and deviation of the pixels: ImageNet's, as released, though CLIP's towers learned with their own."""
    labels: list[str] = field(default_factory=list)
    """What the probe on its features tells apart; empty: it has none yet, and believes nothing."""
    belief: BeliefKind = "single"
    """single: one of the labels; several: each for itself."""

    def __post_init__(self) -> None:
        check(self.problems())

    def problems(self) -> list[str]:
        """Contradictions between keys, each naming the keys and their values."""
        return [*out_of_bounds(self, _BOUNDS), *broken(self._rules())]

    def _rules(self) -> list[tuple[bool, str]]:
        """Pairs of what would be wrong between keys, and the line that says so."""
        fusion, clip = self.fusion, self.clip
        known = bool(clip.vocab_size) or not clip.source  # else the sizes are still the defaults
        return [
            (bool(self.labels) and (len(self.labels) < 2 or len(set(self.labels)) != len(self.labels)),
             f"labels {self.labels}: at least two different names are needed"),
            (known and fusion.kind == "transformer" and fusion.heads > 0 and clip.width % fusion.heads > 0,
             f"fusion.heads {fusion.heads} does not divide clip.width {clip.width}: use one of {divisors(clip.width)}"),
            (fusion.kind == "conv_1d" and self.frames < 3,
             f"fusion.kind conv_1d looks at 3 frames at a time, frames is {self.frames}: 3 or more are needed"),
            (known and (clip.tower == "face") != (self.crop == "face"),
             f"clip.tower {clip.tower} does not see crop {self.crop}: use face for both, or for none"),
            (self.crop == "face" and self.subject.rule != "none",
             f"crop face shows one person alone: subject.rule {self.subject.rule} has no place, use none"),
        ]  # fmt: skip


_BOUNDS: dict[str, Bound] = {
    **dict.fromkeys(("frames", "fusion.layers", "fusion.heads", "fusion.hidden"), at_least(1)),
    "subject.mask_from": at_least(0, "0 or more is needed"),
    "fusion.dropout": Bound("a share from 0 to below 1 is needed", lambda share: 0 <= share < 1),
}  # fmt: skip
