"""The experts from photos: FER+ for emotions, posed and real portraits for action units; measured and described."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from captioner.config import ConfigError, check
from captioner.data.filmed import filmed
from captioner.data.portraits import MARGIN, Pictures, View, read_portraits, view_of
from captioner.data.posed import SIDE, Posed, posed, taught
from captioner.emotion import MAFW_LABELS
from captioner.files import write_text
from captioner.model.experts import ExpertsSpec, load_experts, save_experts
from captioner.synth.photos import PhotoSet
from captioner.train import expert_card
from captioner.train.au_expert import AURecipe, Lessons, au_scores, best_thresholds, lessons, ranking, train_aus
from captioner.train.emotion_expert import (
    UNPICTURED,
    EmotionRecipe,
    WidenRecipe,
    ferplus_parts,
    train_emotions,
    widen_emotions,
)
from captioner.train.fitting import best_device
from prompts.au_graph import MAIN_AUS, SUB_AUS, AUGraph, AUGraphConfig
from prompts.er_net import ERNet, ERNetConfig

log = logging.getLogger(__name__)
LICENCE = "Apache-2.0"
LEGIBLE = 0.85  # AUC on persons kept back from which on an AU counts as learned


@dataclass(frozen=True)
class PhotoRecipe:
    """The recipe of scripts/train_experts.py where `source` is photos."""

    source: str = "photos"
    out: str = "runs/experts"
    """Folder of the finished experts."""
    work: str = "runs/experts-photos"
    """Folder of posed stills and of what a killed run goes on from."""
    ferplus: str = "data/ferplus"
    faces: str = "data/faces"
    """Folder of annotated portraits: the persons whom action units pose."""
    er_arch: str = "face"
    au_backbone: str = "face_au"
    au_stage: int = 1
    size: int = 96
    """Side of the aligned crops that the captioner hands to both nets."""
    posed: int = 20000
    """Posed stills of training persons."""
    unseen: int = 3000
    """Posed stills of persons that no training part knows."""
    clips: str = ""
    """Folder of made clips: the AU net learns from frames of their train part too, the card measures the others;
    "": none."""
    emotion: EmotionRecipe = field(default_factory=EmotionRecipe)
    widen: WidenRecipe = field(default_factory=WidenRecipe)
    au: AURecipe = field(default_factory=AURecipe)
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        faults = [f"{key} is {getattr(self, key)}: at least {least} is needed"
                  for key, least in [("size", 32), ("posed", 1), ("unseen", 1), ("threads", 1)]
                  if getattr(self, key) < least]  # fmt: skip
        check(faults)


def train(recipe: PhotoRecipe) -> Path:
    """The folder of the finished experts."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    try:  # names are checked before the slow part
        au = AUGraph(AUGraphConfig(recipe.au_backbone, recipe.au_stage))
        er = ERNet(ERNetConfig(recipe.er_arch, len(MAFW_LABELS)))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    work = Path(recipe.work)
    parts = ferplus_parts(recipe.ferplus, recipe.emotion.held, recipe.seed)
    stills = posed(recipe.faces, ("train",), recipe.posed, recipe.seed, work)
    unseen = posed(recipe.faces, ("val", "test"), recipe.unseen, recipe.seed, work)

    view = view_of(er.backbone, recipe.size)
    courses = [train_emotions(er, view, *parts[:2], recipe.emotion, work / "er", recipe.seed)]
    courses += [widen_emotions(er, view, *parts[:2], stills, recipe.widen, work / "er-wide", recipe.seed)]

    names = PhotoSet(recipe.faces).blendshape_names
    made = [stills, filmed(recipe.clips, ("train",))] if recipe.clips else [stills]
    table = lessons(made, read_portraits(recipe.faces, 0, SIDE), names, recipe.au.photos)
    if recipe.er_arch.split("_")[0] == recipe.au_backbone.split("_")[0]:
        au.backbone.load_state_dict(er.backbone.state_dict())  # it knows faces
    view = view_of(au.backbone, recipe.size)
    courses += [train_aus(au, view, table, recipe.au, work / "au", recipe.seed)]

    save_experts(recipe.out, er, au, describe(er, au, view, table, made, recipe), card="", whole_au=False)
    saved = load_experts(recipe.out)  # measured as stored
    clips = filmed(recipe.clips, ("val", "test"), each=8) if recipe.clips else None
    trials = expert_card.Trials(parts[2], unseen, real_unseen(recipe), names, clips)
    megabytes = (Path(recipe.out) / "model.safetensors").stat().st_size / 1e6
    where = "a GPU" if best_device() == "cuda" else f"{recipe.threads} CPU thread{'s' * (recipe.threads > 1)}"
    about = (
        f"Made by scripts/train_experts.py, {sum(c.seconds for c in courses) / 60:.0f} minutes of training on {where}."
    )
    write_text(Path(recipe.out) / "CARD.md", expert_card.write(saved, trials, megabytes, about))
    return Path(recipe.out)


def describe(
    er: ERNet, au: AUGraph, view: View, table: Lessons, made: Sequence[Posed], recipe: PhotoRecipe
) -> ExpertsSpec:
    """config.json of the experts: what they expect, what each AU's score is like, which AUs mean nothing."""
    main, stills = len(MAIN_AUS), made[0]
    seen = au_scores(au, view, stills.pixels[:4000], stills.frames[:4000])[:, :main]
    held = stills.take(torch.nonzero(stills.persons % recipe.au.held == 0)[:, 0])
    scores = au_scores(au, view, held.pixels, held.frames)
    known = taught(table.aus) & (ranking(scores, held.aus) >= LEGIBLE)
    thresholds = best_thresholds(scores, held.aus)[:main]
    photos, persons = len(table.persons) - sum(map(len, made)), len(stills.persons.unique())
    frames = f" and {len(made[1])} frames of made clips" if len(made) > 1 else ""
    return ExpertsSpec(
        er=er.config,
        au=au.config,
        labels=MAFW_LABELS,
        size=recipe.size,
        training_data=(
            f"FER+ training part (vote distributions); {len(stills)} posed (synthetic) stills{frames} made from "
            f"portraits of {persons} persons, seed {recipe.seed}; {photos} portraits with a landmarker's blendshapes"
        ),
        licence=LICENCE,
        margin=MARGIN,
        au_mean=tuple(round(value, 5) for value in seen.mean(0).tolist()),
        au_std=tuple(round(value, 5) for value in seen.std(0).where(known[:main], 1.0).tolist()),
        au_thresholds=tuple(round(value, 3) for value in thresholds.tolist()),
        untrained_aus=tuple(number for number, sure in zip(MAIN_AUS, known.tolist(), strict=False) if not sure),
        untrained_sides=tuple(name for name, sure in zip(SUB_AUS, known[main:].tolist(), strict=True) if not sure),
        synthetic_labels=UNPICTURED,
    )


def real_unseen(recipe: PhotoRecipe) -> Pictures:
    """Real portraits of persons that no training part knows."""
    parts = [vars(read_portraits(recipe.faces, split, SIDE)) for split in (1, 2)]
    return Pictures(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})
