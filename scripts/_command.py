"""What every script shares: its parser, a config's overrides, log lines on standard error, exit codes."""

import argparse
import inspect
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping

from captioner.errors import CaptionerError, NotFinite, SilentError, Terminated

GOES_ON = "the same command goes on from there"


def script_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring, line by line."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def config_arguments(
    parser: argparse.ArgumentParser, arguments: list[str] | None
) -> tuple[argparse.Namespace, str, list[str]]:
    """The script's own options; the config's path; its overrides (key=value, --key value) in their order."""
    parser.usage = f"python scripts/{parser.prog} CONFIG.yaml [key=value ...] [options]"
    options, words = parser.parse_known_args(arguments)
    if not words or words[0].startswith("-"):
        parser.error("give a YAML config first")
    return options, words[0], words[1:]


def run_subcommand(
    doc: str | None,
    commands: Mapping[str, Callable[[argparse.ArgumentParser, list[str]], int | None]],
    arguments: list[str] | None,
    hint: str = "",
) -> int:
    """The exit code of the sub-command that the first word names, which is given a parser of its own and the rest."""
    first, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if first not in commands:
        chosen = script_parser(doc)
        chosen.usage = f"python scripts/{chosen.prog} {{{','.join(commands)}}} ... [--help]"
        chosen.add_argument("command", choices=commands, help=argparse.SUPPRESS)
        chosen.parse_args([first])
    work = commands[first]
    parser = script_parser(inspect.getdoc(getattr(work, "func", work)))  # of a partial, its function's
    parser.prog = f"{parser.prog} {first}"
    return guarded(lambda: work(parser, rest), hint=hint)


def guarded(work: Callable[[], int | None], hint: str = GOES_ON, level: int = logging.INFO) -> int:
    """Do a script's work; its exit code: the work's own or 0, after a fault 2, numbers that are not finite 3,
    terminated 143, interrupted 130.

    `hint` tells who ends it by hand what comes of starting it again.
    """
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    try:
        return work() or 0
    except NotFinite as error:
        if str(error):  # one of several processes tells
            print(f"error: {error}", file=sys.stderr)
        return 3
    except SilentError:  # another process tells
        return 2
    except Terminated as stopped:
        print(stopped, file=sys.stderr)
        return 143
    except CaptionerError as error:
        text = " ".join(str(error).split())  # a file's name may hold a line end
    except OSError as error:
        text = f"{error.filename or 'a file'}: {error.strerror or error}"
    except subprocess.CalledProcessError as error:
        text = f"a command failed with exit code {error.returncode} (see above); {GOES_ON}"
    except KeyboardInterrupt:
        print(f"interrupted: {hint}" if hint else "interrupted", file=sys.stderr)
        return 130
    print(f"error: {text}", file=sys.stderr)
    return 2
