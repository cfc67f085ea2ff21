"""Films that one sentence cannot tell: how long a video is, and in what pieces a long one is captioned."""

from __future__ import annotations

from typing import Any

LONG = 30.0  # seconds beyond which a video is captioned scene by scene
LONGEST_SCENE = 10.0  # seconds of a piece of such a film; cuts end one too


def seconds_of(source: Any) -> float:
    """Seconds of a video, from its header or packets; nothing is decoded."""
    from captioner.video.clock import survey_of
    from captioner.video.source import VideoSource, open_video

    opened = VideoSource(source)
    with open_video(opened) as (container, stream):
        return survey_of(container, stream, opened).duration


def is_long(seconds: float) -> bool:
    """Whether a video of so many seconds is captioned by scenes where nothing else was asked."""
    return seconds > LONG
