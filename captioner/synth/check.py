"""Whether a face recogniser sees what a clip commands: the actor alone, undamaged, at rest and at each apex."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from captioner.synth.actor import Actor, FacePlace
from captioner.synth.identity import State
from captioner.synth.story.tale import Role, Story, timeline
from captioner.synth.teacher import RESPONDS, FaceTeacher, TeacherReading, rise

SIDE = 224  # pixels of the pictures that are read; what the final frame looks like does not matter here
WALL = 150.0  # grey behind the person; its own surroundings would take longer to paint than to read
NEAR = 0.9  # share of an AU's peak from which a frame counts as one of its apex
_WITH = {1: 2}  # the whole brow rises: the reader then sees its outer end, as in the measurements behind RESPONDS
READS = 3  # apex frames read at most


class ShowCheck:
    """Draws and reads; a few ms a picture to draw, some 20 to read."""

    def __init__(self, bundle: Path) -> None:
        self.teacher = FaceTeacher(bundle)
        self._rest: WeakKeyDictionary[Actor, TeacherReading | None] = WeakKeyDictionary()

    def close(self) -> None:
        """Free the reader; left to the end of the interpreter, that fails noisily."""
        self.teacher.close()

    def missed(self, actor: Actor, story: Story) -> tuple[int, ...] | None:
        """Salient AUs of the main person that do not show: None if all do, () if no face is found."""
        if actor not in self._rest:
            self._rest[actor] = self._read(actor, State())
        rest = self._rest[actor]
        if rest is None:
            return ()
        role = story.roles[0]
        missed: list[int] = []
        for frame, aus in apexes(role):
            now = self._read(actor, _plain(role.states[frame]))
            if now is None:
                return ()
            commanded = role.states[frame].aus
            missed += [au for au in aus if rise(au, rest, now) < RESPONDS[au] * min(1.0, commanded[au])]
        return tuple(sorted(missed)) or None

    def _read(self, actor: Actor, state: State) -> TeacherReading | None:
        picture = np.full((SIDE, SIDE, 3), WALL, np.float32)
        actor.draw(picture, state, FacePlace(SIDE / 2, SIDE / 2, 0.7 * SIDE))
        return self.teacher.read(np.clip(picture + 0.5, 0, 255).astype(np.uint8))


def apexes(role: Role) -> list[tuple[int, Sequence[int]]]:
    """Frames that together show the salient AUs at (nearly) their peaks, each with the AUs to look for there."""
    looked_for = [au for au in role.peaks if au in RESPONDS and _WITH.get(au) not in role.peaks]
    curves: dict[int, NDArray[np.float64]] = {au: timeline(role, au) for au in looked_for}
    left = {au: curve >= NEAR * curve.max() for au, curve in curves.items() if curve.max() > 0}
    moments: list[tuple[int, Sequence[int]]] = []
    while left and len(moments) < READS:
        frame = int(np.argmax(np.sum(list(left.values()), axis=0)))
        seen = [au for au, near in left.items() if near[frame]]
        moments.append((frame, seen))
        left = {au: near for au, near in left.items() if au not in seen}
    return moments


def _plain(state: State) -> State:
    """The same face, looking ahead, not speaking, not blinking."""
    return replace(state, yaw=0.0, pitch=0.0, roll=0.0, x=0.0, y=0.0, scale=1.0, gaze=(0.0, 0.0), blink=0.0, speech=0.0)
