"""Landmarks, values and odds of a face from crops of a grey picture, each upright by what the last one showed.

N faces; points are pixels of the picture, values are named by points.NETWORK_NAMES.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.faces import warp
from captioner.faces.nets import CropNet, standardise
from captioner.faces.points import MIRROR_68, NETWORK_NAMES, mirror_order

SIGNATURE_SIDE = 28  # of the upright crop that tells people apart
_PASSES = 5  # looks at a new face at most: a head tilted by 35 degrees needs four
_SCALES = (1.0, 0.94, 1.06)  # of the crop
_STILL = 0.03  # mean move of the points, in crop sides, after which another look would change little
_MIRROR_POINTS = [*MIRROR_68, 69, 68]
_MIRROR_VALUES = mirror_order(NETWORK_NAMES)
_OTHER_WAY = torch.tensor([-1.0, 1.0])
_TURNED = torch.tensor([-1.0 if name == "yaw" else 1.0 for name in NETWORK_NAMES])


@dataclass
class FaceEstimate:
    """What was seen in N crops: points (N, 70, 2), values (N, E), odds of a face (N,), signatures (N, D)."""

    points: Tensor
    values: Tensor
    score: Tensor
    signature: Tensor

    def __getitem__(self, chosen: Tensor) -> "FaceEstimate":
        return FaceEstimate(self.points[chosen], self.values[chosen], self.score[chosen], self.signature[chosen])

    def __len__(self) -> int:
        return len(self.score)


class Landmarker:
    """The crop network and the mean face that ties crops to pictures."""

    def __init__(self, net: CropNet, template: Tensor, likeness: tuple[Tensor, Tensor]) -> None:
        self.net, self.template = net, template
        self.likeness = likeness  # mean crop (D0,) and projection (D0, D)
        spread = template.amax(0) - template.amin(0)
        self._span = float(spread.prod() ** 0.5)  # size of the face in an aligned crop

    def settle(self, grey: Tensor, faces: Tensor, still: bool = False) -> FaceEstimate:
        """Faces (N, 3+) given by centre and size, looked at until their landmarks stay where they are.

        A `still` has no second frame to say more: it is looked at for longer.
        """
        sides = faces[:, 2, None, None] / self._span
        marks = self.template * sides + faces[:, None, :2]
        for _ in range(_PASSES - 1):
            before, marks = marks, self.look(grey, marks).points[:, :68]
            if float(((marks - before).norm(dim=2) / sides[:, :, 0]).mean(1).max()) < _STILL:
                break
        return self.look_well(grey, marks, _SCALES if still else _SCALES[:1])

    def look(self, grey: Tensor, marks: Tensor) -> FaceEstimate:
        """One upright look at faces whose landmarks (N, 68, 2) are about known."""
        maps = warp.fit_similarity(self.template.expand_as(marks), marks)
        crops = standardise(warp.cut_crops(grey[None], maps, self.net.config.size))
        points, values, score = self.net(crops)
        return FaceEstimate(warp.apply(maps, points), values, torch.sigmoid(score), self.sign(crops))

    def look_well(self, grey: Tensor, marks: Tensor, scales: tuple[float, ...]) -> FaceEstimate:
        """The mean of looks from some distances, each at the mirror image too: their errors differ."""
        upright = warp.fit_similarity(self.template.expand_as(marks), marks)
        looks = []
        for scale in scales:
            maps = torch.cat([upright[:, :, :2] * scale, upright[:, :, 2:]], 2)
            crops = standardise(warp.cut_crops(grey[None], maps, self.net.config.size))
            points, values, score = (part.chunk(2) for part in self.net(torch.cat([crops, crops.flip(3)])))
            points = (points[0] + points[1][:, _MIRROR_POINTS] * _OTHER_WAY) / 2
            values = (values[0] + values[1][:, _MIRROR_VALUES] * _TURNED) / 2
            looks.append((warp.apply(maps, points), values, (score[0] + score[1]) / 2, crops))
        points, values, score = (torch.stack(part).mean(0) for part in list(zip(*looks, strict=True))[:3])
        return FaceEstimate(points, values, torch.sigmoid(score), self.sign(looks[0][3]))

    def sign(self, crops: Tensor) -> Tensor:
        """Unit vectors (N, D) that are close for crops of one person and less so for others."""
        small = torch.nn.functional.interpolate(crops, size=(SIGNATURE_SIDE,) * 2, mode="bilinear", antialias=True)
        mean, projection = self.likeness
        flat = small.flatten(1)
        flat = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-6)
        return torch.nn.functional.normalize((flat - mean) @ projection, dim=1)
