"""How the finder of faces learns: whole photos, frames of synthetic clips, and faces pasted into scenes."""

import logging
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn

from captioner.faces.detect import even_out
from captioner.faces.nets import Finder, FinderConfig
from captioner.synth.photo.photo_set import PhotoSet
from captioner.train.faces.landmark_training import StageLimits, fit_stage
from captioner.train.faces.mosaic import Mosaic, PictureSet, film_pictures, photo_pictures
from captioner.train.faces.scenes import Paster, Scenes
from captioner.train.faces.turned_heads import faceless_pictures, rendered_heads
from captioner.train.fitting import RunState

log = logging.getLogger(__name__)

STEPS, PICTURES = 200, 24  # of an epoch, of a step
HEADS, FACELESS = 900, 800  # pictures of each that `widen` adds


def train_finder(photos: PhotoSet, clips: Path | None, out: Path, limits: StageLimits) -> RunState:
    """Train the finder; its averaged weights are OUT/finder/best.safetensors."""
    torch.manual_seed(0)
    net = Finder(FinderConfig())
    start = {"weight": net.head.weight, "bias": torch.tensor([-4.0, 0.0, 0.0, 0.0])}  # faces are rare
    net.head.load_state_dict(start)
    pictures = photo_pictures(photos)
    sets = [pictures] if clips is None else [pictures, film_pictures(clips)]
    return _fit_finder(out / "finder", net, sets, [1.0] if clips is None else [0.45, 0.55], limits, seed=2000)


def widen_finder(
    state: dict[str, Tensor], photos: PhotoSet, clips: Path | None, skins: Path, out: Path, limits: StageLimits
) -> RunState:
    """Train a finder on, with heads turned to all sides and pictures without a face: OUT/widen/best.safetensors."""
    torch.manual_seed(0)
    net = Finder(FinderConfig())
    net.load_state_dict(state)
    pictures, heads, faceless = photo_pictures(photos), rendered_heads(str(skins), HEADS), faceless_pictures(FACELESS)
    sets, odds = [pictures, heads, faceless], [0.45, 0.33, 0.22]
    if clips is not None:
        sets, odds = [*sets, film_pictures(clips)], [0.28, 0.28, 0.22, 0.22]
    return _fit_finder(out / "widen", net, sets, odds, limits, seed=3000, lr=4e-4)


def _fit_finder(
    folder: Path, net: Finder, sets: list[PictureSet], odds: list[float], limits: StageLimits, seed: int,
    lr: float = 2e-3,
) -> RunState:  # fmt: skip
    paster, mosaic = Paster(sets[0].levels, sets[0].faces[:, 0]), Mosaic(sets, odds)
    log.info("finder: %s pictures", " and ".join(str(len(each.images)) for each in sets))
    steps = count(1)

    def loss_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> dict[str, Tensor]:
        scenes = (paster if next(steps) % 4 == 0 else mosaic).scenes(PICTURES)
        with torch.autocast("cpu", torch.bfloat16):
            heat = net(even_out(scenes.pictures).contiguous(memory_format=torch.channels_last))
        return finder_loss(heat.float(), scenes)

    return fit_stage(folder, net, limits, STEPS, loss_of, lr=lr, batch=PICTURES, seed=seed)


def finder_loss(outputs: Tensor, scenes: Scenes) -> dict[str, Tensor]:
    """Focal loss on the heat, distance on offsets and log size near the centres; outputs (N, 4, G, G)."""
    odds = torch.sigmoid(outputs[:, 0]).clamp(1e-5, 1 - 1e-5)
    centre = (scenes.heat == 1).float() * scenes.care
    hit = -torch.log(odds) * (1 - odds) ** 2 * centre
    miss = -torch.log(1 - odds) * odds**2 * (1 - scenes.heat) ** 4 * (1 - centre) * scenes.care
    faces = centre.sum().clamp_min(1)
    off = nn.functional.smooth_l1_loss(outputs[:, 1:], scenes.where, reduction="none", beta=0.2).sum(1)
    return {"heat": (hit + miss).sum() / faces, "where": (off * scenes.near).sum() / scenes.near.sum().clamp_min(1)}
