"""Linear probes on frozen EmotionCLIP features: one label, labels for themselves, values; the paper's tables beside.

Features are unit vectors, computed once and kept. Classes: scikit-learn's LogisticRegression (sag), one against the
rest where labels stand for themselves; values: Ridge, for LIRIS-ACCEDE smoothed along each film. The folder that is
written believes without scikit-learn.

Axes: N clips, E width of features, C labels, R values.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from captioner.data.adapters.layout import LayoutError
from captioner.data.adapters.person_sets import BoxedFrame, ProbeClip, ProbeSet, read_bold, read_emotic
from captioner.data.adapters.scene_sets import PROBE_READERS
from captioner.data.manifest import read_manifest
from captioner.emotion.boxes import unboxed
from captioner.emotion.clip.vision import FaceTower
from captioner.emotion.contract import Evidence, collate_evidence
from captioner.emotion.emotion_clip.emotion_clip import EmotionClip, with_probe
from captioner.emotion.face_frames import TrunkFeatures
from captioner.emotion.folder import load_recogniser, save_recogniser
from captioner.emotion.persons import square_mask
from captioner.errors import ConfigError, VideoError
from captioner.files import atomic, write_text
from captioner.store import weights_hash
from captioner.train.cards import render_card
from captioner.train.emotion.evidence_store import EvidenceStore
from captioner.train.emotion.found_splits import mafw_folds
from captioner.train.emotion.paper_rows import PAPER_ROWS, columns_of
from captioner.train.emotion.run_config import EmotionDataConfig
from captioner.train.emotion.scores import belief_scores, regression_scores, several_scores
from captioner.train.emotion.words_config import ProbeRun
from captioner.video.reading import probe as probe_video
from captioner.video.reading import read_clip
from captioner.video.transforms import square_frames

log = logging.getLogger(__name__)

FORMAT, BATCH = 1, 8
WINDOW, ORDER = 100, 3  # of the smoothing along a film
Floats = NDArray[np.float64]


# -- what is probed -----------------------------------------------------------------------------------------------


def read_probe_set(run: ProbeRun, frames: int) -> ProbeSet:
    """The data set of a run, from its folder or manifest."""
    if not run.root:
        raise ConfigError("root is missing: give the dataset's folder, as in --root DIR")
    root = Path(run.root)
    if run.dataset == "manifest":
        return manifest_set(root)
    if not root.is_dir():
        raise LayoutError(f"{str(root)!r} is no folder: give the dataset's, unpacked")
    if run.dataset == "mafw":
        return mafw_set(root, run.fold)
    readers = {"bold": read_bold, "emotic": read_emotic, **PROBE_READERS}
    return readers[run.dataset](root, frames)


def manifest_set(path: Path) -> ProbeSet:
    """Clips with an emotion: those of train and val train, those of test are tested."""
    records = [record for record in read_manifest(path) if record.emotion]
    labels = tuple(sorted({str(record.emotion) for record in records}))
    return _of_records("clips of a manifest", records, labels)


def mafw_set(root: Path, fold: int) -> ProbeSet:
    """A fold of MAFW."""
    from captioner.lexicon.emotions import MAFW_LABELS

    splits, notices = mafw_folds(root, EmotionDataConfig(dataset="mafw", root=str(root), splits=fold))
    found = _of_records(f"MAFW, fold {fold}", splits[fold - 1].records, MAFW_LABELS)
    found.notices = notices[fold - 1 : fold]
    return found


def _of_records(title: str, records: Any, labels: tuple[str, ...]) -> ProbeSet:
    clips = [
        ProbeClip(
            r.id, "test" if r.split == "test" else "train", tuple(float(r.emotion == label) for label in labels),
            video=r.video, group=r.group,
        )
        for r in records
    ]  # fmt: skip
    return ProbeSet(title, "single", labels, clips)


# -- features -----------------------------------------------------------------------------------------------------


def see_clip(clip: ProbeClip, model: EmotionClip, run: ProbeRun) -> Evidence:
    """Frames and masks of a clip as the recogniser wants them."""
    wants, masked = model.wants, run.persons == "boxes" and model.config.subject.rule != "none"
    if clip.frames:
        seen = [read_picture(frame, wants.size, run.boxes_as == "released") for frame in clip.frames]
        masks = torch.stack([mask for _, mask in seen]) if masked else None
        return Evidence(0.0, 0.0, torch.stack([pixels for pixels, _ in seen]), None, masks)
    assert clip.video is not None
    if isinstance(model.vision, FaceTower):  # faces are read once for all recognisers of one size
        kept = TrunkFeatures(feature_folder(run), wants.size, wants.count, model.vision).load(clip.video)
        return Evidence(0.0, 0.0, kept)
    if clip.boxes_of:
        shown = read_clip(clip.video, wants.count, short_side=wants.size)
        info = probe_video(clip.video)
        scale = shown.frames.shape[1] / info.height
        masks = torch.stack(
            [_video_mask(clip, t, info.fps, scale, shown.frames.shape[1:3], wants.size) for t in shown.times]
        )
        return Evidence(0.0, shown.duration, square_frames(shown.frames, wants.size), None, masks if masked else None)
    found = EvidenceStore(feature_folder(run), wants).load(clip.video)
    return found if masked else Evidence(found.start, found.end, found.frames)


def _video_mask(clip: ProbeClip, second: float, fps: float, scale: float, size: Any, side: int) -> Tensor:
    box = clip.boxes_of.get(round(second * fps) + 1)
    rows = np.array([box] if box else [], float).reshape(-1, 4) * scale
    return square_mask(rows, int(size[0]), int(size[1]), side)


def read_picture(frame: BoxedFrame, size: int, released: bool) -> tuple[Tensor, Tensor]:
    """A picture's centre square uint8 (3, S, S) and the mask (S, S) of the persons who are meant."""
    try:
        with Image.open(frame.path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise VideoError(f"{frame.path} is no readable picture: {str(error).splitlines()[0]}") from None
    height, width = pixels.shape[:2]
    if frame.letterboxed:
        boxes = unboxed(frame.boxes, width, height, released)
    else:
        boxes = np.array(frame.boxes, float).reshape(-1, 4)
    return square_frames(pixels[None], size)[0], square_mask(boxes, height, width, size)


@torch.no_grad()
def probe_features(clips: list[ProbeClip], model: EmotionClip, run: ProbeRun, device: torch.device) -> Floats:
    """Unit vectors (N, E) of clips; those of a run that was stopped are kept."""
    folder = feature_folder(run) / f"{run.dataset}-{run.persons}-{run.boxes_as}-{weights_hash(model)}"
    rows = []
    for at in tqdm(range(0, len(clips), BATCH), desc="features", unit="batch", disable=None):
        some = clips[at : at + BATCH]
        path = folder / f"{_digest(some)}.npy"
        try:
            made = np.load(path, allow_pickle=False)
        except (OSError, ValueError):
            batch = collate_evidence([_named(clip, model, run) for clip in some])
            made = model.features(batch.to(device)).double().cpu().numpy()
            with atomic(path) as temporary:
                np.save(temporary, made)
        rows.append(made)
    return np.concatenate(rows)


def feature_folder(run: ProbeRun) -> Path:
    """Where evidence and features are kept."""
    return Path(run.cache or Path(run.out) / "features")


def _named(clip: ProbeClip, model: EmotionClip, run: ProbeRun) -> Evidence:
    try:
        found = see_clip(clip, model, run)
    except VideoError as error:
        raise VideoError(f"clip {clip.id!r}: {error}") from None
    frames, wanted = found.frames, model.wants.count
    assert frames is not None
    if len(frames) == wanted:
        return found
    places = torch.linspace(0, len(frames) - 1, wanted).round().long()  # a photo is a clip at rest
    return Evidence(0.0, 0.0, frames[places], None, None if found.persons is None else found.persons[places])


def _digest(clips: list[ProbeClip]) -> str:
    stamps = [
        (c.id, [(str(f.path), f.path.stat().st_mtime_ns, f.boxes) for f in c.frames], str(c.video)) for c in clips
    ]
    stamps = [(*stamp, c.video.stat().st_mtime_ns if c.video else 0) for stamp, c in zip(stamps, clips, strict=True)]  # type: ignore
    return hashlib.sha256(repr((FORMAT, stamps)).encode()).hexdigest()[:24]


# -- the probe ----------------------------------------------------------------------------------------------------


def run_probe(run: ProbeRun, device: torch.device) -> dict[str, float]:
    """The recipe `probe`: features, a linear map, scores and, of labels, a folder that believes; returns scores."""
    check_sklearn()
    if not run.source:
        raise ConfigError("source is missing: name the folder of an EmotionCLIP, as in --source models/emotionclip")
    model: EmotionClip = load_recogniser(run.source, "emotion_clip").to(device)
    found = read_probe_set(run, model.config.frames)
    sides = {side: [c for c in found.clips if c.side == side] for side in ("train", "test")}
    sides = {side: clips[: run.most] if run.most else clips for side, clips in sides.items()}
    for side, clips in sides.items():
        if not clips:
            raise LayoutError(f"{run.root}: {found.title} has no clip to {side}; {'; '.join(found.notices)}")
    x, y = (probe_features(sides[side], model, run, device) for side in ("train", "test"))
    scores, fitted = fit_probe(run, found, sides, x, y)
    out = Path(run.out)
    if fitted is not None:
        belief = "several" if found.kind == "several" else "single"
        weight, bias = (torch.from_numpy(part) for part in fitted)
        probed = with_probe(model.cpu(), list(found.labels), weight, bias, belief)
        told = f"A linear probe on frozen features: {len(x)} clips of {found.title}, tested on {len(y)}: " + _told(
            scores
        )
        card = render_card("emotionclip", name="", digest="", fit=told + ".")
        save_recogniser(out / "model", probed, meta={"dataset": run.dataset}, card=card)
    report = probe_report(run, found, scores, len(x), len(y))
    write_text(out / "results.json", json.dumps({"scores": scores, "run": asdict(run)}, indent=1) + "\n")
    write_text(out / "report.md", report)
    log.info("%s", report)
    return scores


def check_sklearn() -> None:
    """Raises ConfigError where scikit-learn is missing."""
    if find_spec("sklearn") is None:
        raise ConfigError("a probe is fitted by scikit-learn, which is not installed: pip install 'captioner[eval]'")


def fit_probe(
    run: ProbeRun, found: ProbeSet, sides: dict[str, list[ProbeClip]], x: Floats, y: Floats
) -> tuple[dict[str, float], tuple[Floats, Floats] | None]:
    """Scores on the test side; weights (C, E) and bias (C,) of a probe of labels."""
    wanted = {side: np.array([clip.wanted for clip in clips]) for side, clips in sides.items()}
    values = {side: np.array([clip.values for clip in clips]) for side, clips in sides.items()}
    scores: dict[str, float] = {}
    fitted = None
    if found.kind != "values":
        fitted = fit_labels(found, wanted["train"], x, run.c, run.seed)
        logits = y @ fitted[0].T + fitted[1]
        scores |= label_scores(found, wanted["test"], logits)
    if found.values:
        said = fit_values(x, values["train"]).predict(y)
        if found.kind == "values":
            said = smoothed(said, [clip.group for clip in sides["test"]])
        scores |= regression_scores(said, values["test"], found.values)
    return scores, fitted


def fit_labels(found: ProbeSet, wanted: Floats, x: Floats, c: float, seed: int) -> tuple[Floats, Floats]:
    """Weights (C, E) and bias (C,); a label that always or never occurs in training keeps its rate."""
    maker = import_module("sklearn.linear_model").LogisticRegression
    how: dict[str, Any] = {"C": c, "solver": "sag", "max_iter": 2000, "random_state": seed}
    labels, width = len(found.labels), x.shape[1]
    weight, bias = np.zeros((labels, width)), np.full(labels, -30.0)
    if found.kind == "single":
        truth = wanted.argmax(1)
        if len(set(truth.tolist())) < 2:
            raise LayoutError(
                f"{found.title}: every training clip is {found.labels[truth[0]]}, nothing can be told apart"
            )
        net = maker(**how).fit(x, truth)
        if len(net.classes_) == 2:  # scikit-learn then keeps one row, of the second
            weight[net.classes_[1]], bias[net.classes_] = net.coef_[0], [0.0, net.intercept_[0]]
        else:
            weight[net.classes_], bias[net.classes_] = net.coef_, net.intercept_
        return weight, bias
    for label in range(labels):
        rate = wanted[:, label].mean()
        if 0 < rate < 1:
            net = maker(**how).fit(x, wanted[:, label].astype(int))
            weight[label], bias[label] = net.coef_[0], net.intercept_[0]
        elif rate == 1:
            bias[label] = 30.0
    return weight, bias


def label_scores(found: ProbeSet, wanted: Floats, logits: Floats) -> dict[str, float]:
    """How good logits (N, C) are."""
    if found.kind == "single":
        probs = torch.from_numpy(logits).softmax(1)
        truth = torch.from_numpy(wanted.argmax(1))
        rates = np.bincount(wanted.argmax(1), minlength=wanted.shape[1])
        return {**belief_scores(probs.float(), truth), "commonest": float(rates.max() / rates.sum())}
    shares = 1 / (1 + np.exp(-logits.clip(-50, 50)))
    scores = several_scores(shares, wanted.astype(np.int64))
    if found.kind == "any":
        scores["top1"] = float(wanted[np.arange(len(wanted)), logits.argmax(1)].mean())
    return scores


def fit_values(x: Floats, values: Floats) -> Any:
    """Ridge at strength 1."""
    return import_module("sklearn.linear_model").Ridge(alpha=1.0).fit(x, values)


def smoothed(said: Floats, films: list[str]) -> Floats:
    """Values (N, R) along each film by a Savitzky-Golay filter of 101 seconds, shorter in short films."""
    from scipy.signal import savgol_filter

    out = said.copy()
    for film in dict.fromkeys(films):
        rows = np.array([name == film for name in films])
        window = min(WINDOW + 1, (int(rows.sum()) - 1) | 1)
        if window > ORDER and int(rows.sum()) >= window:
            out[rows] = savgol_filter(said[rows], window, ORDER, axis=0)
    return out


# -- the report ---------------------------------------------------------------------------------------------------


def probe_report(run: ProbeRun, found: ProbeSet, scores: dict[str, float], trained: int, tested: int) -> str:
    """The scores, and the paper's table with our row under it."""
    lines = [
        f"# A linear probe on {found.title}",
        "",
        f"{trained} clips train, {tested} are tested. {_told(scores)}.",
        "",
    ]
    lines += [f"- {notice}" for notice in found.notices]
    if run.dataset in PAPER_ROWS:
        head, rows = PAPER_ROWS[run.dataset]
        lines += ["", "Printed rows are on the whole data set, ours on what was found here.", ""]
        lines += ["| | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        lines.append("| **ours, here** | " + " | ".join(columns_of(run.dataset, scores)) + " |")
        if run.dataset == "liris":
            lines += ["", "EmotionCLIP's own row of this table was not at hand."]
    return "\n".join(lines) + "\n"


def _told(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
