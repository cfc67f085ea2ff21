"""What the frozen experts look at: crops of the dominant face, or of the whole picture where they ask for that."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from captioner.config import ExpertsConfig
from captioner.data.transforms import prepare
from captioner.data.video import Clip
from captioner.faces import FaceReader, open_reader

READ_SIDE = 360  # short edge in pixels at which faces are sought; small faces need it, more costs time


def expert_crops(clip: Clip, config: ExpertsConfig) -> tuple[Tensor, Tensor | None, int]:
    """Crops (1, T_e, 3, s, s) uint8 of frames spread over the clip, which of them show a face, people in the clip.

    Without a margin in the config, the centre squares of the frames: taken to show a face, and nobody is counted.
    """
    places = np.linspace(0, len(clip.frames) - 1, config.frames).round().astype(int)
    if config.margin is None:
        unique, back = np.unique(places, return_inverse=True)
        return prepare(clip.frames[unique], config.size)[torch.from_numpy(back)][None], None, 0
    reader = _reader(config.reader)
    # Every frame is read, also those not asked for: the closer in time, the surer who is who.
    tracks = reader.read(clip.frames, clip.times.tolist())
    if not tracks:
        nobody = torch.zeros(1, len(places), 3, config.size, config.size, dtype=torch.uint8)
        return nobody, torch.zeros(1, len(places), dtype=torch.bool), 0
    crops = reader.crops(clip.frames, tracks[0], config.size, config.margin)[places]
    shown = torch.from_numpy(tracks[0].present[places])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()[None], shown[None], len(tracks)


@cache
def _reader(name: str) -> FaceReader:
    return open_reader(name)
