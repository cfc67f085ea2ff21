"""How the landmark network learns: on aligned crops, then a last layer on its frozen features, then both together.

N crops, P points, E values named by points.NETWORK_NAMES.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from captioner.faces.nets import CropNet, CropNetConfig, standardise
from captioner.faces.points import BLENDSHAPES, GEOMETRY, MESH_68, MESH_IRIS, NETWORK_NAMES, geometry, outer_eyes
from captioner.files import atomic
from captioner.train.faces import face_augment
from captioner.train.faces.face_augment import CropBatch, FaceTable, Jitter
from captioner.train.faces.face_corpus import Corpus
from captioner.train.fitting import BEST, FitConfig, LossOf, RunState, ScoreOf, fit, scaled_rate

log = logging.getLogger(__name__)

BATCH = 64
NET = CropNetConfig(points=478, values=len(NETWORK_NAMES))
STRAY = Jitter()
MILD = Jitter(4, 0.04, 0.02, yaw=9, pitch=5)  # about as far as a followed face strays
KEPT = (*MESH_68, *MESH_IRIS)  # the points a shipped network gives
REFINE = 320  # width of the refinement
VISITS = 6  # of every photo by it, each third one spoilt
_FOREMOST = ("browDown", "browInnerUp", "eyeBlink", "jawOpen")  # what captions speak of most, and hard to see
IMPORTANCE = torch.tensor([6.0 if name == "jawOpen" else 3.0 if name.startswith(_FOREMOST) else 1.0
                           for name in NETWORK_NAMES])  # fmt: skip
_SCORED = ("browDown", "browInnerUp", "eyeBlink", "jawOpen", "mouthSmile", "mouthFrown", "mouthPress", "eyeAspect",
           "noseWing", "eyeWide")  # fmt: skip


@dataclass(frozen=True)
class StageLimits:
    """How long a stage trains: epochs, or minutes if they are over first (0: epochs alone)."""

    epochs: int
    minutes: float = 0.0


def fit_stage(
    folder: Path, net: nn.Module, limits: StageLimits, steps: int, loss_of: LossOf, score_of: ScoreOf | None = None,
    *, lr: float = 2e-3, batch: int = BATCH, seed: int = 1000,
) -> RunState:  # fmt: skip
    """Train one network of the reader: a short warm-up, then a cosine down to a hundredth of the rate.

    Its losses draw their pictures from torch's own generator, which is seeded for every epoch.
    """
    config = FitConfig(
        folder, limits.epochs, steps * batch, batch, lr, weight_decay=0.03, patience=limits.epochs, rising=False,
        epoch_seed=seed, half=False, minutes=limits.minutes,
    )  # fmt: skip

    def factor(step: int, part: float) -> float:
        return min(1.0, (step + 1) / 300) * (0.01 + 0.99 * (1 + math.cos(math.pi * part)) / 2)

    return fit(net.to(memory_format=torch.channels_last), config, loss_of, score_of, pace=scaled_rate(lr, factor))


def crop_loss(out: tuple[Tensor, Tensor, Tensor], batch: CropBatch, deviation: Tensor) -> dict[str, Tensor]:
    """Point distances in outer eye distances, values in standard deviations, odds of a face."""
    points, values, score = out
    marks = list(MESH_68) if points.shape[1] == 478 else list(range(68))
    yard = outer_eyes(batch.points[:, marks]).clamp_min(0.05)
    apart = (((points - batch.points) ** 2).sum(-1) + 1e-7) ** 0.5 / yard[:, None]
    faces = batch.face.sum()
    parts = {"points": (apart * batch.known).sum() / faces * 10}
    if values.shape[1]:
        errors = nn.functional.smooth_l1_loss(values, batch.values, reduction="none", beta=4.0)
        errors = errors @ IMPORTANCE / IMPORTANCE.sum()
        parts["values"] = (errors * batch.values_weight).sum() / faces * 10
        given = torch.stack(geometry(points[:, marks]), 1)
        wanted = torch.stack(geometry(batch.points[:, marks]), 1)
        spread = deviation[len(BLENDSHAPES) : len(BLENDSHAPES) + len(GEOMETRY)]
        off = ((given - wanted).abs() / spread).clamp_max(4).mean(1)
        parts["geometry"] = (off * batch.values_weight).sum() / faces * 0.7
    parts["score"] = nn.functional.binary_cross_entropy_with_logits(score, batch.face) * 0.25
    return parts


@torch.inference_mode()
def score_photos(net: nn.Module, faces: FaceTable, mean: Tensor, deviation: Tensor) -> dict[str, float]:
    """Error (in outer eye distances) and correlations on photos, crops strayed as in use."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        still = Jitter(STRAY.turn / 2, STRAY.scale / 2, STRAY.shift / 2, 0, 0)
        batch = face_augment.render_crops(faces, torch.arange(len(faces.images)), NET.size, still)
    net.eval()
    outs = [net(standardise(crops)) for crops in batch.crops.round().split(64)]
    points, values = torch.cat([o[0] for o in outs]), torch.cat([o[1] for o in outs])
    marks = batch.points[:, list(MESH_68)]
    shown = points[:, list(MESH_68)] if points.shape[1] == 478 else points[:, :68]
    apart = (shown - marks).norm(dim=-1).mean(1) / outer_eyes(marks)
    scores = {"nme": float(apart.mean()), "median": float(apart.median())}
    for name in _SCORED if values.shape[1] else ():
        at = [i for i, n in enumerate(NETWORK_NAMES) if n in (name, f"{name}Left", f"{name}Right")]
        pair = [(v * deviation + mean)[:, at].mean(1) for v in (values, batch.values)]
        scores[name] = float(torch.corrcoef(torch.stack(pair))[0, 1])
    return scores


def train_landmarks(data: Corpus, out: Path, limits: StageLimits) -> RunState:
    """Train the crop network; its best averaged weights are OUT/aligned/best.safetensors."""
    torch.manual_seed(0)
    net = CropNet(NET)
    with torch.no_grad():  # start from the mean face
        net.points.weight.mul_(0.1)
        net.points.bias.copy_(data.train.points[:, :, :2].mean(0).flatten())
    return _fit_crops(out / "aligned", net, data, limits, lambda: data.batch(BATCH, NET.size, STRAY))


def tune(data: Corpus, out: Path, limits: StageLimits) -> RunState:
    """Train the crop network on, its refinement with it; the best averaged weights are OUT/tune/best.safetensors."""
    config, state = kept_points(out)
    net = CropNet(replace(config, refine=REFINE))
    net.load_state_dict(state | load_file(out / "refine.safetensors"))

    def batch() -> CropBatch:
        jitter, spoilt = (STRAY, True) if torch.rand(()) < 0.4 else (MILD, bool(torch.rand(()) < 0.3))
        full = data.batch(BATCH, NET.size, jitter, spoilt)
        return replace(full, points=full.points[:, list(KEPT)], known=full.known[:, list(KEPT)])

    return _fit_crops(out / "tune", net, data, limits, batch, lr=1e-3)


def _fit_crops(
    folder: Path, net: CropNet, data: Corpus, limits: StageLimits, draw: Callable[[], CropBatch], lr: float = 2e-3
) -> RunState:
    """Epochs of batches, each judged on val photos by its point error and its correlations."""
    val = data.val()

    def loss_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> Mapping[str, Tensor]:
        batch = draw()
        with torch.autocast("cpu", torch.bfloat16):
            points, values, score = net(batch.crops.contiguous(memory_format=torch.channels_last))
        return crop_loss((points.float(), values.float(), score.float()), batch, data.deviation)

    def score_of(net: nn.Module) -> float:
        scores = score_photos(net, val, data.mean, data.deviation)
        log.info("%s: %s", folder.name, " ".join(f"{name} {value:.4f}" for name, value in scores.items()))
        return 0.002 * sum(v for name, v in scores.items() if name not in ("nme", "median")) - scores["nme"]

    steps = math.ceil(len(data.train.images) / (BATCH * 0.7))
    return fit_stage(folder, net, limits, steps, loss_of, score_of, lr=lr)


def kept_points(out: Path) -> tuple[CropNetConfig, dict[str, Tensor]]:
    """The trained crop network with only the points that are shipped."""
    state = load_file(out / "aligned" / BEST)
    rows = torch.tensor([2 * i + axis for i in KEPT for axis in (0, 1)])
    for part in ("weight", "bias"):
        state[f"points.{part}"] = state[f"points.{part}"][rows]
    return replace(NET, points=len(KEPT)), state


# -- the refinement -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Visits:
    """What a frozen network makes of crops: features (N, C), points (N, P, 2), values (N, E); and their truth."""

    features: Tensor
    points: Tensor
    values: Tensor
    truth: CropBatch


class OneCycle:
    """torch's one-cycle schedule as a pace: rate and momentum rise and fall against each other once."""

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = peak, steps
        self.schedule: OneCycleLR | None = None

    def __call__(self, optimizer: torch.optim.Optimizer, step: int, part: float) -> None:
        if self.schedule is None:
            self.schedule = OneCycleLR(optimizer, self.peak, total_steps=self.steps)
        else:
            self.schedule.step()


def train_refinement(data: Corpus, out: Path) -> None:
    """Fit a small network from the frozen features to what the trained heads leave over: OUT/refine.safetensors."""
    torch.manual_seed(4)
    config, state = kept_points(out)
    net = CropNet(config)
    net.load_state_dict(state)
    net.eval().to(memory_format=torch.channels_last)
    parts = fit_refinement(visit_photos(net, data))
    after = CropNet(replace(config, refine=REFINE))
    after.load_state_dict(state | parts)
    val = data.val()
    for name, each in (("before", net), ("after", after)):
        scores = score_photos(each, val, data.mean, data.deviation)
        log.info("%s refinement: %s", name, " ".join(f"{k} {v:.4f}" for k, v in scores.items()))
    with atomic(out / "refine.safetensors") as path:
        save_file(parts, path)


def visit_photos(net: CropNet, data: Corpus) -> Visits:
    """The network's features and outputs of every photo, mildly strayed, several times."""
    features: list[Tensor] = []
    hook = net.drop.register_forward_hook(lambda _, __, given: features.append(given))
    points, values, batches = [], [], []
    for visit in range(VISITS):
        for rows in torch.randperm(len(data.train.images)).split(128):
            batch = face_augment.render_crops(data.train, rows, NET.size, MILD)
            data.mirror_half(batch)
            crops = face_augment.spoil(batch.crops) if visit % 3 == 2 else batch.crops
            with torch.inference_mode():
                given = net(standardise(crops))
            points.append(given[0])
            values.append(given[1])
            batch.crops = batch.crops[:, :, :1, :1]
            batches.append(replace(batch, points=batch.points[:, list(KEPT)], known=batch.known[:, list(KEPT)]))
        log.info("refinement: %d of %d visits", visit + 1, VISITS)
    hook.remove()
    x, where, what = (torch.cat(parts).clone() for parts in (features, points, values))
    return Visits(x, where, what, face_augment.join_batches(batches))


def fit_refinement(seen: Visits, epochs: int = 14) -> dict[str, Tensor]:
    """Weights `refine.*` of a CropNet: what is to be added to values and points, from the features."""
    mean, spread = seen.features.mean(0), seen.features.std(0) + 1e-3
    x, count = (seen.features - mean) / spread, seen.values.shape[1]
    first, last = nn.Linear(x.shape[1], REFINE), nn.Linear(REFINE, count + 2 * seen.points.shape[1])
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    refine = nn.Sequential(first, nn.GELU(), last)
    yard = outer_eyes(seen.truth.points[:, :68]).clamp_min(0.05)[:, None]

    def loss_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> dict[str, Tensor]:
        more = net(nn.functional.dropout(x[rows], 0.1))
        off = seen.values[rows] + more[:, :count] - seen.truth.values[rows]
        where = seen.points[rows] + more[:, count:].view(len(rows), -1, 2) * 0.1
        apart = ((where - seen.truth.points[rows]).pow(2).sum(-1) + 1e-7).sqrt() / yard[rows]
        return {"values": off.pow(2).clamp_max(30).mean(), "points": apart.mean() * 10}

    config = FitConfig(
        None, epochs, len(x), 128, average=0.0, clip_norm=0.0, drop_last=False, half=False, epoch_seed=4
    )  # fmt: skip
    optimizer = torch.optim.AdamW(refine.parameters(), lr=1e-3, weight_decay=0.05)
    fit(refine, config, loss_of, optimizer=optimizer, pace=OneCycle(1.5e-3, epochs * config.steps))
    with torch.no_grad():  # the standardisation and the tenth go into the weights
        first.bias.sub_(first.weight @ (mean / spread))
        first.weight.div_(spread)
        last.weight[count:] *= 0.1
        last.bias[count:] *= 0.1
    return {f"refine.{name}": value.detach().contiguous() for name, value in refine.state_dict().items()}
