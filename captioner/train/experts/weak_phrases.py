"""What votes and landmarks say of the facial phrases of real stills that nobody captioned: weak labels, chances 0..1.

Axes: N stills, P phrases of PHRASES. Not a number: nobody can say.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.lexicon.phrases import PHRASES

# The chance that a face of an emotion shows a phrase, after the table of Du et al. (2014) and how annotators speak:
# every negative face is a frown to most of them.
VOTED: Mapping[str, Mapping[str, float]] = {
    "frown": {"anger": 0.95, "disgust": 0.75, "sadness": 0.8, "fear": 0.75, "contempt": 0.3, "neutral": 0.05,
              "surprise": 0.06},
    "smile": {"happiness": 0.97, "contempt": 0.25, "neutral": 0.02},
    "raised_brows": {"surprise": 0.75, "fear": 0.3, "neutral": 0.03},
    "wide_eyes": {"surprise": 0.8, "fear": 0.75, "anger": 0.1},
    "wrinkled_nose": {"disgust": 0.75, "anger": 0.3},
    "raised_upper_lip": {"disgust": 0.45, "anger": 0.15},
    "lip_corners_down": {"sadness": 0.6, "disgust": 0.25, "anger": 0.2, "contempt": 0.1, "neutral": 0.03},
    "raised_cheeks": {"happiness": 0.5},
    "raised_inner_brows": {"sadness": 0.4, "fear": 0.4},
    "raised_chin": {"sadness": 0.25, "anger": 0.15, "disgust": 0.2},
}  # fmt: skip
# Its word on pressed, puckered and stretched lips is too loose to teach.
# A landmarker's value up to which a phrase is not there, and from which on it is; between them nobody can say.
Limits = Mapping[str, tuple[str, float, float]]
MEASURED: Limits = {
    "open_mouth": ("jawOpen", 0.05, 0.15), "wide_open_mouth": ("jawOpen", 0.35, 0.55),
    "closed_eyes": ("eyeBlink", 0.35, 0.6),
}  # fmt: skip
# Of portraits, whose emotions one student named, also these.
MEASURED_PORTRAIT: Limits = {
    **MEASURED, "frown": ("browDown", 0.12, 0.5), "smile": ("mouthSmile", 0.2, 0.55),
    "raised_brows": ("browOuterUp", 0.08, 0.4),
}  # fmt: skip
# How often MAFW's annotators say a phrase, in per cent of captions, as far as that is known.
SAID: Mapping[str, float] = {"frown": 0.46, "open_mouth": 0.35}
# Clips of MAFW's single set that have captions, by the emotion that FER+ has for them.
CAPTIONED: Mapping[str, int] = {
    "anger": 1390, "disgust": 639, "fear": 625 + 916, "happiness": 1242, "sadness": 1470 + 262 + 182, "surprise": 1072,
    "contempt": 236,
}  # fmt: skip


def labels_by_votes(shares: Tensor) -> Tensor:
    """Labels (N, P) of faces whose votes are shared out over FERPLUS_LABELS so (N, 8)."""
    labels = torch.full((len(shares), len(PHRASES)), torch.nan)
    for name, chances in VOTED.items():
        row = torch.tensor([chances.get(emotion, 0.0) for emotion in FERPLUS_LABELS])
        labels[:, list(PHRASES).index(name)] = shares @ row
    return labels


def add_landmarker(labels: Tensor, shapes: Tensor, names: Sequence[str], known: Tensor, limits: Limits) -> None:
    """Lay what a landmarker's blendshapes (N, B) say over labels (N, P), where it found the face (N,)."""
    for phrase, (name, least, most) in limits.items():
        columns = [names.index(each) for each in (name, f"{name}Left", f"{name}Right") if each in names]
        value = shapes[:, columns].mean(1)
        certain = known & ((value < least) | (value > most))
        labels[:, list(PHRASES).index(phrase)] = torch.where(certain, (value > most).float(), torch.nan)


def habits_of(logits: Tensor, emotions: Tensor, names: Sequence[str]) -> Tensor:
    """What to add to logits (N, P) of real faces, to say phrases as often as MAFW does.

    emotions: of the faces (N,). Faces are weighed so that emotions are as frequent as among MAFW's captions.
    """
    counts = torch.bincount(emotions, minlength=len(FERPLUS_LABELS)).clamp(min=1)
    wanted = torch.tensor([float(CAPTIONED.get(name, 0)) for name in FERPLUS_LABELS])
    weights = (wanted / counts)[emotions]
    shift = torch.zeros(len(names))
    for name, share in SAID.items():
        values, order = logits[:, names.index(name)].sort(descending=True)
        said = weights[order].cumsum(0) / weights.sum()
        shift[names.index(name)] = -values[int((said < share).sum().clamp(max=len(values) - 1))]
    return shift
