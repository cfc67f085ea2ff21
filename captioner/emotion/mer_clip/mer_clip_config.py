"""Configuration of the reconstructed MER-CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from captioner.config_io import SHARE, Bound, at_least, broken, check, divisors, out_of_bounds
from captioner.emotion.clip.clip_config import ClipConfig
from captioner.sound.fronts import FrontConfig

MODALITIES = ("text", "audio", "vision")
# The seven bins of sentiment and what they are worth.
SENTIMENTS = (
    "strongly negative", "negative", "weakly negative", "neutral", "weakly positive", "positive", "strongly positive",
)  # fmt: skip
SENTIMENT_VALUES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


@dataclass(frozen=True)
class LabelTextConfig:
    """The label encoder: how a label becomes a text."""

    template: str = "a person feeling {}"
    context_tokens: int = 0
    """Learned vectors between the start and the text, one set for all labels; 0: the text alone."""


@dataclass(frozen=True)
class SpokenConfig:
    """The words that are said."""

    keep: Literal["first", "last"] = "first"
    """Of words beyond the text encoder's window."""
    given: bool = True
    """Of a feature file its text features, where it has some; false: its sentences, through CLIP's text encoder."""


@dataclass(frozen=True)
class HeardConfig:
    """The sound: a front's frames, every `stride` of them joined, and layers that look at all of it."""

    front: FrontConfig = field(default_factory=FrontConfig)
    seconds: float = 12.0
    """Of a clip at most; more is left out."""
    stride: int = 8
    layers: int = 2


@dataclass(frozen=True)
class SeenConfig:
    """The pictures: evenly spread frames through CLIP's frozen image tower, and a layer that looks at all of them."""

    frames: int = 8
    layers: int = 1


@dataclass(frozen=True)
class ReadyConfig:
    """Ready features in place of clips: [frames, width] of each modality; [] is made from the clip.

    Where data.root is a feature file, what is left out here is taken from it.
    """

    text: list[int] = field(default_factory=list)
    audio: list[int] = field(default_factory=list)
    vision: list[int] = field(default_factory=list)

    def shapes(self, order: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Those of the modalities of an order that are ready."""
        given = {name: getattr(self, name) for name in order if name in MODALITIES}
        return {name: (shape[0], shape[1]) for name, shape in given.items() if len(shape) == 2}


@dataclass(frozen=True)
class AnswerConfig:
    """What is asked for: one label, several, or a number that the labels' values span."""

    task: Literal["single", "several", "regression"] = "single"
    values: list[float] = field(default_factory=list)
    """Of the labels, for regression."""
    temperature: float = 0.07
    """At the start; it is learned, and never below .01."""
    align: float = 0.1
    """Weight of the alignment loss; 0: none."""
    bins: float = 0.5
    """Weight of the nearest label's cross-entropy beside the distance, for regression."""


@dataclass(frozen=True)
class MERClipConfig:
    """Everything that fixes the recogniser; saved in its config.json."""

    kind: Literal["mer_clip"] = "mer_clip"
    labels: list[str] = field(default_factory=list)
    clip: ClipConfig = field(default_factory=ClipConfig)
    label: LabelTextConfig = field(default_factory=LabelTextConfig)
    spoken: SpokenConfig = field(default_factory=SpokenConfig)
    heard: HeardConfig = field(default_factory=HeardConfig)
    seen: SeenConfig = field(default_factory=SeenConfig)
    ready: ReadyConfig = field(default_factory=ReadyConfig)
    order: list[str] = field(default_factory=lambda: list(MODALITIES))
    """One block each, in this order; a modality that is left out is not looked at."""
    heads: int = 8
    dropout: float = 0.1
    modality_dropout: float = 0.1
    """Share of a clip's modalities that training hides; never all of them."""
    answer: AnswerConfig = field(default_factory=AnswerConfig)

    def __post_init__(self) -> None:
        check(self.problems())

    def problems(self) -> list[str]:
        """Contradictions between keys, each naming the keys and their values."""
        answer, width, known = self.answer, self.clip.width, bool(self.clip.vocab_size) or not self.clip.source
        strange = [name for name in self.order if name not in MODALITIES]
        return [
            *out_of_bounds(self, _BOUNDS),
            *broken([
                *((bool(shape) and (len(shape) != 2 or min(shape) < 1),
                   f"ready.{name} is {shape}: [frames, width] is needed, or [] to make it from clips")
                  for name, shape in vars(self.ready).items()),
                (not self.order or strange or len(set(self.order)) != len(self.order),
                 f"order is {self.order}: one or more of {', '.join(MODALITIES)}, each once"),
                (known and width % max(1, self.heads),
                 f"clip.width {width} cannot be shared by heads {self.heads}; allowed: {divisors(width)}"),
                (len(set(self.labels)) != len(self.labels) or len(self.labels) == 1,
                 f"labels are {self.labels}: at least two different ones are needed"),
                (answer.task == "regression" and len(answer.values) != len(self.labels),
                 f"answer.values has {len(answer.values)} entries for {len(self.labels)} labels: one each is needed"),
                ("{}" not in self.label.template, f"label.template {self.label.template!r} has no {{}} for the label"),
            ]),
        ]  # fmt: skip


_BOUNDS: dict[str, Bound] = {
    **dict.fromkeys(("heard.stride", "seen.frames", "heads"), at_least(1)),
    **dict.fromkeys(
        ("label.context_tokens", "heard.layers", "seen.layers", "answer.align", "answer.bins"), at_least(0)
    ),
    "heard.seconds": at_least(0.1),
    "answer.temperature": Bound("more than 0 is needed", lambda value: value > 0),
    "dropout": SHARE,
    "modality_dropout": Bound("a share between 0 and 1, without 1, is needed", lambda value: 0 <= value < 1),
}
