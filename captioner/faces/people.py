"""Whom a clip shows, once all of it is known: what is no face is out, who was lost and found again is one person."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from captioner.faces.track import Followed, Rules, square_of

# Odds of a face that the landmark network gives on average over a life: .997 and more of 116 faces, moving photos and
# synthetic clips; .95 to .99 of what it takes for faces in writing.
SURE = 0.985
DOUBTED = 0.3  # odds of the finder up to which a track must last
LONG = 8  # frames
EDGES = 2  # frames at either end of a long life that do not count: who enters or leaves is half out of the picture
LOST = 30  # frames for which somebody may be lost in one shot and be found again close by
ALIKE = 0.55  # likeness at which two tracks are one person wherever they are
SAME_PLACE = 0.2  # and where the second begins close to where the first ends
_APART = 2.0  # face sizes that are close by; more the longer the face was lost


def sort_out(tracks: Sequence[Followed], rules: Rules, frames: int, cuts: Sequence[int]) -> list[Followed]:
    """The people among the tracks of a clip of so many frames, with cuts before these."""
    faces = [track for track in tracks if is_face(track, min(rules.least, frames))]
    return join_tracks(faces, cuts)


def is_face(track: Followed, least: int) -> bool:
    """Whether detector and landmarks agree, over a whole life, that this is a face."""
    scores = np.asarray(track.scores)[np.argsort(track.at)]
    inner = scores[EDGES:-EDGES] if len(scores) >= LONG else scores
    sure, found = float(np.mean(inner)), float(np.mean(track.odds))
    if len(track.at) < least or sure < SURE:
        return False
    return found > DOUBTED or len(track.at) >= LONG


def join_tracks(tracks: Sequence[Followed], cuts: Sequence[int]) -> list[Followed]:
    """The tracks with those joined that show one person: never two that are seen in one frame."""
    people = sorted(tracks, key=lambda track: min(track.at))
    while True:
        pairs = [(bond(a, b, cuts), i, j) for i, a in enumerate(people) for j, b in enumerate(people[:i])]
        best = max(pairs, default=(0.0, 0, 0))
        if best[0] <= 0:
            return people
        _absorb(people[best[2]], people.pop(best[1]))


def bond(a: Followed, b: Followed, cuts: Sequence[int]) -> float:
    """How much speaks for two tracks being one person; 0: nothing. They look alike, or one takes the other's place."""
    if not set(a.at).isdisjoint(b.at):
        return 0.0
    alike = likeness_of(a, b)
    needed = SAME_PLACE if _takes_over(a, b, cuts) else ALIKE
    return max(0.0, alike - needed)


def likeness_of(a: Followed, b: Followed) -> float:
    """Of two people, -1..1: the best over turns of the head that both show; as a rule where they share none."""
    shared = [float(a.turned[turn] @ b.turned[turn]) for turn in a.turned.keys() & b.turned.keys()]
    return max(shared, default=float(a.signature @ b.signature))


def _takes_over(a: Followed, b: Followed, cuts: Sequence[int]) -> bool:
    """Whether one begins, in the same shot and size, soon after and close to where the other ended."""
    for first, then in ((a, b), (b, a)):
        for lost, back in _ends(first, then):
            gap = then.at[back] - first.at[lost]
            if 0 < gap <= LOST and not any(first.at[lost] < cut <= then.at[back] for cut in cuts):
                old, new = (square_of(torch.from_numpy(each)) for each in (first.marks[lost], then.marks[back]))
                apart = float((old[:2] - new[:2]).norm() / torch.minimum(old[2], new[2]))
                if apart < _APART * (1 + gap / LOST) and abs(float((old[2] / new[2]).log())) < 0.5:
                    return True
    return False


def _ends(first: Followed, then: Followed) -> list[tuple[int, int]]:
    """Places in both lists where the first is followed by the second with neither between."""
    steps = sorted([(at, 0, place) for place, at in enumerate(first.at)] + [(at, 1, p) for p, at in enumerate(then.at)])
    return [(one[2], other[2]) for one, other in pairwise(steps) if (one[1], other[1]) == (0, 1)]


def _absorb(person: Followed, other: Followed) -> None:
    """Give a person all that was seen of the other."""
    shares = len(person.at), len(other.at)
    for turn, look in other.turned.items():
        person.turned[turn] = _between(person.turned.get(turn, look), look, shares)
    person.signature = _between(person.signature, other.signature, shares)
    for name in ("at", "marks", "scores", "values", "odds"):
        getattr(person, name).extend(getattr(other, name))
    person.notes |= other.notes
    person.looks = sorted([*person.looks, *other.looks], reverse=True)


def _between(a: torch.Tensor, b: torch.Tensor, shares: tuple[int, int]) -> torch.Tensor:
    return torch.nn.functional.normalize(a * shares[0] + b * shares[1], dim=0)
