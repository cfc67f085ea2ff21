"""What a caption rests on: frames, the units behind its phrases, scores over time, and where the model looked.

Gathered only when asked; it changes nothing of the caption. Axes: T frames, N words, P prompts, M video tokens.
"""

import io
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from captioner.config import VideoConfig
from captioner.faces import FaceTrack, warp
from captioner.faces.reader import upright_maps
from captioner.inference.captions import WrittenBatch
from captioner.inference.links import expert_curves, link_phrase, reader_curves
from captioner.inference.results import AttentionShares, AUCurve, Belief, Evidence, Link, Person, Picture, Portrait
from captioner.lexicon.phrases import find_phrases
from captioner.model import attention
from captioner.model.batch import EncodedClip
from captioner.model.captioner import EmotionCaptioner
from captioner.video.reading import Clip
from prompts.action_units import MAIN_AUS
from prompts.alignment import cosine

FRAME_SIDE, FACE_SIDE = 180, 192  # pixels: short edge of a kept frame, side of a face crop
MOST_FRAMES = 16  # kept of a clip
FACE_MARGIN = 0.45  # round a face in its crop, as a share of it
QUALITY = 72  # of JPEG


@torch.inference_mode()
def link_phrases(batch: WrittenBatch, row: int, seconds: list[float], track: FaceTrack | None = None) -> list[Link]:
    """The facial phrases of caption `row`, each linked to its action unit; `seconds` of all frames of the clip."""
    text = batch.captions[row].text
    phrases = find_phrases(text)
    curves = unit_curves(batch, row, seconds, track)
    near = similarities(batch, row) if phrases else {}
    links = []
    for found in phrases:
        inside = {au: [v for at, v in places.items() if found.start <= at < found.end] for au, places in near.items()}
        links.append(link_phrase(found, text, curves, {au: max(values) for au, values in inside.items() if values}))
    return links


@torch.inference_mode()
def gather(batch: WrittenBatch, row: int, clip: Clip, tracks: Sequence[FaceTrack], person: int = 0) -> Evidence:
    """The evidence of caption `row`, whose phrases are linked already; `tracks[person]` is whose face is captioned.

    clip: the frames that faces were sought in; tracks: empty without faces; person: -1 where no
    face is meant, then the only one is shown beside the phrases, but nothing is read from it.
    """
    links = batch.captions[row].phrases
    seconds = [round(float(t), 3) for t in clip.times]
    track = tracks[person] if 0 <= person < len(tracks) else None
    shown = tracks[0] if track is None and len(tracks) == 1 else track  # models that do not look for faces
    kept = kept_units(batch.encoded, row)
    words, prompts, square = _attention(batch, row, kept, clip)
    return Evidence(
        curves=_in_order(unit_curves(batch, row, seconds, track), links, kept),
        kept=kept,
        emotions=_beliefs(batch.model, batch.encoded, row),
        people=[_person(each, each is track, clip) for each in tracks],
        seconds=seconds,
        frames=[_picture(clip, place) for place in _spread(clip)],
        portraits=_portraits(clip, shown, links, seconds),
        words=words,
        prompts=prompts,
        square=square,
    )


def kept_units(encoded: EncodedClip, row: int) -> list[int]:
    """The action units that clip `row` has as prompts, in their order; none without a face."""
    if encoded.au_index is None or encoded.experts is None or not bool(encoded.experts.present[row]):
        return []
    numbers = list(MAIN_AUS)
    return [numbers[place] for place in encoded.au_index[row].tolist()]


def similarities(batch: WrittenBatch, row: int) -> dict[int, dict[int, float]]:
    """Cosine of each kept unit's prompt with each word piece of the text, by the piece's first letter's place."""
    model, encoded, pieces, text = batch.model, batch.encoded, batch.pieces, batch.captions[row].text
    units = kept_units(encoded, row)
    if not units or encoded.au is None or not model.aligned or model.config.prompts.au_word == "off" or not text:
        return {}
    ids, words = pieces(text)
    rows = torch.tensor([ids], device=encoded.au.device)
    features = model.textual.word_features(model.text(rows, torch.ones_like(rows, dtype=torch.bool)))
    table = cosine(encoded.au[row : row + 1], features)[0].tolist()  # (P, J)
    places, cursor, lowered = {}, 0, text.lower()
    for place, usable in enumerate(pieces.matchable(ids, words)):
        piece = pieces.piece(ids[place]).strip().lower()
        at = lowered.find(piece, cursor) if piece and words[place] else -1
        if at >= 0:
            cursor = at + len(piece)
            if usable:
                places[place] = at
    return {au: {at: table[slot][place] for place, at in places.items()} for slot, au in enumerate(units)}


def unit_curves(batch: WrittenBatch, row: int, seconds: list[float], track: FaceTrack | None) -> dict[int, AUCurve]:
    """Every unit's curve: the experts' where they know it, else the face reader's."""
    curves = reader_curves(track, seconds)
    seen = batch.encoded.experts
    if seen is None or not bool(seen.present[row]):
        return curves
    scores = seen.au_frames[row].float().cpu().numpy()  # (T_e, N); frames without a face are 0
    at = expert_places(len(seconds), len(scores))
    shown: NDArray[np.bool_] = np.any(scores, axis=1)
    when = [seconds[place] for place, there in zip(at, shown, strict=True) if there]
    return curves | expert_curves(scores[shown], when, batch.model.visual.au_usable.cpu().numpy())


def expert_places(frames: int, read: int) -> list[int]:
    """Which of a clip's frames the experts read, as captioner.faces.crops picks them."""
    return [int(place) for place in np.linspace(0, frames - 1, read).round()]


def _in_order(curves: dict[int, AUCurve], links: list[Link], kept: list[int]) -> list[AUCurve]:
    """The curves of the caption's units, then of the model's prompts, then by strength."""
    linked = [each.au for each in links]
    return sorted(curves.values(), key=lambda each: (each.au not in linked, each.au not in kept, -each.strength))


def _beliefs(model: EmotionCaptioner, encoded: EncodedClip, row: int) -> list[Belief]:
    """What the captioner believed while it wrote, and what the emotion expert says of the face crops."""
    beliefs = []
    if encoded.emotion is not None:
        source = f"captioner ({model.emotion_source})"
        beliefs.append(_belief(source, model.config.labels, encoded.emotion[row]))
    labels = model.config.experts.er_labels
    if (
        encoded.experts is not None
        and bool(encoded.experts.present[row])
        and encoded.experts.er_probs.shape[1] == len(labels)
    ):
        beliefs.append(_belief("emotion expert, mean of the face crops", labels, encoded.experts.er_probs[row]))
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
        portraits.setdefault(each.au, face_portrait(clip, track, place))
    return portraits


def face_portrait(clip: Clip, track: FaceTrack, place: int) -> Portrait:
    """The face of a track in one frame, upright, with its landmarks."""
    points = track.landmarks[place : place + 1] - 0.5
    maps = upright_maps(points, FACE_MARGIN)
    colour = torch.from_numpy(np.ascontiguousarray(clip.frames[place])).permute(2, 0, 1)
    crop = warp.cut_crops(colour, maps, FACE_SIDE)[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    marks = warp.apply(warp.inverse(maps), torch.from_numpy(points))[0] + 0.5
    landmarks = [(round(float(x), 4), round(float(y), 4)) for x, y in marks]
    return Portrait(round(float(clip.times[place]), 3), jpeg(Image.fromarray(crop)), landmarks)


def _attention(
    batch: WrittenBatch, row: int, kept: list[int], clip: Clip
) -> tuple[list[AttentionShares], list[AttentionShares], bool]:
    """Attention of the words and of the prompts, and whether its maps cover the centre square only."""
    model, memory, ids = batch.model, batch.encoded.memory, batch.written[row].ids
    names = prompt_names(model, kept)
    tokens = memory.states.shape[1] - len(names)
    grid, square = token_grid(model.config.video, tokens, clip.frames.shape[1:3])
    weights = attention.of_words(model.fusion, ids, batch.tokenizer.mask_id, memory, row)
    text, right = weights.text.mean(0).cpu().numpy(), weights.right.mean(0).cpu().numpy()  # mean over layers
    words = []
    for word, places in batch.tokenizer.words(ids):
        rows = [place - 1 for place in places if place > 0]
        words.append(_shares(word, float(text[rows].sum(1).mean()), right[rows].mean(0), names, grid))
    prompts: list[AttentionShares] = []
    if names:
        states = attention.of_prompts(model.fusion, memory, len(names), row).mean(0).cpu().numpy()
        prompts = [_shares(name, 0.0, states[i], names, grid) for i, name in enumerate(names)]
    return words, prompts, square


def _shares(
    name: str, words: float, right: NDArray[np.float32], names: list[str], grid: tuple[int, int, int] | None
) -> AttentionShares:
    """One row of attention (R,) on the right block, taken apart."""
    shares = {each: round(float(share), 4) for each, share in zip(names, right, strict=False)}
    video = right[len(names) :]
    on_video = round(float(video.sum()), 4)
    return AttentionShares(name, round(words, 4), shares, on_video, video.reshape(grid) if grid else None)


def prompt_names(model: EmotionCaptioner, kept: list[int]) -> list[str]:
    """What stands before the video in the right block, in order."""
    config = model.config.prompts
    names = ["class"] if config.tep else []
    if config.vep:
        units = [f"AU{au}" for au in kept] or [f"no face {i + 1}" for i in range(config.k)]
        names += ["emotion", *(["reading"] if config.reads else []), *units]
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
