"""From whatever holds a clip (file, array, window of a long video) to what the model looks at.

Axes: T frames, H W pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from captioner.config import ModelConfig
from captioner.data.feature_store import prior_belief, read_clips
from captioner.errors import VideoError
from captioner.faces import FaceTrack
from captioner.faces.crops import READ_SIDE, crop_side, expert_crops, face_tracks
from captioner.model.batch import ClipInputs
from captioner.video.reading import Clip
from captioner.video.shots import Piece, pieces
from captioner.video.transforms import crop, resize_short


@dataclass
class Viewed:
    """A clip ready for the model: one `ClipInputs` for each person to describe, or one for the clip as a whole."""

    seen: list[ClipInputs]
    persons: list[int]  # their places in `tracks`; -1 where no face is meant
    tracks: list[FaceTrack]
    clip: Clip | None  # the pictures in which they were read, where evidence is asked for
    start: float
    end: float
    times: list[float]
    source: str
    duration: float  # of the whole file
    shot: float = 0.0  # where its shot begins, of a window

    @property
    def faces(self) -> int:
        """How many people were followed."""
        return len(self.tracks)


def view(
    source: Any,
    config: ModelConfig,
    *,
    start: float = 0.0,
    end: float | None = None,
    fps: float = 25.0,
    people: int = 0,
    keep: bool = False,
) -> Viewed:
    """A video file, an open file, or frames uint8 (T, H, W, 3) of `fps`, between two seconds.

    people: describe so many persons (fewer where fewer are there). keep: with pictures and faces for the evidence.
    """
    sides = view_sides(config, keep)
    if isinstance(source, np.ndarray | Tensor):
        clips = sample_array(source, config.video.frames, sides, fps, start, end)
        prior = array_belief(source, config, fps, start, end)
    else:
        clips = read_clips(source, config, sides, start=start, end=end)
        prior = prior_belief(source, config, start=start, end=end)
    times = clips[0].times
    return assemble(clips, config, (float(times[0]), float(times[-1])), prior, people, keep)


def view_windows(
    source: Any,
    config: ModelConfig,
    seconds: float,
    *,
    people: int = 0,
    keep: bool = False,
    after: tuple[float, float] | None = None,
) -> Iterator[Viewed]:
    """Window after window of at most `seconds`; none holds a cut, and only one is in memory.

    after: where the shot of a window begins and where that window ends, to go on behind it.
    """
    shot, done = after or (0.0, -1.0)
    for piece in pieces(source, seconds, config.video.frames, view_sides(config, keep), shot):
        if piece.end > done:
            prior = belief_of(config, piece.end - piece.start, partial(_in_piece, piece))
            viewed = assemble(piece.clips, config, (piece.start, piece.end), prior, people, keep)
            yield replace(viewed, shot=piece.shot)


def _in_piece(piece: Piece, at: np.ndarray) -> tuple[np.ndarray, list[float]]:
    return piece.pictures((piece.start + at).tolist())


def view_sides(config: ModelConfig, keep: bool) -> list[int]:
    """The short edges to decode at: the encoder's, the experts', and the face reader's where more looks at it."""
    sides = [config.video.size, crop_side(config.experts) if config.prompts.vep else config.video.size]
    return [*sides, READ_SIDE] if keep or config.emotion_prior else sides


def assemble(
    clips: list[Clip],
    config: ModelConfig,
    span: tuple[float, float],
    prior: Tensor | None,
    people: int,
    keep: bool,
) -> Viewed:
    """What the model takes, from the clip at each of `view_sides`."""
    small, for_experts, shown = clips[0], clips[1], clips[-1]
    reads_faces = config.prompts.vep and config.experts.margin is not None
    tracks = face_tracks(shown, config.experts) if reads_faces or keep else []
    # The centre square, as in training.
    frames = crop(resize_short(small.frames, config.video.size), config.video.size).contiguous()
    times = [round(float(t), 3) for t in small.times]
    persons = list(range(min(people, len(tracks)))) or [0 if reads_faces and tracks else -1]
    base = ClipInputs(frames, prior=prior)
    seen = [base]
    if config.prompts.vep:
        seen = []
        for person in persons:
            own = [tracks[person]] if person >= 0 else []
            seen.append(replace(base, faces=expert_crops(for_experts, config.experts, own if reads_faces else None)))
    kept = shown if keep else None
    return Viewed(seen, persons, tracks, kept, *span, times, small.source, small.duration)


def sample_array(frames: Any, count: int, sides: list[int], fps: float, start: float, end: float | None) -> list[Clip]:
    """`count` of the frames uint8 (T, H, W, 3) or (T, H, W), first and last included, as `read_clip` takes them."""
    array = as_frames(frames)
    if fps <= 0 or start < 0 or (end is not None and end <= start):
        raise VideoError(f"fps {fps}, start {start}, end {end}: need > 0, >= 0, > start")
    last = len(array) - 1
    first = min(round(start * fps), last)
    stop = last if end is None else max(first, min(last, round(end * fps) - 1))
    # what is on screen at evenly spread seconds, as with files
    places = np.floor(np.linspace(first, stop, count) + 1e-6).astype(int)
    unique, back = np.unique(places, return_inverse=True)
    chosen = np.ascontiguousarray(array[unique])
    clips = []
    for side in sides:
        sized = resize_short(chosen, side).permute(0, 2, 3, 1).numpy()[back]
        clips.append(Clip(sized, places / fps, "frames", fps, len(array) / fps))
    return clips


def as_frames(frames: Any) -> np.ndarray:
    """Frames in memory as uint8 (T, H, W, 3); grey and single ones are welcome, alpha is dropped."""
    array = frames.cpu().numpy() if isinstance(frames, Tensor) else frames
    if array.ndim == 3 and array.shape[-1] not in (3, 4):
        array = np.repeat(array[..., None], 3, -1)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[-1] not in (3, 4) or not array.size or array.dtype != np.uint8:
        given = f"{array.dtype} of shape {tuple(array.shape)}"
        raise VideoError(f"frames are {given}: uint8 (T, H, W, 3) is needed, RGB, 0 to 255")
    return array[..., :3]


def array_belief(frames: Any, config: ModelConfig, fps: float, start: float, end: float | None) -> Tensor | None:
    """What the configured emotion prior believes of frames in memory, (1, C); None without one."""
    if not config.emotion_prior:
        return None
    array = as_frames(frames)
    duration = len(array) / fps
    stop = duration if end is None else min(end, duration)

    def pictures(at: np.ndarray) -> tuple[np.ndarray, list[float]]:
        places = np.minimum(((start + at) * fps + 1e-6).astype(int), len(array) - 1)
        chosen = resize_short(np.ascontiguousarray(array[places]), READ_SIDE)
        return chosen.permute(0, 2, 3, 1).numpy(), (places / fps).tolist()

    return belief_of(config, max(0.0, stop - start), pictures)


def belief_of(
    config: ModelConfig, length: float, pictures: Callable[[np.ndarray], tuple[np.ndarray, list[float]]]
) -> Tensor | None:
    """The emotion prior's belief (1, C) of a clip of `length` seconds; `pictures` shows it at seconds of it."""
    if not config.emotion_prior:
        return None
    from captioner.emotion.frame_features import candidate_seconds
    from captioner.emotion.prior import open_prior

    prior = open_prior(config)
    assert prior is not None
    shown, times = pictures(candidate_seconds(length, prior.model.config.segments, 1))
    return prior.of_pictures(shown, times).aligned(config.labels).probs
