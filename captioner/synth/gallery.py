"""Synthetic clips to look at: a contact sheet of apex frames, and a page that plays them."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from textwrap import shorten, wrap
from typing import Any
from urllib.parse import quote

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from captioner.errors import VideoError
from captioner.files import atomic, write_text

log = logging.getLogger(__name__)

Line = Mapping[str, Any]  # of a manifest that the maker wrote

COLUMNS = 8
SHEET = 64  # clips on a contact sheet
PAGE = 200  # clips on a page: a browser opens the head of each video
_CELL = 168  # width of a picture on the sheet, pixels
_ROW = 14  # of text
_LABEL_ROWS = 3


def read_lines(manifest: Path, most: int | None = None) -> list[Line]:
    """The first `most` lines of a manifest, as they are."""
    with manifest.open(encoding="utf-8") as file:
        return [json.loads(line) for _, line in zip(range(most or 2**62), file, strict=False)]


def contact_sheet(path: Path, manifest: Path, clips: int = SHEET, seed: int = 0) -> None:
    """A PNG of random clips at their apex, each with its emotion and phrases below."""
    lines = read_lines(manifest)
    chosen = np.sort(np.random.default_rng([seed, clips]).permutation(len(lines))[:clips])
    cells = [_cell(manifest.parent, lines[index]) for index in chosen]
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    width, height = cells[0].size
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for place, cell in enumerate(cells):
        sheet.paste(cell, (place % columns * width, place // columns * height))
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")


def _cell(folder: Path, line: Line) -> Image.Image:
    """The apex frame over its label."""
    picture = Image.fromarray(_frame(folder / line["video"], line["extra"]["apex"]))
    picture = picture.resize((_CELL, round(_CELL * picture.height / picture.width)), Image.Resampling.LANCZOS)
    if len(line["extra"]["persons"]) > 1:
        _mark(picture, line)
    cell = Image.new("RGB", (_CELL + 6, picture.height + _LABEL_ROWS * _ROW + 10), "white")
    cell.paste(picture, (3, 0))
    pen, font = ImageDraw.Draw(cell), ImageFont.load_default(12)
    name = line["id"].split("_", 1)[-1]
    said = wrap(", ".join(_plain(phrase) for phrase in line["extra"]["phrases"]) or "-", 28)
    rows = [f"{name.replace('_', ' ')} {line['emotion']}", *said[: _LABEL_ROWS - 1]]
    for row, text in enumerate(rows):
        while pen.textlength(text, font=font) > _CELL:
            text = text[:-1]
        pen.text((3, picture.height + 2 + row * _ROW), text, fill="black", font=font)
    return cell


def _mark(picture: Image.Image, line: Line) -> None:
    """A bar at the lower edge, under the face that the label is about."""
    box, (width, _) = line["extra"]["boxes"][line["extra"]["apex"]], line["extra"]["size"]
    if box is not None:
        left, right = (side * picture.width / width for side in (box[0], box[2]))
        bar = (left, picture.height - 4, right, picture.height - 1)
        ImageDraw.Draw(picture).rectangle(bar, fill="yellow", outline="black")


def _frame(path: Path, index: int) -> np.ndarray:
    """One frame of a video, uint8 (H, W, 3); the last one if there are fewer."""
    picture = None
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            picture = frame
            if number == index:
                break
    if picture is None:
        raise VideoError(f"no frame of {str(path)!r} can be decoded; delete it and make it again")
    return picture.to_ndarray(format="rgb24")


def write_page(path: Path, manifest: Path, clips: int = PAGE) -> None:
    """An HTML page of the first clips with captions, phrases and action units over time; videos play from beside it."""
    lines = read_lines(manifest, clips + 1)
    more = len(lines) > clips
    folder = Path(os.path.relpath(manifest.absolute().parent, path.absolute().parent))
    cards = "\n".join(_card(folder, line) for line in lines[:clips])
    title = f"{min(clips, len(lines))} synthetic clips" + (" (the first of the manifest)" if more else "")
    write_text(path, _PAGE.format(title=escape(title), style=_STYLE, script=_SCRIPT, cards=cards))


def _card(folder: Path, line: Line) -> str:
    extra = line["extra"]
    source = quote((folder / line["video"]).as_posix())
    moment = (extra["apex"] + 0.5) / line["fps"]
    style = extra["manner"]  # the key of every manifest so far
    other = "feelings" if style == "faces" else "faces"
    captions = "".join(_list(name, texts) for name, texts in ((style, line["captions"]), (other, extra[other])))
    mixture = ", ".join(line["multi_emotion"])
    heading = f"{escape(str(line['emotion']))}" + (f" <small>{escape(mixture)}</small>" if mixture else "")
    chips = "".join(f"<b>{escape(_plain(phrase))}</b>" for phrase in extra["phrases"])
    acts = ", ".join(_plain(action) for action in extra["actions"])
    about = f"{line['id']} · {line['split']} · {line['group']} · {line['n_frames']} frames, {line['fps']:g} fps"
    return f"""<article><video src="{source}#t={moment:.2f}" preload="metadata" muted loop controls playsinline></video>
<div><h2>{heading}</h2><p class="about">{escape(about)}</p><p>{chips} <i>{escape(acts)}</i></p>
{captions}{_sparklines(extra["au"], line["au_ids"])}</div></article>"""


def _list(name: str, texts: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<h3>{escape(name)}</h3><ul>{items}</ul>"


def _sparklines(curves: Mapping[str, Sequence[float]], salient: Sequence[int]) -> str:
    """An SVG with a line a row for each AU that moves, the salient ones stronger."""
    shown = sorted(curves, key=lambda au: (int(au) not in salient, int(au)))
    if not shown:
        return ""
    rows = []
    for row, au in enumerate(shown):
        values = np.asarray(curves[au], float)
        x, y = np.linspace(48, 248, len(values)), 18 * row + 16 - 14 * values
        points = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y, strict=True))
        kind = "salient" if int(au) in salient else "faint"
        rows.append(
            f'<g class="{kind}"><text x="0" y="{18 * row + 14}">AU {escape(au)}</text><polyline points="{points}"/>'
            f'<text x="254" y="{18 * row + 14}">{values.max():.2f}</text></g>'
        )
    return f'<svg viewBox="0 0 290 {18 * len(shown) + 4}" role="img" aria-label="action units">{"".join(rows)}</svg>'


def _plain(name: str) -> str:
    return shorten(str(name).replace("_", " "), 60)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style></head>
<body><header><h1>{title}</h1><input type="search" placeholder="filter: frown, sadness, val ..." aria-label="filter">
</header><main>
{cards}
</main><script>{script}</script></body></html>
"""
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --ink: light-dark(#222, #ddd); --mark: light-dark(#b03a2e, #ff9d8a); }
body { font: 15px/1.4 system-ui, sans-serif; margin: 0 auto; max-width: 1400px; padding: 0 1rem; color: var(--ink);
  background: light-dark(#fff, #161616); }
header { display: flex; gap: 1rem; align-items: center; flex-wrap: wrap; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin: 0; } h3 { font-size: .8rem; margin: .5rem 0 0; opacity: .7; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); gap: 1rem; }
article { display: flex; gap: .8rem; border: 1px solid var(--line); border-radius: 8px; padding: .8rem; }
article > div { min-width: 0; flex: 1; } article[hidden] { display: none; }
video { width: 11rem; align-self: flex-start; border-radius: 6px; background: #000; }
p, ul { margin: .2rem 0; } ul { padding-left: 1.1rem; } .about { font-size: .75rem; opacity: .7; }
b { font-weight: 600; border: 1px solid var(--line); border-radius: 9px; padding: 0 .5em; margin-right: .3em; }
svg { width: 100%; max-width: 20rem; margin-top: .4rem; } svg text { font-size: 11px; fill: currentColor; }
polyline { fill: none; stroke: currentColor; stroke-width: 1.2; }
.faint { opacity: .45; } .salient polyline { stroke: var(--mark); stroke-width: 2; }
"""
_SCRIPT = """
for (const video of document.querySelectorAll("video")) {
  video.addEventListener("mouseenter", () => { video.currentTime = 0; video.play().catch(() => {}); });
  video.addEventListener("mouseleave", () => video.pause());
}
document.querySelector("input").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\\s+/);
  for (const card of document.querySelectorAll("article")) {
    const text = card.textContent.toLowerCase();
    card.hidden = !words.every((word) => text.includes(word));
  }
});
"""
