"""A recogniser of emotion for people: the object that `captioner.load_emotion()` returns.

reader = captioner.load_emotion("pe-clip")
reader.believe("clip.mp4", 0, 5).sorted_labels()        # [("happiness", 0.71), ...]
for moment in reader.windows("film.mkv", 5): ...        # in one pass, in bounded memory
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from captioner.config import ExpertsConfig
from captioner.emotion.belief import EmotionBelief
from captioner.emotion.contract import Evidence, Recogniser, believe
from captioner.emotion.folder import load_recogniser
from captioner.emotion.looking import Span, gather_evidence, look_at, sampling_of
from captioner.emotion.registry import KINDS
from captioner.errors import CheckpointError, ConfigError
from captioner.faces.crops import face_tracks
from captioner.files import list_recognisers
from captioner.inference.choices import pick_device
from captioner.sound.listening import Listener
from captioner.sound.subtitles import words_between
from captioner.video.sampling import Sampling
from captioner.video.shots import pieces

if TYPE_CHECKING:
    import numpy as np

DEFAULT = "pe-clip"
LEAST_WINDOW = 0.5  # seconds
_CUTS = Sampling(1, (64,), edges=False)  # pictures enough to find cuts in, for a recogniser that looks at none


@dataclass(frozen=True)
class EmotionMoment:
    """What is believed of a span of a video, or of one person in it (counted from 1; 0: of all)."""

    source: str
    start: float
    end: float
    belief: EmotionBelief
    person: int = 0
    faces: int | None = None  # people who were seen; None where nobody looked for them
    senses: tuple[str, ...] = ()  # what the recogniser uses: face or picture, sound, words
    lacking: tuple[str, ...] = ()  # of these what the clip did not offer

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        about = {name: getattr(self, name) for name in ("source", "start", "end", "person", "faces")}
        beliefs = {label: round(share, 4) for label, share in self.belief.sorted_labels()}
        return {
            **about,
            "senses": [*self.senses],
            "lacking": [*self.lacking],
            "kind": self.belief.kind,
            "belief": beliefs,
        }


class EmotionReader:
    """An opened recogniser: `believe` for one answer, `moments` for people of a clip, `windows` along a film."""

    def __init__(self, model: Recogniser, name: str = "", device: torch.device | str = "cpu") -> None:
        self.model, self.name, self.device = model, name, torch.device(device)
        self.model.to(self.device)
        self.wants = model.wants
        self.listener: Listener | None = None  # who understands speech, where that was asked for
        if not model.labels:
            raise CheckpointError(
                f"{name or 'this recogniser'} has no labels yet: fit a probe first, scripts/train.py "
                f"configs/emotion/emotionclip_mafw.yaml --source {name}"
            )

    @classmethod
    def from_pretrained(cls, name: str | Path | None = None, *, device: str = "auto") -> EmotionReader:
        """A recogniser by shipped name, by its kind, or by its folder; the shipped one without a name."""
        chosen = named_recogniser(str(name) if name is not None else DEFAULT)
        return cls(load_recogniser(chosen), chosen, pick_device(device))

    @property
    def labels(self) -> tuple[str, ...]:
        """What it tells apart."""
        return self.model.labels

    def believe(
        self,
        source: str | Path | BinaryIO | np.ndarray | torch.Tensor,
        start: float = 0.0,
        end: float | None = None,
        *,
        fps: float = 25.0,
    ) -> EmotionBelief:
        """The belief of a video, an open file, or frames uint8 (T, H, W, 3) of `fps`, between two seconds."""
        _check_span(start, end)
        evidence, _ = look_at(source, self.wants, start, end, fps=fps, transcript=self._said(source, start, end))
        return believe(self.model, evidence[:1], self.device)

    def moments(
        self, source: Any, start: float = 0.0, end: float | None = None, *, people: int = 0, fps: float = 25.0
    ) -> list[EmotionMoment]:
        """The belief of a clip, or one for each of the `people` most dominant people; of the clip where nobody is."""
        _check_span(start, end)
        self._check_people(people)
        said = self._said(source, start, end)
        evidence, faces = look_at(source, self.wants, start, end, people=people, fps=fps, transcript=said)
        return self._told(source, evidence, people, faces)

    def windows(self, source: Any, seconds: float = 5.0, *, people: int = 0) -> Iterator[EmotionMoment]:
        """Beliefs of every `seconds` of a video while it is read; no window holds a cut, memory does not grow."""
        if not seconds >= LEAST_WINDOW:
            raise ConfigError(f"windows of {seconds:g} s are too short: at least {LEAST_WINDOW:g} s are needed")
        self._check_people(people)
        sampling = sampling_of(self.wants)
        for piece in pieces(source, seconds, [sampling or _CUTS]):
            clip = piece.clips[0][0] if sampling is not None else None
            tracks = face_tracks(clip, ExpertsConfig()) if clip is not None and self.wants.reads_faces else []
            span = Span(source, piece.start, piece.end, self._said(source, piece.start, piece.end))
            meant: list[int | None] = list(range(min(people, len(tracks)))) or [None]
            evidence = [gather_evidence(clip, self.wants, tracks, span, person) for person in meant]
            yield from self._told(source, evidence, people, len(tracks) if self.wants.reads_faces else None)

    def listen(self, model: str, language: str = "", *, offline: bool = False) -> None:
        """From now on what is said is heard, by a speech-to-text model of that name or folder; kept by file."""
        if not self.wants.words:
            raise ConfigError(f"{self.name or 'this recogniser'} reads no words: leave --listen out")
        listener = Listener(Path.home() / ".cache" / "captioner" / "words", model, language, offline)
        listener.open()
        self.listener = listener

    def _said(self, source: Any, start: float, end: float | None) -> str | None:
        """What the listener understood; None where nobody listens, or nothing can be kept of the source."""
        if self.listener is None or not isinstance(source, str | Path) or not Path(source).is_file():
            return None
        return words_between(self.listener.load(Path(source)), start, end)

    def _told(self, source: Any, evidence: list[Evidence], people: int, faces: int | None) -> list[EmotionMoment]:
        name = str(getattr(source, "name", source)) if not hasattr(source, "shape") else "frames"
        found = []
        for place, part in enumerate(evidence):
            belief = believe(self.model, [part], self.device)
            person = place + 1 if people and faces else 0
            senses, lacking = self._senses(belief, faces)
            start, end = round(part.start, 3), round(part.end, 3)
            found.append(EmotionMoment(name, start, end, belief, person, faces, senses, lacking))
        return found

    def _senses(self, belief: EmotionBelief, faces: int | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What it went by, and what of that was not there."""
        wants = self.wants
        asked = {"face" if wants.crop == "face" else "picture": (wants.count > 0, wants.crop != "face" or bool(faces))}
        asked["persons"] = (bool(wants.persons), bool(faces) or wants.persons == "detector")
        asked["sound"] = (wants.sound is not None, belief.heard is not None and bool(belief.heard[0]))
        asked["words"] = (wants.words, belief.read is not None and bool(belief.read[0]))
        wanted = [(name, there) for name, (wish, there) in asked.items() if wish]
        return tuple(name for name, there in wanted if there), tuple(name for name, there in wanted if not there)

    def _check_people(self, people: int) -> None:
        if people and not self.wants.reads_faces:
            raise ConfigError(f"{self.name or 'this recogniser'} looks at whole pictures: it cannot tell people apart")


def named_recogniser(name: str) -> str:
    """A shipped recogniser's name or a folder; a kind means the shipped one of that kind."""
    shipped = list_recognisers()
    if name in shipped or Path(name).exists():
        return name
    plain = name.replace("-", "_")
    of_kind = [own for own, kind in shipped.items() if kind == plain]
    if of_kind:
        return of_kind[0]
    if plain in KINDS:
        raise CheckpointError(f"no {plain} is shipped: train one, and give its folder; shipped: {', '.join(shipped)}")
    return name


def _check_span(start: float, end: float | None) -> None:
    if start < 0 or (end is not None and end <= start):
        raise ConfigError(f"start {start:g} and end {end} are no span: 0 <= start < end is needed")
