"""One thing to try: a command, the exit codes that are right for it, and the file to keep where it goes wrong."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A command of `caption` or `python -m eval`, run in a worker."""

    name: str
    command: list[str]
    """The program (caption, eval) and its arguments."""
    codes: tuple[int, ...]
    made: Path | None = None
    """The file or folder that it is about; removed where no promise was broken."""
    stdin: Path | None = None
    lines: int = 2
    """It may take to tell what failed; the last sums several inputs up."""
