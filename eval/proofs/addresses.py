"""Addresses of a hostile server on this machine, over TLS too: captioned, or refused in one line, in bounded time."""

import contextlib
import http.server
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from eval.proofs.cases import Case

LIMITS = "download_seconds=6 read_seconds=3 download_mb=8 stdin_mb=100"  # so that a slow server is over soon
_Answer = Callable[["_Hostile"], Any]


class _Hostile(http.server.BaseHTTPRequestHandler):
    """Answers by the first part of the path."""

    def __init__(self, data: bytes, *given: Any) -> None:
        self.data = data
        super().__init__(*given)

    def log_message(self, *_: Any) -> None:
        """Nothing is told."""

    def do_GET(self) -> None:
        """Whatever the path asks for; who has left is no fault."""
        with contextlib.suppress(OSError):
            _ANSWERS[urlsplit(self.path).path.split("/")[1]][0](self)

    def say(self, data: bytes, **headers: str) -> None:
        """A whole answer."""
        self.send_response(200)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def lead(self, place: str) -> None:
        """A redirect."""
        self.send_response(302)
        self.send_header("Location", place)
        self.end_headers()

    def drip(self, data: bytes) -> None:
        """Without an end, until the other side has had enough."""
        while True:
            self.wfile.write(data)
            self.wfile.flush()
            time.sleep(0.1)


class _Site(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Who has left, or trusts nobody, is no fault."""


def _endless(site: _Hostile) -> None:
    site.say(b"", Content_Length=str(1 << 40))
    while True:
        site.wfile.write(bytes(1 << 16))


def _dripping(site: _Hostile) -> None:
    site.say(b"")
    site.drip(b"x")


def _dripped_head(site: _Hostile) -> None:
    site.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    site.drip(b"y")


_BAD_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
_ANSWERS: dict[str, tuple[_Answer, tuple[int, ...]]] = {
    "sound": (lambda site: site.say(site.data), (0,)),
    "moved": (lambda site: site.lead("/sound/a.mp4"), (0,)),
    "no-length": (lambda site: site.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + site.data), (0,)),
    "live": (lambda site: site.say(b"#EXTM3U\n#EXTINF:1,\n/sound/a.mp4\n"), (0,)),
    "absent": (lambda site: site.send_error(404), (1,)),
    "fault": (lambda site: site.send_error(500), (1,)),
    "loop": (lambda site: site.lead(site.path), (1,)),
    "to-file": (lambda site: site.lead("file:///etc/hostname"), (1,)),
    "to-nowhere": (lambda site: site.lead("http://"), (1,)),
    "cut": (lambda site: site.say(site.data[:500], Content_Length=str(len(site.data))), (1,)),
    "empty": (lambda site: site.say(b""), (1,)),
    "text": (lambda site: site.say(b"<html>no</html>"), (1,)),
    "silent": (lambda site: time.sleep(5), (1,)),
    "endless": (_endless, (1,)),
    "dripping": (_dripping, (1,)),
    "dripped-head": (_dripped_head, (1,)),
    "no-http": (lambda site: site.wfile.write(b"\xff\x00\x00 what?\r\n\r\n" * 50), (1,)),
    "large-head": (lambda site: site.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000), (1,)),
    "chunks": (lambda site: site.wfile.write(_BAD_CHUNK), (1,)),
    "list-file": (lambda site: site.say(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"), (1,)),
    "list-other": (lambda site: site.say(b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.2:9/a.ts\n"), (1,)),
    "list-self": (lambda site: site.say(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n" + site.path.encode()), (1,)),
    "list-long": (lambda site: site.say(b"#EXTM3U\n" + b"#EXTINF:1,\na.ts\n" * 9000), (1,)),
}  # fmt: skip
# Without a server behind them.
_DEAD = (
    "http://127.0.0.1:1/a.mp4", "http://no.such.host.invalid/a.mp4", "http://127.0.0.1:99999/", "http://[::1", "http://",
    "http://a b/c", "https://127.0.0.1:1/", "http://user:secret@127.0.0.1:1/a?key=secret", "http://" + "a" * 300 + "/",
)  # fmt: skip


@contextlib.contextmanager
def _server(data: bytes, tls: Path | None = None) -> Iterator[str]:
    with _Site(("127.0.0.1", 0), partial(_Hostile, data)) as server:
        server.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _own_certificate(folder: Path) -> Path | None:
    """A certificate that nobody vouches for, and its key; None where there is no openssl."""
    path = folder / "tls.pem"
    if shutil.which("openssl") is None:
        return None
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    subprocess.run([*made, "-keyout", path, "-out", folder / "cert.pem"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (folder / "cert.pem").read_bytes())
    return path


def addresses(folder: Path, clip: Path, seed: int, count: int) -> Iterator[Case]:
    """Cases of `count` addresses; the servers live as long as the iterator."""
    data, tls = clip.read_bytes(), _own_certificate(folder)
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(_server(data))
        secure = stack.enter_context(_server(data, tls)) if tls else ""
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            kinds = [*_ANSWERS, "dead", *(["tls"] if secure else [])]
            kind = kinds[number % len(kinds)]
            tail = f"/{kind}/{rng.integers(10**6)}.mp4?key=S3CRET{number}"
            codes: tuple[int, ...]
            if kind == "dead":
                address, codes = str(_DEAD[rng.integers(len(_DEAD))]), (1,)
            elif kind == "tls":
                address, codes = secure + tail.replace("/tls/", "/sound/"), (1,)
            else:
                address, codes = plain + tail, _ANSWERS[kind][1]
            yield Case(f"{number:03d}-{kind}", ["caption", address, "-q"], codes)
