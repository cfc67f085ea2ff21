"""Tables as text: aligned columns or Markdown, from one header and rows of cells."""

from collections.abc import Sequence


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]], form: str = "md") -> str:
    """The lines of a table: form "md" is Markdown, any other aligned columns."""
    lines = [list(row) for row in (header, *rows)]
    if form == "md":
        lines.insert(1, ["---"] + ["---:"] * (len(header) - 1))
        return "\n".join("".join(f"| {cell} " if cell else "| " for cell in line) + "|" for line in lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    """The first cell to the left, the others to the right."""
    cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
    return "  ".join([line[0].ljust(widths[0]), *cells]).rstrip()
