"""What is known about every frame of a synthetic clip, and its manifest line: labels/ID.safetensors, float16.

landmarks (roles, T, L, 2) and boxes (roles, T, 4: x0 y0 x1 y1) in pixels, NaN where a person is not shown;
au (roles, T, A) intensities, pose (roles, T, 3: yaw pitch roll, degrees), gaze (roles, T, 2: right, down),
mouth_and_lids (roles, T, 2: speech, blink). The metadata holds `record`: JSON with the manifest line and the AUs.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from captioner.files import atomic
from captioner.synth.story.camera import Grade
from captioner.synth.story.tale import PHOTO_AUS, Role, Story, timeline


def write_labels(path: Path, tensors: dict[str, NDArray[np.float16]], record: dict[str, Any]) -> None:
    """One file with arrays and record, written atomically; the same bytes for the same content."""
    # one entry: the format keeps the order of several as it likes
    content = save(tensors, {"record": json.dumps(record)})
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a labels file; None where there is no whole one."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            record = json.loads((file.metadata() or {}).get("record", "null"))
    except (OSError, SafetensorError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def role_labels(roles: Sequence[Role], aus: Sequence[int]) -> dict[str, NDArray[np.float16]]:
    """What a story says of its roles, each array (roles, T, ...)."""
    states = [role.states for role in roles]
    arrays: dict[str, Any] = {
        "au": [np.stack([timeline(role, au) for au in aus], axis=-1) for role in roles],
        "pose": [[(s.yaw, s.pitch, s.roll) for s in one] for one in states],
        "gaze": [[s.gaze for s in one] for one in states],
        "mouth_and_lids": [[(s.speech, s.blink) for s in one] for one in states],
    }
    return {name: np.asarray(values).astype(np.float16) for name, values in arrays.items()}


def shown_labels(shown: Sequence[Sequence[Any]], rest: tuple[int, ...]) -> NDArray[np.float16]:
    """Arrays of `rest` by frame and role -> (roles, T, *rest), NaN where there is none."""
    nothing = np.full(rest, np.nan, np.float16)
    frames = [[nothing if one is None else np.asarray(one, np.float16) for one in frame] for frame in shown]
    return np.ascontiguousarray(np.stack([np.stack(frame) for frame in frames]).swapaxes(0, 1))


def story_facts(story: Story, boxes: NDArray[np.float16]) -> dict[str, Any]:
    """What a manifest line says of a story beyond its captions; `boxes` (T, 4) are the main person's."""
    main = story.roles[0]
    return {
        "au_peaks": {str(au): round(peak, 3) for au, peak in sorted(main.peaks.items())},
        "au": _timelines(main, PHOTO_AUS),
        "apex": _apex(main, boxes),
        "boxes": [None if np.isnan(box).any() else np.round(box.astype(float), 1).tolist() for box in boxes],
        "actions": list(main.actions),
        "phrases": list(main.phrases),
        "look": _summary(story.grade),
    }


def _timelines(role: Role, aus: Sequence[int]) -> dict[str, list[float]]:
    """The AUs that move at all, by frame."""
    curves = {str(au): np.round(timeline(role, au), 2) for au in aus}
    return {au: curve.tolist() for au, curve in curves.items() if curve.any()}


def _apex(role: Role, boxes: NDArray[np.float16]) -> int:
    """The frame that shows most of the salient AUs, the middle one if there is none."""
    hidden = np.isnan(boxes).any(axis=1)
    strength = np.sum([timeline(role, au) for au in role.peaks], axis=0)
    if not role.peaks:
        strength = -np.abs(np.linspace(-1, 1, len(boxes)))
    return int(np.argmax(np.where(hidden, -np.inf, strength)))


def _summary(grade: Grade) -> dict[str, Any]:
    """What is not as by default."""
    rest = {each.name: each.default for each in fields(Grade)}
    values = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(grade).items()}
    return {name: value for name, value in values.items() if value != rest[name]}
