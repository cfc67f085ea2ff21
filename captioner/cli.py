"""The `caption` command: parse, expand the inputs, load once, caption each, report (no torch before that)."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import captioner
from captioner.errors import CaptionerError, ConfigError, unknown
from captioner.files import STDIN, Input, expand, missing
from captioner.report import WRITERS, Writer

log = logging.getLogger("captioner.cli")

DONE, SOME_FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130
EXAMPLES = """examples:
  caption clip.mp4                        one sentence on standard output
  caption clips/ -o out -f txt,json       a folder; each clip also to out/NAME.txt and out/NAME.json
  caption "clips/**/*.mkv" --beams 5      a glob, with beam search
  yt-dlp -o - URL | caption -             a video from another program
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 all done, 1 some inputs failed, 2 bad usage, 130 interrupted."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold anything
    with _logging(options):
        return _guarded(options)


def _guarded(options: argparse.Namespace) -> int:
    try:
        return _run(options)
    except CaptionerError as error:
        log.error("error: %s", error)
        log.debug("raised here:", exc_info=True)
        return BAD_USAGE
    except KeyboardInterrupt:
        log.error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # the reader has left (`caption ... | head -1`); Python would complain when it flushes at exit
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_USAGE, f"error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="caption",
        description="Say in a sentence what happens in a video of people and what their faces show.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    where = (
        "files, folders (searched through), quoted globs, @list.txt (one input a line), http(s) addresses of "
    )
    add = parser.add_argument_group("input").add_argument
    add("inputs", nargs="*", metavar="INPUT", help=where + "video files, - for standard input")
    add = parser.add_argument_group("model").add_argument
    add(
        "-m",
        "--model",
        metavar="NAME|PATH",
        help="shipped name, folder or hub name (default: the shipped one)",
    )
    add("-d", "--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add(
        "--beams",
        type=_positive,
        default=1,
        metavar="N",
        help="width of the search (default: %(default)s, greedy)",
    )
    add("--max-words", type=_positive, metavar="N", help="longest caption (default: the model's own)")
    add("--offline", action="store_true", help="never fetch a model")
    add = parser.add_argument_group("output").add_argument
    add("-o", "--output", type=Path, metavar="DIR", help="also write files here (default: write none)")
    add("-f", "--format", metavar="LIST", help=f"files to write, of {','.join(WRITERS)} (default: txt)")
    add("--overwrite", action="store_true", help="caption again what DIR holds already (default: skip it)")
    add("-q", "--quiet", action="store_true", help="only captions and errors")
    add("-v", "--verbose", action="store_true", help="details, and tracebacks of failures")
    add = parser.add_argument_group("about").add_argument
    add("--list-models", action="store_true", help="names for --model")
    add("--version", action="version", version=f"caption {captioner.__version__}", help="the version")
    add("-h", "--help", action="help", help="this text")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is needed, not {text!r}")
    return int(text)


@contextlib.contextmanager
def _logging(options: argparse.Namespace) -> Iterator[None]:
    """Our own lines from INFO, those of libraries from WARNING, all on standard error, while this lasts."""
    ours = logging.DEBUG if options.verbose else logging.ERROR if options.quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(ours)
    logging.getLogger().addHandler(handler)
    loggers = [logging.getLogger(name) for name in ("captioner", "prompts")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(ours)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _run(options: argparse.Namespace) -> int:
    if options.list_models:
        _say("\n".join(captioner.list_models()) or "none is shipped: give --model a folder or a hub name")
        return DONE
    writers = _writers(options)
    inputs = expand(options.inputs)
    if not inputs:
        raise ConfigError("no input: give a video, a folder or - (see caption --help)")
    if any(each.source == STDIN for each in inputs) and sys.stdin.isatty():
        raise ConfigError("- reads a video from standard input: pipe one in, as in caption - < clip.mp4")
    job = _Job(options, writers, _targets(inputs, options.output), len(inputs))
    waiting = [each for each in inputs if not job.is_done(each)]
    if len(waiting) < len(inputs):
        skipped = len(inputs) - len(waiting)
        log.info("%d of %d skipped: captioned before (--overwrite redoes them)", skipped, len(inputs))
    for each in _progress(waiting, options.quiet):
        job.caption(each)
    return job.finish()


def _writers(options: argparse.Namespace) -> list[Writer]:
    if options.output is None:
        for flag, given in (("-f/--format", options.format), ("--overwrite", options.overwrite)):
            if given:
                raise ConfigError(f"{flag} needs -o DIR, the folder to write to")
        return []
    if options.output.exists() and not options.output.is_dir():
        raise ConfigError(f"-o {str(options.output)!r} is a file; give a folder")
    names = [name.strip().lower() for name in (options.format or "txt").split(",")]
    for name in names:
        if name not in WRITERS:
            raise ConfigError(unknown("format", name, WRITERS))
    return [WRITERS[name]() for name in dict.fromkeys(names)]


def _targets(inputs: list[Input], folder: Path | None) -> dict[str, Path]:
    """Output path without suffix of each input; inputs that differ only in their suffix keep it."""
    if folder is None:
        return {}
    stems = Counter(each.target for each in inputs)
    targets: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    for each in inputs:
        name = each.target if stems[each.target] == 1 else each.target.with_name(Path(each.source).name)
        other = taken.setdefault(name, each.source)
        if other != each.source:
            clash = f"{other!r} and {each.source!r} would both be written to {str(folder / name)!r}.*"
            raise ConfigError(f"{clash}; caption them into two folders, or give the folder that holds both")
        targets[each.source] = folder / name
    return targets


def _progress(inputs: list[Input], quiet: bool) -> Iterator[Input]:
    """The inputs, with a bar on standard error when that is a terminal and there are several."""
    if len(inputs) < 2 or quiet or not sys.stderr.isatty():
        yield from inputs
        return
    from tqdm import tqdm

    yield from tqdm(inputs, unit="clip", dynamic_ncols=True)


@dataclass
class _Job:
    """One run: the model is loaded when the first input needs it, failures are kept for the end."""

    options: argparse.Namespace
    writers: list[Writer]
    targets: dict[str, Path]
    total: int
    failed: list[str] = field(default_factory=list)
    model: Any = None

    def files(self, each: Input) -> list[tuple[Writer, Path]]:
        """What is to be written for an input."""
        target = self.targets.get(each.source, Path())
        return [(writer, target.with_name(f"{target.name}.{writer.suffix}")) for writer in self.writers]

    def is_done(self, each: Input) -> bool:
        """Whether an earlier run has written all of it."""
        files = self.files(each)
        return bool(files) and not self.options.overwrite and all(path.is_file() for _, path in files)

    def caption(self, each: Input) -> None:
        """One line on standard output and the files asked for, or one line on why not."""
        if each.source != STDIN and "://" not in each.source and not os.path.exists(each.source):
            self._fail(each, missing(each.source))
            return
        if self.model is None:
            self.model = self._load()
        try:
            source = _Piped(sys.stdin.buffer.read()) if each.source == STDIN else each.source
            result = self.model.caption(source, beams=self.options.beams, max_words=self.options.max_words)
            for writer, path in self.files(each):
                writer.write(path, result, each.source, self._about())
        except CaptionerError as error:
            self._fail(each, str(error))
        except Exception as error:  # one bad file must not cost the others their captions
            cause = (str(error).strip().splitlines() or [""])[0]
            self._fail(each, f"{each.source!r}: {type(error).__name__}: {cause}")
        else:
            _say(f"{each.source}\t{result.text}" if self.total > 1 else result.text)

    def finish(self) -> int:
        """The exit code, after naming all that failed."""
        if self.failed and self.total > 1:
            log.error("%d of %d failed: %s", len(self.failed), self.total, ", ".join(map(repr, self.failed)))
        return SOME_FAILED if self.failed else DONE

    def _load(self) -> Any:
        model = captioner.load(self.options.model, device=self.options.device, offline=self.options.offline)
        log.info("device: %s", getattr(model, "device", self.options.device))
        return model

    def _fail(self, each: Input, cause: str) -> None:
        self.failed.append(each.source)
        log.error("error: %s", cause)
        log.debug("raised here:", exc_info=sys.exc_info()[0] is not None)

    def _about(self) -> dict[str, Any]:
        settings = {name: getattr(self.options, name) for name in ("device", "beams", "max_words")}
        return {"version": captioner.__version__, "settings": settings}


class _Piped(io.BytesIO):
    """Standard input, read whole: a file with its index at the end cannot be decoded while it arrives."""

    name = "standard input"

    def __str__(self) -> str:
        return self.name


def _say(line: str) -> None:
    """A line on standard output, at once, clear of the progress bar."""
    if "tqdm" in sys.modules and sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(line)
        sys.stdout.flush()
    else:
        print(line, flush=True)
