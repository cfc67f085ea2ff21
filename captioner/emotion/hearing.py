"""The sound and the words of a clip, as a recogniser wants them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from captioner.errors import is_address
from captioner.sound import Sound, read_sound, read_spans
from captioner.sound.audio import open_sound
from captioner.sound.fronts import segment_spans
from captioner.sound.subtitles import read_words
from captioner.video.source import VideoSource

if TYPE_CHECKING:
    from captioner.emotion.contract import SoundWants


def hear_span(source: Any, wants: SoundWants | None, start: float, end: float) -> Sound | None:
    """The sound between two seconds; None where there is none, it is not wanted, or pictures in memory have none.

    Of segments one piece each, in their order and of equal length, in one wave: memory does not grow with the clip.
    """
    if wants is None or not _is_file(source):
        return None
    if not wants.segments:
        return read_sound(source, wants.rate, start, min(end, start + wants.span) if wants.span else end)
    pieces = read_spans(source, wants.rate, segment_spans(start, end, wants.segments, wants.span))
    if pieces is None:
        return None
    longest = max(len(piece.wave) for piece in pieces)  # rounding makes them differ by a sample
    wave = np.concatenate([np.pad(piece.wave, (0, longest - len(piece.wave))) for piece in pieces])
    return Sound(wave, wants.rate, start)


def sound_end(source: Any) -> float:
    """Seconds until the sound of a file ends; 0 without one."""
    if not _is_file(source):
        return 0.0
    with open_sound(source if isinstance(source, VideoSource) else VideoSource(source)) as reader:
        return 0.0 if reader is None else max(0.0, reader.stated)


def words_of_span(source: Any, wanted: bool, start: float, end: float, transcript: str | None = None) -> str:
    """What is said between two seconds: the transcript if one is given, else the subtitles of a file."""
    if not wanted:
        return ""
    if transcript is not None:
        return " ".join(transcript.split())
    return read_words(source, start, end) if isinstance(source, str | Path) and _is_local(source) else ""


def _is_file(source: Any) -> bool:
    return isinstance(source, str | Path) or hasattr(source, "read")


def _is_local(source: str | Path) -> bool:
    return not is_address(str(source))
