"""Experts of the paper's size from public files: an emotion net and an AU graph net, converted one after the other.

Each conversion leaves its half in the folder; the second one makes the whole of both. What the AU net's scores are
usually, and from where on a unit counts as there, is measured on the user's own training clips.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from captioner.config import ExpertsConfig, ModelConfig, PromptsConfig, VideoConfig
from captioner.data.inputs import read_inputs
from captioner.data.manifest import Record
from captioner.errors import CheckpointError, VideoError
from captioner.files import atomic
from captioner.lexicon.phrases import PHRASES, phrase_names
from captioner.model.batch import features_of_faces
from captioner.model.convert import some
from captioner.model.experts import HALVES, ExpertsSpec, save_experts
from captioner.model.weights import fill
from captioner.train.cards import render_card
from captioner.train.experts.au_net import best_thresholds
from captioner.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from prompts.action_units import MAIN_AUS, SUB_AUS
from prompts.au_graph import AUGraph, AUGraphConfig
from prompts.er_net import ERNet, ERNetConfig
from prompts.visual import FrozenExperts

log = logging.getLogger(__name__)

OFTEN = 10  # clips that name a unit, and that do not, without which no threshold is measured
PREFIXES = ("module.", "model.", "net.", "backbone.", "encoder.", "resnet.")  # that wrap a ResNet's names


@dataclass(frozen=True)
class CropRule:
    """The crops that a net wants: pixels, margin round the face, normalisation."""

    size: int = 224
    margin: float = 0.3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


@dataclass(frozen=True)
class AUMeasures:
    """What was measured of an AU net on training clips, in the order of its main units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    thresholds: tuple[float, ...]
    named: tuple[int, ...]  # units whose threshold rests on clips that name them
    clips: int


# -- the emotion net ----------------------------------------------------------------------------------------------


def emotion_net(state: Mapping[str, Tensor], labels: Sequence[str], source: str) -> ERNet:
    """A torchvision or timm ResNet50 with as many outputs as labels; every weight must find its place."""
    net = ERNet(ERNetConfig("resnet50", len(labels)))
    plain = {_plain_name(key): value for key, value in state.items()}
    if "fc.weight" not in plain:
        raise CheckpointError(f"{source} has no classifier fc.weight: a ResNet50 with emotion outputs is needed")
    if len(plain["fc.weight"]) != len(labels):
        raise CheckpointError(
            f"{source} has {len(plain['fc.weight'])} outputs, --labels names {len(labels)}: give them in its order"
        )
    fill(net, {key if key.startswith("fc.") else f"backbone.{key}": value for key, value in plain.items()}, source)
    return net.eval()


def start_backbone(net: ERNet, state: Mapping[str, Tensor], source: str) -> None:
    """The backbone of an emotion net from a published one of the same kind, as of ImageNet; its classifier stays."""
    plain = {_plain_name(key): value for key, value in state.items()}
    body = {key: value for key, value in plain.items() if not key.startswith(("fc.", "head."))}
    if strange := sorted(body.keys() ^ net.backbone.state_dict().keys()):
        raise CheckpointError(f"{source} does not fit er_arch={net.config.arch}: {some(strange)} on one side only")
    fill(net.backbone, body, source)


def _plain_name(key: str) -> str:
    """A name without what wrappers put before it."""
    while prefix := next((each for each in PREFIXES if key.startswith(each)), ""):
        key = key.removeprefix(prefix)
    return key


# -- the action units ---------------------------------------------------------------------------------------------


def measure_aus(net: AUGraph, rule: CropRule, records: Sequence[Record]) -> AUMeasures:
    """Mean, spread and thresholds of the main units over clips; faces are cut out as the captioner will."""
    er = ERNet(ERNetConfig("small", 1))  # nothing reads it
    experts = FrozenExperts(er, net, rule.mean, rule.std)
    wanted = ExpertsConfig(size=rule.size, margin=rule.margin)
    config = ModelConfig(video=VideoConfig(frames=wanted.frames, size=32), experts=wanted, prompts=PromptsConfig())
    frames, clips, said = [], [], []
    for record in records:
        try:
            faces = read_inputs(record.video, config).inputs[0].faces
        except (VideoError, OSError) as error:
            log.warning("%s: left out (%s)", record.id, " ".join(str(error).split()))
            continue
        if faces is None or faces.shown is None or not faces.shown.any():
            continue
        seen = features_of_faces(experts, faces)
        frames.append(seen.au_frames[0][faces.shown[0]])
        clips.append(seen.au_scores[0])
        said.append(named_units(record))
    if len(clips) < 2:
        raise CheckpointError(
            f"{len(clips)} of {len(records)} training clips show a face: too few to measure scores on"
        )
    scores, labels = torch.stack(clips), torch.tensor(said)
    often = ((labels == 1).sum(0) >= OFTEN) & ((labels == 0).sum(0) >= OFTEN)
    thresholds = torch.where(often, best_thresholds(scores, labels), 0.5)
    every = torch.cat(frames)
    return AUMeasures(
        tuple(round(v, 5) for v in every.mean(0).tolist()),
        tuple(round(max(v, 1e-3), 5) for v in every.std(0, unbiased=False).tolist()),
        tuple(round(v, 3) for v in thresholds.tolist()),
        tuple(au for au, known in zip(MAIN_AUS, often.tolist(), strict=True) if known),
        len(clips),
    )


def named_units(record: Record) -> list[int]:
    """1 for each main unit that a clip's list or captions name, else 0."""
    units = set(record.au_ids) or {au for name in phrase_names(record.captions) for au in PHRASES[name].aus}
    return [int(au in units) for au in MAIN_AUS]


# -- halves and the whole -----------------------------------------------------------------------------------------


def add_half(folder: Path, kind: str, net: nn.Module, rule: CropRule, about: Mapping[str, Any]) -> bool:
    """Leave a converted net in a folder; whether both are there now, and made whole experts."""
    if (folder / "config.json").exists():
        raise CheckpointError(f"{folder} holds whole experts already: name another folder in --out")
    if folder.is_file():
        raise CheckpointError(f"{folder} is a file: name a folder in --out")
    folder.mkdir(parents=True, exist_ok=True)
    config: Any = net.config
    told = {"net": asdict(config), "rule": asdict(rule), **about}
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    with atomic(folder / HALVES[kind]) as path:
        save_file(state, path, metadata={"half": json.dumps(told)})
    if not all((folder / name).is_file() for name in HALVES.values()):
        return False
    join_halves(folder)
    return True


def join_halves(folder: Path) -> None:
    """config.json, model.safetensors and CARD.md of two halves, which go then."""
    halves = {kind: _read_half(folder / name) for kind, name in HALVES.items()}
    (er_about, er_state), (au_about, au_state) = halves["emotion"], halves["action units"]
    if er_about["rule"] != au_about["rule"]:
        raise CheckpointError(
            f"{folder}: the emotion net wants crops of {er_about['rule']}, the AU net of {au_about['rule']}: convert "
            f"both with the same --size, --margin, --mean and --std"
        )
    er, au = ERNet(ERNetConfig(**er_about["net"])), AUGraph(AUGraphConfig(**au_about["net"]))
    fill(er, er_state, str(folder / HALVES["emotion"]))
    fill(au, au_state, str(folder / HALVES["action units"]))
    rule, measures = au_about["rule"], au_about["measures"]
    spec = ExpertsSpec(
        er=er.config, au=au.config, labels=tuple(er_about["labels"]), size=rule["size"], margin=rule["margin"],
        mean=tuple(rule["mean"]), std=tuple(rule["std"]), licence="as the converted files'",
        training_data=f"emotion net: {er_about['source']}; AU net: {au_about['source']} (converted)",
        au_mean=tuple(measures["mean"]), au_std=tuple(measures["std"]), au_thresholds=tuple(measures["thresholds"]),
        untrained_sides=() if au.config.sub else SUB_AUS,
    )  # fmt: skip
    card = render_card("converted", spec=spec, er=er_about, au=au_about, measures=measures, units=len(MAIN_AUS))
    save_experts(folder, er, au, spec, card)
    for name in HALVES.values():
        (folder / name).unlink(missing_ok=True)


def _read_half(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        about = json.loads((file.metadata() or {}).get("half", "null"))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if about is None:
        raise CheckpointError(f"{path} is no half of experts: delete it and convert again")
    return about, state


def crop_rule(size: int, margin: float, mean: Sequence[float] | None, std: Sequence[float] | None) -> CropRule:
    """The rule of a command's options."""
    rule = CropRule(size, margin)
    return replace(rule, mean=tuple(mean or rule.mean), std=tuple(std or rule.std))
