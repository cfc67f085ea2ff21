"""What the recipes `emotionclip` and `probe` can be told: EmotionCLIP learned from words said, and probes on it."""

from dataclasses import dataclass, field
from typing import Literal

from captioner.config_io import check
from captioner.emotion.emotion_clip.emotion_clip_config import EmotionClipConfig

PROBE_SETS = ("manifest", "mafw", "bold", "meld", "moviegraphs", "emotic", "liris")


@dataclass(frozen=True)
class SentimentConfig:
    """Who says what sentiment a sentence has, and how much that guides the contrast."""

    source: str = "lexicon"
    """lexicon: lists of words of ours, which know no grammar; else hub name or folder of a text classifier over anger,
    disgust, fear, joy, neutral, sadness, surprise, as j-hartmann/emotion-english-distilroberta-base."""
    beta: float = 10.0
    """0: the plain contrast."""
    direction: Literal["paper", "released"] = "paper"
    """Of the divergence: KL(s_i || s_j) as printed, or the reverse, as released."""
    most_neutral: float = 1.0
    """Sentences whose neutral share is larger are left out; 0.05 as released, 1: none."""


@dataclass(frozen=True)
class WordsRun:
    """A whole run of EmotionCLIP on clips and what is said in them (recipe: emotionclip)."""

    recipe: Literal["emotionclip"] = "emotionclip"
    emotion: EmotionClipConfig = field(default_factory=EmotionClipConfig)
    sentiment: SentimentConfig = field(default_factory=SentimentConfig)
    manifest: str = ""
    """Clips; the train split is learned, the val split scored by retrieval (test, where there is no val)."""
    said: Literal["transcript", "captions", "subtitles"] = "transcript"
    """Where the words are: `extra.transcript` of a clip, its captions, or FILE.srt beside the video."""
    styles: list[str] = field(default_factory=list)
    """Of captions: those that `extra` holds by this name, in place of the clip's own."""
    seconds: list[float] = field(default_factory=lambda: [2.0, 10.0])
    """Shorter and longer clips are left out."""
    letters: int = 3
    """A sentence has at least so many."""
    boxes: str = ""
    """Folder of persons' boxes in the released layout, VIDEO/human_boxes.json; "": followed faces."""
    boxes_as: Literal["corrected", "released"] = "corrected"
    """Of that layout: with its letter-box taken off, or as released, a quarter of a patch too low."""
    kept: int = 16
    """Frames kept of a clip, of which training draws."""
    cache: str = ""
    out: str = "runs/emotionclip"
    groups: Literal["sensible", "released"] = "sensible"
    """released: gains and biases at 5e-5, all matrices at 1e-8, which trains next to nothing else."""
    lr: float = 1e-4
    """Of what CLIP does not have."""
    tower_lr_scale: float = 0.1
    """Rate of CLIP's towers relative to lr; 0: frozen."""
    weight_decay: float = 0.1
    epochs: int = 25
    batch: int = 128
    warmup: int = 10_000
    """Steps of a straight rise, at most a tenth of the run."""
    start: Literal["clip", "vision", "text", "none"] = "clip"
    """Which towers keep CLIP's weights; the others are drawn (Table 3)."""
    half: bool = False
    seed: int = 2022
    threads: int = 0

    def __post_init__(self) -> None:
        faults = [f"{key} is {value}: at least {least} is needed" for key, value, least in
                  (("epochs", self.epochs, 1), ("batch", self.batch, 2), ("kept", self.kept, self.emotion.frames))
                  if value < least]  # fmt: skip
        if len(self.seconds) != 2 or not 0 <= self.seconds[0] < self.seconds[1]:
            faults.append(f"seconds are {self.seconds}: two rising numbers are needed, as [2, 10]")
        if self.sentiment.beta < 0:
            faults.append(f"sentiment.beta is {self.sentiment.beta}: 0 or more is needed")
        if self.emotion.labels:
            faults.append("emotion.labels are for a probe (recipe probe): leave them out here")
        check(faults)


@dataclass(frozen=True)
class ProbeRun:
    """A linear probe on frozen features (recipe: probe)."""

    recipe: Literal["probe"] = "probe"
    source: str = ""
    """The EmotionCLIP whose features are probed: a folder that scripts/convert.py or the recipe `emotionclip` made."""
    dataset: Literal["manifest", "mafw", "bold", "meld", "moviegraphs", "emotic", "liris"] = "manifest"
    root: str = ""
    """The dataset's folder; for `manifest` a .jsonl file of clips with an emotion."""
    fold: int = 1
    """Of MAFW."""
    c: float = 1.0
    """Inverse strength of the regularisation."""
    persons: Literal["boxes", "none"] = "boxes"
    """Masks of persons: as the dataset boxes them (of plain videos followed faces), or none."""
    boxes_as: Literal["corrected", "released"] = "corrected"
    most: int = 0
    """Clips of each side at most, the first ones; 0: all."""
    out: str = "runs/emotionclip/probe"
    cache: str = ""
    seed: int = 2022
    threads: int = 0

    def __post_init__(self) -> None:
        check([f"c is {self.c}: more than 0 is needed"] if self.c <= 0 else [])
