"""From dense readings of people to how they move: what the judge of actions looks at."""

from collections.abc import Sequence

import numpy as np
import torch

from captioner.faces.face_reading import FaceReading
from captioner.faces.movement import Curve, Movements, motion_numbers
from captioner.inference.claims import Support
from captioner.model.action_judge import ActionJudge

_DEGREES = 30.0  # a unit of yaw, pitch and roll
_GAP = 2.0  # mouth gaps, in distances between the eye corners, count twice: a mouth wide open is 1


def movements_of(reading: FaceReading, size: tuple[int, int], start: float, end: float) -> Movements:
    """How a person moves in a clip of these seconds and of this size (width, height)."""
    width, height = size
    curves = {
        "yaw": reading.yaw / _DEGREES, "pitch": reading.pitch / _DEGREES, "roll": reading.roll / _DEGREES,
        "gaze_x": reading.gaze[:, 0], "gaze_y": reading.gaze[:, 1], "blink": reading.value("eyeBlink"),
        "mouth": np.clip(_GAP * reading.value("mouthGap"), 0, 1), "smile": reading.value("mouthSmile"),
    }  # fmt: skip
    boxes: Curve = np.asarray(reading.boxes / np.array([width, height, width, height]), np.float64)
    return Movements(reading.times, reading.success, curves, boxes, start, max(end, float(reading.times[-1])))


@torch.inference_mode()
def action_supports(
    people: Sequence[FaceReading], person: int, size: tuple[int, int], start: float, end: float, judge: ActionJudge
) -> dict[str, Support]:
    """How probable each action of a person is; in a picture that stands still nobody does anything but look ahead."""
    movements = movements_of(people[person], size, start, end)
    if not movements.moving:
        return {"still": Support(1.0, None, "nothing moves")}
    others = [number for number in range(len(people)) if number != person]
    other = movements_of(people[others[0]], size, start, end) if others else None
    numbers = torch.from_numpy(motion_numbers(movements, other))[None]
    probabilities = judge(numbers).sigmoid()[0].tolist()
    return {name: Support(value, None, "movement") for name, value in zip(judge.names, probabilities, strict=True)}
