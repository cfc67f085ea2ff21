"""EmotionCLIP learned from clips and what is said in them: a contrast in both directions, guided by sentiment.

Axes: B clips, T frames, E width of the shared space, n word pieces.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.data.manifest import Record, read_manifest
from captioner.emotion.clip.opening import ClipTowers, open_clip
from captioner.emotion.clip.tower import TextTower
from captioner.emotion.clip.vision import FaceTower, VisionTower
from captioner.emotion.emotion_clip.emotion_clip import LARGEST_SCALE, EmotionClip, build_emotion_clip
from captioner.emotion.emotion_clip.snce import sentiment_weights, snce_loss
from captioner.emotion.face_frames import TrunkFeatures
from captioner.emotion.folder import save_recogniser
from captioner.errors import ConfigError
from captioner.train.cards import render_card
from captioner.train.emotion.spoken_clips import SpokenClips, SpokenStore, spoken_words
from captioner.train.emotion.words_config import WordsRun
from captioner.train.fitting import FitConfig, Pace, fit

log = logging.getLogger(__name__)


def run_words(run: WordsRun, device: torch.device) -> dict[str, float]:
    """The recipe `emotionclip`: train, write the folder, return what retrieval says of clips that were held out."""
    if not run.manifest:
        raise ConfigError("manifest is missing: give clips and what is said in them, as in --manifest FILE.jsonl")
    records = read_manifest(run.manifest)
    sides = {record.split for record in records}
    held = "val" if "val" in sides else "test"
    train, others = ([record for record in records if record.split == side] for side in ("train", held))
    return train_words(run, train, others, device)


def train_words(run: WordsRun, train: list[Record], held: list[Record], device: torch.device) -> dict[str, float]:
    """Train on some clips and score others."""
    torch.manual_seed(run.seed)
    known = open_clip(run.emotion.clip, [spoken_words(record, run) for record in train])
    store = open_spoken(run, known)
    clips, others = SpokenClips(train, run, store), SpokenClips(held, run, store)
    if len(clips) < 2:
        raise ConfigError(
            f"{run.manifest}: {len(clips)} clips can be learned from, 2 at least are needed (said={run.said})"
        )
    clips.fill()
    others.fill()
    torch.manual_seed(run.seed)  # who decodes and reads faces may have drawn numbers
    pair = start_towers(run, known)
    model = build_emotion_clip(run.emotion, pair).requires_grad_(True).to(device)
    if isinstance(model.vision, FaceTower):
        model.vision.vision_model.requires_grad_(False)  # the trunks stay the experts'
    if not run.tower_lr_scale:
        model.vision.requires_grad_(False)
        model.text.requires_grad_(False)
    ids, ends = sentence_ids(clips.words, pair)

    def loss_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
        chosen = rows.cpu()
        with torch.no_grad():
            model.scale.clamp_(0, math.log(LARGEST_SCALE))
        frames, masks = (part.to(device) for part in clips.batch(chosen.tolist(), random))
        videos = F.normalize(model.encode_video(frames, masks), dim=-1)
        texts = F.normalize(model.encode_text(ids[chosen].to(device), ends[chosen].to(device)), dim=-1)
        guided = sentiment_weights(clips.logits[chosen].to(device), run.sentiment.beta, run.sentiment.direction)
        return snce_loss(videos, texts, model.scale.exp(), guided)

    setup = FitConfig(
        None, run.epochs, len(clips), min(run.batch, len(clips)), average=0.0, clip_norm=0.0, half=False,
        epoch_seed=run.seed * 100_003, device=str(device),
    )  # fmt: skip
    state = fit(model, setup, loss_of, optimizer=words_optimizer(run, model), pace=words_pace(run, setup))
    scores = {"clips": float(len(clips)), "loss": state.loss, **retrieval_of(model, others, pair, device)}
    told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    line = f"Trained by `python scripts/train.py`, recipe `emotionclip`, on clips of `{run.manifest}`: {told}."
    save_recogniser(run.out, model, card=render_card("emotionclip", name="", digest="", fit=line), half=run.half)
    log.info("%s: %s", run.out, told)
    return scores


def open_spoken(run: WordsRun, pair: ClipTowers) -> SpokenStore | TrunkFeatures:
    """Where what is seen of clips is kept: frames with persons, or what a face tower's trunks say of faces."""
    tower = pair.vision.net
    if isinstance(tower, FaceTower):
        return TrunkFeatures(run.cache or Path(run.out) / "features", pair.config.image_size, run.kept, tower)
    return SpokenStore(run)


def start_towers(run: WordsRun, pair: ClipTowers) -> ClipTowers:
    """The pair with the towers that are to be drawn at random drawn."""
    if run.start in ("text", "none") and not isinstance(pair.vision.net, FaceTower):
        pair = replace(pair, vision=VisionTower(pair.config).eval())
    if run.start in ("vision", "none"):
        pair = replace(pair, text=TextTower(pair.config).eval())
    return pair


def sentence_ids(texts: list[str], pair: ClipTowers) -> tuple[Tensor, Tensor]:
    """Ids (N, n) of sentences and where each ends; longer ones than the window are cut before their end, said once."""
    context = pair.config.context
    rows = [pair.encode(text) for text in texts]
    cut = sum(len(row) > context for row in rows)
    if cut:
        log.warning("%d sentences have more than %d pieces: what is behind is not read", cut, context)
    rows = [row if len(row) <= context else [*row[: context - 1], row[-1]] for row in rows]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in rows])
    return ids, torch.tensor([len(row) - 1 for row in rows])


def words_optimizer(run: WordsRun, model: EmotionClip) -> torch.optim.Optimizer:
    """AdamW with CLIP's moments; the released code swaps the two by mistake."""
    released = run.groups == "released"
    groups: Any = model.released_groups() if released else model.parameter_groups(run.lr, run.tower_lr_scale)
    return torch.optim.AdamW(groups, lr=run.lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=run.weight_decay)


def words_pace(run: WordsRun, setup: FitConfig) -> Pace:
    """A straight rise, then a cosine to almost nothing; every group keeps its share of the rate."""
    steps = setup.epochs * setup.steps
    rise = max(1, min(run.warmup, steps // 10))
    first: list[float] = []

    def pace(optimizer: torch.optim.Optimizer, step: int, part: float) -> None:
        first[:] = first or [group["lr"] for group in optimizer.param_groups]
        factor = min((step + 1) / rise, 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group, lr in zip(optimizer.param_groups, first, strict=True):
            group["lr"] = lr * factor

    return pace


@torch.no_grad()
def retrieval_of(model: EmotionClip, clips: SpokenClips, pair: ClipTowers, device: torch.device) -> dict[str, float]:
    """Share of clips whose own sentence is the nearest of all clips' (equal ones count as one), chance, its error."""
    if len(clips) < 2:
        return {}
    ids, ends = sentence_ids(clips.words, pair)
    videos = []
    for at in range(0, len(clips), 32):
        frames, masks = clips.batch(range(at, min(at + 32, len(clips))), None)
        videos.append(F.normalize(model.encode_video(frames.to(device), masks.to(device)), dim=-1))
    texts = F.normalize(model.encode_text(ids.to(device), ends.to(device)), dim=-1)
    nearest = (torch.cat(videos) @ texts.T).argmax(1).tolist()
    words, count = clips.words, len(clips)
    right = sum(words[place] == own for place, own in zip(nearest, words, strict=True)) / count
    chance = sum(words.count(own) for own in words) / count**2
    return {
        "held out": float(count),
        "R@1": right,
        "by chance": chance,
        "its error": math.sqrt(chance * (1 - chance) / count),
    }
