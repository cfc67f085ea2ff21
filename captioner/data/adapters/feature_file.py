"""Ready features of CMU-MOSI and CMU-MOSEI in one safetensors file, as scripts/convert.py opinions writes it.

    {train, val, test}.{text, audio, vision}    (N, F, C), padded with zeros        .regression_labels (N,)
    metadata "texts": JSON of SIDE.id and SIDE.raw_text

Clips are read one by one; the file may be larger than the memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from captioner.data.adapters.layout import LayoutError
from captioner.data.adapters.toolkit_features import LABELS, MODALITIES
from captioner.data.manifest import SPLITS, Record
from captioner.emotion.mer_clip.mer_clip_config import SENTIMENTS
from captioner.model.weights import read_header

SUFFIX = ".safetensors"


def is_feature_file(root: str | Path) -> bool:
    """Whether a data set's root is a file of ready features; a pickle is refused."""
    path = Path(root)
    if path.suffix.lower() in (".pkl", ".pickle", ".pt", ".npy") and path.is_file():
        raise LayoutError(
            f"{path} is no safetensors file: convert a pickle first, scripts/convert.py opinions {path.name} "
            f"--out {path.stem}{SUFFIX}"
        )
    return path.suffix.lower() == SUFFIX and path.is_file()


class FeatureFile:
    """The features of a file; `shapes` are frames and width (F, C) of each modality that it has."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        header = read_header(self.path)
        self.counts: dict[str, int] = {}
        for side in SPLITS:
            labels = header.get(f"{side}.{LABELS[0]}")
            if labels is None or labels.ndim != 1:
                raise LayoutError(
                    f"{path} holds no {side}.{LABELS[0]}: make it by scripts/convert.py opinions FILE.pkl"
                )
            self.counts[side] = len(labels)
        self.shapes = {name: self._shape(header, name) for name in MODALITIES if f"train.{name}" in header}
        self.file: Any = safe_open(str(path), framework="pt")
        self.texts = self._texts()

    def row(self, name: str, side: str, place: int) -> Tensor:
        """The features (F, C) of a clip."""
        found: Tensor = self.file.get_slice(f"{side}.{name}")[place : place + 1]
        return found.float().reshape(self.shapes[name])

    def records(self) -> list[Record]:
        """The clips with their opinions and words; `extra.row` is a clip's place on its side."""
        found = []
        for side, count in self.counts.items():
            values = self.file.get_tensor(f"{side}.{LABELS[0]}").tolist()
            ids = self.texts.get(f"{side}.id") or [f"{side}{place}" for place in range(count)]
            words = self.texts.get(f"{side}.raw_text") or [""] * count
            for place, (key, value) in enumerate(zip(ids, values, strict=True)):
                if not -3 <= value <= 3:
                    raise LayoutError(f"{self.path}: label {value:g} of {key} is no number from -3 to 3")
                extra = {"value": value, "transcript": words[place], "row": place}
                label, group = SENTIMENTS[round(value) + 3], key.partition("$_$")[0]
                found.append(Record(key, self.path, side, emotion=label, group=group, extra=extra))
        return found

    def _shape(self, header: dict[str, Tensor], name: str) -> tuple[int, int]:
        """Frames and width, the same on all sides; of one vector a clip one frame."""
        shapes = set()
        for side, count in self.counts.items():
            tensor = header.get(f"{side}.{name}")
            if tensor is None or tensor.ndim not in (2, 3) or len(tensor) != count:
                told = "is missing" if tensor is None else f"has the shape {tuple(tensor.shape)}"
                raise LayoutError(f"{self.path}: {side}.{name} {told}: ({count}, frames, width) is needed")
            shapes.add((tensor.shape[1] if tensor.ndim == 3 else 1, tensor.shape[-1]))
        if len(shapes) > 1:
            raise LayoutError(f"{self.path}: {name} differs from side to side: {sorted(shapes)}")
        return next(iter(shapes))

    def _texts(self) -> dict[str, list[str]]:
        """Ids and words, as many as there are clips."""
        try:
            texts = json.loads((self.file.metadata() or {}).get("texts", "{}"))
            for name, rows in texts.items():
                if len(rows) != self.counts[name.split(".")[0]] or not all(isinstance(row, str) for row in rows):
                    raise ValueError(name)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise LayoutError(f"{self.path}: its texts are damaged: convert the pickle again") from None
        return dict(texts)
