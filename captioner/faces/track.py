"""Following faces through a clip: found every few frames, then carried from frame to frame by their landmarks.

N faces, T frames; pictures are grey (H, W) in 0..255.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from captioner.faces.detect import LONGEST, find_faces, overlap
from captioner.faces.landmarks import FaceEstimate, Landmarker
from captioner.faces.nets import Finder
from captioner.faces.points import NETWORK_NAMES
from captioner.faces.reader import Sighting

if TYPE_CHECKING:
    from typing import Self

_LEAST = 8.0  # pixels, side of a face
_YAW = NETWORK_NAMES.index("yaw")
_TURN = 0.8  # of the head, between views of it that are told apart: 24 degrees
SPARSE = 0.2  # seconds between frames from which on they are few
SEARCHED = 0.8  # seconds between searches in such


@dataclass(frozen=True)
class Rules:
    """Thresholds and intervals of the built-in reader, tuned on validation scenes."""

    every: int = 10  # frames between searches
    least: int = 4  # frames of a person who was there; unless the landmark network is `sure`
    finest_every: int = 4  # searches between those that look for the smallest faces too
    floor: float = 0.4  # odds the finder must give before a place is looked at
    found: float = 0.6  # and on average while a face is followed: wheels and cloth that look like faces get less
    doubt: float = 0.4  # unless the landmark network is `sure`, which lets this do
    sure: float = 0.97  # odds it then gives, on average
    enter: float = 0.6  # odds the landmark network must give a new face
    stay: float = 0.4  # and a followed one
    most: int = 48  # faces followed at a time
    tries: int = 24  # places looked at in one search
    cut: float = 30.0  # mean difference of two frames (0..255, coarse) that is a change of shot
    other: float = 0.25  # likeness up to which the face in a followed place is somebody else's
    alike: float = 0.45  # likeness at which a face that returns is the same person
    memory: int = 240  # frames for which a person who left is remembered
    strict: bool = False  # judge people by their whole life, and join those whom a turn of the head parted


DENSE = Rules(every=5, strict=True)  # for about ten pictures a second


def paced(rules: Rules, times: NDArray[np.float64] | None) -> Rules:
    """Rules for frames at these seconds: far apart, people come and go from one to the next."""
    gap = float(np.median(np.diff(times))) if times is not None and len(times) > 1 else 0.0
    if gap < SPARSE:
        return rules
    return replace(rules, every=max(2, min(rules.every, round(SEARCHED / gap))), least=2)


@dataclass(eq=False)
class Followed(Sighting):
    """A person with what it takes to find them in the next frame."""

    signature: Tensor = field(default_factory=lambda: torch.zeros(0))  # mean over the frames
    latest: Tensor = field(default_factory=lambda: torch.zeros(0))  # and of the latest one
    last: Tensor = field(default_factory=lambda: torch.zeros(0))  # landmarks (68, 2) at the latest frame
    turned: dict[int, Tensor] = field(default_factory=dict)  # mean signature by how far the head is turned
    odds: list[float] = field(default_factory=list)  # the finder's, in every search while followed
    speed: Tensor = field(default_factory=lambda: torch.zeros(2))  # of their mean, pixels a frame

    def add(self, at: int, look: FaceEstimate, back: bool = False) -> None:
        """Note what was seen (one face) at a frame; `back` for frames before the first."""
        points = look.points[0, :68]
        self.at.append(at)
        self.marks.append(points.numpy())
        self.scores.append(float(look.score[0]))
        self.values.append(look.values[0].numpy())
        if back:
            return
        if len(self.last) and self.at[-2:-1] == [at - 1]:
            self.speed = (points.mean(0) - self.last.mean(0)) * 0.6 + self.speed * 0.2
        self.last, self.latest = points, look.signature[0]
        share = max(0.1, 1 / len(self.at))
        self.signature = _mixed(self.signature if len(self.signature) else self.latest, self.latest, share)
        turn = round(float(look.values[0, _YAW]) / _TURN)
        self.turned[turn] = _mixed(self.turned.get(turn, self.latest), self.latest, share)

    def part(self, first: int, last: int) -> Self | None:
        """A copy of what was seen in these frames, that may be joined with others."""
        part = super().part(first, last)
        if part is not None:
            part.odds, part.turned = list(self.odds), dict(self.turned)
        return part


def _mixed(grown: Tensor, new: Tensor, share: float) -> Tensor:
    return F.normalize(grown * (1 - share) + new * share, dim=0)


class Tracker:
    """Takes the frames of a clip one by one, gives its people at the end."""

    def __init__(self, finder: Finder, landmarker: Landmarker, rules: Rules, still: bool = False) -> None:
        self.finder, self.landmarker, self.rules = finder, landmarker, rules
        self.still = still  # there will be one frame only
        self.live: list[Followed] = []
        self.gone: list[Followed] = []
        self.recent: deque[Tensor] = deque(maxlen=rules.every)  # frames since the last cut, for looking back
        self.frame, self.searches = -1, 0
        self.thumb: Tensor | None = None
        self.refused: list[tuple[int, Tensor]] = []  # frame and place of what turned out to be no face
        self.cuts: list[int] = []  # frames with which a shot begins

    def step(self, grey: Tensor) -> None:
        """The next frame."""
        self.frame += 1
        fresh = self._is_cut(grey)
        if fresh:
            self.cuts.append(self.frame)
            self._retire(self.live)
            self.recent.clear()
            self.refused.clear()
        before = len(self.live)
        self._follow(grey)
        due = self.frame % self.rules.every == 0
        if fresh or due or len(self.live) < before:
            self._search(grey, finest=fresh or self.searches % self.rules.finest_every == 0, fresh=fresh)
            self.searches += due
        self.recent.append(grey)

    def finish(self) -> list[Followed]:
        """Everybody seen, without fleeting errors."""
        return [seen for seen in self.everything() if self._is_person(seen)]

    def everything(self) -> list[Followed]:
        """All that was followed, faces or not."""
        self._retire(self.live)
        return self.gone

    def between(self, first: int, last: int) -> list[Followed]:
        """Copies of all that was followed, faces or not, in these frames; following goes on."""
        parts = (seen.part(first, last) for seen in (*self.gone, *self.live))
        return [seen for seen in parts if seen is not None]

    def forget(self, before: int) -> None:
        """Let go of the frames before this one, and of those who left too long ago to be known again."""
        oldest = min(before, self.frame - self.rules.memory)
        self.gone = [seen for seen in self.gone if seen.end() >= oldest]
        for seen in (*self.gone, *self.live):
            seen.forget(before)

    def _is_person(self, seen: Followed) -> bool:
        few, odds = len(seen.at) < min(self.rules.least, self.frame + 1), float(np.mean(seen.odds))
        if float(np.mean(seen.scores)) > self.rules.sure:
            return odds > self.rules.doubt
        return odds > self.rules.found and not few

    def _retire(self, those: list[Followed]) -> None:
        for seen in list(those):
            self.gone.append(seen)
            self.live.remove(seen)

    def _is_cut(self, grey: Tensor) -> bool:
        thumb = F.adaptive_avg_pool2d(grey[None, None, ::2, ::2], (9, 16))[0, 0]
        last, self.thumb = self.thumb, thumb
        return last is None or float((thumb - last).abs().mean()) > self.rules.cut

    def _follow(self, grey: Tensor) -> None:
        """Move every live face to this frame; those no longer there retire."""
        if not self.live:
            return
        marks = torch.stack([seen.last + seen.speed for seen in self.live])
        look = self.landmarker.look(grey, marks)
        moved = (look.points[:, :68].mean(1) - marks.mean(1)).norm(dim=1) / _sizes(marks)
        if bool((moved > 0.12).any()):  # far from where it was expected: look again from there
            look = self.landmarker.look(grey, look.points[:, :68])
        steady = self._plausible(look, marks, grey)
        lost = []
        for i, seen in enumerate(self.live):
            if steady[i] and _likeness(seen, look.signature[i]) > self.rules.other:
                seen.add(self.frame, look[torch.tensor([i])])
            else:
                lost.append(seen)
        self._retire(lost)
        self._part()

    def _plausible(self, look: FaceEstimate, marks: Tensor, grey: Tensor) -> list[bool]:
        """Sure enough, and not grown, shrunk or jumped at a stroke, nor slipped out of the picture."""
        now, then = _sizes(look.points[:, :68]), _sizes(marks)
        growth = (now / then.clamp_min(1e-3)).log().abs()
        shift = (look.points[:, :68].mean(1) - marks.mean(1)).norm(dim=1) / then
        centre = look.points[:, :68].mean(1)
        inside = (centre > 0).all(1) & (centre[:, 0] < grey.shape[1]) & (centre[:, 1] < grey.shape[0])
        fine = (look.score > self.rules.stay) & (growth < 0.35) & (shift < 0.6) & inside & (now > _LEAST)
        return [bool(each) for each in fine]

    def _part(self) -> None:
        """Two live faces in one place are one: the one that looks less like itself goes."""
        for seen in sorted(self.live, key=lambda s: len(s.at)):
            others = [other for other in self.live if other is not seen and _near(other.last, seen.last)]
            if not others:
                continue
            self._retire([seen])
            if len(seen.at) < 4:
                self.gone.remove(seen)
            else:
                for each in (seen.at, seen.marks, seen.scores, seen.values):
                    each.pop()  # this frame's face is the other's

    def _search(self, grey: Tensor, finest: bool, fresh: bool) -> None:
        """Look for faces that nobody follows yet."""
        faces = find_faces(self.finder, grey, self.rules.floor, skip_finest=not finest)
        if self.live:
            known = torch.stack([square_of(seen.last) for seen in self.live])
            shared = overlap(faces, known)
            taken = (shared > 0.2).any(1)
            # a search without the finest level says nothing about the smallest faces
            least = 0.0 if finest else 24.0 * max(1.0, max(grey.shape) / LONGEST)
            for seen, share, side in zip(self.live, shared.unbind(1), known[:, 2].tolist(), strict=True):
                if side > least:
                    seen.odds.append(max([0.0, *faces[share > 0.3, 3].tolist()]))
            inside = ((faces[:, None, :2] - known[None, :, :2]).abs() < known[None, :, 2:3] * 0.5).all(-1).any(1)
            faces = faces[~(taken | inside)]
        faces = self._unrefused(faces)[: min(self.rules.tries, self.rules.most - len(self.live))]
        if not len(faces):
            return
        look = self.landmarker.settle(grey, faces, self.still)
        squares = torch.stack([square_of(points) for points in look.points[:, :68]])
        stayed = torch.diagonal(overlap(squares, faces)) > 0.25
        sure = (look.score > self.rules.enter) & stayed & (squares[:, 2] > _LEAST)
        self.refused += [(self.frame, face) for face in faces[~sure]]
        for i in torch.nonzero(sure)[:, 0].tolist():
            one = look[torch.tensor([i])]
            if self._covered(squares[i]):
                continue
            self._enter(grey, one, float(faces[i, 3]), fresh)

    def _unrefused(self, faces: Tensor) -> Tensor:
        """Without the places that held no face a moment ago: looking at them costs more than finding them."""
        self.refused = [(at, face) for at, face in self.refused if self.frame - at <= 2 * self.rules.every]
        if not self.refused or not len(faces):
            return faces
        return faces[(overlap(faces, torch.stack([face for _, face in self.refused])) < 0.5).all(1)]

    def _covered(self, square: Tensor) -> bool:
        """Whether a face lies on one that is followed: two heads hide each other's ears, not each other's faces."""
        if not self.live:
            return False
        known = torch.stack([square_of(seen.last) for seen in self.live])
        return bool((overlap(square[None], known, of_smaller=True) > 0.4).any())

    def _enter(self, grey: Tensor, one: FaceEstimate, odds: float, fresh: bool) -> None:
        seen = self._returned(one, fresh)
        if seen is None:
            seen = Followed()
        else:
            self.gone.remove(seen)
        known = seen.end() if seen.at else -1
        seen.odds.append(odds)
        seen.speed = torch.zeros(2)
        seen.add(self.frame, one)
        self.live.append(seen)
        self._look_back(seen, known)

    def _look_back(self, seen: Followed, known: int) -> None:
        """A face found now was mostly there since the last search."""
        marks = seen.last
        for back, grey in enumerate(reversed(self.recent), start=1):
            at = self.frame - back
            if at <= known:
                return
            look = self.landmarker.look(grey, marks[None])
            if not self._plausible(look, marks[None], grey)[0] or self._occupied(at, look.points[0, :68]):
                return
            seen.add(at, look, back=True)
            marks = look.points[0, :68]

    def _occupied(self, at: int, marks: Tensor) -> bool:
        for other in (*self.live, *self.gone):
            for i in range(len(other.at) - 1, max(-1, len(other.at) - 2 - self.rules.every), -1):
                if other.at[i] == at and _near(torch.from_numpy(other.marks[i]), marks):
                    return True
        return False

    def _returned(self, one: FaceEstimate, fresh: bool) -> Followed | None:
        """Who of those that left this is: close by and recent, or alike."""
        best, found = 0.0, None
        square = square_of(one.points[0, :68])
        for seen in self.gone:
            gap = self.frame - seen.end()
            if gap > self.rules.memory or gap < 1:
                continue
            alike = _likeness(seen, one.signature[0])
            if not fresh and alike > self.rules.other and gap <= 2 * self.rules.every:
                old = square_of(seen.last)
                apart = float((old[:2] - square[:2]).norm() / torch.minimum(old[2], square[2]))
                ratio = float((old[2] / square[2]).log().abs())
                alike += 0.5 * max(0.0, 1 - apart) * (ratio < 0.4)
            if alike > max(best, self.rules.alike):
                best, found = alike, seen
        return found


def _likeness(seen: Followed, signature: Tensor) -> float:
    """Of a face to a person, as a rule and as seen last; -1..1."""
    return float(torch.maximum(seen.signature @ signature, seen.latest @ signature))


def _sizes(marks: Tensor) -> Tensor:
    spread = marks.amax(1) - marks.amin(1)
    return spread.prod(1).clamp_min(1e-6) ** 0.5


def square_of(marks: Tensor) -> Tensor:
    """Centre and side (3,) of landmarks (68, 2)."""
    low, high = marks.amin(0), marks.amax(0)
    return torch.cat([(low + high) / 2, ((high - low).prod().clamp_min(1e-6) ** 0.5)[None]])


def _near(a: Tensor, b: Tensor) -> bool:
    """Whether two sets of landmarks are of the same face: more than a third of an outer eye distance is not."""
    return float((a - b).norm(dim=1).mean()) < 0.5 * float((a[45] - a[36]).norm().clamp_min(3.0))
