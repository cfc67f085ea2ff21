"""People in scenes of real photos: found where they are, kept apart, and gone when they leave."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from captioner.faces import FaceReader
from captioner.faces.builtin import as_grey
from captioner.faces.points import MESH_68
from captioner.synth.photo.photo_set import PhotoSet

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "faces"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="no ../shared/data/faces")


@pytest.fixture(scope="module")
def photos() -> PhotoSet:
    return PhotoSet(PHOTOS)


def scene(photos: PhotoSet, rows: list[int], places: list[tuple[int, int, int]], height: int = 270, width: int = 480):
    """A grey-green wall with photos (left, top, side) on it, and the landmarks of each."""
    from PIL import Image

    frame = np.full((height, width, 3), (96, 104, 92), np.uint8)
    marks = []
    for row, (left, top, side) in zip(rows, places, strict=True):
        photo = photos.photo(row)
        small = np.asarray(Image.fromarray(photo.image).resize((side, side), Image.Resampling.BOX))
        frame[top : top + side, left : left + side] = small[: height - top, : width - left]
        marks.append((photo.landmarks[list(MESH_68), :2]) * side / photo.image.shape[0] + (left, top))
    return frame, marks


def off(found: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(found - truth, axis=1).mean() / np.linalg.norm(truth[36] - truth[45]))


@needs_photos
def test_a_face_in_a_scene_is_found_where_it_is(reader: FaceReader, photos: PhotoSet) -> None:
    row = int(photos.rows("val")[0])
    frame, (truth,) = scene(photos, [row], [(200, 70, 120)])
    (found,) = reader.read(frame)
    assert off(found.landmarks[0], truth) < 0.06
    (grey,) = reader.read(as_grey(frame).numpy().round().astype(np.uint8))
    assert off(grey.landmarks[0], found.landmarks[0]) < 0.01
    (alpha,) = reader.read(np.concatenate([frame, np.zeros_like(frame[..., :1])], axis=2)[None])
    np.testing.assert_array_equal(alpha.landmarks, found.landmarks)


@needs_photos
def test_two_people_are_kept_apart_and_the_larger_comes_first(reader: FaceReader, photos: PhotoSet) -> None:
    rows = [int(row) for row in photos.rows("val")[[3, 40]]]
    clip, truths = zip(
        *(scene(photos, rows, [(30 + 3 * t, 60, 140), (330 - 3 * t, 90, 90)]) for t in range(14)), strict=True
    )
    tracks = reader.read(np.stack(clip))
    assert len(tracks) == 2
    for p, found in enumerate(tracks):
        assert found.present.all()
        assert max(off(found.landmarks[t], truths[t][p]) for t in range(14)) < 0.1


@needs_photos
def test_a_face_that_leaves_is_no_longer_present(reader: FaceReader, photos: PhotoSet) -> None:
    row = int(photos.rows("val")[5])
    there = scene(photos, [row], [(150, 60, 150)])[0]
    gone = np.full_like(there, 90)
    (found,) = reader.read(np.stack([there] * 8 + [gone] * 8))
    assert found.present.tolist() == [True] * 8 + [False] * 8
    assert not found.expression[8:].any()


@needs_photos
def test_forty_faces_end(reader: FaceReader, photos: PhotoSet) -> None:
    rows = [int(row) for row in photos.rows("val")[:40]]
    places = [(48 * (i % 8), 52 * (i // 8), 46) for i in range(40)]
    found = reader.read(scene(photos, rows, places)[0])
    assert 20 <= len(found) <= 48


@needs_photos
def test_a_dim_face_reads_like_a_bright_one(reader: FaceReader, photos: PhotoSet) -> None:
    row = int(photos.rows("val")[7])
    frame, (truth,) = scene(photos, [row], [(150, 60, 150)])
    (dim,) = reader.read((frame * 0.2).astype(np.uint8))
    assert off(dim.landmarks[0], truth) < 0.07
