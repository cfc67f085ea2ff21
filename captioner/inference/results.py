"""What comes out: a Caption and what it rests on, and all captions of a video. Nothing heavy is imported.

Axes: T frames, S slots of time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from captioner.faces.face_reading import FaceReadings

# Strength from which on a unit counts as shown. On frames of 40 synthetic training clips .6 found 77 % of the commanded
# units and 4 % of the others.
SEEN = 0.6

SURE = 0.5  # probability below which a claim is marked as doubtful

_OF_THE_FILE = ("source", "duration", "model")  # the same for all captions of a file
_NOT_PLAIN = ("evidence", "shot")


@dataclass
class ActionUnit:
    """An action unit the experts saw, and what it supports in the caption."""

    id: int
    name: str
    score: float  # mean over frames, 0..1
    peak: float | None  # second of its highest score
    words: list[str] = field(default_factory=list)  # the phrases, or the word, of the caption that it supports
    similarity: float | None = None  # cosine of the AU with the word it matched


@dataclass(frozen=True)
class Link:
    """A facial phrase, `text[start:end]` of the caption, and the action unit it rests on."""

    phrase: str  # its name in the lexicon, whatever the wording
    text: str
    start: int
    end: int
    au: int
    name: str
    source: str  # who saw the unit: the experts, the face reader, or nobody
    score: float | None
    second: float | None  # when the unit shows best, None without a curve
    seen: bool  # whether its source confirms the phrase
    similarity: float | None = None  # cosine of the unit's prompt with the phrase's best word, None without a prompt


@dataclass(frozen=True)
class ToldClaim:
    """Something that a caption claims in `text[start:end]`, and how probable it is by what was measured."""

    kind: str  # phrase (of the face), action, gender, people, other (a second person's action), feeling, ...
    name: str
    text: str
    start: int
    end: int
    probability: float | None  # None: nothing was measured that speaks for or against it
    source: str = ""

    @property
    def doubtful(self) -> bool:
        """Whether it is more likely false than true, by what was measured."""
        return self.probability is not None and self.probability < SURE


@dataclass(frozen=True)
class AUCurve:
    """An action unit through a clip: its values 0..1 at seconds, and who says so."""

    au: int
    name: str
    source: str
    seconds: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def peak(self) -> float:
        """The second of the highest value, of nearly equal ones the middle one: rises and ends show less."""
        top, low = max(self.values), min(self.values)
        places = [i for i, value in enumerate(self.values) if value >= top - 0.05 * (top - low)]
        return self.seconds[places[len(places) // 2]]

    @property
    def strength(self) -> float:
        """Mean of the highest quarter: expressions last longer than a blink, shorter than a clip."""
        highest = sorted(self.values)[-max(1, round(len(self.values) / 4)) :]
        return sum(highest) / len(highest)

    @property
    def seen(self) -> bool:
        """Whether the unit counts as shown."""
        return self.strength >= SEEN


@dataclass
class Picture:
    """A frame as JPEG and its second."""

    second: float
    width: int
    height: int
    jpeg: bytes = field(repr=False)


@dataclass
class Portrait:
    """An upright face crop as JPEG, its second, and its landmarks (68, 2) as shares of the crop's side."""

    second: float
    jpeg: bytes = field(repr=False)
    landmarks: list[tuple[float, float]] = field(repr=False)


@dataclass
class Belief:
    """Emotion probabilities by label, and who holds them."""

    source: str
    probs: dict[str, float]


@dataclass
class Person:
    """A face followed through the clip: boxes x0 y0 x1 y1 as shares of the picture, None where it is not seen."""

    captioned: bool
    boxes: list[tuple[float, float, float, float] | None] = field(repr=False)


@dataclass
class AttentionShares:
    """Where a word or prompt looked: shares of its attention, and its map (S, rows, columns) over the video."""

    name: str
    words: float  # on the words before it
    prompts: dict[str, float]
    video: float
    map: NDArray[np.float32] | None = field(repr=False, default=None)


@dataclass
class Evidence:
    """What a caption rests on beside its phrases' links; `to_dict` leaves out pictures and maps."""

    curves: list[AUCurve] = field(default_factory=list)  # of the caption's phrases, of the prompts, then by strength
    kept: list[int] = field(default_factory=list)  # the action units that the model had as prompts
    emotions: list[Belief] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    frames: list[Picture] = field(default_factory=list)
    portraits: dict[int, Portrait] = field(default_factory=dict)  # of the captioned face, by action unit
    words: list[AttentionShares] = field(default_factory=list)
    prompts: list[AttentionShares] = field(default_factory=list)
    square: bool = True  # whether the maps cover the picture's centre square rather than all of it
    readings: FaceReadings | None = field(default=None, repr=False, compare=False)  # everybody, densely in time

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "curves": [asdict(each) for each in self.curves],
            "kept": self.kept,
            "emotions": [asdict(each) for each in self.emotions],
            "people": [asdict(each) for each in self.people],
            "seconds": self.seconds,
            "attention": [
                {"word": each.name, "words": each.words, "prompts": each.prompts, "video": each.video}
                for each in self.words
            ],
        }


@dataclass(repr=False)
class Caption:
    """What `caption` says of a clip, of one window of a video, or of one person in it, and why."""

    text: str
    score: float  # exp(mean log-probability of the words)
    words: list[dict[str, Any]]  # {word, log_prob} of what the network wrote; `text` may word that anew
    emotion: dict[str, float]  # label -> probability; empty for models without an emotion head
    action_units: list[ActionUnit]  # the most conspicuous ones, whether the caption names them or not
    faces: int
    start: float
    end: float
    frames: list[float] = field(default_factory=list)  # seconds of the frames looked at
    source: str = ""
    model: str = ""
    phrases: list[Link] = field(default_factory=list)  # facial phrases, each with its action unit
    emotion_source: str = ""  # who believes that: the captioner's own head, an emotion prior, or both
    person: int = 0  # whose face it is about, 1 the most dominant; 0 when no person was asked for
    duration: float = 0.0  # seconds of the whole file
    claims: list[ToldClaim] = field(default_factory=list)  # all that can be false in the text
    confidence: float | None = None  # chance that all claims hold; None where nothing was measured
    event: str = ""  # the sentence of the text that a public captioner wrote, where one was asked for
    event_source: str = ""  # "by NAME, not measured"
    evidence: Evidence | None = field(default=None, repr=False, compare=False)
    shot: float = field(default=0.0, repr=False, compare=False)  # second at which the shot of a window begins

    def __repr__(self) -> str:
        who = f", person {self.person}" if self.person else ""
        return f"Caption({self.text!r}, {self.start:.1f}-{self.end:.1f} s{who})"

    def _repr_html_(self) -> str:
        return in_notebook(self)

    def claim_of(self, link: Link) -> ToldClaim | None:
        """The claim that a facial phrase makes, where something was measured that speaks for or against it."""
        known = (each for each in self.claims if each.kind == "phrase" and each.probability is not None)
        return next((each for each in known if each.start < link.end and link.start < each.end), None)

    def doubts(self, link: Link) -> bool:
        """Whether a facial phrase is doubtful: by its claim's probability, else by the action unit behind it."""
        claim = self.claim_of(link)
        return claim.doubtful if claim else not link.seen

    def save(self, path: str | Path) -> None:
        """Write a file in the format that its suffix names: txt, json, jsonl, csv, srt, vtt or html.

        A page shows all that it can where `evidence=True` was asked for, and plays the video it was made of.
        """
        # The formats stand above this room: a convenience reaches up to them by name, when it is asked for.
        import_module("captioner.output.saving").save_caption(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the evidence's pictures are left out."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_PLAIN}
        return plain | {
            "action_units": [asdict(unit) for unit in self.action_units],
            "phrases": [asdict(each) for each in self.phrases],
            "claims": [asdict(each) for each in self.claims],
        }


@dataclass
class VideoCaptions:
    """All captions of one file: one, or one a window, or one a person, in order of time."""

    file: str
    segments: list[Caption]
    timed: bool = False  # windows were asked for
    persons: bool = False  # persons were asked for
    faces: FaceReadings | None = field(default=None, repr=False, compare=False)  # where a format asks for them
    film: Path | bytes | None = field(default=None, repr=False, compare=False)  # what a page can play
    page_folder: Path | None = field(default=None, repr=False, compare=False)  # where that page will lie

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


def restore(record: dict[str, Any]) -> VideoCaptions:
    """The captions that wrote a record, without their evidence."""
    parts: Iterable[dict[str, Any]] = record.get("segments", [record])
    shared = {"source": record["file"], "duration": record["duration"], "model": record["model"]}
    captions = [restore_caption(part | shared | {"text": part["caption"]}) for part in parts]
    settings = record["settings"]
    return VideoCaptions(record["file"], captions, bool(settings.get("window")), bool(settings.get("people")))


def restore_caption(plain: dict[str, Any]) -> Caption:
    """The Caption that `to_dict` made these of; further values are left out."""
    own = {f.name: plain[f.name] for f in fields(Caption) if f.name in plain and f.name not in _NOT_PLAIN}
    own["action_units"] = [ActionUnit(**unit) for unit in plain["action_units"]]
    own["phrases"] = [Link(**each) for each in plain["phrases"]]
    own["claims"] = [ToldClaim(**each) for each in plain.get("claims", [])]
    return Caption(**own)


def in_notebook(caption: Caption) -> str:
    """A caption as a notebook shows it: the sentence with its phrases marked, and the likeliest emotions."""
    cut, at = [], 0
    for link in sorted(caption.phrases, key=lambda each: each.start):
        told = f"{link.name}, best seen at {link.second:.1f} s" if link.second is not None else link.name
        claim, doubtful = caption.claim_of(link), caption.doubts(link)
        told += f"; {claim.probability:.0%} likely" if claim else "; not confirmed" if doubtful else ""
        style = "dotted" if doubtful else "solid"
        cut.append(escape(caption.text[at : link.start]))
        words = escape(caption.text[link.start : link.end])
        cut.append(f'<span title="{escape(told)}" style="border-bottom:2px {style} currentColor">{words}</span>')
        at = link.end
    cut.append(escape(caption.text[at:]))
    likely = sorted(caption.emotion.items(), key=lambda pair: -pair[1])[:3]
    told = ", ".join(f"{escape(label)} {share:.0%}" for label, share in likely)
    where = f"{escape(caption.source)} {caption.start:.1f} to {caption.end:.1f} s"
    return f'<p style="font-size:1.3em;margin:0">{"".join(cut)}</p><p><small>{where}. {told}</small></p>'
