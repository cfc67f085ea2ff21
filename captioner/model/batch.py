"""What the model takes of clips, one, an item of a data set or a batch of them, and what it holds of an encoded batch.

Axes: B clips, T frames, S pixels, M video tokens, R captions of a clip, L caption pieces, J pieces of the text encoder,
K action units, C emotions, N measures, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from captioner.faces.crops import FaceCrops
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.phrases import PHRASES
from captioner.model.fusion import Memory
from prompts.visual import ExpertFeatures, FrozenExperts

T = TypeVar("T")

NO_LABEL = -100  # cross-entropy leaves it out
# What judges say of a person, as logits: each facial phrase and action, woman rather than man, others in the picture.
MEASURES: tuple[str, ...] = (*PHRASES, *ACTIONS, "woman", "company")


@dataclass
class ClipInputs:
    """What the model takes of one clip; all but the frames with an axis of one clip before."""

    frames: Tensor  # (T, 3, H, W) uint8
    faces: FaceCrops | None = None
    experts: ExpertFeatures | None = None  # kept; computed from the faces where absent
    prior: Tensor | None = None  # (1, C) belief of the emotion prior
    video: Tensor | None = None  # (1, M, width) tokens of a frozen video encoder, which needs no frames then
    measured: Tensor | None = None  # (1, N) logits of MEASURES, of the person described; 0 where nobody is there


@dataclass
class CaptionTargets:
    """Captions of a clip as ids: what the fusion sees and is asked for, and what the text encoder reads."""

    masked: list[list[int]]  # R captions, some words replaced by [MASK]
    targets: list[list[int]]  # the word to predict there, NO_LABEL elsewhere
    text_ids: list[int] | None = None  # the first caption in the text encoder's vocabulary
    text_words: list[bool] | None = None  # its places that action units may match


@dataclass
class ClipItem:
    """A clip of a data set; its captions only in training."""

    inputs: ClipInputs
    id: str = ""
    emotion: int = NO_LABEL
    captions: CaptionTargets | None = None
    bad: dict[str, str] = field(default_factory=dict)  # the clip that it stands in for, and why


@dataclass
class Batch:
    """Clips as the model takes them; captions and labels only in training."""

    frames: Tensor  # (B, T, 3, S, S) uint8
    faces: FaceCrops | None = None
    experts: ExpertFeatures | None = None  # kept; computed from the faces where absent
    prior: Tensor | None = None  # (B, C) belief of the emotion prior
    measured: Tensor | None = None  # (B, N) logits of MEASURES
    video: Tensor | None = None  # (B, M, width) kept tokens of a frozen video encoder; frames may be (B, 0, 3, S, S)
    masked: Tensor | None = None  # (B * R, L) caption ids, some replaced by [MASK]; R captions a clip in a row
    targets: Tensor | None = None  # (B * R, L) the word to predict there, NO_LABEL elsewhere
    text_ids: Tensor | None = None  # (B, J) caption in the text encoder's vocabulary
    text_mask: Tensor | None = None  # (B, J) not padding
    text_words: Tensor | None = None  # (B, J) places that AUs may match: no specials, no masked words
    asked: Tensor | None = None  # (N,) places of the targets, flat: finding them on a GPU would have to wait for it
    emotion: Tensor | None = None  # (B,) label index or NO_LABEL
    ids: list[str] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)  # ids of clips that could not be read, and why

    def to(self, device: torch.device | str) -> "Batch":
        """The same on a device; pinned tensors travel while the caller goes on."""
        moved = {k: v.to(device, non_blocking=True) if hasattr(v, "to") else v for k, v in vars(self).items()}
        return Batch(**moved)

    def asked_places(self) -> Tensor:
        """(N,) places of the words to predict among (B * R * L)."""
        assert self.targets is not None
        return (self.targets.flatten() != NO_LABEL).nonzero()[:, 0] if self.asked is None else self.asked

    @property
    def hidden_words(self) -> int:
        """How many words are to be predicted."""
        return len(self.asked_places())

    def pin_memory(self) -> "Batch":
        """The same in pinned memory, as a data loader asks for it."""
        return Batch(**{k: v.pin_memory() if hasattr(v, "pin_memory") else v for k, v in vars(self).items()})


@dataclass
class EncodedClip:
    """Clips as the fusion holds them, before any word is written."""

    memory: Memory
    belief: Tensor | None  # (B, C) logits of the visual emotion head
    emotion: Tensor | None  # (B, C) probabilities, the prior's mixed in
    class_token: Tensor | None  # (B, 1, D)
    er: Tensor | None  # (B, D) fused state of the ER token
    au: Tensor | None  # (B, K, D) fused states of the AU tokens
    au_index: Tensor | None  # (B, K) which AUs they are, as places in the graph net's list
    au_scores: Tensor | None  # (B, K) standard scores
    experts: ExpertFeatures | None


def features_of_faces(experts: FrozenExperts, faces: FaceCrops) -> ExpertFeatures:
    """What frozen experts say of face crops, and with them of what else is known of these faces."""
    features: ExpertFeatures = experts(faces.pixels, faces.shown, faces.expression, faces.height)
    return features


def collate(items: Sequence[ClipItem], pad_id: int = 0) -> Batch:
    """Items as one batch, captions padded to the longest."""
    inputs = [item.inputs for item in items]
    captions = [item.captions for item in items if item.captions is not None]
    texts = [each.text_ids for each in captions if each.text_ids is not None]
    words = [each.text_words for each in captions if each.text_words is not None]
    targets = _padded([row for each in captions for row in each.targets], NO_LABEL)
    faces, experts = _known([each.faces for each in inputs]), _known([each.experts for each in inputs])
    return Batch(
        frames=torch.stack([each.frames for each in inputs]),
        faces=FaceCrops.stack(faces) if faces else None,
        experts=stack_features(experts) if experts else None,
        prior=_joined([each.prior for each in inputs]),
        video=_joined([each.video for each in inputs]),
        measured=_joined([each.measured for each in inputs]),
        masked=_padded([row for each in captions for row in each.masked], pad_id),
        targets=targets,
        asked=None if targets is None else (targets.flatten() != NO_LABEL).nonzero()[:, 0],
        text_ids=_padded(texts, pad_id),
        text_mask=_padded([[True] * len(row) for row in texts], False, torch.bool),
        text_words=_padded(words, False, torch.bool),
        emotion=torch.tensor([item.emotion for item in items]),
        ids=[item.id for item in items],
        bad={key: fault for item in items for key, fault in item.bad.items()},
    )


def stack_features(parts: Sequence[ExpertFeatures]) -> ExpertFeatures:
    """Features of several clips as those of one batch."""
    return ExpertFeatures(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = _known(parts)
    return torch.cat(there) if there else None


def _known(parts: Sequence[T | None]) -> list[T]:
    """All of the parts, or none; a batch is read from its clips in one way."""
    there = [part for part in parts if part is not None]
    if there and len(there) < len(parts):
        raise ValueError(f"{len(parts) - len(there)} of {len(parts)} clips of a batch lack what the others have")
    return there


def _padded(rows: Sequence[Sequence[int]], filler: int, dtype: torch.dtype = torch.long) -> Tensor | None:
    """Rows (N, longest); None of no rows."""
    longest = max(map(len, rows), default=0)
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows], dtype=dtype) if rows else None
