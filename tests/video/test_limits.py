"""Limits that hold before memory is taken: sizes, aspects, clocks, pipes, devices, endless streams."""

import io
import os
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from captioner.errors import VideoError
from captioner.video.input_limits import KEY
from captioner.video.reading import probe, read_clip
from captioner.video.source import VideoSource
from tests.helpers import noise_video


def clocked_video(path: Path, stamps: list[int], **sizes: Any) -> Path:
    """A Matroska film whose pictures come at those milliseconds."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for name, value in sizes.items():
            setattr(stream.codec_context, name, value)
        stream.codec_context.time_base = Fraction(1, 1000)
        for stamp in stamps:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), stamp % 200, np.uint8), format="rgb24")
            frame = frame.reformat(format="yuvj420p")
            frame.pts, frame.time_base = stamp, stream.codec_context.time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_a_clock_that_leaps_counts_for_nothing(tmp_path: Path) -> None:
    film = clocked_video(tmp_path / "a.mkv", [0, 100, 200, 300 + 30 * 365 * 86_400_000])
    assert probe(film).duration < 60
    assert len(read_clip(film, 4).frames) == 4
    calm = clocked_video(tmp_path / "b.mkv", [0, 100, 200, 60_000])
    assert probe(calm).duration == pytest.approx(60, abs=1)


def test_a_rate_of_a_picture_in_years_is_no_rate(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as out:
        stream: Any = out.add_stream("mjpeg", rate=Fraction(7, 1565873494))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for _ in range(6):
            out.mux(stream.encode(av.VideoFrame(64, 48, "yuvj420p")))
        out.mux(stream.encode(None))
    assert probe(tmp_path / "a.avi").duration < 60


def test_pixels_are_bounded_and_one_key_raises_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = noise_video(tmp_path / "a.mp4", 0)
    monkeypatch.setenv(KEY, "pixels=6000")
    with pytest.raises(VideoError, match="6,000"):
        probe(film)
    monkeypatch.setenv(KEY, "pixels=7000 pictures_mb=0.01")
    probe(film)
    with pytest.raises(VideoError, match=r"pictures of 88 x 72 would take .*=pictures_mb"):
        read_clip(film, 6)
    monkeypatch.setenv(KEY, "ratio=1.1")
    with pytest.raises(VideoError, match="shown as 88 x 72"):
        probe(film)


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices of POSIX")
def test_only_regular_files_are_videos(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    for name in ("pipe.mp4", "zero.mp4"):
        with pytest.raises(VideoError, match="is a pipe, a device or a socket, no file"):
            VideoSource(tmp_path / name)
    data = noise_video(tmp_path / "a.mp4", 0).read_bytes()
    read, write = os.pipe()
    threading.Thread(target=lambda: (os.write(write, data), os.close(write)), daemon=True).start()
    assert VideoSource(f"/dev/fd/{read}").size == len(data)
    os.close(read)


def test_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return len(buffer)

    monkeypatch.setenv(KEY, "stdin_mb=2")
    with pytest.raises(VideoError, match="is larger than 2 MB"):
        VideoSource(io.BufferedReader(Endless()))
