"""Configuration of PE-CLIP; every ablation of the paper is a key here."""

from dataclasses import dataclass, field
from typing import Literal

from captioner.config_io import Bound, at_least, broken, check, divisors, out_of_bounds
from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.wording import PromptConfig


@dataclass(frozen=True)
class TemporalConfig:
    """The sequence encoder over the segments (Table 5)."""

    kind: Literal["mamba", "none", "transformer", "lstm", "gru"] = "mamba"
    layers: int = 3
    heads: int = 8
    inner: int = 384
    """Channels of a Mamba block, over all heads."""
    rank: int = 16
    """Of the projection to Mamba's step sizes."""
    states: int = 4
    kernel: int = 4
    bidirectional: bool = False
    """Add a scan from the end; the output at a segment then depends on later ones."""
    scan: Literal["parallel", "sequential"] = "parallel"


@dataclass(frozen=True)
class DecoderConfig:
    """The layers of CLIP's text encoder that become the decoder (Table 3, Fig 5)."""

    start: int = 8
    """d: layers d and later are converted."""
    init: Literal["pretrained", "random"] = "pretrained"
    """random: all of the decoder is trained, as in the paper's baseline."""
    train: Literal["new", "all"] = "new"
    """new: cross-attention, its norm and gate; all: the converted layers too, at train.decoder_lr_scale."""
    gate: Literal["tanh", "layerscale"] = "tanh"
    """tanh starts closed, so that the untrained decoder is CLIP's own text encoder; layerscale starts at 0.1."""
    gate_start: float = 0.0
    """What a tanh gate starts from, before its tanh; 0: closed."""
    gate_lr_scale: float = 10.0
    """Rate of the gates relative to train.lr. One number that moves by the rate a step hardly opens within a run."""
    readout: Literal["pretrained", "random"] = "pretrained"
    """Where the final norm and the projection come from; random ones are trained at the rate."""
    cross_init: Literal["copy", "xavier"] = "copy"


@dataclass(frozen=True)
class SupervisionConfig:
    """Bidirectional supervision: a prototype of the right tendency should cost least."""

    kind: Literal["order", "pull", "off"] = "order"
    weight: float = 0.7
    wrong: int = 2
    """Wrong tendencies drawn for each clip; 0: all of them."""
    temperature: float = 1.0


@dataclass(frozen=True)
class PEClipConfig:
    """Everything that fixes the recogniser; saved in its config.json."""

    kind: Literal["pe_clip"] = "pe_clip"
    clip: ClipConfig = field(default_factory=ClipConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    temporal: TemporalConfig = field(default_factory=TemporalConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    supervision: SupervisionConfig = field(default_factory=SupervisionConfig)
    labels: list[str] = field(default_factory=list)
    """Category names in their order; empty: the dataset's."""
    segments: int = 64
    """A video is one frame from each of so many equal parts (Table 6)."""
    crop: Literal["frame", "face"] = "frame"
    """What is seen of a frame: its centre square, or the dominant face, upright and grey, as the experts see it."""
    prototype: Literal["aggregated", "learned"] = "aggregated"
    tokens: int = 14
    """Length of learned prototypes (Table 8)."""
    classifier: Literal["aggregated", "linear", "emotional", "coop"] = "aggregated"
    """Table 4: category-aggregated anchors, a linear layer, a fine-tuned text encoder, or learned context."""
    context_tokens: int = 16
    """Learned context vectors of `coop`."""
    temperature: float = 0.01

    def __post_init__(self) -> None:
        check(self.problems())

    def problems(self) -> list[str]:
        """Contradictions between keys, each naming the keys and their values."""
        return [*out_of_bounds(self, _BOUNDS), *broken(self._rules())]

    def _rules(self) -> list[tuple[bool, str]]:
        """Pairs of what would be wrong between keys, and the line that says so."""
        temporal, clip, weight = self.temporal, self.clip, self.supervision.weight
        known = bool(clip.vocab_size) or not clip.source  # else the sizes are still the defaults
        shared = (
            ("temporal.heads", temporal.inner, temporal.heads),
            ("clip.text_heads", clip.text_width, clip.text_heads),
            ("clip.vision_heads", clip.vision_width, clip.vision_heads),
        )
        return [
            (bool(self.labels) and (len(self.labels) < 2 or len(set(self.labels)) != len(self.labels)),
             f"labels {self.labels}: at least two different names are needed"),
            *((heads > 0 and width % heads > 0,
               f"{key} {heads} does not divide {width}: use one of {divisors(width)}") for key, width, heads in shared),
            (temporal.kind == "transformer" and clip.width % max(1, temporal.heads) > 0,
             f"temporal.heads {temporal.heads} does not divide clip.width {clip.width}"),
            (known and not 0 <= self.decoder.start < clip.text_layers,
             f"decoder.start is {self.decoder.start}: the text encoder has layers 0 to {clip.text_layers - 1}"),
            (known and clip.tower == "face" and self.crop != "face",
             "clip.tower is face: it looks at aligned faces alone, set crop=face"),
            (self.temperature <= 0 or self.supervision.temperature <= 0,
             "temperature and supervision.temperature must be above 0"),
            (weight < 0 or (self.supervision.kind == "pull" and weight > 1),
             f"supervision.weight is {weight}: 0 or more is needed, at most 1 for pull"),
            (self.decoder.gate_lr_scale < 0,
             f"decoder.gate_lr_scale is {self.decoder.gate_lr_scale}: 0 or more is needed"),
            ("{}" not in self.prompt.template,
             f"prompt.template {self.prompt.template!r} has no {{}} for the category's name"),
        ]  # fmt: skip


_BOUNDS: dict[str, Bound] = {
    **dict.fromkeys(
        ("segments", "tokens", "context_tokens", "temporal.layers", "temporal.heads", "temporal.rank",
         "temporal.states", "temporal.kernel"),
        at_least(1),
    ),
    "supervision.wrong": at_least(0, "0 or more is needed"),
}  # fmt: skip
