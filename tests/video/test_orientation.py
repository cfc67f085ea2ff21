"""Pictures stand upright, whatever a stream, a tag or EXIF says; transparency lies over black."""

import gc
import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from captioner.video import frames, reading
from captioner.video.reading import probe, read_clip
from tests.video.numbered import make

EXIF_IS_NOT_READ = av.library_versions["libavcodec"] < (62, 0, 0)  # FFmpeg 8 turns it into a display matrix


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV cannot write rotation")
def test_the_rotation_flag_turns_the_picture(tmp_path: Path, degrees: int, mirror: bool) -> None:
    plain = read_clip(make(tmp_path / "plain.mp4", 3, size=(80, 40)), 1).frames[0].astype(int)
    path = make(tmp_path / "turned.mp4", 3, size=(80, 40), rotate=degrees, mirror=mirror)
    turned = np.rot90(plain, degrees // 90)
    turned = turned[:, ::-1] if mirror else turned
    assert np.abs(read_clip(path, 1).frames[0] - turned).max() <= 2
    info = probe(path)
    assert (info.height, info.width) == turned.shape[:2]
    assert read_clip(path, 1, short_side=20).frames.shape[1:3] == tuple(n // 2 for n in turned.shape[:2])


def test_the_legacy_rotation_tag_counts_clockwise(tmp_path: Path) -> None:
    plain = read_clip(make(tmp_path / "plain.mkv", 3), 1).frames[0].astype(int)
    path = make(tmp_path / "tag.mkv", 3, tags={"rotate": "90"})
    assert np.abs(read_clip(path, 1).frames[0] - np.rot90(plain, -1)).max() <= 2
    path = make(tmp_path / "nonsense.mkv", 3, tags={"rotate": "up"})
    assert read_clip(path, 1).frames.shape[1:3] == (48, 80)


def photo(size: tuple[int, int] = (80, 48)) -> Image.Image:
    """A red corner, a green edge: each way of holding it looks different."""
    pixels = np.full((*size[::-1], 3), 90, np.uint8)
    pixels[: size[1] // 2, : size[0] // 2] = (230, 20, 20)
    pixels[:, -16:] = (20, 220, 20)
    return Image.fromarray(pixels)


def with_exif(picture: Image.Image, turn: int, kind: str) -> bytes:
    """The picture as a file that says how the camera was held, and by whom."""
    about = Image.Exif()
    about[ExifTags.Base.Orientation], about[ExifTags.Base.Artist] = turn, "nobody"
    target = io.BytesIO()
    picture.save(target, kind, exif=about, **({"quality": 95} if kind == "JPEG" else {}))
    return target.getvalue()


STILLS = {"JPEG": 12, "PNG": 0, "WEBP": 30, "TIFF": 0}  # and how far they may be from what was painted


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", STILLS)
@pytest.mark.skipif(EXIF_IS_NOT_READ, reason="this FFmpeg leaves EXIF alone")
def test_pictures_are_turned_as_their_exif_says(tmp_path: Path, kind: str, turn: int) -> None:
    path = tmp_path / f"photo.{kind.lower()}"
    path.write_bytes(with_exif(photo(), turn, kind))
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(int)
    shown = read_clip(path, 2).frames
    assert shown.shape == (2, *wanted.shape)
    assert np.abs(shown - wanted).mean() <= STILLS[kind] / 4
    assert np.median(np.abs(shown - wanted)) <= STILLS[kind] / 12
    assert (probe(path).width, probe(path).height) == wanted.shape[1::-1]


@pytest.mark.skipif(EXIF_IS_NOT_READ, reason="this FFmpeg leaves EXIF alone")
def test_motion_jpeg_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    (tmp_path / "a.mjpeg").write_bytes(b"".join(with_exif(photo(), 5, "JPEG") for _ in range(6)))
    frames = read_clip(tmp_path / "a.mjpeg", 6).frames
    wanted = np.asarray(photo().transpose(Image.Transpose.TRANSPOSE)).astype(int)
    assert frames.shape[1:] == wanted.shape
    assert np.abs(frames - wanted).mean() < 3


def held_frames() -> int:
    """Decoded pictures that are in memory."""
    return sum(type(thing) is av.VideoFrame for thing in gc.get_objects())


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_pictures_are_let_go_without_the_collector(tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    rotated = {"rotate": 90} if hasattr(av.VideoStream, "set_display_rotation") else {}
    make(path, 100, codec=codec, **rotated)  # type: ignore[arg-type]
    gc.collect()
    gc.disable()
    try:
        before = held_frames()
        read_clip(path, 40)
        monkeypatch.setattr(reading, "CODECS", ())
        read_clip(path, 40)
        probe(path)
        held = [held_frames() - before for _ in reading.stream(path, 0.04, [24])]
        assert held_frames() == before
        assert len(held) == 100
        assert max(held[:80]) <= 4  # one on screen, one ahead; at the end the decoder gives all it has at once
    finally:
        gc.enable()


def test_a_matrix_behind_what_has_no_name_turns_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frame:
        rotation = -90

    monkeypatch.setattr(frames, "_SideData", lambda frame: {})
    assert frames.orientation_of(Frame(), None) == (0, 1, -1, 0)  # type: ignore[arg-type]


def test_transparency_lies_over_black(tmp_path: Path) -> None:
    picture = np.full((8, 8, 4), 200, np.uint8)
    picture[:, :4, 3], picture[:, 4:, 3] = 0, 255
    with av.open(str(tmp_path / "a.png"), "w", format="image2") as out:
        stream: Any = out.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8, 8, "rgba"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        out.mux(stream.encode(None))
    frames = read_clip(tmp_path / "a.png", 3).frames
    assert frames.shape == (3, 8, 8, 3)
    assert frames[:, :, :4].max() == 0
    assert frames[:, :, 4:].min() == 200
