"""The emotion expert from real photos with votes: training, temperature, measures.

Axes: B batch, N pictures, C emotions of the net (MAFW's 11), of which photos teach 8.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.lexicon.emotions import FERPLUS_LABELS, MAFW_LABELS
from captioner.train.experts.augment import jitter, mirror_signs, relight
from captioner.train.experts.portraits import CropView, FacePictures, majority, read_ferplus
from captioner.train.experts.posed import Posed
from captioner.train.fitting import FitConfig, RunState, best_device, fit, minimise
from prompts.er_net import ERNet

log = logging.getLogger(__name__)

PHOTO_CLASSES = tuple(MAFW_LABELS.index(name) for name in FERPLUS_LABELS)  # places of the 8 among the 11
UNPICTURED = tuple(name for name in MAFW_LABELS if name not in FERPLUS_LABELS)
KEPT = 12  # every n-th person of the posed stills is kept back for early stopping


@dataclass(frozen=True)
class EmotionRecipe:
    """How the emotion net learns from FER+."""

    epochs: int = 40
    batch: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.05
    patience: int = 8
    mix: float = 0.2
    """Parameter of the mixing weights of two pictures; 0: pictures are not mixed."""
    erase: float = 0.3
    shapes: float = 0.0
    """Weight of the teacher's 52 blendshapes as a second task; its head is thrown away."""
    balance: float = 0.25
    """Power of a class's inverse frequency that weights its pictures."""
    held: int = 1400
    """Pictures of the training part kept back for early stopping and for the temperature."""


@dataclass(frozen=True)
class EmotionPart:
    """Pictures (N of them) and the emotion of each by majority vote, -1 where there is none."""

    pictures: FacePictures
    emotions: Tensor


def ferplus_parts(folder: str | Path, held: int, seed: int) -> tuple[EmotionPart, EmotionPart, EmotionPart]:
    """FER+ as training, held-back and validation part; the first two split its training part at random."""
    pictures, votes = read_ferplus(folder, 0)
    useful = torch.nonzero(pictures.shares.sum(1) > 0)[:, 0]
    order = useful[torch.randperm(len(useful), generator=torch.Generator().manual_seed(seed))]
    labels = majority(votes)
    train, kept = ((pictures.take(rows), labels[rows]) for rows in (order[held:], order[:held]))
    unseen, unseen_votes = read_ferplus(folder, 1)
    return EmotionPart(*train), EmotionPart(*kept), EmotionPart(unseen, majority(unseen_votes))


class Student(nn.Module):
    """The emotion net with a second head for blendshapes, in training only."""

    def __init__(self, er: ERNet) -> None:
        super().__init__()
        self.er = er
        self.shapes = nn.Linear(er.width, 52)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Emotion logits (B, C) and blendshape logits (B, 52) of crops as the net takes them."""
        seen = self.er(crops)
        return seen.logits, self.shapes(seen.features)


def train_emotions(
    er: ERNet, view: CropView, train: EmotionPart, held: EmotionPart, recipe: EmotionRecipe, folder: Path, seed: int
) -> RunState:
    """Teach the net FER+ in place, then its temperature; returns how it went."""
    student = Student(er).to(memory_format=torch.channels_last)
    setup = FitConfig(
        folder, recipe.epochs, len(train.emotions), recipe.batch, recipe.lr, recipe.weight_decay, recipe.patience,
        seed=seed, device=best_device(),
    )  # fmt: skip
    pictures = train.pictures.to(setup.device)
    common = pictures.shares.mean(0).clamp(min=1e-4)
    rarity = (pictures.shares * (common**-recipe.balance)).sum(1)
    rarity = rarity / rarity.mean()

    def loss_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
        frames = jitter(pictures.frames[rows], random, mirror_signs(len(rows), random))
        crops = relight(view.cut(pictures.pixels[rows], frames), random, recipe.erase)
        wanted, shapes, weight = pictures.shares[rows], pictures.blendshapes[rows], rarity[rows]
        if recipe.mix:
            crops, wanted, shapes, weight = mix_up(recipe.mix, random, crops, wanted, shapes, weight)
        logits, seen = net(view.show(crops))
        loss = (F.cross_entropy(photo_logits(logits.float()), wanted, reduction="none") * weight).mean()
        if recipe.shapes:
            known = shapes >= 0
            error = F.binary_cross_entropy_with_logits(seen.float(), shapes.clamp(0, 1), reduction="none")
            loss = loss + recipe.shapes * (error * known).sum() / len(rows)
        return loss

    def score_of(net: nn.Module) -> float:
        logits = emotion_logits(net.get_submodule("er"), view, held.pictures)
        known = held.emotions >= 0
        return (photo_logits(logits).argmax(1) == held.emotions)[known].float().mean().item()

    state = fit(student, setup, loss_of, score_of)
    er.cpu().eval()
    clear = held.emotions >= 0
    logits = photo_logits(emotion_logits(er, view, held.pictures))
    scale_by(er, fit_temperature(logits[clear], held.emotions[clear]))
    return state


def mix_up(alpha: float, random: torch.Generator, *parts: Tensor) -> list[Tensor]:
    """Each part (B, ...) blended with itself in another order, the larger share of a picture with its own place."""
    count, device = len(parts[0]), parts[0].device
    share = torch._sample_dirichlet(torch.full((count, 2), alpha, device=device), random).amax(1)
    other = torch.randperm(count, generator=random, device=device)
    blends = []
    for part in parts:
        weight = share.view(-1, *[1] * (part.ndim - 1))
        blends.append(part * weight + part[other] * (1 - weight))
    return blends


def photo_logits(logits: Tensor) -> Tensor:
    """The logits (B, 8) of the classes that photos teach, in FER+'s order."""
    return logits[:, PHOTO_CLASSES]


@torch.no_grad()
def emotion_logits(er: nn.Module, view: CropView, pictures: FacePictures | Posed) -> Tensor:
    """Logits (N, C) of plainly aligned pictures, on the CPU."""
    device = next(er.parameters()).device
    logits = []
    for rows in torch.arange(len(pictures)).split(256):
        crops = view.show(view.cut(pictures.pixels[rows], pictures.frames[rows]))
        logits.append(er(crops.to(device)).logits.float().cpu())
    return torch.cat(logits)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature at which the softmax of logits (N, C) fits labels (N,) best.

    With the majority's labels: the votes themselves would leave it less sure than it is right.
    """
    log_t = torch.zeros((), requires_grad=True)
    minimise(lambda: F.cross_entropy(logits / log_t.exp(), labels), [log_t])
    return log_t.exp().item()


@torch.no_grad()
def scale_by(er: ERNet, temperature: float) -> None:
    """Build the temperature into the classifier."""
    log.info("temperature %.3f", temperature)
    er.fc.weight.div_(temperature)
    er.fc.bias.div_(temperature)


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error of probabilities (N, C) for labels (N,): |confidence - accuracy| over even bins."""
    confidence, said = probabilities.max(1)
    right = (said == labels).float()
    place = (confidence * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins).index_add_(0, place, confidence - right)
    return gaps.abs().sum().item() / len(labels)


def f1_by_class(said: Tensor, labels: Tensor, classes: int) -> Tensor:
    """F1 (classes,) of predictions (N,) for labels (N,)."""
    hits = torch.bincount(labels[said == labels], minlength=classes).float()
    both = torch.bincount(said, minlength=classes) + torch.bincount(labels, minlength=classes)
    return 2 * hits / both.clamp(min=1)


@dataclass(frozen=True)
class WidenRecipe:
    """How the emotion net, after FER+, learns the three emotions that no photo shows from posed stills."""

    epochs: int = 4
    batch: int = 128
    lr: float = 8e-4
    weight_decay: float = 0.05
    erase: float = 0.3
    coarse: float = 0.2
    """Share of the crops made small, and of those made dim."""
    smoothing: float = 0.1
    """Of the posed stills' labels: an emotion does not decide a face."""


def widen_emotions(
    er: ERNet,
    view: CropView,
    train: EmotionPart,
    held: EmotionPart,
    stills: Posed,
    recipe: WidenRecipe,
    folder: Path,
    seed: int,
) -> RunState:
    """Go on with photos and posed stills, all emotions of the net in one softmax; returns how it went."""
    away = stills.persons % KEPT == 0
    told = stills.emotions >= 0
    unseen = stills.take(torch.nonzero(away & told)[:, 0])
    stills = stills.take(torch.nonzero(~away & told)[:, 0])
    photos, classes = len(train.emotions), er.config.classes
    setup = FitConfig(
        folder, recipe.epochs, photos + len(stills), recipe.batch, recipe.lr, recipe.weight_decay, recipe.epochs,
        warmup=0.05, seed=seed, device=best_device(),
    )  # fmt: skip
    pictures, posed = train.pictures.to(setup.device), stills.to(setup.device)
    wanted = torch.cat(
        [all_shares(pictures.shares, classes), smoothed_labels(posed.emotions, classes, recipe.smoothing)]
    )

    def loss_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
        rows = rows.sort().values  # photos first
        real, made = rows[rows < photos], rows[rows >= photos] - photos
        crops = torch.cat([
            view.cut(table.pixels[some], jitter(table.frames[some], random, mirror_signs(len(some), random)))
            for table, some in ((pictures, real), (posed, made)) if len(some)
        ])  # fmt: skip
        return F.cross_entropy(
            net(view.show(relight(crops, random, recipe.erase, recipe.coarse))).logits.float(), wanted[rows]
        )

    def score_of(net: nn.Module) -> float:
        real = emotion_logits(net, view, held.pictures).argmax(1) == mafw_places(held.emotions)
        made = emotion_logits(net, view, unseen).argmax(1) == unseen.emotions
        return real[held.emotions >= 0].float().mean().item() + 0.25 * made.float().mean().item()

    state = fit(er.to(memory_format=torch.channels_last), setup, loss_of, score_of)
    er.cpu().eval()
    clear = held.emotions >= 0
    scale_by(er, fit_temperature(emotion_logits(er, view, held.pictures)[clear], mafw_places(held.emotions[clear])))
    return state


def mafw_places(emotions: Tensor) -> Tensor:
    """Places in MAFW's list (N,) of FER+'s emotions (N,); -1 stays."""
    return torch.tensor([*PHOTO_CLASSES, -1])[emotions]


def all_shares(shares: Tensor, classes: int) -> Tensor:
    """Shares (N, classes) of FER+'s shares (N, 8): nothing for the emotions it lacks."""
    wide = shares.new_zeros(len(shares), classes)
    wide[:, PHOTO_CLASSES] = shares
    return wide


def smoothed_labels(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Shares (N, classes) of labels (N,)."""
    return F.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
