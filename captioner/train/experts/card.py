"""CARD.md of experts trained on photos: measures on real photos and on made ones, kept apart."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.model.experts import Experts
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
LEAST = 15  # positives from which on an F1 against the landmarker is shown


@dataclass(frozen=True)
class Trials:
    """What nothing was trained on: FER+ validation, posed stills and real portraits of unseen persons."""

    ferplus: EmotionPart
    posed: Posed
    portraits: FacePictures
    blendshapes: Sequence[str]
    clips: Posed | None = None
    """Frames of made clips of unseen persons."""
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
    rows: str


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
    rows = []
    for name in names:
        place = options.index(name)
        here = labels == place
        mark = " (no real face taught it)" if name in UNPICTURED else ""
        recall = (said[here] == place).float().mean()
        rows.append(f"| {name}{mark} | {int(here.sum())} | {recall:.3f} | {scores[place]:.3f} |")
    unpictured = torch.tensor([options.index(name) for name in UNPICTURED])
    return EmotionMeasures(
        len(labels),
        (said == labels).float().mean().item(),
        scores[[options.index(name) for name in names]].mean().item(),
        calibration_error(chances, labels),
        torch.isin(said, unpictured).float().mean().item(),
        "\n".join(rows),
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


def _whole_clips(experts: Experts, whole: WholeClips) -> str:
    """A paragraph and a table of what the captioner gets of clips of unseen persons."""
    seen, limits = whole.seen, torch.tensor(experts.config.au_thresholds)
    frame, clip = seen.frame_f1(limits), seen.clip_f1(whole.limits)
    area = ranking(seen.clips, seen.clip_labels)
    shown = _taught(experts)[: len(MAIN_AUS)] & (seen.clip_labels == 1).any(0)
    rows = [
        f"| {au} {name} | {int((seen.clip_labels[:, i] == 1).sum())} | {frame[i]:.3f} | {clip[i]:.3f} | {area[i]:.3f} |"
        for i, (au, name) in enumerate(MAIN_AUS.items())
        if shown[i]
    ]
    (count, looks), found = seen.frames.shape[:2], seen.present.mean()
    return f"""
The same {count} clips as the captioner sees them, through the shipped face reader ({looks} frames a clip, a face
in {found:.1%} of them): macro F1 **{frame[shown].mean():.3f}** over frames, **{clip[shown].mean():.3f}** over
clips. A clip's score is the mean over its best frames, and its truth are the AUs its story makes salient; from which
clip score on an AU counts was found on clips of training persons kept back.

| AU | clips with it | F1 of frames | F1 of clips | AUC of clips |
|---|---|---|---|---|
{chr(10).join(rows)}
"""


def _unit_rows(experts: Experts, stills: UnitMeasures, clips: UnitMeasures | None) -> str:
    names = [f"{au} {name}" for au, name in MAIN_AUS.items()] + list(SUB_AUS)
    rows = []
    for i, sure in enumerate(_taught(experts).tolist()):
        share = (stills.labels[:, i] == 1).float().mean()
        row = f"| {names[i]} | {share:.3f} | {stills.f1[i]:.3f} | {stills.auc[i]:.3f} |"
        seen = clips is not None and bool((clips.labels[:, i] == 1).any())
        if clips is not None and seen:
            share = (clips.labels[:, i] == 1).float().mean()
            row += f" {share:.3f} | {clips.f1[i]:.3f} | {clips.auc[i]:.3f} |"
        else:
            row += " - | - | - |"
        rows += [row] * sure
    return "\n".join(rows)


def _faint(seen: UnitMeasures, taught: Tensor) -> str:
    """The main AUs that are shown and the net does not tell, with F1 and AUC."""
    shown = (seen.labels == 1).any(0)
    rows = [
        f"{au} (F1 {seen.f1[i]:.2f}, AUC {seen.auc[i]:.2f})"
        for i, au in enumerate(MAIN_AUS)
        if shown[i] and not taught[i]
    ]
    return ", ".join(rows) or "none"


def _taught(experts: Experts) -> Tensor:
    """Which AUs (A + O,) the net learned."""
    main = [au not in experts.config.untrained_aus for au in MAIN_AUS]
    return torch.tensor(main + [name not in experts.config.untrained_sides for name in SUB_AUS])


def _teacher_rows(seen: UnitMeasures) -> str:
    positives = (seen.labels == 1).sum(0)
    return "\n".join(
        f"| {au} {name} | {int(positives[i])} | {seen.f1[i]:.3f} | {seen.auc[i]:.3f} |"
        for i, (au, name) in enumerate(MAIN_AUS.items())
        if positives[i] >= LEAST
    )


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


def experts_card(experts: Experts, trials: Trials, megabytes: float, about: str) -> str:
    """The card; `about` says how long which recipe ran where."""
    spec, main = experts.config, torch.arange(len(MAIN_AUS) + len(SUB_AUS)) < len(MAIN_AUS)
    real = measure_emotions(experts, trials.ferplus, FERPLUS_LABELS)
    made = measure_emotions(experts, trials.posed, spec.labels)
    stills = measure_units(experts, trials.posed.pixels, trials.posed.frames, trials.posed.aus)
    clips, films = None, trials.clips
    if films is not None:
        clips = measure_units(experts, films.pixels, films.frames, films.aus)
    faces, wanted = trials.portraits, teacher_labels(trials.portraits.blendshapes, list(trials.blendshapes))
    teacher = measure_units(experts, faces.pixels, faces.frames, wanted)
    taught = _taught(experts)
    in_clips, learned = "", int(taught[main].sum())
    if clips is not None and films is not None:
        shown = measure_emotions(experts, films, spec.labels)
        in_clips = (
            f"On {clips.count} frames of made clips of unseen persons the main AUs have macro F1 "
            f"**{clips.macro(taught & main):.3f}** ({clips.macro(taught & main, plain=True):.3f} at 0.5);\n"
            f"the emotion of the apex is named in {shown.accuracy:.3f} of {shown.count} clips with one emotion.\n"
        )
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
- AU scores are cosines. `au_thresholds`: from which score on an AU counts as there, by training persons kept back
  (halfway between 0.5 and the best for them);
  `au_mean`, `au_std`: of the scores on training pictures, to compare AUs.
- Untrained, so that their scores mean nothing: AUs {", ".join(map(str, spec.untrained_aus)) or "none"}; of one side
  {", ".join(spec.untrained_sides) or "none"}. Of these, {_faint(clips or stills, taught & main)}
  were shown but not learned: F1 below {LEARNED} on training persons kept back.
- File: {megabytes:.2f} MB. One crop on one CPU thread: emotion {milliseconds(experts.er, spec.size):.1f} ms,
  AUs {milliseconds(experts.au, spec.size):.1f} ms.

## Real photos

Emotions, FER+ validation part, pictures with a majority ({real.count}), all {len(spec.labels)} labels open:
accuracy **{real.accuracy:.4f}**, macro F1 over the 8 labels {real.macro:.3f}, expected calibration error
{real.error:.3f}; {real.astray:.1%} were called by one of the three labels that FER+ lacks.

| emotion | photos | recall | F1 |
|---|---|---|---|
{real.rows}

Action units, {teacher.count} portraits of persons no training part knows, against what a landmarker's
blendshapes suggest (a machine's opinion, not a coder's):

| AU | positives | F1 | AUC |
|---|---|---|---|
{_teacher_rows(teacher)}

## Made (synthetic) pictures

Portraits of persons no training part knows, posed by known action units.
Macro F1 on {stills.count} stills over the {learned} taught main AUs: **{stills.macro(taught & main):.3f}**
({stills.macro(taught & main, plain=True):.3f} if 0.5 is every AU's threshold), over one side of the face
{stills.macro(taught & ~main):.3f}; calibration error of the scores {stills.error:.3f}.
{in_clips}
| AU | in stills | F1 | AUC | in clips | F1 | AUC |
|---|---|---|---|---|---|---|
{_unit_rows(experts, stills, clips)}
{"" if trials.whole is None else _whole_clips(experts, trials.whole)}
Emotions ({made.count} stills): accuracy {made.accuracy:.3f}, calibration error {made.error:.3f}.
An emotion does not decide a made face: many share their action units.

| emotion | stills | recall | F1 |
|---|---|---|---|
{made.rows}
"""
