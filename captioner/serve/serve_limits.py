"""What a server accepts: how large, how long, how many, and from whom."""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServeLimits:
    """Limits of one server; the defaults suit one person's machine."""

    upload: int = 500_000_000
    """Bytes of a video."""
    stall: float = 30.0
    """Seconds without a byte after which an upload is given up."""
    film: float = 7200.0
    """Seconds of a video."""
    work: float = 3600.0
    """Seconds of work on a video."""
    queue: int = 32
    """Videos waiting or arriving; one more is told to come again."""
    kept: int = 100
    """Finished captions that are kept in memory, without their videos."""
    grace: float = 5.0
    """Seconds after which work is called off whose page was closed."""
    token: str = ""
    """What a request must carry; "": nothing, for this machine alone."""
    addresses: bool = True
    """Whether videos are fetched from addresses."""
    private: bool = False
    """Whether such an address may be of this machine or its network."""
    hosts: tuple[str, ...] = LOOPBACK
    """Names under which requests may come; empty: any."""
