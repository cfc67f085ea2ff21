"""The AU expert on whole synthetic clips, as the captioner uses it: through a face reader, then clip by clip.

Axes: C clips, T frames looked at, A main AUs.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.config import ExpertsConfig
from captioner.faces.crops import READ_SIDE, expert_crops
from captioner.model.experts import Experts
from captioner.train.experts.au_net import au_f1, best_thresholds
from captioner.train.experts.clip_frames import Line, clip_lines, frame_labels
from captioner.video.reading import read_clip
from prompts.action_units import MAIN_AUS, UNKNOWN
from prompts.visual import FrozenExperts

log = logging.getLogger(__name__)

FRAMES = 8  # of a clip, as many as the captioner looks at


@dataclass(frozen=True)
class ClipScores:
    """Frame scores (C, T, A), their labels (C, T, A; unknown where no face was found), clip scores and labels (C, A).

    A clip's scores are ExpertFeatures.au_scores, means over each AU's best frames; its labels are its salient AUs.
    """

    frames: Tensor
    frame_labels: Tensor
    clips: Tensor
    clip_labels: Tensor
    present: Tensor
    """Share of the frames in which a face was found."""

    def frame_f1(self, thresholds: Tensor) -> Tensor:
        """F1 (A,) over all frames with a face."""
        return au_f1(self.frames.flatten(0, 1), self.frame_labels.flatten(0, 1), thresholds)

    def clip_f1(self, thresholds: Tensor) -> Tensor:
        """F1 (A,) over clips."""
        return au_f1(self.clips, self.clip_labels, thresholds)

    def clip_thresholds(self) -> Tensor:
        """From which clip score on an AU counts as salient (A,), by these clips."""
        return best_thresholds(self.clips, self.clip_labels)


def score_clips(
    experts: Experts, folder: str | Path, splits: tuple[str, ...], every: int = 1, frames: int = FRAMES
) -> ClipScores:
    """Scores of the clips of these splits; `every`: only those of every n-th person."""
    folder, spec = Path(folder), experts.config
    frozen = FrozenExperts(experts.er, experts.au, spec.mean, spec.std)
    config = ExpertsConfig(frames=frames, size=spec.size, margin=spec.margin)
    columns: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = []
    for line in clip_lines(folder):
        if line["split"] not in splits or int(line["group"].rpartition("_")[2]) % every:
            continue
        clip = read_clip(folder / line["video"], frames, short_side=READ_SIDE)
        faces = expert_crops(clip, config)
        seen = frozen(faces.pixels, faces.shown)
        face = torch.ones(1, frames, dtype=torch.bool) if faces.shown is None else faces.shown
        known = frame_labels(folder, line)
        places = (clip.times * line["fps"]).round().astype(int).clip(0, len(known) - 1)
        labels = torch.from_numpy(known[places]).where(face[0, :, None], UNKNOWN)
        columns.append((seen.au_frames[0], labels, seen.au_scores[0], salient(line, known), face[0].float().mean()))
    return ClipScores(*(torch.stack(column) for column in zip(*columns, strict=True)))


def salient(line: Line, frames: NDArray[np.int8]) -> Tensor:
    """Labels (A,) of a clip with frame labels (T, A): 1 salient, 0 never there, unknown between."""
    there = (frames == 1).any(0)
    return torch.tensor([
        1 if au in line["au_ids"] else UNKNOWN if there[place] else 0 for place, au in enumerate(MAIN_AUS)
    ])  # fmt: skip
