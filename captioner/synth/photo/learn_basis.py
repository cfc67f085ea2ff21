"""Learn how action units move a face: python -m captioner.synth.photo.learn_basis --faces photos

Reads the train split of a folder of annotated photos (photo_set.py), aligns the landmarks of all faces, regresses their
displacements on the blendshapes, and writes one field of displacements per AU. 5 seconds.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from scipy.spatial import Delaunay, cKDTree

from captioner.data.manifest import SPLITS
from captioner.errors import CaptionerError
from captioner.files import atomic, write_text
from captioner.synth.photo.basis import (
    FOLDER,
    LOWER_LIDS,
    LOWER_LIP,
    MESH_POINTS,
    OVAL,
    STABLE,
    UPPER_LIDS,
    UPPER_LIP,
    rotations_and_scales,
)
from captioner.synth.photo.photo_set import PhotoError, PhotoSet
from captioner.synth.story.motion import smooth_step

Array = NDArray[np.floating[Any]]

MAX_ANGLE = 25.0  # degrees; landmarks of faces that look further away are guesses on one side
WITHIN = 0.85  # how much of a person's mean is taken out: people differ more than expressions do
RIDGE = 0.02  # of each feature's variance
# AU: what it adds of which feature (both sides at once), and which part of the face may move.
RECIPES: dict[int, tuple[dict[str, float], str]] = {
    1: ({"browInnerUp": 1.5}, "brows"),
    2: ({"browOuterUp": 1.0}, "outer brows"),
    4: ({"browDown": 1.5, "browInnerUp": -0.15}, "brows"),
    6: ({"mouthSmile": 0.6, "eyeSquint": 0.4}, "cheeks"),
    9: ({"nose": -0.16, "mouthUpperUp": 0.35}, "nose"),
    10: ({"mouthUpperUp": 1.85}, "upper lip"),
    12: ({"mouthSmile": 1.1}, "mouth"),
    14: ({"mouthDimple": 0.45, "mouthSmile": 0.12}, "mouth"),
    15: ({"mouthFrown": 1.2}, "mouth"),
    17: ({"mouthShrugLower": 1.25}, "mouth"),
    18: ({"mouthPucker": 1.8}, "mouth"),
    20: ({"mouthStretch": 1.2}, "mouth"),
    23: ({"mouthPucker": 0.35, "mouthRollLower": 0.3}, "mouth"),
    24: ({"mouthPress": 0.45}, "mouth"),
    25: ({"mouthLowerDown": 0.4, "mouthUpperUp": 0.15}, "mouth"),
    26: ({"jawOpen": 0.45}, "jaw"),
    27: ({"jawOpen": 0.9}, "jaw"),
}
LIFT = 1.25  # of a smile: blendshapes tell its width better than its curve
SHUT = (6, 9, 12, 14, 15, 17, 18, 20, 23, 24)  # these do not part the lips


def main(argv: list[str] | None = None) -> int:
    """Learn and write the basis; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", required=True, help="folder with annotations.npz")
    parser.add_argument("--out", default=str(FOLDER), help="folder to write (default: the shipped one)")
    args = parser.parse_args(argv)
    try:
        learn_basis(PhotoSet(args.faces), Path(args.out))
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def learn_basis(photos: PhotoSet, out: Path) -> None:
    """Write model.safetensors and config.json of the basis learned from the train split to `out`."""
    train = (np.asarray(photos.table["split"]) == SPLITS.index("train")) & (np.abs(photos.angles()).max(1) < MAX_ANGLE)
    rows = np.flatnonzero(train)
    if len(rows) < 100:
        raise PhotoError(f"{photos.folder} has {len(rows)} near frontal photos for training; at least 100 are needed")
    aligned, mean, mirror = align_faces(np.asarray(photos.table["landmarks"][rows], np.float32))
    at_rest = np.isin(rows, photos.rows("train"))
    calm = aligned[at_rest].mean(0) if at_rest.any() else mean
    mean = (calm + calm[mirror] * np.array([-1, 1, 1], np.float32)) / 2  # lips shut
    fields, explained = regress_fields(photos, rows, aligned - mean, face_geometry(aligned))
    fields = {name: (field + field[mirror] * np.array([-1, 1, 1], np.float32)) / 2 for name, field in fields.items()}
    triangles = triangulate(mean, fields)
    tensors = {f"au{au}": unit_field(au, fields, mean, triangles).astype(np.float16) for au in RECIPES}
    tensors |= {"mean": mean.astype(np.float16), "triangles": triangles.astype(np.int16)}
    with atomic(out / "model.safetensors") as temporary:
        temporary.write_bytes(save(tensors))
    config = {
        "lengths": "distance between the outer eye corners", "aus": sorted(RECIPES), "photos": len(rows),
        "explained": round(explained, 3), "ridge": RIDGE, "within_person": WITHIN,
        "training_data": "landmarks and blendshapes of press photos, train split, by the MediaPipe face landmarker",
        "licence": "Apache-2.0",
    }  # fmt: skip
    write_text(out / "config.json", json.dumps(config, indent=1) + "\n")


def align_faces(landmarks: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Landmarks (N, 478, 3) without pose and size, their symmetric mean (478, 3), and each point's mirror (478,)."""
    mean, mirror = landmarks.mean(0), np.arange(landmarks.shape[1])
    flip = np.array([-1, 1, 1], np.float32)
    aligned = landmarks
    for _ in range(5):
        mean = mean - (mean[33] + mean[263]) / 2
        mean = mean / np.linalg.norm(mean[33] - mean[263])
        rotation, scale = rotations_and_scales(landmarks[:, STABLE], mean[list(STABLE)])
        centre = landmarks[:, STABLE].mean(1, keepdims=True)
        aligned = scale[:, None, None] * ((landmarks - centre) @ rotation) + mean[list(STABLE)].mean(0)
        mean = aligned.mean(0)
        mirror = cKDTree(mean).query(mean * flip)[1]
        mean = (mean + mean[mirror] * flip) / 2
    return aligned, mean.astype(np.float32), mirror


def face_geometry(points: Array) -> dict[str, Array]:
    """What blendshapes do not tell, by name: distance of the nose wings from the inner eye corners, openness (N,)."""

    def apart(a: int, b: int) -> Array:
        return np.asarray(np.linalg.norm(points[:, a] - points[:, b], axis=-1))

    opening = (apart(159, 145) / apart(33, 133) + apart(386, 374) / apart(263, 362)) / 2
    return {"nose": (apart(98, 133) + apart(327, 362)) / 2, "opening": opening}


def regress_fields(
    photos: PhotoSet, rows: NDArray[np.int64], moves: Array, extra: dict[str, Array]
) -> tuple[dict[str, Array], float]:
    """Displacement (478, 3) per unit of each feature, left and right summed; and the share of variance explained."""
    scores = {name: photos.blendshape(name)[rows] for name in photos.blendshape_names}
    features = {name: score for name, score in scores.items() if score.std() > 0.01} | extra
    x = np.stack(list(features.values()), axis=1).astype(np.float64)
    y = moves.reshape(len(moves), -1).astype(np.float64)
    person = np.unique(photos.table["person"][rows], return_inverse=True)[1]
    x, y = without_person(x, person), without_person(y, person)
    spread = x.std(0)
    x /= spread
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y)
    explained = 1 - ((y - x @ weights) ** 2).sum() / (y**2).sum()
    fields: dict[str, Array] = {}
    for name, field in zip(features, (weights / spread[:, None]).reshape(-1, *moves.shape[1:]), strict=True):
        stem = name.removesuffix("Left").removesuffix("Right")
        fields[stem] = fields.get(stem, 0) + field.astype(np.float32)
    return fields, float(explained)


def without_person(values: NDArray[np.float64], person: NDArray[np.int64]) -> NDArray[np.float64]:
    """`values` (N, F) less most of the mean over the photos of the same person."""
    values = values - values.mean(0)
    sums = np.zeros((person.max() + 1, values.shape[1]))
    np.add.at(sums, person, values)
    return values - WITHIN * (sums / np.bincount(person)[:, None])[person]


def unit_field(au: int, fields: dict[str, Array], mean: Array, triangles: NDArray[np.int64]) -> Array:
    """The field (478, 3) of one AU: a mix of features, kept to its part of the face."""
    mix, region = RECIPES[au]
    field = sum((amount * fields[name] for name, amount in mix.items()), np.zeros_like(mean))
    field = field * region_mask(region, mean)[:, None]
    if au == 12:
        field[:, 1] *= LIFT
    if au not in (1, 2, 4):  # brows end sharply
        field = smooth_field(field, triangles)
    return close_lips(field) if au in SHUT else field


def smooth_field(field: Array, triangles: NDArray[np.int64]) -> Array:
    """The field half way to its mean over neighbours, away from the edges of lids and lips."""
    near = np.zeros((len(field), len(field)), np.float32)
    for k in range(3):
        near[triangles[:, k], triangles[:, (k + 1) % 3]] = near[triangles[:, (k + 1) % 3], triangles[:, k]] = 1
    count = near.sum(1, keepdims=True)
    edges = [p for rows in (UPPER_LIP, LOWER_LIP, UPPER_LIDS, LOWER_LIDS) for row in rows for p in row]
    free = count[:, 0] > 0
    free[[p for p in edges if p not in (61, 291)]] = False
    field = field.copy()
    field[free] = (field[free] + (near @ field)[free] / count[free]) / 2
    return field


def close_lips(field: Array) -> Array:
    """The field with both sides of the lip seam moving alike; the rows of the lips share what that takes."""
    field = field.copy()
    gap = field[list(LOWER_LIP[3])] - field[list(UPPER_LIP[3])]
    for k in range(1, 4):  # the outer rows keep their places
        share = k / 6
        field[list(UPPER_LIP[k][1:-1])] += share * gap[1:-1]
        field[list(LOWER_LIP[k][1:-1])] -= share * gap[1:-1]
    return field


def region_mask(region: str, mean: Array) -> Array:
    """How freely each point (478,) of the mean face moves when that part of the face acts."""
    x, y = np.abs(mean[:, 0]).astype(np.float64), mean[:, 1].astype(np.float64)
    brows = smooth_step((-y - 0.02) / 0.11)
    seam = float((mean[13, 1] + mean[14, 1]) / 2)
    lower = smooth_step((y - 0.16) / 0.2)
    upper = np.ones_like(y)
    upper[[p for row in LOWER_LIP for p in row[1:-1]]] = 0
    upper *= 1 - smooth_step((y - seam - 0.02) / 0.08)
    masks = {
        "brows": brows,
        "outer brows": brows * (0.25 + 0.75 * smooth_step((x - 0.12) / 0.2)),
        "cheeks": smooth_step((y - 0.02) / 0.12) * (1 - smooth_step((y - 0.42) / 0.2)) * smooth_step((x - 0.14) / 0.15),
        "nose": smooth_step((y - 0.06) / 0.2)
        * (1 - smooth_step((x - 0.3) / 0.25))
        * (1 - 0.6 * smooth_step((y - 0.55) / 0.12)),
        "upper lip": lower * upper,
        "mouth": lower,
        "jaw": lower * (1 - 0.65 * (1 - smooth_step((y - seam + 0.03) / 0.04)) * np.exp(-((x / 0.17) ** 2))),
    }
    return masks[region].astype(np.float32)


def triangulate(mean: Array, fields: dict[str, Array]) -> NDArray[np.int64]:
    """Triangles (T, 3) of the mean face with mouth and eyes opened wide, so that no edge crosses them."""
    points = (mean + 1.2 * fields["jawOpen"])[:MESH_POINTS, :2].copy()
    for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
        points[list(upper[1:-1]), 1] -= 0.02
        points[list(lower[1:-1]), 1] += 0.02
    triangles = Delaunay(points).simplices
    triangles = triangles[~np.isin(triangles, OVAL).all(1)]  # the outline of a face is not convex
    a, b, c = points[triangles[:, 0]], points[triangles[:, 1]], points[triangles[:, 2]]
    cross = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    triangles[cross < 0] = triangles[cross < 0][:, ::-1]
    return np.asarray(triangles)


if __name__ == "__main__":
    sys.exit(main())
