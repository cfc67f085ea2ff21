"""A web address as a file: fetched whole before anything reads meaning into it, within limits of bytes and time.

Certificates are verified; an address on the public net never leads to a loopback, link-local or private one, whatever
names, redirects or playlists say. FFmpeg itself opens no network.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import re
import socket
import ssl
import tempfile
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, BinaryIO, cast
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from captioner.errors import VideoError, is_address, public_name, said_in_a_line
from captioner.stopping import heed_stop
from captioner.version import __version__
from captioner.video.input_limits import limits, raised

BLOCK = 1 << 18  # bytes
KEPT, FRESH = 4, 300.0  # addresses kept for who opens them again, and for how many seconds
_AGENT = f"captioner/{__version__}"
_KEY_WORDS = ("#EXT-X-KEY", "#EXT-X-SESSION-KEY")


class Refused(Exception):
    """What the policy forbids; its text is the cause in a message."""


class _Guard:
    """Of one address: whether its net is private, how much it may still send and how long it may take."""

    def __init__(self, address: str, private: bool | None = None, most: int | None = None) -> None:
        self.private = private  # None: decided by the address that was given
        self.until = time.monotonic() + limits().download_seconds
        self.left = most if most is not None else int(limits().download_mb * (1 << 20))
        self.most = self.left
        self.secure = address.lower().startswith("https://")
        self.login = _login(address)
        self.open: list[socket.socket] = []
        self.late = False
        self.watch = threading.Timer(limits().download_seconds, self.abort)
        self.watch.daemon = True
        self.watch.start()

    def abort(self) -> None:
        """The time is over, whatever is being waited for."""
        self.late = True
        for handle in self.open:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

    def connect(self, place: tuple[str, int], timeout: Any = None, source_address: Any = None) -> socket.socket:
        """A connection to a host, at an address that was looked at: a name cannot change its mind in between."""
        host, port = place
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        inside = any(not _is_public(str(each[4][0])) for each in found)
        if self.private is None:
            self.private = inside
        if inside and not self.private:
            raise Refused("it leads to an address inside a private network")
        cause: OSError = OSError("no address")
        for family, kind, protocol, _, target in found:
            handle = socket.socket(family, kind, protocol)
            handle.settimeout(self.seconds())
            try:
                handle.connect(target)
                self.open.append(handle.dup())  # a TLS connection takes the handle itself over
                return handle
            except OSError as error:
                handle.close()
                cause = error
        raise cause

    def seconds(self) -> float:
        """For the next read."""
        left = self.until - time.monotonic()
        if left <= 0 or self.late:
            told = f"it takes longer than {limits().download_seconds:g} s"
            raise Refused(f"{told}; {raised('download_seconds')}")
        return min(limits().read_seconds, left)

    def take(self, size: int) -> None:
        """So many bytes more."""
        self.left -= size
        if self.left < 0:
            own = self.most < limits().download_mb * (1 << 20)
            told = f"it is larger than {self.most / (1 << 20):g} MB"
            raise Refused(told if own else f"{told}; {raised('download_mb')}")


def _login(address: str) -> tuple[tuple[str, str], str] | None:
    """Of an address with a user and password: the scheme and host that are told them, and what they are told."""
    parts = urlsplit(address)
    user, at, place = parts.netloc.rpartition("@")
    said = b64encode(unquote_to_bytes(user)).decode()
    return ((parts.scheme.lower(), place), f"Basic {said}") if at else None


def _is_public(text: str) -> bool:
    number = ipaddress.ip_address(text.partition("%")[0])
    number = getattr(number, "ipv4_mapped", None) or number
    return number.is_global and not number.is_multicast


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects that stay on the web, and on TLS where they began there."""

    def __init__(self, guard: _Guard) -> None:
        self.guard = guard

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_address(newurl):
            raise Refused("it is redirected to what is no web address")
        if self.guard.secure and not newurl.lower().startswith("https://"):
            raise Refused("it is redirected from https to http")
        parts = urlsplit(newurl)
        place = parts.netloc.rpartition("@")[2]  # a name and password of the server's own choice are not sent
        return super().redirect_request(req, fp, code, msg, headers, parts._replace(netloc=place).geturl())


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:  # Python came without: those of the hub's client do
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _opener(guard: _Guard) -> urllib.request.OpenerDirector:
    """What opens addresses by this guard's connections only; proxies of the environment are not used."""

    def connection(kind: Callable[..., Any], *given: Any, **options: Any) -> Any:
        made = kind(*given, **options)
        made._create_connection = guard.connect
        return made

    class Http(urllib.request.HTTPHandler):
        def http_open(self, req: Any) -> Any:
            return self.do_open(partial(connection, http.client.HTTPConnection), req)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, req: Any) -> Any:
            return self.do_open(partial(connection, http.client.HTTPSConnection, context=_certificates()), req)

    opener = urllib.request.OpenerDirector()
    for handler in (
        Http(), Https(), _Redirects(guard), urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


class Fetched:
    """What an address sent, in a file without a name that goes with the last who holds it."""

    def __init__(self, address: str, private: bool | None = None, most: int | None = None) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile(prefix="captioner-")  # noqa: SIM115
        self.when = time.monotonic()
        self.lock = threading.Lock()
        guard = _Guard(address, private, most)
        try:
            final = self._append(address, guard)
            self.file.seek(0)
            if self.file.read(7) == b"#EXTM3U":
                self._join(final, guard)
        except (OSError, http.client.HTTPException):
            guard.seconds()  # says so where the time was over
            raise
        finally:
            guard.watch.cancel()
            for handle in guard.open:
                handle.close()
        self.size = self.file.seek(0, 2)

    def reader(self) -> BinaryIO:
        """A file of one's own at the start."""
        return cast(BinaryIO, io.BufferedReader(_Shared(self), BLOCK))

    def _append(self, address: str, guard: _Guard) -> str:
        """All of an address behind what is there; the address that redirects led to."""
        parts = urlsplit(address)
        place = parts.netloc.rpartition("@")[2]
        asked = urllib.request.Request(parts._replace(netloc=place).geturl(), headers={"User-Agent": _AGENT})
        if guard.login and (parts.scheme.lower(), place) == guard.login[0]:
            asked.add_unredirected_header("Authorization", guard.login[1])
        with _opener(guard).open(asked, timeout=guard.seconds()) as answer:
            stated = answer.headers.get("Content-Length", "")
            promised = int(stated) if stated.isdecimal() else 0
            if promised > guard.left:
                guard.take(promised)
            got = 0
            while block := answer.read1(BLOCK):
                heed_stop()
                guard.take(len(block))
                guard.seconds()
                self.file.write(block)
                got += len(block)
            guard.seconds()  # a connection that was ended because the time is over looks like one that has sent all
            if got < promised:
                raise Refused(f"the connection ended after {got:,} of {promised:,} bytes")
            return str(answer.geturl())

    def _join(self, address: str, guard: _Guard, depth: int = 0) -> None:
        """The pieces of a playlist in place of it: those it lists now, of its own host alone."""
        self.file.seek(0)
        text = self.file.read(1 << 20).decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if any(line.startswith(_KEY_WORDS) and "METHOD=NONE" not in line for line in lines):
            raise Refused("its playlist is encrypted")
        names = [line for line in lines if not line.startswith("#")]
        heads = (re.match(r'#EXT-X-MAP:.*URI="([^"]*)"', line) for line in lines)  # of fragmented MP4
        names = [*(head[1] for head in heads if head), *names]
        if not names or len(names) > limits().segments or depth > 1:
            raise Refused(f"its playlist names {len(names)} pieces; 1 to {limits().segments:g} are fetched")
        pieces = [urljoin(address, name) for name in names]
        own = urlsplit(address)
        if any((urlsplit(piece).scheme, urlsplit(piece).netloc) != (own.scheme, own.netloc) for piece in pieces):
            raise Refused("its playlist names files of other places")
        self.file.seek(0)
        self.file.truncate()
        if any(line.startswith("#EXT-X-STREAM-INF") for line in lines):  # a list of lists: the first is the usual one
            final = self._append(pieces[0], guard)
            self._join(final, guard, depth + 1)
            return
        for piece in pieces:
            self._append(piece, guard)


class _Shared(io.RawIOBase):
    """One of several readers of a fetched file, each at a place of its own."""

    def __init__(self, fetched: Fetched) -> None:
        self.fetched, self.place = fetched, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes."""
        with self.fetched.lock:
            self.fetched.file.seek(self.place)
            data = self.fetched.file.read(len(buffer))
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        base = {0: 0, 1: self.place, 2: self.fetched.size}[whence]
        self.place = max(0, base + offset)
        return self.place


_kept: dict[str, Fetched] = {}
_lock = threading.Lock()


def fetch(address: str) -> Fetched:
    """What an address holds, fetched once by all who open it one after the other; faults are one line."""
    with _lock:
        for key in [key for key, each in _kept.items() if time.monotonic() - each.when > FRESH]:
            del _kept[key]
        if address in _kept:
            return _kept[address]
        found = fetch_once(address)
        while len(_kept) >= KEPT:
            del _kept[next(iter(_kept))]
        _kept[address] = found
        return found


def fetch_once(address: str, private: bool | None = None, most: int | None = None) -> Fetched:
    """What an address holds, kept by nobody else; private False: not even where the address itself is of a private net.

    most: bytes, where less is wanted than the limits allow.
    """
    try:
        return Fetched(address, private, most)
    except (Refused, OSError, http.client.HTTPException, ValueError, LookupError) as error:
        raise VideoError(f"{public_name(address)!r} cannot be fetched: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {said_in_a_line(Exception(error.reason))}"
    if isinstance(error, http.client.InvalidURL):  # its own words would repeat a password
        return "what stands before its first slash is no host and port"
    if isinstance(error, UnicodeError):
        return "its host cannot be a name of the net"
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({reason.verify_message})"
    if isinstance(reason, TimeoutError):
        return f"no answer within {limits().read_seconds:g} s"
    if isinstance(reason, Exception):
        return getattr(reason, "strerror", None) or said_in_a_line(reason)
    return str(reason)
