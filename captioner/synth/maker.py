"""Clips of animated photos or drawn faces: stories written, cast, checked, filmed, labelled, captioned.

make_all -> for each clip, in some process: _Crew.make -> story, cast -> check -> film -> video, labels
manifest.jsonl is put together from the labels at the end, so that a run can stop and go on at any clip.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from captioner.data.manifest import SPLITS
from captioner.errors import CaptionerError, ConfigError
from captioner.files import atomic
from captioner.synth.cast import Cast, DrawnCast, PhotoCast, Player
from captioner.synth.film.backdrop import Pictures
from captioner.synth.film.stage import film
from captioner.synth.labels import read_record, role_labels, shown_labels, write_labels
from captioner.synth.photo.photo_set import PhotoError, PhotoSet
from captioner.synth.story.grammar import MANNERS, write
from captioner.synth.story.tale import PHOTO_AUS, Look, Role, Settings, Story, sample_story, timeline
from captioner.synth.workers import claim, run, split_counts
from captioner.video.reading import write_video

if TYPE_CHECKING:
    from captioner.synth.check import Check

log = logging.getLogger(__name__)

RECIPE = 4  # raise it when the same seed gives other clips: finished ones of an older recipe are then refused
CLIPS_A_PERSON = 4
ATTEMPTS = 5
TAKES_A_PERSON = 2  # failed attempts after which another person is tried
LEAST_SIDE, MOST_SIDE = 64, 1920
_STORY, _ROLES, _WORDS = 0, 1, 2  # what a generator of a clip is for


@dataclass(frozen=True)
class Options:
    """What clips to make; `faces` is a folder of photos (None: drawn faces), `bundle` the checker's model file."""

    out: Path
    clips: int = 200
    seed: int = 0
    faces: Path | None = None
    height: int = 224
    width: int = 224
    seconds: tuple[float, float] = (3.0, 3.0)
    fps: tuple[float, float] = (12.0, 12.0)
    manner: str = "faces"
    captions: int = 3
    people: int = 2
    backgrounds: Path | None = None
    val: float = 0.1
    test: float = 0.1
    workers: int = 1
    bundle: Path | None = None

    def __post_init__(self) -> None:
        checks = [
            (self.seed >= 0, f"seed is {self.seed}; it must be 0 or more"),
            (_is_side(self.width) and _is_side(self.height),
             f"size is {self.width}x{self.height}; sides are even numbers of pixels from {LEAST_SIDE} to {MOST_SIDE}"),
            (0.5 <= self.width / max(self.height, 1) <= 3,
             f"size is {self.width}x{self.height}; the width must be 0.5 to 3 heights"),
            (_is_range(self.seconds, 1, 8), f"seconds is {_shown(self.seconds)}; it must lie within 1 to 8"),
            (_is_range(self.fps, 8, 30), f"fps is {_shown(self.fps)}; it must lie within 8 to 30"),
            (self.manner in MANNERS, f"manner is {self.manner!r}; allowed: {', '.join(MANNERS)}"),
            (1 <= self.captions <= 20, f"captions is {self.captions}; it must be 1 to 20"),
            (1 <= self.people <= 2, f"people is {self.people}; it must be 1 or 2"),
            (self.workers >= 1, f"workers is {self.workers}; it must be at least 1"),
            (self.bundle is None or self.faces is not None,
             "check is given without faces: it reads photos, drawn faces are not checked; leave one of them out"),
        ]  # fmt: skip
        for good, message in checks:
            if not good:
                raise ConfigError(message)
        split_counts(self.clips, self.val, self.test)


@dataclass(frozen=True)
class Job:
    """One clip: its number within its split."""

    split: str
    index: int


@dataclass(frozen=True)
class Made:
    """What became of a job: made now, there already, or (neither) given up after `ATTEMPTS`.

    `rejected` holds the AUs that did not show, once per failed attempt; none of them: no face was found.
    """

    name: str
    made: bool
    kept: bool
    rejected: tuple[tuple[int, ...], ...] = ()
    faults: tuple[str, ...] = ()


@dataclass
class Result:
    """The manifest's path and what a run did; `rejected` counts failed attempts by AU ("no face" too)."""

    manifest: Path
    made: int = 0
    kept: int = 0
    given_up: int = 0
    checked: bool = False
    seconds: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)
    attempts_failed: int = 0
    faults: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Plan:
    """All that a process needs to make clips."""

    options: Options
    cast: Cast
    pictures: dict[str, Pictures]


def make_all(options: Options, progress: Callable[[int, int], None] | None = None) -> Result:
    """Make the clips and their manifest; finished ones of the same settings are kept.

    The same options give the same clips whatever `workers`; no person is in two splits.
    `progress(done, all)` is called after each clip.
    """
    plan = _plan(options)
    counts = split_counts(options.clips, options.val, options.test)
    crew = _Crew(plan)
    crew.rehearse(counts)
    claim(options.out, _settings(plan))
    jobs = [Job(split, index) for split in SPLITS for index in range(counts[split])]
    result = Result(options.out / "manifest.jsonl", checked=options.bundle is not None)
    started = time.monotonic()
    chunk = max(1, min(CLIPS_A_PERSON, len(jobs) // (2 * options.workers)))
    try:
        for done, made in enumerate(run(_make, jobs, options.workers, chunk, partial(_prepare, plan)), start=1):
            _count(result, made)
            if progress:
                progress(done, len(jobs))
    finally:
        if _crew is not None:  # a single worker is this process
            _crew.close()
    result.seconds = time.monotonic() - started
    if result.made + result.kept == 0:
        raise CaptionerError(
            f"no clip passed the check in {ATTEMPTS} attempts ({_most(result.rejected)}); is {options.bundle} right?"
        )
    names = [crew.name(job) for job in jobs]
    _write_manifest(result, names, options)
    _sweep(options.out, {*names, result.manifest.stem})
    return result


def _count(result: Result, made: Made) -> None:
    result.made += made.made
    result.kept += made.kept
    result.given_up += not (made.made or made.kept)
    result.attempts_failed += len(made.rejected)
    for missed in made.rejected:
        result.rejected.update([f"AU {au}" for au in missed] or ["no face"])
    for fault in made.faults:
        if fault not in result.faults:
            result.faults.append(fault)
            log.warning("%s; skipped", fault)


def _most(rejected: Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in rejected.most_common(3))


def _plan(options: Options) -> _Plan:
    seed = options.seed
    cast: Cast = DrawnCast(seed) if options.faces is None else PhotoCast(PhotoSet(options.faces), seed)
    return _Plan(options, cast, {} if options.backgrounds is None else _by_split(Pictures(options.backgrounds)))


def _by_split(pictures: Pictures) -> dict[str, Pictures]:
    """Pictures shared out, so that no backdrop of a test clip is seen in training; few of them are all for training."""
    kept: dict[str, Pictures] = {}
    for split, places in (("test", (9,)), ("val", (8,)), ("train", range(8))):
        chosen = [path for number, path in enumerate(pictures.paths) if number % 10 in places]
        if chosen:
            kept[split] = copy(pictures)
            kept[split].paths = chosen
    return kept


def _settings(plan: _Plan) -> dict[str, Any]:
    """What decides how a clip looks; the number of clips does not, so that a folder can grow."""
    o = plan.options
    backdrops = sorted(path.name for pictures in plan.pictures.values() for path in pictures.paths)
    return {
        "recipe": RECIPE, "source": plan.cast.source, "seed": o.seed, "photos": plan.cast.fingerprint,
        "size": [o.width, o.height], "seconds": list(o.seconds), "fps": list(o.fps), "manner": o.manner,
        "captions": o.captions, "people": o.people, "backgrounds": backdrops or None, "checked": o.bundle is not None,
    }  # fmt: skip


def _write_manifest(result: Result, names: Sequence[str], options: Options) -> None:
    with atomic(result.manifest) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for name in names:
            record = read_record(_labels(options.out, name))
            if record is not None:
                file.write(json.dumps(record["line"]) + "\n")
                result.captions += record["line"]["captions"]


def _sweep(out: Path, names: set[str]) -> None:
    """Remove what earlier runs had begun to write when they were killed; all clips are whole by now."""
    for path in (*out.glob(".*-*"), *out.glob("*/.*-*")):
        if path.name[1:].rpartition("-")[0] in names:
            path.unlink(missing_ok=True)


def _video(out: Path, name: str) -> Path:
    return out / "videos" / f"{name}.mp4"


def _labels(out: Path, name: str) -> Path:
    return out / "labels" / f"{name}.safetensors"


_crew: "_Crew | None" = None


def _prepare(plan: _Plan) -> None:
    global _crew
    _crew = _Crew(plan)


def _make(job: Job) -> Made:
    assert _crew is not None
    return _crew.make(job)


class _Crew:
    """Makes clips, in one process; what it opens (basis, checker) is opened when a clip first needs it."""

    def __init__(self, plan: _Plan) -> None:
        self.plan, self.options, self.cast = plan, plan.options, plan.cast

    @cached_property
    def check(self) -> "Check | None":
        """The self-check, if clips are checked; only then is its library needed."""
        if self.options.bundle is None:
            return None
        from captioner.synth.check import Check

        return Check(self.options.bundle)

    def rehearse(self, counts: dict[str, int]) -> None:
        """Find out before any clip is made whether there are persons for each split, and a checker."""
        for split, count in counts.items():
            if count and not self.cast.count(split):
                advice = "" if split == "train" else f"; use --{split} 0"
                raise PhotoError(
                    f"{self.options.faces} has no photo of split {split!r} that can be animated (near frontal, at "
                    f"rest, mouth shut, eyes open, face not cut off){advice}"
                )
        _ = self.check
        self.close()

    def close(self) -> None:
        """Free the checker, if there is one."""
        check = self.__dict__.pop("check", None)
        if check is not None:
            check.close()

    def name(self, job: Job) -> str:
        """The clip's id, which its files carry too."""
        return f"{self.cast.source}{self.options.seed}_{job.split}_{job.index:06d}"

    def random(self, job: Job, use: int, attempt: int) -> np.random.Generator:
        """A generator that depends on the seed and the clip only, never on who makes it."""
        return np.random.default_rng([self.options.seed, SPLITS.index(job.split), use, job.index, attempt])

    def make(self, job: Job) -> Made:
        """Make a clip unless it is there."""
        name, out = self.name(job), self.options.out
        if _video(out, name).exists() and read_record(_labels(out, name)) is not None:
            return Made(name, made=False, kept=True)
        rejected: list[tuple[int, ...]] = []
        for attempt in range(ATTEMPTS):
            story = self.story(job, attempt)
            lead = self.lead(job, attempt, story)
            missed = self.check.missed(lead.actor, story) if self.check else None
            if missed is not None:
                rejected.append(missed)
                continue
            players = [lead, *self.others(job, attempt, story, lead)]
            try:
                self.shoot(job, attempt, story, players)
            except OSError as error:
                raise CaptionerError(
                    f"cannot write clip {name} under {out}: {error.strerror or error}; finished clips are kept, "
                    "the same command goes on from there"
                ) from None
            break
        return Made(name, len(rejected) < ATTEMPTS, False, tuple(rejected), tuple(self.cast.faults))

    def story(self, job: Job, attempt: int) -> Story:
        """What happens in the clip, at an attempt."""
        o = self.options
        settings = Settings(
            seconds=o.seconds, fps=o.fps, people=min(o.people, self.cast.count(job.split)),
            pictures=job.split in self.plan.pictures, aus=self.cast.aus, one_sided=self.cast.one_sided,
            aspect=o.width / o.height,
        )  # fmt: skip
        return sample_story(self.random(job, _STORY, attempt), settings)

    def lead(self, job: Job, attempt: int, story: Story) -> Player:
        """Whom the captions describe: several clips a person, the next person when one fails again and again."""
        place = job.index // CLIPS_A_PERSON + attempt // TAKES_A_PERSON
        return self.cast.play(job.split, place, story.look.tint)

    def others(self, job: Job, attempt: int, story: Story, lead: Player) -> list[Player]:
        """Everybody else, different persons of the same split."""
        players = [lead]
        persons = self.cast.count(job.split)
        place = int(self.random(job, _ROLES, attempt).integers(persons))
        for step in range(persons):
            if len(players) == len(story.roles):
                break
            player = self.cast.play(job.split, (place + step) % persons, story.look.tint)
            if player.group not in [known.group for known in players]:
                players.append(player)
        if len(players) < len(story.roles):
            raise PhotoError(f"{len(players)} persons of split {job.split!r} can be used, fewer than --people asks for")
        return players[1:]

    def shoot(self, job: Job, attempt: int, story: Story, players: Sequence[Player]) -> None:
        """Write the video, then the labels: a clip with labels is a finished one."""
        o, name = self.options, self.name(job)
        landmarks: list[Any] = []
        boxes: list[Any] = []

        def pictures() -> Iterator[NDArray[np.uint8]]:
            actors = [player.actor for player in players]
            for frame in film(story, actors, o.height, o.width, self.plan.pictures.get(job.split)):
                landmarks.append(frame.landmarks)
                boxes.append(frame.boxes)
                yield frame.picture

        write_video(_video(o.out, name), pictures(), story.fps, crf=story.look.crf)
        points = next((len(one) for frame in landmarks for one in frame if one is not None), 0)
        labels = role_labels(story.roles, PHOTO_AUS) | {
            "landmarks": shown_labels(landmarks, (points, 2)), "boxes": shown_labels(boxes, (4,)),
        }  # fmt: skip
        line = self.line(job, attempt, story, players, labels["boxes"][0])
        write_labels(_labels(o.out, name), labels, {"line": line, "aus": list(PHOTO_AUS)})

    def line(
        self, job: Job, attempt: int, story: Story, players: Sequence[Player], boxes: NDArray[np.float16]
    ) -> dict[str, Any]:
        """The clip's line of the manifest; `boxes` (T, 4) are the main person's."""
        o, main, name = self.options, story.roles[0], self.name(job)
        other = MANNERS[1 - MANNERS.index(o.manner)]
        looks = [player.actor.looks for player in players]
        rng = self.random(job, _WORDS, attempt)
        words = {manner: write(story, looks, rng, n=o.captions, manner=manner) for manner in MANNERS}
        return {
            "id": name,
            "video": f"videos/{name}.mp4",
            "split": job.split,
            "fold": None,
            "captions": words[o.manner],
            "emotion": story.emotion,
            "multi_emotion": list(story.mixture) if len(story.mixture) > 1 else [],
            "au_ids": sorted(main.peaks),
            "group": players[0].group,
            "n_frames": len(main.states),
            "fps": round(story.fps, 3),
            "extra": {
                "synthetic": True,
                "source": self.cast.source,
                "seed": o.seed,
                "size": [o.width, o.height],
                "attempt": attempt,
                "manner": o.manner,
                other: words[other],
                "persons": [player.group for player in players],
                "photos": [player.photo for player in players],
                "looks": looks,
                "au_peaks": {str(au): round(peak, 3) for au, peak in sorted(main.peaks.items())},
                "au": _timelines(main, PHOTO_AUS),
                "apex": _apex(main, boxes),
                "boxes": [None if np.isnan(box).any() else np.round(box.astype(float), 1).tolist() for box in boxes],
                "actions": list(main.actions),
                "phrases": list(main.phrases),
                "look": _summary(story.look),
                "labels": f"labels/{name}.safetensors",
            },
        }


def _timelines(role: Role, aus: Sequence[int]) -> dict[str, list[float]]:
    """The AUs that move at all, by frame."""
    curves = {str(au): np.round(timeline(role, au), 2) for au in aus}
    return {au: curve.tolist() for au, curve in curves.items() if curve.any()}


def _apex(role: Role, boxes: NDArray[np.float16]) -> int:
    """The frame that shows most of the salient AUs, the middle one if there is none."""
    hidden = np.isnan(boxes).any(axis=1)
    strength = np.sum([timeline(role, au) for au in role.peaks], axis=0)
    if not role.peaks:
        strength = -np.abs(np.linspace(-1, 1, len(boxes)))
    return int(np.argmax(np.where(hidden, -np.inf, strength)))


def _summary(look: Look) -> dict[str, Any]:
    """What is not as by default."""
    rest = {each.name: each.default for each in fields(Look)}
    values = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(look).items()}
    return {name: value for name, value in values.items() if value != rest[name]}


def _is_side(pixels: int) -> bool:
    return LEAST_SIDE <= pixels <= MOST_SIDE and pixels % 2 == 0


def _is_range(span: tuple[float, float], low: float, high: float) -> bool:
    return low <= span[0] <= span[1] <= high


def _shown(span: tuple[float, float]) -> str:
    return f"{span[0]:g}" if span[0] == span[1] else f"{span[0]:g}-{span[1]:g}"
