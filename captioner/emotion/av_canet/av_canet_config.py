"""Configuration of AV-CANet; every table of its paper is a key here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from captioner.config_io import SHARE, at_least, broken, check, divisors, out_of_bounds
from captioner.sound.fronts import FrontConfig

POLARITIES = ("positive", "neutral", "negative")


@dataclass(frozen=True)
class VideoStreamConfig:
    """The stream that looks."""

    net: Literal["swin3d_t", "swin3d_small", "experts"] = "swin3d_t"
    """Video Swin-T of each snippet, a small one for a CPU, or the frozen experts' trunks on each aligned face."""
    pretrained: str = ""
    """A safetensors file to start Video Swin from: torchvision's swin3d_t, or its two-dimensional swin_t, inflated as
    the paper's is. "": random weights."""
    frames: int = 8
    """Of a snippet."""
    step: float = 0.04
    """Seconds between them, from the snippet's middle; 0: spread over the snippet."""
    size: int = 112
    crop: Literal["frame", "face"] = "frame"
    dropout: float = 0.5
    drop_path: float = 0.1


@dataclass(frozen=True)
class AudioStreamConfig:
    """The stream that listens."""

    net: Literal["resnet34", "small"] = "resnet34"
    front: FrontConfig = field(default_factory=lambda: FrontConfig("mfcc", rate=44_100, bands=32))
    frames: int = 256
    """Of a chunk: the front's frames, resampled in time."""
    align: Literal["segments", "released"] = "segments"
    """segments: a chunk is the sound of its snippet's part of the clip; released: the clip's sound, tiled to a fixed
    length and cut into chunks, which then are of other moments than the snippets."""
    seconds: float = 3.0
    """Of a chunk at most, from the middle of its part; released: of a chunk exactly (the paper's 4096 frames are
    47.6 s, a chunk 2.97 s)."""


@dataclass(frozen=True)
class AVFusionConfig:
    """How the streams meet (Tables 5, 7, 8)."""

    kind: Literal["lgf", "vanilla", "self_attention", "lgi_former", "sun"] = "lgf"
    lisf: bool = True
    glcf: bool = True
    levels: int = 2
    heads: int = 8
    inner: int = 512
    dropout: float = 0.2
    """Of the pyramid's blocks; the released class says .5."""
    integration: Literal["plain", "released"] = "plain"
    """released: its block normalises one channel, and so never sees its own weights."""
    head: Literal["mid_concat", "gated", "multiply", "neural", "sum"] = "mid_concat"


@dataclass(frozen=True)
class PolarityLossConfig:
    """EP-CE: an answer of the wrong polarity costs more (equation 15)."""

    kind: Literal["ep_ce", "ce"] = "ep_ce"
    positive: list[str] = field(default_factory=list)
    neutral: list[str] = field(default_factory=list)
    negative: list[str] = field(default_factory=list)
    gamma_positive: float = 0.7
    gamma_neutral: float = 0.7
    gamma_negative: float = 0.7
    branches: bool = True
    """Each stream's half of the answer is judged too."""

    def names(self, polarity: str) -> list[str]:
        """The labels of a polarity."""
        found: list[str] = getattr(self, polarity)
        return found


@dataclass(frozen=True)
class AVCANetConfig:
    """Everything that fixes the recogniser; saved in its config.json."""

    kind: Literal["av_canet"] = "av_canet"
    labels: list[str] = field(default_factory=list)
    segments: int = 16
    """Snippets of a clip."""
    width: int = 512
    video: VideoStreamConfig = field(default_factory=VideoStreamConfig)
    audio: AudioStreamConfig = field(default_factory=AudioStreamConfig)
    streams: Literal["both", "video", "audio"] = "both"
    """One of them alone is the baseline of Table 4."""
    fusion: AVFusionConfig = field(default_factory=AVFusionConfig)
    loss: PolarityLossConfig = field(default_factory=PolarityLossConfig)

    def __post_init__(self) -> None:
        check(self.problems())

    def problems(self) -> list[str]:
        """Contradictions between keys, each naming the keys and their values."""
        fusion, video = self.fusion, self.video
        return [
            *out_of_bounds(self, _BOUNDS),
            *broken([
                (self.width % max(1, fusion.heads), f"width {self.width} cannot be shared by fusion.heads "
                 f"{fusion.heads}; allowed: {divisors(self.width)}"),
                (len(set(self.labels)) != len(self.labels) or len(self.labels) == 1,
                 f"labels are {self.labels}: at least two different ones are needed"),
                ((video.net == "experts") != (video.crop == "face"),
                 f"video.net {video.net} does not see crop {video.crop}: experts look at faces, the others at frames"),
                (bool(video.pretrained) and video.net != "swin3d_t",
                 f"video.pretrained is for video.net=swin3d_t, not for {video.net}: leave it out"),
                (video.net == "swin3d_t" and video.frames < 2, "video.frames is 1: Video Swin takes two at a time"),
                (self.loss.kind == "ep_ce" and bool(self.labels) and bool(self.lacking_polarity()),
                 f"loss has no polarity for {', '.join(self.lacking_polarity())}: name each label in loss.positive, "
                 "loss.neutral or loss.negative, or set loss.kind=ce"),
                (bool(self.twice()), f"loss names {', '.join(self.twice())} in more than one polarity"),
            ]),
        ]  # fmt: skip

    def lacking_polarity(self) -> list[str]:
        """Labels without one."""
        known = {name for polarity in POLARITIES for name in self.loss.names(polarity)}
        return [label for label in self.labels if label not in known]

    def twice(self) -> list[str]:
        """Labels of two polarities."""
        named = [name for polarity in POLARITIES for name in set(self.loss.names(polarity))]
        return sorted({name for name in named if named.count(name) > 1})


def polarity_ids(labels: Sequence[str], loss: PolarityLossConfig) -> list[int]:
    """The place in POLARITIES of each label's."""
    return [next(i for i, name in enumerate(POLARITIES) if label in loss.names(name)) for label in labels]


_BOUNDS = {
    **dict.fromkeys(
        ("segments", "width", "video.frames", "video.size", "audio.frames", "audio.front.rate", "audio.front.bands",
         "fusion.levels", "fusion.heads", "fusion.inner"),
        at_least(1),
    ),
    **dict.fromkeys(("video.dropout", "video.drop_path", "fusion.dropout"), SHARE),
    **dict.fromkeys(("loss.gamma_positive", "loss.gamma_neutral", "loss.gamma_negative", "audio.seconds",
                     "video.step"), at_least(0)),
}  # fmt: skip
