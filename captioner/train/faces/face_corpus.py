"""The annotated photos and FER+ pictures as the landmark network's training data.

N photos, E values named by points.NETWORK_NAMES.
"""

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from captioner.data.manifest import SPLITS
from captioner.faces import warp
from captioner.faces.backends import MediapipeReader
from captioner.faces.nets import standardise
from captioner.faces.points import BLENDSHAPES, MESH_68, MESH_IRIS, MIRROR_68, NETWORK_NAMES, geometry, mirror_order
from captioner.files import atomic
from captioner.synth.photo.photo_set import PhotoSet
from captioner.train.faces import face_augment
from captioner.train.faces.face_augment import CropBatch, FaceTable, Jitter


class Corpus:
    """Photos of one split (and FER+ pictures for training) ready to be drawn in batches."""

    def __init__(
        self, photos: PhotoSet, ferplus: Path | None, template: Tensor | None = None, posed: Path | None = None
    ) -> None:
        table = photos.table
        train = np.flatnonzero(table["split"] == 0)
        marks = torch.from_numpy(table["landmarks"][train].astype(np.float32))
        self.template = face_augment.mean_shape(marks[:, list(MESH_68), :2]) if template is None else template
        raw = self.raw_values(photos, train)
        self.mean, self.deviation = raw.mean(0), raw.std(0) + 1e-4
        self.photos = photos
        self.train = self.faces(train)
        mesh = self.train.points[:, :, :2].mean(0)
        mirror = torch.cdist(mesh * torch.tensor([-1.0, 1.0]), mesh).argmin(1)
        mirror[list(MESH_68)] = torch.tensor([MESH_68[i] for i in MIRROR_68])
        self.mirror = mirror
        self.mirror_values = torch.tensor(mirror_order(NETWORK_NAMES))
        self.ferplus = None if ferplus is None else self.read_ferplus(ferplus)
        self.posed = None if posed is None else self.read_posed(posed)

    def raw_values(self, photos: PhotoSet, rows: NDArray[np.int64]) -> Tensor:
        """NETWORK_NAMES (N, E) as the teacher sees them, not standardised."""
        shapes = np.stack([photos.blendshape(name)[rows] for name in BLENDSHAPES], 1)
        marks = photos.table["landmarks"][rows].astype(np.float32)[:, list(MESH_68), :2]
        return self.values(torch.from_numpy(shapes), torch.from_numpy(marks), photos.angles()[rows])

    @staticmethod
    def values(shapes: Tensor, marks: Tensor, angles: NDArray[np.floating]) -> Tensor:
        """NETWORK_NAMES (N, E) from blendshapes (N, 41), points (N, 68, 2) and angles (N, 2) in degrees."""
        return torch.cat([shapes, torch.stack(geometry(marks), 1), torch.from_numpy(angles / 30.0).float()], 1)

    def faces(self, rows: NDArray[np.int64]) -> FaceTable:
        """The photos of some rows with everything the networks learn from them."""
        images = torch.from_numpy(np.stack([_grey(self.photos.photo(int(row)).image) for row in rows]))
        points = torch.from_numpy(self.photos.table["landmarks"][rows].astype(np.float32)) * images.shape[-1]
        turned = torch.from_numpy(np.abs(self.photos.angles()[rows, 0])).float()
        return self._table(images, points, self.raw_values(self.photos, rows), turned)

    def val(self) -> FaceTable:
        """The photos of the validation persons."""
        return self.faces(np.flatnonzero(self.photos.table["split"] == SPLITS.index("val")))

    def _table(self, images: Tensor, points: Tensor, raw: Tensor, turned: Tensor) -> FaceTable:
        """Pictures (N, H, W) with meshes (N, 478, 3) in pixels, NETWORK_NAMES (N, E) and turns of the head (N,)."""
        points[..., :2] -= 0.5  # pixel centres are whole numbers
        aligned, align, depth = face_augment.prepare_faces(images, points, self.template)
        values = (raw - self.mean) / self.deviation
        known = torch.full((478,), 0.5 / 478)
        known[list(MESH_68)] += 1 / 68
        known[list(MESH_IRIS)] += 0.15
        extreme = values[:, : len(BLENDSHAPES)].amax(1)
        odds = 1 + ((extreme - 2) * 0.3).clamp(0, 1.5) + ((turned - 12) * 0.05).clamp(0, 1.5)
        return FaceTable(images, aligned, known, values.clamp(-4, 10), 1.0, odds, align, depth)

    def read_posed(self, path: Path) -> FaceTable:
        """Posed stills as the teacher saw them (stage `pose` of configs/faces.yaml): expressions photos lack."""
        with np.load(path, allow_pickle=False) as stored:
            pixels, mesh, raw = (torch.from_numpy(stored[name]) for name in ("pixels", "mesh", "values"))
        return self._table(pixels, mesh, raw, raw[:, NETWORK_NAMES.index("yaw")].abs() * 30)

    def read_ferplus(self, folder: Path) -> FaceTable:
        """FER+ training pictures where the teacher saw a face: rougher, so they weigh less."""
        table = np.load(folder / "annotations.npz", allow_pickle=False)
        store = np.load(folder / "images.npz", allow_pickle=False)
        data, offsets = store["data"], store["offsets"]
        rows = np.flatnonzero((table["split"] == 0) & table["found"])
        pictures = [Image.open(io.BytesIO(data[offsets[i] : offsets[i + 1]].tobytes())).convert("L") for i in rows]
        images = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
        marks = torch.from_numpy(table["landmarks68"][rows].astype(np.float32)) * images.shape[-1] - 0.5
        names = [str(name) for name in table["blendshape_names"]]
        shapes = torch.from_numpy(
            table["blendshapes"][rows][:, [names.index(n) for n in BLENDSHAPES]].astype(np.float32)
        )
        pose = table["pose"][rows].astype(np.float64)
        yaw = np.degrees(np.arctan2(pose[:, 0, 2], pose[:, 2, 2]))
        pitch = np.degrees(np.arcsin(np.clip(-pose[:, 1, 2], -1, 1)))
        values = (self.values(shapes, marks, np.stack([yaw, pitch], 1)) - self.mean) / self.deviation
        to_aligned = warp.fit_similarity(marks, self.template)
        points = torch.zeros(len(rows), 478, 3)
        points[:, list(MESH_68), :2] = warp.apply(to_aligned, marks)
        known = torch.zeros(478)
        known[list(MESH_68)] = 0.3 / 68
        depth = self.train.depth.mean(0).expand(len(rows), 6).clone()
        odds = torch.ones(len(rows))
        return FaceTable(images, points, known, values.clamp(-4, 6), 0.3, odds, warp.inverse(to_aligned), depth)

    def batch(self, count: int, size: int, jitter: Jitter, spoilt: bool = True) -> CropBatch:
        """One training batch: photos, FER+ pictures, posed stills, a seventh without a face, half of all mirrored."""
        more = [(part, count // share) for part, share in ((self.ferplus, 5), (self.posed, 4)) if part is not None]
        rest = count - sum(number for _, number in more)
        parts = [face_augment.render_crops(self.train, self.draw(self.train, rest), size, jitter, count // 7)]
        parts += [face_augment.render_crops(part, self.draw(part, number), size, jitter) for part, number in more]
        batch = face_augment.join_batches(parts)
        order = torch.randperm(count)
        batch = CropBatch(*(getattr(batch, name)[order] for name in CropBatch.__dataclass_fields__))
        self.mirror_half(batch)
        batch.crops = standardise(face_augment.spoil(batch.crops) if spoilt else batch.crops)
        return batch

    def mirror_half(self, batch: CropBatch) -> None:
        """Turn the first half of a batch into mirror images, with left and right changing places."""
        half = len(batch.crops) // 2
        batch.crops[:half] = batch.crops[:half].flip(3)
        batch.points[:half] = batch.points[:half, self.mirror] * torch.tensor([-1.0, 1.0])
        batch.known[:half] = batch.known[:half, self.mirror]
        flip = (batch.values[:half] * self.deviation + self.mean)[:, self.mirror_values]
        flip[:, NETWORK_NAMES.index("yaw")] *= -1
        batch.values[:half] = (flip - self.mean) / self.deviation

    @staticmethod
    def draw(faces: FaceTable, count: int) -> Tensor:
        """Row numbers (N,), rare expressions and turned heads more often."""
        return torch.multinomial(faces.odds, count)


def write_taught(pixels: NDArray[np.uint8], teacher: MediapipeReader, path: Path) -> int:
    """Store grey stills (N, S, S) with what the teacher sees in them, for `Corpus(posed=path)`; returns how many."""
    seen = [teacher.teach(np.repeat(still[..., None], 3, axis=2)) for still in pixels]
    taught = [(still, *known) for still, known in zip(pixels, seen, strict=True) if known is not None]
    stills, mesh, values = (np.stack(column) for column in zip(*taught, strict=True))
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, pixels=stills, mesh=mesh, values=values)
    return len(taught)


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).convert("L"))
