"""CARD.md of every kind of weights we make, from one template."""

from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

Kind = Literal["captioner", "experts", "faces", "appearance", "pe_clip", "emotionclip", "pair", "swinbert", "converted"]


def render_card(kind: Kind, **values: Any) -> str:
    """The card of a kind of weights; a value that the template needs and lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"fixed": fixed, "cell": format_cell}
    return environment.get_template("card.md.j2").render(kind=kind, **values)


def fixed(number: float, digits: int = 3) -> str:
    """A number with so many digits behind the point."""
    return f"{number:.{digits}f}"


def format_cell(value: object) -> str:
    """A cell of a table: numbers that are not whole with three digits."""
    return fixed(value) if isinstance(value, float) else str(value)
