"""From whatever holds a clip (file, open file, array, window of a long video) to what the model takes.

    source -> decode_pictures -> Pictures -> follow_people -> PersonTracks -> ClipInputs, one a person described

Captioning, evaluation, data sets and the feature store all come this way. Axes: T frames, H W pixels, C emotions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from captioner.config import ModelConfig
from captioner.emotion.contract import Evidence
from captioner.emotion.looking import Span, gather_evidence
from captioner.faces import FaceTrack
from captioner.faces.crops import READ_SIDE, PersonTracks, crop_side, expert_crops, face_tracks, tracks_of_both
from captioner.faces.face_reading import FaceReadings
from captioner.model.batch import ClipInputs
from captioner.video.arrays import sample_any
from captioner.video.reading import Clip
from captioner.video.sampling import Sampling
from captioner.video.shots import pieces
from captioner.video.transforms import crop, resize_short

if TYPE_CHECKING:
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
    followed = follow_people(pictures, config, prior) if looks_at_people(config, prior, keep) else []
    span = (float(times[0]), float(times[-1]))
    return assemble(pictures, config, prior, span, followed, short_side=short_side, people=people, keep=keep)


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
            pictures = Pictures.of(piece.clips, wanted, prior, Span(source, piece.start, piece.end))
            followed = follow_people(pictures, config, prior) if looks_at_people(config, prior, keep) else []
            clip = assemble(pictures, config, prior, (piece.start, piece.end), followed, people=people, keep=keep)
            yield replace(clip, shot=piece.shot)


# -- pictures -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pictures:
    """What was decoded of a clip: the sampled pictures by short side, and those that the emotion prior asks for."""

    sampled: dict[int | None, Clip]
    prior: Clip | None
    span: Span

    @classmethod
    def of(
        cls, clips: Sequence[Sequence[Clip]], wanted: Sequence[Sampling], prior: EmotionPrior | None, span: Span
    ) -> Pictures:
        """From clips as they were wanted, those of the prior last."""
        rows = list(clips)
        beside = rows.pop()[0] if prior is not None and prior.sampling is not None else None
        return cls(dict(zip(wanted[0].sides, rows[0], strict=True)) if rows else {}, beside, span)

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
    return own if prior is None or prior.sampling is None else [*own, prior.sampling]


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
    clips = sample_any(source, wanted, start=start, end=end, fps=fps) if wanted else []
    return Pictures.of(clips, wanted, prior, Span(source, start, end))


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


def prior_evidence(
    pictures: Pictures, prior: EmotionPrior, people: Sequence[PersonTracks], person: int | None = None
) -> Evidence:
    """What the prior is told of a clip: of one person, where it looks at people and one is meant; else of all."""
    tracks = [each.prior for each in people if each.prior is not None]
    return gather_evidence(pictures.prior, prior.wants, tracks, pictures.span, person)


def prior_probs(prior: EmotionPrior, evidence: Evidence, config: ModelConfig) -> Tensor:
    """The prior's belief (1, C) in the captioner's labels."""
    return prior.belief(evidence).aligned(config.labels, config.emotion_prior_labels_as).probs


def looks_at_people(config: ModelConfig, prior: EmotionPrior | None, keep: bool) -> bool:
    """Whether anything that is made of a clip asks who is in it."""
    return keep or _crops_faces(config) or (prior is not None and prior.reads_faces)


def _crops_faces(config: ModelConfig) -> bool:
    return config.prompts.vep and config.experts.margin is not None


def assemble(
    pictures: Pictures,
    config: ModelConfig,
    prior: EmotionPrior | None,
    span: tuple[float, float],
    followed: Sequence[PersonTracks],
    *,
    short_side: int = 0,
    people: int = 0,
    keep: bool = False,
) -> ReadClip:
    """What the model takes, from pictures at each of `input_sides` and who was followed in them."""
    of_faces = _crops_faces(config)
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
            meant = person if people and person >= 0 else None
            one.prior = prior_probs(prior, prior_evidence(pictures, prior, followed, meant), config)
        inputs.append(one)
    times = [round(float(t), 3) for t in clip.times]
    kept = pictures.sampled[READ_SIDE] if keep else None
    height, width = pictures.sampled.get(READ_SIDE, clip).frames.shape[1:3]
    return ReadClip(
        inputs, persons, tracks, kept, *span, times, clip.source, clip.duration,
        size=(width, height), brightness=float(frames.float().mean()) / 255,
    )  # fmt: skip
