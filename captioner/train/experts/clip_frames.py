"""Frames of synthetic clips of animated photos, with the action units that the clip maker wrote down."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from captioner.errors import ManifestError
from captioner.faces.points import MESH_68
from captioner.faces.warp import sample
from captioner.files import atomic, missing
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.model.experts import PRESENT
from captioner.synth.identity import State
from captioner.train.experts.portraits import align
from captioner.train.experts.posed import SIDE, Posed, labels_of
from captioner.video import LUMA
from captioner.video.reading import read_clip
from prompts.action_units import MAIN_AUS, SUB_AUS, UNKNOWN

log = logging.getLogger(__name__)

Line = dict[str, Any]  # of a manifest

INSIDE = 0.9  # of a face's landmarks lie within the picture, or the frame is left out


def clip_stills(folder: str | Path, splits: tuple[str, ...], each: int = 6, cache: str | Path | None = None) -> Posed:
    """`each` frames of every clip of these splits, the apex first, already aligned; main AUs only, sides unknown.

    An emotion is said of the apex alone, and where salient action units show it. With a cache folder the crops are
    read from there once they were cut.
    """
    folder = Path(folder)
    lines = [line for line in clip_lines(folder) if line["split"] in splits]
    path = None if cache is None else Path(cache) / f"filmed-{'-'.join(splits)}-{each}-{_fingerprint(lines)}.npz"
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as stored:
            return _posed([stored[name] for name in ("pixels", "aus", "emotions", "persons")])
    parts = [part for part in (_frames(folder, line, each) for line in lines) if part]
    if not parts:
        raise ManifestError(f"{folder} has no clip of {' or '.join(splits)} that shows a face; make some with --faces")
    stills = _posed([np.concatenate(column) for column in zip(*parts, strict=True)])
    if path is not None:
        with atomic(path) as temporary:
            np.savez(temporary, **{name: value.numpy() for name, value in vars(stills).items() if name != "frames"})
    return stills


def _posed(columns: list[NDArray[Any]]) -> Posed:
    pixels, aus, emotions, persons = (torch.from_numpy(column) for column in columns)
    return Posed(pixels, torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).expand(len(pixels), 2, 3), aus, emotions, persons)


def _fingerprint(lines: list[Line]) -> str:
    return hashlib.blake2b(json.dumps(lines).encode(), digest_size=6).hexdigest()


def clip_lines(folder: Path) -> list[Line]:
    """The lines of the manifest of a folder of synthetic clips that show animated photos."""
    path = folder / "manifest.jsonl"
    if not path.is_file():
        raise ManifestError(f"{missing(path)}; scripts/make_clips.py makes such a folder")
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.strip()]
    return [line for line in lines if line.get("extra", {}).get("source") == "photo"]


def _frames(folder: Path, line: Line, each: int) -> tuple[NDArray[Any], ...]:
    """Grey crops (F, SIDE, SIDE), labels (F, A + O), emotions (F,), persons (F,); nothing if no face is shown."""
    notes = read_notes(folder, line)
    points = notes["landmarks"][0].astype(np.float32)
    if points.shape[1] < max(MESH_68):
        return ()
    shown = _legible(points[:, list(MESH_68)], line["extra"]["size"])
    if len(shown) == 0:
        return ()
    apex = line["extra"]["apex"]
    spread = shown[np.linspace(0, len(shown) - 1, each - 1).round().astype(int)] if each > 1 else shown[:0]
    chosen = np.unique(np.concatenate([[apex] if apex in shown else [], spread]).astype(int))
    clip = read_clip(folder / line["video"], line["n_frames"]).frames[chosen]
    grey = torch.from_numpy(clip).float() @ torch.tensor(LUMA)
    frames = align(torch.from_numpy(points[chosen][:, list(MESH_68)]))
    steps = (torch.arange(SIDE) + 0.5) / SIDE
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], -1).view(1, -1, 3) @ frames.transpose(1, 2)
    crops = sample(grey[:, None], places.view(-1, SIDE, SIDE, 2))[:, 0]
    states = [_state(notes, line, frame) for frame in chosen.tolist()]
    labels = np.array([[*labels_of(state)[: len(MAIN_AUS)], *[UNKNOWN] * len(SUB_AUS)] for state in states], np.int8)
    plain = not line["multi_emotion"]
    told = [
        plain and frame == apex and _shows(state, line) for frame, state in zip(chosen.tolist(), states, strict=True)
    ]
    emotions = np.where(told, MAFW_LABELS.index(line["emotion"]), -1)
    person = int(line["group"].rpartition("_")[2])
    return crops.round().clamp(0, 255).byte().numpy(), labels, emotions, np.full(len(chosen), person)


def _legible(points: NDArray[np.float32], size: list[int]) -> NDArray[np.int64]:
    """The frames in which most of the landmarks (T, 68, 2) lie within the picture (width, height)."""
    shown = np.isfinite(points).all((1, 2))
    within = ((points >= 0) & (points < np.array(size, np.float32))).all(2).mean(1)
    return np.flatnonzero(shown & (within >= INSIDE))


def frame_labels(folder: Path, line: Line) -> NDArray[np.int8]:
    """Labels (T, A) of the main AUs of the person whom the captions describe, in every frame of a clip."""
    notes = read_notes(folder, line)
    return np.array([labels_of(_state(notes, line, t))[: len(MAIN_AUS)] for t in range(line["n_frames"])], np.int8)


def read_notes(folder: Path, line: Line) -> dict[str, NDArray[Any]]:
    """What the clip maker noted frame by frame."""
    try:
        return load_file(folder / line["extra"]["labels"])
    except (OSError, SafetensorError) as error:
        raise ManifestError(f"the labels of clip {line['id']} cannot be read: {error}") from None


def _state(notes: dict[str, NDArray[Any]], line: Line, frame: int) -> State:
    curves = line["extra"]["au"]
    speech, blink = notes["mouth_and_lids"][0, frame].astype(float).tolist()
    return State({int(au): values[frame] for au, values in curves.items()}, speech=speech, blink=blink)


def _shows(state: State, line: Line) -> bool:
    """Whether the salient action units, if any, are there."""
    return not line["au_ids"] or any(state.aus.get(au, 0.0) >= PRESENT for au in line["au_ids"])
