"""One dataclass a stage. The docstring under a field is its documentation.

`config_io.load_config(Config, "configs/tiny.yaml", ["fusion.layers=2"])` returns a checked Config or raises ConfigError
with every fault on one line.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from captioner.config_io import BELOW_ONE, SHARE, Bound, at_least, between, broken, check, divisors, out_of_bounds
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.training_config import DataConfig as DataConfig
from captioner.training_config import TrainConfig as TrainConfig


@dataclass(frozen=True)
class VideoConfig:
    """The video encoder F_V."""

    arch: Literal[
        "swin3d_t", "swin3d_s", "swin3d_b", "swin3d_small_cpu", "clip", "clip_small_cpu", "hf",
        "x3d_xs", "x3d_s", "x3d_m", "x3d_l", "mvit_b", "mvit_small_cpu",
    ] = "swin3d_b"  # fmt: skip
    """Video Swin; CLIP's image tower; pytorchvideo's X3D and MViT; hf: the model of transformers that `pretrained`
    names."""
    frames: int = 32
    """Frames sampled uniformly over the clip."""
    size: int = 224
    """Side of the square crop in pixels."""
    pretrained: str = ""
    """"kinetics400" (torchvision's loader), a .safetensors file made by scripts/convert.py (video-swin,
    pytorchvideo), a hub name or folder (clip, hf), or "" for random weights."""
    frozen: bool = False
    lora: int = 0
    """Rank of adapters (peft) that learn in an encoder whose own weights stay; 0: none."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    drop_path: float = 0.2
    width: int = 64
    """Channels of the first stage of swin3d_small_cpu (doubled at each of its two later stages); clip_small_cpu has
    four times as many throughout."""
    network: dict[str, Any] = field(default_factory=dict)
    """Filled in: what builds an encoder of transformers again without its source."""

    @property
    def fixed(self) -> bool:
        """Whether what it says of a clip never changes."""
        return self.frozen and not self.lora


@dataclass(frozen=True)
class TextConfig:
    """The text encoder F_T; sees captions in training and the written sentence when evidence is asked for."""

    arch: Literal["bert", "clip", "t5", "gpt2"] = "bert"
    pretrained: str = "bert-base-uncased"
    """Hub name or folder; "": random weights of the sizes below."""
    vocab_size: int = 0
    """Filled in when the encoder brings its own vocabulary; 0: it shares the captioner's."""
    layers: int = 12
    width: int = 768
    heads: int = 12
    dropout: float | None = None
    """Everywhere in the encoder; none: what its kind is trained with (BERT, T5 and GPT-2 0.1, CLIP 0)."""
    frozen: bool = False
    lora: int = 0
    """Rank of adapters (peft) that learn in an encoder whose own weights stay; 0: none."""
    checkpointing: bool = False
    """Recompute activations in the backward pass."""
    share_words: bool = False
    """Use the fusion's word table as the encoder's own (bert only, equal widths)."""


@dataclass(frozen=True)
class ExpertsConfig:
    """The frozen experts behind the visual prompts."""

    source: str = ""
    """Name of shipped experts or a folder that the recipe `experts` or scripts/convert.py made; "": untrained ones of
    the sizes below."""
    untrained: Literal["refused", "allowed"] = "refused"
    """Whether a run may start with experts of random weights, as tests and ablations do."""
    er_arch: str = "resnet50"
    er_labels: list[str] = field(default_factory=lambda: list(MAFW_LABELS))
    """Emotions the ER net was trained on; its features serve whatever the captioner's own labels are."""
    au_backbone: str = "resnet50"
    au_stage: Literal[1, 2] = 1
    au_neighbors: int = 4
    au_metric: Literal["dots", "cosine", "l1", "l2"] = "dots"
    au_width: int = 0
    """Width of an AU's node; 0: as released for the backbone."""
    au_mirror: bool = False
    """The graph net's word is the mean over a crop and its mirror image."""
    au_sub: int = 14
    """Scores for one side of the face, beside the 27 main ones."""
    untrained_aus: list[int] = field(default_factory=list)
    """Action units the graph net never learned; they are not chosen."""
    frames: int = 8
    """Frames of the clip, spread evenly, on which the experts run."""
    size: int = 224
    margin: float | None = None
    """Shown round the dominant face in their crops, as a share of it; None: the whole picture's centre square."""
    reader: Literal["builtin", "mediapipe", "fan"] = "builtin"
    """Who finds the faces."""


@dataclass(frozen=True)
class PromptsConfig:
    """VEP, TEP and ECA: every switch and threshold of the paper's Tables IV-VI and Figs 6-8."""

    vep: bool = True
    """Visual emotion prompts: the ER token and the K action-unit tokens."""
    tep: bool = True
    """Textual emotion prompts: the soft [CLASS-k] token and the sentence and word features."""
    er_sentence: Literal["off", "aware", "similarity", "similarity_ce"] = "aware"
    """ER-sentence alignment: eq 8, or Table VI's global similarity and similarity cross-entropy."""
    au_word: Literal["off", "aware", "ce", "contrastive"] = "aware"
    """AU-word alignment: eqs 9-12, or Table VI's cross-entropy and plain contrastive loss."""
    k: int = 3
    """Action units kept (Fig 6)."""
    alone: bool = False
    """Words see the prompts alone and no video tokens: a reading of Table V's row without the baseline."""
    reading: bool = False
    """One more token: how surely the clip shows each facial phrase, judged by the AUs' courses and the face reader's
    values. Not in the paper; it needs experts of aligned crops and data.cache."""
    measured: bool = False
    """One more token in place of `reading`: what the shipped judges say of the person, followed all the time (phrases,
    actions, woman or man, company). Not in the paper; captions are held against the same numbers."""
    threshold: float = 0.3
    """T_C: a matched pair above it is a positive (Fig 7)."""
    margin: float = 0.5
    """m: the similarity positives must reach (Fig 8)."""
    warmup: float = 0.1
    """Share of the steps before eq 12 is alone: with own_words only the soft search runs in them, without it every
    matched pair counts as positive, or the loss dies cold."""
    keep_best: bool = True
    """The best pair of each clip stays positive after the warm-up; off: eq 11 alone, which can die for good."""
    unmatched: float = 1.0
    """Weight of AU-word pairs that were not matched, as negatives; 0: eq 12 alone, which lets all vectors meet."""
    negatives: Literal["one-sided", "two-sided"] = "one-sided"
    """What eq 12 does with negatives: push similar ones down, or also raise dissimilar ones to 0, as printed."""
    own_words: float = 0.2
    """Weight of the soft search for an AU's word against captions without the AU; 0: eq 12 alone, which settles on
    words that all captions share."""
    mask_words: float = 0.5
    """Share of caption words hidden from AU-word matching and predicted by the language model."""
    temperature: float = 0.07
    """Of the softmax in own_words and in the similarity_ce, ce and contrastive variants."""

    @property
    def reads(self) -> str:
        """Which token says what is seen in numbers, if any: reading or measured."""
        return "reading" if self.reading else "measured" if self.measured else ""


@dataclass(frozen=True)
class FusionConfig:
    """The cross-modal transformer that writes the words."""

    layers: int = 12
    heads: int = 12
    width: int = 768
    ffn: int = 3072
    visual_width: int = 512
    """Video features pass through this width before `width` (1024 -> 512 -> 768 in the paper)."""
    dropout: float = 0.1
    max_text: int = 50
    """Word pieces of a caption with [CLS] and [SEP]: 50 for MAFW, 30 for EmVidCap."""
    pretrained: str = ""
    """BERT name or folder whose layers, embeddings and head start the transformer; "": random weights."""
    checkpointing: bool = False
    """Recompute activations in the backward pass."""
    label_smoothing: float = 0.0
    """Share of the word loss that all words have alike."""
    tie_head: bool = True
    video_mask: bool = False
    """SwinBERT's learned video mask, for converted checkpoints; its length fixes the number of video tokens."""
    video_tokens: int = 784
    """Size of that mask."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the network; saved in config.json of a checkpoint."""

    video: VideoConfig = field(default_factory=VideoConfig)
    text: TextConfig = field(default_factory=TextConfig)
    experts: ExpertsConfig = field(default_factory=ExpertsConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    labels: list[str] = field(default_factory=lambda: list(MAFW_LABELS))
    """Emotion names, in the order of the belief."""
    emotion_prior: str | None = None
    """Kind of a recogniser whose belief is mixed into the soft [CLASS-k] token; none: the captioner's own belief
    alone."""
    emotion_prior_source: str | None = None
    """Its trained folder, as scripts/train.py writes from configs/emotion; it is read, not copied into checkpoints."""
    emotion_prior_labels_as: dict[str, str] | None = None
    """What labels of it are called among `labels`, where the names differ: {joy: happiness}."""
    emotion_prior_weight: float | None = None
    """w in belief = w prior + (1 - w) own; 0.5 when not given, 1 for the prior alone."""
    emotion_net_weight: float = 0.0
    """How much the frozen emotion net's own probabilities, where it knows the same labels, count in the belief beside
    the visual head: the net has seen real people, the head what the captioner was trained on."""
    tokenizer: str = "bert-base-uncased"
    """Hub name or folder of a WordPiece vocabulary; "captions": built from the training captions."""
    vocab_size: int = 0
    """Filled in when the vocabulary is known."""
    styles: list[str] = field(default_factory=list)
    """Manners of captions it writes, the usual one first, as the clips' `extra` names them; none: one, unnamed."""

    def __post_init__(self) -> None:
        check(self.problems())

    @property
    def prior_weight(self) -> float:
        """How much the emotion prior counts beside the captioner's own belief."""
        return 0.5 if self.emotion_prior_weight is None else self.emotion_prior_weight

    def problems(self) -> list[str]:
        """Contradictions between keys, each naming the keys and their values."""
        return [*out_of_bounds(self, _BOUNDS), *broken([*self._rules(), *self._excesses()])]

    def _excesses(self) -> list[tuple[bool, str]]:
        """Pairs of what would be too much or unfit to be shown, and the line that says so."""
        names = {"labels": self.labels, "styles": self.styles, "experts.er_labels": self.experts.er_labels}
        odd = [_odd_names(key, given) for key, given in names.items()]
        return [(bool(line), line) for line in odd] + [
            (part.frames * part.size**2 > MOST_PIXELS,
             f"{key}.frames {part.frames} of {key}.size {part.size}: together {MOST_PIXELS:,} pixels are allowed")
            for key, part in (("video", self.video), ("experts", self.experts))
        ]  # fmt: skip

    def _rules(self) -> list[tuple[bool, str]]:
        """Pairs of what would be wrong between keys, and the line that says so."""
        video, text, prompts, fusion = self.video, self.text, self.prompts, self.fusion
        known = 27 - len(self.experts.untrained_aus)
        both = prompts.vep and prompts.tep
        return [
            (fusion.heads > 0 and fusion.width % fusion.heads > 0,
             f"fusion.heads {fusion.heads} does not divide fusion.width {fusion.width}: "
             f"use one of {divisors(fusion.width)}"),
            (text.heads > 0 and text.width % text.heads > 0,
             f"text.heads {text.heads} does not divide text.width {text.width}"),
            (prompts.k > known, f"prompts.k is {prompts.k}: the graph net knows {known} action units"),
            (video.arch == "swin3d_small_cpu" and video.width % 16 > 0,
             f"video.width is {video.width}: a multiple of 16 is needed"),
            *((part != "off" and not both,
               f"prompts.{key}={part} aligns both prompts: it needs prompts.vep and prompts.tep")
              for key, part in (("er_sentence", prompts.er_sentence), ("au_word", prompts.au_word))),
            (prompts.alone and not (prompts.vep or prompts.tep),
             "prompts.alone leaves words nothing to see: it needs prompts.vep or prompts.tep"),
            (self.emotion_prior is not None and not self.emotion_prior_source,
             "emotion_prior_source is missing: name a trained folder of the recogniser"),
            (self.emotion_prior is not None and not prompts.tep,
             "emotion_prior feeds the [CLASS-k] token: it needs prompts.tep"),
            (not 0 <= self.emotion_net_weight <= 1,
             f"emotion_net_weight is {self.emotion_net_weight}: 0 to 1 is needed"),
            (self.emotion_net_weight > 0 and not (prompts.vep and self.experts.er_labels == self.labels),
             "emotion_net_weight mixes in the emotion net's word: it needs prompts.vep and experts of the same labels"),
            (prompts.reading and prompts.measured,
             "prompts.reading and prompts.measured are two ways to the same token: choose one"),
            (text.share_words and (text.arch != "bert" or text.width != fusion.width),
             "text.share_words needs text.arch=bert and text.width equal to fusion.width"),
            (text.share_words and text.lora > 0, "text.share_words trains a table that text.lora would freeze"),
            (len(self.labels) < 2 or len(set(self.labels)) != len(self.labels),
             f"labels {self.labels}: at least two different names are needed"),
            (len(set(self.styles)) != len(self.styles), f"styles {self.styles}: different names are needed"),
        ]  # fmt: skip


MOST_PIXELS = 1 << 25  # of all frames of a clip that a network takes
LONGEST_NAME, MOST_NAMES = 100, 1000  # of labels and styles


def _odd_names(key: str, names: list[str]) -> str:
    """What is wrong with names that captions and tables will show; "" for nothing."""
    if len(names) > MOST_NAMES:
        return f"{key} has {len(names)} names: at most {MOST_NAMES} are allowed"
    odd = next((name for name in names if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME), None)
    return "" if odd is None else f"{key} has {odd[:20]!r}...: 1 to {LONGEST_NAME} printable letters are needed"


_BOUNDS: dict[str, Bound] = {
    # The upper ends are far beyond any network of today: what asks for more is a slip, or meant to eat the memory.
    **dict.fromkeys(("fusion.layers", "text.layers", "fusion.heads", "text.heads"), between(1, 256)),
    **dict.fromkeys(("fusion.width", "text.width", "fusion.visual_width", "video.width"), between(1, 16384)),
    **dict.fromkeys(("fusion.ffn", "fusion.video_tokens"), between(1, 65536)),
    **dict.fromkeys(("video.frames", "experts.frames"), between(1, 1024)),
    **dict.fromkeys(("video.size", "experts.size"), between(32, 2048, "pixels")),
    **dict.fromkeys(("vocab_size", "text.vocab_size"), between(0, 10_000_000)),
    **dict.fromkeys(("fusion.dropout", "text.dropout", "video.drop_path"), BELOW_ONE),
    "prompts.k": at_least(1),
    "experts.au_width": between(0, 16384),
    "experts.margin": between(0, 2, "faces"),
    "fusion.max_text": between(4, 4096),
    "prompts.mask_words": Bound("a share between 0 and 1 is needed", lambda share: 0 < share < 1),
    "prompts.temperature": Bound("more than 0 is needed", lambda value: value > 0),
    "emotion_prior_weight": SHARE,
    **dict.fromkeys(("video.lora", "text.lora"), between(0, 1024)),
    "fusion.label_smoothing": BELOW_ONE,
}  # fmt: skip


@dataclass(frozen=True)
class DecodeConfig:
    """How words are chosen."""

    beams: int = 0
    """Width of the search; 1: greedy, 0: the model's own, 8 where it has prompts.reading or measured, else 1."""
    evidence: float = 0.2
    """What a caption that a search finished gains by each claim measured to hold, and loses by others; 0: nothing."""
    claims: bool = True
    """Of a model with a reading, captioning a video: nothing is claimed that was not measured; false: plain ECPA."""
    max_words: int = 0
    """Word pieces at most; 0: the model's max_text."""
    style: str = ""
    """One of the styles that the model learned (model.styles); "": the first."""
    length_penalty: float = 1.0
    no_repeat: int = 3
    """No n-gram of this length twice; 0: anything goes."""
    sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = dict.fromkeys(("beams", "evidence", "max_words"), at_least(0, "0 or more is needed"))
        rules = [
            (self.sample and self.beams > 1, f"decode.sample cannot be combined with decode.beams={self.beams}"),
            (self.temperature <= 0 or not 0 < self.top_p <= 1,
             "decode.temperature must be above 0 and decode.top_p in (0, 1]"),
        ]  # fmt: skip
        check([*out_of_bounds(self, bounds, "decode."), *broken(rules)])


@dataclass(frozen=True)
class Config:
    """A whole run of a captioner (recipe: captioner, or none named)."""

    recipe: Literal["captioner"] = "captioner"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
