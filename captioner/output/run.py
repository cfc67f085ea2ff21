"""One run of the `caption` command: which inputs are left to do, what becomes of each, what is said of it."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import captioner
from captioner.errors import CaptionerError, CheckpointError, OutputError, VideoError, printable, said_in_a_line
from captioner.files import missing
from captioner.inference.background import Failed, cause_of
from captioner.inference.results import Caption, VideoCaptions
from captioner.output.arguments import STDIN, Input, Options
from captioner.output.destination import Outputs
from captioner.output.long_films import scenes_of
from captioner.output.progress import loading, progress
from captioner.output.windows import WindowLog
from captioner.output.writers import clock, line
from captioner.version import __version__
from captioner.video.source import held

log = logging.getLogger("captioner.cli")

DONE, SOME_FAILED = 0, 1
BLOCK = 64  # inputs whose length is looked up together


@dataclass
class CaptionRun:
    """Captions inputs one after the other; failures are kept for the end."""

    options: Options
    inputs: Sequence[Input]
    outputs: Outputs | None
    failed: list[str] = field(default_factory=list)
    bar: Any = None
    _piped: _Piped | None = None
    _timed: dict[str, float] = field(default_factory=dict)  # by source: seconds of the windows it is captioned in
    _sound = False  # the model has captioned a plain picture

    def run(self) -> int:
        """The exit code, after naming all that failed."""
        left = self._left()
        try:
            if left:
                self._caption(left)
        except OutputError:
            raise  # nothing more can be written
        except BaseException:
            self._write_tables()  # of what an interrupted run has done
            raise
        self._write_tables()
        if self.failed and len(self.inputs) > 1:
            names = ", ".join(repr(source) for source in self.failed)
            log.error("%d of %d failed: %s", len(self.failed), len(self.inputs), names)
        return SOME_FAILED if self.failed else DONE

    def _write_tables(self) -> None:
        if self.outputs:
            self.outputs.write_tables()

    def _left(self) -> list[Input]:
        """What no earlier run has done and what is there at all; a missing file needs no model to be named."""
        left = []
        for each in self.inputs:
            if each.fault:
                self._fail(each, each.fault)
            elif not self._finished(each):
                left.append(each)
        if skipped := len(self.inputs) - len(left) - len(self.failed):
            log.info("%d skipped: done before (--overwrite captions them again)", skipped)
        if not any(is_there(each.source) for each in left):
            for each in left:
                self._fail(each, missing(each.source))
            return []
        return left

    def _finished(self, each: Input) -> bool:
        try:
            return bool(self.outputs and not self.options.overwrite and self.outputs.finished(each))
        except OutputError:
            raise
        except CaptionerError:  # named again when it is written anew
            return False

    def _caption(self, left: list[Input]) -> None:
        options = self.options
        with loading(options.model, options.quiet):
            model = captioner.load(options.model, device=options.device, offline=options.offline, faces=options.faces)
        log.info("device: %s", model.device)
        asked: dict[str, Any] = {
            "beams": options.beams or 0, "max_words": options.max_words, "style": options.style or "",
            "neutral": options.neutral, "habits": options.habits, "people": options.people,
            "evidence": bool(self.outputs and self.outputs.needs_evidence),
        }  # fmt: skip
        if options.events:
            asked["events"] = options.events
        model.options(**asked)
        asked["batch"] = options.batch
        along = len(left) == 1 and self._window(left[0]) is not None
        self.bar = progress(len(left), along or bool(options.window), options.quiet)
        try:
            for each, outcome in self._outcomes(model, left, asked):
                self._report(each, outcome, model)
                self.bar.update()
        finally:
            self.bar.close()

    def _outcomes(self, model: Any, left: list[Input], asked: dict[str, Any]) -> Iterator[tuple[Input, Any]]:
        """Each input with its captions or its failure; what needs no windows goes in batches."""
        for at in range(0, len(left), BLOCK):
            for timed, group in groupby(left[at : at + BLOCK], lambda each: self._window(each) is not None):
                inputs = list(group)
                if timed:
                    yield from ((each, self._scenes(model, each, asked)) for each in inputs)
                else:
                    yield from zip(inputs, model.each([self._source(each) for each in inputs], **asked), strict=True)

    def _window(self, each: Input) -> float | None:
        """Seconds of the windows in which an input is captioned: those asked for, or a long film's scenes; or None."""
        if self.options.window is not None:
            return self._timed.setdefault(each.source, self.options.window) if self.options.window else None
        if each.source not in self._timed:
            try:
                seconds, scene = scenes_of(self._source(each))
            except (CaptionerError, OSError):  # told when it is captioned
                return None
            if scene is None:
                return None
            self._timed[each.source] = scene
            log.info("%s: %.0f s, captioned by scenes (--window 0: one sentence for all of it)", each.source, seconds)
        return self._timed[each.source]

    def _scenes(self, model: Any, each: Input, asked: dict[str, Any]) -> list[Caption] | Failed:
        try:
            return self._windows(model, each, self._source(each), asked)
        except OutputError:
            raise
        except Exception as error:
            return Failed(error, each.source)

    def _windows(self, model: Any, each: Input, source: Any, asked: dict[str, Any]) -> list[Caption]:
        """The captions of a film, said and kept as they come; an interrupted run's are kept and not said again."""
        kept = self.outputs.windows(each.source) if self.outputs else None
        captions = self._kept(each, kept) if kept else []
        last = captions[-1] if captions else None
        for caption in model.windows(source, self._timed[each.source], after=last, **asked):
            captions.append(caption)
            if kept:
                kept.add(caption)
            self.bar.reach(caption.end, caption.duration)
            self._say(each, self._video(each, [caption]))
        return captions

    def _kept(self, each: Input, log_: WindowLog) -> list[Caption]:
        """What an interrupted run has captioned of a film; a window of several people may lack some, and is redone."""
        if self.options.overwrite:
            log_.begin()
            return []
        captions = log_.load(last=not self.options.people)
        if captions:
            log.info("%s: %d captions done before, going on at %s", each.source, len(captions), clock(captions[-1].end))
        return captions

    def _report(self, each: Input, outcome: list[Caption] | Failed, model: Any) -> None:
        """One line on standard output and the files asked for, or one line on why not."""
        if isinstance(outcome, Failed):
            self._check_model(outcome.error, model)
            self._fail(each, cause_of(outcome.error, each.source), outcome.error)
            return
        if not all(isfinite(number) for one in outcome for number in (one.score, *one.emotion.values())):
            name = model.checkpoint.name
            raise CheckpointError(f"model {name!r} gives numbers that are not finite: its weights are spoilt")
        if not any(one.text.strip() for one in outcome):
            self._fail(each, f"{each.source!r}: model {model.checkpoint.name!r} found no word for it")
            return
        video = self._video(each, outcome)
        if self.outputs:
            try:
                if self.outputs.needs_faces:
                    video.faces = model.read(self._source(each))
                self.outputs.write(each.source, video, self._about(model, each))
            except OutputError:
                self.failed.append(each.source)
                raise
            except Exception as error:  # of this one's name, captions or faces; the others are still done
                self._fail(each, cause_of(error, each.source), error)
                return
        if not video.timed:
            self._say(each, video)

    def _check_model(self, error: Exception, model: Any) -> None:
        """Where a plain grey clip meets a fault as well, no video is to blame: the model is named and the run ends."""
        if self._sound or isinstance(error, CaptionerError):
            return
        try:
            model.caption(np.full((8, 64, 64, 3), 127, np.uint8))
        except CaptionerError:
            return
        except Exception as cause:
            raise CheckpointError(
                f"model {model.checkpoint.name!r} cannot caption any video ({said_in_a_line(cause)}); "
                f"check its config.json, or give another with --model"
            ) from cause
        self._sound = True

    def _source(self, each: Input) -> Any:
        """What the captioner reads; standard input is read once."""
        if each.source != STDIN:
            return each.address or each.source
        self._piped = self._piped or source_of_input(each)
        return self._piped

    def _video(self, each: Input, captions: list[Caption]) -> VideoCaptions:
        film = self._piped.getvalue() if each.source == STDIN and self._piped else _film(each.source)
        timed, persons = each.source in self._timed, bool(self.options.people)
        return VideoCaptions(each.source, captions, timed, persons, film=film)

    def _say(self, each: Input, video: VideoCaptions) -> None:
        for caption in video.segments:
            text = printable(line(caption, video))
            self.bar.say(f"{printable(each.source)}\t{text}" if len(self.inputs) > 1 else text)

    def _about(self, model: Any, each: Input) -> dict[str, Any]:
        settings = {"device": str(model.device), **self.options.settings, "window": self._timed.get(each.source)}
        return {"model": model.checkpoint.name, "version": __version__, "settings": settings}

    def _fail(self, each: Input, cause: str, error: BaseException | None = None) -> None:
        self.failed.append(each.source)
        log.error("error: %s", cause)
        if error is not None:
            log.debug("raised here:", exc_info=error)


def is_there(source: str) -> bool:
    """Whether an input may be read; addresses and standard input are tried."""
    return source == STDIN or "://" in source or os.path.exists(source)


def source_of_input(each: Input) -> Any:
    """What is read of an input: its name, or all of standard input."""
    return each.address or each.source if each.source != STDIN else _Piped(sys.stdin.buffer)


def _film(source: str) -> Path | None:
    """The file that a page plays; nothing for an address, which a page that is opened must not fetch."""
    return Path(source) if os.path.isfile(source) else None


class _Piped(io.BytesIO):
    """Standard input, read whole: a file with its index at the end cannot be decoded while it arrives."""

    name = "standard input"

    def __init__(self, stream: BinaryIO) -> None:
        self.fault: VideoError | None = None
        try:
            super().__init__(held(stream, self.name).getvalue())
        except VideoError as error:  # raised where it is read, as that of any other input
            self.fault = error

    def seekable(self) -> bool:
        """What is asked first of an open file."""
        if self.fault is not None:
            raise self.fault
        return True

    def __str__(self) -> str:
        return self.name
