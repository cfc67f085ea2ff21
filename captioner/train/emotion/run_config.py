"""What the recipes `pair` and `emotion` can be told: the small CLIP pair, and the protocol of PE-CLIP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any, Literal

from captioner.config_io import apply_override, build_config, check, join_overrides, read_yaml
from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.pe_clip.pe_clip_config import PEClipConfig
from captioner.emotion.registry import kind_of
from captioner.emotion.wording import PromptConfig


@dataclass(frozen=True)
class PairConfig:
    """A whole run of a CLIP pair (recipe: pair)."""

    recipe: Literal["pair"] = "pair"
    clip: ClipConfig = field(default_factory=lambda: ClipConfig(source=""))
    prompt: PromptConfig = field(default_factory=PromptConfig)
    manifest: str = ""
    """Clips with captions; the train split is learned, the val split scored."""
    fold: int | None = None
    part: float = 1.0
    """Share of the persons (groups) of the train split whose clips are learned; a recogniser can have the others."""
    manners: list[str] = field(default_factory=list)
    """Styles of captions that a clip's `extra` holds, as feelings, learned beside its own."""
    out: str = "runs/clip"
    crop: Literal["frame", "face"] = "frame"
    """What is seen of a frame: its square, or the dominant face (as emotion.crop)."""
    cache: str = ""
    """Folder for face crops; "": out/features. With that of a recogniser of one size, faces are read once."""
    kept: int = 16
    """Face crops kept of a clip, of which training draws; segments x candidates of that recogniser."""
    start: str = "experts"
    """Experts, shipped or a folder, whose trunks a face tower looks with; they stay as they are."""
    photos: str = ""
    """A folder with FER+; its training part joins, with prompts for the emotions that people voted for."""
    photo_batch: int = 64
    photo_balance: float = 0.5
    """Power of an emotion's inverse frequency with which photos are drawn."""
    frames: int = 4
    """Frames of a clip: of the picture spread evenly, of faces drawn."""
    share_prompts: float = 0.25
    """Share of the clips with an emotion that are shown a prompt in place of a caption."""
    epochs: int = 20
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.1
    warmup: float = 0.1
    half: bool = False
    """Store matrices in 16 bits."""
    seed: int = 0
    threads: int = 0
    """CPU threads; 0: torch decides."""

    def __post_init__(self) -> None:
        faults = [
            f"{key} is {value}: at least {least} is needed"
            for key, value, least in [
                ("frames", self.frames, 1),
                ("epochs", self.epochs, 1),
                ("batch", self.batch, 2),
                ("kept", self.kept, self.frames),
            ]
            if value < least
        ]
        if self.clip.source:
            faults.append(f"clip.source is {self.clip.source!r}, but this trains a pair from its sizes: leave it empty")
        for key in ("share_prompts", "part"):
            if not 0 <= getattr(self, key) <= 1:
                faults.append(f"{key} is {getattr(self, key)}: a share between 0 and 1 is needed")
        if (self.clip.tower == "face") != (self.crop == "face"):
            faults.append(f"clip.tower {self.clip.tower} does not see crop {self.crop}: use face for both, or for none")
        if self.crop != "face" and self.photos:
            faults.append("photos are aligned faces: set crop=face and clip.tower=face")
        check(faults)


@dataclass(frozen=True)
class EmotionDataConfig:
    """The videos, and how they are split and read."""

    dataset: Literal["ve8", "ekman6", "mv6", "mafw", "emotions", "mosi", "mosei", "manifest"] = "ve8"
    variant: Literal["all", "balanced", "test"] = "all"
    """Of eMotions (dataset: emotions), the paper's three sets."""
    root: str = ""
    """The dataset's folder, unpacked; for `manifest` a .jsonl file of clips with an emotion."""
    protocol: Literal["random", "official"] = "random"
    """official: the sides that the dataset's own lists or folders name (for MAFW the folds)."""
    splits: int = 10
    """Random splits with seeds 0, 1, ..., or folds."""
    test_share: float = 0.3333
    by_group: bool = False
    """Keep clips of one source on one side."""
    group: str = ""
    """Regular expression whose first group, found in a video's file name, names its source; "": the lists say it."""
    crop: Literal["random", "centre"] = "random"
    """In training; centre lets frame features be computed once and kept. Evaluation always takes the centre."""
    validation: float = 0.0
    """Share of the training side, or the dataset's own part, by which the best epoch is chosen; 0: the last one."""
    candidates: int = 5
    """Frames kept of a segment when the crop is fixed, an odd number: training draws one, the middle one is tested."""
    unseen: bool = False
    """Leave out the clips of persons whom the CLIP pair has learned from, as its persons.txt lists them."""
    photos: str = ""
    """A folder with FER+, whose training part joins every split: people's votes on photos of faces (crop: face)."""
    cache: str = ""
    """Folder for frame features; "": train.out/features."""
    workers: int = 0
    """Processes that decode ahead where the crop is random; 0: the training process does."""

    def __post_init__(self) -> None:
        faults = []
        if not 0 < self.test_share < 1:
            faults.append(f"data.test_share is {self.test_share}: a share between 0 and 1 is needed")
        if not 0 <= self.validation < 1:
            faults.append(f"data.validation is {self.validation}: a share from 0 to below 1 is needed")
        if self.workers < 0:
            faults.append(f"data.workers is {self.workers}: 0 or more is needed")
        if self.splits < 1:
            faults.append(f"data.splits is {self.splits}: at least 1 is needed")
        if self.candidates < 1 or self.candidates % 2 == 0:
            faults.append(f"data.candidates is {self.candidates}: an odd number is needed")
        check(faults)


@dataclass(frozen=True)
class EmotionTrainConfig:
    """Optimisation: plain Adam at a constant rate, as the paper says."""

    out: str = "runs/emotion"
    epochs: int = 50
    batch: int = 16
    photo_batch: int = 32
    """Photos beside each batch of clips, where data.photos names some."""
    lr: float = 2e-4
    decoder_lr_scale: float = 0.05
    """Rate of pretrained weights that are trained, relative to lr."""
    protocol: Literal["ours", "released"] = "ours"
    """released: with the errors of AV-CANet's public code. The rate is a hundredth of what is meant from first to last;
    the best epoch is chosen on the very clips that are reported, and these are seen at random places and crops."""
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.02
    """Of adamw."""
    rate: Literal["constant", "published", "cosine"] = "constant"
    """published: AV-CANet's, as it was meant; cosine: a rise over a tenth of the run, then down to 0."""
    accumulate: int = 1
    """Batches of a step of the optimiser."""
    clip_norm: float = 0.0
    """Longest gradient; 0: any."""
    seed: int = 0
    only: list[int] = field(default_factory=list)
    """Run these splits alone; empty: all. A finished split is never run again."""
    plots: Literal["auto", "always", "never"] = "auto"
    """Confusion matrix and t-SNE; they need the extra `eval`, and auto leaves them out where it is missing."""
    half: bool = False
    """Store matrices in 16 bits."""
    threads: int = 0
    """CPU threads; 0: torch decides."""

    def __post_init__(self) -> None:
        faults = [
            f"train.{key} is {value}: at least 1 is needed"
            for key, value in [("epochs", self.epochs), ("batch", self.batch), ("accumulate", self.accumulate)]
            if value < 1
        ]
        check([*faults, *([f"train.lr is {self.lr}: more than 0 is needed"] if self.lr <= 0 else [])])


@dataclass(frozen=True)
class EmotionRun:
    """A whole protocol (recipe: emotion); of other recognisers than PE-CLIP see `load_emotion_run`."""

    recipe: Literal["emotion"] = "emotion"
    emotion: PEClipConfig = field(default_factory=PEClipConfig)
    data: EmotionDataConfig = field(default_factory=EmotionDataConfig)
    train: EmotionTrainConfig = field(default_factory=EmotionTrainConfig)

    def __post_init__(self) -> None:
        crop, kind = getattr(self.emotion, "crop", ""), getattr(self.emotion, "kind", "")
        check([f"train.protocol=released is AV-CANet's, emotion.kind is {kind}: leave it out"]
              if self.train.protocol == "released" and kind != "av_canet" else [])  # fmt: skip
        check([f"data.photos are aligned faces, but emotion.crop is {crop}: set it to face"]
              if self.data.photos and crop != "face" else [])  # fmt: skip


def load_emotion_run(path: str | Path | None, overrides: Sequence[str] = ()) -> EmotionRun:
    """A protocol of whatever kind `emotion.kind` names; without one, PE-CLIP's."""
    tree: dict[str, Any] = read_yaml(Path(path)) if path is not None else {}
    for override in join_overrides(overrides):
        apply_override(tree, override)
    given = tree.get("emotion")
    kind = kind_of(given.get("kind") if isinstance(given, Mapping) else None, "emotion.kind").config
    whole: Any = EmotionRun
    if kind is not PEClipConfig:
        own = [("emotion", kind, field(default_factory=kind))]
        whole = make_dataclass("EmotionRun", own, bases=(EmotionRun,), frozen=True)
    run: EmotionRun = build_config(whole, tree, where=str(path) if path is not None else "configuration")
    return run
