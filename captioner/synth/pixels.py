"""What every painter of pictures needs: how bright a colour is, and cloudy noise."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captioner import video

LUMA = np.array(video.LUMA, np.float32)


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> NDArray[np.float32]:
    """Cloudy noise (height, width) of mean 0 and about unit size, `cells` lumps high."""
    across = max(2, round(cells * width / height))
    coarse = rng.standard_normal((cells + 1, across + 1), dtype=np.float32)
    grown = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(grown, np.float32)
