"""Where the repository's scripts, configs and examples lie, for what runs them; an installed package has none."""

from pathlib import Path

from captioner.errors import CaptionerError

ROOT = Path(__file__).resolve().parents[1]


def script_path(name: str) -> Path:
    """A file of scripts/."""
    path = ROOT / "scripts" / name
    if not path.is_file():
        raise CaptionerError(f"{path} is not there: run this from a checkout of the repository")
    return path
