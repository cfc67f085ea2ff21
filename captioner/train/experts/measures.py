"""What is measured of trained experts, for their card: on real photos and on synthetic pictures, kept apart."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.model.experts import Experts
from captioner.train.cards import render_card
from captioner.train.experts.au_net import au_f1, au_scores, ranking, score_error, teacher_labels
from captioner.train.experts.clip_scores import ClipScores
from captioner.train.experts.emotion_net import (
    UNPICTURED,
    EmotionPart,
    calibration_error,
    emotion_logits,
    f1_by_class,
    mafw_places,
)
from captioner.train.experts.portraits import ALIGNED, CropView, FacePictures
from captioner.train.experts.posed import Posed
from prompts.action_units import MAIN_AUS, SUB_AUS

LEARNED = 0.5  # F1 on training persons kept back from which on an AU counts as learned
Row = Sequence[object]  # of a table
LEAST = 15  # positives from which on an F1 against the landmarker is shown


@dataclass(frozen=True)
class Trials:
    """What nothing was trained on: FER+ validation, posed stills and real portraits of unseen persons."""

    ferplus: EmotionPart
    posed: Posed
    portraits: FacePictures
    blendshapes: Sequence[str]
    clips: Posed | None = None
    """Frames of synthetic clips of unseen persons."""
    whole: "WholeClips | None" = None
    """The same clips through the shipped face reader."""


@dataclass(frozen=True)
class WholeClips:
    """Clips as the captioner sees them, and the clip score (A,) from which on an AU counts as salient."""

    seen: ClipScores
    limits: Tensor


@dataclass(frozen=True)
class EmotionMeasures:
    """Measures of the emotion net; `astray` is the share called by a label that FER+ lacks."""

    count: int
    accuracy: float
    macro: float
    error: float
    astray: float
    rows: list[Row]


@dataclass(frozen=True)
class UnitMeasures:
    """Measures of the AU net: pictures, labels and scores (N, A + O), F1 and AUC of each (A + O,)."""

    count: int
    labels: Tensor
    f1: Tensor
    auc: Tensor
    plain: Tensor
    """F1 at the threshold 0.5."""
    error: float
    """Calibration error of the scores of the main AUs read as probabilities."""

    def macro(self, which: Tensor, plain: bool = False) -> float:
        """Mean F1 of some AUs that were there at all; `plain`: at 0.5."""
        return (self.plain if plain else self.f1)[which & (self.labels == 1).any(0)].mean().item()


def measure_emotions(experts: Experts, part: EmotionPart | Posed, names: Sequence[str]) -> EmotionMeasures:
    """On pictures of a known emotion, all labels of the net open; rows and macro F1 are those of `names`."""
    pictures = part.pictures if isinstance(part, EmotionPart) else part
    labels = mafw_places(part.emotions) if isinstance(part, EmotionPart) else part.emotions
    told, options = labels >= 0, experts.config.labels
    chances = emotion_logits(experts.er, _as_used(experts), pictures).softmax(1)[told]
    labels, said = labels[told], chances.argmax(1)
    scores = f1_by_class(said, labels, len(options))
    rows: list[Row] = []
    for name in names:
        place = options.index(name)
        here = labels == place
        mark = " (no real face taught it)" if name in UNPICTURED else ""
        recall = (said[here] == place).float().mean()
        rows.append((f"{name}{mark}", int(here.sum()), float(recall), float(scores[place])))
    unpictured = torch.tensor([options.index(name) for name in UNPICTURED])
    return EmotionMeasures(
        len(labels),
        (said == labels).float().mean().item(),
        scores[[options.index(name) for name in names]].mean().item(),
        calibration_error(chances, labels),
        torch.isin(said, unpictured).float().mean().item(),
        rows,
    )


def measure_units(experts: Experts, pixels: Tensor, frames: Tensor, labels: Tensor) -> UnitMeasures:
    """On pictures with AU labels."""
    scores = au_scores(experts.au, _as_used(experts), pixels, frames)
    taught = torch.nonzero(_taught(experts)[: len(MAIN_AUS)])[:, 0]
    error = score_error(scores[:, taught], labels[:, taught])
    limits = torch.tensor([*(experts.config.au_thresholds or [0.5] * len(MAIN_AUS)), *[0.5] * len(SUB_AUS)])
    return UnitMeasures(
        len(labels), labels, au_f1(scores, labels, limits), ranking(scores, labels), au_f1(scores, labels), error
    )


def _as_used(experts: Experts) -> CropView:
    """What the captioner hands over: the whole crop, in colour."""
    return CropView(experts.config.size, grey=False)


def _whole_clips(experts: Experts, whole: WholeClips) -> dict[str, Any]:
    """What the captioner gets of clips of unseen persons."""
    seen, limits = whole.seen, torch.tensor(experts.config.au_thresholds)
    frame, clip = seen.frame_f1(limits), seen.clip_f1(whole.limits)
    area = ranking(seen.clips, seen.clip_labels)
    shown = _taught(experts)[: len(MAIN_AUS)] & (seen.clip_labels == 1).any(0)
    rows = [
        (f"{au} {name}", int((seen.clip_labels[:, i] == 1).sum()), float(frame[i]), float(clip[i]), float(area[i]))
        for i, (au, name) in enumerate(MAIN_AUS.items())
        if shown[i]
    ]
    count, frames = seen.frames.shape[:2]
    return {
        "count": count,
        "frames": frames,
        "present": float(seen.present.mean()),
        "frame_f1": float(frame[shown].mean()),
        "clip_f1": float(clip[shown].mean()),
        "rows": rows,
    }


def _unit_rows(experts: Experts, stills: UnitMeasures, clips: UnitMeasures | None) -> list[Row]:
    names = [f"{au} {name}" for au, name in MAIN_AUS.items()] + list(SUB_AUS)
    rows: list[Row] = []
    for i in torch.nonzero(_taught(experts))[:, 0].tolist():
        row: list[object] = [names[i], *_share_f1_area(stills, i)]
        filmed = clips is not None and bool((clips.labels[:, i] == 1).any())
        rows.append(row + (_share_f1_area(clips, i) if clips is not None and filmed else ["-"] * 3))
    return rows


def _share_f1_area(seen: UnitMeasures, place: int) -> list[object]:
    return [float((seen.labels[:, place] == 1).float().mean()), float(seen.f1[place]), float(seen.auc[place])]


def _faint(seen: UnitMeasures, taught: Tensor) -> list[str]:
    """The main AUs that are shown and the net does not tell, with F1 and AUC."""
    shown = (seen.labels == 1).any(0)
    return [
        f"{au} (F1 {seen.f1[i]:.2f}, AUC {seen.auc[i]:.2f})"
        for i, au in enumerate(MAIN_AUS)
        if shown[i] and not taught[i]
    ]


def _taught(experts: Experts) -> Tensor:
    """Which AUs (A + O,) the net learned."""
    main = [au not in experts.config.untrained_aus for au in MAIN_AUS]
    return torch.tensor(main + [name not in experts.config.untrained_sides for name in SUB_AUS])


def _teacher_rows(seen: UnitMeasures) -> list[Row]:
    positives = (seen.labels == 1).sum(0)
    return [
        (f"{au} {name}", int(positives[i]), float(seen.f1[i]), float(seen.auc[i]))
        for i, (au, name) in enumerate(MAIN_AUS.items())
        if positives[i] >= LEAST
    ]


@torch.inference_mode()
def milliseconds(net: nn.Module, size: int) -> float:
    """Median time of one picture on one thread."""
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


def experts_card(experts: Experts, trials: Trials, megabytes: float, made: str) -> str:
    """The card; `made` says how long which recipe ran where."""
    main, taught = torch.arange(len(MAIN_AUS) + len(SUB_AUS)) < len(MAIN_AUS), _taught(experts)
    stills, clips = _measure_table(experts, trials.posed), None
    if trials.clips is not None:
        clips = _measure_table(experts, trials.clips)
    faces, wanted = trials.portraits, teacher_labels(trials.portraits.blendshapes, list(trials.blendshapes))
    teacher = measure_units(experts, faces.pixels, faces.frames, wanted)
    (x, y), _, (_, mouth) = ALIGNED
    nets = {"er": experts.er, "au": experts.au}
    return render_card(
        "experts",
        spec=experts.config,
        millions={name: millions(net) for name, net in nets.items()},
        milliseconds={name: milliseconds(net, experts.config.size) for name, net in nets.items()},
        megabytes=megabytes,
        made=made,
        eye=(x, y),
        mouth=mouth,
        unpictured=UNPICTURED,
        learned=LEARNED,
        faint=_faint(clips or stills, taught & main),
        real=measure_emotions(experts, trials.ferplus, FERPLUS_LABELS),
        posed=measure_emotions(experts, trials.posed, experts.config.labels),
        teacher={"count": teacher.count, "rows": _teacher_rows(teacher)},
        stills=_summary(stills, taught, main) | {"taught": int(taught[main].sum())},
        clips=None if clips is None else _summary(clips, taught, main) | _named(experts, trials),
        unit_rows=_unit_rows(experts, stills, clips),
        whole=None if trials.whole is None else _whole_clips(experts, trials.whole),
    )


def _measure_table(experts: Experts, table: Posed) -> UnitMeasures:
    return measure_units(experts, table.pixels, table.frames, table.aus)


def _summary(seen: UnitMeasures, taught: Tensor, main: Tensor) -> dict[str, Any]:
    return {
        "count": seen.count,
        "main": seen.macro(taught & main),
        "plain": seen.macro(taught & main, plain=True),
        "sides": seen.macro(taught & ~main),
        "error": seen.error,
    }


def _named(experts: Experts, trials: Trials) -> dict[str, Any]:
    """How often the emotion of a clip's apex is named."""
    assert trials.clips is not None
    shown = measure_emotions(experts, trials.clips, experts.config.labels)
    return {"named": shown.accuracy, "told": shown.count}
