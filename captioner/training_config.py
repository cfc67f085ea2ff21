"""What a run of a captioner reads and how it is optimised: the groups `data` and `train` of a configuration."""

from dataclasses import dataclass
from typing import Literal

from captioner.config_io import SHARE, Bound, at_least, broken, check, out_of_bounds


@dataclass(frozen=True)
class DataConfig:
    """Where the clips are and how they are read."""

    manifest: str = ""
    """JSONL manifest of clips (see README, "Your own data")."""
    fold: int | None = None
    val_share: float = 0.0
    """Share of the training clips that is held out for validation where the manifest has no part for it, groups (film,
    source video) undivided."""
    drawn: int = 0
    """Draw this many clips of invented faces into the manifest's folder first, when it is not there."""
    drawn_seed: int = 0
    drawn_size: int = 112
    cache: str = ""
    """Folder of the feature store: decoded frames and what frozen parts say of them; "": nothing is kept."""
    cache_frames: bool = True
    """Keep frames in it too (5 MB a clip of 32 x 224 px); false: every epoch decodes them anew."""
    short_side: int = 0
    """Short edge after resizing, in pixels; larger than model.video.size gives random crops. 0: that size."""
    crop: Literal["random", "centre"] = "random"
    """Of training clips; with centre, the store keeps the tokens of a frozen video encoder in place of frames."""
    workers: int | None = None
    """Processes that decode and read ahead; 0: the training process does; none: as many as cores are left, 4 at most,
    where every epoch decodes clips, and 0 where the store has them."""
    prefetch: int = 2
    """Batches that each of them holds ready."""
    max_bad: float = 0.05
    """Share of clips that may turn out unreadable, each replaced by another; beyond it the run stops."""
    clip_sampler: Literal["", "random", "uniform", "constant"] = ""
    """Which part of a training clip is sampled, by pytorchvideo's clip samplers: anywhere, one part after the other
    from epoch to epoch, or one of `clips_per_video` places in turn; "": the whole clip."""
    clip_share: float = 0.8
    """Length of that part, as a share of the clip."""
    clips_per_video: int = 3
    """Places of the sampler "constant"."""
    flip: bool = False
    """Mirror clips at random; leave off where captions say left and right."""
    hide_faces: float = 0.0
    """Share of the training clips shown without a face, their captions without what it does: where no face is found,
    such a captioner does not make one up."""

    def __post_init__(self) -> None:
        bounds = {
            "workers": Bound("0 or more is needed", lambda count: count is None or count >= 0),
            "prefetch": at_least(1, "1 or more is needed"), "clips_per_video": at_least(1, "1 or more is needed"),
            "clip_share": Bound("a share above 0, 1 at most, is needed", lambda share: 0 < share <= 1),
            "max_bad": SHARE, "hide_faces": SHARE,
            "val_share": Bound("a share from 0 to below 1 is needed", lambda share: 0 <= share < 1),
        }  # fmt: skip
        kept = bool(self.cache) and self.cache_frames
        rules = [
            (bool(self.clip_sampler) and kept,
             f"data.clip_sampler={self.clip_sampler} decodes clips anew: it needs data.cache_frames=false"),
            (bool(self.clip_sampler) and self.crop == "centre" and not self.flip and bool(self.cache),
             "data.clip_sampler and data.crop=centre: kept tokens of a frozen encoder know the whole clip alone; "
             "use data.crop=random"),
        ]  # fmt: skip
        check([*out_of_bounds(self, bounds, "data."), *broken(rules)])


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation, facts as in the paper and its released script; see README for departures."""

    out: str = "runs/unnamed"
    start: str = ""
    """A captioner (shipped name, folder, hub) whose weights and vocabulary the run starts from, its frozen experts
    apart, which are the config's; "": from nothing."""
    epochs: int = 20
    max_steps: int = 0
    """Stop after this many optimiser steps; 0: epochs decide."""
    batch: int = 32
    """Clips of a micro-batch of all processes together."""
    batch_per_device: int = 0
    """Clips of a micro-batch of each process, in place of `batch`; 0: `batch` decides."""
    foretell: bool = True
    """Refuse to start where a step would not fit into memory; false: only say what it takes."""
    captions: int = 1
    """Captions, or other words hidden in the same one, learned a clip and step: the clip is encoded once for all."""
    accumulate: int = 1
    """Micro-batches of `batch` clips summed into one step."""
    lr: float = 3e-4
    video_lr_scale: float = 0.05
    """Learning rate of the video encoder relative to lr."""
    weight_decay: float = 0.05
    """The released script has 0.2 fixed in its code."""
    clip_norm: float = 1.0
    warmup: float = 0.1
    dwa: bool = True
    """Dynamic weight averaging of the losses per epoch; off: the fixed weights below."""
    dwa_temperature: float = 2.0
    weight_mlm: float = 1.0
    weight_er: float = 1.0
    weight_au: float = 1.0
    reward: Literal["", "CIDEr"] = ""
    """Second stage, from `start`: captions are drawn and made likelier the better they score (SCST); "": words are
    learned from references."""
    reward_samples: int = 4
    """Captions drawn of each clip."""
    reward_temperature: float = 0.5
    """Of the words drawn; below 1 what is drawn, and so what is judged, is near what greedy decoding writes."""
    ema: float = 0.0
    """Decay of a moving average of the weights, which is validated and becomes `best`; 0: the weights themselves."""
    tf32: bool = False
    """On a GPU, products of float32 by TF32: faster, three digits."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = 88
    save_every: int = 0
    """Write `last` every so many steps besides each epoch's end; 0: epochs only."""
    keep_every: int = 0
    """Keep a copy that can be gone on from, `step-N`, every so many steps; 0: none."""
    keep: int = 3
    """How many of those copies stay; the oldest go."""
    deepspeed: str = ""
    """JSON of a DeepSpeed setting (configs/ds_*.json); "": torch alone."""
    compile: bool = False
    """Compile the encoders (torch.compile): faster steps after a slow first one, losses equal to rounding."""
    validate_every: int = 1
    """Validate after every so many epochs; 0: never, and `best` is the end."""
    best_by: str = "CIDEr"
    """Score of the validation that chooses `best`."""
    val_clips: int = 0
    """Validate on the first so many clips; 0: all."""
    log_every: int = 10
    wandb: str = ""
    """Project of Weights & Biases that curves go to beside TensorBoard's; "": none."""
    threads: int = 0
    """CPU threads; 0: torch decides."""

    def __post_init__(self) -> None:
        bounds = {
            "ema": Bound("a decay from 0 to below 1 is needed", lambda decay: 0 <= decay < 1),
            "reward_samples": at_least(2, "2 or more are needed: they are compared with each other"),
            "reward_temperature": Bound("more than 0 is needed", lambda value: value > 0),
            "batch_per_device": at_least(0, "0 or more is needed"),
        }
        rules = [
            (bool(self.reward) and not self.start,
             f"train.reward={self.reward} is a second stage: name the captioner it starts from in train.start"),
            (bool(self.reward) and bool(self.deepspeed),
             "train.reward draws captions in the middle of a step, which train.deepspeed does not know: leave one out"),
            (self.ema > 0 and bool(self.deepspeed),
             "train.ema needs whole weights in every process: leave train.deepspeed empty"),
        ]  # fmt: skip
        check([*out_of_bounds(self, bounds, "train."), *broken(rules)])
