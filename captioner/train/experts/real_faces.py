"""The last lesson of the AU net: real faces, whose votes name emotions, beside everything whose action units are known.

A batch holds so many pictures of each teacher; a teacher with none is silent. Axes: B batch, A + O main and
one-sided AUs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.config_io import check
from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.train.experts.au_net import au_f1, au_scores, best_thresholds, mirrored_labels, teacher_labels
from captioner.train.experts.augment import jitter, mirror_signs, relight
from captioner.train.experts.portraits import CropView, FacePictures
from captioner.train.experts.posed import Posed
from captioner.train.experts.votes import PLACE, EmotionMap, direct_loss, shortfall, vote_areas
from captioner.train.fitting import FitConfig, RunState, best_device, fit
from prompts.action_units import MAIN_AUS, SUB_AUS, UNKNOWN
from prompts.au_graph import AUGraph, asymmetric_loss, class_weights

JUDGES = 300  # pictures of a teacher, at most, that judge a net
# A landmarker may not deny the frown of a face that people called one of these.
_FROWNING = ("sadness", "anger", "disgust", "fear")
_TEACHERS = ("votes", "portraits", "stills", "oblique", "renders")


@dataclass(frozen=True)
class RealFacesRecipe:
    """How the AU net goes on with real faces; the first five are pictures of each teacher in a batch."""

    votes: int = 36
    """Of FER+, drawn by the inverse root of their emotion's frequency."""
    portraits: int = 28
    stills: int = 30
    oblique: int = 10
    renders: int = 20
    steps: int = 0
    """Of training; 0: this lesson is left out."""
    epoch: int = 90
    """Steps from one check on pictures kept back to the next."""
    vote_weight: float = 0.08
    direct_weight: float = 0.05
    """Of the units of votes.DIRECT."""
    brow: float = 2.0
    """Weight of AU4 in the rehearsal, so that it does not become a detector of anger."""
    portrait_brow: float = 3.0
    """The same on portraits."""
    lr: float = 8e-4
    weight_decay: float = 0.05
    average: float = 0.99
    keep: float = 0.0
    """Share of the weights from before this lesson in the net that comes out."""
    oblique_stills: int = 4000
    rendered: int = 4900
    held: int = 12
    """Every n-th person of the rehearsal is kept back."""
    minutes: float = 0.0
    """Of training at most; 0: all steps."""

    def __post_init__(self) -> None:
        faults = [f"{name} is {getattr(self, name)}: 0 or more is needed" for name in (*_TEACHERS, "steps")
                  if getattr(self, name) < 0]  # fmt: skip
        if self.steps and not any(getattr(self, name) for name in _TEACHERS[1:]):
            faults.append(f"one of {', '.join(_TEACHERS[1:])} must be above 0: votes alone know no action unit")
        if self.epoch < 1:
            faults.append(f"epoch is {self.epoch}: at least 1 step is needed")
        check(faults)


@dataclass(frozen=True)
class Teacher:
    """Pictures whose action units are known, how many a batch holds, and what AU4 weighs."""

    pixels: Tensor
    frames: Tensor
    aus: Tensor
    share: int
    brow: float


class VotingNet(nn.Module):
    """The AU net and the map from its scores to emotions, in training only."""

    def __init__(self, au: AUGraph) -> None:
        super().__init__()
        self.au = au
        self.emotions = EmotionMap()

    def forward(self, crops: Tensor) -> Tensor:
        """AU scores (B, A + O)."""
        scores: Tensor = self.au(crops).scores.float()
        return scores


def portrait_labels(photos: FacePictures, names: list[str]) -> Tensor:
    """AU labels (N, A + O) by a landmarker, without its word against the frown of a face called angry or sad."""
    labels = teacher_labels(photos.blendshapes, names)
    called = photos.shares[:, [FERPLUS_LABELS.index(name) for name in _FROWNING]].sum(1) > 0
    labels[called & (labels[:, PLACE[4]] == 0), PLACE[4]] = UNKNOWN
    return labels


def named_by_landmarker(photos: FacePictures, names: list[str]) -> Posed:
    """Real portraits as pictures whose action units a landmarker named, where it may."""
    unknown = torch.full((len(photos),), -1)
    return Posed(photos.pixels, photos.frames, portrait_labels(photos, names), unknown, photos.persons)


def teachers(recipe: RealFacesRecipe, tables: Mapping[str, Posed]) -> tuple[list[Teacher], list[Teacher]]:
    """Those of training and, of persons kept back, those that judge; tables: by the names of the recipe's shares."""
    taught: list[Teacher] = []
    kept: list[Teacher] = []
    for name, table in tables.items():
        share = getattr(recipe, name)
        brow = recipe.portrait_brow if name == "portraits" else recipe.brow
        away = table.persons % recipe.held == 0
        for group, rows in ((taught, torch.nonzero(~away)[:, 0]), (kept, torch.nonzero(away)[:JUDGES, 0])):
            if share:
                group.append(Teacher(table.pixels[rows], table.frames[rows], table.aus[rows], share, brow))
    return taught, kept


def train_on_real(
    au: AUGraph, view: CropView, voted: FacePictures, valid: tuple[FacePictures, Tensor],
    lessons: tuple[list[Teacher], list[Teacher]], recipe: RealFacesRecipe, folder: Path, seed: int,
) -> RunState:  # fmt: skip
    """Teach the net in place; valid: faces and the emotion (N,) that most agree on, which choose the best weights."""
    device, net = best_device(), VotingNet(au)
    batch = sum(getattr(recipe, name) for name in _TEACHERS)
    plan = FitConfig(
        folder, -(-recipe.steps // recipe.epoch), recipe.epoch * batch, batch, recipe.lr, recipe.weight_decay,
        patience=recipe.steps, average=recipe.average, warmup=0.1, seed=seed, device=device, minutes=recipe.minutes,
    )  # fmt: skip
    taught, kept = ([_on(teacher, device) for teacher in lessons[0]], lessons[1])
    weights = class_weights(torch.cat([teacher.aus for teacher in taught]))
    voted, chances = voted.to(device), _chances(voted).to(device)

    def loss_of(pupil: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
        crops, labels, importance = zip(*(_rehearse(teacher, view, weights, random) for teacher in taught), strict=True)
        chosen = torch.multinomial(chances, recipe.votes, generator=random) if recipe.votes else rows[:0]
        frames = jitter(voted.frames[chosen], random, mirror_signs(len(chosen), random))
        faces = relight(view.cut(voted.pixels[chosen], frames), random, 0.3) if recipe.votes else crops[0][:0]
        scores = pupil(view.show(torch.cat([faces, *crops])))
        loss = asymmetric_loss(scores[len(chosen) :], torch.cat(labels), torch.cat(importance))
        if recipe.votes:
            shares, seen = voted.shares[chosen], scores[: len(chosen)]
            emotions = pupil.get_submodule("emotions")
            loss = loss + recipe.vote_weight * F.cross_entropy(emotions(seen), shares)
            loss = loss + recipe.direct_weight * direct_loss(seen, shares)
        return loss

    def score_of(pupil: nn.Module) -> float:
        judged = pupil.get_submodule("au")
        areas = vote_areas(au_scores(judged, view, valid[0].pixels, valid[0].frames), valid[1])
        return known_f1(judged, view, kept) - shortfall(areas)

    course = fit(net.to(memory_format=torch.channels_last), plan, loss_of, score_of)
    au.cpu().eval()
    return course


def known_f1(au: nn.Module, view: CropView, kept: list[Teacher]) -> float:
    """Mean F1 over the teachers and their units, each unit at its best threshold."""
    means = []
    for teacher in kept:
        scores = au_scores(au, view, teacher.pixels, teacher.frames)
        shown = (teacher.aus == 1).any(0)
        means.append(au_f1(scores, teacher.aus, best_thresholds(scores, teacher.aus))[shown].mean().item())
    return sum(means) / max(1, len(means))


def _rehearse(
    teacher: Teacher, view: CropView, weights: Tensor, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Crops (B, 1, S, S), labels and weights (B, A + O) of one teacher."""
    rows = torch.randint(len(teacher.pixels), (teacher.share,), generator=random, device=random.device)
    side = mirror_signs(len(rows), random)
    crops = relight(view.cut(teacher.pixels[rows], jitter(teacher.frames[rows], random, side, 0.7)), random, 0.1, 0.3)
    scale = torch.ones(len(MAIN_AUS) + len(SUB_AUS), device=weights.device)
    scale[PLACE[4]] = teacher.brow
    return crops, mirrored_labels(teacher.aus[rows], side).float(), (weights * scale).expand(len(rows), -1)


def _chances(voted: FacePictures) -> Tensor:
    """How likely each face (N,) is drawn: rare emotions more often, faces without an emotion never."""
    useful, top = voted.shares.sum(1) > 0, voted.shares.argmax(1)
    count = torch.bincount(top[useful], minlength=len(FERPLUS_LABELS)).clamp(min=1).float()
    return torch.where(useful, count[top] ** -0.5, 0.0)


def _on(teacher: Teacher, device: str) -> Teacher:
    pixels, frames, aus = (tensor.to(device) for tensor in (teacher.pixels, teacher.frames, teacher.aus))
    return Teacher(pixels, frames, aus, teacher.share, teacher.brow)
