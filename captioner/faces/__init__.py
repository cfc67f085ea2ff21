"""Faces in a clip: found, followed, described by 68 landmarks and by what they do. Three backends, one interface."""

from pathlib import Path

from captioner.errors import unknown
from captioner.faces.points import EXPRESSION_NAMES
from captioner.faces.reader import FaceError, FaceReader, FaceTrack

__all__ = ["BACKENDS", "EXPRESSION_NAMES", "FaceError", "FaceReader", "FaceTrack", "open_reader"]

BACKENDS: tuple[str, ...] = ("builtin", "mediapipe", "fan")


def open_reader(
    name: str = "builtin", offline: bool = False, bundle: str | Path | None = None, dense: bool = False
) -> FaceReader:
    """A face reader: `builtin` (shipped, no download), `mediapipe` or `fan` (pip install "captioner[faces]").

    offline: never fetch anything. bundle: weights to use instead of the backend's own, a file or (builtin) a folder.
    dense: for about ten pictures a second instead of each, or few, of a clip.
    """
    if name not in BACKENDS:
        raise FaceError(unknown("face reader", name, BACKENDS))
    if name == "builtin":
        from captioner.faces.builtin import BuiltinReader
        from captioner.faces.track import DENSE

        return BuiltinReader(bundle, DENSE if dense else None)
    from captioner.faces.backends import FanReader, MediapipeReader

    return MediapipeReader(bundle, offline) if name == "mediapipe" else FanReader(offline)
