"""A small CLIP pair of one's own: image and text towers trained contrastively on clips and their captions.

A clip's image feature is the mean over a few of its frames; its text is one of its captions or, for a share of the
clips, a prompt of its emotion, so that the words of the prompts come to mean something. Photos with votes may join:
their text is a prompt. The folder is in Hugging Face's layout: open_clip reads it, and so does transformers where the
image tower is a transformer.

Axes: B clips and photos, F frames, S pixels, E width of the shared space, n word pieces, U different texts.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from captioner.data.manifest import Record, read_manifest
from captioner.emotion.clip.clip_config import TEXT_NAMES, ClipConfig
from captioner.emotion.clip.tower import TextTower
from captioner.emotion.clip.vision import FaceTower, PatchTower, build_tower
from captioner.emotion.pe_clip.pe_clip import vocabulary_texts
from captioner.errors import ConfigError
from captioner.files import staged
from captioner.model.experts import load_experts
from captioner.model.tokenizer import Tokenizer
from captioner.train.cards import render_card
from captioner.train.emotion.pair_data import (
    ClipPairs,
    PairBatch,
    PhotoPairs,
    chosen_persons,
    clip_captions,
    prompt_texts,
)
from captioner.train.emotion.run_config import PairConfig
from captioner.train.fitting import FitConfig, Pace, fit, scaled_rate

log = logging.getLogger(__name__)

PERSONS = "persons.txt"  # whom a pair has seen: a recogniser can be trained and tested on others
SCALE, LARGEST = 1 / 0.07, 100.0  # factor of the cosines at the start, and at most


class Pair(nn.Module):
    """Both towers and the scale of their cosines."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = build_tower(config)
        self.text = TextTower(config)
        self.scale = nn.Parameter(torch.tensor(math.log(SCALE)))

    def look(self, seen: Tensor) -> Tensor:
        """Frames uint8 (B, F, 3, S, S), or outputs of a face tower's trunks (B, F, C) -> unit vectors (B, E)."""
        net = self.vision if seen.ndim == 5 else self.vision.visual_projection
        return F.normalize(net(seen.flatten(0, 1)).unflatten(0, seen.shape[:2]).mean(1), dim=-1)

    def read(self, ids: Tensor, ends: Tensor) -> Tensor:
        """(B, n) ids that end at (B,) -> unit vectors (B, E)."""
        return F.normalize(self.text(ids, ends), dim=-1)

    def loss(self, images: Tensor, texts: Tensor, fits: Tensor) -> Tensor:
        """Contrast in both directions of images (B, E) and texts (U, E); `fits` (B, U) marks the right pairs."""
        logits = images @ texts.T * self.scale.exp().clamp(max=LARGEST)
        ways = ((logits, fits), (logits.T, fits.T))
        return sum(F.cross_entropy(x, wanted / wanted.sum(1, keepdim=True)) for x, wanted in ways) / 2  # type: ignore


def fits(shown: PairBatch, texts: Sequence[str], meant: Mapping[str, str]) -> Tensor:
    """Which of the texts (U) are right for each clip (B): its own, and any prompt that `meant` its emotion."""
    return torch.tensor(
        [
            [float(text == own or (bool(emotion) and meant.get(text) == emotion)) for text in texts]
            for own, emotion in zip(shown.texts, shown.emotions, strict=True)
        ]
    )


def start_pair(config: PairConfig, vocab_size: int) -> Pair:
    """An untrained pair; the trunks of a face tower are those of trained experts."""
    torch.manual_seed(config.seed)
    pair = Pair(replace(config.clip, vocab_size=vocab_size))
    if isinstance(pair.vision, FaceTower):
        try:
            pair.vision.start_from(load_experts(config.start))
        except (RuntimeError, AttributeError):
            raise ConfigError(
                f"start={config.start}: no face nets; name experts of er_arch face and au_backbone face_au"
            ) from None
    return pair


def pair_pace(config: PairConfig, steps: int) -> Pace:
    """A straight rise, then a cosine over all steps."""
    rise = max(1, round(config.warmup * steps))
    return scaled_rate(config.lr, lambda step, _: min((step + 1) / rise, 0.5 * (1 + math.cos(math.pi * step / steps))))


def run_pair(config: PairConfig, device: torch.device) -> dict[str, float]:
    """The recipe `pair`: a manifest's train split learned, its val split scored; returns the scores."""
    if not config.manifest:
        raise ConfigError("manifest is missing: give the clips, as in --manifest data/clips/manifest.jsonl")
    sides = {record.split for record in read_manifest(config.manifest, check_files=False)}
    train = read_manifest(config.manifest, split="train", fold=config.fold)
    val = read_manifest(config.manifest, split="val", fold=config.fold) if "val" in sides else []
    scores = train_pair(config, train, val, device)
    size = (Path(config.out) / "model.safetensors").stat().st_size / 1e6
    log.info("%s, %.1f MB: %s", config.out, size, ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
    return scores


def train_pair(
    config: PairConfig, train: Sequence[Record], val: Sequence[Record], device: torch.device
) -> dict[str, float]:
    """Train, write the folder, and return the last loss and how often the right text is found among the val clips'."""
    labels = sorted({str(record.emotion) for record in train if record.emotion})
    train = chosen_persons(train, config.part)
    captions = [caption for record in train for caption in clip_captions(record, config.manners)]
    if not captions:
        raise ConfigError(f"{config.manifest}: no training clip has a caption")
    own = Tokenizer.build([*captions, *vocabulary_texts(labels, config.prompt)])
    pair = start_pair(config, own.vocab_size).to(device)
    data = ClipPairs(train, labels, config, pair.vision)
    photos = PhotoPairs(labels, config, pair.vision) if config.photos else None  # type: ignore[arg-type]
    meant = {text: label for label in labels for text in prompt_texts(labels, label, config.prompt)}

    def loss_of(_: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
        shown = [data.batch(rows.tolist(), random)]
        if photos is not None:
            shown.append(photos.batch(config.photo_batch, random))
        return contrast(pair, shown, meant, own, device)

    setup = FitConfig(
        None, config.epochs, len(data), config.batch, average=0.0, clip_norm=0.0, drop_last=False, half=False,
        epoch_seed=config.seed * 100_003, device=str(device),
    )  # fmt: skip
    live = [p for p in pair.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(live, lr=config.lr, weight_decay=config.weight_decay)
    state = fit(pair, setup, loss_of, optimizer=optimizer, pace=pair_pace(config, setup.epochs * setup.steps))
    scores = {"loss": state.loss, **retrieval(pair, ClipPairs(val, labels, config, pair.vision), own, device)}
    persons = sorted({record.group or record.id for record in train})
    save_pair(config.out, pair, own, persons, card=pair_card(config, pair, len(data), scores), half=config.half)
    return scores


def pair_card(config: PairConfig, pair: Pair, clips: int, scores: dict[str, float]) -> str:
    """What a reader of a pair's folder should know."""
    towers = {"vision": pair.vision, "text": pair.text}
    return render_card(
        "pair",
        millions={name: sum(p.numel() for p in tower.parameters()) / 1e6 for name, tower in towers.items()},
        clips=clips,
        manifest=config.manifest,
        photos=config.photos,
        epochs=config.epochs,
        scores=scores,
    )


def contrast(
    pair: Pair, shown: Sequence[PairBatch], meant: Mapping[str, str], own: Tokenizer, device: torch.device
) -> Tensor:
    """The contrast of clips and photos together; each different text is read once."""
    whole = PairBatch(
        torch.empty(0), [text for part in shown for text in part.texts], [e for part in shown for e in part.emotions]
    )
    texts = list(dict.fromkeys(whole.texts))
    images = torch.cat([pair.look(part.seen.to(device)) for part in shown])
    return pair.loss(images, read_texts(pair, texts, own, device), fits(whole, texts, meant).to(device))


def read_texts(pair: Pair, texts: Sequence[str], own: Tokenizer, device: torch.device) -> Tensor:
    """Unit vectors (U, E) of texts."""
    rows = [own.encode(text, pair.config.context) for text in texts]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in rows])
    return pair.read(ids.to(device), torch.tensor([len(row) - 1 for row in rows]).to(device))


@torch.no_grad()
def retrieval(pair: Pair, data: ClipPairs, own: Tokenizer, device: torch.device, batch: int = 64) -> dict[str, float]:
    """Share of clips whose own first text is the nearest of all clips' (equal texts count as one), and the chance."""
    if not len(data):
        return {}
    images, texts, names = [], [], [data.text(place, None) for place in range(len(data))]
    for at in range(0, len(data), batch):
        shown = data.batch(range(at, min(at + batch, len(data))), None)
        images.append(pair.look(shown.seen.to(device)))
        texts.append(read_texts(pair, shown.texts, own, device))
    nearest = (torch.cat(images) @ torch.cat(texts).T).argmax(1).tolist()
    right = sum(names[place] == name for place, name in zip(nearest, names, strict=True))
    chance = sum(names.count(name) for name in names) / len(names) ** 2
    return {"val clips": float(len(names)), "R@1": right / len(names), "R@1 by chance": chance}


def save_pair(
    folder: str | Path, pair: Pair, own: Tokenizer, persons: Sequence[str], *, card: str = "", half: bool = False
) -> None:
    """config.json, model.safetensors, tokenizer.json, as transformers writes a CLIP; whom it has learned from; a card.

    `half` rounds matrices.
    """
    from transformers import CLIPConfig

    c = pair.config
    marks = {"bos_token_id": own.cls_id, "eos_token_id": own.sep_id, "pad_token_id": own.pad_id}
    text = {theirs: getattr(c, ours) for ours, theirs in TEXT_NAMES.items()} | {"intermediate_size": 4 * c.text_width}
    vision = {"tower": c.tower, "image_size": c.image_size, "hidden_act": c.activation}
    if isinstance(pair.vision, PatchTower):
        vision |= pair.vision.sizes.to_dict()
    about = CLIPConfig(text_config={**text, **marks}, vision_config=vision, projection_dim=c.width)
    state = {name: value.detach().cpu() for name, value in pair.vision.state_dict().items()}
    for name, value in pair.text.state_dict().items():
        prefix = "text_model.encoder." if name.startswith("layers.") else "text_model."
        prefix = "text_model.embeddings." if "_embedding." in name else prefix
        state[name if name.startswith("text_projection") else prefix + name] = value.detach().cpu()
    state["logit_scale"] = pair.scale.detach().cpu()
    state = {name: value.half() if half and value.ndim > 1 else value for name, value in state.items()}
    with staged(folder) as staging:
        about.save_pretrained(staging)
        whole = {name: value.contiguous() for name, value in state.items()}
        save_file(whole, staging / "model.safetensors", {"format": "pt"})
        own.save(staging / "tokenizer.json")
        (staging / PERSONS).write_text("".join(f"{person}\n" for person in persons), encoding="utf-8")
        if card:
            (staging / "CARD.md").write_text(card, encoding="utf-8")
