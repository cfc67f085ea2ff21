"""Clips for training and scoring: the dataset and the order of an epoch.

Everything random about an item (crop, caption, hidden words) follows from (seed, epoch, item), so the
order of workers and a resumed run change nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch.utils.data import Dataset, Sampler

from captioner.config import DataConfig, ModelConfig, TrainConfig
from captioner.data.clip_window import clip_window
from captioner.data.feature_store import FeatureStore
from captioner.data.inputs import read_inputs
from captioner.data.manifest import Record
from captioner.data.measured import Judges, NumbersReader
from captioner.errors import VideoError
from captioner.lexicon.phrases import find_phrases
from captioner.model.batch import NO_LABEL, CaptionTargets, ClipInputs, ClipItem
from captioner.model.tokenizer import TextPieces, Tokenizer
from captioner.video.transforms import crop
from prompts.textual import hide_words

STAND_INS = 50  # clips tried in place of an unreadable one


def mask_words(
    ids: list[int], tokenizer: Tokenizer, share: float, generator: torch.Generator
) -> tuple[list[int], list[int]]:
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


def without_face(caption: str) -> str:
    """A caption without its sentences on the face, as long as any is left."""
    sentences = re.split(r"(?<=[.!?])\s+", caption)
    return " ".join(each for each in sentences if not find_phrases(each)) or caption


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


class ClipDataset(Dataset[ClipItem]):
    """Items of a manifest for the model; in training with random crops, captions and hidden words."""

    def __init__(
        self,
        records: Sequence[Record],
        config: ModelConfig,
        tokenizer: Tokenizer,
        pieces: TextPieces | None = None,
        *,
        data: DataConfig | None = None,
        train: TrainConfig | None = None,
        store: FeatureStore | None = None,
        bad: Mapping[str, str] | None = None,
    ) -> None:
        """train: how much is learned of a clip, and the seed; without it clips are for scoring, whole and uncaptioned.

        bad: {id: fault} so far; unreadable clips give way to others, where it is None they raise.
        """
        self.records = [record for record in records if record.captions] if train else list(records)
        self.config, self.tokenizer, self.pieces = config, tokenizer, pieces
        self.data, self.train, self.store = data or DataConfig(), train, store
        self.bad = None if bad is None else dict(bad)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, place: Place) -> ClipItem:
        seed = self.train.seed if self.train else 0
        mixed = (seed * 1_000_003 + place.epoch) * 1_000_003 + place.index
        generator = torch.Generator().manual_seed(mixed % (1 << 63))
        asked = self.records[place.index]
        record, inputs = self.readable(place, mixed)
        frames = inputs.frames
        if inputs.video is None:
            moving = self.train is not None and self.data.crop == "random"
            frames = crop(frames, self.config.video.size, train=moving, generator=generator)
        if self.train and self.data.flip and torch.rand((), generator=generator) < 0.5:
            frames = frames.flip(-1)
        emotion = NO_LABEL
        if record.emotion in self.config.labels:
            emotion = self.config.labels.index(record.emotion)
        item = ClipItem(replace(inputs, frames=frames), asked.id, emotion)
        if record is not asked:
            item.bad = {asked.id: (self.bad or {})[asked.id]}
        if self.train:
            faceless = self.data.hide_faces > 0 and self.face_is_hidden(item.inputs, generator)
            item.captions = self.caption_targets(record, self.train.captions, generator, faceless)
        return item

    def face_is_hidden(self, inputs: ClipInputs, generator: torch.Generator) -> bool:
        """Whether a clip shows no face, be it that it is hidden here."""
        experts, faces = inputs.experts, inputs.faces
        shown = experts.present if experts is not None else faces.shown if faces is not None else None
        if float(torch.rand((), generator=generator)) < self.data.hide_faces:
            inputs.experts = None if experts is None else replace(experts, present=torch.zeros_like(experts.present))
            inputs.faces = None if faces is None else faces.hidden()
            return shown is not None
        return shown is not None and not bool(shown.any())

    def readable(self, place: Place, mixed: int) -> tuple[Record, ClipInputs]:
        """The record at a place and what is seen of it; for an unreadable one another, which follows from `mixed`."""
        record = self.records[place.index]
        draw = torch.Generator().manual_seed((mixed + 1) * 7919 % (1 << 63))
        for _ in range(STAND_INS):
            if not self.bad or record.id not in self.bad:
                try:
                    return record, self.see(record, place.epoch, mixed)
                except (VideoError, OSError) as error:
                    fault = " ".join(str(error).split())
                    if self.bad is None:
                        raise VideoError(f"clip {record.id!r}: {fault}") from None
                    self.bad[record.id] = fault
            record = self.records[int(torch.randint(len(self.records), (), generator=draw))]
        raise VideoError(f"none of {STAND_INS} clips drawn in place of {self.records[place.index].id!r} can be read")

    def see(self, record: Record, epoch: int = 0, seed: int = 0) -> ClipInputs:
        """What is seen of a record's video, in training of the part that is its turn; a VideoError where unreadable."""
        window = None
        if self.train is not None and self.data.clip_sampler:
            window = clip_window(self.data, str(record.video), epoch, seed)
        if self.store:
            return self.store.load(record.video, window) if window else self.store.load(record.video)
        side = self.data.short_side or self.config.video.size
        start, end = window or (0.0, None)
        inputs = read_inputs(record.video, self.config, short_side=side, start=start, end=end).inputs[0]
        if self.config.prompts.measured:
            reader, judges = self.measurer
            inputs.measured = judges.of_first(reader.read(record.video))
        return inputs

    @cached_property
    def measurer(self) -> tuple[NumbersReader, Judges]:
        """Who measures the people of clips that no store knows, and who judges that."""
        reader = NumbersReader(self.config.experts)
        return reader, Judges(reader.values)

    def styled_captions(self, record: Record) -> dict[int, Sequence[str]]:
        """Captions by the place of their style in the model's list; a style nobody wrote in is left out."""
        styles = self.config.styles
        if len(styles) < 2:
            return {0: record.captions}
        own = record.extra.get("manner", styles[0])
        texts = [record.captions if style == own else record.extra.get(style, []) for style in styles]
        return {place: list(found) for place, found in enumerate(texts) if found} or {0: record.captions}

    def caption_targets(
        self, record: Record, count: int, generator: torch.Generator, faceless: bool = False
    ) -> CaptionTargets:
        """So many captions of the record as the losses need them; the first one is also the text encoder's."""
        prompts, longest = self.config.prompts, self.config.fusion.max_text
        styled = self.styled_captions(record)
        if faceless:
            styled = {style: [without_face(text) for text in texts] for style, texts in styled.items()}
        orders = {style: torch.randperm(len(texts), generator=generator).tolist() for style, texts in styled.items()}
        turns = [(style, i) for i in range(count) for style in styled][:count]
        chosen = [styled[style][orders[style][i % len(orders[style])]] for style, i in turns]
        ids = [self.tokenizer.encode(c, longest, style) for c, (style, _) in zip(chosen, turns, strict=True)]
        hidden = [mask_words(row, self.tokenizer, prompts.mask_words, generator) for row in ids]
        captions = CaptionTargets([shown for shown, _ in hidden], [asked for _, asked in hidden])
        if self.pieces is not None:
            captions.text_ids, words = self.pieces(chosen[0])
            content = self.pieces.matchable(captions.text_ids, words)
            words = content if any(content) else words
            if self.pieces.foreign is None:  # the same words stay hidden from matching as from the fusion
                matchable = [w and t == NO_LABEL for w, t in zip(words, hidden[0][1], strict=True)]
                words = matchable if any(matchable) else words
            else:
                words = hide_words(torch.tensor([words]), prompts.mask_words, generator)[0].tolist()
            captions.text_words = words
        return captions
