"""A video from an address that a stranger typed: fetched within limits, and from no machine of one's own network."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from captioner.errors import VideoError
from captioner.serve.limits import ServeLimits
from captioner.stopping import heed_stop

HOPS = 5
PIECE = 1 << 18


def fetch_video(address: str, target: Path, limits: ServeLimits) -> None:
    """The bytes at an http(s) address in a file; a VideoError says what stands against it."""
    for _ in range(HOPS):
        connection, response = _ask(address, limits)
        try:
            if response.status in (301, 302, 303, 307, 308):
                address = urljoin(address, response.headers.get("Location", ""))
                continue
            if response.status != 200:
                raise VideoError(f"{address!r} cannot be fetched: the server answers {response.status}")
            return _keep(response, address, target, limits)
        except (OSError, http.client.HTTPException) as error:
            raise VideoError(f"{address!r} cannot be fetched: {error or type(error).__name__}") from None
        finally:
            connection.close()
    raise VideoError(f"{address!r} leads from address to address: give the one of the video itself")


def _ask(address: str, limits: ServeLimits) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise VideoError(f"{address!r} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise VideoError(f"{address!r} is no address of a video: it must begin with http:// or https://")
    try:
        number = _resolved(host, port, address, limits)
        plain = socket.create_connection((number, port), timeout=limits.stall)  # the one that was checked
        connection = http.client.HTTPConnection(host, port, timeout=limits.stall)
        secure = parts.scheme == "https"
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": "captioner", "Accept": "*/*"})
        return connection, connection.getresponse()
    except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
        raise VideoError(f"{address!r} cannot be fetched: {error or type(error).__name__}") from None


def _resolved(host: str, port: int, address: str, limits: ServeLimits) -> str:
    """The number of a host, if all its numbers may be asked."""
    numbers = [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not limits.private and not all(ipaddress.ip_address(number.split("%")[0]).is_global for number in numbers):
        raise VideoError(f"{address!r} is in this machine's own network: upload the file instead")
    return numbers[0]


def _keep(response: http.client.HTTPResponse, address: str, target: Path, limits: ServeLimits) -> None:
    count = 0
    with target.open("wb") as file:
        while piece := response.read(PIECE):
            heed_stop()
            count += len(piece)
            if count > limits.upload:
                raise VideoError(f"{address!r} is larger than {limits.upload / 1e6:.0f} MB, the limit of this server")
            file.write(piece)
