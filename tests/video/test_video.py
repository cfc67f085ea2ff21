"""Synthetic videos made here: each frame carries its number as bars, so that identity is proven."""

import gc
import http.server
import io
import threading
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from captioner.errors import VideoError
from captioner.video import frames, reading
from captioner.video.reading import Clip, probe, read_clip, stream, write_video

BITS = 10
EXIF_IS_NOT_READ = av.library_versions["libavcodec"] < (62, 0, 0)  # FFmpeg 8 turns it into a display matrix


def bars(number: int, width: int = 80, height: int = 48) -> np.ndarray:
    """(H, W, 3): bit b of `number` is the b-th vertical bar; the lower half is dim, so that turning shows."""
    columns = np.array([255 * (number >> bit & 1) for bit in range(BITS)], np.uint8)
    row = columns[np.arange(width) * BITS // width]
    picture = np.repeat(row[None, :], height, 0)
    picture[height // 2 :] //= 2
    return np.repeat(picture[..., None], 3, 2)


def number(picture: np.ndarray) -> int:
    """The number that `bars` painted."""
    height, width = picture.shape[:2]
    centres = (np.arange(BITS) * 2 + 1) * width // (2 * BITS)
    return sum(1 << bit for bit, x in enumerate(centres) if picture[height // 4, x].mean() > 127)


def numbers(clip: Clip) -> list[int]:
    return [number(picture) for picture in clip.frames]


def make(
    path: Path | io.BytesIO,
    stamps: Sequence[int] | int = 50,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    size: tuple[int, int] = (80, 48),
    container: str | None = None,
    rotate: int | None = None,
    mirror: bool = False,
    gop: int | None = None,
    tags: dict[str, str] | None = None,
) -> Any:
    """A video with frames at `stamps` twenty-fifths of a second; index at the end, FFmpeg's default."""
    stamps = range(stamps) if isinstance(stamps, int) else stamps
    target = str(path) if isinstance(path, Path) else path
    with av.open(target, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = Fraction(1, 25)
        if gop:
            stream.codec_context.gop_size = gop
        if rotate is not None:
            stream.set_display_rotation(rotate, hflip=mirror)
        stream.metadata.update(tags or {})
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(bars(index, *size), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def expected(count: int, wanted: int) -> list[int]:
    return [int(position + 1e-6) for position in np.linspace(0, count - 1, wanted)]


@pytest.mark.parametrize("wanted", [1, 2, 8, 50, 70])
def test_frames_are_uniform_over_the_whole_clip(tmp_path: Path, wanted: int) -> None:
    clip = read_clip(make(tmp_path / "a.mp4"), wanted)
    assert numbers(clip) == expected(50, wanted)
    assert clip.frames.dtype == np.uint8
    assert clip.frames.shape == (wanted, 48, 80, 3)
    assert clip.times == pytest.approx(np.array(expected(50, wanted)) / 25)
    assert (clip.fps, clip.duration) == (25.0, 2.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mkv", {}),
        ("a.webm", {"codec": "libvpx-vp9"}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.ts", {}),
        ("raw.h264", {"container": "h264"}),
        ("ten_bits.mp4", {"pixels": "yuv420p10le"}),
        ("grey.mp4", {"pixels": "gray"}),
        ("animated.gif", {"codec": "gif", "pixels": "rgb8"}),
        ("odd.mkv", {"codec": "ffv1", "size": (81, 47)}),
        ("alpha.mov", {"codec": "qtrle", "pixels": "argb"}),
        ("a b'é漢 <b>%03d:x?.mp4", {}),
        ("-looks-like-a-flag", {"container": "mp4"}),
    ],
)
def test_containers_pixels_and_names(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    path = make(tmp_path / name if "%" not in name else tmp_path / "plain.mp4", 30, **options)
    path = path.rename(tmp_path / name)  # FFmpeg reads meaning into odd names when it writes
    assert numbers(read_clip(path, 7)) == expected(30, 7)
    assert probe(path).n_frames == 30
    assert probe(path).duration == pytest.approx(1.2, abs=0.01)


def test_a_piped_file_reads_like_the_file_with_its_index_at_either_end(tmp_path: Path) -> None:
    path = make(tmp_path / "end.mp4")
    assert path.read_bytes().find(b"moov") > path.read_bytes().find(b"mdat")
    write_video(tmp_path / "front.mp4", np.stack([bars(i) for i in range(50)]), 25)
    data = (tmp_path / "front.mp4").read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")
    for each in (path, tmp_path / "front.mp4"):
        clip = read_clip(io.BytesIO(each.read_bytes()), 8)
        assert np.array_equal(clip.frames, read_clip(each, 8).frames)
        assert clip.source == "<stream>"


def test_variable_frame_rate_takes_what_is_on_screen(tmp_path: Path) -> None:
    # ten frames in the first 0.4 s, then one that stays until 2 s, and a last one
    path = make(tmp_path / "vfr.mkv", [*range(10), 20, 50])
    clip = read_clip(path, 6)  # 0 0.4 0.8 1.2 1.6 2.0 s
    assert numbers(clip) == [0, 9, 10, 10, 10, 11]
    assert clip.times == pytest.approx([0, 0.36, 0.8, 0.8, 0.8, 2.0])


def test_a_span_is_half_open_and_can_start_late(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", 100)
    assert numbers(read_clip(path, 5, start=1.0, end=2.0)) == [25, 31, 37, 43, 49]
    assert numbers(read_clip(path, 3, start=3.0)) == [75, 87, 99]
    assert numbers(read_clip(path, 3, start=2.0, end=99)) == [50, 74, 99]
    with pytest.raises(VideoError, match=r"start 9\.00 s is past the end of .*a\.mp4' \(4\.00 s\)"):
        read_clip(path, 3, start=9)
    with pytest.raises(ValueError, match="num_frames 0"):
        read_clip(path, 0)


@pytest.mark.parametrize(("name", "gop"), [("a.mp4", 25), ("sparse.mp4", 400), ("a.mkv", 25), ("a.ts", 25)])
def test_seeking_in_a_long_video_finds_the_same_frames(tmp_path: Path, name: str, gop: int) -> None:
    path = make(tmp_path / name, 500, gop=gop)
    assert numbers(read_clip(path, 5)) == expected(500, 5)
    assert numbers(read_clip(path, 2, start=15.0, end=15.5)) == [375, 386]


def test_only_sampled_frames_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    original = frames.picture
    monkeypatch.setattr(frames, "picture", lambda *a: converted.append(1) or original(*a))
    read_clip(make(tmp_path / "a.mp4", 200), 4)
    assert len(converted) == 4
    read_clip(make(tmp_path / "b.mp4", 2), 16)
    assert len(converted) == 6


@pytest.mark.parametrize("wide", [True, False])
def test_the_short_side_is_exact(tmp_path: Path, wide: bool) -> None:
    path = make(tmp_path / "a.mp4", 3, size=(100, 60) if wide else (60, 100))
    assert read_clip(path, 2, short_side=24).frames.shape[1:3] == ((24, 40) if wide else (40, 24))
    assert read_clip(path, 2, short_side=90).frames.shape[1:3] == ((90, 150) if wide else (150, 90))


@pytest.mark.parametrize("short_side", [None, 20, 90])
def test_resizing_does_not_change_the_brightness(tmp_path: Path, short_side: int | None) -> None:
    write_video(tmp_path / "a.mkv", np.stack([np.full((48, 64, 3), level, np.uint8) for level in (0, 50, 255)]), 1)
    frames = read_clip(tmp_path / "a.mkv", 3, short_side=short_side).frames.astype(int)
    assert np.abs(frames - np.array([0, 50, 255])[:, None, None, None]).max() <= 1


def test_one_frame_fills_every_place(tmp_path: Path) -> None:
    clip = read_clip(make(tmp_path / "one.mp4", 1), 8)
    assert numbers(clip) == [0] * 8
    assert clip.times.tolist() == [0.0] * 8


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


def test_a_cut_file_gives_the_frames_it_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_video(tmp_path / "a.mp4", np.stack([bars(i, 240, 160) for i in range(200)]), 25)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    found = numbers(read_clip(tmp_path / "cut.mp4", 8))
    assert "cut.mp4: pictures end at" in caplog.text
    assert found == sorted(set(found))  # spread over the part that is there
    assert 50 < found[-1] < 190


def test_stating_too_long_a_duration_does_not_repeat_the_last_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captioner.video.clock.SCAN_BYTES", 0)  # as for a file too large to be read through
    data = make(tmp_path / "a.mkv", 100).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    found = numbers(read_clip(tmp_path / "cut.mkv", 8))
    assert "cut.mkv: readable up to" in caplog.text
    assert len(set(found)) == 8
    assert numbers(read_clip(tmp_path / "a.mkv", 8)) == expected(100, 8)


def test_damage_in_the_middle_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(make(tmp_path / "a.mp4", 100, gop=10, codec="mpeg4").read_bytes())
    middle = data.find(b"moov") // 2
    data[middle : middle + 150] = b"\xff" * 150
    (tmp_path / "bad.mp4").write_bytes(data)
    found = numbers(read_clip(tmp_path / "bad.mp4", 5))
    assert (found[0], found[-1]) == (0, 99)
    assert "damaged packets were passed over" in caplog.text


def test_tags_that_are_not_utf8_do_no_harm(tmp_path: Path) -> None:
    data = make(tmp_path / "a.mkv", 5, tags={"artist": "Andre_"}).read_bytes()
    (tmp_path / "b.mkv").write_bytes(data.replace(b"Andre_", b"Andr\xe9_"))
    assert numbers(read_clip(tmp_path / "b.mkv", 5)) == list(range(5))


def silent_song(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_files_that_hold_no_video_are_named_with_a_plain_cause(tmp_path: Path) -> None:
    silent_song(tmp_path / "song.m4a")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "notes.mp4").write_text("Dear diary,\n" * 30)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    data = make(tmp_path / "clip.mp4").read_bytes()
    (tmp_path / "headless.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "huge.gif").write_bytes(b"GIF89a\x40\x9c\xa0\x0f" + bytes(3) + b"," + bytes(40))
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/clip.mp4\n#EXT-X-ENDLIST\n")
    causes = {
        "song.m4a": "holds no video (only audio)",
        "empty.mp4": "is empty (0 bytes)",
        "notes.mp4": "holds text, not a video",
        "noise.mp4": "is not a video: unknown or damaged format",
        "huge.gif": "claims frames of no size, or of more than 40,000,000 pixels",
        "headless.mp4": "is cut off or damaged: its index cannot be found",
        "list.m3u8": "holds text, not a video",
        "clop.mp4": "(did you mean",
        ".": "is a folder; give a video file",
        "bad\0name": "no such file",
    }
    for name, cause in causes.items():
        for reader in (probe, partial(read_clip, num_frames=4)):
            with pytest.raises(VideoError) as caught:
                reader(tmp_path / name)
            assert cause in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises(VideoError, match="'<stream>' is empty"):
        read_clip(io.BytesIO(), 4)


def test_probe_sees_size_rate_and_length(tmp_path: Path) -> None:
    info = probe(make(tmp_path / "a.mp4", 50))
    assert (info.width, info.height, info.fps, info.duration, info.n_frames) == (80, 48, 25.0, 2.0, 50)


@pytest.mark.parametrize("size", [(80, 48), (81, 47)])
def test_written_videos_keep_every_frame(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = np.stack([bars(i, *size) for i in range(20)])
    write_video(tmp_path / "new folder" / "a.mp4", frames, 29.97)
    info = probe(tmp_path / "new folder" / "a.mp4")
    assert (info.width, info.height, info.n_frames) == (size[0] + size[0] % 2, size[1] + size[1] % 2, 20)
    assert info.fps == pytest.approx(29.97)
    assert numbers(read_clip(tmp_path / "new folder" / "a.mp4", 20)) == list(range(20))


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no frames to write"):
        write_video(tmp_path / "a.mp4", [], 25)
    with pytest.raises(ValueError, match="not enough values"):
        write_video(tmp_path / "a.mp4", [bars(0), np.zeros(3, np.uint8)], 25)
    assert list(tmp_path.iterdir()) == []


def test_a_web_address_reads_like_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, np.stack([bars(i) for i in range(30)]), 25)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        assert numbers(read_clip(f"{address}/a.mp4", 6)) == expected(30, 6)
        with pytest.raises(VideoError, match=r"gone\.mp4' cannot be fetched: "):
            read_clip(f"{address}/gone.mp4", 6)
        server.shutdown()


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
