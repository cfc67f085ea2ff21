"""Pickled feature files of CMU-MOSI and CMU-MOSEI as safetensors. Nothing in a pickle is run: its numbers are read out.

    {"train": {"text": (N, 50, 768), "audio": (N, 50, 5), "vision": (N, 50, 20), "regression_labels": (N,),
               "raw_text": (N,), "id": (N,), ...}, "valid": ..., "test": ...}      aligned_50.pkl of the MMSA toolkit
    the older manner has "labels" (N, 1, 1), and ids (N, 3) of a video and its seconds

A pickle is a small program. Only what builds dictionaries, lists, text, numbers and numpy's arrays of them is known
here, by stand-ins of our own; any other name in it is refused before it is looked up.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from captioner.errors import ManifestError
from captioner.files import atomic

SPLITS = {"train": "train", "valid": "val", "test": "test"}
MODALITIES = ("text", "audio", "vision")
LABELS = ("regression_labels", "labels")
_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_PLAIN_KINDS = "biufUSO"


class _Array:
    """What numpy's arrays say of themselves in a pickle; nothing of numpy is called with it."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self) -> Any:
        """The array, of numbers or of text."""
        _, shape, kind, fortran, data = self.state
        if kind.name.kind == "O":
            return np.array([_settled(item) for item in data], dtype=object).reshape(shape)
        array: NDArray[Any] = np.frombuffer(data, kind.name).reshape(shape, order="F" if fortran else "C")
        return array


class _Kind:
    """A dtype by its letters."""

    def __init__(self, name: str = "", *_: Any) -> None:
        self.name = np.dtype(str(name))
        if self.name.kind not in _PLAIN_KINDS:
            raise pickle.UnpicklingError(f"an array of kind {name!r}")

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.name = self.name.newbyteorder(state[1])


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, kind: _Kind, shape: Any, order: str) -> Any:
    """An array of pickle protocol 5."""
    return np.frombuffer(bytes(data), kind.name).reshape(shape, order=order)  # type: ignore[call-overload]


def _scalar(kind: _Kind, data: bytes) -> Any:
    return np.frombuffer(data, kind.name)[0]


_KNOWN: dict[str, Any] = {"_reconstruct": _reconstruct, "ndarray": _Array, "dtype": _Kind, "scalar": _scalar,
                          "_frombuffer": _from_buffer}  # fmt: skip


class _Reader(pickle.Unpickler):
    """An unpickler that knows our stand-ins and no name besides."""

    def find_class(self, module: str, name: str) -> Any:
        if module in _NUMPY and name in _KNOWN:
            return _KNOWN[name]
        if (module, name) == ("_codecs", "encode"):  # how old protocols write bytes
            return lambda text, encoding="latin1": str(text).encode("latin1")
        raise pickle.UnpicklingError(f"it wants {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside")


def read_toolkit_pickle(path: str | Path) -> dict[str, dict[str, Any]]:
    """Split -> what it holds by name, arrays and lists; a pickle with anything else in it is refused in one line."""
    path = Path(path)
    try:
        whole = _settled(_Reader(io.BytesIO(path.read_bytes())).load())
    except OSError as error:
        raise ManifestError(f"{str(path)!r} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except Exception as error:  # a broken pickle raises whatever it runs into
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ManifestError(
            f"{path} is no pickle of plain numbers and text ({reason}); only feature files of CMU-MOSI and CMU-MOSEI "
            "are read"
        ) from None
    if not isinstance(whole, dict) or not all(isinstance(whole.get(split), dict) for split in SPLITS):
        raise ManifestError(f"{path} is no feature file of CMU-MOSI or CMU-MOSEI: it must map train, valid and test")
    return {SPLITS[name]: whole[name] for name in SPLITS}


def convert_toolkit(path: str | Path, out: str | Path) -> dict[str, int]:
    """Write the numbers of a feature file as safetensors, ids and words as its metadata; clips by split."""
    parts = read_toolkit_pickle(path)
    tensors: dict[str, NDArray[Any]] = {}
    texts: dict[str, list[str]] = {}
    counts = {}
    for split, held in parts.items():
        labels = next((held[name] for name in LABELS if name in held), None)
        if labels is None:
            raise ManifestError(f"{path} lacks {split}.{LABELS[0]}")
        values = _numbers(labels, f"{path}: {LABELS[0]} of {split}")
        counts[split] = len(values)
        if values.size != len(values):
            raise ManifestError(
                f"{path}: {LABELS[0]} of {split} has the shape {values.shape}: one number a clip is needed"
            )
        tensors[f"{split}.{LABELS[0]}"] = values.reshape(-1)
        for name in (each for each in MODALITIES if each in held):
            array = _numbers(held[name], f"{path}: {name} of {split}")
            _check_count(path, name, split, len(array), len(values))
            tensors[f"{split}.{name}"] = array
        for name in (each for each in ("id", "raw_text") if each in held):
            rows = held[name].tolist() if isinstance(held[name], np.ndarray) else held[name]
            if not isinstance(rows, list):
                raise ManifestError(f"{path}: {name} of {split} is no list")
            _check_count(path, name, split, len(rows), len(values))
            texts[f"{split}.{name}"] = [_as_text(row, f"{path}: {name} of {split}") for row in rows]
    with atomic(out) as temporary:
        save_file(tensors, temporary, {"texts": json.dumps(texts)})
    return counts


def _numbers(value: Any, where: str) -> NDArray[np.float32]:
    """An array (N, ...) of finite numbers, from an array or a list of numbers or arrays."""
    deep = isinstance(value, list) and any(isinstance(item, list | dict) for item in value)
    try:
        array = np.asarray(None if deep else value)
    except ValueError:  # arrays of unequal shapes
        array = np.asarray(None)
    if array.dtype.kind not in "biuf" or not array.ndim:
        raise ManifestError(f"{where} holds no array of numbers")
    return np.ascontiguousarray(np.nan_to_num(array, posinf=0.0, neginf=0.0), np.float32)


def _check_count(path: str | Path, name: str, split: str, there: int, wanted: int) -> None:
    if there != wanted:
        raise ManifestError(
            f"{path}: {name} of {split} has {there} rows for {wanted} clips: the file is cut or mixed up"
        )


def _as_text(row: Any, where: str) -> str:
    """An id or a sentence; of an id in parts, all of them."""
    parts = row if isinstance(row, list) else [row]
    if any(isinstance(part, list | dict) for part in parts):
        raise ManifestError(f"{where} holds no texts")
    return "$_$".join(part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in parts)


def _settled(value: Any, known: dict[int, Any] | None = None) -> Any:
    """Stand-ins, at any depth, as what they stand for; what is referred to often is settled once."""
    known = {} if known is None else known
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, _Array):
        found = value.value()
    elif isinstance(value, Mapping):
        found = {str(key): _settled(item, known) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        found = [_settled(item, known) for item in value]
    else:
        return value
    known[id(value)] = found
    return found
