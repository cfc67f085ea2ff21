"""Addresses: fetched whole within limits, by one policy, told without their secrets."""

import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import pytest

from captioner.errors import ConfigError, VideoError, public_name
from captioner.video import fetch as fetching
from captioner.video.input_limits import KEY, Limits, limits
from captioner.video.source import VideoSource
from tests.helpers import ROOT, noise_video


class Site(http.server.BaseHTTPRequestHandler):
    """Answers by path; the test sets `pages`."""

    pages: ClassVar[dict[str, Any]] = {}

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        page = self.pages.get(self.path.partition("?")[0], 404)
        if callable(page):
            page(self)
        elif isinstance(page, str):
            self.send_response(302)
            self.send_header("Location", page)
            self.end_headers()
        elif isinstance(page, int):
            self.send_error(page)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)


@pytest.fixture
def site() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Site.pages = {}
        fetching._kept.clear()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def refusal(address: str) -> str:
    with pytest.raises(VideoError) as caught:
        VideoSource(address)
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


def test_an_address_is_fetched_once_and_read_as_a_file(site: str, tmp_path: Path) -> None:
    data, asked = noise_video(tmp_path / "a.mp4", 0).read_bytes(), []

    def page(answer: Any) -> None:
        asked.append(1)
        answer.send_response(200)
        answer.end_headers()
        answer.wfile.write(data)

    Site.pages = {"/a.mp4": page, "/moved": "/a.mp4"}
    for _ in range(3):
        source = VideoSource(f"{site}/moved")
        with source.open() as one, source.open() as other:
            assert one.read(5) == data[:5] and other.read() == data and one.read() == data[5:]
    assert len(asked) == 1 and source.size == len(data)


def test_public_addresses_do_not_lead_inside(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the first host were on the public net."""
    Site.pages = {"/a": b"x" * 99, "/inside": f"{site.replace('127.0.0.1', 'localhost')}/a"}
    decided: list[bool] = []

    def is_public(number: str) -> bool:
        decided.append(True)
        return len(decided) == 1

    monkeypatch.setattr(fetching, "_is_public", is_public)
    assert "inside a private network" in refusal(f"{site}/inside")


@pytest.mark.parametrize(
    ("number", "public"),
    [
        ("8.8.8.8", True), ("127.0.0.1", False), ("10.1.2.3", False), ("169.254.169.254", False), ("::1", False),
        ("::ffff:127.0.0.1", False), ("fe80::1%eth0", False), ("fd00::1", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("2606:4700::1111", True), ("100.64.0.1", False),
    ],
)  # fmt: skip
def test_which_numbers_are_public(number: str, public: bool) -> None:
    assert fetching._is_public(number) is public


@pytest.mark.parametrize(
    ("location", "words"),
    [("file:///etc/passwd", "not allowed"), ("ftp://h/a", "no web address"), ("/loop", "infinite loop")],
)
def test_redirects_that_are_refused(site: str, location: str, words: str) -> None:
    Site.pages = {"/loop": location}
    assert words in refusal(f"{site}/loop")


@pytest.mark.slow
def test_bytes_and_time_are_bounded(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def slow(answer: Any) -> None:
        answer.send_response(200)
        answer.end_headers()
        while not stop.wait(0.05):
            answer.wfile.write(b"x")

    def cut(answer: Any) -> None:
        answer.send_response(200)
        answer.send_header("Content-Length", "1000")
        answer.end_headers()
        answer.wfile.write(b"x" * 10)

    Site.pages = {"/big": b"x" * 3_000_000, "/slow": slow, "/silent": lambda _: stop.wait(5), "/cut": cut}
    monkeypatch.setenv(KEY, "download_mb=2 download_seconds=0.6 read_seconds=0.3")
    assert "larger than 2 MB; raise it with CAPTIONER_LIMITS=download_mb=N" in refusal(f"{site}/big")
    assert "longer than 0.6 s" in refusal(f"{site}/slow")
    assert "no answer within 0.3 s" in refusal(f"{site}/silent")
    assert "the connection ended after 10 of 1,000 bytes" in refusal(f"{site}/cut")
    assert "the server says 404 Not Found" in refusal(f"{site}/none")
    stop.set()


def test_playlists_bring_pieces_of_their_own_host_alone(site: str) -> None:
    Site.pages = {
        "/1.ts": b"one", "/2.ts": b"two", "/live.m3u8": b"#EXTM3U\n#EXTINF:1,\n1.ts\n#EXTINF:1,\n2.ts\n",
        "/list.m3u8": b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlive.m3u8\n",
        "/file.m3u8": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "/other.m3u8": b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/1.ts\n",
        "/locked.m3u8": b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:1,\n1.ts\n', "/empty.m3u8": b"#EXTM3U\n",
        "/self.m3u8": b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nself.m3u8\n",
    }  # fmt: skip
    for name in ("live", "list"):
        with VideoSource(f"{site}/{name}.m3u8").open() as file:
            assert file.read() == b"onetwo"
    assert "names files of other places" in refusal(f"{site}/file.m3u8")
    assert "names files of other places" in refusal(f"{site}/other.m3u8")
    assert "encrypted" in refusal(f"{site}/locked.m3u8")
    assert "names 0 pieces" in refusal(f"{site}/empty.m3u8")
    assert "names 1 pieces" in refusal(f"{site}/self.m3u8")


def test_names_that_no_host_can_have() -> None:
    assert "its host cannot be a name of the net" in refusal(f"http://{'a' * 300}/")


def test_secrets_are_not_told(site: str) -> None:
    told = public_name("https://me:pass@host.org/a%20b.mp4?token=S3CRET#f")
    assert re.fullmatch(r"https://host\.org/a%20b\.mp4\?~[0-9a-f]{8}", told)
    assert public_name("https://h/a?x=1") != public_name("https://h/a?x=2")
    assert public_name("https://h/a.mp4") == "https://h/a.mp4" and public_name("a?b.mp4") == "a?b.mp4"
    assert "S3CRET" not in refusal(f"{site}/a?token=S3CRET")
    assert "S3CRET" not in refusal("http://me:S3CRET@127.0.0.1:1/a.mp4")
    told = refusal("http://127.0.0.1:S3CRET/a.mp4?S3CRET")
    assert "what stands before its first slash is no host and port" in told


def test_a_password_is_told_to_the_host_of_the_address_alone(site: str, tmp_path: Path) -> None:
    data, told = noise_video(tmp_path / "a.mp4", 0).read_bytes(), {}

    def page(answer: Any) -> None:
        told[answer.headers["Host"] + answer.path] = answer.headers["Authorization"]
        answer.send_response(302 if "away" in answer.path else 200)
        answer.send_header("Location", site.replace("127.0.0.1", "me:pass@localhost") + "/b.mp4")
        answer.end_headers()
        answer.wfile.write(b"#EXTM3U\n#EXTINF:1,\n/c.mp4\n" if "list" in answer.path else data)

    Site.pages = dict.fromkeys(("/a.mp4", "/away", "/b.mp4", "/c.mp4", "/list"), page)
    for name in ("a.mp4", "away", "list"):
        assert VideoSource(site.replace("//", "//me:p%40ss@") + f"/{name}").size == len(data)
    here, other = site.removeprefix("http://"), site.removeprefix("http://").replace("127.0.0.1", "localhost")
    mine = "Basic bWU6cEBzcw=="
    known = dict.fromkeys((f"{here}/a.mp4", f"{here}/away", f"{here}/list", f"{here}/c.mp4"), mine)
    assert told == {**known, f"{other}/b.mp4": None}


def test_the_table_of_limits_is_documented_and_one_key_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    table = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", (ROOT / "SECURITY.md").read_text(), re.M)
    assert {name: float(value.replace(",", "")) for name, value in table} == vars(Limits())
    assert [name for name, _ in table] == [field.name for field in fields(Limits)]
    monkeypatch.setenv(KEY, "pixels=9 hours=2")
    assert (limits().pixels, limits().hours, limits().ratio) == (9, 2, 50)
    for wrong in ("pixel=3", "pixels=-1", "pixels=x", "pixels", "pixels=inf"):
        monkeypatch.setenv(KEY, wrong)
        with pytest.raises(ConfigError, match="CAPTIONER_LIMITS: "):
            limits()
