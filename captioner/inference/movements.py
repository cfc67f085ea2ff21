"""From dense readings of people to how they move: what the judge of actions looks at."""

from collections.abc import Sequence

import torch

from captioner.faces.face_reading import FaceReading
from captioner.faces.movement import motion_numbers, movements_of
from captioner.inference.claims import Support
from captioner.model.action_judge import ActionJudge


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
