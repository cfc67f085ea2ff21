"""One run of the `caption` command: which inputs are left to do, what becomes of each, what is said of it."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import captioner
from captioner.errors import CaptionerError, OutputError, printable
from captioner.files import missing
from captioner.inference.background import Failed, cause_of
from captioner.inference.results import Caption, VideoCaptions
from captioner.output.arguments import STDIN, Input, Options
from captioner.output.destination import Outputs
from captioner.output.windows import WindowLog
from captioner.output.writers import clock, line
from captioner.version import __version__

log = logging.getLogger("captioner.cli")

DONE, SOME_FAILED = 0, 1


@dataclass
class CaptionRun:
    """Captions inputs one after the other; failures are kept for the end."""

    options: Options
    inputs: Sequence[Input]
    outputs: Outputs | None
    failed: list[str] = field(default_factory=list)
    bar: Any = None
    _piped: _Piped | None = None

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
        model = captioner.load(options.model, device=options.device, offline=options.offline, faces=options.faces)
        log.info("device: %s", model.device)
        asked: dict[str, Any] = {
            "beams": options.beams or 0, "max_words": options.max_words, "style": options.style or "",
            "neutral": options.neutral, "people": options.people,
            "evidence": bool(self.outputs and self.outputs.needs_evidence),
        }  # fmt: skip
        if options.events:
            asked["events"] = options.events
        model.options(**asked)
        asked["batch"] = options.batch
        self.bar = progress(len(left), bool(options.window), options.quiet)
        try:
            for each, outcome in self._outcomes(model, left, asked):
                self._report(each, outcome, model)
                self.bar.update()
        finally:
            self.bar.close()

    def _outcomes(self, model: Any, left: list[Input], asked: dict[str, Any]) -> Iterator[tuple[Input, Any]]:
        """Each input with its captions or its failure."""
        sources = [self._source(each) for each in left]
        if not self.options.window:
            yield from zip(left, model.each(sources, **asked), strict=True)
            return
        for each, source in zip(left, sources, strict=True):
            try:
                yield each, self._windows(model, each, source, asked)
            except OutputError:
                raise
            except Exception as error:
                yield each, Failed(error, each.source)

    def _windows(self, model: Any, each: Input, source: Any, asked: dict[str, Any]) -> list[Caption]:
        """The captions of a film, said and kept as they come; an interrupted run's are kept and not said again."""
        kept = self.outputs.windows(each.source) if self.outputs else None
        captions = self._kept(each, kept) if kept else []
        for caption in model.windows(source, self.options.window, after=captions[-1] if captions else None, **asked):
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
            self._fail(each, cause_of(outcome.error, each.source), outcome.error)
            return
        video = self._video(each, outcome)
        if self.outputs:
            try:
                if self.outputs.needs_faces:
                    video.faces = model.read(self._source(each))
                self.outputs.write(each.source, video, self._about(model))
            except OutputError:
                self.failed.append(each.source)
                raise
            except Exception as error:  # of this one's name, captions or faces; the others are still done
                self._fail(each, cause_of(error, each.source), error)
                return
        if not self.options.window:
            self._say(each, video)

    def _source(self, each: Input) -> Any:
        """What the captioner reads; standard input is read once."""
        if each.source != STDIN:
            return each.source
        self._piped = self._piped or source_of_input(each)
        return self._piped

    def _video(self, each: Input, captions: list[Caption]) -> VideoCaptions:
        return VideoCaptions(each.source, captions, bool(self.options.window), bool(self.options.people))

    def _say(self, each: Input, video: VideoCaptions) -> None:
        for caption in video.segments:
            text = printable(line(caption, video))
            self.bar.say(f"{printable(each.source)}\t{text}" if len(self.inputs) > 1 else text)

    def _about(self, model: Any) -> dict[str, Any]:
        settings = {"device": str(model.device), **self.options.settings}
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
    return each.source if each.source != STDIN else _Piped(sys.stdin.buffer.read())


class _Piped(io.BytesIO):
    """Standard input, read whole: a file with its index at the end cannot be decoded while it arrives."""

    name = "standard input"

    def __str__(self) -> str:
        return self.name


class Silent:
    """No bar: lines go straight to standard output."""

    def update(self) -> None:
        """One more input is done."""

    def reach(self, second: float, duration: float) -> None:
        """A video is done up to this second."""

    def close(self) -> None:
        """Nothing is left to draw."""

    def say(self, text: str) -> None:
        """A line on standard output, at once."""
        try:
            print(text, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"cannot write to standard output: {(error.strerror or str(error)).lower()}") from error


class Bar(Silent):
    """A bar on standard error; lines pass above it."""

    def __init__(self, total: int | None, unit: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit=unit, dynamic_ncols=True, file=sys.stderr)

    def update(self) -> None:
        """One step."""
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def say(self, text: str) -> None:
        """The bar gives way to the line and is drawn again below it."""
        self._bar.clear()
        super().say(text)
        self._bar.refresh()


class FilmBar(Bar):
    """A bar along one long video."""

    def update(self) -> None:
        """Its seconds have said so."""

    def reach(self, second: float, duration: float) -> None:
        """As far as this second."""
        self._bar.total = round(duration)
        self._bar.update(round(second) - self._bar.n)


def progress(inputs: int, windows: bool, quiet: bool) -> Silent:
    """A bar where somebody watches several inputs, or one in windows."""
    if quiet or not sys.stderr.isatty() or (inputs < 2 and not windows):
        return Silent()
    return Bar(inputs, "clip") if inputs > 1 else FilmBar(None, "s")
