"""CARD.md of experts trained on photos: measures on real photos and on made ones, kept apart."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from captioner.data.portraits import ALIGNED, EMOTIONS, Pictures, view_of
from captioner.data.posed import Posed
from captioner.model.experts import Experts
from captioner.train.au_expert import au_scores, f1, ranking, teacher_labels
from captioner.train.emotion_expert import (
    UNPICTURED,
    Part,
    calibration_error,
    emotion_logits,
    f1_by_class,
    places,
)
from prompts.au_graph import MAIN_AUS, SUB_AUS

LEAST = 15  # positives from which on an F1 against the landmarker is shown


@dataclass(frozen=True)
class Trials:
    """What nothing was trained on: FER+ validation, posed stills and real portraits of unseen persons."""

    ferplus: Part
    posed: Posed
    portraits: Pictures
    blendshapes: Sequence[str]


@dataclass(frozen=True)
class Measured:
    """Rows of the card's tables, and the figures above them."""

    photos: dict[str, float]
    photo_rows: list[str]
    made: dict[str, float]
    made_rows: list[str]
    au: dict[str, float]
    au_rows: list[str]
    side_rows: list[str]
    real_rows: list[str]


def measure(experts: Experts, trials: Trials, size: int) -> Measured:
    """All figures of the card."""
    photos, photo_rows = _on_photos(experts, trials.ferplus, size)
    made, made_rows = _on_stills(experts, trials.posed, size)
    view = view_of(experts.au.backbone, size)
    scores = au_scores(experts.au, view, trials.posed.pixels, trials.posed.frames)
    known = [au not in experts.config.untrained_aus for au in MAIN_AUS]
    known += [name not in experts.config.untrained_sides for name in SUB_AUS]
    found, areas, labels = f1(scores, trials.posed.aus), ranking(scores, trials.posed.aus), trials.posed.aus
    names = [f"{au} {name}" for au, name in MAIN_AUS.items()] + list(SUB_AUS)
    rows = [
        f"| {name} | {(labels[:, i] == 1).float().mean():.3f} | {found[i]:.3f} | {areas[i]:.3f} |"
        for i, name in enumerate(names)
    ]
    main = len(MAIN_AUS)
    taught = torch.tensor(known)
    figures = {
        "count": len(labels),
        "macro": found[:main][taught[:main]].mean().item(),
        "sides": found[main:][taught[main:]].mean().item(),
    }
    return Measured(
        photos, photo_rows, made, made_rows, figures,
        [row for row, sure in zip(rows[:main], known, strict=False) if sure],
        [row for row, sure in zip(rows[main:], known[main:], strict=True) if sure],
        _against_teacher(experts, trials, size),
    )  # fmt: skip


def _on_photos(experts: Experts, part: Part, size: int) -> tuple[dict[str, float], list[str]]:
    logits = emotion_logits(experts.er, view_of(experts.er.backbone, size), part.pictures)
    clear = part.emotions >= 0
    chances, labels = logits[clear].softmax(1), places(part.emotions[clear])
    said = chances.argmax(1)
    scores = f1_by_class(said, labels, len(experts.config.labels))
    rows = []
    for name in EMOTIONS:
        place = experts.config.labels.index(name)
        here = labels == place
        recall = (said[here] == place).float().mean()
        rows.append(f"| {name} | {int(here.sum())} | {recall:.3f} | {scores[place]:.3f} |")
    taught = [experts.config.labels.index(name) for name in EMOTIONS]
    figures = {
        "count": len(labels),
        "accuracy": (said == labels).float().mean().item(),
        "macro": scores[taught].mean().item(),
        "error": calibration_error(chances, labels),
        "astray": torch.isin(said, torch.tensor([experts.config.labels.index(n) for n in UNPICTURED]))
        .float()
        .mean()
        .item(),
    }
    return figures, rows


def _on_stills(experts: Experts, stills: Posed, size: int) -> tuple[dict[str, float], list[str]]:
    stills = stills.take(torch.nonzero(stills.emotions >= 0)[:, 0])
    chances = emotion_logits(experts.er, view_of(experts.er.backbone, size), stills).softmax(1)
    said, labels = chances.argmax(1), stills.emotions
    scores = f1_by_class(said, labels, len(experts.config.labels))
    rows = []
    for place, name in enumerate(experts.config.labels):
        here = labels == place
        mark = " (only from made stills)" if name in UNPICTURED else ""
        recall = (said[here] == place).float().mean()
        rows.append(f"| {name}{mark} | {int(here.sum())} | {recall:.3f} | {scores[place]:.3f} |")
    right = (said == labels).float().mean().item()
    return {"count": len(labels), "accuracy": right, "error": calibration_error(chances, labels)}, rows


def _against_teacher(experts: Experts, trials: Trials, size: int) -> list[str]:
    portraits = trials.portraits
    scores = au_scores(experts.au, view_of(experts.au.backbone, size), portraits.pixels, portraits.frames)
    labels = teacher_labels(portraits.blendshapes, list(trials.blendshapes))
    found, areas, positives = f1(scores, labels), ranking(scores, labels), (labels == 1).sum(0)
    return [
        f"| {au} {name} | {int(positives[i])} | {found[i]:.3f} | {areas[i]:.3f} |"
        for i, (au, name) in enumerate(MAIN_AUS.items())
        if positives[i] >= LEAST
    ]


@torch.inference_mode()
def milliseconds(net: nn.Module, size: int) -> float:
    """Median time of one crop on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    image, times = torch.randn(1, 3, size, size), []
    for _ in range(30):
        start = time.perf_counter()
        net(image)
        times.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return 1000 * sorted(times)[len(times) // 2]


def millions(net: nn.Module) -> float:
    """Parameters in millions."""
    return sum(p.numel() for p in net.parameters()) / 1e6


def write(experts: Experts, trials: Trials, size: int, megabytes: float, about: str) -> str:
    """The card; `about` says how long which recipe ran where."""
    m, spec = measure(experts, trials, size), experts.config
    (x, y), _, (_, mouth) = ALIGNED
    return f"""# Experts trained on photos

Two small nets for the visual prompts, both for aligned face crops of {spec.size} px: an emotion net
(`er.*`, {millions(experts.er):.2f} M parameters) and an AU relation graph net
(`au.*`, ANFL, {millions(experts.au):.2f} M parameters).

- Learned from: {spec.training_data}.
- {about} Licence {spec.licence}. No photo is in this folder.
- Input: RGB crop (read as grey) as captioner.faces cuts it with margin {spec.margin}: eyes at
  ({x:g}, {y:g}) and ({1 - x:g}, {y:g}), mouth at (0.5, {mouth:g}) of its side;
  ImageNet mean and deviation. The emotion net looks at a window of it and averages over the mirror image.
- The emotion net's softmax is calibrated: its temperature, fitted on training pictures that were kept
  back, is part of the classifier. **{", ".join(UNPICTURED)} were never seen on a real face**: made (synthetic) stills
  alone taught them, from a table of which action units belong to which emotion.
- AU scores are cosines; 0.5 is the threshold. `au_mean`, `au_std`: of the scores on training stills, to compare AUs.
- Untrained, so that their scores mean nothing: AUs {", ".join(map(str, spec.untrained_aus)) or "none"}.
- File: {megabytes:.2f} MB. One crop on one CPU thread: emotion {milliseconds(experts.er, spec.size):.1f} ms,
  AUs {milliseconds(experts.au, spec.size):.1f} ms.

## Real photos

Emotions, FER+ validation part, pictures with a majority ({m.photos["count"]}), all {len(spec.labels)} labels open:
accuracy **{m.photos["accuracy"]:.4f}**, macro F1 over the 8 labels {m.photos["macro"]:.3f}, expected calibration error
{m.photos["error"]:.3f}; {m.photos["astray"]:.1%} were called by one of the three labels that FER+ lacks.

| emotion | photos | recall | F1 |
|---|---|---|---|
{chr(10).join(m.photo_rows)}

Action units, {len(trials.portraits)} portraits of persons no training part knows, against what a landmarker's
blendshapes suggest (a machine's opinion, not a coder's):

| AU | positives | F1 | AUC |
|---|---|---|---|
{chr(10).join(m.real_rows)}

## Made (synthetic) stills

Portraits of persons no training part knows, posed by known action units.

Action units ({m.au["count"]} stills): macro F1 over the taught main AUs **{m.au["macro"]:.3f}**,
over one side of the face {m.au["sides"]:.3f}.

| AU | share of stills | F1 | AUC |
|---|---|---|---|
{chr(10).join(m.au_rows)}
{chr(10).join(m.side_rows)}

Emotions ({m.made["count"]} stills): accuracy {m.made["accuracy"]:.3f}, calibration error {m.made["error"]:.3f}.
An emotion does not decide a made face: many share their action units.

| emotion | stills | recall | F1 |
|---|---|---|---|
{chr(10).join(m.made_rows)}
"""
