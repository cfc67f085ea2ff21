"""Trains the built-in face reader: python scripts/train_faces.py --photos photos

Stages: `pose` (stills of the same persons with other expressions, as the teacher sees them; without --bundle its
official one is fetched), `finder` (faces in a frame), `aligned` (landmarks and values of an upright crop), `refine` (a
last layer on its frozen features), `tune` (both together), `export` (the shipped folder). All run in turn; `finder`,
`aligned` and `tune` resume where they were stopped.
`card` writes the card from what scripts/measure.py measured.
"""

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from captioner.data.manifest import SPLITS
from captioner.errors import CaptionerError
from captioner.faces.backends import MediapipeReader
from captioner.faces.builtin import WEIGHTS
from captioner.faces.detect import even_out
from captioner.faces.landmarks import SIGNATURE_SIDE
from captioner.faces.nets import CropNet, CropNetConfig, Finder, FinderConfig, standardise
from captioner.faces.points import BLENDSHAPES, GEOMETRY, MESH_68, MESH_IRIS, NETWORK_NAMES, geometry, outer_eyes
from captioner.files import atomic, write_text
from captioner.synth.photo.photo_set import PhotoSet
from captioner.train.experts.posed import posed
from captioner.train.faces import face_augment
from captioner.train.faces.corpus import Corpus, write_taught
from captioner.train.faces.face_augment import CropBatch, FaceTable, Jitter
from captioner.train.faces.mosaic import Mosaic, film_pictures, photo_pictures
from captioner.train.faces.scenes import Paster, Scenes

log = logging.getLogger("train_faces")
STAGES = ("pose", "finder", "aligned", "refine", "tune", "export", "card")
MINUTES = {"finder": 50.0, "aligned": 70.0, "tune": 60.0}
REFINE = 320  # width of the refinement
POSED = 20000
VISITS = 6  # of every photo by it, each third one spoilt
_FOREMOST = ("browDown", "browInnerUp", "eyeBlink", "jawOpen")  # what captions speak of most, and hard to see
IMPORTANCE = torch.tensor([6.0 if name == "jawOpen" else 3.0 if name.startswith(_FOREMOST) else 1.0
                           for name in NETWORK_NAMES])  # fmt: skip
KEPT = (*MESH_68, *MESH_IRIS)  # the points a shipped network gives


@dataclass(frozen=True)
class Plan:
    """How the landmark network is trained."""

    net: CropNetConfig
    jitter: Jitter
    epochs: int
    batch: int = 64


PLAN = Plan(CropNetConfig(points=478, values=len(NETWORK_NAMES)), Jitter(), 70)
MILD = Jitter(4, 0.04, 0.02, yaw=9, pitch=5)  # about as far as a followed face strays


def loss_of(out: tuple[Tensor, Tensor, Tensor], batch: CropBatch, deviation: Tensor) -> dict[str, Tensor]:
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
def judge(net: nn.Module, faces: FaceTable, jitter: Jitter, mean: Tensor, deviation: Tensor) -> dict[str, float]:
    """Error (in outer eye distances) and correlations on photos, crops strayed as in use."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        still = Jitter(jitter.turn / 2, jitter.scale / 2, jitter.shift / 2, 0, 0)
        batch = face_augment.render_crops(faces, torch.arange(len(faces.images)), PLAN.net.size, still)
    net.eval()
    outs = [net(standardise(crops)) for crops in batch.crops.round().split(64)]
    points, values = torch.cat([o[0] for o in outs]), torch.cat([o[1] for o in outs])
    marks = batch.points[:, list(MESH_68)]
    shown = points[:, list(MESH_68)] if points.shape[1] == 478 else points[:, :68]
    apart = (shown - marks).norm(dim=-1).mean(1) / outer_eyes(marks)
    found = {"nme": float(apart.mean()), "median": float(apart.median())}
    if values.shape[1]:
        for name in ("browDown", "browInnerUp", "eyeBlink", "jawOpen", "mouthSmile", "mouthFrown", "mouthPress",
                     "eyeAspect", "noseWing", "eyeWide"):  # fmt: skip
            at = [i for i, n in enumerate(NETWORK_NAMES) if n in (name, f"{name}Left", f"{name}Right")]
            pair = [(v * deviation + mean)[:, at].mean(1) for v in (values, batch.values)]
            found[name] = float(torch.corrcoef(torch.stack(pair))[0, 1])
    return found


class Course:
    """The training of one network: schedule, averaged weights, and a state from which it resumes."""

    def __init__(
        self, name: str, net: nn.Module, out: Path, minutes: float, epochs: int, steps: int, rate: float = 2e-3
    ) -> None:
        self.name, self.net, self.out, self.minutes, self.epochs, self.steps = name, net, out, minutes, epochs, steps
        self.rate = rate
        smooth = torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
        self.average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=smooth, use_buffers=True)
        groups = [
            {"params": [p for p in net.parameters() if p.dim() > 1], "weight_decay": 0.03},
            {"params": [p for p in net.parameters() if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=rate)
        self.done, self.spent, self.best, self.skipped = 0, 0.0, math.inf, 0
        self.meter: dict[str, float] = {}
        self._resume()
        self.net.to(memory_format=torch.channels_last)
        self.begun = time.monotonic() - self.spent

    def _resume(self) -> None:
        path = self.out / f"{self.name}.state"
        if path.exists():
            saved = torch.load(path, weights_only=True)
            for part in ("net", "average", "optimiser"):
                getattr(self, part).load_state_dict(saved[part])
            self.done, self.spent, self.best = saved["done"], saved["spent"], saved["best"]
            log.info("%s: resumed after %d epochs, %.0f minutes", self.name, self.done, self.spent / 60)

    def ended(self) -> bool:
        """Epochs or minutes, whichever is first."""
        return self.done >= self.epochs or self._clock() >= 1

    def _clock(self) -> float:
        return (time.monotonic() - self.begun) / (self.minutes * 60)

    def pace(self, step: int) -> None:
        """Set the rate for a step: a short warm-up, then a cosine down to a hundredth."""
        progress = min(1.0, max((self.done + step / self.steps) / self.epochs, self._clock()))
        warm = min(1.0, (self.done * self.steps + step + 1) / 300)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)

    def learn(self, parts: dict[str, Tensor]) -> None:
        """One step down the sum of the losses."""
        self.optimiser.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        # bfloat16 now and then yields a gradient that is not a number; such a step is left out
        if not torch.isfinite(nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)):
            self.skipped += 1
            return
        self.optimiser.step()
        self.average.update_parameters(self.net)
        for name, value in parts.items():
            self.meter[name] = self.meter.get(name, value.item()) * 0.99 + value.item() * 0.01

    def close_epoch(self, scores: dict[str, float], goal: float) -> None:
        """Log, keep the averaged weights when `goal` (less is better) is the best so far, save the state."""
        self.done += 1
        self.spent = time.monotonic() - self.begun
        line = " ".join(f"{k} {v:.4f}" for k, v in (*self.meter.items(), *scores.items()))
        log.info("%s epoch %d, %.1f min, %d steps left out: %s",
                 self.name, self.done, self.spent / 60, self.skipped, line)  # fmt: skip
        if goal < self.best:
            self.best = goal
            with atomic(self.out / f"{self.name}.safetensors") as path:
                save_file({k: v.contiguous() for k, v in self.average.module.state_dict().items()}, path)
        saved = {"net": self.net.state_dict(), "average": self.average.state_dict(), "best": self.best,
                 "done": self.done, "optimiser": self.optimiser.state_dict(), "spent": self.spent}  # fmt: skip
        with atomic(self.out / f"{self.name}.state") as path:
            torch.save(saved, path)


def train_landmarks(data: Corpus, out: Path, minutes: float, epochs: int | None) -> None:
    """Train the crop network; its best averaged weights are OUT/aligned.safetensors."""
    torch.manual_seed(0)
    net = CropNet(PLAN.net)
    with torch.no_grad():  # start from the mean face
        net.points.weight.mul_(0.1)
        net.points.bias.copy_(data.train.points[:, :, :2].mean(0).flatten())
    course = Course("aligned", net, out, minutes, epochs or PLAN.epochs, _steps(data))
    attend(course, data, lambda: data.batch(PLAN.batch, PLAN.net.size, PLAN.jitter))


def tune(data: Corpus, out: Path, minutes: float, epochs: int | None) -> None:
    """Train the crop network on, its refinement with it; the best averaged weights are OUT/tune.safetensors."""
    config, state = kept(out)
    net = CropNet(replace(config, refine=REFINE))
    net.load_state_dict(state | load_file(out / "refine.safetensors"))
    course = Course("tune", net, out, minutes, epochs or PLAN.epochs, _steps(data), rate=1e-3)

    def batch() -> CropBatch:
        jitter, spoilt = (PLAN.jitter, True) if torch.rand(()) < 0.4 else (MILD, bool(torch.rand(()) < 0.3))
        full = data.batch(PLAN.batch, PLAN.net.size, jitter, spoilt)
        return replace(full, points=full.points[:, list(KEPT)], known=full.known[:, list(KEPT)])

    attend(course, data, batch)


def _steps(data: Corpus) -> int:
    return math.ceil(len(data.train.images) / (PLAN.batch * 0.7))


def attend(course: Course, data: Corpus, draw: Callable[[], CropBatch]) -> None:
    """Epochs of batches until the course ends, each judged on val photos."""
    net, val = course.net, data.faces(np.flatnonzero(data.photos.table["split"] == SPLITS.index("val")))
    while not course.ended():
        net.train()
        torch.manual_seed(1000 + course.done)
        for step in range(course.steps):
            course.pace(step)
            batch = draw()
            with torch.autocast("cpu", torch.bfloat16):
                points, values, score = net(batch.crops.contiguous(memory_format=torch.channels_last))
            course.learn(loss_of((points.float(), values.float(), score.float()), batch, data.deviation))
        scores = judge(course.average.module, val, PLAN.jitter, data.mean, data.deviation)
        course.close_epoch(
            scores, scores["nme"] - 0.002 * sum(v for k, v in scores.items() if k not in ("nme", "median"))
        )


def train_finder(photos: PhotoSet, clips: Path | None, out: Path, minutes: float, epochs: int | None) -> None:
    """Train the finder on photos, made film frames and made scenes; its averaged weights are OUT/finder.safetensors."""
    torch.manual_seed(0)
    net = Finder(FinderConfig())
    start = {"weight": net.head.weight, "bias": torch.tensor([-4.0, 0.0, 0.0, 0.0])}  # faces are rare
    net.head.load_state_dict(start)
    steps, count = 200, 24
    pictures = photo_pictures(photos)
    sets, odds = [pictures], [1.0]
    if clips is not None:
        sets, odds = [pictures, film_pictures(clips)], [0.45, 0.55]
    paster, mosaic = Paster(pictures.levels, pictures.faces[:, 0]), Mosaic(sets, odds)
    log.info("finder: %s pictures", " and ".join(str(len(each.images)) for each in sets))
    course = Course("finder", net, out, minutes, epochs or 200, steps)
    while not course.ended():
        net.train()
        torch.manual_seed(2000 + course.done)
        for step in range(steps):
            course.pace(step)
            scenes = paster.scenes(count) if step % 4 == 3 else mosaic.scenes(count)
            with torch.autocast("cpu", torch.bfloat16):
                found = net(even_out(scenes.pictures).contiguous(memory_format=torch.channels_last))
            course.learn(finder_loss(found.float(), scenes))
        course.close_epoch({}, -float(course.done))


def finder_loss(found: Tensor, scenes: Scenes) -> dict[str, Tensor]:
    """Focal loss on the heat, distance on offsets and log size near the centres; found (N, 4, G, G)."""
    odds = torch.sigmoid(found[:, 0]).clamp(1e-5, 1 - 1e-5)
    centre = (scenes.heat == 1).float() * scenes.care
    hit = -torch.log(odds) * (1 - odds) ** 2 * centre
    miss = -torch.log(1 - odds) * odds**2 * (1 - scenes.heat) ** 4 * (1 - centre) * scenes.care
    faces = centre.sum().clamp_min(1)
    off = nn.functional.smooth_l1_loss(found[:, 1:], scenes.where, reduction="none", beta=0.2).sum(1)
    return {"heat": (hit + miss).sum() / faces, "where": (off * scenes.near).sum() / scenes.near.sum().clamp_min(1)}


def kept(out: Path) -> tuple[CropNetConfig, dict[str, Tensor]]:
    """The trained crop network with only the points that are shipped."""
    state = load_file(out / "aligned.safetensors")
    rows = torch.tensor([2 * i + axis for i in KEPT for axis in (0, 1)])
    for part in ("weight", "bias"):
        state[f"points.{part}"] = state[f"points.{part}"][rows]
    return replace(PLAN.net, points=len(KEPT)), state


def train_refinement(data: Corpus, out: Path) -> None:
    """Fit a small network from the frozen features to what the trained heads leave over: OUT/refine.safetensors."""
    torch.manual_seed(4)
    config, state = kept(out)
    net = CropNet(config)
    net.load_state_dict(state)
    net.eval().to(memory_format=torch.channels_last)
    features: list[Tensor] = []
    hook = net.drop.register_forward_hook(lambda _, __, given: features.append(given))
    points, values, batches = [], [], []
    for visit in range(VISITS):
        order = torch.randperm(len(data.train.images))
        for rows in order.split(128):
            batch = face_augment.render_crops(data.train, rows, config.size, MILD)
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
    truth = face_augment.join_batches(batches)
    x, base_points, base_values = (torch.cat(parts).clone() for parts in (features, points, values))
    mean, spread = x.mean(0), x.std(0) + 1e-3
    x = (x - mean) / spread
    first, last = nn.Linear(x.shape[1], REFINE), nn.Linear(REFINE, len(NETWORK_NAMES) + 2 * len(KEPT))
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    refine = nn.Sequential(first, nn.GELU(), last)
    yard = outer_eyes(truth.points[:, :68]).clamp_min(0.05)[:, None]
    epochs, size = 14, 128
    optimiser = torch.optim.AdamW(refine.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, epochs=epochs, steps_per_epoch=-(-len(x) // size))
    for epoch in range(epochs):
        total = torch.zeros(2)
        for rows in torch.randperm(len(x)).split(size):
            more = refine(nn.functional.dropout(x[rows], 0.1))
            off = base_values[rows] + more[:, : len(NETWORK_NAMES)] - truth.values[rows]
            where = base_points[rows] + more[:, len(NETWORK_NAMES) :].view(len(rows), -1, 2) * 0.1
            apart = ((where - truth.points[rows]).pow(2).sum(-1) + 1e-7).sqrt() / yard[rows]
            losses = torch.stack([off.pow(2).clamp_max(30).mean(), apart.mean() * 10])
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
            schedule.step()
            total += losses.detach() * len(rows) / len(x)
        log.info("refinement epoch %d: values %.4f points %.4f", epoch + 1, *total.tolist())
    with torch.no_grad():  # the standardisation and the tenth go into the weights
        first.bias.sub_(first.weight @ (mean / spread))
        first.weight.div_(spread)
        last.weight[len(NETWORK_NAMES) :] *= 0.1
        last.bias[len(NETWORK_NAMES) :] *= 0.1
    parts = {f"refine.{name}": value.detach().contiguous() for name, value in refine.state_dict().items()}
    after = CropNet(replace(config, refine=REFINE))
    after.load_state_dict(state | parts)
    val = data.faces(np.flatnonzero(data.photos.table["split"] == SPLITS.index("val")))
    for name, each in (("before", net), ("after", after)):
        scores = judge(each, val, PLAN.jitter, data.mean, data.deviation)
        log.info("%s refinement: %s", name, " ".join(f"{k} {v:.4f}" for k, v in scores.items()))
    with atomic(out / "refine.safetensors") as path:
        save_file(parts, path)


def export(data: Corpus, out: Path, folder: Path) -> None:
    """The trained networks as the shipped folder: half precision, only the kept points, values in their own units."""
    tensors: dict[str, Tensor] = {"template": data.template}
    config: dict[str, Any] = {"finder": asdict(FinderConfig())}
    net, state = kept(out)[0], load_file(out / "tune.safetensors")
    count = len(NETWORK_NAMES)
    for layer in ("values", "refine.2"):  # in their own units
        state[f"{layer}.weight"][:count] *= data.deviation[:, None]
        state[f"{layer}.bias"][:count] *= data.deviation
    state["values.bias"] += data.mean
    tensors |= {f"aligned.{name}": value for name, value in state.items()}
    config["aligned"] = asdict(replace(net, refine=REFINE))
    tensors |= {f"finder.{name}": value for name, value in load_file(out / "finder.safetensors").items()}
    tensors["likeness.mean"], tensors["likeness.projection"] = likeness(data)
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in tensors.items()
            if not k.endswith("num_batches_tracked")}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / "model.safetensors") as path:
        save_file(half, path)
    config |= {"names": list(NETWORK_NAMES), "points": "68 of the mesh, then the iris centres"}
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")


def likeness(data: Corpus) -> tuple[Tensor, Tensor]:
    """What tells people apart in small upright crops: linear discriminants over persons with several photos."""
    people = data.photos.table["person"][data.photos.table["split"] == 0]
    names, group, counts = np.unique(people, return_inverse=True, return_counts=True)
    rows = torch.from_numpy(np.flatnonzero(counts[group] > 1))
    torch.manual_seed(3)
    flat = []
    for part in rows.split(256):
        crops = standardise(
            face_augment.render_crops(data.train, part, 112, Jitter(2, 0.02, 0.01, yaw=0, pitch=0)).crops
        )
        small = nn.functional.interpolate(crops, size=(SIGNATURE_SIDE,) * 2, mode="bilinear", antialias=True).flatten(1)
        flat.append(small / small.norm(dim=1, keepdim=True))
    x = torch.cat(flat).double()
    mean = x.mean(0)
    own = torch.from_numpy(group)[rows]
    sums = torch.zeros(len(names), x.shape[1], dtype=torch.float64).index_add_(0, own, x)
    centres = sums / torch.from_numpy(counts)[:, None]
    within = (x - centres[own]).T @ (x - centres[own]) / len(x)
    between = (centres[own] - mean).T @ (centres[own] - mean) / len(x)
    within += torch.eye(len(within)) * within.diagonal().mean() * 0.3
    root = torch.linalg.inv(torch.linalg.cholesky(within))
    _, vectors = torch.linalg.eigh(root @ between @ root.T)
    return mean.float(), (root.T @ vectors[:, -48:]).float() / 10  # a tenth, for half precision


CARD = """# The built-in face reader

Two small networks: a finder of faces ({finder:.2f} M parameters), landmarks and expression of an upright crop
({aligned:.2f} M); and a projection that tells the people of one clip apart.
File: {size:.1f} MB in float16. Licence Apache-2.0. `captioner/faces/builtin.py` runs them.

- Made by `python scripts/train_faces.py --photos FOLDER --ferplus FOLDER --clips FOLDER`, on a CPU thread shared with
  others: {spent}.
  The recipe was changed while it ran (expression weighs more, milder spoiling, more crops without a face; the finder
  widened from a narrower one); the script has the last one. The clock stopped the training, not convergence.
- Learned from 12,036 press photos (train split, persons apart from the others'), 94 % of them grey; the crop network at
  low weight also from the 26,790 training pictures of FER+ (48 px) with a face for the teacher, and (in the last 41
  minutes of tune) from 20,335 posed (synthetic) stills of the train persons. The finder: from photos whole and pasted
  into made scenes, and frames of made clips of the same persons (both synthetic). No photo is in the file.
- Teacher: MediaPipe's face landmarker. Landmarks and blendshapes are its predictions, not ground truth, and its blind
  spots are ours: nose wrinkling and cheek raising are no blendshapes here (see `noseWing`), eye widening is weak.
- Input is grey. Errors below are mean distances of 68 points in outer eye distances.
- Bias: mostly adults of public life in 2002-2003, mostly near frontal. Profiles were made by warping: trust them less.
- Not for identifying anybody: the likeness of crops only holds within one clip.

## Measured

{tables}
"""


def write_card(out: Path, folder: Path) -> None:
    """CARD.md from OUT/measured.json (scripts/measure.py faces --json) and the states' times."""
    tensors = load_file(folder / "model.safetensors")
    counts = {net: sum(v.numel() for k, v in tensors.items() if k.startswith(f"{net}.")) / 1e6
              for net in ("finder", "aligned")}  # fmt: skip
    states = [(stage, out / f"{stage}.state") for stage in MINUTES]
    spent = [(stage, torch.load(path, weights_only=True)["spent"] / 60) for stage, path in states if path.exists()]
    lines = []
    for title, table in json.loads((out / "measured.json").read_text(encoding="utf-8")).items():
        lines += [f"### {title[0].upper()}{title[1:]}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in table.items() if name != "ms a frame"] + [""]
    text = CARD.format(
        **counts, size=(folder / "model.safetensors").stat().st_size / 1e6, tables="\n".join(lines).strip(),
        spent=", ".join(f"{stage} {minutes:.0f} minutes" for stage, minutes in spent),
    )  # fmt: skip
    write_text(folder / "CARD.md", text)


def main() -> int:
    """Parse, train the asked stages in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with annotations.npz and photos")
    parser.add_argument("--ferplus", type=Path, help="folder of FER+ pictures (training part is used)")
    parser.add_argument("--bundle", type=Path, help="MediaPipe's face_landmarker.task, the teacher of `pose`")
    parser.add_argument("--clips", type=Path, help="folder of square made clips: their frames for the finder, too")
    parser.add_argument("--out", type=Path, default=Path("runs/faces"), help="where states, logs and weights go")
    parser.add_argument("--stage", choices=("all", *STAGES), default="all")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the shipped folder goes")
    parser.add_argument("--minutes", type=float, help=f"longest time a stage (default: {MINUTES})")
    parser.add_argument("--epochs", type=int, help="instead of the stage's own number")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if args.stage == "card":
        write_card(args.out, args.weights)
        return 0
    stages, photos = STAGES[:-1] if args.stage == "all" else (args.stage,), PhotoSet(args.photos)
    stills = args.out / "posed.npz"
    if "pose" in stages and not stills.exists():
        made = posed(args.photos, ("train",), POSED, 0, args.out).pixels.numpy()
        log.info("%d stills in which the teacher sees a face", write_taught(made, MediapipeReader(args.bundle), stills))
    if "finder" in stages:
        train_finder(photos, args.clips, args.out, args.minutes or MINUTES["finder"], args.epochs)
    if stages in (("pose",), ("finder",)):
        return 0
    data = Corpus(photos, args.ferplus, posed=stills if stills.exists() else None)
    log.info("%d photos, %d FER+, %d posed", len(data.train.images),
             *(0 if part is None else len(part.images) for part in (data.ferplus, data.posed)))  # fmt: skip
    for stage in stages:
        minutes = args.minutes or MINUTES.get(stage, 0)
        if stage == "aligned":
            train_landmarks(data, args.out, minutes, args.epochs)
        elif stage == "refine":
            train_refinement(data, args.out)
        elif stage == "tune":
            tune(data, args.out, minutes, args.epochs)
        else:
            export(data, args.out, args.weights)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
