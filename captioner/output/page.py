"""A page that plays a film beside its captions: one HTML file that fetches nothing but the film."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from captioner.errors import printable
from captioner.inference.results import Caption, VideoCaptions
from captioner.output.page_parts import MANY, caption_context, data_uri

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
EMBEDDED = 8_000_000  # bytes up to which a page holds its film; it links to a larger one, and to one of many captions
TINTS = 7  # colours of the timeline
ROW = 1.1  # height of a person's row of the timeline, in rem


def page(video: VideoCaptions, run: Mapping[str, Any], folder: Path | None = None) -> str:
    """The HTML of a video's captions; those without evidence show only what they say.

    folder: where the page will lie, from which a large film is linked.
    """
    model = str(run.get("model") or (video.segments[0].model if video.segments else ""))
    facts = [f"{video.duration:.1f} s" if video.duration else "", f"model {model}" if model else ""]
    return _shelf().get_template("page.html.j2").render(
        **film_context(video, film_uri(video, folder)),
        file=video.file,
        facts=[fact for fact in facts if fact],
        settings=list(_flat(run)),
        css=page_style(),
        script=_own("page.js"),
        script_hash=_script_hash(),
    )  # fmt: skip


def film_html(video: VideoCaptions, uri: str | None, name: str) -> str:
    """The film and its captions alone, for a page that has styles and script; ids begin with `name`.

    uri: where the film plays from, "" for a player that is given its film later, None for none.
    """
    return _shelf().get_template("film.html.j2").render(**film_context(video, uri, name))


def film_context(video: VideoCaptions, uri: str | None, name: str = "c") -> dict[str, Any]:
    """What film.html.j2 shows."""
    captions = video.segments
    shown = [caption_context(each, f"{name}{i + 1}", len(captions) > MANY) for i, each in enumerate(captions)]
    whole = max([video.duration, *(each.end for each in captions), 1e-3])
    for context, place in zip(shown, _timeline(captions, whole), strict=True):
        context |= place
    return {
        "captions": shown,
        "tints": [{"tint": tint, "label": label} for label, tint in _tints(captions).items()],
        "film": None if uri is None else {"uri": uri},
        "name": name,
        "rows": round(ROW * max(1, len({each.person for each in captions})), 2),
        "duration": f"{whole:.3f}",
        "length": f"{whole:.1f} s",
    }


def film_uri(video: VideoCaptions, folder: Path | None) -> str | None:
    """The film itself, or where it is seen from the page's folder; None where a page could not play it."""
    film = video.film
    if film is None:
        return None
    size = len(film) if isinstance(film, bytes) else film.stat().st_size
    if size <= EMBEDDED and len(video.segments) <= MANY:
        kind = mimetypes.guess_type(video.file)[0] or "video/mp4"
        return data_uri(film if isinstance(film, bytes) else film.read_bytes(), kind)
    if isinstance(film, bytes):
        return None
    path = film.resolve()
    try:
        return quote(Path(os.path.relpath(path, folder.resolve())).as_posix()) if folder else path.as_uri()
    except ValueError:  # another drive
        return path.as_uri()


def _timeline(captions: Sequence[Caption], whole: float) -> list[dict[str, Any]]:
    """Where each caption lies on the timeline, in percent; people have rows of their own."""
    tints, rows = _tints(captions), sorted({each.person for each in captions})
    return [
        {
            "left": round(100 * each.start / whole, 3),
            "width": round(100 * max(each.end - each.start, 0.002 * whole) / whole, 3),
            "row": round(ROW * rows.index(each.person), 2),
            "tint": tints.get(_likeliest(each), 0),
        }
        for each in captions
    ]


def _tints(captions: Sequence[Caption]) -> dict[str, int]:
    """A colour for each emotion that is the likeliest of a caption."""
    labels = dict.fromkeys(label for each in captions if (label := _likeliest(each)))
    return {label: 1 + number % TINTS for number, label in enumerate(labels)}


def _likeliest(caption: Caption) -> str:
    return max(caption.emotion, key=caption.emotion.__getitem__, default="")


def _flat(run: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Settings as (name, text), those of inner mappings one by one; what was not set is left out."""
    for key, value in run.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif value and value != "none":
            yield str(key).replace("_", " "), str(value)


def page_style() -> Any:
    """The style that our pages share."""
    return _own("page.css")


@cache
def _shelf() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _own(name: str) -> Any:
    from markupsafe import Markup

    return Markup((HERE / name).read_text(encoding="utf-8"))  # ours, and no place for escapes


@cache
def _script_hash() -> str:
    digest = hashlib.sha256(str(_own("page.js")).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
