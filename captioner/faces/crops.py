"""What the frozen experts look at: crops of the dominant face, or of the whole picture where they ask for that."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.config import ExpertsConfig
from captioner.faces import EXPRESSION_NAMES, FaceReader, FaceTrack, open_reader
from captioner.faces.builtin import WEIGHTS
from captioner.video.reading import Clip
from captioner.video.transforms import square_frames

MARGIN = 0.45  # round the face in the crops that our experts know
READ_SIDE = 360  # short edge in pixels at which faces are sought; small faces need it, more costs time


@dataclass(frozen=True)
class FaceCrops:
    """What the experts get of the faces of clips: crops, and what the reader saw in each.

    Axes: B clips, T crops of each, S pixels, E values of the reader. Whatever is None is not known: without `shown`
    every crop is taken to hold a face, without `height` that face to fill the picture.
    """

    pixels: Tensor  # (B, T, 3, S, S) uint8
    shown: Tensor | None = None  # (B, T) whether a crop holds a face
    expression: Tensor | None = None  # (B, T, E) the reader's values, 0 without a face
    height: Tensor | None = None  # (B,) mean height of the face, as a share of the picture's short side
    people: Tensor | None = None  # (B,) how many were followed

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "FaceCrops":
        """The same on a device."""
        return self._each(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "FaceCrops":
        """The same in pinned memory."""
        return self._each(Tensor.pin_memory)

    def hidden(self) -> "FaceCrops":
        """The same with no face shown; where nobody looked for faces nothing can be hidden."""
        return self if self.shown is None else replace(self, shown=torch.zeros_like(self.shown))

    @classmethod
    def stack(cls, parts: "Sequence[FaceCrops]") -> "FaceCrops":
        """Faces of several clips as those of one batch; all know the same things."""
        rows = {name: [getattr(part, name) for part in parts] for name in vars(parts[0])}
        return cls(**{name: torch.cat(row) for name, row in rows.items() if row[0] is not None})

    def _each(self, change: Callable[[Tensor], Tensor]) -> "FaceCrops":
        return FaceCrops(**{name: change(value) for name, value in vars(self).items() if value is not None})


def expert_crops(clip: Clip, config: ExpertsConfig, tracks: Sequence[FaceTrack] | None = None) -> FaceCrops:
    """Crops of frames spread over the clip.

    Without a margin in the config, the centre squares of the frames: taken to show a face, and nobody is counted.
    `tracks` are those that `face_tracks` read before from the same frames.
    """
    places = np.linspace(0, len(clip.frames) - 1, config.frames).round().astype(int)
    if config.margin is None:
        unique, back = np.unique(places, return_inverse=True)
        squares = square_frames(clip.frames[unique], config.size)[torch.from_numpy(back)][None]
        return FaceCrops(squares)
    tracks = face_tracks(clip, config) if tracks is None else tracks
    if not tracks:
        silent = torch.zeros(1, len(places), len(EXPRESSION_NAMES))
        nobody = torch.zeros(1, len(places), 3, config.size, config.size, dtype=torch.uint8)
        unseen = torch.zeros(1, len(places), dtype=torch.bool)
        return FaceCrops(nobody, unseen, silent, torch.zeros(1), torch.zeros(1, dtype=torch.long))
    crops = shared_reader(config.reader).crops(clip.frames, tracks[0], config.size, config.margin)[places]
    shown, expression = (torch.from_numpy(values[places])[None] for values in (tracks[0].present, tracks[0].expression))
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()[None]
    return FaceCrops(pixels, shown, expression, face_height(tracks[0], clip), torch.tensor([len(tracks)]))


def face_height(track: FaceTrack, clip: Clip) -> Tensor:
    """Mean height (1,) of a face in a clip, as a share of the picture's short side."""
    tall = (track.boxes[:, 3] - track.boxes[:, 1])[track.present]
    return torch.tensor([float(tall.mean()) / min(clip.frames.shape[1:3]) if len(tall) else 0.0])


def face_tracks(clip: Clip, config: ExpertsConfig) -> list[FaceTrack]:
    """The people in a clip, most dominant first.

    Every frame is read, also those not asked for: the closer in time, the surer who is who.
    """
    return shared_reader(config.reader).read(clip.frames, clip.times.tolist())


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
def shared_reader(name: str) -> FaceReader:
    """The face reader of a name, opened once."""
    return open_reader(name)


@dataclass(frozen=True)
class PersonTracks:
    """One person through a clip: in the sampled pictures, and in those of the emotion prior where it looks at faces."""

    sampled: FaceTrack
    prior: FaceTrack | None = None


def track_at(track: FaceTrack, places: NDArray[np.int64]) -> FaceTrack:
    """What a track knows of some of its frames, in that order."""
    names = ("boxes", "landmarks", "present", "score", "expression")
    return replace(track, **{name: getattr(track, name)[places] for name in names})


def tracks_of_both(clip: Clip, beside: Clip, config: ExpertsConfig) -> list[PersonTracks]:
    """The people in two samplings of one clip, read at once: whoever is in either is the same person in both."""
    seconds, first, places = np.unique(
        np.concatenate([clip.times, beside.times]), return_index=True, return_inverse=True
    )
    frames = np.concatenate([clip.frames, beside.frames])[first]
    tracks = face_tracks(replace(clip, frames=frames, times=seconds), config)
    own, others = places[: len(clip.times)], places[len(clip.times) :]
    return [PersonTracks(track_at(track, own), track_at(track, others)) for track in tracks]
