"""What the frozen experts look at: crops of the dominant face, or of the whole picture where they ask for that."""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from captioner.config import ExpertsConfig
from captioner.faces import EXPRESSION_NAMES, FaceReader, FaceTrack, open_reader
from captioner.faces.builtin import WEIGHTS
from captioner.video.reading import Clip
from captioner.video.transforms import prepare

READ_SIDE = 360  # short edge in pixels at which faces are sought; small faces need it, more costs time


class FaceCrops(NamedTuple):
    """What the experts get of a clip: pixels (1, T_e, 3, s, s) uint8, and of each which the reader saw.

    shown (1, T_e): whether it holds a face; None: taken to. expression (1, T_e, E): the reader's values, 0 without a
    face; None where nobody read them. height (1,): mean height of the face, as a share of the picture's short side.
    people: how many were followed.
    """

    pixels: Tensor
    shown: Tensor | None
    expression: Tensor | None
    height: Tensor | None
    people: int


def expert_crops(clip: Clip, config: ExpertsConfig, tracks: Sequence[FaceTrack] | None = None) -> FaceCrops:
    """Crops of frames spread over the clip.

    Without a margin in the config, the centre squares of the frames: taken to show a face, and nobody is counted.
    `tracks` are those that `face_tracks` read before from the same frames.
    """
    places = np.linspace(0, len(clip.frames) - 1, config.frames).round().astype(int)
    if config.margin is None:
        unique, back = np.unique(places, return_inverse=True)
        squares = prepare(clip.frames[unique], config.size)[torch.from_numpy(back)][None]
        return FaceCrops(squares, None, None, None, 0)
    tracks = face_tracks(clip, config) if tracks is None else tracks
    if not tracks:
        silent = torch.zeros(1, len(places), len(EXPRESSION_NAMES))
        nobody = torch.zeros(1, len(places), 3, config.size, config.size, dtype=torch.uint8)
        return FaceCrops(nobody, torch.zeros(1, len(places), dtype=torch.bool), silent, torch.zeros(1), 0)
    crops = _reader(config.reader).crops(clip.frames, tracks[0], config.size, config.margin)[places]
    shown, expression = (torch.from_numpy(values[places])[None] for values in (tracks[0].present, tracks[0].expression))
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()[None]
    return FaceCrops(pixels, shown, expression, face_height(tracks[0], clip), len(tracks))


def face_height(track: FaceTrack, clip: Clip) -> Tensor:
    """Mean height (1,) of a face in a clip, as a share of the picture's short side."""
    tall = (track.boxes[:, 3] - track.boxes[:, 1])[track.present]
    return torch.tensor([float(tall.mean()) / min(clip.frames.shape[1:3]) if len(tall) else 0.0])


def face_tracks(clip: Clip, config: ExpertsConfig) -> list[FaceTrack]:
    """The people in a clip, most dominant first.

    Every frame is read, also those not asked for: the closer in time, the surer who is who.
    """
    return _reader(config.reader).read(clip.frames, clip.times.tolist())


def crop_side(config: ExpertsConfig) -> int:
    """The short edge in pixels at which a clip is decoded for the experts."""
    return config.size if config.margin is None else READ_SIDE


def reader_version(config: ExpertsConfig) -> list[str]:
    """What the faces depend on besides the frames: the backend, its weights or its release."""
    if config.reader == "builtin":
        files = [(WEIGHTS / name).read_bytes() for name in ("config.json", "model.safetensors")]
        return ["builtin", hashlib.sha256(b"".join(files)).hexdigest()[:16]]
    package = {"mediapipe": "mediapipe", "fan": "face-alignment"}[config.reader]
    try:
        return [config.reader, version(package)]
    except PackageNotFoundError:  # named when faces are asked for
        return [config.reader, ""]


@cache
def _reader(name: str) -> FaceReader:
    return open_reader(name)
