"""One caption into one file, in the format that the file's suffix names."""

from __future__ import annotations

import os
from pathlib import Path

from captioner.errors import ConfigError, unknown
from captioner.files import write_text
from captioner.inference.results import Caption, VideoCaptions
from captioner.output.writers import WRITERS
from captioner.version import __version__


def save_caption(caption: Caption, path: str | Path) -> None:
    """The file that `caption -f` would write of this caption alone."""
    path = Path(path)
    kinds = {writer.suffix: writer for writer in WRITERS.values() if not writer.needs_faces}
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in kinds:
        raise ConfigError(unknown("format", suffix or path.name, kinds))
    writer = kinds[suffix]()
    film = Path(caption.source) if caption.source and os.path.isfile(caption.source) else None
    video = VideoCaptions(caption.source or "frames", [caption], persons=bool(caption.person), film=film)
    video.page_folder = path.parent
    unknown_ones = dict.fromkeys(("beams", "max_words", "style", "window", "faces"))
    settings = unknown_ones | {"device": "", "neutral": False, "people": caption.person}
    run = {"model": caption.model, "version": __version__, "settings": settings}
    text = writer.render(video, run)
    write_text(path, (writer.head() if writer.shared else "") + text)
