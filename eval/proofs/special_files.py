"""Files that are no plain video, made by kind and seed: stills with EXIF, bombs, clocks, pixels, playlists, pipes."""

import io
import os
import socket
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from eval.proofs.cases import Case

_Make = Callable[[Path, np.random.Generator], tuple[Path, tuple[int, ...]]]  # the path to caption, right exit codes
DONE, REFUSED, EITHER = (0,), (1,), (0, 1)
_PIXELS = ("gray", "gray16le", "yuv444p16le", "gbrp", "gbrap", "rgba", "yuv410p", "yuva420p", "bgr0", "ya8")
_PLAYLISTS = (
    "#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n",
    "ffconcat version 1.0\nfile '/etc/hostname'\n", "v=0\nm=video 9 RTP/AVP 96\n",
    "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>", "[playlist]\nFile1=/etc/hostname\n",
)  # fmt: skip


def special_files(folder: Path, seed: int, count: int) -> Iterator[Case]:
    """Cases of `count` files; every kind comes before any comes again."""
    kinds = list(_KINDS.items())
    for number in range(count):
        name, make = kinds[number % len(kinds)]
        place = folder / f"{number:03d}-{name}"
        place.mkdir()
        path, codes = make(place, np.random.default_rng([seed, number]))
        stdin = path if name == "stdin" else None
        given = "-" if stdin else f"@{path}" if name == "list" else str(path)
        kept = ["-o", str(place / "out"), "-f", "txt,json,csv,html"] if name in _WRITTEN else []
        yield Case(place.name, ["caption", given, "-q", *kept], codes, place, stdin, 5 if name == "list" else 2)


def _scene(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height)))


def _film(path: Path, rng: np.random.Generator, size: tuple[int, int] = (64, 48), **about: Any) -> Path:
    """Pictures by FFV1 in Matroska; about: stamps (milliseconds), pixels (their format), aspect (of a pixel)."""
    with av.open(str(path), "w", format="matroska") as out:
        stream: Any = out.add_stream("ffv1" if about.get("pixels") else "mjpeg", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = about.get("pixels") or "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if "aspect" in about:
            stream.sample_aspect_ratio = about["aspect"]
        picture = av.VideoFrame.from_ndarray(_scene(rng, size[1], size[0]), format="rgb24")
        picture = picture.reformat(format=stream.pix_fmt)
        for stamp in about.get("stamps", range(0, 600, 100)):
            picture.pts, picture.time_base = int(stamp), Fraction(1, 1000)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def _still(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    kind = ("jpg", "png", "webp", "tiff")[rng.integers(4)]
    image, exif = Image.fromarray(_scene(rng, 60, 90)), Image.Exif()
    exif[0x0112] = int(rng.integers(0, 10))  # orientation, two of them no such
    image.save(place / f"a.{kind}", exif=exif)
    return place / f"a.{kind}", EITHER if kind == "tiff" else DONE


def _bomb(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    """A header that promises far more than the file holds."""
    w, h = (65535, 65535) if rng.random() < 0.5 else (65535, int(rng.integers(1000, 9000)))
    chunk = b"IHDR" + struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)
    contents = {
        "gif": b"GIF89a" + struct.pack("<HH", w, h) + bytes(3) + b"," + struct.pack("<HHHH", 0, 0, w, h) + bytes(40),
        "png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + bytes(60),
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 1000, 0, 54, 40, w, h, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(99),
        "y4m": f"YUV4MPEG2 W{w} H{h} F25:1 C420\nFRAME\n".encode() + bytes(5000),
        "jpg": b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", h, w) + b"\x03\x01\x22\x00\x02\x11\x01" + bytes(99),
    }
    kind = list(contents)[rng.integers(len(contents))]
    (place / f"a.{kind}").write_bytes(contents[kind])
    return place / f"a.{kind}", REFUSED


def _aspect(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    size = ((2000, 32), (32, 2000), (1280, 40), (64, 48))[rng.integers(4)]
    aspect = Fraction(int(rng.integers(1, 400)), int(rng.integers(1, 60)))
    return _film(place / "a.mkv", rng, size, aspect=aspect), EITHER


def _clock(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    years = 365 * 86_400_000
    steps = [100, 100, int(rng.choice([100, 7_000, 5_000_000, 30 * years])), 100, int(rng.choice([1, 100, 90_000_000]))]
    start = int(rng.choice([0, 50_000, 10 * years]))
    return _film(place / "a.mkv", rng, stamps=np.cumsum([start, *steps])), DONE


def _pixels(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    name = _PIXELS[rng.integers(len(_PIXELS))]
    try:
        return _film(place / "a.mkv", rng, pixels=name), DONE
    except (av.error.FFmpegError, ValueError, OSError):  # FFV1 has no such format
        return _film(place / "b.mkv", rng), DONE


def _small(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    size = ((1, 1), (2, 90), (90, 2), (17, 31), (3, 3), (400, 8))[rng.integers(6)]
    return _film(place / "a.mkv", rng, size, pixels="bgr0"), EITHER


def _playlist(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    name = ("a.m3u8", "a.mp4", "a.sdp", "a.ffconcat")[rng.integers(4)]
    (place / name).write_text(_PLAYLISTS[rng.integers(len(_PLAYLISTS))])
    return place / name, REFUSED


def _no_file(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    """A pipe, devices, a socket, links that lead to them or nowhere, a folder without videos."""
    path, kind = place / "m.mp4", int(rng.integers(7))
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        with socket.socket(socket.AF_UNIX) as handle:
            here = Path.cwd()
            os.chdir(place)  # a socket's name has room for 108 letters
            handle.bind(path.name)
            os.chdir(here)
    elif kind == 2:
        path.mkdir()
        return path, (2,)
    else:
        path.symlink_to(("/dev/zero", "/dev/full", path, place / "none")[kind - 3])
    return path, REFUSED


def _folder(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    """A folder whose first file is a pipe and whose second is sound."""
    os.mkfifo(place / "a.mp4")
    _film(place / "b.mkv", rng)
    return place, REFUSED


def _name(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    names = ("a\nb.mkv", "\x1b[2Jx.mkv", "a%03d.mkv", "pipe:0", "concat:a|b", "é" * 120 + ".mkv", "a[1].mkv", "~")
    return _film(place / names[rng.integers(len(names))], rng), DONE


def _large(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    """Pictures far beyond any film that are really there, in a few hundred KB."""
    if rng.random() < 0.5:
        Image.new("P", (65535, int(rng.integers(700, 1400)))).save(place / "a.gif")
        return place / "a.gif", REFUSED
    still, size = io.BytesIO(), (int(rng.integers(9000, 10_000)), 9000)
    Image.new("L", size, 99).save(still, "jpeg")
    with av.open(str(place / "a.avi"), "w") as out:
        stream: Any = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        for stamp in range(3):
            packet = av.Packet(still.getvalue())
            packet.pts = packet.dts = stamp
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            out.mux(packet)
    return place / "a.avi", REFUSED


def _list(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    """A list of inputs that mean nothing, and one that is sound."""
    odd = ("a\0b.mp4", "http://[::1", "x" * 300, "none*.mp4", "\x1b]red.mp4", "s3://a/b?k=S3CRET", "../\ud800.mp4")
    lines = [odd[rng.integers(len(odd))] for _ in range(3)]
    lines.insert(int(rng.integers(4)), str(_film(place / "sound.mkv", rng)))
    (place / "list.txt").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    return place / "list.txt", REFUSED


def _long_name(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    """Names of 255 bytes, as long as file systems allow, with outputs to be named after them."""
    letter = ("a", "é", "漢", "=")[rng.integers(4)]
    return _film(place / (letter * (251 // len(letter.encode())) + ".mkv"), rng), DONE


def _journal(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    """A folder of outputs whose journal another program wrote."""
    lines = (
        b"[" * 3000 + b"]" * 3000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b'{"source": []}', b"\xff\x00", b"9" * 5000,
        b'{"source": "a.mkv", "state": null, "record": {}}', b"[" * 200_000,
    )  # fmt: skip
    (place / "out").mkdir()
    kept = b"\n".join(lines[place_] for place_ in rng.permutation(len(lines)))
    (place / "out" / ".caption.jsonl").write_bytes(kept)
    return _film(place / "a.mkv", rng), DONE


def _stdin(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    kind = rng.integers(3)
    if kind == 0:
        return Path("/dev/zero"), REFUSED
    path = place / "a.mkv"
    if kind == 1:
        path.write_bytes(b"")
        return path, REFUSED
    return _film(path, rng), DONE


def _other(place: Path, rng: np.random.Generator) -> tuple[Path, tuple[int, ...]]:
    contents = (b"", bytes(100_000), b"RIFF\xff\xff\xff\xffWAVEfmt ", b"\x00\x00\x00\x08ftyp", b"x" * 999)
    (place / "a.mp4").write_bytes(contents[rng.integers(len(contents))])
    return place / "a.mp4", REFUSED


_KINDS: dict[str, _Make] = {
    "still": _still, "bomb": _bomb, "aspect": _aspect, "clock": _clock, "pixels": _pixels, "small": _small,
    "playlist": _playlist, "no-file": _no_file, "folder": _folder, "name": _name, "stdin": _stdin, "other": _other,
    "large": _large, "list": _list, "long-name": _long_name, "journal": _journal,
}  # fmt: skip
_WRITTEN = ("name", "long-name", "journal")  # kinds whose outputs are written too
