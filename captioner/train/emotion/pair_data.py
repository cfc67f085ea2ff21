"""What a CLIP pair learns from: pictures of captioned clips, and photos of faces that people voted on.

Axes: B clips or photos, F frames of each, S pixels, C channels of a face tower's trunks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from captioner.data.manifest import Record
from captioner.emotion.clip.vision import FaceTower
from captioner.emotion.face_frames import TrunkFeatures
from captioner.emotion.wording import PromptConfig, aggregated, readable
from captioner.errors import VideoError
from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.train.emotion.photos import TRAIN, photo_trunks
from captioner.train.emotion.run_config import PairConfig
from captioner.train.experts.portraits import read_ferplus
from captioner.video.reading import read_clip
from captioner.video.transforms import crop, resize_short

SPARE = 1.15  # short edge of the kept frames over the crop


@dataclass
class PairBatch:
    """Frames uint8 (B, F, 3, S, S) or outputs of trunks (B, F, C), a text of each, its emotion ("": none)."""

    seen: Tensor
    texts: list[str]
    emotions: list[str]


def prompt_texts(labels: Sequence[str], emotion: str, prompt: PromptConfig) -> list[str]:
    """What can be said of an emotion alone: the category-aggregated prompt, and its name in the template."""
    return [aggregated(labels, list(labels).index(emotion), prompt), prompt.template.format(readable(emotion))]


def clip_captions(record: Record, styles: Sequence[str]) -> list[str]:
    """Captions of a clip, and those of other styles that its `extra` holds."""
    return [*record.captions, *(text for style in styles for text in record.extra.get(style, []))]


def chosen_persons(records: Sequence[Record], part: float) -> list[Record]:
    """The clips of about `part` of the persons, always the same ones; a clip without a group is its own person."""

    def share(record: Record) -> float:
        return int(hashlib.sha256((record.group or record.id).encode()).hexdigest()[:8], 16) / 16**8

    return [record for record in records if share(record) < part]


class ClipPairs:
    """Frames, or the trunks' outputs of faces, and texts of the clips of one split; kept in memory once read."""

    def __init__(self, records: Sequence[Record], labels: Sequence[str], config: PairConfig, tower: nn.Module) -> None:
        self.config, self.labels = config, list(labels)
        self.records = [record for record in records if clip_captions(record, config.manners) or record.emotion]
        self.seen: dict[int, Tensor] = {}
        self.trunks: TrunkFeatures | None = None
        if isinstance(tower, FaceTower):
            self.trunks = TrunkFeatures(cache_of(config), config.clip.image_size, config.kept, tower)

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, places: Sequence[int], generator: torch.Generator | None) -> PairBatch:
        """Some clips; with a generator as training sees them, else plainly with their first texts."""
        seen = torch.stack([self.look(place, generator) for place in places])
        emotions = [str(self.records[place].emotion or "") for place in places]
        texts = [self.text(place, generator) for place in places]
        return PairBatch(seen, texts, [name if name in self.labels else "" for name in emotions])

    def look(self, place: int, generator: torch.Generator | None) -> Tensor:
        """uint8 (F, 3, S, S): one crop of all frames, random or the centre; of faces outputs (F, C) of some crops."""
        count = self.config.frames
        if place not in self.seen:
            record = self.records[place]
            try:
                self.seen[place] = self._read(record)
            except VideoError as error:
                raise VideoError(f"clip {record.id!r}: {error}") from None
        kept = self.seen[place]
        if self.trunks is None:
            return crop(kept, self.config.clip.image_size, train=generator is not None, generator=generator)
        if generator is None:
            return kept[torch.linspace(0, len(kept) - 1, count).round().long()]
        return kept[torch.randperm(len(kept), generator=generator)[:count].sort().values]

    def _read(self, record: Record) -> Tensor:
        if self.trunks is not None:
            return self.trunks.load(record.video)
        side = math.ceil(SPARE * self.config.clip.image_size)
        return resize_short(read_clip(record.video, self.config.frames, short_side=side).frames, side)

    def text(self, place: int, generator: torch.Generator | None) -> str:
        """A caption, the first one without a generator; or for a share of the clips what says their emotion alone."""
        record = self.records[place]
        captions = clip_captions(record, self.config.manners)
        dice, which = (1.0, 0.0) if generator is None else torch.rand(2, generator=generator).tolist()
        if captions and (record.emotion not in self.labels or dice >= self.config.share_prompts):
            return captions[int(which * len(captions))]
        options = prompt_texts(self.labels, str(record.emotion), self.config.prompt)
        return options[int(which * len(options))]


class PhotoPairs:
    """The training part of FER+: aligned faces whose text says an emotion drawn from their votes."""

    def __init__(self, labels: Sequence[str], config: PairConfig, tower: FaceTower) -> None:
        pictures, _ = read_ferplus(config.photos, TRAIN)
        self.labels, self.config = list(labels), config
        self.names = [name if name in self.labels else "" for name in FERPLUS_LABELS]
        self.shares = pictures.shares * torch.tensor([float(bool(name)) for name in self.names])
        self.rows = torch.nonzero(self.shares.sum(1) > 0)[:, 0]
        rarity = self.shares[self.rows].mean(0).clamp(min=1e-4) ** -config.photo_balance
        self.weights = (self.shares[self.rows] * rarity).sum(1)
        self.trunks = photo_trunks(config.photos, TRAIN, config.clip.image_size, tower, cache_of(config))

    def batch(self, count: int, generator: torch.Generator) -> PairBatch:
        """Photos drawn at random, rare emotions more often."""
        rows = self.rows[torch.multinomial(self.weights, count, replacement=True, generator=generator)]
        votes = torch.multinomial(self.shares[rows], 1, generator=generator)[:, 0].tolist()
        emotions = [self.names[vote] for vote in votes]
        dice = torch.randint(2, (count,), generator=generator).tolist()
        texts = [prompt_texts(self.labels, name, self.config.prompt)[i] for name, i in zip(emotions, dice, strict=True)]
        return PairBatch(self.trunks[rows][:, None], texts, emotions)


def cache_of(config: PairConfig) -> Path:
    """Where face crops and what the trunks say of them are kept."""
    return Path(config.cache or Path(config.out) / "features")
