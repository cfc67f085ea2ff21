"""How captions name a person, from portraits with hand-checked lists of men and women; measured and described.

Axes: N pictures, B batch.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from captioner.config_io import check
from captioner.errors import ConfigError, ManifestError
from captioner.faces.crops import MARGIN
from captioner.faces.face_reading import CERTAIN
from captioner.files import missing
from captioner.model.appearance import AppearanceNet, AppearanceSpec, load_appearance, save_appearance
from captioner.model.experts import load_experts
from captioner.synth.photo.photo_set import PhotoSet
from captioner.train.cards import render_card
from captioner.train.experts.augment import jitter, mirror_signs, relight
from captioner.train.experts.portraits import CropView, FacePictures, read_portraits, view_of
from captioner.train.experts.posed import SIDE
from captioner.train.fitting import FitConfig, RunState, best_device, fit, minimise

log = logging.getLogger(__name__)
SPLIT_NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class AppearanceRecipe:
    """How the net that names people is made (recipe: appearance)."""

    recipe: Literal["appearance"] = "appearance"
    out: str = "runs/appearance"
    """Folder of the finished net."""
    work: str = "runs/appearance-work"
    """Of what a killed run goes on from; remove it to start anew."""
    faces: str = "data/faces"
    """Folder of annotated portraits with gender.npy: 1 man, 0 woman, -1 not labelled."""
    start: str = "experts"
    """Experts, by name or folder, whose emotion net's layers of the same shape are the beginning; "": none."""
    arch: str = "face_small"
    size: int = 96
    """Side of the aligned crops that the face reader hands over."""
    epochs: int = 14
    """Each shows every woman once, and as many men."""
    batch: int = 96
    lr: float = 2e-3
    weight_decay: float = 0.05
    patience: int = 5
    smoothing: float = 0.05
    erase: float = 0.3
    coarse: float = 0.15
    """Share of the crops made small, and of those made dim."""
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        faults = [f"{key} is {getattr(self, key)}: at least {least} is needed"
                  for key, least in [("size", 32), ("epochs", 1), ("batch", 2), ("threads", 1)]
                  if getattr(self, key) < least]  # fmt: skip
        check(faults)


@dataclass(frozen=True)
class NamedFaces:
    """Pictures (N of them), whether each shows a woman, and whether it is grey."""

    pictures: FacePictures
    women: Tensor
    grey: Tensor


def train_appearance(recipe: AppearanceRecipe) -> Path:
    """The folder of the finished net."""
    torch.manual_seed(recipe.seed)
    try:
        net = AppearanceNet(recipe.arch)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if recipe.start:
        begin_with(net.backbone, load_experts(recipe.start).er.backbone)
    train, val, test = (named_faces(recipe.faces, split) for split in range(3))
    view = view_of(net.backbone, recipe.size)
    state = teach(net, view, train, val, recipe)
    calibrate(net, woman_odds(net, view, val.pictures), val.women)
    persons = len(train.pictures.persons.unique())
    spec = AppearanceSpec(
        recipe.arch, recipe.size, MARGIN, licence="Apache-2.0",
        training_data=f"{len(train.women)} portraits ({persons} persons), {int(train.women.sum())} of them of women, "
        f"as many men shown as women; begun with {f'{recipe.start} (emotion net)' if recipe.start else 'nothing'}",
    )  # fmt: skip
    save_appearance(recipe.out, net, spec, card="")
    stored = load_appearance(recipe.out)  # measured as stored
    odds = {name: woman_odds(stored.net, view, part.pictures) for name, part in (("val", val), ("test", test))}
    rows = {name: error_rows(odds[name], part) for name, part in (("val", val), ("test", test))}
    save_appearance(recipe.out, stored.net, spec, render_card(
        "appearance", spec=spec, certain=CERTAIN, tables=rows, minutes=state.seconds / 60,
        millions=sum(v.numel() for v in stored.net.state_dict().values()) / 1e6,
        megabytes=(Path(recipe.out) / "model.safetensors").stat().st_size / 1e6,
    ))  # fmt: skip
    return Path(recipe.out)


def named_faces(folder: str | Path, split: int) -> NamedFaces:
    """The portraits of a part (0 train, 1 val, 2 test) whose label is known."""
    table = PhotoSet(folder).table
    labels, rows = genders(Path(folder), len(table["key"])), np.flatnonzero(np.asarray(table["split"]) == split)
    known = labels[rows] >= 0
    grey = np.asarray(table["gray"], bool) if "gray" in table else np.zeros(len(labels), bool)
    pictures = read_portraits(folder, split, SIDE).take(torch.from_numpy(np.flatnonzero(known)))
    rows = rows[known]
    return NamedFaces(pictures, torch.from_numpy(labels[rows] == 0), torch.from_numpy(grey[rows]))


def genders(folder: Path, count: int) -> NDArray[np.int8]:
    """gender.npy of a folder of portraits: 1 man, 0 woman, -1 not labelled (N,)."""
    path = folder / "gender.npy"
    if not path.is_file():
        raise ManifestError(f"{missing(path)}; it holds 1 man, 0 woman, -1 unknown for every row of annotations.npz")
    try:
        labels: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ManifestError(f"{path} cannot be read as npy: {str(error).splitlines()[0]}") from None
    if labels.shape != (count,) or not np.isin(labels, (-1, 0, 1)).all():
        raise ManifestError(f"{path} has shape {labels.shape}: ({count},) of 1, 0 and -1 is needed")
    return labels.astype(np.int8)


def begin_with(backbone: nn.Module, known: nn.Module) -> int:
    """Take over the layers that have the same name and shape; returns how many."""
    mine = backbone.state_dict()
    same = {
        name: value for name, value in known.state_dict().items() if name in mine and mine[name].shape == value.shape
    }
    backbone.load_state_dict(mine | same)
    return len(same)


def teach(net: AppearanceNet, view: CropView, train: NamedFaces, val: NamedFaces, recipe: AppearanceRecipe) -> RunState:
    """Teach the net in place, women and men equally often; returns how it went."""
    women, men = torch.nonzero(train.women)[:, 0], torch.nonzero(~train.women)[:, 0]
    if not len(women) or not len(men):
        raise ManifestError(f"{recipe.faces}: the training part shows {len(women)} women and {len(men)} men")
    count = len(women)
    plan = FitConfig(
        Path(recipe.work), recipe.epochs, 2 * count, recipe.batch, recipe.lr, recipe.weight_decay, recipe.patience,
        average=0.99, seed=recipe.seed, device=best_device(),
    )  # fmt: skip
    pictures, women, men = train.pictures.to(plan.device), women.to(plan.device), men.to(plan.device)

    def loss_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
        lots = torch.randint(len(men), (len(rows),), generator=random, device=rows.device)
        told = rows < count
        chosen = torch.where(told, women[rows.clamp(max=count - 1)], men[lots])
        frames = jitter(pictures.frames[chosen], random, mirror_signs(len(rows), random))
        crops = relight(view.cut(pictures.pixels[chosen], frames), random, recipe.erase, recipe.coarse)
        wanted = told.float() * (1 - recipe.smoothing) + recipe.smoothing / 2
        return F.binary_cross_entropy_with_logits(net(view.show(crops)).float(), wanted)

    def score_of(net: nn.Module) -> float:
        return -balanced_loss(woman_odds(net, view, val.pictures), val.women).item()

    state = fit(net.to(memory_format=torch.channels_last), plan, loss_of, score_of)
    net.cpu().eval()
    return state


@torch.no_grad()
def woman_odds(net: nn.Module, view: CropView, pictures: FacePictures) -> Tensor:
    """Log odds (N,) of plainly aligned pictures, on the CPU."""
    device, odds = next(net.parameters()).device, []
    for rows in torch.arange(len(pictures)).split(128):
        crops = view.show(view.cut(pictures.pixels[rows], pictures.frames[rows]))
        odds.append(net(crops.to(device)).float().cpu())
    return torch.cat(odds)


def balanced_loss(odds: Tensor, women: Tensor) -> Tensor:
    """Cross-entropy of log odds (N,), women and men counting the same in sum."""
    loss = F.binary_cross_entropy_with_logits(odds, women.float(), reduction="none")
    return (loss[women].mean() + loss[~women].mean()) / 2


def calibrate(net: AppearanceNet, odds: Tensor, women: Tensor) -> tuple[float, float]:
    """Build into the net the temperature and shift at which its odds (N,) are right for as many men as women."""
    slope, shift = torch.zeros((), requires_grad=True), torch.zeros((), requires_grad=True)
    minimise(lambda: balanced_loss(odds * slope.exp() + shift, women), [slope, shift])
    with torch.no_grad():
        net.fc.weight.mul_(slope.exp())
        net.fc.bias.mul_(slope.exp()).add_(shift)
    log.info("odds times %.3f, plus %.3f", slope.exp().item(), shift.item())
    return slope.exp().item(), shift.item()


def error_rows(odds: Tensor, part: NamedFaces) -> list[list[object]]:
    """Rows of the card: group, pictures, right at .5, named, right among those named."""
    groups = [("all", part.women | True), ("women", part.women), ("men", ~part.women),
              ("grey", part.grey), ("colour", ~part.grey)]  # fmt: skip
    groups += [(f"{who} in {how}", a & b) for who, a in groups[1:3] for how, b in groups[3:]]
    chance = odds.sigmoid()
    right, named = (chance > 0.5) == part.women, torch.maximum(chance, 1 - chance) >= CERTAIN
    return [[name, int(rows.sum()), _share(right[rows]), _share(named[rows]), _share(right[rows & named])]
            for name, rows in groups]  # fmt: skip


def _share(values: Tensor) -> object:
    """Mean of truth values; a dash where there are none."""
    return values.float().mean().item() if len(values) else "-"
