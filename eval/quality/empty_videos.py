"""Synthetic videos without a face: a camera moves over wide pictures. What a face reader finds in them is false.

A video is uint8 (T, H, W, 3).
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from captioner.synth.film.faceless import FACELESS, HEIGHT, WIDTH, Picture, Rng

FPS, FRAMES = 10.0, 50


def empty_videos(each: int = 2, seed: int = 0) -> Iterator[tuple[str, Picture]]:
    """`each` videos of every kind, with the kind's name."""
    for place, (kind, draw) in enumerate(FACELESS.items()):
        for number in range(each):
            rng = np.random.default_rng([seed, place, number])
            yield kind, pan_over(draw(rng), rng)


def pan_over(wide: Picture, rng: Rng, frames: int = FRAMES) -> Picture:
    """What a camera sees that moves slowly over a wide picture and closer to or farther from it."""
    image = Image.fromarray(wide)
    start = rng.uniform(0.25, 0.95)
    zoom = np.linspace(start, float(np.clip(start * rng.uniform(0.75, 1.3), 0.2, 1.0)), frames)
    first = rng.uniform(0, 1, 2)
    course = np.linspace(first, np.clip(first + rng.normal(0, 0.15, 2), 0, 1), frames)
    video = np.empty((frames, HEIGHT, WIDTH, 3), np.uint8)
    for t, (scale, (x, y)) in enumerate(zip(zoom, course, strict=True)):
        across, down = scale * image.width, scale * image.height
        left, top = x * (image.width - across), y * (image.height - down)
        cut = image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=(left, top, left + across, top + down))
        grain = rng.normal(0, 3, (HEIGHT, WIDTH, 1))
        video[t] = np.clip(np.asarray(cut, np.float32) + grain, 0, 255)
    return video
