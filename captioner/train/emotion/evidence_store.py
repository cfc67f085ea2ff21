"""Evidence of videos as recognisers want it, kept on disk: several recognisers of equal wants look once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from captioner.config import ExpertsConfig
from captioner.emotion.contract import Evidence, Wants
from captioner.emotion.looking import look
from captioner.faces.crops import reader_version
from captioner.store import Kept

FORMAT = 1


class EvidenceStore(Kept[Evidence]):
    """Pictures and persons of whole videos, one entry a video; sound and words are not kept."""

    name = "evidence"

    def __init__(self, folder: str | Path, wants: Wants) -> None:
        self.wants = wants
        settings = {"format": FORMAT, "wants": asdict(wants)}
        super().__init__(folder, settings | ({"reader": reader_version(ExpertsConfig())} if wants.reads_faces else {}))

    def compute(self, video: Path) -> Evidence:
        """From the whole video."""
        return look(video, self.wants)

    def pack(self, result: Evidence) -> dict[str, Tensor]:
        """What is there, by name."""
        named = {"frames": result.frames, "times": result.times, "persons": result.persons}
        span = torch.tensor([result.start, result.end], dtype=torch.float64)
        return {"span": span} | {name: value.contiguous() for name, value in named.items() if value is not None}

    def unpack(self, tensors: dict[str, Tensor]) -> Evidence:
        """The inverse of `pack`."""
        start, end = tensors["span"].tolist()
        return Evidence(start, end, tensors.get("frames"), tensors.get("times"), tensors.get("persons"))
