"""Videos are read as they were made: which frames, how large, from what; faults have a plain cause."""

import http.server
import io
import threading
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from captioner.errors import VideoError
from captioner.video import frames
from captioner.video.reading import probe, read_clip, write_video
from tests.video.numbered import bars, expected, make, numbers


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


def test_ffmpeg_logs_nothing_while_pictures_are_decoded(tmp_path: Path) -> None:
    """Its log would take the interpreter's lock in a decoding thread, which who frees the decoder waits for."""
    make(tmp_path / "a.mp4")
    av.logging.set_level(av.logging.ERROR)  # as older versions of torchvision do
    read_clip(tmp_path / "a.mp4", 2)
    assert av.logging.get_level() is None
