"""In what pieces a long film is captioned."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from captioner.output.long_films import LONGEST_SCENE, scenes_of


def film(path: Path, seconds: list[float]) -> Path:
    """Grey pictures at these seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.time_base = stream.codec_context.time_base = Fraction(1, 10)
        for second in seconds:
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
            frame.pts = round(second * 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_only_long_films_come_in_pieces(tmp_path: Path) -> None:
    assert scenes_of(film(tmp_path / "short.mp4", [0.0, 0.1, 29.0]))[1] is None
    seconds, scene = scenes_of(film(tmp_path / "long.mp4", [second / 2 for second in range(90)]))
    assert round(seconds) == 45
    assert scene == LONGEST_SCENE


def test_a_film_of_few_pictures_has_a_piece_for_each(tmp_path: Path) -> None:
    seconds, scene = scenes_of(film(tmp_path / "slides.mp4", [0.0, 600.0, 1200.0, 1800.0]))
    assert scene is not None
    assert round(seconds / scene) == 4
