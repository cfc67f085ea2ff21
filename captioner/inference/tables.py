"""Captions and faces as tables: columns by name, and data frames of pandas or polars where they are installed."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from captioner.errors import CaptionerError
from captioner.faces.face_reading import FaceReadings
from captioner.inference.background import Failed
from captioner.inference.results import Caption

Results: TypeAlias = "Caption | Failed | FaceReadings | Iterable[Caption | Failed | list[Caption]]"
COLUMNS = (
    "file", "start", "end", "person", "caption", "score", "emotion", "probability", "action_units", "faces", "error",
)  # fmt: skip


def to_pandas(results: Results) -> Any:
    """A pandas DataFrame with a row a caption (or failure), or a row a face and frame of `model.read`."""
    return _library("pandas").DataFrame(columns_of(results))


def to_polars(results: Results) -> Any:
    """The same as a polars DataFrame."""
    return _library("polars").DataFrame(columns_of(results))


def columns_of(results: Results) -> Mapping[str, Any]:
    """The columns of the table, each a list or an array."""
    if isinstance(results, FaceReadings):
        return results.table()
    rows = [caption_row(each) for each in _flat(results)]
    return {name: [row[name] for row in rows] for name in COLUMNS}


def caption_row(result: Caption | Failed) -> dict[str, Any]:
    """One row: the caption with its likeliest emotion, or the source that has none with the reason."""
    empty: dict[str, Any] = dict.fromkeys(COLUMNS)
    if isinstance(result, Failed):
        return empty | {"file": result.source, "error": result.reason}
    emotion = max(result.emotion, key=result.emotion.__getitem__, default=None)
    units = " ".join(f"AU{unit.id}" for unit in result.action_units)
    return empty | {
        "file": result.source, "start": result.start, "end": result.end, "person": result.person or None,
        "caption": result.text, "score": result.score, "emotion": emotion, "action_units": units,
        "probability": result.emotion[emotion] if emotion else None, "faces": result.faces,
    }  # fmt: skip


def _flat(results: Any) -> Iterator[Caption | Failed]:
    if isinstance(results, Caption | Failed):
        yield results
        return
    if isinstance(results, str | bytes) or not isinstance(results, Iterable):
        raise TypeError(f"captions, or what model.read() returns, make a table, not {type(results).__name__}")
    for each in results:
        yield from _flat(each)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise CaptionerError(f"to_{name}() needs {name}: pip install {name}") from None
