"""The built-in reader: our own networks, shipped with the package; needs nothing but torch and numpy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from captioner.errors import CheckpointError
from captioner.faces.landmarks import Landmarker
from captioner.faces.nets import CropNet, CropNetConfig, Finder, FinderConfig, fold_norms
from captioner.faces.people import sort_out
from captioner.faces.points import NETWORK_NAMES, with_means
from captioner.faces.reader import FaceReader, Follower, Sighting
from captioner.faces.track import Rules, Tracker, paced
from captioner.files import SHIPPED, missing, read_object
from captioner.video import LUMA

WEIGHTS = SHIPPED / "faces"
DENSE_FINDER = "dense_finder.safetensors"  # in the folder, where dense reading has a finder of its own
_LUMA = np.array(LUMA, np.float32)


@dataclass(frozen=True)
class Parts:
    """The networks of a weights folder, ready to use."""

    finder: Finder
    landmarker: Landmarker


class BuiltinReader(FaceReader):
    """Finds faces every few frames, follows them by their landmarks in between."""

    name = "builtin"

    def __init__(self, folder: str | Path | None = None, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.parts = load_parts(WEIGHTS if folder is None else Path(folder), dense=self.rules.strict)

    def follower(self, times: NDArray[np.float64] | None = None, still: bool = False) -> Follower:
        """Who takes frames of one clip, at about these seconds; `still`: there will be one only."""
        return BuiltinFollower(Tracker(self.parts.finder, self.parts.landmarker, paced(self.rules, times), still))


class BuiltinFollower(Follower):
    """A tracker that is shown frames of bytes."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    @torch.inference_mode()
    def step(self, frame: NDArray[np.uint8]) -> Sequence[Sighting]:
        """Whoever is followed after the next frame (H, W, 1 or 3)."""
        self.tracker.step(as_grey(frame))
        return self.tracker.live

    def finish(self) -> list[Sighting]:
        """Everybody seen, without fleeting errors."""
        tracker = self.tracker
        if tracker.rules.strict:
            people = sort_out(tracker.everything(), tracker.rules, tracker.frame + 1, tracker.cuts)
        else:
            people = tracker.finish()
        return _described(people)

    def between(self, first: int, last: int) -> list[Sighting]:
        """Everybody seen in these frames, judged by them."""
        tracker = self.tracker
        return _described(sort_out(tracker.between(first, last), tracker.rules, last - first + 1, tracker.cuts))

    def forget(self, before: int) -> None:
        """Nobody will ask for the frames before this one."""
        self.tracker.forget(before)


def _described(people: Sequence[Sighting]) -> list[Sighting]:
    """The people, their values named by EXPRESSION_NAMES."""
    for seen in people:
        seen.values = list(with_means(np.stack(seen.values)))
    return [*people]


def as_grey(frame: NDArray[np.uint8]) -> Tensor:
    """A frame (H, W, 1 or 3) as grey floats (H, W), 0..255."""
    if frame.shape[2] == 1:
        return torch.from_numpy(frame[..., 0].astype(np.float32))
    return torch.from_numpy(frame.astype(np.float32) @ _LUMA)


def load_parts(folder: Path, dense: bool = False) -> Parts:
    """The networks in a folder with config.json and model.safetensors; a CheckpointError says what does not fit.

    dense: with the finder of dense reading where the folder has one.
    """
    config_path, model_path = folder / "config.json", folder / "model.safetensors"
    for path in (config_path, model_path):
        if not path.is_file():
            raise CheckpointError(f"{missing(path)}; a face reader's folder has config.json and model.safetensors")
    try:
        config = read_object(config_path)
        tensors = {name: value.float() for name, value in load_file(model_path).items()}
        tensors = _in_own_order(tensors, config["names"])
        if dense and (folder / DENSE_FINDER).is_file():
            own = load_file(folder / DENSE_FINDER)
            tensors |= {f"finder.{name}": value.float() for name, value in own.items()}
        finder = Finder(FinderConfig(**_tuples(config["finder"])))
        crop_net = CropNet(CropNetConfig(**_tuples(config["aligned"])))
        for name, net in (("finder", finder), ("aligned", crop_net)):
            net.load_state_dict({k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")})
        template, likeness = tensors["template"], (tensors["likeness.mean"], tensors["likeness.projection"])
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder} holds no face reader: {str(error).splitlines()[0]}") from None
    for net in (finder, crop_net):
        fold_norms(net.eval()).to(memory_format=torch.channels_last)
    return Parts(finder, Landmarker(crop_net, template, likeness))


def _in_own_order(tensors: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    """The rows of the face values, stored in the order of `names`, where NETWORK_NAMES has them."""
    if odd := set(names) ^ set(NETWORK_NAMES):
        raise ValueError(f"config.json and this version name different values: {', '.join(sorted(odd))}")
    rows = torch.tensor([names.index(name) for name in NETWORK_NAMES])
    heads = ("aligned.values.", "aligned.refine.2.")  # the second has the points' rows after those of the values
    return {
        key: torch.cat([value[rows], value[len(rows) :]]) if key.startswith(heads) else value
        for key, value in tensors.items()
    }


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
