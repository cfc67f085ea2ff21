"""Numbers of movement: the order of time counts, the frame rate and lost frames do not."""

import numpy as np
import pytest

from captioner.faces.movement import MOTION_NAMES, Movements, motion_numbers


def moved(fps: float = 10.0, seconds: float = 3.0, lost: tuple[int, ...] = (), **curves: float) -> Movements:
    """A person whose named curves run from 0 to these values; x0 and x1 are where the face begins and ends."""
    times = np.arange(round(seconds * fps)) / fps
    ramp = times / times[-1]
    names = ("yaw", "pitch", "roll", "gaze_x", "gaze_y", "blink", "mouth", "smile")
    values = {name: curves.get(name, 0.0) * ramp for name in names}
    x = curves.get("x0", 0.4) + (curves.get("x1", 0.4) - curves.get("x0", 0.4)) * ramp
    boxes = np.stack([x, np.full_like(x, 0.3), x + 0.2, np.full_like(x, 0.55)], 1)
    seen = np.ones(len(times), bool)
    seen[list(lost)] = False
    return Movements(times, seen, values, boxes, 0.0, float(times[-1]))


def number(person: Movements, name: str, other: Movements | None = None) -> float:
    return float(motion_numbers(person, other)[MOTION_NAMES.index(name)])


def backwards(person: Movements) -> Movements:
    curves = {name: curve[::-1] for name, curve in person.curves.items()}
    return Movements(person.times, person.seen[::-1], curves, person.boxes[::-1], person.start, person.end)


def test_sides_and_the_order_of_time_are_told_apart() -> None:
    left, right = moved(yaw=-1.0), moved(yaw=1.0)
    assert number(left, "yaw.net") == pytest.approx(-number(right, "yaw.net")) != 0
    assert number(backwards(right), "yaw.net") == pytest.approx(-number(right, "yaw.net"))
    comes = moved(x0=0.0, x1=0.5, lost=(0, 1, 2, 3, 4, 5))
    assert number(comes, "seen.late") > 0.15 > number(comes, "seen.early")
    assert number(backwards(comes), "seen.early") > 0.15 > number(backwards(comes), "seen.late")


def test_frame_rate_and_lost_frames_hardly_count() -> None:
    whole = motion_numbers(moved(yaw=1.0, mouth=0.6, smile=0.5))
    for other in (moved(25.0, yaw=1.0, mouth=0.6, smile=0.5), moved(lost=(7, 8, 15), yaw=1.0, mouth=0.6, smile=0.5)):
        differences = np.abs(motion_numbers(other) - whole)
        ignored = [i for i, name in enumerate(MOTION_NAMES) if name in ("seen.holes", "seen.share")]
        differences[ignored] = 0
        assert differences.max() < 0.12, MOTION_NAMES[int(differences.argmax())]


def test_a_nod_beats_and_a_turn_does_not() -> None:
    nods = moved()
    nods.curves["pitch"][:] = 0.4 * np.sin(2 * np.pi * 2.0 * nods.times)  # type: ignore[index]
    assert number(nods, "pitch.beat") > 5 * number(moved(pitch=0.4), "pitch.beat")
    assert abs(number(nods, "pitch.net")) < 0.3


def test_a_second_person_gives_a_side() -> None:
    there = moved(x0=0.75, x1=0.75)
    assert number(moved(yaw=1.0, x0=0.1, x1=0.1), "other.yaw_towards", there) > 0.5
    assert number(moved(yaw=1.0), "other.there") == 0.0


def test_nobody_and_a_still_picture() -> None:
    nobody = moved(lost=tuple(range(30)))
    assert motion_numbers(nobody)[:-1].max(initial=0.0) <= 0.6  # only the seconds of the clip are known
    assert not moved().moving
    assert moved(x0=0.1, x1=0.3).moving
