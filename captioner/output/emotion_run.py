"""`caption --emotions`: beliefs of recognisers in place of captions, on standard output and in files."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.errors import ConfigError, OutputError, printable, unknown
from captioner.files import missing, write_text
from captioner.inference.background import cause_of
from captioner.inference.emotion_reader import EmotionMoment, EmotionReader
from captioner.output.arguments import STDIN, Input, Options
from captioner.output.destination import output_paths
from captioner.output.emotion_page import emotion_page
from captioner.output.journal import explained
from captioner.output.progress import progress
from captioner.output.run import DONE, SOME_FAILED, is_there, source_of_input
from captioner.output.writers import clock

log = logging.getLogger("captioner.cli")

SHOWN = 3  # labels of a line of text; others only where they are likely
LIKELY = 0.1
SUFFIX = "emotions"  # of the files: clip.emotions.json


def text_line(moment: EmotionMoment, windows: bool) -> str:
    """As in `0:05.0-0:10.0  2  happiness .71  surprise .14  (face, sound; no words)`."""
    when = [f"{clock(moment.start)}-{clock(moment.end)}"] if windows else []
    who = [f"person {moment.person}"] if moment.person else []
    pairs = moment.belief.sorted_labels()
    shown = [
        f"{label} {_share(value)}" for place, (label, value) in enumerate(pairs) if place < SHOWN or value >= LIKELY
    ]
    lacking = f"no {' or '.join(moment.lacking)}" if moment.lacking else ""
    beside = "; ".join(part for part in (", ".join(moment.senses), lacking) if part)
    return "  ".join([*when, *who, *shown, f"({beside})"])


def _share(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def as_text(moments: Sequence[EmotionMoment], windows: bool) -> str:
    """A line each."""
    return "".join(f"{printable(text_line(moment, windows))}\n" for moment in moments)


def as_json(moments: Sequence[EmotionMoment], windows: bool) -> str:
    """A list of objects."""
    return json.dumps([moment.to_dict() for moment in moments], indent=1) + "\n"


def as_csv(moments: Sequence[EmotionMoment], windows: bool) -> str:
    """A row each, a column a label in the recogniser's order."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    labels = moments[0].belief.labels if moments else ()
    table.writerow(["file", "start", "end", "person", "faces", *labels])
    for moment in moments:
        faces = "" if moment.faces is None else moment.faces
        shares = [f"{share:.4f}" for share in moment.belief.probs[0].tolist()]
        table.writerow([printable(moment.source), moment.start, moment.end, moment.person, faces, *shares])
    return text.getvalue()


FORMATS: dict[str, Callable[[Sequence[EmotionMoment], bool], str]] = {
    "txt": as_text,
    "json": as_json,
    "csv": as_csv,
    "html": emotion_page,
}


@dataclass
class EmotionRunner:
    """Believes inputs one after the other; what fails is named, the others are done."""

    options: Options
    inputs: Sequence[Input]

    def run(self) -> int:
        """The exit code."""
        options = self.options
        formats = open_formats(options)
        paths = output_paths(self.inputs, options.output) if options.output is not None else {}
        if options.output is not None and options.output.exists() and not options.output.is_dir():
            raise ConfigError(f"-o {str(options.output)!r} is a file; give a folder")
        failed = [each.source for each in self.inputs if self._absent(each)]
        left = [each for each in self.inputs if each.source not in failed and not self._done(each, paths, formats)]
        if left:
            reader = EmotionReader.from_pretrained(options.recogniser, device=options.device)
            self._check(reader)
            if options.listen is not None:
                reader.listen(options.listen, offline=options.offline)
            bar = progress(len(left), False, options.quiet)
            for each in left:
                if not self._believe(each, reader, paths, formats, bar.say):
                    failed.append(each.source)
                bar.update()
            bar.close()
        if failed and len(self.inputs) > 1:
            log.error("%d of %d failed: %s", len(failed), len(self.inputs), ", ".join(map(repr, failed)))
        return SOME_FAILED if failed else DONE

    def _check(self, reader: EmotionReader) -> None:
        log.info("%s on %s: %s", reader.name, reader.device, ", ".join(reader.labels))
        if self.options.people and not reader.wants.reads_faces:
            raise ConfigError(f"--people: {reader.name} looks at whole pictures: it cannot tell people apart")

    def _absent(self, each: Input) -> bool:
        fault = each.fault or ("" if is_there(each.source) else missing(each.source))
        if fault:
            log.error("error: %s", fault)
        return bool(fault)

    def _done(self, each: Input, paths: dict[str, Path], formats: Sequence[str]) -> bool:
        """Whether all its files are there; standard input is never the same."""
        if not paths or self.options.overwrite or each.source == STDIN:
            return False
        done = all(file_of(paths[each.source], name).is_file() for name in formats)
        if done:
            log.info("%s: skipped, its files are there (--overwrite makes them again)", each.source)
        return done

    def _believe(
        self,
        each: Input,
        reader: EmotionReader,
        paths: dict[str, Path],
        formats: Sequence[str],
        say: Callable[[str], None],
    ) -> bool:
        """Say and write the beliefs of an input; whether that went well."""
        windows, moments = bool(self.options.window), list[EmotionMoment]()
        printed = None if paths or formats == ["txt"] else FORMATS[formats[0]]  # in the place of lines
        try:
            for moment in self._moments(reader, source_of_input(each)):
                moments.append(moment)
                if printed is None:
                    say(self._line(each, moment))
            if printed is not None:
                say(printed(moments, windows).rstrip("\n"))
            for name in formats if paths else ():
                path = file_of(paths[each.source], name)
                with explained(path, False):
                    write_text(path, FORMATS[name](moments, windows), durable=True)
        except OutputError:
            raise
        except Exception as error:
            log.error("error: %s", cause_of(error, each.source))
            log.debug("raised here:", exc_info=error)
            return False
        return True

    def _moments(self, reader: EmotionReader, source: Any) -> Iterable[EmotionMoment]:
        window, people = self.options.window, self.options.people
        return reader.windows(source, window, people=people) if window else reader.moments(source, people=people)

    def _line(self, each: Input, moment: EmotionMoment) -> str:
        text = printable(text_line(moment, bool(self.options.window)))
        return f"{printable(each.source)}\t{text}" if len(self.inputs) > 1 else text


def file_of(target: Path, name: str) -> Path:
    """The file of a format beside the captions' own."""
    return target.with_name(f"{target.name}.{SUFFIX}.{name}")


def open_formats(options: Options) -> list[str]:
    """The formats asked for, each once; without -o one may be printed in place of text."""
    given = options.format if options.format is not None else "txt"
    names = list(dict.fromkeys(name.strip().lower() for name in given.split(",") if name.strip()))
    for name in names or [given]:
        if name not in FORMATS:
            raise ConfigError(f"--emotions: {unknown('format', name, FORMATS)}")
    if options.output is None and len(names) > 1:
        raise ConfigError("--emotions prints one format: with -f txt,json give -o DIR, the folder to write to")
    return names
