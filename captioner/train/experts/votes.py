"""What votes for emotions say of action units: a bottleneck of fixed signs, and how well single units rank faces.

The votes of FER+ name emotions, not action units. An emotion's logit is a sum of AU scores with weights that cannot be
negative, over the units that go with it; so a vote can only raise units of its emotion and lower those of the others.
Axes: B faces, E emotions of FERPLUS_LABELS, A main AUs.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.train.experts.au_net import ranking
from captioner.train.experts.portraits import majority
from prompts.action_units import MAIN_AUS

PLACE = {au: place for place, au in enumerate(MAIN_AUS)}
CORE, OFTEN, MAY = 4.0, 2.0, 0.5  # first weights of units that always, often and sometimes go with an emotion
# After the table of Du et al. (2014), and what clear votes of FER+ show beside it: 72 % of angry faces part their lips,
# so pressed lips (24) are no core of anger. Tight lids (7) are left out: as part of anger they learn to mean anger.
UNITS: Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "neutral": ((), (), ()),
    "happiness": ((12, 25), (6,), (26,)),
    "surprise": ((1, 2, 25, 26), (5,), (27,)),
    "sadness": ((4, 15, 17), (1,), (6, 20, 25, 26)),
    "anger": ((4,), (9, 10), (5, 17, 20, 24, 25, 26, 27)),
    "disgust": ((9, 10), (4, 17), (25, 26)),
    "fear": ((1, 4, 20, 25), (2, 5, 26), (27,)),
    "contempt": ((), (), (12, 14)),
}
# Jaws and smiles are known already; votes must not bend them.
SETTLED = (12, 14, 25, 26, 27)
# Units that votes reach only through soft targets of their own: the chance that a face of an emotion shows them.
DIRECT: Mapping[int, Mapping[str, float]] = {
    17: {"neutral": 0.0, "happiness": 0.0, "surprise": 0.0, "sadness": 0.55, "anger": 0.25, "disgust": 0.35},
    15: {"neutral": 0.0, "happiness": 0.0, "surprise": 0.0, "sadness": 0.6},
    5: {"neutral": 0.0, "happiness": 0.0, "surprise": 0.7, "sadness": 0.0, "fear": 0.6},
    1: {"neutral": 0.0, "happiness": 0.0, "surprise": 0.8, "sadness": 0.5, "fear": 0.75, "anger": 0.0},
}
# How well a unit alone must tell clear faces of an emotion from neutral ones (area under the ROC curve).
AIMS: Mapping[tuple[str, int], float] = {
    ("anger", 4): 0.85, ("sadness", 4): 0.85, ("sadness", 15): 0.82, ("sadness", 17): 0.70, ("disgust", 9): 0.93,
    ("surprise", 2): 0.86, ("surprise", 5): 0.93, ("happiness", 6): 0.84, ("happiness", 12): 0.97, ("fear", 1): 0.88,
}  # fmt: skip
# Of clear faces of these emotions at most such a share may pass AU4's threshold: lowered brows are no anger detector.
PASSING: Mapping[str, float] = {"neutral": 0.10, "happiness": 0.08, "surprise": 0.03}
_PACE = 40.0  # how much faster the map learns than the net, whose rate it shares


class EmotionMap(nn.Module):
    """Emotion logits (B, E) of AU scores (B, A): weights at least 0, and 0 where a unit has no part in an emotion."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        first = torch.zeros(len(FERPLUS_LABELS), len(MAIN_AUS))
        for row, name in enumerate(FERPLUS_LABELS):
            for weight, units in zip((CORE, OFTEN, MAY), UNITS[name], strict=True):
                first[row, [PLACE[au] for au in units]] = weight
        self.register_buffer("mask", (first > 0).float())
        inverse = torch.where(first > 0, first.clamp(min=1e-3).expm1().log(), torch.zeros(()))  # of softplus
        self.raw = nn.Parameter(inverse / _PACE)
        usual = torch.tensor([2.5 if name == "neutral" else 0.0 for name in FERPLUS_LABELS])
        self.bias = nn.Parameter(usual / _PACE)

    def weights(self) -> Tensor:
        """Weights (E, A)."""
        return F.softplus(self.raw * _PACE) * self.mask

    def forward(self, scores: Tensor) -> Tensor:
        """Logits; the settled units pass no gradient."""
        fixed = [PLACE[au] for au in SETTLED]
        scores = scores[:, : len(MAIN_AUS)].index_copy(
            1, torch.tensor(fixed, device=scores.device), scores[:, fixed].detach()
        )
        return scores @ self.weights().T + self.bias * _PACE


def direct_loss(scores: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy of the units of DIRECT against their chance under the shares (B, E) of the votes; scores (B, A)."""
    total, known = scores.new_zeros(()), scores.new_zeros(())
    for au, chances in DIRECT.items():
        places = [FERPLUS_LABELS.index(name) for name in chances]
        weight = shares[:, places].sum(1)
        wanted = shares[:, places] @ shares.new_tensor(list(chances.values())) / weight.clamp(min=1e-6)
        weight = weight * (weight > 0.3)
        score = scores[:, PLACE[au]].clamp(1e-4, 1 - 1e-4)
        total = total + (F.binary_cross_entropy(score, wanted, reduction="none") * weight).sum()
        known = known + weight.sum()
    return total / known.clamp(min=1)


def clear_faces(votes: Tensor, least: float = 7, neutral: float = 8) -> Tensor:
    """The emotion (N,) that at least so many of the ten votes (N, 10) agree on; -1 elsewhere."""
    emotions, most = majority(votes), votes[:, : len(FERPLUS_LABELS)].amax(1)
    enough = most >= torch.where(emotions == FERPLUS_LABELS.index("neutral"), neutral, least)
    return torch.where(enough, emotions, -1)


def vote_areas(scores: Tensor, emotions: Tensor) -> dict[tuple[str, int], float]:
    """Area under the ROC curve of each unit of AIMS, faces of its emotion against neutral ones; scores (N, A)."""
    areas = {}
    for name, au in AIMS:
        truth = torch.where(
            emotions == FERPLUS_LABELS.index(name), 1, torch.where(emotions == FERPLUS_LABELS.index("neutral"), 0, -1)
        )
        areas[name, au] = ranking(scores[:, [PLACE[au]]], truth[:, None])[0].item()
    return areas


def guarded_threshold(threshold: float, scores: Tensor, emotions: Tensor) -> float:
    """AU4's threshold, raised until no more faces pass it than PASSING allows; scores (N, A), emotions (N,)."""
    for name, most in PASSING.items():
        if (faces := emotions == FERPLUS_LABELS.index(name)).any():
            threshold = max(threshold, torch.quantile(scores[faces, PLACE[4]], 1 - most).item())
    return threshold


def shortfall(areas: Mapping[tuple[str, int], float]) -> float:
    """By how much areas miss AIMS on average; a surplus counts a tenth."""
    gaps = [aim - areas[key] for key, aim in AIMS.items() if not math.isnan(areas[key])]
    return sum(max(gap, 0.1 * gap) for gap in gaps) / max(1, len(gaps))
