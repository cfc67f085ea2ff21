"""What comes out: a Caption with what it rests on, a Result with all captions of a file. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.inference.evidence import Evidence

_OF_THE_FILE = ("source", "duration", "model")  # the same for all captions of a file
_NOT_PLAIN = ("evidence",)


@dataclass
class ActionUnit:
    """An action unit the experts saw, and what it supports in the caption."""

    id: int
    name: str
    score: float  # mean over frames, 0..1
    peak: float | None  # second of its highest score
    words: list[str] = field(default_factory=list)  # the phrases, or the word, of the caption that it supports
    similarity: float | None = None  # cosine of the AU with the word it matched


@dataclass
class Caption:
    """What `caption` says of a clip, of one window of a video, or of one person in it, and why."""

    text: str
    score: float  # exp(mean log-probability of the words)
    words: list[dict[str, Any]]  # {word, log_prob}
    emotion: dict[str, float]  # label -> probability; empty for models without an emotion head
    action_units: list[ActionUnit]  # the most conspicuous ones, whether the caption names them or not
    faces: int
    start: float
    end: float
    frames: list[float] = field(default_factory=list)  # seconds of the frames looked at
    source: str = ""
    model: str = ""
    phrases: list[dict[str, Any]] = field(default_factory=list)  # facial phrases, each with its action unit
    emotion_source: str = ""  # who believes that: the captioner's own head, an emotion prior, or both
    person: int = 0  # whose face it is about, 1 the most dominant; 0 when no person was asked for
    duration: float = 0.0  # seconds of the whole file
    evidence: Evidence | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the evidence's pictures are left out."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_PLAIN}
        return plain | {"action_units": [asdict(unit) for unit in self.action_units]}


@dataclass
class Result:
    """All captions of one file: one, or one a window, or one a person, in order of time."""

    file: str
    segments: list[Caption]
    timed: bool = False  # windows were asked for
    persons: bool = False  # persons were asked for

    @property
    def duration(self) -> float:
        """Seconds of the file."""
        return self.segments[0].duration if self.segments else 0.0

    @property
    def text(self) -> str:
        """All sentences, each once where neighbours say the same."""
        texts = [caption.text for caption in self.segments]
        return " ".join(text for before, text in zip(["", *texts], texts, strict=False) if text != before)

    def record(self, run: dict[str, Any]) -> dict[str, Any]:
        """The JSON record that schema.json describes; `run` holds version, model and settings."""
        head = {"file": self.file, "duration": self.duration}
        if not (self.timed or self.persons):
            return {**head, **_segment(self.segments[0]), **run}
        return {**head, "caption": self.text, "segments": [_segment(caption) for caption in self.segments], **run}


def _segment(caption: Caption) -> dict[str, Any]:
    plain = {name: value for name, value in caption.to_dict().items() if name not in _OF_THE_FILE}
    return {"caption": plain.pop("text"), **plain}


def restore(record: dict[str, Any]) -> Result:
    """The Result that wrote a record, without its evidence."""
    parts: Iterable[dict[str, Any]] = record.get("segments", [record])
    shared = {"source": record["file"], "duration": record["duration"], "model": record["model"]}
    names = {f.name for f in fields(Caption)} - set(_NOT_PLAIN)
    captions = []
    for part in parts:
        own = {name: value for name, value in part.items() if name in names}
        own["action_units"] = [ActionUnit(**unit) for unit in part["action_units"]]
        captions.append(Caption(**(own | {"text": part["caption"]} | shared)))
    settings = record["settings"]
    return Result(record["file"], captions, bool(settings.get("window")), bool(settings.get("people")))
