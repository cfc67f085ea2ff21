"""What a caption rests on: frames, the units behind its phrases, scores over time, and where the model looked.

Gathered only when asked; it changes nothing of the caption. Axes: T frames, N words, P prompts, M video tokens.
"""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from captioner.config import VideoConfig
from captioner.data.dataset import TextPieces
from captioner.faces import FaceTrack, warp
from captioner.faces.reader import upright_maps
from captioner.inference.captions import emotion_source
from captioner.inference.links import NAMES, Course, Link, expert_courses, link, reader_courses
from captioner.lexicon.phrases import find_phrases
from captioner.model import attention
from captioner.model.batch import EncodedClip
from captioner.model.captioner import EmotionCaptioner
from captioner.model.decoding import Written
from captioner.model.tokenizer import Tokenizer
from captioner.video.reading import Clip
from prompts.alignment import cosine
from prompts.au_graph import MAIN_AUS

FRAME_SIDE, FACE_SIDE = 180, 192  # pixels: short edge of a kept frame, side of a face crop
MOST_FRAMES = 16  # kept of a clip
FACE_MARGIN = 0.45  # round a face in its crop, as a share of it
QUALITY = 72  # of JPEG


@dataclass
class Picture:
    """A frame as JPEG and its second."""

    second: float
    width: int
    height: int
    jpeg: bytes = field(repr=False)


@dataclass
class Portrait:
    """An upright face crop as JPEG, its second, and its landmarks (68, 2) as shares of the crop's side."""

    second: float
    jpeg: bytes = field(repr=False)
    landmarks: list[tuple[float, float]] = field(repr=False)


@dataclass
class Unit:
    """An action unit over the frames that the experts (or the face reader) read; `words` are phrases it supports."""

    id: int
    name: str
    source: str
    seconds: list[float]
    scores: list[float]
    peak: float  # second where it shows best
    strength: float  # mean of the highest quarter of its scores
    seen: bool
    kept: bool  # whether the model had it as a prompt
    words: list[str] = field(default_factory=list)


@dataclass
class Belief:
    """Emotion probabilities by label, and who holds them."""

    source: str
    probs: dict[str, float]


@dataclass
class Person:
    """A face followed through the clip: boxes x0 y0 x1 y1 as shares of the picture, None where it is not seen."""

    captioned: bool
    boxes: list[tuple[float, float, float, float] | None] = field(repr=False)


@dataclass
class Look:
    """Where a word or prompt looked: shares of its attention, and its map (slots, rows, columns) over the video."""

    name: str
    words: float  # on the words before it
    prompts: dict[str, float]
    video: float
    map: NDArray[np.float32] | None = field(repr=False, default=None)


@dataclass
class Evidence:
    """Everything behind one caption; `to_dict` leaves out pictures and maps."""

    phrases: list[Link] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    emotions: list[Belief] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    frames: list[Picture] = field(default_factory=list)
    portraits: dict[int, Portrait] = field(default_factory=dict)
    """Of the captioned face, by action unit."""
    words: list[Look] = field(default_factory=list)
    prompts: list[Look] = field(default_factory=list)
    square: bool = True
    """Whether the maps cover the picture's centre square rather than all of it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "phrases": [asdict(each) for each in self.phrases],
            "units": [asdict(each) for each in self.units],
            "emotions": [asdict(each) for each in self.emotions],
            "people": [asdict(each) for each in self.people],
            "seconds": self.seconds,
            "attention": [
                {"word": look.name, "words": look.words, "prompts": look.prompts, "video": look.video}
                for look in self.words
            ],
        }


@torch.inference_mode()
def gather(
    model: EmotionCaptioner,
    tokenizer: Tokenizer,
    pieces: TextPieces,
    view: EncodedClip,
    row: int,
    written: Written,
    text: str,
    clip: Clip,
    tracks: Sequence[FaceTrack],
    person: int = 0,
) -> Evidence:
    """The evidence of clip `row` of a view, written as `text`; `tracks[person]` is whose face is captioned.

    clip: the frames that faces were sought in; tracks: empty without faces; person: -1 where no
    face is meant, then the only one is shown beside the phrases, but nothing is read from it.
    """
    seconds = [round(float(t), 3) for t in clip.times]
    track = tracks[person] if 0 <= person < len(tracks) else None
    shown = tracks[0] if track is None and len(tracks) == 1 else track  # models that do not look for faces
    courses = unit_courses(model, view, row, seconds, track)
    links = _link(model, pieces, view, row, text, courses)
    kept = kept_units(view, row)
    looks, prompts, square = _looks(model, tokenizer, view, row, written, kept, clip)
    return Evidence(
        phrases=links,
        units=_units(courses, links, kept),
        emotions=_emotions(model, view, row),
        people=[_person(each, each is track, clip) for each in tracks],
        seconds=seconds,
        frames=[_picture(clip, place) for place in _spread(clip)],
        portraits=_portraits(clip, shown, links, seconds),
        words=looks,
        prompts=prompts,
        square=square,
    )


@torch.inference_mode()
def link_phrases(
    model: EmotionCaptioner,
    pieces: TextPieces,
    view: EncodedClip,
    row: int,
    text: str,
    seconds: list[float],
    track: FaceTrack | None = None,
) -> list[Link]:
    """The facial phrases of a text, each linked to its action unit; `seconds` of all frames of the clip."""
    return _link(model, pieces, view, row, text, unit_courses(model, view, row, seconds, track))


def _link(
    model: EmotionCaptioner, pieces: TextPieces, view: EncodedClip, row: int, text: str, courses: dict[int, Course]
) -> list[Link]:
    phrases = find_phrases(text)
    near = similarities(model, view, row, pieces, text) if phrases else {}
    links = []
    for found in phrases:
        inside = {au: [v for at, v in places.items() if found.start <= at < found.end] for au, places in near.items()}
        links.append(link(found, text, courses, {au: max(values) for au, values in inside.items() if values}))
    return links


def kept_units(view: EncodedClip, row: int) -> list[int]:
    """The action units that clip `row` has as prompts, in their order; none without a face."""
    if view.au_index is None or view.experts is None or not bool(view.experts.present[row]):
        return []
    numbers = list(MAIN_AUS)
    return [numbers[place] for place in view.au_index[row].tolist()]


def similarities(
    model: EmotionCaptioner, view: EncodedClip, row: int, pieces: TextPieces, text: str
) -> dict[int, dict[int, float]]:
    """Cosine of each kept unit's prompt with each word piece of the text, by the piece's first letter's place."""
    units = kept_units(view, row)
    if not units or view.au is None or not model.aligned or model.config.prompts.au_word == "off" or not text:
        return {}
    ids, words = pieces(text)
    device = view.au.device
    batch = torch.tensor([ids], device=device)
    features = model.textual.word_features(model.text(batch, torch.ones_like(batch, dtype=torch.bool)))
    table = cosine(view.au[row : row + 1], features)[0].tolist()  # (P, J)
    places, cursor, lowered = {}, 0, text.lower()
    for place, usable in enumerate(pieces.matchable(ids, words)):
        piece = pieces.piece(ids[place]).strip().lower()
        at = lowered.find(piece, cursor) if piece and words[place] else -1
        if at >= 0:
            cursor = at + len(piece)
            if usable:
                places[place] = at
    return {au: {at: table[slot][place] for place, at in places.items()} for slot, au in enumerate(units)}


def unit_courses(
    model: EmotionCaptioner, view: EncodedClip, row: int, seconds: list[float], track: FaceTrack | None
) -> dict[int, Course]:
    """Every unit's course: the experts' where they know it, else the face reader's."""
    courses = reader_courses(track, seconds)
    seen = view.experts
    if seen is None or not bool(seen.present[row]):
        return courses
    scores = seen.au_frames[row].float().cpu().numpy()  # (T_e, N); frames without a face are 0
    at = expert_places(len(seconds), len(scores))
    shown: NDArray[np.bool_] = np.any(scores, axis=1)
    when = [seconds[place] for place, there in zip(at, shown, strict=True) if there]
    return courses | expert_courses(scores[shown], when, model.visual.au_usable.cpu().numpy())


def expert_places(frames: int, read: int) -> list[int]:
    """Which of a clip's frames the experts read, as captioner.faces.crops picks them."""
    return [int(place) for place in np.linspace(0, frames - 1, read).round()]


def _units(courses: dict[int, Course], links: list[Link], kept: list[int]) -> list[Unit]:
    """The units with their phrases: those of the caption, then the model's prompts, then by strength."""
    linked = [each.au for each in links]

    def order(au: int) -> tuple[bool, bool, float]:
        return au not in linked, au not in kept, -courses[au].strength

    return [
        Unit(
            id=au,
            name=NAMES[au],
            source=courses[au].source,
            seconds=list(courses[au].seconds),
            scores=[round(value, 4) for value in courses[au].values],
            peak=courses[au].seconds[courses[au].best],
            strength=round(courses[au].strength, 4),
            seen=courses[au].seen,
            kept=au in kept,
            words=[each.text for each in links if each.au == au],
        )
        for au in sorted(courses, key=order)
    ]


def _emotions(model: EmotionCaptioner, view: EncodedClip, row: int) -> list[Belief]:
    """What the captioner believed while it wrote, and what the emotion expert says of the face crops."""
    beliefs = []
    if view.emotion is not None:
        source = f"captioner ({emotion_source(model)})"
        beliefs.append(_belief(source, model.config.labels, view.emotion[row]))
    labels = model.config.experts.er_labels
    if view.experts is not None and bool(view.experts.present[row]) and view.experts.er_probs.shape[1] == len(labels):
        beliefs.append(_belief("emotion expert, mean of the face crops", labels, view.experts.er_probs[row]))
    return beliefs


def _belief(source: str, labels: Sequence[str], probs: Tensor) -> Belief:
    return Belief(source, {label: round(p, 4) for label, p in zip(labels, probs.tolist(), strict=True)})


def _person(track: FaceTrack, captioned: bool, clip: Clip) -> Person:
    height, width = clip.frames.shape[1:3]
    shares = np.clip(track.boxes / np.array([width, height, width, height], np.float32), 0, 1).round(4)
    boxes = [
        tuple(map(float, box)) if there else None for box, there in zip(shares.tolist(), track.present, strict=True)
    ]
    return Person(captioned, boxes)  # type: ignore[arg-type]


def _spread(clip: Clip) -> list[int]:
    """Places of at most MOST_FRAMES different frames, spread evenly."""
    _, first = np.unique(np.round(clip.times, 3), return_index=True)
    chosen = np.linspace(0, len(first) - 1, min(MOST_FRAMES, len(first))).round().astype(int)
    return [int(place) for place in first[chosen]]


def _picture(clip: Clip, place: int) -> Picture:
    image = Image.fromarray(clip.frames[place])
    share = min(1.0, FRAME_SIDE / min(image.size))
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    image = image.resize(size, Image.Resampling.LANCZOS) if share < 1 else image
    return Picture(round(float(clip.times[place]), 3), *size, jpeg(image))


def jpeg(image: Image.Image) -> bytes:
    """A small JPEG of an RGB image."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def _portraits(clip: Clip, track: FaceTrack | None, links: list[Link], seconds: list[float]) -> dict[int, Portrait]:
    """The captioned face at the second where each linked unit shows best, or at the nearest one where it is there."""
    if track is None or not track.present.any():
        return {}
    there = np.flatnonzero(track.present)
    portraits: dict[int, Portrait] = {}
    for each in links:
        wanted = seconds[len(seconds) // 2] if each.second is None else each.second
        place = int(there[np.abs(np.asarray(seconds)[there] - wanted).argmin()])
        portraits.setdefault(each.au, portrait(clip, track, place))
    return portraits


def portrait(clip: Clip, track: FaceTrack, place: int) -> Portrait:
    """The face of a track in one frame, upright, with its landmarks."""
    points = track.landmarks[place : place + 1] - 0.5
    maps = upright_maps(points, FACE_MARGIN)
    colour = torch.from_numpy(np.ascontiguousarray(clip.frames[place])).permute(2, 0, 1)
    crop = warp.cut_crops(colour, maps, FACE_SIDE)[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    marks = warp.apply(warp.inverse(maps), torch.from_numpy(points))[0] + 0.5
    landmarks = [(round(float(x), 4), round(float(y), 4)) for x, y in marks]
    return Portrait(round(float(clip.times[place]), 3), jpeg(Image.fromarray(crop)), landmarks)


def _looks(
    model: EmotionCaptioner,
    tokenizer: Tokenizer,
    view: EncodedClip,
    row: int,
    written: Written,
    kept: list[int],
    clip: Clip,
) -> tuple[list[Look], list[Look], bool]:
    """Looks of the words and of the prompts, and whether their maps cover the centre square only."""
    names = prompt_names(model, kept)
    memory = view.memory
    tokens = memory.states.shape[1] - len(names)
    grid, square = token_grid(model.config.video, tokens, clip.frames.shape[1:3])
    weights = attention.of_words(model.fusion, written.ids, tokenizer.mask_id, memory, row)
    text, right = weights.text.mean(0).cpu().numpy(), weights.right.mean(0).cpu().numpy()  # mean over layers
    words = []
    for word, places in tokenizer.words(written.ids):
        rows = [place - 1 for place in places if place > 0]
        words.append(_look(word, float(text[rows].sum(1).mean()), right[rows].mean(0), names, grid))
    prompts: list[Look] = []
    if names:
        rows_ = attention.of_prompts(model.fusion, memory, len(names), row).mean(0).cpu().numpy()
        prompts = [_look(name, 0.0, rows_[i], names, grid) for i, name in enumerate(names)]
    return words, prompts, square


def _look(
    name: str, words: float, right: NDArray[np.float32], names: list[str], grid: tuple[int, int, int] | None
) -> Look:
    """One row of attention (R,) on the right block, taken apart."""
    shares = {each: round(float(share), 4) for each, share in zip(names, right, strict=False)}
    video = right[len(names) :]
    return Look(name, round(words, 4), shares, round(float(video.sum()), 4), video.reshape(grid) if grid else None)


def prompt_names(model: EmotionCaptioner, kept: list[int]) -> list[str]:
    """What stands before the video in the right block, in order."""
    config = model.config.prompts
    names = ["class"] if config.tep else []
    if config.vep:
        units = [f"AU{au}" for au in kept] or [f"no face {i + 1}" for i in range(config.k)]
        names += ["emotion", *(["reading"] if config.reading else []), *units]
    return names


def token_grid(config: VideoConfig, tokens: int, frame: tuple[int, ...]) -> tuple[tuple[int, int, int] | None, bool]:
    """(slots in time, rows, columns) of the video tokens and whether they cover the centre square.

    `frame` is (height, width) of the pictures; None where the tokens fit neither the square nor the whole picture.
    """
    if config.arch == "clip":
        return ((config.frames, 1, 1) if tokens == config.frames else None), True
    slots, side = -(-config.frames // 2), -(-config.size // 32)
    if tokens == slots * side * side:
        return (slots, side, side), True
    share = config.size / min(frame)
    rows, columns = (-(-max(config.size, int(length * share)) // 32) for length in frame)
    whole = tokens == slots * rows * columns
    return ((slots, rows, columns) if whole else None), False
