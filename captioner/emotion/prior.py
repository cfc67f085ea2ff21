"""The belief of a trained recogniser as the captioner's emotion prior: opened once, computed once a clip.

    model.emotion_prior: pe_clip
    model.emotion_prior_source: runs/emotion/mafw/split-0/model     # or pe-clip, which is shipped

The captioner weighs its [CLASS-k] embeddings with a mean of this belief and its own (EmotionCaptioner.mixed_belief).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from captioner.config import ModelConfig
from captioner.emotion import folder
from captioner.emotion.belief import EmotionBelief, match_labels
from captioner.emotion.face_frames import READ_SIDE, grey_faces
from captioner.emotion.pe_clip import PEClip
from captioner.errors import CheckpointError, ConfigError
from captioner.faces import FaceTrack
from captioner.video.reading import Sampling
from captioner.video.transforms import square_frames


class EmotionPrior:
    """A trained PE-CLIP: which pictures of a clip it wants, and what it believes of them. `digest` is of its files."""

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
        config = self.model.config
        self.size, self.reads_faces = config.clip.image_size, config.crop == "face"
        self.sampling = Sampling(config.segments, (READ_SIDE if self.reads_faces else self.size,), edges=False)
        # a worker of a data loader must leave the GPU alone
        self.device = torch.device("cuda" if torch.cuda.is_available() and not _is_worker() else "cpu")
        self.model.to(self.device)
        self.known: dict[str, EmotionBelief] = {}  # clips seen in this process; a belief is small

    def frames(self, pictures: np.ndarray, track: FaceTrack | None) -> Tensor:
        """What it looks at, uint8 (T, 3, S, S), of pictures (T, H, W, 3) as `sampling` asks for and a person there."""
        return grey_faces(pictures, track, self.size) if self.reads_faces else square_frames(pictures, self.size)

    def belief(self, frames: Tensor) -> EmotionBelief:
        """The belief from such frames: probs (1, C), features (1, E); computed once a clip."""
        key = hashlib.blake2b(frames.numpy().tobytes(), digest_size=16).hexdigest()
        if key not in self.known:
            predicted = self.model.predict(self.model.features(frames[None].to(self.device)))
            self.known[key] = EmotionBelief(predicted.labels, predicted.probs.cpu(), predicted.features.cpu())
        return self.known[key]


def _is_worker() -> bool:
    return torch.utils.data.get_worker_info() is not None


@lru_cache(maxsize=2)
def _open(source: str, in_worker: bool) -> EmotionPrior:
    """Opened once a process: what a data loader's worker inherits may lie on a GPU that it cannot use."""
    return EmotionPrior(source)


def open_prior(config: ModelConfig) -> EmotionPrior | None:
    """The prior of a captioner's configuration, or None; labels that are not the captioner's are an error."""
    if not config.emotion_prior:
        return None
    prior = _open(str(config.emotion_prior_source), _is_worker())
    try:
        match_labels(prior.model.config.labels, config.labels)
    except ConfigError as error:
        raise ConfigError(f"{config.emotion_prior_source}: {error}") from None
    return prior
