"""Photos with votes (FER+) beside the clips that a recogniser learns from: each is a clip at rest.

People chose among eight emotions, so a photo says nothing of the recogniser's other categories.

Axes: N photos, B a batch, C channels of the trunks, E width of frame features, K categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from captioner.emotion.clip.vision import FaceTower
from captioner.emotion.pe_clip.pe_clip import PEClip
from captioner.errors import ConfigError
from captioner.files import atomic
from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.store import weights_hash
from captioner.train.emotion.scores import belief_scores, calibration_error
from captioner.train.experts.portraits import cut_pictures, majority, read_ferplus

TRAIN, VALIDATION = 0, 1  # parts of FER+


class Photos:
    """A part of FER+: frame features (N, E), votes as shares of the categories (N, K), the majority's (N,) or -1."""

    def __init__(self, folder: str | Path, part: int, labels: Sequence[str], model: PEClip, cache: str | Path) -> None:
        pictures, votes = read_ferplus(folder, part)
        places = [list(labels).index(name) if name in labels else -1 for name in FERPLUS_LABELS]
        self.known = torch.zeros(len(labels), dtype=torch.bool)
        self.known[[place for place in places if place >= 0]] = True
        if self.known.sum() < 2:
            raise ConfigError(f"photos show {', '.join(FERPLUS_LABELS)}: at least two of them must be among the labels")
        shares = torch.zeros(len(pictures), len(labels))
        for column, place in enumerate(places):
            if place >= 0:
                shares[:, place] = pictures.shares[:, column]
        self.shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-6)
        self.majority = torch.tensor([*places, -1])[majority(votes)]
        self.useful = torch.nonzero(shares.sum(1) > 0)[:, 0]
        tower, size = model.vision.net, model.config.clip.image_size
        if not isinstance(tower, FaceTower):
            raise ConfigError(f"photos are for a face tower, but emotion.clip.tower is {model.config.clip.tower}")
        device = next(tower.parameters()).device
        self.features = model.vision.project(photo_trunks(folder, part, size, tower, cache).to(device)).cpu()

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Features (B, E) and shares (B, K) of photos drawn at random."""
        rows = self.useful[torch.randint(len(self.useful), (count,), generator=generator)]
        return self.features[rows], self.shares[rows]


def photo_trunks(
    folder: str | Path, part: int, size: int, tower: FaceTower, cache: str | Path, batch: int = 256
) -> Tensor:
    """What the tower's trunks say of the aligned photos of a part, (N, C); kept in `cache`."""
    path = Path(cache) / f"photos-{part}-{size}-{weights_hash(tower.vision_model)}.safetensors"
    if path.is_file():
        return load_file(path)["trunks"]
    pictures, _ = read_ferplus(folder, part)
    device, made = next(tower.parameters()).device, []
    for some, where in zip(pictures.pixels.split(batch), pictures.frames.split(batch), strict=True):
        crops = (cut_pictures(some, where, size) * 255).round().byte().expand(-1, 3, -1, -1)
        made.append(tower.trunks(crops.to(device)).cpu())
    with atomic(path) as temporary:
        save_file({"trunks": torch.cat(made)}, temporary)
    return torch.cat(made)


def photo_loss(model: PEClip, features: Tensor, shares: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy of the neutral prototype's belief with the votes, among the categories that photos can show."""
    logits = still_logits(model, features).masked_fill(~known, float("-inf"))
    return -(shares * logits.log_softmax(-1).masked_fill(~known, 0.0)).sum(1).mean()


def still_logits(model: PEClip, features: Tensor) -> Tensor:
    """Logits (B, K) of photos with features (B, E), shown in every segment."""
    video = features[:, None].expand(-1, model.config.segments, -1)
    rows = torch.zeros(len(features), 1, dtype=torch.long, device=features.device)
    return model.compare(model.evolve(video, rows)[:, 0])


@torch.no_grad()
def photo_scores(model: PEClip, photos: Photos, batch: int = 256) -> dict[str, object]:
    """How a recogniser does on photos with a majority: accuracy with all categories open and among the shown ones."""
    device = next(model.parameters()).device
    rows = torch.nonzero(photos.majority >= 0)[:, 0]
    parts = [still_logits(model, photos.features[some].to(device)).cpu() for some in rows.split(batch)]
    logits, truth = torch.cat(parts), photos.majority[rows]
    probs, said = logits.softmax(-1), logits.argmax(1)
    among = logits.masked_fill(~photos.known, float("-inf")).argmax(1)
    counts = torch.bincount(truth, minlength=logits.shape[1])
    hits = torch.bincount(truth[said == truth], minlength=logits.shape[1])
    labels = model.config.labels
    return {
        "photos": len(rows),
        "accuracy": float((said == truth).double().mean()),
        "accuracy among the shown": float((among == truth).double().mean()),
        "calibration error": calibration_error(probs, truth),
        **{name: value for name, value in belief_scores(probs, truth).items() if name not in ("top1", "ECE")},
        "recall": {labels[k]: [int(hits[k]), int(counts[k])] for k in range(len(labels)) if counts[k]},
    }
