"""The experts from photos: FER+ for emotions, posed and real portraits for action units; measured and described."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from captioner.config_io import check
from captioner.errors import ConfigError
from captioner.faces.crops import MARGIN
from captioner.files import write_text
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.model.convert import read_tensors
from captioner.model.experts import ExpertsSpec, load_experts, save_experts
from captioner.synth.photo.photo_set import PhotoSet
from captioner.train.experts import measures
from captioner.train.experts.au_net import (
    AURecipe,
    TrainingTable,
    au_f1,
    au_scores,
    best_thresholds,
    train_aus,
    training_table,
)
from captioner.train.experts.clip_frames import clip_stills
from captioner.train.experts.clip_scores import score_clips
from captioner.train.experts.converted import start_backbone
from captioner.train.experts.emotion_net import (
    UNPICTURED,
    EmotionPart,
    EmotionRecipe,
    WidenRecipe,
    ferplus_parts,
    train_emotions,
    widen_emotions,
)
from captioner.train.experts.portraits import (
    CropView,
    FacePictures,
    join_tables,
    read_ferplus,
    read_portraits,
    view_of,
)
from captioner.train.experts.posed import SIDE, Posed, posed, taught
from captioner.train.experts.real_faces import RealFacesRecipe, named_by_landmarker, teachers, train_on_real
from captioner.train.experts.renders import rendered
from captioner.train.experts.votes import clear_faces, guarded_threshold
from captioner.train.fitting import RunState, best_device
from prompts.action_units import MAIN_AUS, SUB_AUS
from prompts.au_graph import AUGraph, AUGraphConfig
from prompts.er_net import ERNet, ERNetConfig

log = logging.getLogger(__name__)
LICENCE = "Apache-2.0"
OFTEN = 40  # pictures with an AU that can judge it


@dataclass(frozen=True)
class PhotoRecipe:
    """How the frozen experts are made of photos (recipe: experts)."""

    recipe: Literal["experts"] = "experts"
    source: Literal["photos"] = "photos"
    """What older files say in place of `recipe`."""
    out: str = "runs/experts"
    """Folder of the finished experts."""
    work: str = "runs/experts-photos"
    """Folder of posed stills and of what a killed run goes on from."""
    ferplus: str = "data/ferplus"
    faces: str = "data/faces"
    """Folder of annotated portraits: the persons whom action units pose."""
    er_arch: str = "face"
    er_start: str = ""
    """A torchvision or timm file of the same kind, as ResNet50 of ImageNet, whose backbone starts the emotion net."""
    au_backbone: str = "face_au"
    au_stage: int = 1
    size: int = 96
    """Side of the aligned crops that the captioner hands to both nets."""
    posed: int = 20000
    """Posed stills of training persons."""
    upper: int = 0
    """More, of faces of which only the upper half is at rest and moves: many more persons."""
    lower: int = 0
    """The same of the lower half."""
    unseen: int = 3000
    """Posed stills of persons that no training part knows."""
    clips: str = ""
    """Folder of synthetic clips: the AU net learns from frames of their train part too, the card measures the others;
    "": none."""
    start: str = ""
    """Experts, by name or folder, whose emotion net is kept and whose AU net goes on; "": both from the beginning."""
    keep: float = 0.3
    """Share of the weights of `start` in the AU net that comes out: the mean of two knows more persons than either."""
    emotion: EmotionRecipe = field(default_factory=EmotionRecipe)
    widen: WidenRecipe = field(default_factory=WidenRecipe)
    au: AURecipe = field(default_factory=AURecipe)
    skins: str = "data/skins"
    """Folder of textures for three-dimensional people, whom `real.renders` shows."""
    real: RealFacesRecipe = field(default_factory=RealFacesRecipe)
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        faults = [f"{key} is {getattr(self, key)}: at least {least} is needed"
                  for key, least in [("size", 32), ("posed", 1), ("unseen", 1), ("threads", 1)]
                  if getattr(self, key) < least]  # fmt: skip
        check(faults)


def train_experts(recipe: PhotoRecipe) -> Path:
    """The folder of the finished experts."""
    torch.manual_seed(recipe.seed)
    try:  # names are checked before the slow part
        au = AUGraph(AUGraphConfig(recipe.au_backbone, recipe.au_stage, mirror=True))
        er = ERNet(ERNetConfig(recipe.er_arch, len(MAFW_LABELS)))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if recipe.er_start:
        start_backbone(er, read_tensors(recipe.er_start), recipe.er_start)
    work, parts = Path(recipe.work), ferplus_parts(recipe.ferplus, recipe.emotion.held, recipe.seed)
    names = PhotoSet(recipe.faces).blendshape_names
    counts = {"whole": recipe.posed, "upper": recipe.upper, "lower": recipe.lower}
    stills = join_tables(
        [posed(recipe.faces, ("train",), n, recipe.seed, work, part) for part, n in counts.items() if n]
    )
    films = clip_stills(recipe.clips, ("train",), recipe.au.frames, work) if recipe.clips else None
    runs = _start(er, au, recipe) if recipe.start else _learn_emotions(er, au, recipe, parts, stills)

    table = training_table(stills, films, read_portraits(recipe.faces, 0, SIDE), names, recipe.au.photos)
    view = view_of(au.backbone, recipe.size)
    known = _rehearsal(stills, recipe)  # before the slow part: what is missing is missed at once
    if recipe.au.epochs:
        runs += [train_aus(au, view, table, recipe.au, work / ("au-on" if recipe.start else "au"), recipe.seed)]
        if recipe.start:
            blend_weights(au, load_experts(recipe.start).au, recipe.keep)
    if recipe.real.steps:
        runs += [_see_real_faces(au, view, known, parts[0].pictures, recipe)]

    spec = describe_experts(er, au, view, table, stills, films, known, recipe)
    save_experts(recipe.out, er, au, spec, card="", whole_au=False)
    write_experts_card(recipe, parts[2], sum(run.seconds for run in runs))
    return Path(recipe.out)


def _start(er: ERNet, au: AUGraph, recipe: PhotoRecipe) -> list[RunState]:
    """Both nets as those of `recipe.start`, which must have the same shapes."""
    known = load_experts(recipe.start)
    if (known.er.config, known.au.config) != (er.config, au.config):
        raise ConfigError(
            f"start: {recipe.start} holds {known.er.config.arch} and {known.au.config.backbone}, the recipe asks for "
            f"{recipe.er_arch} and {recipe.au_backbone}, stage {recipe.au_stage}; change er_arch, au_backbone, au_stage"
        )
    er.load_state_dict(known.er.state_dict())
    au.load_state_dict(known.au.state_dict())
    er.eval()
    return []


@torch.no_grad()
def blend_weights(au: AUGraph, other: AUGraph, share: float) -> None:
    """Replace that share of a net's weights by those of another that has the same beginning."""
    for mine, theirs in zip(au.state_dict().values(), other.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, share)


def _learn_emotions(
    er: ERNet, au: AUGraph, recipe: PhotoRecipe, parts: tuple[EmotionPart, EmotionPart, EmotionPart], stills: Posed
) -> list[RunState]:
    """The emotion net from FER+, then from stills too; the AU net gets its trunk where both are alike."""
    view, work = view_of(er.backbone, recipe.size), Path(recipe.work)
    runs = [train_emotions(er, view, *parts[:2], recipe.emotion, work / "er", recipe.seed)]
    runs += [widen_emotions(er, view, *parts[:2], stills, recipe.widen, work / "er-wide", recipe.seed)]
    if recipe.er_arch.split("_")[0] == recipe.au_backbone.split("_")[0]:
        au.backbone.load_state_dict(er.backbone.state_dict())  # it knows faces
    return runs


def _rehearsal(stills: Posed, recipe: PhotoRecipe) -> dict[str, Posed]:
    """What the lesson of real_faces rehearses, by the names of its shares; nothing if the lesson is left out."""
    work, real, known = Path(recipe.work), recipe.real, {}
    if real.steps and real.portraits:
        names = PhotoSet(recipe.faces).blendshape_names
        known["portraits"] = named_by_landmarker(read_portraits(recipe.faces, 0, SIDE), names)
    if real.steps and real.renders:
        known["renders"] = rendered(recipe.skins, real.rendered, recipe.seed, work)
    if real.steps and real.oblique:
        known["oblique"] = posed(recipe.faces, ("train",), real.oblique_stills, recipe.seed, work, "oblique")
    if real.steps and real.stills:
        known["stills"] = stills
    return known


def _see_real_faces(
    au: AUGraph, view: CropView, known: dict[str, Posed], voted: FacePictures, recipe: PhotoRecipe
) -> RunState:
    """The lesson of real_faces; FER+'s validation part chooses the weights."""
    unseen, votes = read_ferplus(recipe.ferplus, 1)
    emotions, before = clear_faces(votes), copy.deepcopy(au)
    clear = torch.nonzero(emotions >= 0)[:, 0]
    valid, lessons = (unseen.take(clear), emotions[clear]), teachers(recipe.real, known)
    state = train_on_real(au, view, voted, valid, lessons, recipe.real, Path(recipe.work) / "au-real", recipe.seed)
    blend_weights(au, before, recipe.real.keep)
    return state


def write_experts_card(recipe: PhotoRecipe, ferplus: EmotionPart, seconds: float) -> None:
    """CARD.md of the experts in `recipe.out`, measured as stored on persons that no training part knows."""
    saved, names = load_experts(recipe.out), PhotoSet(recipe.faces).blendshape_names
    unseen = posed(recipe.faces, ("val", "test"), recipe.unseen, recipe.seed, recipe.work)
    clips = clip_stills(recipe.clips, ("val", "test"), 8, recipe.work) if recipe.clips else None
    whole = None
    if recipe.clips:
        limits = score_clips(saved, recipe.clips, ("train",), every=recipe.au.held).clip_thresholds()
        whole = measures.WholeClips(score_clips(saved, recipe.clips, ("val", "test")), limits)
    trials = measures.Trials(ferplus, unseen, real_unseen(recipe), names, clips, whole)
    megabytes = (Path(recipe.out) / "model.safetensors").stat().st_size / 1e6
    where = "a GPU" if best_device() == "cuda" else f"{recipe.threads} CPU thread{'s' * (recipe.threads > 1)}"
    onward = f", which went on from the AU net of `{recipe.start}`" if recipe.start else ""
    made = f"`python scripts/train.py configs/experts.yaml`, {seconds / 60:.0f} minutes of training on {where}{onward}"
    write_text(Path(recipe.out) / "CARD.md", measures.experts_card(saved, trials, megabytes, made))


def describe_experts(
    er: ERNet,
    au: AUGraph,
    view: CropView,
    table: TrainingTable,
    stills: Posed,
    films: Posed | None,
    known: Mapping[str, Posed],
    recipe: PhotoRecipe,
) -> ExpertsSpec:
    """config.json of the experts: what they expect, what each AU's score is like, which AUs mean nothing."""
    main, seen = len(MAIN_AUS), films or stills
    usual = au_scores(au, view, seen.pixels[:4000], seen.frames[:4000])[:, :main]
    judges = [*(known[name] for name in ("portraits", "renders", "oblique") if name in known), stills, films]
    unit_f1, thresholds = judge_units(au, view, [part for part in judges if part is not None], recipe.au.held)
    if recipe.real.steps:
        faces, votes = read_ferplus(recipe.ferplus, 0)
        emotions = clear_faces(votes)
        chosen = torch.nonzero(emotions >= 0)[:4000, 0]
        scores, four = au_scores(au, view, faces.pixels[chosen], faces.frames[chosen]), list(MAIN_AUS).index(4)
        thresholds[four] = guarded_threshold(thresholds[four].item(), scores, emotions[chosen])
    learned = taught(table.aus) & (unit_f1 >= measures.LEARNED)
    return ExpertsSpec(
        er=er.config,
        au=au.config,
        labels=MAFW_LABELS,
        size=recipe.size,
        training_data=_sources(table, stills, films, known, recipe),
        licence=LICENCE,
        margin=MARGIN,
        au_mean=tuple(round(value, 5) for value in usual.mean(0).tolist()),
        au_std=tuple(round(value, 5) for value in usual.std(0).where(learned[:main], 1.0).tolist()),
        au_thresholds=tuple(round(value, 3) for value in thresholds[:main].tolist()),
        untrained_aus=tuple(number for number, sure in zip(MAIN_AUS, learned.tolist(), strict=False) if not sure),
        untrained_sides=tuple(name for name, sure in zip(SUB_AUS, learned[main:].tolist(), strict=True) if not sure),
        synthetic_labels=UNPICTURED,
    )


def _sources(
    table: TrainingTable, stills: Posed, films: Posed | None, known: Mapping[str, Posed], recipe: PhotoRecipe
) -> str:
    """What taught the nets, in words."""
    photos, persons = len(table.persons) - len(stills) - len(films or ()), len(stills.persons.unique())
    frames = f" and {len(films)} frames of synthetic clips" if films is not None else ""
    before = f"{load_experts(recipe.start).config.training_data}; then " if recipe.start else ""
    text = (
        f"{before}FER+ training part (vote distributions); {len(stills)} posed (synthetic) stills{frames} made from "
        f"portraits of {persons} persons, seed {recipe.seed}; {photos} portraits with a landmarker's blendshapes"
    )
    more = {
        "oblique": "posed (synthetic) stills with oblique brows",
        "renders": "rendered (synthetic) pictures of 3D people",
    }
    for name, what in more.items():
        if name in known:
            text += f"; {len(known[name])} {what}"
    return text


def judge_units(au: AUGraph, view: CropView, parts: Sequence[Posed], held: int) -> tuple[Tensor, Tensor]:
    """F1 and threshold of each AU (A + O,) on persons kept back.

    Thresholds lie halfway between 0.5 and the best of all parts together: the best alone follows chance where an AU is
    rare. The F1 is that of the last of the parts that shows the AU often.
    """
    seen = [_held(au, view, part, held) for part in parts]
    scores, labels = (torch.cat(column) for column in zip(*seen, strict=True))
    thresholds, unit_f1 = (best_thresholds(scores, labels) + 0.5) / 2, torch.zeros(len(MAIN_AUS) + len(SUB_AUS))
    for scores, labels in seen:
        unit_f1 = torch.where((labels == 1).sum(0) >= OFTEN, au_f1(scores, labels, thresholds), unit_f1)
    return unit_f1, thresholds


def _held(au: AUGraph, view: CropView, part: Posed, held: int) -> tuple[Tensor, Tensor]:
    """Scores and labels (S, A + O) of the pictures of persons kept back."""
    away = part.take(torch.nonzero(part.persons % held == 0)[:, 0])
    return au_scores(au, view, away.pixels, away.frames), away.aus


def real_unseen(recipe: PhotoRecipe) -> FacePictures:
    """Real portraits of persons that no training part knows."""
    return join_tables([read_portraits(recipe.faces, split, SIDE) for split in (1, 2)])
