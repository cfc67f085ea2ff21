"""The AU expert from posed photos (known action units) and real ones (what a teacher's blendshapes suggest).

Axes: N pictures, A + O main and one-sided AUs, B batch.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.errors import ManifestError
from captioner.train.experts.augment import jitter, mirror_signs, relight
from captioner.train.experts.portraits import CropView, FacePictures
from captioner.train.experts.posed import Posed
from captioner.train.fitting import FitConfig, RunState, best_device, fit
from prompts.action_units import MAIN_AUS, SUB_AUS, UNKNOWN
from prompts.au_graph import AUGraph, asymmetric_loss, class_weights

log = logging.getLogger(__name__)

# A blendshape (mean of both sides) that shows an AU: absent below the first, present from the second number on.
_SIGNS: tuple[tuple[int, str, float, float], ...] = (
    (1, "browInnerUp", 0.12, 0.45), (2, "browOuterUpLeft", 0.12, 0.45), (4, "browDownLeft", 0.12, 0.5),
    (10, "mouthUpperUpLeft", 0.08, 0.45), (12, "mouthSmileLeft", 0.12, 0.5), (14, "mouthDimpleLeft", 0.03, 0.4),
    (15, "mouthFrownLeft", 0.04, 0.35), (17, "mouthShrugLower", 0.08, 0.45), (18, "mouthPucker", 0.15, 0.75),
    (20, "mouthStretchLeft", 0.05, 0.4), (24, "mouthPressLeft", 0.08, 0.4), (25, "jawOpen", 0.01, 0.12),
    (26, "jawOpen", 0.04, 0.25),
)  # fmt: skip
# A smile bares teeth, deepens dimples and stretches lips: beside one these blendshapes say nothing.
_BLURRED_BY_SMILE = (10, 14, 20)
_SMILING = 0.3
_SWAPPED = [i ^ 1 for i in range(len(SUB_AUS))]  # L and R alternate


@dataclass(frozen=True)
class AURecipe:
    """How the AU net learns."""

    epochs: int = 8
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    patience: int = 4
    erase: float = 0.1
    coarse: float = 0.15
    """Share of the crops made small, and of those made dim; frames of clips are so already."""
    frames: int = 10
    """Of every made clip."""
    photos: int = 3
    """Of the real portraits, those of every n-th person take part; 0: none."""
    minutes: float = 0.0
    """Of training at most, however many epochs that is; 0: all epochs."""
    held: int = 12
    """Every so manieth person is kept back for early stopping."""


@dataclass(frozen=True)
class TrainingTable:
    """pixels uint8 (N, H, W), frames (N, 2, 3), AU labels int8 (N, A + O), persons (N,), filmed: from a clip (N,)."""

    pixels: Tensor
    frames: Tensor
    aus: Tensor
    persons: Tensor
    filmed: Tensor


def training_table(
    stills: Posed, clips: Posed | None, photos: FacePictures | None, names: list[str], every: int = 1
) -> TrainingTable:
    """Stills, frames of clips, and real photos of every `every`-th person, in one table; all have the same size."""
    made = [stills] if clips is None else [stills, clips]
    parts = [(part.pixels, part.frames, part.aus, part.persons, _all(part, part is clips)) for part in made]
    if photos is not None and every:
        photos = photos.take(torch.nonzero(photos.persons % every == 0)[:, 0])
        labels = teacher_labels(photos.blendshapes, names)
        parts.append((photos.pixels, photos.frames, labels, photos.persons, _all(photos, False)))
    return TrainingTable(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _all(part: Posed | FacePictures, value: bool) -> Tensor:
    return torch.full((len(part),), value)


def teacher_labels(shapes: Tensor, names: list[str]) -> Tensor:
    """AU labels int8 (N, A + O) that blendshapes (N, 52) suggest; unknown where they say little."""
    if lacking := sorted({name for _, name, _, _ in _SIGNS} - set(names)):
        raise ManifestError(f"the portraits have no blendshape {lacking[0]!r}; they have {', '.join(names[:6])}, ...")
    labels = torch.full((len(shapes), len(MAIN_AUS) + len(SUB_AUS)), UNKNOWN, dtype=torch.int8)
    smiling = shapes[:, names.index("mouthSmileLeft")] > _SMILING
    seen = shapes[:, 0] >= 0
    for au, name, absent, present in _SIGNS:
        value = shapes[:, names.index(name)]
        column = torch.where(value >= present, 1, torch.where(value < absent, 0, UNKNOWN))
        if au in _BLURRED_BY_SMILE:
            column = column.where(~smiling, UNKNOWN)
        labels[:, list(MAIN_AUS).index(au)] = column.where(seen, UNKNOWN).to(torch.int8)
    return labels


def mirrored_labels(labels: Tensor, side: Tensor) -> Tensor:
    """Labels (B, A + O) with left and right exchanged where side (B,) is -1."""
    main = len(MAIN_AUS)
    swapped = torch.cat([labels[:, :main], labels[:, main:][:, _SWAPPED]], 1)
    return torch.where(side[:, None] < 0, swapped, labels)


def train_aus(au: AUGraph, view: CropView, table: TrainingTable, recipe: AURecipe, folder: Path, seed: int) -> RunState:
    """Teach the net in place; returns how it went."""
    kept = table.persons % recipe.held == 0
    rows, held = torch.nonzero(~kept)[:, 0], torch.nonzero(kept)[:, 0]
    setup = FitConfig(
        folder, recipe.epochs, len(rows), recipe.batch, recipe.lr, recipe.weight_decay, recipe.patience,
        seed=seed, device=best_device(), minutes=recipe.minutes,
    )  # fmt: skip
    pixels, frames = table.pixels[rows].to(setup.device), table.frames[rows].to(setup.device)
    labels, filmed = table.aus[rows].to(setup.device), table.filmed[rows].to(setup.device)
    weights = class_weights(labels)

    def loss_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
        rows = rows[filmed[rows].argsort(stable=True)]  # stills first
        faces = mirror_signs(len(rows), random)
        crops = view.cut(pixels[rows], jitter(frames[rows], random, faces, 0.7))
        still = len(rows) - int(filmed[rows].sum())
        parts = [(crops[:still], recipe.erase, recipe.coarse), (crops[still:], recipe.erase / 2, 0.0)]
        crops = view.show(torch.cat([relight(part, random, *how) for part, *how in parts if len(part)]))
        wanted = mirrored_labels(labels[rows], faces).float()
        return asymmetric_loss(net(crops).scores.float(), wanted, weights)

    # Clips are what the net is for: they alone judge it where there are any.
    judges = held[table.filmed[held]] if bool(table.filmed[held].any()) else held
    truth = table.aus[judges]

    def score_of(net: nn.Module) -> float:
        scores = au_scores(net, view, table.pixels[judges], table.frames[judges])
        return au_f1(scores, truth, best_thresholds(scores, truth))[(truth == 1).any(0)].mean().item()

    state = fit(au.to(memory_format=torch.channels_last), setup, loss_of, score_of)
    au.cpu().eval()
    return state


@torch.no_grad()
def au_scores(au: nn.Module, view: CropView, pixels: Tensor, frames: Tensor) -> Tensor:
    """Scores (N, A + O) of plainly aligned pictures, on the CPU."""
    device, scores = next(au.parameters()).device, []
    for rows in torch.arange(len(pixels)).split(128):
        crops = view.show(view.cut(pixels[rows], frames[rows]))
        scores.append(au(crops.to(device)).scores.float().cpu())
    return torch.cat(scores)


def au_f1(scores: Tensor, labels: Tensor, threshold: Tensor | float = 0.5) -> Tensor:
    """F1 (A + O,) of scores (N, A + O) over the known labels; one threshold or one for each AU."""
    said, true, known = scores >= threshold, labels == 1, labels >= 0
    hits, wrong = (said & true).sum(0), ((said != true) & known).sum(0)
    return 2 * hits / (2 * hits + wrong).clamp(min=1)


def best_thresholds(scores: Tensor, labels: Tensor) -> Tensor:
    """The threshold of each AU (A + O,) with the best F1, in steps of .02; 0.5 for an AU never seen.

    F1 is averaged over five neighbouring steps: of a rare AU the single best step is chance.
    """
    steps = torch.arange(0.1, 0.95, 0.02)
    curves = torch.stack([au_f1(scores, labels, step.item()) for step in steps])
    curves = F.avg_pool1d(curves.T[None], 5, 1, 2, count_include_pad=False)[0].T
    best = steps[curves.argmax(0)]
    return torch.where((labels == 1).any(0), best, 0.5)


def score_error(scores: Tensor, labels: Tensor, bins: int = 10) -> float:
    """Expected calibration error of scores (N, A) read as probabilities, over all known labels."""
    known = labels >= 0
    chance, true = scores[known], (labels[known] == 1).float()
    place = (chance * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins).index_add_(0, place, chance - true)
    return gaps.abs().sum().item() / max(1, len(true))


def ranking(scores: Tensor, labels: Tensor) -> Tensor:
    """Area under the ROC curve (A,) of scores (N, A) over known labels; nan where one kind is missing."""
    areas = []
    for column, truth in zip(scores.T.numpy(), labels.T.numpy(), strict=True):
        good, bad = column[truth == 1], column[truth == 0]
        order = np.argsort(np.argsort(np.concatenate([good, bad]))) + 1.0
        count = len(good) * len(bad)
        areas.append((order[: len(good)].sum() - len(good) * (len(good) + 1) / 2) / count if count else float("nan"))
    return torch.tensor(areas)
