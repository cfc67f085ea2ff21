"""What the muscles of one face do: displacements of its landmarks for intensities of action units."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.synth.photo.basis import BLENDSHAPES, LOWER_LIDS, LOWER_LIP, MESH_POINTS, UPPER_LIDS, UPPER_LIP, Basis

Array = NDArray[np.floating[Any]]
Sides = Mapping[int, tuple[float, float]]

# Rows of skin that follow a lid, without the corners: above the upper one, below the lower one.
_ABOVE = (
    ((247, 30, 29, 27, 28, 56, 190), (113, 225, 224, 223, 222, 221, 189)),
    ((467, 260, 259, 257, 258, 286, 414), (342, 445, 444, 443, 442, 441, 413)),
)
_BELOW = ((25, 110, 24, 23, 22, 26, 112), (255, 339, 254, 253, 252, 256, 341))
# The lower edges of the brows, from the outer end to the inner one.
_BROWS = ((46, 53, 52, 65, 55), (276, 283, 282, 295, 285))
# From the brow to the hair.
_FOREHEAD = (
    ((46, 53, 52, 65, 55), (70, 63, 105, 66, 107), (71, 68, 104, 69, 108), (21, 54, 103, 67, 109)),
    ((276, 283, 282, 295, 285), (300, 293, 334, 296, 336), (301, 298, 333, 299, 337), (251, 284, 332, 297, 338)),
)
# Skin beside the red of the lips, row by row, and how much of its movement follows pressed lips.
_BESIDE_LIPS = (
    (((186, 92, 165, 167, 164, 393, 391, 322, 410), 0.45),),
    (((43, 106, 182, 83, 18, 313, 406, 335, 273), 0.6), ((202, 204, 194, 201, 200, 421, 418, 424, 422), 0.25)),
)
_ABOVE_SHARE = (0.45, 0.12)
_BELOW_SHARE = 0.45
_MEET = 0.1  # share of the opening that the lower lid rises when the eye closes
_WIDE = 0.17  # of an eye's width that the upper lid rises when the eye is torn open
_ROOMLESS = 0.55  # share of that which is left to eyes that are wide already
_DROP = 0.45  # of the opening that the lower lid sinks when the eye is torn open
_TIGHT = (0.42, 0.48)  # of the opening that the upper lid sinks and the lower one rises in narrowed eyes
_PRESS = 0.33  # of the red of the lips that disappears when they are pressed
# A face at rest whose reading of an AU lies deep below zero (as a logit) must move further before it shows: the reading
# at which the field is right as it is, and how much stronger it must be per unit below. Fitted on 48 train photos.
_CALM: dict[int, tuple[float, float]] = {
    1: (-4.2, 0.15), 2: (-4.2, 0.15), 4: (-1.7, 0.21), 10: (-7.5, 0.17), 12: (-5.7, 0.09), 15: (-5.2, 0.14),
    17: (-2.6, 0.27), 18: (-5.2, 0.23), 20: (-4.2, 0.15),
}  # fmt: skip
# The mean fields of these are smaller than the eye needs: MediaPipe told them from rest on posed stills of strangers
# with F1 .19 (6) and .33 (9) only.
_BOLD: dict[int, float] = {6: 1.6, 9: 1.35}
_GAINS = (0.75, 1.4)
_THIN = 0.3  # of the distance at rest between rows of lip points that always remains
_WRINKLED = 0.6  # the same between brow and hair
_ROOM = 0.75  # of the skin between brow and lid that a frown may use up
_SOFT = 0.1  # half width of the zone in the middle of the face that both sides move


class Muscles:
    """The fields of a basis fitted to one face, (468, 3) in its pixels, and its lids and lips."""

    def __init__(self, landmarks: Array, basis: Basis, blendshapes: Mapping[str, float] | None = None) -> None:
        self.face = landmarks[:MESH_POINTS]
        turn, scale = basis.align(landmarks)
        left = np.clip(basis.mean[:MESH_POINTS, :1] / (2 * _SOFT) + 0.5, 0, 1)
        left = left * left * (3 - 2 * left)
        strength = scale * np.array([gain(au, blendshapes or {}) for au in basis.fields])
        fields = {
            au: amount * field[:MESH_POINTS] @ turn
            for amount, (au, field) in zip(strength, basis.fields.items(), strict=True)
        }
        self.fields = {au: (field * left, field * (1 - left)) for au, field in fields.items()}
        down = np.array([0, 1, 0], np.float32) @ turn
        self.down = down / np.linalg.norm(down)
        self._limit_frown()

    def _limit_frown(self) -> None:
        """A low brow has less way to go."""
        both = []
        for left, field in zip((1, 0), self.fields.get(4, ()), strict=False):
            brow, lid = list(_BROWS[left]), list(UPPER_LIDS[left][2:-2])
            room = ((self.face[lid] - self.face[brow]) @ self.down).min()
            way = (field[brow] @ self.down).max()
            both.append(field * min(1.0, max(_ROOM * room / max(way, 1e-6), 0.3)))
        if both:
            self.fields[4] = (both[0], both[1])

    def shift(self, aus: Mapping[int, float], sides: Sides) -> Array:
        """Displacements (468, 3) of the landmarks in pixels."""
        total = np.zeros_like(self.face)
        for au, value in aus.items():
            if au in self.fields:
                left, right = sides.get(au, (1.0, 1.0))
                total += value * (left * self.fields[au][0] + right * self.fields[au][1])
        for side in (0, 1):
            if 1 in aus or 2 in aus:
                self._unfold(total, _FOREHEAD[side], -self.down, _WRINKLED)
            self._lids(total, side, aus, sides)
        self._lips(total, aus)
        return total

    def lids(self, aus: Mapping[int, float], sides: Sides, side: int) -> tuple[float, float]:
        """How far an eye (0 the person's right, 1 the left) is torn open and how far shut, 0..1 each."""
        return _of(5, aus, sides, side), _of(43, aus, sides, side)

    def _lids(self, total: Array, side: int, aus: Mapping[int, float], sides: Sides) -> None:
        shut, wide = _of(43, aus, sides, side), _of(5, aus, sides, side)
        tight, cheek = _of(7, aus, sides, side), _of(6, aus, sides, side)
        frown = _of(4, aus, sides, side)
        if shut + wide + tight + cheek + frown == 0:
            return
        upper, lower = list(UPPER_LIDS[side][1:-1]), list(LOWER_LIDS[side][1:-1])
        opening = self.face[lower] - self.face[upper]
        raised = -(max(_MEET * shut, _TIGHT[1] * tight, 0.32 * cheek) - _DROP * wide * (1 - shut)) * opening
        closing = 1 - (1 - shut) * (1 - _TIGHT[0] * tight) * (1 - 0.14 * frown * (1 - wide))
        dropped = closing * (opening + raised)
        corner = self.face[list(UPPER_LIDS[side])]
        width = np.linalg.norm(corner[0] - corner[-1])
        arch = np.sin(np.linspace(0, np.pi, len(upper) + 2))[1:-1, None].astype(np.float32)
        aspect = np.linalg.norm(opening[3]) / width
        room = float(np.clip((0.54 - aspect) / 0.16, _ROOMLESS, 1))  # eyes that are wide already would pop out
        dropped = dropped - (1 - shut) * wide * room * _WIDE * width * arch * self.down
        total[upper] += dropped
        total[lower] += raised
        for row, share in zip(_ABOVE[side], _ABOVE_SHARE, strict=True):
            total[list(row)] += share * dropped
        total[list(_BELOW[side])] += _BELOW_SHARE * raised

    def _lips(self, total: Array, aus: Mapping[int, float]) -> None:
        """Press the lips if told so, and keep their rows from passing through each other."""
        press = min(aus.get(24, 0.0) + 0.8 * aus.get(23, 0.0), 1.0)
        if press:
            self._press(total, press * _PRESS)
        gap = self._gaps(self.face + total)
        crossed = np.minimum(gap, 0)[:, None] * self.down
        for k in range(1, 4):
            # the lower lip is the stronger one: raising the chin lifts both
            total[list(UPPER_LIP[k][1:-1])] += 0.7 * (k / 3) * crossed
            total[list(LOWER_LIP[k][1:-1])] -= 0.3 * (k / 3) * crossed
        for lip, outwards in ((UPPER_LIP, -self.down), (LOWER_LIP, self.down)):
            self._unfold(total, [row[1:-1] for row in lip[::-1]], outwards, _THIN)

    def _press(self, total: Array, amount: float) -> None:
        for lip, skin in zip((UPPER_LIP, LOWER_LIP), _BESIDE_LIPS, strict=True):
            seam = self.face[list(lip[3][1:-1])]
            for k in range(3):
                row = list(lip[k][1:-1])
                total[row] += amount * (seam - self.face[row])
            for row_beside, share in skin:
                total[list(row_beside)] += share * amount * (seam - self.face[list(lip[0][1:-1])])

    def _unfold(self, total: Array, rows: Sequence[Sequence[int]], outwards: Array, thin: float) -> None:
        """Each row of points stays beyond the one before by a share of the distance at rest."""
        for before, row in pairwise(map(list, rows)):
            apart = np.maximum((self.face[row] - self.face[before]) @ outwards, 0)
            now = (self.face[row] + total[row] - self.face[before] - total[before]) @ outwards
            total[row] += np.maximum(thin * apart - now, 0)[:, None] * outwards

    def _gaps(self, face: Array) -> Array:
        """Distances (9,) of the inner edges of the lips, negative where they cross."""
        return (face[list(LOWER_LIP[3][1:-1])] - face[list(UPPER_LIP[3][1:-1])]) @ self.down


def gain(au: int, blendshapes: Mapping[str, float]) -> float:
    """How much further than average a face must move until an AU shows, from what its photo shows at rest."""
    scores = [blendshapes[name] for name in BLENDSHAPES.get(au, ()) if name in blendshapes]
    if au not in _CALM or not scores:
        return _BOLD.get(au, 1.0)
    score = float(np.clip(np.mean(scores), 1e-4, 1 - 1e-4))
    usual, slope = _CALM[au]
    return float(np.clip(1 + slope * (usual - np.log(score / (1 - score))), *_GAINS))


def _of(au: int, aus: Mapping[int, float], sides: Sides, side: int) -> float:
    left, right = sides.get(au, (1.0, 1.0))
    return min(aus.get(au, 0.0) * (left if side else right), 1.0)
