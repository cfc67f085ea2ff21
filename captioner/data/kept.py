"""What is computed once a video and kept on disk, one safetensors file each."""

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Generic, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from captioner.files import atomic

log = logging.getLogger(__name__)

T = TypeVar("T")


class Kept(ABC, Generic[T]):
    """Results by video. A file's name is a hash of the video's bytes and the settings (weights among them):

    what changed is computed again, what did not is read.
    """

    def __init__(self, folder: str | Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = Path(folder), json.dumps(settings, sort_keys=True)
        self._paths: dict[Path, Path] = {}

    @abstractmethod
    def compute(self, video: Path) -> T:
        """The result, from the video itself."""

    @abstractmethod
    def pack(self, result: T) -> dict[str, Tensor]:
        """Contiguous tensors of a result by name."""

    @abstractmethod
    def unpack(self, tensors: dict[str, Tensor]) -> T:
        """The inverse of `pack`; a KeyError where something is missing."""

    def path(self, video: Path) -> Path:
        """Where the result for this video is, or will be."""
        if video not in self._paths:
            digest = hashlib.sha256(self.settings.encode())
            with video.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            name = digest.hexdigest()
            self._paths[video] = self.folder / name[:2] / f"{name}.safetensors"
        return self._paths[video]

    def load(self, video: Path) -> T:
        """The result for a video, computed and written if it is not there."""
        path = self.path(video)
        if path.exists():
            try:
                return self.unpack(load_file(path))
            except (SafetensorError, KeyError, OSError):
                log.warning("%s is damaged: computed again", path)
        result = self.compute(video)
        with atomic(path) as temporary:
            save_file(self.pack(result), temporary)
        return result


def weights_hash(module: nn.Module) -> str:
    """A short digest of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
