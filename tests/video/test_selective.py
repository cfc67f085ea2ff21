"""Pictures that are picked without decoding the others are those of whole decoding."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from captioner.errors import VideoError
from captioner.video import frames, reading
from captioner.video.reading import read_clip, stream, write_video


def film(path: Path, codec: str = "libx264", size: tuple[int, int] = (48, 64), count: int = 60, **options: str) -> None:
    """Moving noise at 25 frames a second: every picture differs from every other."""
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (size[0] * 2, size[1] * 2, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = options.pop("pix_fmt", "yuv420p")
        stream.options = options
        for number in range(count):
            picture = np.ascontiguousarray(noise[number // 2 : number // 2 + size[0], number : number + size[1]])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


CODINGS = {
    "default": {},
    "short groups": {"g": "12"},
    "pyramid": {"bf": "5", "x264-params": "b-pyramid=normal:b-adapt=0"},
    "no b frames": {"bf": "0"},
    "open groups": {"g": "10", "x264-params": "open-gop=1:b-adapt=0"},
    "intra refresh": {"x264-params": "intra-refresh=1"},
    "one key frame": {"g": "1000", "x264-params": "scenecut=0"},
}


@pytest.mark.parametrize("seconds", [(0.0, None), (0.7, 1.5)])
@pytest.mark.parametrize("coding", CODINGS)
def test_picked_pictures_are_those_of_whole_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str, seconds: tuple[float, float | None]
) -> None:
    path = tmp_path / "film.mp4"
    film(path, **CODINGS[coding])
    refused = []
    monkeypatch.setattr("captioner.video.reading.log.debug", lambda *words: refused.append(words))
    given = {"start": seconds[0], "end": seconds[1], "short_side": 40}
    picked = read_clip(path, 7, **given)  # type: ignore[arg-type]
    assert not refused
    monkeypatch.setattr("captioner.video.reading.CODECS", ())
    whole = read_clip(path, 7, **given)  # type: ignore[arg-type]
    assert np.array_equal(picked.times, whole.times)
    assert np.array_equal(picked.frames, whole.frames)


def test_fewer_pictures_are_decoded_than_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.mp4"
    film(path, g="15", **{"x264-params": "b-adapt=0:scenecut=0"})
    decoded = []
    pick = reading.pick

    def counted(*given: Any) -> Any:
        for frame in pick(*given):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(reading, "pick", counted)
    times = read_clip(path, 2, start=0.2, end=1.0).times
    assert times.tolist() == pytest.approx([0.2, 0.96])
    assert 2 <= len(decoded) < 16  # of sixty: half of two groups' beginnings


def test_what_cannot_be_picked_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.mp4"
    film(path)
    whole = read_clip(path, 5)
    said: list[Any] = []
    monkeypatch.setattr("captioner.video.reading.log.debug", lambda *words: said.append(words))
    monkeypatch.setattr(reading, "pick", lambda *given: iter(()))  # as if the decoder kept them back
    again = read_clip(path, 5)
    assert len(said) == 1
    assert np.array_equal(again.frames, whole.frames)
    monkeypatch.undo()
    film(tmp_path / "film.mpg", codec="mpeg2video")
    assert len(read_clip(tmp_path / "film.mpg", 5).frames) == 5


@pytest.mark.parametrize("side", [None, 40])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p"])
def test_planes_hold_the_same_as_packed_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: str, side: int | None
) -> None:
    path = tmp_path / "film.mp4"
    film(path, pix_fmt=pixels, crf="10")
    planes = read_clip(path, 4, short_side=side).frames
    monkeypatch.setattr(frames, "_PLANAR", ())
    packed = read_clip(path, 4, short_side=side).frames
    assert np.array_equal(planes, packed)
    assert planes.strides[-1] > planes.strides[-2]
    assert packed.flags.c_contiguous


def test_several_sizes_are_those_of_single_readings(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    film(path)
    (clips,) = reading.read_samples(path, [reading.Sampling(5, (24, None, 40))])
    for side, clip in zip((24, None, 40), clips, strict=True):
        assert np.array_equal(clip.frames, read_clip(path, 5, short_side=side).frames)


def test_a_part_of_a_stream_is_what_the_whole_shows_then(tmp_path: Path) -> None:
    levels = np.arange(40, dtype=np.uint8)[:, None, None, None] * 6
    write_video(tmp_path / "a.mp4", np.broadcast_to(levels, (40, 32, 48, 3)), 10)
    whole = list(stream(tmp_path / "a.mp4", 0.2, [16]))
    broad = {shown.second: shown.pictures[32] for shown in stream(tmp_path / "a.mp4", 0.2, [32])}
    part = list(stream(tmp_path / "a.mp4", 0.2, [16], start=1.0, end=2.0))
    assert [shown.second for shown in part] == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8, 1.9])  # and the last one
    for shown, same in zip(part[:5], whole[5:], strict=False):
        np.testing.assert_array_equal(shown.pictures[16], same.pictures[16])
    assert {shown.size for shown in part} == {(48, 32)}
    np.testing.assert_array_equal(part[0].at(32), broad[1.0])
    with pytest.raises(KeyError):
        part[0].held().at(24)  # it was let go
    with pytest.raises(VideoError, match=r"start 9.00 s is past the end of '.*a.mp4' \(4.00 s\)"):
        list(stream(tmp_path / "a.mp4", 0.2, [16], start=9.0))
