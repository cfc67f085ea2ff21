"""A sound track beside the pictures that `write_video` writes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

BLOCK = 1024  # samples of an AAC packet


class SoundTrack:
    """AAC of one channel: samples float32 (N,) and their rate, written as the pictures advance."""

    def __init__(self, container: Any, wave: NDArray[np.float32], rate: int) -> None:
        self.container, self.wave, self.rate, self.done = container, np.clip(wave, -1, 1).astype(np.float32), rate, 0
        self.stream = container.add_stream("aac", rate=rate)
        self.stream.codec_context.layout = "mono"
        self.stream.codec_context.bit_rate = 64_000 if rate >= 16_000 else 24_000
        self.stream.codec_context.options = {"threads": "1"}

    def write(self, until: float) -> None:
        """Everything before a second that has not been written."""
        while self.done < min(len(self.wave), round(until * self.rate)):
            block = self.wave[self.done : self.done + BLOCK]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block[None]), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = self.rate, self.done, Fraction(1, self.rate)
            self.container.mux(self.stream.encode(frame))
            self.done += len(block)

    def close(self) -> None:
        """The rest, and what the encoder holds back."""
        self.write(len(self.wave) / self.rate)
        self.container.mux(self.stream.encode(None))
