"""Emotional video captioning: a video of people in, what happens and what the faces show out.

    import captioner
    model = captioner.load()
    print(model.caption("video.mp4").text)

Nothing heavy is imported before it is used, so that `caption --help` answers at once.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner.files import list_models
from captioner.version import __version__

if TYPE_CHECKING:
    from captioner.inference.background import Failed
    from captioner.inference.emotion_reader import EmotionReader
    from captioner.inference.predictor import Caption, Captioner
    from captioner.inference.tables import to_pandas, to_polars

__all__ = ["Caption", "Captioner", "Failed", "__version__", "list_models", "load", "load_emotion"]
__all__ += ["to_pandas", "to_polars"]

_LAZY = {
    "Caption": "captioner.inference.results",
    "Captioner": "captioner.inference.predictor",
    "Failed": "captioner.inference.background",
    "to_pandas": "captioner.inference.tables",
    "to_polars": "captioner.inference.tables",
}


def load(
    name: str | Path | None = None, device: str = "auto", offline: bool = False, faces: str | None = None
) -> "Captioner":
    """A captioner by shipped name, checkpoint folder or hub repository; the default one without a name.

    `faces` is who finds the faces: builtin, mediapipe or fan; without it, what the captioner was trained with.
    """
    from captioner.inference.predictor import Captioner

    return Captioner.from_pretrained(name, device=device, faces=faces, local_files_only=offline)


def load_emotion(name: str | Path | None = None, device: str = "auto") -> "EmotionReader":
    """A recogniser of emotion by shipped name, kind or folder; the shipped one without a name."""
    from captioner.inference.emotion_reader import EmotionReader

    return EmotionReader.from_pretrained(name, device=device)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'captioner' has no attribute {name!r}")
