"""What a captioner takes for a video, and one clear line for what it does not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch

VideoLike: TypeAlias = str | Path | BinaryIO | np.ndarray | torch.Tensor
_WANTED = "a path, an address, a file opened with 'rb', or frames uint8 (T, H, W, 3)"


def checked(source: Any) -> Any:
    """The source, pictures of other libraries as frames; a TypeError says what was given and what to give."""
    if isinstance(source, str | Path | np.ndarray | torch.Tensor):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        raise TypeError("a video is given as bytes: wrap them, io.BytesIO(data)")
    if isinstance(source, io.TextIOBase):
        raise TypeError("a file was opened as text: open it with 'rb'")
    if hasattr(source, "read"):
        return source
    if hasattr(source, "__array_interface__"):  # a picture of PIL
        return np.asarray(source)
    hint = "; give a list for several" if isinstance(source, set | dict) or hasattr(source, "__next__") else ""
    raise TypeError(f"a video is {_WANTED}, not {type(source).__name__}{hint}")
