"""Pickled feature files of the MMSA toolkit as safetensors. Nothing in a pickle is run: its numbers are read out.

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
TENSORS = ("text", "audio", "vision", "regression_labels")
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
            f"{path} is no pickle of plain numbers and text ({reason}); only feature files of the MMSA toolkit are read"
        ) from None
    if not isinstance(whole, dict) or not all(isinstance(whole.get(split), dict) for split in SPLITS):
        raise ManifestError(f"{path} is no feature file of the MMSA toolkit: it must map train, valid and test")
    return {SPLITS[name]: whole[name] for name in SPLITS}


def convert_toolkit(path: str | Path, out: str | Path) -> dict[str, int]:
    """Write the numbers of a feature file as safetensors, ids and words as its metadata; clips by split."""
    parts = read_toolkit_pickle(path)
    tensors: dict[str, NDArray[Any]] = {}
    texts: dict[str, Any] = {}
    for split, held in parts.items():
        for name in TENSORS:
            if name in held:
                array = np.asarray(held[name])
                if array.dtype.kind not in "biuf":
                    raise ManifestError(f"{path}: {name} of {split} holds no numbers")
                finite = np.nan_to_num(array, posinf=0.0, neginf=0.0)
                tensors[f"{split}.{name}"] = np.ascontiguousarray(finite, np.float32)
        for name in ("id", "raw_text"):
            texts[f"{split}.{name}"] = [str(item) for item in np.asarray(held.get(name, [])).ravel().tolist()]
    missing = [f"{split}.regression_labels" for split in parts if f"{split}.regression_labels" not in tensors]
    if missing:
        raise ManifestError(f"{path} lacks {', '.join(missing)}")
    with atomic(out) as temporary:
        save_file(tensors, temporary, {"texts": json.dumps(texts)})
    return {split: len(tensors[f"{split}.regression_labels"]) for split in parts}


def _settled(value: Any) -> Any:
    """Stand-ins, at any depth, as what they stand for."""
    if isinstance(value, _Array):
        return value.value()
    if isinstance(value, Mapping):
        return {str(key): _settled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_settled(item) for item in value]
    return value
