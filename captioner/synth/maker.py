"""Clips of animated photos or drawn faces: stories written, cast, checked, filmed, labelled, captioned.

make_clips -> for each clip, in some process: ClipMaker.make -> story, cast -> check -> film -> video, labels
manifest.jsonl is put together from the labels at the end, so that a run can stop and go on at any clip.
"""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from captioner.data.manifest import SPLITS
from captioner.errors import CaptionerError
from captioner.files import atomic
from captioner.synth.cast import Cast, DrawnCast, PhotoCast, Player
from captioner.synth.film.backdrop import BackdropFolder
from captioner.synth.film.stage import film_story
from captioner.synth.labels import read_record, role_labels, shown_labels, story_facts, write_labels
from captioner.synth.maker_options import MakerOptions
from captioner.synth.photo.photo_set import PhotoError, PhotoSet
from captioner.synth.story.grammar import STYLES, write_captions
from captioner.synth.story.tale import PHOTO_AUS, Story, StorySettings, sample_story
from captioner.synth.voice.clip_voice import VoicedStory, voice_story
from captioner.synth.voice.source_filter import VOICE_RATE
from captioner.synth.workers import claim, run_jobs, split_counts
from captioner.video.reading import write_video

if TYPE_CHECKING:
    from captioner.synth.check import ShowCheck

log = logging.getLogger(__name__)

RECIPE = 4  # raise it when the same seed gives other clips: finished ones of an older recipe are then refused
CLIPS_A_PERSON = 4
ATTEMPTS = 5
TAKES_A_PERSON = 2  # failed attempts after which another person is tried
FEW = 100  # drawn clips that are made sooner than a second process starts
_STORY, _ROLES, _WORDS, _VOICES = 0, 1, 2, 3  # what a generator of a clip is for


@dataclass(frozen=True)
class ClipJob:
    """One clip: its number within its split."""

    split: str
    index: int


@dataclass(frozen=True)
class ClipOutcome:
    """What became of a job: made now, there already, or (neither) given up after `ATTEMPTS`.

    `rejected` holds the AUs that did not show, once per failed attempt; none of them: no face was found.
    """

    name: str
    made: bool
    kept: bool
    rejected: tuple[tuple[int, ...], ...] = ()
    faults: tuple[str, ...] = ()


@dataclass
class MakerResult:
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

    def count(self, outcome: ClipOutcome) -> None:
        """Add what became of one clip; a fault is told once."""
        self.made += outcome.made
        self.kept += outcome.kept
        self.given_up += not (outcome.made or outcome.kept)
        self.attempts_failed += len(outcome.rejected)
        for missed in outcome.rejected:
            self.rejected.update([f"AU {au}" for au in missed] or ["no face"])
        for fault in outcome.faults:
            if fault not in self.faults:
                self.faults.append(fault)
                log.warning("%s; skipped", fault)


@dataclass(frozen=True)
class MakerPlan:
    """All that a process needs to make clips; `pictures` are backdrops by split."""

    options: MakerOptions
    cast: Cast
    pictures: dict[str, BackdropFolder]

    @classmethod
    def of(cls, options: MakerOptions) -> "MakerPlan":
        """The plan for options, with the photos and backdrops that they name opened."""
        seed, folder = options.seed, options.backgrounds
        cast: Cast = DrawnCast(seed)
        if options.faces is not None:
            cast = PhotoCast(PhotoSet(options.faces), seed, options.genders)
        return cls(options, cast, {} if folder is None else share_out(BackdropFolder(folder)))

    def settings(self) -> dict[str, Any]:
        """What decides how a clip looks; the number of clips does not, so that a folder can grow."""
        o = self.options
        backdrops = sorted(path.name for pictures in self.pictures.values() for path in pictures.paths)
        settings = {
            "recipe": RECIPE, "source": self.cast.source, "seed": o.seed, "photos": self.cast.fingerprint,
            "size": [o.width, o.height], "seconds": list(o.seconds), "fps": list(o.fps), "manner": o.style,
            "captions": o.captions, "people": o.people, "backgrounds": backdrops or None,
            "checked": o.bundle is not None,
        }  # fmt: skip
        asked = {"framing": o.framing != "film" and o.framing, "genders": o.genders, "oblique": o.oblique}
        asked["voices"] = o.voices
        return settings | {name: wish for name, wish in asked.items() if wish}


def share_out(pictures: BackdropFolder) -> dict[str, BackdropFolder]:
    """BackdropFolder by split: no backdrop of a test clip is seen in training; few of them are all for training."""
    shares: dict[str, BackdropFolder] = {}
    for split, places in (("test", (9,)), ("val", (8,)), ("train", range(8))):
        chosen = [path for number, path in enumerate(pictures.paths) if number % 10 in places]
        if chosen:
            shares[split] = copy(pictures)
            shares[split].paths = chosen
    return shares


def make_clips(options: MakerOptions, progress: Callable[[int, int], None] | None = None) -> MakerResult:
    """Make the clips and their manifest; finished ones of the same settings are kept.

    The same options give the same clips whatever `workers`; no person is in two splits.
    `progress(done, all)` is called after each clip.
    """
    plan = MakerPlan.of(options)
    counts = split_counts(options.clips, options.val, options.test)
    maker = ClipMaker(plan)
    maker.rehearse(counts)
    claim(options.out, plan.settings())
    jobs = [ClipJob(split, index) for split in SPLITS for index in range(counts[split])]
    result = MakerResult(options.out / "manifest.jsonl", checked=options.bundle is not None)
    started = time.monotonic()
    chunk = max(1, min(CLIPS_A_PERSON, len(jobs) // (2 * options.workers)))
    try:
        outcomes = run_jobs(_make, jobs, options.workers, chunk, partial(_prepare, plan))
        for done, outcome in enumerate(outcomes, start=1):
            result.count(outcome)
            if progress:
                progress(done, len(jobs))
    finally:
        if _maker is not None:  # a single worker is this process
            _maker.close()
    result.seconds = time.monotonic() - started
    if result.made + result.kept == 0:
        most = ", ".join(f"{name}: {count}" for name, count in result.rejected.most_common(3))
        raise CaptionerError(
            f"no clip passed the check in {ATTEMPTS} attempts ({most}); is {options.bundle} right?"
        )  # fmt: skip
    names = [maker.name(job) for job in jobs]
    _write_manifest(result, names)
    _sweep(options.out, {*names, result.manifest.stem})
    return result


def make_drawn_clips(
    out: Path, clips: int, seed: int = 0, size: int = 112, progress: Callable[[int, int], None] | None = None
) -> Path:
    """The manifest of the drawn clips that a config asks for (`data.drawn`): portraits, which small nets soon learn."""
    workers = 1 if clips < FEW else min(2, os.cpu_count() or 1)
    options = MakerOptions(
        out, clips, seed, height=size, width=size, seconds=(1.5, 2.5), fps=(8.0, 8.0), people=1, framing="portrait",
        workers=workers,
    )  # fmt: skip
    return make_clips(options, progress).manifest


def _write_manifest(result: MakerResult, names: Sequence[str]) -> None:
    with atomic(result.manifest) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for name in names:
            record = read_record(_labels(result.manifest.parent, name))
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


_maker: "ClipMaker | None" = None  # of this process


def _prepare(plan: MakerPlan) -> None:
    global _maker
    _maker = ClipMaker(plan)


def _make(job: ClipJob) -> ClipOutcome:
    assert _maker is not None
    return _maker.make(job)


class ClipMaker:
    """Makes clips, in one process; what it opens (basis, checker) is opened when a clip first needs it."""

    def __init__(self, plan: MakerPlan) -> None:
        self.plan, self.options, self.cast = plan, plan.options, plan.cast

    @cached_property
    def check(self) -> "ShowCheck | None":
        """The self-check, if clips are checked; only then is its library needed."""
        if self.options.bundle is None:
            return None
        from captioner.synth.check import ShowCheck

        return ShowCheck(self.options.bundle)

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

    def name(self, job: ClipJob) -> str:
        """The clip's id, which its files carry too."""
        return f"{self.cast.source}{self.options.seed}_{job.split}_{job.index:06d}"

    def random(self, job: ClipJob, use: int, attempt: int) -> np.random.Generator:
        """A generator that depends on the seed and the clip only, never on who makes it."""
        return np.random.default_rng([self.options.seed, SPLITS.index(job.split), use, job.index, attempt])

    def make(self, job: ClipJob) -> ClipOutcome:
        """Make a clip unless it is there."""
        name, out = self.name(job), self.options.out
        if _video(out, name).exists() and read_record(_labels(out, name)) is not None:
            return ClipOutcome(name, made=False, kept=True)
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
        return ClipOutcome(name, len(rejected) < ATTEMPTS, False, tuple(rejected), tuple(self.cast.faults))

    def story(self, job: ClipJob, attempt: int) -> Story:
        """What happens in the clip, at an attempt."""
        o = self.options
        settings = StorySettings(
            seconds=o.seconds, fps=o.fps, people=min(o.people, self.cast.count(job.split)),
            pictures=job.split in self.plan.pictures, aus=self.cast.aus, one_sided=self.cast.one_sided,
            aspect=o.width / o.height, framing=o.framing, oblique=o.oblique,
        )  # fmt: skip
        return sample_story(self.random(job, _STORY, attempt), settings)

    def lead(self, job: ClipJob, attempt: int, story: Story) -> Player:
        """Whom the captions describe: several clips a person, the next person when one fails again and again."""
        place = job.index // CLIPS_A_PERSON + attempt // TAKES_A_PERSON
        return self.cast.play(job.split, place, story.grade.tint)

    def others(self, job: ClipJob, attempt: int, story: Story, lead: Player) -> list[Player]:
        """Everybody else, different persons of the same split."""
        players = [lead]
        persons = self.cast.count(job.split)
        place = int(self.random(job, _ROLES, attempt).integers(persons))
        for step in range(persons):
            if len(players) == len(story.roles):
                break
            player = self.cast.play(job.split, (place + step) % persons, story.grade.tint)
            if player.group not in [known.group for known in players]:
                players.append(player)
        if len(players) < len(story.roles):
            raise PhotoError(f"{len(players)} persons of split {job.split!r} can be used, fewer than --people asks for")
        return players[1:]

    def shoot(self, job: ClipJob, attempt: int, story: Story, players: Sequence[Player]) -> None:
        """Write the video, then the labels: a clip with labels is a finished one."""
        o, name = self.options, self.name(job)
        landmarks: list[Any] = []
        boxes: list[Any] = []

        voiced = self.voiced(job, attempt, story, players)
        story = story if voiced is None else voiced.story

        def pictures() -> Iterator[NDArray[np.uint8]]:
            actors = [player.actor for player in players]
            for frame in film_story(story, actors, o.height, o.width, self.plan.pictures.get(job.split)):
                landmarks.append(frame.landmarks)
                boxes.append(frame.boxes)
                yield frame.picture

        sound = None if voiced is None else (voiced.wave, VOICE_RATE)
        write_video(_video(o.out, name), pictures(), story.fps, crf=story.grade.crf, sound=sound)
        points = next((len(one) for frame in landmarks for one in frame if one is not None), 0)
        labels = role_labels(story.roles, PHOTO_AUS) | {
            "landmarks": shown_labels(landmarks, (points, 2)), "boxes": shown_labels(boxes, (4,)),
        }  # fmt: skip
        line = self.line(job, attempt, story, players, labels["boxes"][0])
        if voiced is not None:
            line["extra"] |= {"voices": voiced.facts, "transcript": voiced.transcript}
        write_labels(_labels(o.out, name), labels, {"line": line, "aus": list(PHOTO_AUS)})

    def voiced(self, job: ClipJob, attempt: int, story: Story, players: Sequence[Player]) -> VoicedStory | None:
        """The story with voices, where they are asked for."""
        if not self.options.voices:
            return None
        looks = [" ".join(player.actor.looks.values()) for player in players]
        groups = [player.group for player in players]
        rng = self.random(job, _VOICES, attempt)
        return voice_story(story, groups, looks, rng, job.split != "train", self.options.voices)

    def line(
        self, job: ClipJob, attempt: int, story: Story, players: Sequence[Player], boxes: NDArray[np.float16]
    ) -> dict[str, Any]:
        """The clip's line of the manifest; `boxes` (T, 4) are the main person's."""
        o, looks = self.options, [player.actor.looks for player in players]
        rng = self.random(job, _WORDS, attempt)
        words = {style: write_captions(story, looks, rng, n=o.captions, style=style) for style in STYLES}
        name, other = self.name(job), STYLES[1 - STYLES.index(o.style)]
        return {
            "id": name,
            "video": f"videos/{name}.mp4",
            "split": job.split,
            "fold": None,
            "captions": words[o.style],
            "emotion": story.emotion,
            "multi_emotion": list(story.mixture) if len(story.mixture) > 1 else [],
            "au_ids": sorted(story.roles[0].peaks),
            "group": players[0].group,
            "n_frames": len(story.roles[0].states),
            "fps": round(story.fps, 3),
            "extra": {
                "synthetic": True,
                "source": self.cast.source,
                "seed": o.seed,
                "size": [o.width, o.height],
                "attempt": attempt,
                "manner": o.style,
                other: words[other],
                "persons": [player.group for player in players],
                "photos": [player.photo for player in players],
                "looks": looks,
                **story_facts(story, boxes),
                "labels": f"labels/{name}.safetensors",
            },
        }
