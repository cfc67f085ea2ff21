"""Clips for training and scoring: what is cached of each, the dataset, and batches.

Everything random about an item (crop, caption, hidden words) follows from (seed, epoch, item), so the
order of workers and a resumed run change nothing.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import tokenizers
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm import tqdm

from captioner.config import ModelConfig
from captioner.data.crops import READ_SIDE, expert_crops
from captioner.data.kept import Kept, weights_hash
from captioner.data.manifest import Record
from captioner.data.tokenizer import Tokenizer
from captioner.data.transforms import crop, resize_short
from captioner.data.video import read_clip
from captioner.errors import CheckpointError, VideoError
from captioner.model.captioner import NO_LABEL, Batch
from prompts.textual import hide_words
from prompts.visual import ExpertFeatures, FrozenExperts

log = logging.getLogger(__name__)

FORMAT = 1  # of the cache's files; a new one leaves old files unread


FUNCTION_WORDS = frozenset(
    """a an the and or but of to in on at by for from with as is are was were be
    his her their its he she they it him them that this while then who""".split()  # noqa: SIM905
)


@dataclass
class Seen:
    """What is kept of a clip: frames (T, 3, H, W) uint8, and expert features (batch of one) or face crops."""

    frames: Tensor
    experts: ExpertFeatures | None = None
    crops: Tensor | None = None  # (1, T_e, 3, s, s) uint8
    shown: Tensor | None = None  # (1, T_e) which of them hold a face
    people: int = 0  # faces that were followed; not cached
    times: list[float] = field(default_factory=list)  # seconds of the frames; not cached
    prior: Tensor | None = None  # (1, C) belief of the emotion prior

    def item(self, name: str = "", emotion: int = NO_LABEL) -> dict[str, Any]:
        """What `collate` takes of a clip."""
        return {"id": name, "emotion": emotion} | {
            key: getattr(self, key) for key in ("frames", "experts", "crops", "shown", "prior")
        }


def look(source: Any, config: ModelConfig, short_side: int = 0, **span: Any) -> Seen:
    """Decode the sampled frames of a video and cut the experts' crops from them."""
    wanted = short_side or config.video.size
    side = max(wanted, config.experts.size if config.experts.margin is None else READ_SIDE)
    clip = read_clip(source, config.video.frames, short_side=side if config.prompts.vep else wanted, **span)
    crops, shown, people = expert_crops(clip, config.experts) if config.prompts.vep else (None, None, 0)
    return Seen(
        resize_short(clip.frames, wanted),
        crops=crops,
        shown=shown,
        people=people,
        times=[round(float(t), 3) for t in clip.times],
        prior=prior_belief(source, config, **span),
    )


def prior_belief(source: Any, config: ModelConfig, **span: Any) -> Tensor | None:
    """What the configured emotion prior believes of a video, (1, C); None without one."""
    if not config.emotion_prior:
        return None
    from captioner.emotion.prior import prior_probs  # brings transformers, which other captioners do without

    return prior_probs(config, source, **span)


class FeatureCache(Kept[Seen]):
    """Decoded frames and expert features on disk, one file a clip; they change with the experts' weights."""

    def __init__(self, folder: str | Path, config: ModelConfig, experts: FrozenExperts | None, short_side: int) -> None:
        self.config, self.experts, self.short_side = config, experts, short_side
        settings: dict[str, Any] = {
            "format": FORMAT,
            "frames": config.video.frames,
            "side": short_side or config.video.size,
            "experts": asdict(config.experts) if experts is not None else None,
            "weights": weights_hash(experts) if experts is not None else "",
        }
        if config.emotion_prior:
            from captioner.emotion.prior import open_prior

            prior = open_prior(config)
            settings["prior"] = [prior.digest if prior else "", config.labels]
        super().__init__(folder, settings)

    def compute(self, video: Path) -> Seen:
        """Frames and expert features; the crops themselves are not kept."""
        seen = look(video, self.config, self.short_side)
        if self.experts is not None and seen.crops is not None:
            device, shown = next(self.experts.parameters()).device, seen.shown
            features = self.experts(seen.crops.to(device), shown.to(device) if shown is not None else None)
            seen = Seen(seen.frames, features.to("cpu"), prior=seen.prior)
        return seen

    def pack(self, result: Seen) -> dict[str, Tensor]:
        """Tensors of a cached clip by name."""
        features = vars(result.experts) if result.experts else {}
        experts = {f"experts.{k}": v.contiguous() for k, v in features.items()}
        prior = {"prior": result.prior.contiguous()} if result.prior is not None else {}
        return {"frames": result.frames.contiguous(), **experts, **prior}

    def unpack(self, tensors: dict[str, Tensor]) -> Seen:
        """The inverse of `pack`."""
        parts = {k.removeprefix("experts."): v for k, v in tensors.items() if k.startswith("experts.")}
        return Seen(tensors["frames"], ExpertFeatures(**parts) if parts else None, prior=tensors.get("prior"))

    def fill(self, records: Sequence[Record], progress: bool = True) -> None:
        """Compute what is missing, so that an epoch costs the trainable part only."""
        for record in tqdm(records, desc="features", unit="clip", disable=None if progress else True):
            if not self.path(record.video).exists():
                try:
                    self.load(record.video)
                except VideoError as error:
                    raise VideoError(f"clip {record.id!r}: {error}") from None


class TextPieces:
    """Captions as ids of the text encoder: the captioner's own vocabulary, or the encoder's."""

    def __init__(self, tokenizer: Tokenizer, foreign: tokenizers.Tokenizer | None, longest: int) -> None:
        self.tokenizer, self.foreign, self.longest = tokenizer, foreign, longest

    def __call__(self, caption: str) -> tuple[list[int], list[bool]]:
        """ids, and which of them are words rather than specials."""
        if self.foreign is None:
            ids = self.tokenizer.encode(caption, self.longest)
            special = (self.tokenizer.cls_id, self.tokenizer.sep_id)
            return ids, [i not in special for i in ids]
        piece = self.foreign.encode(caption)
        words = [not special for special in piece.special_tokens_mask]
        return piece.ids[: self.longest], words[: self.longest]

    def matchable(self, ids: list[int], words: list[bool]) -> list[bool]:
        """Places that an action unit may match: content words; a comma or an article shows on no face."""
        pieces = [self.piece(i).strip().lower() for i in ids]
        return [
            word and text not in FUNCTION_WORDS and any(c.isalnum() for c in text)
            for word, text in zip(words, pieces, strict=True)
        ]

    def piece(self, token: int) -> str:
        """The text of one id."""
        return self.foreign.decode([token]) if self.foreign is not None else self.tokenizer.piece(token)

    def word_at(self, ids: list[int], place: int) -> str:
        """The word that a place belongs to."""
        if self.foreign is not None:
            return self.piece(ids[place]).strip()
        return next((word for word, places in self.tokenizer.words(ids) if place in places), "")


def open_foreign(name: str) -> tokenizers.Tokenizer:
    """The tokenizer of a text encoder that does not share the captioner's vocabulary."""
    try:
        file = Path(name) / "tokenizer.json" if Path(name).is_dir() else Path(name)
        return (
            tokenizers.Tokenizer.from_file(str(file)) if file.exists() else tokenizers.Tokenizer.from_pretrained(name)
        )
    except Exception as error:  # the library raises bare Exception
        cause = str(error).splitlines()[0]
        raise CheckpointError(f"cannot load the tokenizer of the text encoder {name!r}: {cause}") from None


def hide(ids: list[int], tokenizer: Tokenizer, share: float, generator: torch.Generator) -> tuple[list[int], list[int]]:
    """Masked words: ids with a share replaced, and what stood there (NO_LABEL where nothing is asked).

    [SEP] may be hidden, which teaches where sentences end; [CLS] may not. 80 % become [MASK], 10 % another
    piece, 10 % stay.
    """
    places = torch.randperm(len(ids) - 1, generator=generator) + 1
    count = max(1, round(share * len(ids)))
    shown, targets = list(ids), [NO_LABEL] * len(ids)
    for place in places[:count].tolist():
        targets[place] = ids[place]
        dice = float(torch.rand((), generator=generator))
        if dice < 0.8:
            shown[place] = tokenizer.mask_id
        elif dice < 0.9:
            shown[place] = int(torch.randint(5, tokenizer.vocab_size, (), generator=generator))
    return shown, targets


@dataclass(frozen=True)
class Place:
    """Which item of which epoch; what a sampler yields."""

    epoch: int
    index: int


class EpochOrder(Sampler[list[Place]]):
    """Batches of one epoch in an order that follows from (seed, epoch), from batch `start` on."""

    def __init__(self, items: int, batch: int, seed: int, epoch: int, start: int = 0, shuffle: bool = True) -> None:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(items, generator=generator).tolist() if shuffle else list(range(items))
        self.batches = [[Place(epoch, i) for i in order[at : at + batch]] for at in range(0, items, batch)][start:]

    def __iter__(self) -> Iterator[list[Place]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class ClipDataset(Dataset[dict[str, Any]]):
    """Items of a manifest for the model; in training with random crops, captions and hidden words."""

    def __init__(
        self,
        records: Sequence[Record],
        config: ModelConfig,
        tokenizer: Tokenizer,
        pieces: TextPieces | None = None,
        *,
        cache: FeatureCache | None = None,
        train: bool = False,
        short_side: int = 0,
        flip: bool = False,
        captions: int = 1,
        seed: int = 0,
    ) -> None:
        self.records = [r for r in records if r.captions] if train else list(records)
        self.config, self.tokenizer, self.pieces = config, tokenizer, pieces
        self.cache, self.train, self.short_side = cache, train, short_side
        self.flip, self.captions, self.seed = flip, captions, seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, place: Place) -> dict[str, Any]:
        record = self.records[place.index]
        mixed = (self.seed * 1_000_003 + place.epoch) * 1_000_003 + place.index
        generator = torch.Generator().manual_seed(mixed % (1 << 63))
        seen = self.cache.load(record.video) if self.cache else look(record.video, self.config, self.short_side)
        frames = crop(seen.frames, self.config.video.size, train=self.train, generator=generator)
        if self.train and self.flip and torch.rand((), generator=generator) < 0.5:
            frames = frames.flip(-1)
        emotion = NO_LABEL
        if record.emotion in self.config.labels:
            emotion = self.config.labels.index(record.emotion)
        item = replace(seen, frames=frames).item(record.id, emotion)
        if self.train:
            item |= self.caption_parts(record, generator)
        return item

    def styled_captions(self, record: Record) -> dict[int, Sequence[str]]:
        """Captions by the place of their style in the model's list; a style nobody wrote in is left out."""
        styles = self.config.styles
        if len(styles) < 2:
            return {0: record.captions}
        own = record.extra.get("manner", styles[0])
        texts = [record.captions if style == own else record.extra.get(style, []) for style in styles]
        return {place: list(found) for place, found in enumerate(texts) if found} or {0: record.captions}

    def caption_parts(self, record: Record, generator: torch.Generator) -> dict[str, Any]:
        """Captions of the record as the losses need them; the first one is also the text encoder's."""
        prompts, longest = self.config.prompts, self.config.fusion.max_text
        styled = self.styled_captions(record)
        orders = {style: torch.randperm(len(texts), generator=generator).tolist() for style, texts in styled.items()}
        turns = [(style, i) for i in range(self.captions) for style in styled][: self.captions]
        chosen = [styled[style][orders[style][i % len(orders[style])]] for style, i in turns]
        ids = [self.tokenizer.encode(c, longest, style) for c, (style, _) in zip(chosen, turns, strict=True)]
        hidden = [hide(row, self.tokenizer, prompts.mask_words, generator) for row in ids]
        parts: dict[str, Any] = {
            "masked": [shown for shown, _ in hidden],
            "targets": [asked for _, asked in hidden],
        }
        if self.pieces is not None:
            text, words = self.pieces(chosen[0])
            content = self.pieces.matchable(text, words)
            words = content if any(content) else words
            if self.pieces.foreign is None:  # the same words stay hidden from matching as from the fusion
                matchable = [w and t == NO_LABEL for w, t in zip(words, hidden[0][1], strict=True)]
                words = matchable if any(matchable) else words
            else:
                words = hide_words(torch.tensor([words]), prompts.mask_words, generator)[0].tolist()
            parts |= {"text_ids": [text], "text_words": [words], "text_mask": [[1] * len(text)]}
        return parts


def collate(items: Sequence[dict[str, Any]], pad_id: int = 0) -> Batch:
    """Items padded into a Batch."""

    def padded(key: str, filler: int, dtype: torch.dtype = torch.long) -> Tensor | None:
        if key not in items[0]:
            return None
        rows = [list(row) for item in items for row in item[key]]
        longest = max(len(row) for row in rows)
        return torch.tensor([row + [filler] * (longest - len(row)) for row in rows], dtype=dtype)

    experts = None
    if items[0]["experts"] is not None:
        names = vars(items[0]["experts"])
        experts = ExpertFeatures(**{n: torch.cat([getattr(i["experts"], n) for i in items]) for n in names})
    crops = torch.cat([i["crops"] for i in items]) if items[0]["crops"] is not None else None
    shown = torch.cat([i["shown"] for i in items]) if items[0].get("shown") is not None else None
    priors = [item["prior"] for item in items if item.get("prior") is not None]
    return Batch(
        frames=torch.stack([i["frames"] for i in items]),
        experts=experts,
        crops=crops,
        shown=shown,
        prior=torch.cat(priors) if priors else None,
        masked=padded("masked", pad_id),
        targets=padded("targets", NO_LABEL),
        text_ids=padded("text_ids", pad_id),
        text_mask=padded("text_mask", 0, torch.bool),
        text_words=padded("text_words", 0, torch.bool),
        emotion=torch.tensor([i["emotion"] for i in items]),
        ids=[i["id"] for i in items],
    )
