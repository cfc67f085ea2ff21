"""Clips and what is said in them, for EmotionCLIP's contrast: frames and persons kept on disk, sentences, sentiments.

Axes: K kept frames, T frames of a clip, h w their pixels, S pixels of a crop, M sentiments.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.config import ExpertsConfig
from captioner.data.manifest import Record
from captioner.emotion.boxes import read_boxes, unboxed
from captioner.emotion.face_frames import TrunkFeatures
from captioner.emotion.persons import body_boxes, detected_boxes
from captioner.errors import ConfigError, VideoError
from captioner.faces.crops import READ_SIDE, face_tracks, reader_version
from captioner.lexicon.sentiments import SENTIMENT_LABELS, sentiment_logits
from captioner.sound.subtitles import read_words
from captioner.store import Kept
from captioner.train.emotion.words_config import SentimentConfig, WordsRun
from captioner.video.reading import probe, read_clip
from captioner.video.transforms import resize_short

log = logging.getLogger(__name__)

FORMAT = 1
SPARE = 256 / 224  # short edge of the kept frames over the crop, as released


@dataclass
class SpokenFrames:
    """Frames uint8 (K, 3, h, w) and boxes of persons (N, 5): the frame's place, left, top, right, bottom."""

    frames: Tensor
    boxes: Tensor


class SpokenStore(Kept[SpokenFrames]):
    """Evenly spread frames of videos and the persons in them, one entry a video."""

    name = "spoken"

    def __init__(self, run: WordsRun) -> None:
        self.run = run
        self.side = math.ceil(SPARE * run.emotion.clip.image_size)
        subject = run.emotion.subject
        masked = subject.rule != "none" and not run.boxes
        self.followed, self.detected = masked and subject.persons == "faces", masked and subject.persons == "detector"
        settings: dict[str, Any] = {"format": FORMAT, "kept": run.kept, "side": self.side, "boxes": run.boxes}
        settings |= {"boxes_as": run.boxes_as} if run.boxes else {}
        settings |= {"reader": reader_version(ExpertsConfig())} if self.followed else {}
        settings |= {"detector": True} if self.detected else {}
        super().__init__(run.cache or Path(run.out) / "features", settings)

    def compute(self, video: Path) -> SpokenFrames:
        """Decoded, and faces followed where no boxes are given."""
        clip = read_clip(video, self.run.kept, short_side=READ_SIDE if self.followed else self.side)
        boxes = []
        for track in face_tracks(clip, ExpertsConfig()) if self.followed else ():
            grown = body_boxes(track.boxes)
            boxes += [[place, *grown[place]] for place in np.flatnonzero(track.present)]
        if self.detected:
            boxes = [[place, *box] for place, frame in enumerate(clip.frames) for box in detected_boxes(frame).tolist()]
        if self.run.boxes:
            boxes = self._given(video, clip.times, clip.frames.shape[1:3])
        frames = resize_short(clip.frames, self.side)
        scale = frames.shape[-1] / clip.frames.shape[2]
        rows = torch.tensor(np.array(boxes, float).reshape(-1, 5), dtype=torch.float32)
        rows[:, 1:] *= scale
        return SpokenFrames(frames.contiguous(), rows)

    def _given(self, video: Path, times: np.ndarray, size: tuple[int, ...]) -> list[list[float]]:
        """The boxes of a file, in pixels of the decoded frames; a frame is called by its number, from 1."""
        named = read_boxes(Path(self.run.boxes) / video.name / "human_boxes.json")
        numbered = {int("".join(c for c in Path(name).stem if c.isdigit()) or 0): rows for name, rows in named.items()}
        fps = probe(video).fps
        height, width = size
        found = []
        for place, second in enumerate(times.tolist()):
            rows = numbered.get(round(second * fps) + 1, [])
            found += [[place, *box] for box in unboxed(rows, width, height, self.run.boxes_as == "released").tolist()]
        return found

    def pack(self, result: SpokenFrames) -> dict[str, Tensor]:
        """Both tensors by name."""
        return {"frames": result.frames.contiguous(), "boxes": result.boxes.contiguous()}

    def unpack(self, tensors: dict[str, Tensor]) -> SpokenFrames:
        """The inverse of `pack`."""
        return SpokenFrames(tensors["frames"], tensors["boxes"])


class SpokenClips:
    """The clips of a side with their sentences and sentiments; what has no sentence, or not the length, is left out."""

    def __init__(self, records: Sequence[Record], run: WordsRun, store: SpokenStore | TrunkFeatures) -> None:
        self.run, self.store = run, store
        told = [(record, spoken_words(record, run)) for record in records]
        fitting = [(record, words) for record, words in told if len(words) >= run.letters and self._fits(record)]
        logits = score_sentiments([words for _, words in fitting], run.sentiment)
        plain = logits.softmax(1)[:, SENTIMENT_LABELS.index("neutral")] if len(fitting) else torch.zeros(0)
        kept = torch.nonzero(plain <= run.sentiment.most_neutral)[:, 0].tolist()
        self.records, self.words = ([fitting[place][part] for place in kept] for part in (0, 1))
        self.logits = logits[kept]
        log.info("%d of %d clips are learned from: the others have no sentence, or not the length or the feeling asked "
                 "for", len(kept), len(records))  # fmt: skip

    def __len__(self) -> int:
        return len(self.records)

    def _fits(self, record: Record) -> bool:
        low, high = self.run.seconds
        seconds = record.n_frames / record.fps if record.n_frames and record.fps else probe(record.video).duration
        return low <= seconds <= high

    def fill(self) -> None:
        """Decode what is missing; a video that cannot be read is named."""
        for record in self.records:
            try:
                if not self.store.has(record.video):
                    self.store.load(record.video)
            except VideoError as error:
                raise VideoError(f"clip {record.id!r}: {error}") from None

    def batch(self, rows: Sequence[int], random: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Frames (B, T, 3, S, S) and masks (B, T, S, S): some frames in their order, each cut at random, all alike in
        frame and mask; without a generator evenly spread ones and their centres."""
        parts = [self._cut(self.store.load(self.records[row].video), random) for row in rows]
        return torch.stack([frames for frames, _ in parts]), torch.stack([masks for _, masks in parts])

    def _places(self, total: int, random: torch.Generator | None) -> Tensor:
        """Some of `total` frames in their order; without a generator evenly spread ones."""
        count = self.run.emotion.frames
        if random is None:
            return torch.linspace(0, total - 1, count).round().long()
        return torch.randperm(total, generator=random)[:count].sort().values

    def _cut(self, kept: SpokenFrames | Tensor, random: torch.Generator | None) -> tuple[Tensor, Tensor]:
        count, size = self.run.emotion.frames, self.run.emotion.clip.image_size
        if isinstance(kept, Tensor):  # of a face tower's trunks: there is no mask
            return kept[self._places(len(kept), random)], torch.zeros(0)
        total, _, height, width = kept.frames.shape
        places = self._places(total, random)
        if random is None:
            corners = torch.tensor([[(height - size) // 2, (width - size) // 2]]).expand(count, 2)
        else:
            room = torch.tensor([height - size + 1, width - size + 1])
            corners = (torch.rand(count, 2, generator=random) * room).long()
        frames, masks = [], []
        for place, (top, left) in zip(places.tolist(), corners.tolist(), strict=True):
            frames.append(kept.frames[place, :, top : top + size, left : left + size])
            mask = torch.zeros(height, width, dtype=torch.bool)
            for x0, y0, x1, y1 in kept.boxes[kept.boxes[:, 0] == place][:, 1:].tolist():
                mask[max(0, math.floor(y0)) : max(0, math.ceil(y1)), max(0, math.floor(x0)) : max(0, math.ceil(x1))] = (
                    True
                )
            masks.append(mask[top : top + size, left : left + size])
        return torch.stack(frames), torch.stack(masks)


def spoken_words(record: Record, run: WordsRun) -> str:
    """What is said in a clip, by whom the run names; "" where nothing is known."""
    if run.said == "captions":
        texts = [text for style in run.styles for text in record.extra.get(style, [])] or list(record.captions)
        return texts[0] if texts else ""
    if run.said == "transcript":
        return " ".join(str(record.extra.get("transcript", "")).split())
    return read_words(record.video)


def score_sentiments(texts: Sequence[str], config: SentimentConfig) -> Tensor:
    """Logits (N, M) of sentences by word lists or by the named model."""
    if config.source == "lexicon":
        return torch.tensor([sentiment_logits(text) for text in texts]).reshape(-1, len(SENTIMENT_LABELS))
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(config.source)
        model: Any = AutoModelForSequenceClassification.from_pretrained(config.source, use_safetensors=True).eval()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"sentiment.source={config.source} cannot be loaded ({str(error).strip().splitlines()[0]}): connect once, "
            f"give a folder, or set sentiment.source=lexicon"
        ) from None
    names = [str(model.config.id2label[place]).lower() for place in range(model.config.num_labels)]
    if sorted(names) != sorted(SENTIMENT_LABELS):
        raise ConfigError(
            f"sentiment.source={config.source} tells {', '.join(names)}: needed is {', '.join(SENTIMENT_LABELS)}"
        )
    order, rows = [names.index(label) for label in SENTIMENT_LABELS], []
    with torch.no_grad():
        for at in range(0, len(texts), 32):
            asked = tokenizer(
                list(texts[at : at + 32]), return_tensors="pt", padding=True, truncation=True, max_length=77
            )
            rows.append(model(**asked).logits[:, order])
    return torch.cat(rows) if rows else torch.zeros(0, len(SENTIMENT_LABELS))
