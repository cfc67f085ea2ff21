"""The frozen experts behind the visual prompts: one emotion net and one AU graph net, saved as a folder.

The recipe `experts` of scripts/train.py makes such a folder; `load_experts` reads it strictly.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from safetensors.torch import save_file
from torch import nn

from captioner.config import ExpertsConfig
from captioner.config_io import build_config, check
from captioner.errors import CheckpointError, ConfigError, unknown
from captioner.files import SHIPPED, read_object, recover, staged
from captioner.model.row_names import FORMAT_1
from captioner.model.weights import filled
from captioner.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from prompts.action_units import MAIN_AUS, SUB_AUS
from prompts.au_graph import AUGraph, AUGraphConfig, freeze
from prompts.er_net import ERNet, ERNetConfig
from prompts.visual import FrozenExperts

# What scripts/convert.py leaves in a folder until both nets are there, and the commands that do.
HALVES = {"emotion": "emotion-net.safetensors", "action units": "au-net.safetensors"}
MAKERS = {"emotion": "er-resnet50", "action units": "opengraphau"}
PRESENT, ABSENT = 0.5, 0.25  # AU intensity from which on, and below which, a label is certain


@dataclass(frozen=True)
class ExpertsSpec:
    """config.json of an experts folder: the nets' shapes, the input they expect, what they learned from."""

    er: ERNetConfig
    au: AUGraphConfig
    labels: tuple[str, ...]
    size: int
    training_data: str
    licence: str
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    au_mean: tuple[float, ...] = ()
    """Mean score of each main AU on the training stills."""
    au_std: tuple[float, ...] = ()
    """Its standard deviation; 1 for an untrained AU."""
    au_thresholds: tuple[float, ...] = ()
    """Score from which on a main AU counts as there; (): 0.5."""
    untrained_aus: tuple[int, ...] = ()
    """AUs the training stills never show: their scores mean nothing."""
    untrained_sides: tuple[str, ...] = SUB_AUS
    """Likewise for one side of the face, as L12."""
    margin: float | None = None
    """Round the face in the crops they want, as captioner.faces cuts them; None: any picture of mostly face."""
    synthetic_labels: tuple[str, ...] = ()
    """Emotions that no real face taught."""
    action_units: tuple[int, ...] = tuple(MAIN_AUS)
    """The main AUs, in the order of the net's scores and of the lists above."""

    def __post_init__(self) -> None:
        faults = []
        for key, count in [("au_mean", self.au.main), ("au_std", self.au.main), ("labels", self.er.classes)]:
            if len(getattr(self, key)) != count:
                faults.append(f"{key} has {len(getattr(self, key))} entries: {count} are needed")
        if len(self.au_thresholds) not in (0, self.au.main):
            faults.append(f"au_thresholds has {len(self.au_thresholds)} entries: {self.au.main} are needed, or none")
        if self.margin is not None and not 0 <= self.margin <= 2:
            faults.append(f"margin is {self.margin}: 0 to 2 faces are allowed")
        if sides := sorted(set(self.untrained_sides) - set(SUB_AUS)):
            faults.append(f"untrained_sides {sides}: not among {', '.join(SUB_AUS)}")
        if strangers := sorted(set(self.untrained_aus) - set(MAIN_AUS)):
            faults.append(f"untrained_aus {strangers}: not among the main AUs")
        if self.au.main == len(MAIN_AUS) and self.action_units != tuple(MAIN_AUS):
            faults.append(f"action_units {list(self.action_units)}: this version's nets have {list(MAIN_AUS)}")
        check(faults)


@dataclass(frozen=True)
class Experts:
    """Both nets, frozen, and what config.json says of them."""

    er: ERNet
    au: AUGraph
    config: ExpertsSpec


def load_experts(source: str | Path) -> Experts:
    """The frozen experts of a folder, or shipped ones by name; every key of both nets must be there."""
    folder = find_experts(source)
    spec = _read_spec(folder / "config.json")
    path = folder / "model.safetensors"
    both = filled(lambda: nn.ModuleDict({"er": ERNet(spec.er), "au": AUGraph(spec.au)}), path, str(path))
    er, au = cast(ERNet, both["er"]), cast(AUGraph, both["au"])
    freeze(er)
    freeze(au)
    return Experts(er, au, spec)


def resolve_experts(config: ExpertsConfig) -> ExpertsConfig:
    """The config with the sizes of its source written out, so that a checkpoint can be rebuilt without it."""
    if not config.source:
        return config
    made = load_experts(config.source)
    er, au = made.er.config, made.au.config
    if au.main != len(MAIN_AUS):
        raise ConfigError(
            f"experts {config.source!r} know {au.main} action units: nets over {len(MAIN_AUS)} are needed"
        )
    return dataclasses.replace(
        config,
        er_arch=er.arch,
        er_labels=list(made.config.labels),
        au_backbone=au.backbone,
        au_stage=cast(Literal[1, 2], au.stage),
        au_neighbors=au.neighbors,
        au_metric=cast(Any, au.metric),
        au_width=au.width or 0,
        au_mirror=au.mirror,
        au_sub=au.sub,
        untrained_aus=list(made.config.untrained_aus),
        size=made.config.size,
        margin=made.config.margin,
    )


def build_experts(config: ExpertsConfig, *, load: bool = True) -> FrozenExperts:
    """The frozen experts of a config: from their source, or random ones of the same shape for a checkpoint to fill."""
    if config.source and load:
        made = load_experts(config.source)
        return FrozenExperts(made.er, made.au, made.config.mean, made.config.std)
    er = ERNet(ERNetConfig(arch=config.er_arch, classes=len(config.er_labels)))
    graph = AUGraphConfig(
        backbone=config.au_backbone,
        stage=config.au_stage,
        neighbors=config.au_neighbors,
        metric=config.au_metric,
        width=config.au_width or None,
        sub=config.au_sub,
        mirror=config.au_mirror,
    )
    return FrozenExperts(er, AUGraph(graph), IMAGENET_MEAN, IMAGENET_STD)


def save_experts(
    folder: str | Path, er: nn.Module, au: nn.Module, spec: ExpertsSpec, card: str, *, whole_au: bool = True
) -> None:
    """config.json, model.safetensors (matrices of the emotion net in float16) and CARD.md in `folder`.

    With `whole_au` false the matrices of the AU net's backbone are rounded too.
    """
    state = nn.ModuleDict({"er": er, "au": au}).state_dict()
    # The AU net's head stays whole: rounding tips its graph of nearest nodes, a step function (untrained scores
    # moved by .03). Vectors do too: they cost nothing, and variances may leave the range of float16.
    rounded = ("er.",) if whole_au else ("er.", "au.backbone.")
    halved = {key for key, value in state.items() if key.startswith(rounded) and value.dim() > 1}
    stored = {key: value.half() if key in halved else value for key, value in state.items()}
    with staged(folder) as staging:
        save_file({key: value.contiguous() for key, value in stored.items()}, staging / "model.safetensors")
        (staging / "config.json").write_text(json.dumps(dataclasses.asdict(spec), indent=1) + "\n", encoding="utf-8")
        (staging / "CARD.md").write_text(card, encoding="utf-8")


def find_experts(source: str | Path) -> Path:
    """The folder that a path or the name of shipped experts means."""
    for folder in (recover(Path(source)), SHIPPED / source):
        if (folder / "config.json").is_file():
            return folder
    if halves := [kind for kind, name in HALVES.items() if (Path(source) / name).is_file()]:
        lacking = next(kind for kind in HALVES if kind not in halves)
        raise CheckpointError(
            f"{source} holds half of the experts, the net of {lacking} is missing: "
            f"python scripts/convert.py {MAKERS[lacking]} FILE --out {source}"
        )
    shipped = sorted(folder.name for folder in SHIPPED.glob("*experts"))
    raise CheckpointError(
        f"{unknown('experts', str(source), shipped)}; or a folder that scripts/convert.py or the recipe experts made"
    )


def au_labels(intensities: Mapping[int, float]) -> list[int]:
    """A label for each main AU: 1 from intensity 0.5 on, 0 below 0.25 or not named, -1 (unknown) between."""
    values = (intensities.get(au, 0.0) for au in MAIN_AUS)
    return [1 if value >= PRESENT else 0 if value < ABSENT else -1 for value in values]


def _read_spec(path: Path) -> ExpertsSpec:
    tree = read_object(path)
    older = {"action_units": [int(au) for au in FORMAT_1["action_units"]]}  # folders that named none
    try:
        return build_config(ExpertsSpec, older | tree, where=str(path))
    except (ConfigError, ValueError) as error:  # prompts knows no CaptionerError
        raise CheckpointError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
