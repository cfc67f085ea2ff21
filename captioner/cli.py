"""The `caption` command: parse, expand the inputs, caption each, report (no torch before that)."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import captioner
from captioner.errors import CaptionerError, ConfigError, OutputError, printable
from captioner.files import list_recognisers
from captioner.output.arguments import STDIN, Options, check_emotion_options, expand
from captioner.output.progress import LineHandler
from captioner.output.writers import WRITERS

log = logging.getLogger("captioner.cli")

OURS = ("captioner", "prompts")
DONE, SOME_FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130
EXAMPLES = """examples:
  caption clip.mp4                            one sentence on standard output
  caption clips/ -o out -f txt,json,html      a folder; of each clip a text, its evidence, a page to look at
  caption film.mkv --window 5 -o out -f srt   subtitles: a sentence for every 5 seconds
  caption "clips/**/*.mkv" --people 2         a sentence for each of two people in each clip
  caption --emotions film.mkv --window 5      what is felt, over time
  yt-dlp -o - URL | caption -                 a video from another program
  caption --serve                             a web app, at http://127.0.0.1:7860
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 all done, 1 some inputs failed, 2 bad usage, 130 interrupted."""
    options = _parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold anything
    with _logging(options):
        return _guarded(options)


def _guarded(options: Options) -> int:
    try:
        return _run(options)
    except OutputError as error:
        log.error("error: %s", error)
        _abandon_output()
        return SOME_FAILED
    except CaptionerError as error:
        log.error("error: %s", error)
        log.debug("raised here:", exc_info=True)
        return BAD_USAGE
    except KeyboardInterrupt:
        log.error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_output()  # the reader has left (`caption ... | head -1`)
        return SOME_FAILED
    except Exception as error:
        log.error("error: %s: %s (a fault of this program; -v shows where)", type(error).__name__, error)
        log.debug("raised here:", exc_info=True)
        return SOME_FAILED


def _abandon_output() -> None:
    """Python would complain of what it cannot flush at its end."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(arguments: Sequence[str] | None) -> Options:
    flags = vars(caption_parser().parse_args(arguments))
    return Options(**flags | {"inputs": tuple(flags["inputs"])})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_USAGE, f"error: {printable(message)} (see {self.prog} --help)\n")


def caption_parser() -> argparse.ArgumentParser:
    """The command's flags; its manual page and shell completions are made from it too."""
    parser = _Parser(
        prog="caption",
        usage="%(prog)s [FLAGS] [INPUT ...]",
        description="Say in a sentence what happens in a video of people and what their faces show.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    where = "files, folders (searched through), quoted globs, @list.txt (one input a line), http(s) addresses of "
    group = parser.add_argument_group("input")
    group.add_argument("inputs", nargs="*", metavar="INPUT", help=where + "video files, - for standard input")
    add_model_flags(parser.add_argument_group("model"))
    add_caption_flags(parser.add_argument_group("captions"))
    _add_emotions(parser.add_argument_group("emotions"))
    _add_output(parser.add_argument_group("output"))
    _add_serve(parser.add_argument_group("web app"))
    add = parser.add_argument_group("about").add_argument
    add("--list-models", action="store_true", help="names for --model and for --with")
    add("--version", action="version", version=f"caption {captioner.__version__}", help="the version")
    add("-h", "--help", action="help", help="this text")
    return parser


def add_model_flags(group: argparse._ArgumentGroup) -> None:
    """The flags that choose a model."""
    add = group.add_argument
    add("-m", "--model", metavar="NAME|PATH", help="shipped name, folder or hub name (default: the shipped one)")
    add("--faces", metavar="WHO", help="who finds the faces: builtin, mediapipe or fan (default: as in training)")
    add("-d", "--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--batch", type=_positive, default=4, metavar="N", help="clips captioned together (default: %(default)s)")
    add("--offline", action="store_true", help="never fetch a model")


def add_caption_flags(group: argparse._ArgumentGroup) -> None:
    """The flags that say how captions are to be written."""
    add = group.add_argument
    styles = "plain (whole sentences), faces (as MAFW lists them) or feelings, where the model knows them"
    add("--style", help=f"{styles} (default: plain, else the model's first)")
    add("--neutral", action="store_true", help="call nobody woman or man")
    add("--habits", choices=("mafw", "none"), default="none",
        help="mafw: name what faces show as often as MAFW's annotators do (default: as surely as it is seen)")
    add("--events", type=_named, metavar="NAME|FOLDER", help="who tells what happens: a public captioner; not measured")
    add("--window", type=_seconds, metavar="SECONDS",
        help="a caption for every so many seconds or shot; 0: one for all (default: 10 beyond 30 s)")  # fmt: skip
    add("--people", type=_positive, default=0, metavar="N", help="a caption for each of the N most dominant people")
    add("--beams", type=_positive, metavar="N", help="width of the search; 1: greedy (default: the model's)")
    add("--max-words", type=_positive, metavar="N", help="longest caption, in pieces of words (default: the model's)")


def _add_emotions(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--emotions", action="store_true", help="what is felt, in place of captions: labels and how likely each is")
    add("--with", dest="recogniser", metavar="NAME|DIR", help="the recogniser, by shipped name, kind or folder")
    add("--listen", metavar="MODEL", help="hear what is said, by a speech-to-text model, hub name or folder; for "
        "recognisers that read (default: subtitles)")  # fmt: skip


def _add_output(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-o", "--output", type=_folder, metavar="DIR", help="also write files here (default: write none)")
    add("-f", "--format", metavar="LIST", help=f"files to write, of {', '.join(WRITERS)} (default: txt)")
    add("--overwrite", action="store_true", help="caption again what DIR holds already (default: skip it)")
    add("-q", "--quiet", action="store_true", help="only captions and errors")
    add("-v", "--verbose", action="store_true", help="details, and tracebacks of failures")


def _add_serve(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--serve", action="store_true", help="a web app and an HTTP interface on this machine (extra [serve])")
    add("--port", type=_port, default=7860, metavar="N", help="where it is reached (default: %(default)s; 0: any)")
    add("--host", default="127.0.0.1", metavar="NAME", help="another one than this machine's own needs a token")
    add("--max-mb", type=_positive, default=500, metavar="N", help="largest upload (default: %(default)s)")


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port from 0 to 65535 is needed, not {text!r}")
    return int(text)


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the name of a folder is needed, not an empty one")
    return Path(text)


def _named(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("a folder or hub name is needed, such as microsoft/git-base-vatex")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is needed, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds <= 3600 and text.strip() != "0":
        raise argparse.ArgumentTypeError(f"seconds from 0.5 to 3600 are needed (0: no windows), not {text!r}")
    return seconds


class _Printable(logging.Formatter):
    """Lines that leave the terminal alone; only what others log, and tracebacks, may be several."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.name.partition(".")[0] in OURS and not record.exc_info:
            return printable(text)
        return "\n".join(printable(line) for line in text.split("\n"))


@contextlib.contextmanager
def _logging(options: Options) -> Iterator[None]:
    """Our own lines from INFO, those of libraries from WARNING, all on standard error, while this lasts."""
    ours = logging.DEBUG if options.verbose else logging.ERROR if options.quiet else logging.INFO
    handler = LineHandler(sys.stderr)
    handler.setLevel(ours)
    handler.setFormatter(_Printable())
    logging.getLogger().addHandler(handler)
    loggers = [logging.getLogger(name) for name in OURS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(ours)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _run(options: Options) -> int:
    if options.list_models:
        return _list_models()
    if options.serve:
        if options.inputs or options.output or options.format:
            raise ConfigError("--serve takes no inputs and writes no files: give them in the web app")
        from captioner.serve.running import serve

        return serve(options)
    check_emotion_options(options)
    if not options.inputs:
        raise ConfigError("no input: give a video, a folder or - (see caption --help)")
    wanting = (("-f/--format", options.format is not None and not options.emotions), ("--overwrite", options.overwrite))
    for flag, given in wanting:
        if given and options.output is None:
            raise ConfigError(f"{flag} needs -o DIR, the folder to write to")
    from captioner.output.destination import open_outputs
    from captioner.output.run import CaptionRun

    inputs = expand(options.inputs)
    if any(each.source == STDIN for each in inputs) and sys.stdin.isatty():
        raise ConfigError("- reads a video from standard input: pipe one in, as in caption - < clip.mp4")
    if options.emotions:
        from captioner.output.emotion_run import EmotionRunner

        return EmotionRunner(options, inputs).run()
    return CaptionRun(options, inputs, open_outputs(options, inputs)).run()


def _list_models() -> int:
    """Captioners, then recognisers of emotion with their kinds."""
    captioners, recognisers = captioner.list_models(), list_recognisers()
    print("captioners, for --model:")
    print("\n".join(f"  {printable(name)}" for name in captioners) or "  none is shipped: give a folder or a hub name")
    print("recognisers of emotion, for --emotions --with:")
    rows = [f"  {printable(name)} ({printable(kind)})" for name, kind in recognisers.items()]
    print("\n".join(rows) or "  none is shipped: give a folder")
    return DONE
