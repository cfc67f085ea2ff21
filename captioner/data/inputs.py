"""From whatever holds a clip (file, open file, array, window of a long video) to what the model takes.

    source -> decode_pictures -> Pictures -> follow_people -> PersonTracks -> ClipInputs, one a person described

Captioning, evaluation, data sets and the feature store all come this way. Axes: T frames, H W pixels, C emotions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from captioner.config import ExpertsConfig, ModelConfig
from captioner.errors import VideoError
from captioner.faces import FaceTrack
from captioner.faces.crops import READ_SIDE, PersonTracks, crop_side, expert_crops, face_tracks, tracks_of_both
from captioner.faces.face_reading import FaceReadings
from captioner.model.batch import ClipInputs
from captioner.video.reading import Clip, Sampling, read_samples
from captioner.video.shots import pieces
from captioner.video.transforms import crop, resize_short

if TYPE_CHECKING:
    from captioner.emotion.belief import EmotionBelief
    from captioner.emotion.prior import EmotionPrior


@dataclass
class ReadClip:
    """A clip ready for the model: its inputs for each person to describe, or once for the clip as a whole."""

    inputs: list[ClipInputs]
    persons: list[int]  # their places in `tracks`; -1 where no face is meant
    tracks: list[FaceTrack]
    pictures: Clip | None  # in which they were read, where evidence is asked for
    start: float
    end: float
    times: list[float]
    source: str
    duration: float  # of the whole file
    shot: float = 0.0  # where its shot begins, of a window
    size: tuple[int, int] = (1, 1)  # width and height of the pictures in which the tracks were read
    brightness: float = 1.0  # mean over pictures, 0..1
    readings: FaceReadings | None = None  # everybody, followed all the time; where that was asked for


def read_inputs(
    source: Any,
    config: ModelConfig,
    *,
    short_side: int = 0,
    start: float = 0.0,
    end: float | None = None,
    fps: float = 25.0,
    people: int = 0,
    keep: bool = False,
) -> ReadClip:
    """A video file, an open file, or frames uint8 (T, H, W, 3) of `fps`, between two seconds.

    short_side: whole frames of that size, for crops of one's own; 0: the centre square that the encoder takes.
    people: describe so many persons (fewer where fewer are there). keep: with pictures and faces for the evidence.
    """
    prior = prior_of(config)
    sides = input_sides(config, prior, short_side, keep)
    pictures = decode_pictures(source, config, sides, prior, start=start, end=end, fps=fps)
    times = pictures.first.times
    return _assemble(pictures, config, prior, (float(times[0]), float(times[-1])), short_side, people, keep)


def read_windows(
    source: Any,
    config: ModelConfig,
    seconds: float,
    *,
    people: int = 0,
    keep: bool = False,
    after: tuple[float, float] | None = None,
) -> Iterator[ReadClip]:
    """Window after window of at most `seconds`; none holds a cut, and only one is in memory.

    after: where the shot of a window begins and where that window ends, to go on behind it.
    """
    shot, done = after or (0.0, -1.0)
    prior = prior_of(config)
    wanted = samplings(config, input_sides(config, prior, 0, keep), prior)
    for piece in pieces(source, seconds, wanted, shot):
        if piece.end > done:
            pictures = Pictures.of(piece.clips, wanted, prior)
            clip = _assemble(pictures, config, prior, (piece.start, piece.end), 0, people, keep)
            yield replace(clip, shot=piece.shot)


# -- pictures -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pictures:
    """What was decoded of a clip: the sampled pictures by short side, and those that the emotion prior asks for."""

    sampled: dict[int | None, Clip]
    prior: Clip | None

    @classmethod
    def of(cls, clips: Sequence[Sequence[Clip]], wanted: Sequence[Sampling], prior: EmotionPrior | None) -> Pictures:
        """From clips as they were wanted, those of the prior last."""
        rows = list(clips)
        beside = rows.pop()[0] if prior is not None else None
        return cls(dict(zip(wanted[0].sides, rows[0], strict=True)) if rows else {}, beside)

    @property
    def first(self) -> Clip:
        """The sampled pictures at whatever side."""
        return next(iter(self.sampled.values()))


def input_sides(config: ModelConfig, prior: EmotionPrior | None, short_side: int, keep: bool) -> list[int]:
    """The short edges at which a clip is decoded: the encoder's, the experts', the face reader's."""
    sides = [short_side or config.video.size]
    if config.prompts.vep:
        sides.append(crop_side(config.experts))
    if keep or (prior is not None and prior.reads_faces):
        sides.append(READ_SIDE)
    return list(dict.fromkeys(sides))


def samplings(config: ModelConfig, sides: Sequence[int], prior: EmotionPrior | None) -> list[Sampling]:
    """What is to be decoded of a clip; that of the prior, if any, comes last."""
    own = [Sampling(config.video.frames, tuple(sides))] if sides else []
    return own if prior is None else [*own, prior.sampling]


def decode_pictures(
    source: Any,
    config: ModelConfig,
    sides: Sequence[int],
    prior: EmotionPrior | None,
    *,
    start: float = 0.0,
    end: float | None = None,
    fps: float = 25.0,
) -> Pictures:
    """All pictures that are wanted of a clip, decoded once."""
    wanted = samplings(config, sides, prior)
    if isinstance(source, np.ndarray | Tensor):
        clips = sample_array(source, wanted, fps, start, end)
    else:
        clips = read_samples(source, wanted, start=start, end=end)
    return Pictures.of(clips, wanted, prior)


def sample_array(
    frames: Any, wanted: Sequence[Sampling], fps: float, start: float, end: float | None
) -> list[list[Clip]]:
    """Of frames uint8 (T, H, W, 3) or (T, H, W) in memory what `read_samples` takes of a file."""
    array = as_frames(frames)
    if fps <= 0 or start < 0 or (end is not None and end <= start):
        raise VideoError(f"fps {fps}, start {start}, end {end}: need > 0, >= 0, > start")
    last, duration = len(array) - 1, len(array) / fps
    first = min(round(start * fps), last)
    stop = last if end is None else max(first, min(last, round(end * fps) - 1))
    until = duration if end is None else min(end, duration)
    clips = []
    for each in wanted:
        seconds = each.seconds(first / fps if each.edges else start, stop / fps, until)
        # what is on screen at these seconds, as with files
        places = np.minimum(np.floor(seconds * fps + 1e-6).astype(int), last)
        unique, back = np.unique(places, return_inverse=True)
        chosen = np.ascontiguousarray(array[unique])
        sized = [resize_short(chosen, side or min(array.shape[1:3])) for side in each.sides]
        pictures = [part.permute(0, 2, 3, 1).numpy()[back] for part in sized]
        clips.append([Clip(part, places / fps, "frames", fps, duration) for part in pictures])
    return clips


def as_frames(frames: Any) -> np.ndarray:
    """Frames in memory as uint8 (T, H, W, 3); grey and single ones are welcome, alpha is dropped."""
    array: np.ndarray = frames.cpu().numpy() if isinstance(frames, Tensor) else frames
    if array.ndim == 3 and array.shape[-1] not in (3, 4):
        array = np.repeat(array[..., None], 3, -1)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[-1] not in (3, 4) or not array.size or array.dtype != np.uint8:
        given = f"{array.dtype} of shape {tuple(array.shape)}"
        raise VideoError(f"frames are {given}: uint8 (T, H, W, 3) is needed, RGB, 0 to 255")
    return array[..., :3]


# -- people and beliefs -------------------------------------------------------------------------------------------


def follow_people(pictures: Pictures, config: ModelConfig, prior: EmotionPrior | None) -> list[PersonTracks]:
    """The people of a clip, read once: those in the sampled pictures first, of each group the most dominant first."""
    clip = pictures.sampled[READ_SIDE]
    if prior is None or not prior.reads_faces or pictures.prior is None:
        return [PersonTracks(track) for track in face_tracks(clip, config.experts)]
    people = tracks_of_both(clip, pictures.prior, config.experts)
    return sorted(people, key=lambda person: not person.sampled.present.any())


def sampled_tracks(people: Sequence[PersonTracks]) -> list[FaceTrack]:
    """The tracks of those who are in the sampled pictures."""
    return [person.sampled for person in people if person.sampled.present.any()]


def prior_of(config: ModelConfig) -> EmotionPrior | None:
    """The emotion prior of a configuration; None without one."""
    if not config.emotion_prior:
        return None
    from captioner.emotion.prior import open_prior  # brings transformers, which other captioners do without

    return open_prior(config)


def prior_frames(pictures: Pictures, prior: EmotionPrior, people: Sequence[PersonTracks], person: int = 0) -> Tensor:
    """What the prior looks at, uint8 (T, 3, S, S): a person, where it looks at faces; else the whole picture."""
    assert pictures.prior is not None
    return prior.frames(pictures.prior.frames, people[person].prior if people else None)


def read_belief(source: Any, prior: EmotionPrior, *, start: float = 0.0, end: float | None = None) -> EmotionBelief:
    """What a prior alone believes of the dominant face of a video, or of its pictures, in the order of its labels."""
    clip = read_samples(source, [prior.sampling], start=start, end=end)[0][0]
    tracks = face_tracks(clip, ExpertsConfig()) if prior.reads_faces else []
    return prior.belief(prior.frames(clip.frames, tracks[0] if tracks else None))


def _assemble(
    pictures: Pictures,
    config: ModelConfig,
    prior: EmotionPrior | None,
    span: tuple[float, float],
    short_side: int,
    people: int,
    keep: bool,
) -> ReadClip:
    """What the model takes, from pictures at each of `input_sides`."""
    of_faces = config.prompts.vep and config.experts.margin is not None
    of_prior = prior is not None and prior.reads_faces
    followed = follow_people(pictures, config, prior) if of_faces or of_prior or keep else []
    tracks = sampled_tracks(followed) if of_faces or keep else []
    persons = list(range(min(people, len(tracks)))) or [0 if of_faces and tracks else -1]
    side = short_side or config.video.size
    clip = pictures.sampled[side]
    frames = resize_short(clip.frames, side)
    frames = frames if short_side else crop(frames, side).contiguous()
    inputs = []
    for person in persons:
        one = ClipInputs(frames)
        if config.prompts.vep:
            shown = pictures.sampled[crop_side(config.experts)]
            own = [*tracks[person : person + 1], *tracks[:person], *tracks[person + 1 :]] if person >= 0 else []
            one.faces = expert_crops(shown, config.experts, own if of_faces else None)
        if prior is not None:
            belief = prior.belief(prior_frames(pictures, prior, followed, max(person, 0)))
            one.prior = belief.aligned(config.labels).probs
        inputs.append(one)
    times = [round(float(t), 3) for t in clip.times]
    kept = pictures.sampled[READ_SIDE] if keep else None
    height, width = pictures.sampled.get(READ_SIDE, clip).frames.shape[1:3]
    return ReadClip(
        inputs, persons, tracks, kept, *span, times, clip.source, clip.duration,
        size=(width, height), brightness=float(frames.float().mean()) / 255,
    )  # fmt: skip
