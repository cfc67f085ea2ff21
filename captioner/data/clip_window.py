"""Which part of a clip is sampled in training, by pytorchvideo's clip samplers."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from typing import Any

from captioner.config import DataConfig
from captioner.errors import VideoError
from captioner.video.reading import probe


@lru_cache(maxsize=100_000)
def duration_of(video: str) -> float:
    """Seconds of a video file, looked up once a process."""
    return probe(video).duration


def clip_window(config: DataConfig, video: str, epoch: int, seed: int) -> tuple[float, float]:
    """Start and end in seconds of the part of a video that an epoch samples; it follows from (seed, epoch)."""
    duration = duration_of(video)
    length = duration * config.clip_share
    if length <= 0:
        raise VideoError(f"{video} has no length")
    if config.clip_sampler == "constant":
        places = _places("constant_clips_per_video", duration, length, config.clips_per_video)
        return places[epoch % len(places)]
    if config.clip_sampler == "uniform":
        places = _places("uniform", duration, length, length, True)  # the last part reaches back from the end
        return places[epoch % len(places)]
    with _seeded(seed):
        return _places("random", duration, length)[0]


def _places(kind: str, duration: float, length: float, *more: Any) -> list[tuple[float, float]]:
    """The windows that a sampler deals out of a video, in its order."""
    from pytorchvideo.data.clip_sampling import make_clip_sampler

    sampler = make_clip_sampler(kind, length, *more)
    found: list[tuple[float, float]] = []
    last: float | Fraction = 0.0
    while True:
        info = sampler(last, Fraction(duration), None)
        last = info.clip_end_sec
        found.append((float(info.clip_start_sec), min(float(info.clip_end_sec), duration)))
        if info.is_last_clip or kind == "random":
            return found


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Python's generator, which the random sampler draws from, at a seed; as it was afterwards."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
