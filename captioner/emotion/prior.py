"""The belief of a trained recogniser as the captioner's emotion prior: opened once, computed once a clip.

    model.emotion_prior: pe_clip
    model.emotion_prior_source: runs/emotion/mafw/split-0/model     # or pe-clip, which is shipped

The captioner weighs its [CLASS-k] embeddings with a mean of this belief and its own (EmotionCaptioner.mixed_belief).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from captioner.config import ModelConfig
from captioner.emotion import folder
from captioner.emotion.belief import EmotionBelief, match_labels
from captioner.emotion.face_frames import face_frames
from captioner.emotion.frame_features import read_frames
from captioner.emotion.pe_clip import PEClip
from captioner.errors import CheckpointError, ConfigError
from captioner.video.transforms import prepare


class EmotionPrior:
    """A trained PE-CLIP and the digest of its files."""

    def __init__(self, source: str) -> None:
        path = folder.find_pe_clip(source)
        try:
            self.model: PEClip = folder.load_pe_clip(path)
        except CheckpointError as error:
            raise CheckpointError(f"model.emotion_prior_source: {error}") from None
        digest = hashlib.sha256()
        for name in folder.FILES:
            digest.update((path / name).read_bytes())
        self.digest = digest.hexdigest()[:16]
        # a worker of a data loader must leave the GPU alone
        here = torch.cuda.is_available() and torch.utils.data.get_worker_info() is None
        self.device = torch.device("cuda" if here else "cpu")
        self.model.to(self.device)
        self.known: dict[tuple[object, ...], EmotionBelief] = {}  # files seen in this process; a belief is small

    def belief(self, source: str | Path | BinaryIO, start: float = 0.0, end: float | None = None) -> EmotionBelief:
        """The belief of one video, or of its span in seconds: probs (1, C), features (1, E)."""
        if not isinstance(source, str | Path) or not Path(source).is_file():
            return self.compute(source, start, end)
        about = Path(source).stat()
        key = (str(source), about.st_mtime_ns, about.st_size, start, end)
        if key not in self.known:
            self.known[key] = self.compute(source, start, end)
        return self.known[key]

    def compute(self, source: str | Path | BinaryIO, start: float, end: float | None) -> EmotionBelief:
        """The same, whether it is known or not."""
        config = self.model.config
        face = config.crop == "face"
        return self.judge(read_frames(source, config.clip.image_size, config.segments, start=start, end=end, face=face))

    def of_pictures(self, pictures: np.ndarray, times: Sequence[float]) -> EmotionBelief:
        """The belief from pictures uint8 (T, H, W, 3) at the centres of the segments, shown at `times`."""
        config = self.model.config
        size = config.clip.image_size
        frames = face_frames(pictures, size, times) if config.crop == "face" else prepare(pictures, size)
        return self.judge(frames)

    def judge(self, frames: Tensor) -> EmotionBelief:
        """The belief from prepared frames uint8 (T, 3, S, S)."""
        features = self.model.features(frames[None].to(self.device))
        made = self.model.predict(features)
        return EmotionBelief(made.labels, made.probs.cpu(), made.features.cpu())


@lru_cache(maxsize=2)
def _open(source: str) -> EmotionPrior:
    return EmotionPrior(source)


def open_prior(config: ModelConfig) -> EmotionPrior | None:
    """The prior of a captioner's configuration, or None; labels that are not the captioner's are an error."""
    if not config.emotion_prior:
        return None
    prior = _open(str(config.emotion_prior_source))
    try:
        match_labels(prior.model.config.labels, config.labels)
    except ConfigError as error:
        raise ConfigError(f"{config.emotion_prior_source}: {error}") from None
    return prior


def prior_probs(
    config: ModelConfig, source: str | Path | BinaryIO, start: float = 0.0, end: float | None = None
) -> Tensor | None:
    """Probabilities (1, C) in the order of the captioner's labels; None without a prior."""
    prior = open_prior(config)
    return None if prior is None else prior.belief(source, start, end).aligned(config.labels).probs
