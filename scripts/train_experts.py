"""Train the frozen experts, an emotion net and an AU graph net: on photos, or on drawn (synthetic) stills.

    python scripts/train_experts.py configs/experts.yaml key=value ...
    python scripts/train_experts.py configs/experts_drawn.yaml key=value ...

A killed run on photos goes on after its last whole epoch when the same command is given again.

Axes: S stills, B batch, A main AUs.
"""

import argparse
import hashlib
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import captioner.synth.drawn.stills
from captioner.config_io import load_config, read_yaml
from captioner.errors import CaptionerError, ConfigError, unknown
from captioner.files import atomic, write_text
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.model.experts import (
    Experts,
    ExpertsRecipe,
    ExpertsSpec,
    au_labels,
    load_experts,
    save_experts,
)
from captioner.synth.drawn.stills import sample_still
from captioner.train.experts import photo_recipe
from captioner.train.experts.card import millions, milliseconds
from captioner.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from prompts.action_units import MAIN_AUS
from prompts.au_graph import AUGraph, AUGraphConfig, asymmetric_loss, class_weights
from prompts.er_net import ERNet, ERNetConfig

log = logging.getLogger("train_experts")
CHUNK = 200  # stills a task of a drawing process
LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class Stills:
    """images uint8 (S, H, W, 3), AU labels int8 (S, A), emotions int64 (S,)."""

    images: NDArray[np.uint8]
    aus: Tensor
    emotions: Tensor

    def first(self, count: int) -> "Stills":
        """The first `count` of them."""
        return Stills(self.images[:count], self.aus[:count], self.emotions[:count])


@dataclass(frozen=True)
class Scores:
    """What the nets make of some stills: AU scores (S, A), emotion logits (S, classes)."""

    aus: Tensor
    logits: Tensor


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train the frozen experts on photos or drawn (synthetic) stills.")
    parser.add_argument("config", type=Path, help="YAML file of the recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys that replace those of the file")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        print(run(args.config, args.overrides))
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def run(path: Path, overrides: list[str]) -> Path:
    """The folder of the experts of a recipe, whose `source` says which kind it is."""
    source = read_yaml(path).get("source", "drawn")
    if source == "photos":
        return photo_recipe.train_experts(load_config(photo_recipe.PhotoRecipe, path, overrides))
    if source != "drawn":
        raise ConfigError(f"{path}: {unknown('source', str(source), ['photos', 'drawn'])}")
    return train(load_config(ExpertsRecipe, path, overrides))


def train(recipe: ExpertsRecipe) -> Path:
    """The folder of the finished experts."""
    start = time.monotonic()
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    try:  # names and sizes are checked before the slow part
        au = AUGraph(AUGraphConfig(recipe.au_backbone, recipe.au_stage))
        er = ERNet(ERNetConfig(recipe.er_arch, len(MAFW_LABELS)))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    stills = draw(recipe, recipe.stills, first=0)
    unseen = draw(recipe, recipe.val_stills, first=recipe.stills)

    log.info("AU graph net: %.2f M parameters", millions(au))
    weights = class_weights(stills.aus)
    fit(au, stills, recipe, recipe.au_epochs, lambda net, images, rows: asymmetric_loss(
        net(images).scores[:, :len(MAIN_AUS)], stills.aus[rows], weights))  # fmt: skip
    log.info("emotion net: %.2f M parameters", millions(er))
    if recipe.er_arch == recipe.au_backbone:
        er.backbone.load_state_dict(au.backbone.state_dict())
    fit(er, stills, recipe, recipe.er_epochs, lambda net, images, rows: F.cross_entropy(
        net(images).logits, stills.emotions[rows], label_smoothing=recipe.label_smoothing))  # fmt: skip

    seen = score(er, au, stills.first(6000), recipe.size)
    spec = ExpertsSpec(
        er=er.config,
        au=au.config,
        labels=MAFW_LABELS,
        size=recipe.size,
        training_data=f"{recipe.stills} drawn (synthetic) stills of invented faces, seed {recipe.seed}",
        licence=LICENCE,
        **au_statistics(seen.aus, stills.aus),
    )
    minutes = (time.monotonic() - start) / 60
    save_experts(recipe.out, er, au, spec, card="")
    saved = load_experts(recipe.out)  # measured as stored
    write_text(Path(recipe.out) / "CARD.md", card(saved, recipe, unseen, ceiling(stills, unseen), minutes))
    return Path(recipe.out)


def draw(recipe: ExpertsRecipe, count: int, first: int) -> Stills:
    """`count` stills from number `first` on, drawn once and then read from the cache folder."""
    path = Path(recipe.cache) / f"stills-{recipe.seed}-{first}-{count}-{recipe.drawn_size}-{drawing()}.npz"
    if not path.exists():
        log.info("drawing %d stills into %s", count, path)
        numbers = range(first, first + count)
        tasks = [numbers[start : start + CHUNK] for start in range(0, count, CHUNK)]
        parts = list(_map(partial(draw_chunk, recipe.seed, recipe.drawn_size), tasks, recipe.workers))
        images, aus, emotions = (np.concatenate(column) for column in zip(*parts, strict=True))
        with atomic(path) as temporary:
            np.savez(temporary, images=images, aus=aus, emotions=emotions)
    stored = np.load(path, allow_pickle=False)
    return Stills(stored["images"], torch.from_numpy(stored["aus"]), torch.from_numpy(stored["emotions"]))


def drawing() -> str:
    """A short hash of the code that draws: an old cache never stands for a new drawing."""
    folder = Path(captioner.synth.drawn.stills.__file__).parent
    code = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    return hashlib.sha256(code).hexdigest()[:8]


def draw_chunk(seed: int, size: int, numbers: range) -> tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.int64]]:
    """Images (S, size, size, 3), AU labels (S, A) and emotions (S,) of the stills with these numbers."""
    stills = [sample_still(np.random.default_rng([seed, number]), size) for number in numbers]
    return (
        np.stack([still.image for still in stills]),
        np.array([au_labels(still.au) for still in stills], np.int8),
        np.array([MAFW_LABELS.index(still.emotion) for still in stills], np.int64),
    )


def _map(function: Callable, tasks: list[range], workers: int) -> Iterator:
    if workers < 1:
        yield from map(function, tasks)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(function, tasks)


def fit(
    net: nn.Module,
    stills: Stills,
    recipe: ExpertsRecipe,
    epochs: int,
    loss_of: Callable[[nn.Module, Tensor, Tensor], Tensor],
) -> None:
    """Train the net in place: AdamW, one cosine with a short warm-up, augmented stills."""
    net.train().to(memory_format=torch.channels_last)
    count, batch = len(stills.emotions), min(recipe.batch, len(stills.emotions))
    steps = epochs * (count // batch)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, steps + 1, pct_start=0.1, cycle_momentum=False)
    random = torch.Generator().manual_seed(recipe.seed)
    for epoch in range(epochs):
        start, total = time.monotonic(), 0.0
        for rows in torch.randperm(count, generator=random)[: count // batch * batch].split(batch):
            loss = loss_of(net, augment(stills.images[rows.numpy()], recipe, random), rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        mean = total / (count // batch)
        log.info("epoch %d of %d: loss %.4f, %.0f s", epoch + 1, epochs, mean, time.monotonic() - start)
    net.eval()


def augment(images: NDArray[np.uint8], recipe: ExpertsRecipe, random: torch.Generator) -> Tensor:
    """Normalised training views (B, 3, size, size) of stills (B, H, W, 3): moved, recoloured, degraded."""
    count = len(images)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *(shape or (1, 1, 1)), generator=random)

    zoom, roll = uniform(recipe.zoom, 1.0, 1), uniform(-0.07, 0.07, 1)
    mirror = 1 - 2 * (uniform(0, 1, 1) < 0.5).float()  # no label knows left from right
    views = view(images, recipe.size, zoom, uniform(-0.04, 0.04, 2), roll, mirror)
    views = torch.where(uniform(0, 1) < 0.2, views.mean(1, keepdim=True), views)
    views = (views - 0.5) * uniform(0.7, 1.3) + 0.5 + uniform(-0.15, 0.15) + uniform(-0.06, 0.06, 3, 1, 1)
    coarse = F.interpolate(F.avg_pool2d(views, 2), size=views.shape[-2:], mode="bilinear")
    views = torch.where(uniform(0, 1) < 0.2, coarse, views)
    noise = torch.randn(views.shape, generator=random) * uniform(-0.05, 0.05).clamp(min=0)
    return normalise((views + noise).clamp(0, 1))


def view(images: NDArray[np.uint8], size: int, zoom: Tensor, shift: Tensor, roll: Tensor, mirror: Tensor) -> Tensor:
    """Crops (B, 3, size, size) in [0, 1]; zoom, roll (radians) and mirror (B, 1), shift (B, 2) in sides."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255  # channels_last in memory
    cos, sin = zoom * roll.cos(), zoom * roll.sin()
    matrix = torch.cat([cos * mirror, -sin, shift[:, :1] * 2, sin * mirror, cos, shift[:, 1:] * 2], 1)
    grid = F.affine_grid(matrix.view(-1, 2, 3), [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def normalise(views: Tensor) -> Tensor:
    """ImageNet's mean and deviation taken out of (B, 3, H, W)."""
    views = (views - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    return views.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def score(er: nn.Module, au: nn.Module, stills: Stills, size: int, zoom: float = 1.0) -> Scores:
    """Scores of the middle `zoom` of each still."""
    scores, logits = [], []
    for images in np.array_split(stills.images, max(1, len(stills.images) // 100)):
        ones = torch.ones(len(images), 1)
        views = normalise(view(images, size, zoom * ones, torch.zeros(len(images), 2), 0 * ones, ones))
        scores.append(au(views).scores[:, : len(MAIN_AUS)])
        logits.append(er(views).logits)
    return Scores(torch.cat(scores), torch.cat(logits))


def au_statistics(scores: Tensor, labels: Tensor) -> dict[str, Any]:
    """au_mean, au_std and untrained_aus of an ExpertsSpec, from scores (S, A) and labels (all stills, A)."""
    shown = (labels == 1).any(0)
    return {
        "au_mean": tuple(round(value, 5) for value in scores.mean(0).tolist()),
        "au_std": tuple(round(value, 5) for value in scores.std(0).where(shown, 1.0).tolist()),
        "untrained_aus": tuple(au for au, known in zip(MAIN_AUS, shown.tolist(), strict=True) if not known),
    }


def f1(scores: Tensor, labels: Tensor) -> Tensor:
    """F1 (A,) of scores (S, A) at 0.5 over the known labels."""
    said, true, known = scores >= 0.5, labels == 1, labels >= 0
    hits, wrong = (said & true).sum(0), ((said != true) & known).sum(0)
    return 2 * hits / (2 * hits + wrong).clamp(min=1)


def accuracy(scores: Scores, stills: Stills) -> float:
    """Share of stills whose emotion has the largest logit."""
    return (scores.logits.argmax(1) == stills.emotions).float().mean().item()


def ceiling(stills: Stills, unseen: Stills) -> float:
    """Accuracy on unseen stills of the commonest emotion behind exactly their AUs: what true AUs can tell."""
    votes: dict[bytes, Counter[int]] = {}
    for key, emotion in zip(stills.aus.numpy(), stills.emotions.tolist(), strict=True):
        votes.setdefault(key.tobytes(), Counter())[emotion] += 1
    hits = 0
    for key, emotion in zip(unseen.aus.numpy(), unseen.emotions.tolist(), strict=True):
        vote = votes.get(key.tobytes())
        hits += vote is not None and vote.most_common(1)[0][0] == emotion
    return hits / len(unseen.emotions)


def card(experts: Experts, recipe: ExpertsRecipe, unseen: Stills, best: float, minutes: float) -> str:
    """CARD.md: what the experts are, what they were measured on, what they cannot do."""
    spec = experts.config
    whole = score(experts.er, experts.au, unseen, spec.size)
    close = score(experts.er, experts.au, unseen, spec.size, recipe.zoom)
    found, closer = f1(whole.aus, unseen.aus), f1(close.aus, unseen.aus)
    trained = [i for i, au in enumerate(MAIN_AUS) if au not in spec.untrained_aus]
    said = whole.logits.argmax(1)
    rows = [
        f"| {au} {name} | {(unseen.aus[:, i] == 1).float().mean():.3f} | {found[i]:.3f} |"
        for i, (au, name) in enumerate(MAIN_AUS.items())
        if i in trained
    ]
    recalls = [
        f"| {label} | {(said == i)[unseen.emotions == i].float().mean():.3f} |" for i, label in enumerate(spec.labels)
    ]
    size = (Path(recipe.out) / "model.safetensors").stat().st_size / 1e6
    return f"""# Experts trained on drawn faces

Two small nets for the visual prompts, both for face crops of {spec.size} px: an emotion net
(`er.*`, {millions(experts.er):.2f} M parameters) and an AU relation graph net
(`au.*`, ANFL, {millions(experts.au):.2f} M parameters).

**Synthetic.** They have seen {spec.training_data},
and no photograph of a person. Expect nothing of them on real faces.
They serve drawn clips, tests and as a pattern for experts of your own.

- Made by `python scripts/train_experts.py configs/experts_drawn.yaml`, {minutes:.1f} minutes on
  {recipe.threads} CPU thread{"s" * (recipe.threads > 1)}, drawing included. Licence {spec.licence}.
- Input: RGB crop, from head and shoulders down to little but the face, {spec.size} px,
  ImageNet mean and deviation.
- AU labels: 1 from intensity 0.5 on, 0 below 0.25, unknown between.
- Untrained, so that their scores mean nothing: AUs {", ".join(map(str, spec.untrained_aus)) or "none"},
  and all scores for one side of the face.
- `au_mean`, `au_std` in config.json: of the scores on training stills, to compare AUs with one another.
- File: {size:.2f} MB, the emotion net's matrices in float16. One image on one CPU thread:
  emotion {milliseconds(experts.er, spec.size):.1f} ms, AUs {milliseconds(experts.au, spec.size):.1f} ms.

## Measured on {len(unseen.emotions)} drawn (synthetic) faces not seen in training

| | head and shoulders | mostly face (middle {recipe.zoom:.0%}) |
|---|---|---|
| AUs: macro F1 at threshold 0.5 | {found[trained].mean():.3f} | {closer[trained].mean():.3f} |
| {len(spec.labels)} emotions: accuracy | {accuracy(whole, unseen):.3f} | {accuracy(close, unseen):.3f} |

An emotion does not decide a drawn face: naming the commonest emotion behind the true AUs scores {best:.3f}.
The tables below are for head and shoulders.

| AU | share of faces | F1 |
|---|---|---|
{chr(10).join(rows)}

| emotion | recall |
|---|---|
{chr(10).join(recalls)}
"""


if __name__ == "__main__":
    sys.exit(main())
