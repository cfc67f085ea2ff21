"""Landmarks, values and odds of a face from crops of a grey picture: a loose crop first, then upright ones.

N faces; points are pixels of the picture, values are named by points.NETWORK_NAMES.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.faces import warp
from captioner.faces.nets import CropNet, standardise

SIGNATURE_SIDE = 28  # of the upright crop that tells people apart
_ZOOM = 0.7  # of the loose crop against the aligned one, as in training


@dataclass
class Look:
    """What was seen in N crops: points (N, 70, 2), values (N, E), odds of a face (N,), signatures (N, D)."""

    points: Tensor
    values: Tensor
    score: Tensor
    signature: Tensor

    def __getitem__(self, chosen: Tensor) -> "Look":
        return Look(self.points[chosen], self.values[chosen], self.score[chosen], self.signature[chosen])

    def __len__(self) -> int:
        return len(self.score)


class Landmarker:
    """The two crop networks and the mean face that ties crops to pictures."""

    def __init__(self, loose: CropNet, aligned: CropNet, template: Tensor, likeness: tuple[Tensor, Tensor]) -> None:
        self.loose, self.aligned, self.template = loose, aligned, template
        self.likeness = likeness  # mean crop (D0,) and projection (D0, D)
        spread = template.amax(0) - template.amin(0)
        self._span = float(spread.prod() ** 0.5)  # size of the face in an aligned crop

    def settle(self, grey: Tensor, faces: Tensor) -> Look:
        """Faces (N, 3+) given by centre and size, looked at three times: loosely, then upright twice."""
        sides = faces[:, 2] / self._span / _ZOOM
        zero = torch.zeros_like(sides)
        rows = (torch.stack([sides, zero, faces[:, 0]], -1), torch.stack([zero, sides, faces[:, 1]], -1))
        maps = torch.stack(rows, dim=1)
        points, _, _ = self.loose(standardise(warp.cut(grey[None], maps, self.loose.config.size)))
        marks = warp.apply(maps, points)[:, :68]
        return self.look(grey, self.look(grey, marks).points[:, :68])

    def look(self, grey: Tensor, marks: Tensor) -> Look:
        """One upright look at faces whose landmarks (N, 68, 2) are about known."""
        maps = warp.similarity(self.template.expand_as(marks), marks)
        crops = standardise(warp.cut(grey[None], maps, self.aligned.config.size))
        points, values, score = self.aligned(crops)
        return Look(warp.apply(maps, points), values, torch.sigmoid(score), self.sign(crops))

    def sign(self, crops: Tensor) -> Tensor:
        """Unit vectors (N, D) that are close for crops of one person and less so for others."""
        small = torch.nn.functional.interpolate(crops, size=(SIGNATURE_SIDE,) * 2, mode="bilinear", antialias=True)
        mean, projection = self.likeness
        flat = small.flatten(1)
        flat = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-6)
        return torch.nn.functional.normalize((flat - mean) @ projection, dim=1)
