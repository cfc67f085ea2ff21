"""A video from an address that a stranger typed: fetched within a server's limits, and never from its own network."""

from __future__ import annotations

import shutil
from pathlib import Path

from captioner.errors import VideoError, is_address, public_name
from captioner.serve.serve_limits import ServeLimits
from captioner.video.fetch import fetch_once


def fetch_video(address: str, target: Path, limits: ServeLimits) -> None:
    """The bytes at an http(s) address in a file; a VideoError says what stands against it."""
    if not is_address(address):
        raise VideoError(f"{public_name(address)!r} is no address of a video: it must begin with http:// or https://")
    fetched = fetch_once(address, private=None if limits.private else False, most=limits.upload)
    with target.open("wb") as file:
        shutil.copyfileobj(fetched.reader(), file)
