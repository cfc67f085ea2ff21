"""The belief of a trained recogniser as the captioner's emotion prior: opened once, computed once a clip.

    model.emotion_prior: pe_clip                                    # the kind, which the folder must be of
    model.emotion_prior_source: runs/emotion/mafw/split-0/model     # or pe-clip, which is shipped
    model.emotion_prior_labels_as: {joy: happiness}                 # where its labels have other names

The captioner weighs its [CLASS-k] embeddings with a mean of this belief and its own (EmotionCaptioner.mixed_belief).
"""

from __future__ import annotations

from functools import lru_cache

import torch

from captioner.config import ModelConfig
from captioner.emotion import folder
from captioner.emotion.belief import EmotionBelief, match_labels, renamed_columns
from captioner.emotion.contract import Evidence, Recogniser, believe
from captioner.emotion.looking import look, sampling_of
from captioner.emotion.registry import kind_of
from captioner.errors import CheckpointError, ConfigError


class EmotionPrior:
    """A trained recogniser: what it wants of a clip, and what it believes of it. `digest` is of its files."""

    def __init__(self, source: str, kind: str | None = None) -> None:
        path = folder.find_recogniser(source)
        self.model: Recogniser = folder.load_recogniser(path, kind)
        self.digest = folder.recogniser_digest(path)
        self.wants = self.model.wants
        self.reads_faces, self.sampling = self.wants.reads_faces, sampling_of(self.wants)
        # a worker of a data loader must leave the GPU alone
        self.device = torch.device("cuda" if torch.cuda.is_available() and not _is_worker() else "cpu")
        self.model.to(self.device)
        self.known: dict[str, EmotionBelief] = {}  # clips seen in this process; a belief is small

    def belief(self, evidence: Evidence) -> EmotionBelief:
        """The belief of one clip: probs (1, C), features (1, D); computed once a clip."""
        key = evidence.key()
        if key not in self.known:
            self.known[key] = believe(self.model, [evidence], self.device).single()
        return self.known[key]

    def read(self, source: object, start: float = 0.0, end: float | None = None) -> EmotionBelief:
        """What it believes of a video alone, in the order of its labels."""
        return self.belief(look(source, self.wants, start, end))


def _is_worker() -> bool:
    return torch.utils.data.get_worker_info() is not None


@lru_cache(maxsize=2)
def _open(source: str, kind: str, in_worker: bool) -> EmotionPrior:
    """Opened once a process: what a data loader's worker inherits may lie on a GPU that it cannot use."""
    return EmotionPrior(source, kind)


def open_prior(config: ModelConfig) -> EmotionPrior | None:
    """The prior of a captioner's configuration, or None; labels that are not the captioner's are an error."""
    if not config.emotion_prior:
        return None
    kind = kind_of(config.emotion_prior, "emotion_prior").name
    try:
        prior = _open(str(config.emotion_prior_source), kind, _is_worker())
    except CheckpointError as error:
        raise CheckpointError(f"model.emotion_prior_source: {error}") from None
    labels, names = prior.model.labels, config.emotion_prior_labels_as
    try:
        renamed_columns(labels, config.labels, names) if names else match_labels(labels, config.labels)
    except ConfigError as error:
        raise ConfigError(f"{config.emotion_prior_source}: {error}") from None
    return prior
