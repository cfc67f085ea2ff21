"""The work of a server: videos wait in a queue, one thread captions them, each can be called off.

arriving -> queued -> running -> done | failed | cancelled; an upload is deleted as soon as its work has ended.
"""

from __future__ import annotations

import logging
import queue
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from captioner.errors import CaptionerError, VideoError
from captioner.faces.face_reading import FaceReadings
from captioner.inference.background import cause_of
from captioner.inference.results import Caption, VideoCaptions
from captioner.output.long_films import scenes_of
from captioner.serve.counters import Counters
from captioner.serve.fetching import fetch_video
from captioner.serve.memory import give_back
from captioner.serve.serve_limits import ServeLimits
from captioner.stopping import Stopped, stoppable
from captioner.version import __version__

log = logging.getLogger(__name__)

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"


@dataclass(frozen=True)
class CaptionWish:
    """How a video is to be captioned; as the flags of the command."""

    style: str = ""
    neutral: bool = False
    habits: str = "none"
    people: int = 0
    window: float | None = None
    beams: int = 0
    max_words: int | None = None


@dataclass
class CaptionJob:
    """One video on its way through the server."""

    name: str  # what the user calls it
    wish: CaptionWish
    path: Path | None = None  # the upload, or an example; None until an address was fetched
    address: str = ""
    example: bool = False
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: str = QUEUED
    error: str = ""
    second: float = 0.0  # up to which the video is captioned
    duration: float = 0.0
    scene: float | None = None  # seconds of a piece of a long film
    video: VideoCaptions | None = None
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    changed: int = 0  # grows with every change
    listeners: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in (DONE, FAILED, CANCELLED)

    def set(self, **values: Any) -> None:
        """Change what listeners see."""
        for name, value in values.items():
            setattr(self, name, value)
        self.changed += 1


class JobBoard:
    """All jobs of a server, and the thread that works on them in turn."""

    def __init__(self, model: Any, limits: ServeLimits, counters: Counters) -> None:
        self.model, self.limits, self.counters = model, limits, counters
        self.jobs: OrderedDict[str, CaptionJob] = OrderedDict()
        self.arriving = 0
        self._queue: queue.Queue[CaptionJob | None] = queue.Queue()
        self._lock = threading.Lock()
        self._worker = threading.Thread(target=self._work, name="captioning", daemon=True)

    @cached_property
    def folder(self) -> Path:
        """Where uploads lie, from the first one on."""
        return Path(mkdtemp(prefix="captioner-serve-"))

    def start(self) -> None:
        """Begin to work."""
        self._worker.start()

    def close(self) -> None:
        """Call everything off and delete what was uploaded."""
        for job in list(self.jobs.values()):
            self.cancel(job)
        self._queue.put(None)
        if self._worker.is_alive():
            self._worker.join(timeout=10)
        if "folder" in self.__dict__:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def waiting(self) -> int:
        """Videos that arrive, wait or are worked on."""
        return self.arriving + sum(not job.ended for job in list(self.jobs.values()))

    def before(self, job: CaptionJob) -> int:
        """How many are worked on before a job."""
        ahead = 0
        for each in list(self.jobs.values()):
            if each is job:
                break
            ahead += not each.ended
        return ahead

    def new_path(self, name: str) -> Path:
        """Where an upload goes: a name of ours with the user's suffix, if that is a plain one."""
        suffix = Path(name).suffix.lower()
        return self.folder / (secrets.token_hex(8) + (suffix if suffix[1:].isalnum() and len(suffix) < 7 else ""))

    def add(self, job: CaptionJob) -> CaptionJob:
        """Take a job on; the oldest finished ones are forgotten."""
        with self._lock:
            self.jobs[job.id] = job
            ended = [each for each in self.jobs.values() if each.ended]
            for each in ended[: max(0, len(ended) - self.limits.kept)]:
                self.forget(each)
        self.counters.waiting.set(self.waiting)
        self._queue.put(job)
        return job

    def cancel(self, job: CaptionJob) -> None:
        """Call a job off; one that waits has ended at once."""
        job.stop.set()
        if job.status == QUEUED:
            self._end(job, CANCELLED)

    def forget(self, job: CaptionJob) -> None:
        """Cancel a job and delete everything of it."""
        if not job.ended:
            self.cancel(job)
        self.jobs.pop(job.id, None)
        self._delete(job)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if job.status == QUEUED:
                self._caption(job)

    def _caption(self, job: CaptionJob) -> None:
        began = time.monotonic()
        alarm = threading.Timer(self.limits.work, job.stop.set)
        alarm.daemon = True
        alarm.start()
        job.set(status=RUNNING)
        try:
            with stoppable(job.stop):
                job.video = self._captions(job)
            self._end(job, DONE)
        except Stopped:
            late = time.monotonic() - began >= self.limits.work
            reason = f"it took longer than {self.limits.work:.0f} s, the limit of this server" if late else ""
            self._end(job, FAILED if late else CANCELLED, reason)
        except Exception as error:
            log.debug("job %s", job.id, exc_info=error)
            self._end(job, FAILED, self._named(cause_of(error, job.name), job))
        finally:
            alarm.cancel()
            self.counters.seconds.observe(time.monotonic() - began)
            if job.id not in self.jobs or not job.address:
                self._delete(job)
            give_back()

    def _end(self, job: CaptionJob, status: str, error: str = "") -> None:
        job.set(error=error, status=status)  # who sees that it ended sees why
        self.counters.captions.labels(status).inc()
        self.counters.waiting.set(self.waiting)
        if status != DONE:
            self._delete(job)

    def _captions(self, job: CaptionJob) -> VideoCaptions:
        if job.path is None:
            path = self.new_path(job.name)
            job.path = path
            fetch_video(job.address, path, self.limits)
        wish, path = job.wish, job.path
        seconds, scene = scenes_of(path)
        job.set(duration=seconds, scene=scene)
        if job.duration > self.limits.film:
            raise VideoError(f"{job.name!r} is {job.duration:.0f} s long; this server takes {self.limits.film:.0f} s")
        window = wish.window or scene
        captions: list[Caption] = []
        for caption in self._written(path, window, wish):
            captions.append(caption)
            caption.source = job.name
            job.set(second=caption.end)
        video = VideoCaptions(job.name, captions, timed=bool(window), persons=bool(wish.people))
        video.faces = joined_readings(captions)
        return video

    def _written(self, path: Path, window: float | None, wish: CaptionWish) -> Iterator[Caption]:
        asked = keywords_of(wish)
        if window:
            yield from self.model.windows(path, window, **asked)
            return
        for outcome in self.model.each([path], batch=1, **asked):
            if not outcome:
                raise outcome.error
            yield from outcome

    def about(self, job: CaptionJob) -> dict[str, Any]:
        """What made a job's captions, as the command writes it."""
        wish = job.wish
        timed = bool(job.video and job.video.timed)
        settings = {
            "device": str(self.model.device), "beams": wish.beams or None, "max_words": wish.max_words,
            "style": wish.style or None, "window": (wish.window or job.scene) if timed else None,
            "neutral": wish.neutral, "habits": wish.habits, "people": wish.people, "faces": None,
        }  # fmt: skip
        return {"model": self.model.checkpoint.name, "version": __version__, "settings": settings}

    def _named(self, text: str, job: CaptionJob) -> str:
        """A message without the names of our own files."""
        return text.replace(str(job.path), job.name).replace(str(self.folder), "")

    def _delete(self, job: CaptionJob) -> None:
        if job.path is not None and not job.example:
            job.path.unlink(missing_ok=True)
            job.path = None


def joined_readings(captions: list[Caption]) -> FaceReadings | None:
    """Everybody of all captions in one record; who is numbered anew in each window has a number of their own."""
    kept: list[FaceReadings] = []
    for caption in captions:
        readings = caption.evidence.readings if caption.evidence else None
        if readings is not None and all(readings is not each for each in kept):
            kept.append(readings)
    if not kept:
        return None
    from dataclasses import replace

    people = [person for readings in kept for person in readings]
    numbered = tuple(replace(person, face_id=number) for number, person in enumerate(people))
    return replace(kept[0], people=numbered, source=captions[0].source)


def checked_wish(model: Any, values: dict[str, Any]) -> CaptionWish:
    """A wish from the fields of a request; a CaptionerError says what cannot be asked."""
    wish = CaptionWish(
        style=str(values.get("style") or ""),
        people=_number(values, "people", 0, 16) or 0,
        window=_seconds(values.get("window")),
        beams=_number(values, "beams", 1, 32) or 0,
        max_words=_number(values, "max_words", 1, 100),
        neutral=flag(values.get("neutral")),
        habits=str(values.get("habits") or "none"),
    )
    model.options(**keywords_of(wish))
    return wish


def keywords_of(wish: CaptionWish) -> dict[str, Any]:
    """A wish as the captioner's keywords."""
    asked: dict[str, Any] = {"style": wish.style, "neutral": wish.neutral, "habits": wish.habits, "people": wish.people}
    return asked | {"beams": wish.beams, "max_words": wish.max_words, "evidence": True}


def flag(value: Any) -> bool:
    """Whether a field of a form or of JSON says yes."""
    return value is not None and str(value).lower() not in ("false", "0", "no", "")


def _number(values: dict[str, Any], name: str, least: int, most: int) -> int | None:
    given = values.get(name)
    if given in (None, ""):
        return None
    if not str(given).isdecimal() or not least <= int(str(given)[:6]) <= most:
        raise CaptionerError(f"{name} must be a whole number from {least} to {most}, not {str(given)[:40]!r}")
    return int(str(given))


def _seconds(given: Any) -> float | None:
    if given in (None, "", 0, "0"):
        return None
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0.5 <= seconds <= 3600:
        raise CaptionerError(f"window must be seconds from 0.5 to 3600, not {str(given)[:40]!r}")
    return seconds
