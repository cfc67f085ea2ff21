"""Films that one sentence cannot tell: how long a video is, and in what pieces a long one is captioned."""

from __future__ import annotations

from typing import Any

LONG = 30.0  # seconds beyond which a video is captioned scene by scene
LONGEST_SCENE = 10.0  # seconds of a piece of such a film; cuts end one too


def scenes_of(source: Any) -> tuple[float, float | None]:
    """Seconds of a video, from its header or packets, and of a piece of it where it is too long for one sentence.

    A film with fewer pictures than pieces of the usual length has a piece for each picture.
    """
    from captioner.video.clock import survey_of
    from captioner.video.source import VideoSource, open_video

    opened = VideoSource(source)
    with open_video(opened) as (container, stream):
        survey = survey_of(container, stream, opened)
    if survey.duration <= LONG:
        return survey.duration, None
    return survey.duration, max(LONGEST_SCENE, survey.duration / max(survey.n_frames, 1))
