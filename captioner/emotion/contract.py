"""What every recogniser of emotion meets. It says what it wants of a clip, is handed evidence, answers with a belief.

    source, wants -> look (looking.py) -> Evidence -> collate_evidence -> features (frozen: may be kept)
        -> predict -> EmotionBelief,  or in training -> losses

A fifth recogniser is a folder with a module that holds a `RecogniserKind`, and a line in registry.py.

Axes: B clips, T pictures, S pixels, N samples of sound, C labels, D features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from captioner.emotion.belief import EmotionBelief
from captioner.sound import Sound

Crop = Literal["frame", "face"]


@dataclass(frozen=True)
class SoundWants:
    """The sound that a recogniser asks for: samples a second, seconds at most (0: all), made into what.

    segments: of so many equal parts, one behind the other, each at most `span` seconds from its middle; 0: the clip's.
    """

    rate: int = 16_000
    span: float = 0.0
    front: str = "wave"
    segments: int = 0


@dataclass(frozen=True)
class Wants:
    """What a recogniser asks of a clip; nothing else is decoded, and what is kept of clips is kept by it."""

    segments: int = 0
    """A clip is so many equal parts; 0: no pictures."""
    frames: int = 1
    """Pictures of a part, evenly spread."""
    size: int = 224
    crop: Crop = "frame"
    """The centre square of a picture; or a person's face, upright and grey."""
    edges: bool = False
    """The first and the last picture are among them; else each is the middle of its share of the clip."""
    step: float = 0.0
    """Seconds between the pictures of a part, about its middle; 0: spread over the part."""
    persons: Literal["", "faces", "detector"] = ""
    """Who tells where in the pictures persons are: followed faces, grown to bodies; a detector; nobody."""
    sound: SoundWants | None = None
    words: bool = False
    """What is said."""

    @property
    def count(self) -> int:
        """Pictures in all."""
        return self.segments * self.frames

    @property
    def reads_faces(self) -> bool:
        """Whether faces must be looked for."""
        return bool(self.count) and (self.crop == "face" or self.persons == "faces")


@dataclass(frozen=True)
class Evidence:
    """What one clip offers a recogniser; whatever it does not want, or the clip has not, is None or empty."""

    start: float
    end: float
    frames: Tensor | None = None  # (T, 3, S, S) uint8
    times: Tensor | None = None  # (T,) seconds
    persons: Tensor | None = None  # (T, S, S) bool
    sound: Sound | None = None
    words: str = ""  # "": nobody was understood

    def key(self) -> str:
        """A digest of its content."""
        digest = hashlib.blake2b(self.words.encode(), digest_size=16)
        wave = None if self.sound is None else torch.from_numpy(self.sound.wave)
        for part in (self.frames, self.persons, wave):
            digest.update(b"-" if part is None else part.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class EvidenceBatch:
    """Evidence of B clips side by side."""

    frames: Tensor | None = None  # (B, T, 3, S, S) uint8
    times: Tensor | None = None  # (B, T)
    persons: Tensor | None = None  # (B, T, S, S) bool
    sounds: tuple[Sound | None, ...] = ()
    words: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> EvidenceBatch:
        """With its tensors on a device; sound is brought there by who listens."""
        moved: dict[str, Any] = {k: value.to(device) for k, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def collate_evidence(parts: Sequence[Evidence]) -> EvidenceBatch:
    """Several clips as one batch; all were looked at for the same wants."""

    def stacked(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if any(value is None for value in values) else torch.stack(values)

    frames, times, persons = (stacked(name) for name in ("frames", "times", "persons"))
    return EvidenceBatch(frames, times, persons, tuple(p.sound for p in parts), tuple(p.words for p in parts))


@dataclass
class RecogniserLosses:
    """What is minimised; the cost of the task itself, which is watched; other parts by name."""

    total: Tensor
    task: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Recogniser(Protocol):
    """A recogniser: an nn.Module with these. `KIND` is its name in the registry."""

    KIND: str
    config: Any

    @property
    def wants(self) -> Wants: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    def features(self, batch: EvidenceBatch) -> Any:
        """What its frozen parts say of clips: a tensor, or tensors by name; the first axis is B."""

    def forward(self, features: Any) -> Tensor:
        """Logits (B, C)."""

    def losses(self, features: Any, labels: Tensor, generator: torch.Generator | None = None) -> RecogniserLosses:
        """Training losses with label indices (B,)."""

    def predict(self, features: Any) -> EmotionBelief:
        """The belief of clips; no label is looked at."""

    def parameter_groups(self, lr: float, slow: float) -> list[dict[str, Any]]:
        """Optimiser groups: new weights at the rate, pretrained ones at `slow` times it."""

    def trained_parameters(self) -> int:
        """How many numbers training changes."""

    # what nn.Module brings
    def to(self, device: torch.device) -> Any: ...

    def train(self, mode: bool = True) -> Any: ...

    def eval(self) -> Any: ...

    def requires_grad_(self, requires_grad: bool = True) -> Any: ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...


def _nothing(model: Any, folder: Path) -> None:
    """A kind that keeps no files of its own."""


@dataclass(frozen=True)
class RecogniserKind:
    """One published system: how it is configured, built untrained, and read back from its folder."""

    name: str
    title: str
    config: type
    build: Callable[..., Any]
    """An untrained recogniser of a configuration with labels, and of what `open` gave; random numbers come from torch's
    state. Only what is to be trained has gradients."""
    restore: Callable[[Any, Mapping[str, Tensor], Path], Any]
    """The recogniser of a configuration and its tensors, strictly; the folder holds what else was kept."""
    open: Callable[[Any], Any] = lambda config: None
    """What many recognisers of a configuration can share, as a frozen pair."""
    state: Callable[[Any], Mapping[str, Tensor]] = lambda model: model.state_dict()
    """The tensors that a folder keeps."""
    keep: Callable[[Any, Path], None] = _nothing
    """Writes what else its folder holds, as a vocabulary."""


@torch.no_grad()
def believe(model: Recogniser, parts: Sequence[Evidence], device: torch.device | str = "cpu") -> EmotionBelief:
    """The belief of clips, on the CPU, with what was heard and read of each."""
    batch = collate_evidence(parts)
    found = model.predict(model.features(batch.to(device)))
    wants = model.wants
    heard = torch.tensor([wants.sound is not None and sound is not None for sound in batch.sounds])
    read = torch.tensor([wants.words and bool(words.strip()) for words in batch.words])
    return replace(found, probs=found.probs.cpu(), features=found.features.cpu(), heard=heard, read=read)
