"""A small CLIP pair of one's own: image and text towers trained contrastively on clips and their captions.

A clip's image feature is the mean over a few of its frames; its text is one of its captions or, for a share of the
clips, the category-aggregated prompt of its emotion, so that the words of the prompts come to mean something. The
folder is in Hugging Face's layout: open_clip reads it, and so does transformers.

Axes: B clips, F frames, S pixels, E width of the shared space, n word pieces.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from captioner.config import check
from captioner.data.manifest import Record
from captioner.data.tokenizer import Tokenizer
from captioner.data.transforms import CLIP_MEAN, CLIP_STD, crop, normalise, resize_short
from captioner.data.video import read_clip
from captioner.emotion.clip import VisionTower
from captioner.emotion.pe_clip import vocabulary_texts
from captioner.emotion.settings import ClipConfig, PromptConfig
from captioner.emotion.tower import TextTower
from captioner.emotion.wording import aggregated
from captioner.errors import ConfigError, VideoError

log = logging.getLogger(__name__)

SPARE = 1.15  # short edge of the kept frames over the crop
SCALE, LARGEST = 1 / 0.07, 100.0  # factor of the cosines at the start, and at most


@dataclass(frozen=True)
class PairConfig:
    """A whole run: what scripts/train_clip.py reads."""

    clip: ClipConfig = field(default_factory=lambda: ClipConfig(source=""))
    prompt: PromptConfig = field(default_factory=PromptConfig)
    manifest: str = ""
    """Clips with captions; the train split is learned, the val split scored."""
    fold: int | None = None
    out: str = "runs/clip"
    frames: int = 4
    """Frames of a clip, spread evenly."""
    share_prompts: float = 0.25
    """Share of the clips with an emotion that are shown its prompt in place of a caption."""
    epochs: int = 20
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.1
    warmup: float = 0.1
    seed: int = 0
    threads: int = 0
    """CPU threads; 0: torch decides."""

    def __post_init__(self) -> None:
        faults = [
            f"{key} is {value}: at least {least} is needed"
            for key, value, least in [("frames", self.frames, 1), ("epochs", self.epochs, 1), ("batch", self.batch, 2)]
            if value < least
        ]
        if self.clip.source:
            faults.append(f"clip.source is {self.clip.source!r}, but this trains a pair from its sizes: leave it empty")
        if not 0 <= self.share_prompts <= 1:
            faults.append(f"share_prompts is {self.share_prompts}: a share between 0 and 1 is needed")
        check(faults)


class Pair(nn.Module):
    """Both towers and the scale of their cosines."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionTower(config).net.requires_grad_(True)
        self.text = TextTower(config)
        self.scale = nn.Parameter(torch.tensor(math.log(SCALE)))

    def look(self, frames: Tensor) -> Tensor:
        """uint8 (B, F, 3, S, S) -> unit vectors (B, E)."""
        rows = self.vision(pixel_values=normalise(frames.flatten(0, 1), CLIP_MEAN, CLIP_STD)).image_embeds
        return F.normalize(rows.unflatten(0, frames.shape[:2]).mean(1), dim=-1)

    def read(self, ids: Tensor, ends: Tensor) -> Tensor:
        """(B, n) ids that end at (B,) -> unit vectors (B, E)."""
        return F.normalize(self.text(ids, ends), dim=-1)

    def loss(self, images: Tensor, texts: Tensor, same: Tensor) -> Tensor:
        """Contrast in both directions; `same` (B, B) marks clips with equal texts, which are no wrong pairs."""
        logits = images @ texts.T * self.scale.exp().clamp(max=LARGEST)
        wanted = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2


class PairData:
    """Frames (kept in memory once read) and texts of the clips of one split."""

    def __init__(self, records: Sequence[Record], labels: Sequence[str], config: PairConfig, own: Tokenizer) -> None:
        self.records = [record for record in records if record.captions or record.emotion]
        self.labels, self.config, self.own = list(labels), config, own
        self.frames: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.records)

    def look(self, place: int, generator: torch.Generator | None) -> Tensor:
        """uint8 (F, 3, S, S): one random crop for all frames, or the centre."""
        size = self.config.clip.image_size
        if place not in self.frames:
            record, side = self.records[place], math.ceil(SPARE * size)
            try:
                clip = read_clip(record.video, self.config.frames, short_side=side)
            except VideoError as error:
                raise VideoError(f"clip {record.id!r}: {error}") from None
            self.frames[place] = resize_short(clip.frames, side)
        return crop(self.frames[place], size, train=generator is not None, generator=generator)

    def text(self, place: int, generator: torch.Generator | None) -> str:
        """A caption, the first one without a generator; or the prompt of the clip's emotion."""
        record = self.records[place]
        dice, which = (1.0, 0.0) if generator is None else torch.rand(2, generator=generator).tolist()
        prompted = record.emotion in self.labels and dice < self.config.share_prompts
        if prompted or not record.captions:
            return aggregated(self.labels, self.labels.index(str(record.emotion)), self.config.prompt)
        return record.captions[int(which * len(record.captions))]

    def batch(self, places: Sequence[int], generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Frames (B, F, 3, S, S), ids (B, n), ends (B,), and which texts are equal (B, B)."""
        texts = [self.text(place, generator) for place in places]
        rows = [self.own.encode(text, self.config.clip.context) for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in rows])
        same = torch.tensor([[float(a == b) for b in texts] for a in texts])
        frames = torch.stack([self.look(place, generator) for place in places])
        return frames, ids, torch.tensor([len(row) - 1 for row in rows]), same


def train_pair(
    config: PairConfig, train: Sequence[Record], val: Sequence[Record], device: torch.device
) -> dict[str, float]:
    """Train, write the folder, and return the last loss and how often the right text is found among the val clips'."""
    labels = sorted({str(record.emotion) for record in train if record.emotion})
    captions = [caption for record in train for caption in record.captions]
    if not captions:
        raise ConfigError(f"{config.manifest}: no training clip has a caption")
    own = Tokenizer.build([*captions, *vocabulary_texts(labels, config.prompt)])
    torch.manual_seed(config.seed)
    pair = Pair(replace(config.clip, vocab_size=own.vocab_size)).to(device)
    data = PairData(train, labels, config, own)
    steps = config.epochs * math.ceil(len(data) / config.batch)
    optimizer = torch.optim.AdamW(pair.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    rise = max(1, round(config.warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, 0.5 * (1 + math.cos(math.pi * step / steps)))
    )
    pair.train()
    loss = 0.0
    for epoch in tqdm(range(config.epochs), desc="pair", unit="epoch", disable=None):
        draw = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
        order = torch.randperm(len(data), generator=draw).tolist()
        for at in range(0, len(order), config.batch):
            frames, ids, ends, same = (x.to(device) for x in data.batch(order[at : at + config.batch], draw))
            cost = pair.loss(pair.look(frames), pair.read(ids, ends), same)
            optimizer.zero_grad(set_to_none=True)
            cost.backward()
            optimizer.step()
            schedule.step()
            loss = float(cost.detach())
    scores = {"loss": loss, **retrieval(pair.eval(), PairData(val, labels, config, own), device)}
    save_pair(config.out, pair, own)
    return scores


@torch.no_grad()
def retrieval(pair: Pair, data: PairData, device: torch.device, batch: int = 64) -> dict[str, float]:
    """Share of clips whose own first text is the nearest of all clips' (equal texts count as one), and the chance."""
    if not len(data):
        return {}
    images, texts, names = [], [], [data.text(place, None) for place in range(len(data))]
    for at in range(0, len(data), batch):
        frames, ids, ends, _ = (x.to(device) for x in data.batch(range(at, min(at + batch, len(data))), None))
        images.append(pair.look(frames))
        texts.append(pair.read(ids, ends))
    nearest = (torch.cat(images) @ torch.cat(texts).T).argmax(1).tolist()
    right = sum(names[found] == name for found, name in zip(nearest, names, strict=True))
    chance = sum(names.count(name) for name in names) / len(names) ** 2
    return {"val clips": float(len(names)), "R@1": right / len(names), "R@1 by chance": chance}


def save_pair(folder: str | Path, pair: Pair, own: Tokenizer) -> None:
    """config.json, model.safetensors and tokenizer.json, as transformers writes a CLIP."""
    from transformers import CLIPConfig

    folder, c = Path(folder), pair.config
    folder.mkdir(parents=True, exist_ok=True)
    marks = {"bos_token_id": own.cls_id, "eos_token_id": own.sep_id, "pad_token_id": own.pad_id}
    text = {"hidden_size": c.text_width, "intermediate_size": 4 * c.text_width, "num_hidden_layers": c.text_layers}
    text |= {"num_attention_heads": c.text_heads, "vocab_size": c.vocab_size, "max_position_embeddings": c.context}
    vision = pair.vision.config.to_dict()
    about = CLIPConfig(
        text_config={**text, **marks, "hidden_act": c.activation}, vision_config=vision, projection_dim=c.width
    )
    about.save_pretrained(folder)
    state = {name: value.detach().cpu() for name, value in pair.vision.state_dict().items()}
    for name, value in pair.text.state_dict().items():
        prefix = "text_model.encoder." if name.startswith("layers.") else "text_model."
        prefix = "text_model.embeddings." if "_embedding." in name else prefix
        state[name if name.startswith("text_projection") else prefix + name] = value.detach().cpu()
    state["logit_scale"] = pair.scale.detach().cpu()
    save_file(
        {name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    own.save(folder / "tokenizer.json")
