"""Photos posed by known action units: what the AU net and three emotions without photos learn from (synthetic).

Axes: S stills, A main AUs, O one-sided AUs.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.errors import ManifestError
from captioner.faces.points import MESH_68
from captioner.files import atomic
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.model.experts import ABSENT, PRESENT, au_labels
from captioner.synth.actor import FacePlace
from captioner.synth.actors import PhotoActor
from captioner.synth.identity import State
from captioner.synth.photo.basis import load_basis
from captioner.synth.photo.photo_set import PhotoError, PhotoSet
from captioner.synth.photo.puppet import RECIPE as PUPPET
from captioner.synth.story.plot import PHOTO_AUS, sample_phrases, showable, subtle_aus, together, ways
from captioner.train.experts.portraits import align
from captioner.video import LUMA
from prompts.action_units import MAIN_AUS, SUB_AUS, UNKNOWN

log = logging.getLogger(__name__)

SIDE = 128  # of a still; the face fills about 0.7 of it
FREE = 0.5  # share of the stills whose phrases stand for no emotion, so that rare AUs are seen
_ONE_SIDED = 0.15
_STATE, _PHOTO = 1, 2  # what a generator is for
# The action units that move a face of which only that half is at rest.
HALVES: dict[str, tuple[int, ...]] = {
    "upper": (1, 2, 4, 5, 7, 9, 43), "lower": (10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 27),
}  # fmt: skip

# What else moves with oblique brows, and how often.
_BESIDE_OBLIQUE = {15: 0.35, 17: 0.25, 20: 0.2, 25: 0.35, 26: 0.2, 5: 0.2, 7: 0.2, 6: 0.12, 2: 0.25}
Sampler = Callable[[np.random.Generator, tuple[int, ...]], tuple[State, int]]


@dataclass(frozen=True)
class Posed:
    """pixels uint8 (S, H, W), frames (S, 2, 3), AU labels int8 (S, A + O), emotions int64 (S,), persons (S,).

    Labels are 1, 0 or -1 (unknown); emotions index MAFW_LABELS, -1: the AUs were chosen without one.
    """

    pixels: Tensor
    frames: Tensor
    aus: Tensor
    emotions: Tensor
    persons: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: str) -> "Posed":
        """The same on a device."""
        return Posed(**{name: value.to(device) for name, value in vars(self).items()})

    def take(self, rows: Tensor) -> "Posed":
        """Those rows."""
        return Posed(**{name: value[rows] for name, value in vars(self).items()})


def posed(
    folder: str | Path, splits: tuple[str, ...], count: int, seed: int, cache: str | Path, part: str = "whole"
) -> Posed:
    """`count` stills of the persons of these splits, read from the cache folder once made there.

    part: `upper` or `lower` moves that half of faces of which only it is at rest; labels of the other are unknown.
    `oblique` gives whole faces the brows of crying and pleading: inner ends up, knitted.
    """
    half = "" if part == "whole" else f"{part}-"
    path = Path(cache) / f"posed-{half}{'-'.join(splits)}-{count}-{seed}-{PUPPET}.npz"
    if not path.exists():
        photos = PhotoSet(folder)
        log.info("posing %d stills of %s persons into %s", count, " and ".join(splits), path)
        rows = np.concatenate([photos.rows(split, part if part in HALVES else "whole") for split in splits])
        sample = oblique_state if part == "oblique" else sample_state
        made = _pose_all(photos, rows, count, seed, HALVES.get(part, PHOTO_AUS), sample)
        with atomic(path) as temporary:
            np.savez(temporary, **{name: value.numpy() for name, value in vars(made).items()})
    with np.load(path, allow_pickle=False) as stored:
        return Posed(**{name: torch.from_numpy(stored[name]) for name in stored.files})


def _pose_all(
    photos: PhotoSet, rows: NDArray[np.int64], count: int, seed: int, able: tuple[int, ...], sample: Sampler
) -> Posed:
    basis, each = load_basis(), -(-count // len(rows))
    known = np.array([len(able) == len(PHOTO_AUS) or au in able for au in (*MAIN_AUS, *(int(n[1:]) for n in SUB_AUS))])
    order = np.random.default_rng([seed, _PHOTO]).permutation(rows)
    pixels, points, aus, emotions, persons = [], [], [], [], []
    for row in order.tolist():
        try:
            actor = PhotoActor(photos.photo(row), basis, np.random.default_rng([seed, _PHOTO, row]))
        except PhotoError as error:
            log.warning("%s", error)
            continue
        for number in range(each):
            rng = np.random.default_rng([seed, _STATE, row, number])
            state, emotion = sample(rng, able)
            picture, landmarks = _draw(rng, actor, state)
            pixels.append(picture)
            points.append(landmarks[list(MESH_68), :2] / SIDE)
            aus.append(np.where(known, labels_of(state), UNKNOWN).tolist())
            emotions.append(emotion if known.all() else -1)
            persons.append(int(photos.table["person"][row]))
    if not pixels:
        raise ManifestError(f"no photo of {photos.folder} can be posed: it needs near-frontal faces with a shut mouth")
    return Posed(
        torch.from_numpy(np.stack(pixels)), align(torch.from_numpy(np.stack(points)).float()),
        torch.tensor(aus, dtype=torch.int8), torch.tensor(emotions), torch.tensor(persons),
    )  # fmt: skip


def _draw(rng: np.random.Generator, actor: PhotoActor, state: State) -> tuple[NDArray[np.uint8], NDArray[np.floating]]:
    """The grey still (SIDE, SIDE) and its landmarks (478, 2), before a blurry backdrop of a random tone."""
    blobs = torch.from_numpy(rng.uniform(0, 1, (1, 1, 4, 4)).astype(np.float32))
    wide = torch.nn.functional.interpolate(blobs, (SIDE, SIDE), mode="bilinear")[0, 0].numpy()
    tone = rng.uniform(0, 255) + (wide - 0.5) * rng.uniform(0, 200)
    picture = np.repeat(np.clip(tone, 0, 255)[..., None], 3, axis=2).astype(np.float32)
    place = FacePlace(SIDE / 2, SIDE * 0.52, SIDE * rng.uniform(0.6, 0.76))
    landmarks = actor.draw(picture, state, place)
    grey = picture @ np.array(LUMA, np.float32)
    return np.clip(grey + 0.5, 0, 255).astype(np.uint8), landmarks


def sample_state(rng: np.random.Generator, able: tuple[int, ...] = PHOTO_AUS) -> tuple[State, int]:
    """A head somewhere near the front with up to four salient phrases, and the emotion they stand for (or -1)."""
    emotion = int(rng.integers(len(MAFW_LABELS)))
    if rng.random() < FREE:
        emotion, names = -1, _any_phrases(rng, able)
    else:
        names = sample_phrases(rng, (MAFW_LABELS[emotion],), able)
    aus = {au: value for au, value in subtle_aus(rng, names).items() if au in able}
    for name in names:
        options = ways(name, able)
        peak = rng.uniform(0.5, 1) if rng.random() < 0.85 else rng.uniform(0.2, 0.5)
        for au in options[int(rng.integers(len(options)))]:
            aus[au] = float(np.clip(peak * rng.uniform(0.92, 1.08), 0, 1))
    sides = {au: _sides(rng) for au in aus}
    state = State(
        aus, yaw=float(np.clip(rng.normal(0, 7), -18, 18)), pitch=float(np.clip(rng.normal(0, 5), -12, 12)),
        roll=float(rng.normal(0, 4)), gaze=(float(rng.normal(0, 0.25)), float(rng.normal(0, 0.2))),
        blink=float(rng.choice([0.0, rng.uniform(0, 1)], p=[0.85, 0.15])), sides=sides,
    )  # fmt: skip
    return state, emotion


def oblique_state(rng: np.random.Generator, able: tuple[int, ...] = PHOTO_AUS) -> tuple[State, int]:
    """A head whose inner brows rise (AU1) and knit (AU4) together, as no phrase of `sample_state` poses them."""
    state, _ = sample_state(rng, able)
    aus = {au: value for au, value in state.aus.items() if value < ABSENT and au not in (1, 2, 4)}
    peak = rng.uniform(0.6, 1.0)
    aus |= {1: float(peak), 4: float(np.clip(peak * rng.uniform(0.7, 1.15), 0.5, 1))}
    aus |= {au: float(rng.uniform(0.5, 0.9)) for au, share in _BESIDE_OBLIQUE.items() if rng.random() < share}
    if 5 in aus and aus.get(7, 0) >= ABSENT:
        del aus[7]
    sides = {au: _sides(rng) for au in aus} | {1: (1.0, 1.0), 4: (1.0, 1.0)}
    return replace(state, aus=aus, sides=sides), -1


def _any_phrases(rng: np.random.Generator, able: tuple[int, ...]) -> tuple[str, ...]:
    """Up to four phrases that do not hide each other, rare ones as often as others."""
    names = showable(able)
    chosen: tuple[str, ...] = ()
    for index in rng.permutation(len(names))[: int(rng.integers(1, 5))].tolist():
        if together(names[index], chosen):
            chosen = (*chosen, names[index])
    return chosen


def _sides(rng: np.random.Generator) -> tuple[float, float]:
    """Shares of an AU on the person's left and right."""
    if rng.random() < _ONE_SIDED:
        weak = float(rng.uniform(0, 0.25))
        return (1.0, weak) if rng.random() < 0.5 else (weak, 1.0)
    return (1.0, float(rng.uniform(0.85, 1))) if rng.random() < 0.5 else (float(rng.uniform(0.85, 1)), 1.0)


def labels_of(state: State) -> list[int]:
    """Labels of the main AUs, then of the one-sided ones (L: the person's own left); what cannot be seen is unknown.

    A jaw that falls parts the lips, and speech opens the mouth; shut eyes hide what lids and gaze would show.
    """
    seen = dict(state.aus)
    seen[25] = max(seen.get(25, 0.0), seen.get(26, 0.0), seen.get(27, 0.0), 0.5 * state.speech)
    seen[26] = max(seen.get(26, 0.0), 0.45 * state.speech)
    labels = dict(zip(MAIN_AUS, au_labels(seen), strict=True))
    if seen.get(27, 0.0) >= ABSENT:
        labels[26] = UNKNOWN  # a mouth stretched wide: coders name 27 instead of 26
    if max(seen.get(43, 0.0), state.blink) >= ABSENT:
        labels[5] = labels[7] = UNKNOWN
    return [*labels.values(), *(_side_label(state, name) for name in SUB_AUS)]


def _side_label(state: State, name: str) -> int:
    au = int(name[1:])
    share = state.sides.get(au, (1.0, 1.0))["LR".index(name[0])]
    value = state.aus.get(au, 0.0) * share
    return 1 if value >= PRESENT else 0 if value < ABSENT else UNKNOWN


def taught(labels: Tensor, least: int = 20) -> Tensor:
    """Which AUs (A + O,) have at least that many positive and negative labels (S, A + O)."""
    return ((labels == 1).sum(0) >= least) & ((labels == 0).sum(0) >= least)
