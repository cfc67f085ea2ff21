"""Write the manual page and the completions anew, after a flag was changed: `python -m captioner.share`.

`python -m captioner.share docs FOLDER` writes the pages of the Python interface.
"""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import captioner
from captioner.cli import EXAMPLES, caption_parser
from captioner.files import write_text
from captioner.version import __version__

FOLDER = Path(__file__).parent


def manual_page(parser: argparse.ArgumentParser) -> str:
    """The page in troff."""
    lines = [f'.TH CAPTION 1 "" "captioner {__version__}" "User Commands"', ".SH NAME"]
    lines += [f"caption \\- {_plain(parser.description or '')}", ".SH SYNOPSIS", ".B caption", "[FLAGS] [INPUT ...]"]
    for group in parser._action_groups:
        if group._group_actions:
            lines.append(f".SH {(group.title or '').upper()}")
            lines += [line for action in group._group_actions for line in _entry(parser, action)]
    lines += [".SH EXIT STATUS", "0 all done, 1 some inputs failed, 2 wrong usage, 130 interrupted."]
    lines += [".SH EXAMPLES", ".nf"]
    lines += [_plain(line.strip()) for line in EXAMPLES.splitlines()[1:] if line.strip()]
    return "\n".join([*lines, ".fi", ""])


def _entry(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    """One flag or argument with its help."""
    name = ", ".join(action.option_strings)
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    told = parser._get_formatter()._expand_help(action)
    return [".TP", _plain(f"{name} {value}".strip()), _plain(told)]


def _plain(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def main() -> None:
    """Write all three files."""
    os.environ["COLUMNS"] = "100"
    shtab: Any = import_module("shtab")
    parser = caption_parser()
    for action in parser._actions:
        if action.dest in ("inputs", "model", "output"):
            action.complete = shtab.DIRECTORY if action.dest == "output" else shtab.FILE  # type: ignore[attr-defined]
    write_text(FOLDER / "caption.1", manual_page(parser))
    for shell, name in (("bash", "caption.bash"), ("zsh", "_caption")):
        text = "\n".join(line.rstrip() for line in shtab.complete(parser, shell).splitlines()) + "\n"
        write_text(FOLDER / name, text)


def write_docs(folder: str) -> None:
    """Pages of all modules, by pdoc; what the package imports late is imported now, or it would be a bare name."""
    pdoc: Any = import_module("pdoc")
    for name in captioner.__all__:
        setattr(captioner, name, getattr(captioner, name))
    pdoc.pdoc("captioner", "!captioner.share", output_directory=Path(folder))


if __name__ == "__main__":
    if sys.argv[1:2] == ["docs"] and len(sys.argv) == 3:
        write_docs(sys.argv[2])
    else:
        main()
