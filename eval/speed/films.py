"""Films to read: smooth drifting pictures under a sensor's noise (synthetic), the examples at 720p, repetitions."""

from collections.abc import Iterator
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from captioner.video.reading import probe, read_clip

SIDE, FPS = 224, 30
NOISE = 0.7  # of a sensor, in grey levels: the films take 165 kbit/s, films of people at this size took 100 to 125
WIDE, WIDE_FPS = (1280, 720), 25


def make_film(folder: Path, seconds: int, height: int) -> Path:
    """A film of a smooth picture that drifts under a sensor's noise; kept for the next run."""
    path = folder / f"film-{height}-{seconds}s.mp4"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    width = height if height == SIDE else round(height * 16 / 18) * 2
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in drifting_pictures(seconds * FPS, height, width):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def drifting_pictures(count: int, height: int, width: int) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3): a disc moves before a background that pans."""
    draw, place = np.random.default_rng(0), torch.Generator().manual_seed(0)
    near, far = (_texture(2 * height, 2 * width, place) for _ in range(2))
    rows, columns = np.mgrid[:height, :width]
    for number in range(count):
        far_at, near_at = (round((1 + np.sin(number * speed)) / 2 * height * 0.9) for speed in (0.011, 0.023))
        middle = (height / 2 + height / 8 * np.sin(number * 0.03), width / 2 + near_at / 8)
        disc = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < (height / 3) ** 2
        back, front = (layer[at : at + height, at : at + width] for layer, at in ((far, far_at), (near, near_at)))
        still = np.where(disc[..., None], front, back)
        yield np.clip(still + draw.normal(0, NOISE, still.shape), 0, 255).astype(np.uint8)


def _texture(height: int, width: int, generator: torch.Generator) -> np.ndarray:
    """A picture (H, W, 3) of patches of several sizes, 0 to 255."""
    layers = [torch.rand(1, 3, cells, cells, generator=generator) for cells in (6, 24, 96)]
    sized = [torch.nn.functional.interpolate(layer, (height, width), mode="bicubic")[0] for layer in layers]
    picture: np.ndarray = (0.5 * sized[0] + 0.3 * sized[1] + 0.2 * sized[2]).permute(1, 2, 0).numpy() * 255
    return picture


def repeat_film(film: Path, path: Path, times: int) -> Path:
    """The film several times in a row, its packets copied, not encoded anew; kept for the next run."""
    if path.exists():
        return path
    with av.open(str(path), "w") as target:
        stream: Any = None
        for turn in range(times):
            with av.open(str(film)) as source:
                given = source.streams.video[0]
                stream = stream or target.add_stream_from_template(given)
                length = int(given.duration or 0)
                for packet in source.demux(given):
                    if not packet.size or packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                    packet.stream = stream
                    target.mux(packet)
    return path


def describe_film(film: Path) -> tuple[str, str]:
    """(Name and size, number of pictures)."""
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        packets = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
        size = f"{stream.codec_context.width}x{stream.codec_context.height}"
    return f"{film.name}, {size}", f"{len(packets)}, {sum(packets)} key frames"


def wide_scenes(videos: Path, seconds: int) -> Iterator[np.ndarray]:
    """The videos of a folder one after the other, again and again, at 720p."""
    pictures = chain.from_iterable(
        read_clip(path, round(probe(path).duration * WIDE_FPS)).frames for path in cycle(sorted(videos.glob("*.mp4")))
    )
    for picture in islice(pictures, seconds * WIDE_FPS):
        wide = Image.new("RGB", WIDE, (90, 80, 70))
        small = Image.fromarray(picture)
        small = small.resize((round(small.width * WIDE[1] / small.height), WIDE[1]))
        wide.paste(small, ((WIDE[0] - small.width) // 2, 0))
        yield np.asarray(wide)
