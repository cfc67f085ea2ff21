"""The windows of a film that an interrupted run has captioned: a file beside the journal, until the film is done."""

from __future__ import annotations

import hashlib
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner.inference.results import (
    AttentionShares,
    AUCurve,
    Belief,
    Caption,
    Evidence,
    Person,
    Picture,
    Portrait,
    restore_caption,
)
from captioner.output.journal import append, file_stamp, open_own, read_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from captioner.faces.face_reading import FaceReadings


class WindowLog:
    """Captions of a source's windows, a line each; those of another file, or made otherwise, are not read."""

    def __init__(self, folder: Path, source: str, made_by: Mapping[str, Any]) -> None:
        name = hashlib.sha256(os.fsencode(source)).hexdigest()[:16]
        self.path = folder / f".caption-{name}.jsonl"
        self.head = {"source": source, "state": file_stamp(source), "made_by": dict(made_by)}

    def load(self, last: bool = True) -> list[Caption]:
        """The captions so far; what a crash has cut off, and without `last` the last window, leave the file too."""
        kept: list[tuple[int, Caption]] = []  # where a line begins, and what it holds
        with open_own(self.path) as file:
            end = len(head) if read_row(head := file.readline()) == self.head else 0
            while end and (caption := _caption_of(read_row(line := file.readline()))):
                kept.append((end, caption))
                end += len(line)
            before = kept[-1][1].start if kept else 0.0
            while kept and not last and kept[-1][1].start == before:
                end = kept.pop()[0]
            file.truncate(end)
        if not end:
            append(self.path, self.head)
        return [caption for _, caption in kept]

    def begin(self) -> None:
        """Forget what an earlier run left."""
        self.remove()
        append(self.path, self.head)

    def add(self, caption: Caption) -> None:
        """One more window; on the disk when this returns."""
        evidence = _record(caption.evidence) if caption.evidence else None
        append(self.path, {"caption": caption.to_dict(), "shot": caption.shot, "evidence": evidence})

    def remove(self) -> None:
        """The film is done."""
        self.path.unlink(missing_ok=True)


def _caption_of(row: Mapping[str, Any]) -> Caption | None:
    """The caption of a line; None for one that another program wrote."""
    try:
        caption = restore_caption(row["caption"])
        caption.shot = float(row["shot"])
        caption.evidence = _restore(row["evidence"]) if row["evidence"] else None
        return caption
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _record(evidence: Evidence) -> dict[str, Any]:
    """Evidence as plain values, its pictures and maps as text."""
    plain: dict[str, Any] = asdict(replace(evidence, readings=None))
    plain["readings"] = _pack_readings(evidence.readings) if evidence.readings is not None else None
    for picture in [*plain["frames"], *plain["portraits"].values()]:
        picture["jpeg"] = b64encode(picture["jpeg"]).decode()
    for row in [*plain["words"], *plain["prompts"]]:
        if row["map"] is not None:
            row["map"] = {"shape": row["map"].shape, "float32": b64encode(row["map"].astype("<f4").tobytes()).decode()}
    return plain


def _restore(plain: dict[str, Any]) -> Evidence:
    return Evidence(
        curves=[
            AUCurve(**each | {"seconds": tuple(each["seconds"]), "values": tuple(each["values"])})
            for each in plain["curves"]
        ],
        kept=plain["kept"],
        emotions=[Belief(**each) for each in plain["emotions"]],
        people=[
            Person(each["captioned"], [tuple(box) if box else None for box in each["boxes"]])
            for each in plain["people"]
        ],
        seconds=plain["seconds"],
        frames=[Picture(**each | {"jpeg": b64decode(each["jpeg"])}) for each in plain["frames"]],
        portraits={
            int(au): Portrait(each["second"], b64decode(each["jpeg"]), [(x, y) for x, y in each["landmarks"]])
            for au, each in plain["portraits"].items()
        },
        words=[_shares(each) for each in plain["words"]],
        prompts=[_shares(each) for each in plain["prompts"]],
        square=plain["square"],
        readings=_unpack_readings(plain["readings"]) if plain["readings"] else None,
    )


def _pack_readings(readings: FaceReadings) -> dict[str, Any]:
    """Readings as plain values, their arrays as text."""
    people = [{each.name: _packed(getattr(one, each.name)) for each in fields(one)} for one in readings]
    return {each.name: getattr(readings, each.name) for each in fields(readings)} | {"people": people}


def _packed(value: Any) -> Any:
    if not hasattr(value, "dtype"):
        return value
    return {"shape": value.shape, "kind": value.dtype.str, "array": b64encode(value.tobytes()).decode()}


def _unpack_readings(plain: Mapping[str, Any]) -> FaceReadings:
    """What `_pack_readings` made plain."""
    from captioner.faces.face_reading import FaceReading, FaceReadings

    people = tuple(FaceReading(**{name: _unpacked(value) for name, value in one.items()}) for one in plain["people"])
    return FaceReadings(**{name: _tuple(value) for name, value in plain.items()} | {"people": people})


def _unpacked(value: Any) -> Any:
    import numpy as np

    if not isinstance(value, dict):
        return _tuple(value)
    array: NDArray[Any] = np.frombuffer(b64decode(value["array"]), value["kind"]).reshape(value["shape"])
    return array


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _shares(plain: dict[str, Any]) -> AttentionShares:
    import numpy as np

    held = plain["map"]
    shares = None if held is None else np.frombuffer(b64decode(held["float32"]), "<f4").reshape(held["shape"])
    return AttentionShares(plain["name"], plain["words"], plain["prompts"], plain["video"], shares)
