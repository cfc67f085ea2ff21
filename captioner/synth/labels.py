"""What is known about every frame of a made clip, and its manifest line: labels/ID.safetensors, float16.

landmarks (roles, T, L, 2) and boxes (roles, T, 4: x0 y0 x1 y1) in pixels, NaN where a person is not shown;
au (roles, T, A) intensities, pose (roles, T, 3: yaw pitch roll, degrees), gaze (roles, T, 2: right, down),
mouth_and_lids (roles, T, 2: speech, blink). The metadata holds `record`: JSON with the manifest line and the AUs.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from captioner.files import atomic
from captioner.synth.story.tale import Role, timeline

Points = NDArray[np.float32]


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
            found = json.loads((file.metadata() or {}).get("record", "null"))
    except (OSError, SafetensorError, ValueError):
        return None
    return found if isinstance(found, dict) else None


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
