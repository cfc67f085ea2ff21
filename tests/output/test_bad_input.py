"""Whatever is called a video, through the command with the shipped model: a caption, or one line that says why not."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import captioner
from captioner.cli import main
from captioner.files import atomic
from captioner.video.reading import write_video
from tests.helpers import ROOT, heed_control_c

LOAD = captioner.load
RNG = np.random.default_rng(0)
SCENE = np.kron(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))  # (72, 96, 3)


@pytest.fixture(scope="module")
def shipped() -> Any:
    return captioner.load(device="cpu")


@pytest.fixture(autouse=True)
def here(shipped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioner, "load", lambda *_, **__: shipped)
    monkeypatch.chdir(tmp_path)


def film(
    name: str,
    stamps: list[int] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rotate: int = 0,
    size: tuple[int, int] = (96, 72),
) -> None:
    """Frames of one scene that moves, at `stamps` twenty-fifths of a second."""
    with av.open(name, "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = Fraction(1, 25)
        if rotate:
            stream.set_display_rotation(rotate)
        for index, stamp in enumerate(range(12) if stamps is None else stamps):
            picture = np.roll(SCENE, index, 1)
            if size != (96, 72):
                picture = np.asarray(Image.fromarray(picture).resize(size))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 25)
            out.mux(stream.encode(frame.reformat(format=pixels)))
        out.mux(stream.encode(None))


def song(name: str) -> None:
    """A second of silence, and nothing to see."""
    with av.open(name, "w") as out:
        stream: Any = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def cut_short(name: str) -> None:
    """A film without its end, where its index would be."""
    film("whole.mp4")
    data = Path("whole.mp4").read_bytes()
    Path(name).write_bytes(data[: len(data) * 2 // 3])


SEEN: list[tuple[str, Callable[[str], Any]]] = [
    ("one-frame.mp4", lambda name: film(name, [0])),
    ("two-frames.mkv", lambda name: film(name, [0, 1])),
    ("rotated.mp4", lambda name: film(name, rotate=90)),
    ("uneven.mkv", lambda name: film(name, [0, 1, 2, 20, 21, 60])),
    ("ten-bit.mkv", lambda name: film(name, pixels="yuv420p10le")),
    ("alpha.mov", lambda name: film(name, codec="png", pixels="rgba")),
    ("eight-k.avi", lambda name: film(name, [0, 1], codec="mjpeg", pixels="yuvj420p", size=(7680, 4320))),
    ("moving.gif", lambda name: film(name, codec="gif", pixels="rgb8")),
    ("still.png", lambda name: Image.fromarray(SCENE).save(name)),
    ("still.jpg", lambda name: Image.fromarray(SCENE).save(name)),
    ("tiny.mkv", lambda name: film(name, [0, 1, 2], size=(8, 8))),
    ("wide.mkv", lambda name: film(name, [0, 1], size=(640, 16))),
    ("nobody.mp4", lambda name: write_video(name, np.zeros((9, 48, 64, 3), np.uint8), 9)),
]
REFUSED: list[tuple[str, Callable[[str], Any], str]] = [
    ("nothing.mp4", lambda name: Path(name).touch(), "'nothing.mp4' is empty (0 bytes)"),
    ("song.m4a", song, "'song.m4a' holds no video (only audio)"),
    ("text.mp4", lambda name: Path(name).write_text("Dear diary,\n" * 9), "'text.mp4' holds text, not a video"),
    ("cut.mp4", cut_short, "'cut.mp4' is cut off or damaged: its index cannot be found"),
    (
        "noise.mp4",
        lambda name: Path(name).write_bytes(RNG.bytes(4000)),
        "'noise.mp4' is not a video: unknown or damaged format",
    ),
    ("gone.mp4", lambda _: None, "no such file: 'gone.mp4'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "make"), SEEN, ids=[name for name, _ in SEEN])
def test_unusual_videos_are_captioned(name: str, make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make(name)
    assert main([name, "-q"]) == 0
    out = capsys.readouterr()
    assert out.out.count("\n") == 1
    assert len(out.out.split()) > 2
    assert out.err == ""


@pytest.mark.parametrize(("name", "make", "cause"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_what_is_no_video_is_named_with_its_cause(
    name: str, make: Any, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(name)
    assert main([name, "-q"]) == 1
    assert capsys.readouterr() == ("", f"error: {cause}\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "with space.mp4", 'quo"te\'s.mp4', "é漢.mp4", "<script>alert(1)<b>.mp4", "50%d [x] ü?.mp4", "line\nfeed.mp4",
    "-q.mp4", "\x1b[31mred.mp4", os.fsdecode(b"not-utf8-\xff.mp4"), "a" * 200 + ".mp4",
])  # fmt: skip
def test_odd_names_in_a_folder(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Path("clips").mkdir()
    film(f"clips/x.mp4")  # noqa: F541
    Path("clips/x.mp4").rename(Path("clips") / name)
    film("clips/plain.mp4")
    assert main(["clips", "-q", "-o", "out", "-f", "txt,json,jsonl,csv,html,srt,vtt"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 2  # a line each, whatever the name holds
    assert "\x1b" not in out
    stem = Path(name).stem
    assert {p.suffix for p in Path("out").iterdir() if p.stem == stem} == {".txt", ".json", ".html", ".srt", ".vtt"}
    assert "<script>alert" not in (Path("out") / f"{stem}.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_leading_dash_needs_two(capsys: pytest.CaptureFixture[str]) -> None:
    film("x.mp4")
    Path("x.mp4").rename("-q.mp4")
    assert main(["--", "-q.mp4"]) == 0
    assert main(["./-q.mp4"]) == 0
    with pytest.raises(SystemExit, match="2"):
        main(["-q.mp4"])


def test_a_folder_that_cannot_be_read(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("clips/closed").mkdir(parents=True)
    film("clips/a.mp4")
    scan = os.scandir

    def scandir(folder: Any) -> Any:  # tests may run as root, whom no permission stops
        if str(folder).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert main(["clips", "-q"]) == 1
    out = capsys.readouterr()
    assert out.out.startswith("clips/a.mp4\t")
    assert "error: folder 'clips/closed' cannot be read: permission denied\n" in out.err
    assert main(["clips/closed"]) == 2
    assert capsys.readouterr().err == "error: folder 'clips/closed' cannot be read: permission denied\n"


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_leaves_no_half_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    film("a.mp4")
    film("b.mp4")
    written = []

    def full(path: Path, text: str, durable: bool) -> None:
        written.append(path)
        with atomic(path) as temporary:
            temporary.write_text(text[: len(text) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("captioner.output.destination.write_text", full)
    assert main(["a.mp4", "b.mp4", "-q", "-o", "out"]) == 1
    assert capsys.readouterr().err == "error: cannot write 'out/a.txt': no space left on device\n"
    assert len(written) == 1
    assert [p.name for p in Path("out").iterdir()] == [".caption.jsonl"]
    monkeypatch.undo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_standard_output() -> None:
    with open("/dev/full", "w") as full:
        done = run_command(["-c", SPEAKS], stdout=full)
    assert done.wait(60) == 1
    assert done.stderr is not None
    assert done.stderr.read() == "device: cpu\nerror: cannot write to standard output: no space left on device\n"


def test_a_folder_that_cannot_be_written_to_is_found_out_first(capsys: pytest.CaptureFixture[str]) -> None:
    film("a.mp4")
    assert main(["a.mp4", "-o", "a.mp4/out"]) == 1
    assert capsys.readouterr().err == "error: cannot write 'a.mp4/out': not a directory\n"


SPEAKS = """
import captioner, sys, time
from captioner.inference.results import Caption
class Model:
    device, checkpoint = "cpu", type("C", (), {"name": "fake"})
    def options(self, **_): pass
    def each(self, sources, **_):
        for source in sources:
            yield [Caption("Said.", 1.0, [], {}, [], 0, 0.0, 1.0)]
            time.sleep(PAUSE)
captioner.load = lambda *_, **__: Model()
from captioner.cli import main
sys.exit(main(["a.mp4", "b.mp4"]))
""".replace("PAUSE", "0")


def run_command(arguments: list[str], **pipes: Any) -> Any:
    for name in ("a.mp4", "b.mp4"):
        if not Path(name).exists():
            film(name, [0])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    heed = heed_control_c if os.name == "posix" else None
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heed, **pipes)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_control_c_is_one_line() -> None:
    code = SPEAKS.replace("time.sleep(0)", "time.sleep(30)")
    process = run_command(["-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == "a.mp4\tSaid.\n"
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(30) == 130
    assert time.monotonic() - began < 5
    assert process.stderr.read() == "device: cpu\ninterrupted\n"


def test_standard_input_that_is_no_video(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for content, cause in ((b"", "is empty (0 bytes)"), (b"Dear diary,\n" * 9, "holds text, not a video")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert main(["-", "-q"]) == 1
        assert capsys.readouterr().err == f"error: 'standard input' {cause}\n"


@pytest.mark.slow
def test_a_piped_file_says_what_the_file_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    film("behind.mp4", list(range(20)))  # index at the end, as FFmpeg writes it
    frames = [np.roll(SCENE, shift, 1) for shift in range(20)]
    write_video("ahead.mp4", frames, 25)  # and at the front
    for name in ("behind.mp4", "ahead.mp4"):
        data = Path(name).read_bytes()
        assert (data.index(b"moov") < data.index(b"mdat")) == (name == "ahead.mp4")
        assert main([name, "-q"]) == 0
        said = capsys.readouterr().out
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert main(["-", "-q"]) == 0
        assert capsys.readouterr().out == said


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was() -> None:
    names = [f"{letter}.mp4" for letter in "abcd"]
    for name in names:
        film(name, [0])
    code = SPEAKS.replace('["a.mp4", "b.mp4"]', f"{names} + ['-o', 'out', '-f', 'txt,csv']")
    slow = run_command(["-c", code.replace("time.sleep(0)", "time.sleep(0.5)")], stdout=subprocess.PIPE)
    assert slow.stdout.readline() == "a.mp4\tSaid.\n"
    assert slow.stdout.readline() == "b.mp4\tSaid.\n"
    slow.kill()
    slow.wait()
    assert sorted(p.name for p in Path("out").iterdir()) == [".caption.jsonl", "a.txt", "b.txt"]
    again = run_command(["-c", code], stdout=subprocess.PIPE)
    out, err = again.communicate(timeout=60)
    assert out == "c.mp4\tSaid.\nd.mp4\tSaid.\n"
    assert err.startswith("2 skipped: done before")
    rows = Path("out/captions.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == names


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (["-d", "cuda"], "error: device 'cuda' is not available on this machine: use --device cpu or auto\n"),
        (["-d", "gpu"], "error: unknown device 'gpu'; allowed: auto, cpu, cuda, cuda:N, mps\n"),
        (["-m", "nobody/nothing", "--offline"], "run once with a connection: `hf download nobody/nothing`\n"),
        (["-m", "defualt"], "error: 'defualt' is not a folder; unknown model 'defualt' (did you mean 'default'?)"),
        (["--style", "feeling"], "error: unknown style 'feeling'; allowed: plain, faces, feelings"),
        (["--faces", "fam"], "error: unknown face reader 'fam' (did you mean 'fan'?); allowed: "),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_bad_usage_with_the_fix(
    wish: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(captioner, "load", LOAD)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    film("a.mp4", [0])
    arguments = ["a.mp4", "-q", *wish]
    assert main(arguments if "-m" in wish else [*arguments, "-m", "default"]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
