"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Counters:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.captions = Counter("captioner_captions", "Videos by outcome", ["outcome"], registry=self.registry)
        self.refused = Counter("captioner_refused", "Requests refused, by status", ["status"], registry=self.registry)
        self.bytes = Counter("captioner_upload_bytes", "Bytes of videos taken", registry=self.registry)
        self.waiting = Gauge("captioner_waiting", "Videos waiting", registry=self.registry)
        self.seconds = Histogram(
            "captioner_work_seconds", "Seconds of work on a video", registry=self.registry,
            buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
        )  # fmt: skip

    def text(self) -> bytes:
        """All of them, in Prometheus' format."""
        return generate_latest(self.registry)
