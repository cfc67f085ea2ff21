"""Real face photos as grey pictures with the frame in which an expert sees each face.

FER+ (48 px, ten votes a picture) and folders of annotated portraits. Axes: N pictures, B batch, S side.
"""

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn

from captioner.errors import ManifestError
from captioner.faces.crops import MARGIN
from captioner.faces.points import MESH_68
from captioner.faces.reader import upright_maps
from captioner.files import missing
from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.synth.photo.photo_set import PhotoSet
from captioner.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from prompts.backbones import FACE_WINDOW, FaceNet

# Left eye, right eye and mouth in such a crop, in sides: the picture's left.
ALIGNED = ((0.35, 0.35), (0.65, 0.35), (0.5, 0.665))
VOTES: tuple[str, ...] = (*FERPLUS_LABELS, "unknown", "not_a_face")
PORTRAIT_SIDE = 96
_NO_BLENDSHAPES = -1.0
Table = TypeVar("Table")  # a dataclass of tensors that have a row each for every picture
_NOTES = "split votes found landmarks68 blendshapes blendshape_names"


@dataclass(frozen=True)
class FacePictures:
    """Grey pictures uint8 (N, H, W), frames (N, 2, 3), emotion shares (N, 8), blendshapes (N, 52), persons (N,).

    A frame takes fractions of the aligned crop (x, y, 1) to fractions of the picture. Shares sum to 1, or to 0
    where nobody named an emotion. Blendshapes are those of both sides' mean, and -1 where the teacher saw no face.
    """

    pixels: Tensor
    frames: Tensor
    shares: Tensor
    blendshapes: Tensor
    persons: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: str) -> "FacePictures":
        """The same on a device."""
        return FacePictures(**{name: value.to(device) for name, value in vars(self).items()})

    def take(self, rows: Tensor) -> "FacePictures":
        """Those rows."""
        return FacePictures(**{name: value[rows] for name, value in vars(self).items()})


def join_tables(parts: Sequence[Table]) -> Table:
    """Several tables of tensors of one kind as one."""
    return type(parts[0])(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def read_ferplus(folder: str | Path, split: int) -> tuple[FacePictures, Tensor]:
    """The pictures of a part of FER+ (0 train, 1 validation), and all their ten votes (N, 10)."""
    folder = Path(folder)
    notes, files = _arrays(folder / "annotations.npz"), _arrays(folder / "images.npz")
    _require(folder / "annotations.npz", notes, _NOTES.split())
    _require(folder / "images.npz", files, ["data", "offsets"])
    rows = np.flatnonzero(notes["split"] == split).tolist()
    data, offsets = files["data"], files["offsets"]
    pixels = np.stack([_decode(data[offsets[i] : offsets[i + 1]], folder, i) for i in rows])
    found = torch.from_numpy(notes["found"][rows].astype(bool))
    points = torch.from_numpy(notes["landmarks68"][rows].astype(np.float32))
    frames = torch.where(found[:, None, None], align(points), whole_frames(len(rows)))
    votes = torch.from_numpy(notes["votes"][rows].astype(np.float32))
    shapes = torch.from_numpy(notes["blendshapes"][rows].astype(np.float32))
    shapes = torch.where(found[:, None], both_sides(shapes, notes["blendshape_names"].tolist()), _NO_BLENDSHAPES)
    return FacePictures(torch.from_numpy(pixels), frames, vote_shares(votes), shapes, torch.arange(len(rows))), votes


def read_portraits(folder: str | Path, split: int, side: int = PORTRAIT_SIDE) -> FacePictures:
    """The portraits of a part (0 train, 1 val, 2 test) of a folder of annotated photos, `side` pixels wide."""
    photos = PhotoSet(folder)
    rows = np.flatnonzero(np.asarray(photos.table["split"]) == split)
    pixels, frames, emotions = [], [], torch.zeros(len(rows), len(FERPLUS_LABELS))
    for place, row in enumerate(rows):
        photo = photos.photo(int(row))
        scale = torch.tensor([photo.image.shape[1], photo.image.shape[0]], dtype=torch.float32)
        small = Image.fromarray(photo.image).convert("L").resize((side, side), Image.Resampling.BOX)
        pixels.append(np.asarray(small))
        frames.append(align(torch.from_numpy(photo.landmarks[None, list(MESH_68), :2]) / scale))
        if photo.emotion in FERPLUS_LABELS:
            emotions[place, FERPLUS_LABELS.index(photo.emotion)] = 1
    shapes = torch.from_numpy(np.asarray(photos.table["blendshapes"][rows], np.float32))
    shapes = both_sides(shapes, photos.blendshape_names)
    persons = torch.from_numpy(np.asarray(photos.table["person"][rows], np.int64))
    return FacePictures(torch.from_numpy(np.stack(pixels)), torch.cat(frames), emotions, shapes, persons)


def vote_shares(votes: Tensor) -> Tensor:
    """Shares (N, 8) of the emotions among the votes (N, 10); a lone vote counts as a slip.

    All zero where most annotators saw no emotion they could name, or no face.
    """
    heard = torch.where(votes > 1, votes, 0.0)
    useless = heard[:, 8:].amax(1) >= heard[:, :8].amax(1)
    emotions = torch.where(useless[:, None], 0.0, heard[:, :8])
    return emotions / emotions.sum(1, keepdim=True).clamp(min=1)


def both_sides(shapes: Tensor, names: Sequence[str]) -> Tensor:
    """Blendshapes (N, 52) with the mean of left and right in both: a mirrored picture keeps them."""
    other, place = {"Left": "Right", "Right": "Left"}, {name: i for i, name in enumerate(names)}
    swapped = [re.sub("(Left|Right)$", lambda side: other[side[0]], name) for name in names]
    return (shapes + shapes[:, [place.get(name, i) for i, name in enumerate(swapped)]]) / 2


def majority(votes: Tensor, most: bool = True) -> Tensor:
    """The emotion (N,) that more than half of the votes (N, 10) name; -1: there is none.

    The usual protocol of FER+: lone votes are slips and do not count. With `most` false a tie-free lead is enough.
    """
    heard = torch.where(votes > 1, votes, 0.0)
    top = heard.topk(2, dim=1)
    clear = top.values[:, 0] * 2 > heard.sum(1) if most else top.values[:, 0] > top.values[:, 1]
    return torch.where(clear & (top.indices[:, 0] < len(FERPLUS_LABELS)), top.indices[:, 0], -1)


def align(points: Tensor) -> Tensor:
    """Frames (N, 2, 3) of faces with these 68 landmarks (N, 68, 2), as a face reader would crop them."""
    maps = upright_maps(points.numpy(), MARGIN)  # from crop sides off the crop's centre
    matrix = maps[:, :, :2]
    return torch.cat([matrix, maps[:, :, 2:] - matrix.sum(-1, keepdim=True) / 2], 2)


def whole_frames(count: int) -> Tensor:
    """Frames (N, 2, 3) in which the emotion net sees the whole picture."""
    left, top, side = FACE_WINDOW
    return torch.tensor([[1 / side, 0, -left / side], [0, 1 / side, -top / side]]).expand(count, 2, 3)


def cut_pictures(
    pixels: Tensor, frames: Tensor, size: int, window: tuple[float, float, float] = (0.0, 0.0, 1.0)
) -> Tensor:
    """Crops (B, 1, size, size) in [0, 1] of uint8 pictures (B, H, W); of each only a window: left, top, side."""
    left, top, side = window
    steps = (torch.arange(size, device=pixels.device) + 0.5) / size * side
    y, x = torch.meshgrid(steps + top, steps + left, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], -1).view(1, -1, 3)  # (1, S * S, 3)
    grid = (places @ frames.transpose(1, 2)).view(-1, size, size, 2) * 2 - 1
    return F.grid_sample(pixels[:, None].float() / 255, grid, padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class CropView:
    """How a net sees aligned crops: `side` pixels, of which window of them, in grey or as normalised colour."""

    side: int
    window: tuple[float, float, float] = (0.0, 0.0, 1.0)
    grey: bool = True

    def cut(self, pixels: Tensor, frames: Tensor) -> Tensor:
        """Grey crops (B, 1, side, side) in [0, 1]; pixels uint8 (B, H, W), frames (B, 2, 3)."""
        return cut_pictures(pixels, frames, self.side, self.window)

    def show(self, crops: Tensor) -> Tensor:
        """What the net takes for grey crops (B, 1, side, side)."""
        if not self.grey:
            crops = (crops - crops.new_tensor(IMAGENET_MEAN).view(3, 1, 1)) / crops.new_tensor(IMAGENET_STD).view(
                3, 1, 1
            )
        return crops.contiguous(memory_format=torch.channels_last)


def view_of(backbone: nn.Module, size: int) -> CropView:
    """The view of a net: its own if it is a FaceNet, else the whole crop at `size` pixels."""
    if isinstance(backbone, FaceNet):
        return CropView(backbone.side, backbone.window)
    return CropView(size, grey=False)


def _decode(data: NDArray[np.uint8], folder: Path, number: int) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data.tobytes())) as picture:
            return np.asarray(picture.convert("L"))
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise ManifestError(f"picture {number} of {folder} cannot be read: {str(error).splitlines()[0]}") from None


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise ManifestError(f"{missing(path)}; FER+ is a folder with images.npz and annotations.npz")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ManifestError(f"{path} cannot be read as npz: {str(error).splitlines()[0]}") from None


def _require(path: Path, arrays: dict[str, NDArray[Any]], names: list[str]) -> None:
    if absent := [name for name in names if name not in arrays]:
        raise ManifestError(f"{path} lacks {', '.join(absent)}; it has {', '.join(sorted(arrays)) or 'nothing'}")
