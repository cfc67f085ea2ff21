"""Folders of photos: which are fit, how they are opened, what is said of folders that are not as they should be."""

import io
import logging
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.errors import CaptionerError
from captioner.synth.photo.photo_set import LANDMARKS, Photo, PhotoError, PhotoSet, check_eyes

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "faces"
NAMES = ["mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight", "browDownLeft", "browDownRight"]
NAMES += ["browInnerUp", "mouthUpperUpLeft", "mouthUpperUpRight"]
NAMES += [f"other{number}" for number in range(52 - len(NAMES))]


def table(count: int = 12) -> dict[str, Any]:
    """Annotations of frontal faces at rest; two photos a person, splits 0 0 1 2 and so on."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0.2, 0.8, (count, LANDMARKS, 3))
    points[:, 13], points[:, 14] = (0.5, 0.7, 0), (0.5, 0.701, 0)  # inner lips
    points[:, 33], points[:, 263] = (0.3, 0.4, 0), (0.7, 0.4, 0)  # outer eye corners
    person = np.arange(count) // 2
    return {
        "key": np.array([f"{n:05d}" for n in range(count)], "S5"),
        "split": np.array([0, 0, 1, 2])[person % 4].astype(np.uint8),
        "person": person.astype(np.int32),
        "landmarks": points.astype(np.float16),
        "blendshapes": np.zeros((count, 52), np.float16),
        "blendshape_names": np.array(NAMES, "S20"),
        "pose": np.tile(np.eye(4, dtype=np.float32), (count, 1, 1)),
    }


def jpeg(number: int, side: int = 96) -> bytes:
    """A photo whose grey level tells its number."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (10 * number, 10 * number, 200)).save(stream, format="JPEG")
    return stream.getvalue()


def folder(path: Path, annotations: dict[str, Any] | None = None, side: int = 96) -> Path:
    """A folder with photos in two tars."""
    annotations = table() if annotations is None else annotations
    path.mkdir(exist_ok=True)
    np.savez_compressed(path / "annotations.npz", **annotations)
    keys = [key.decode() for key in table()["key"].tolist()]
    for shard in range(2):
        with tarfile.open(path / f"faces-{shard:02d}.tar", "w") as archive:
            for key in keys[shard::2]:
                content = jpeg(int(key), side)
                member = tarfile.TarInfo(f"{key}.jpg")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def test_a_photo_is_opened_from_its_tar(tmp_path: Path) -> None:
    photos = PhotoSet(folder(tmp_path / "faces"))
    photo = photos.photo(7)
    assert photo.key == "00007"
    assert photo.image.shape == (96, 96, 3)
    assert abs(int(photo.image[5, 5, 0]) - 70) < 4
    assert photo.landmarks[33, :2] == pytest.approx((0.3 * 96, 0.4 * 96), abs=0.1)
    assert (photo.person, photo.gray, photo.emotion) == (3, False, None)
    assert set(photo.blendshapes) == set(NAMES)


def test_a_loose_photo_comes_first(tmp_path: Path) -> None:
    faces = folder(tmp_path / "faces")
    Image.new("L", (80, 80), 33).save(faces / "00007.png")
    photo = PhotoSet(faces).photo(7)
    assert photo.image.shape == (80, 80, 3)
    assert photo.gray


def test_rows_are_those_of_a_split_that_can_be_animated(tmp_path: Path) -> None:
    annotations = table()
    annotations["blendshapes"][0, 1] = 0.5  # smiles
    annotations["landmarks"][1, 14, 1] = 0.75  # mouth open
    annotations["landmarks"][2, 200, 0] = 1.02  # cut off
    turn = np.radians(20)
    annotations["pose"][3, :3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    annotations["landmarks"][8, 5] = np.nan
    photos = PhotoSet(folder(tmp_path / "faces", annotations))
    assert photos.angles()[3] == pytest.approx((20, 0), abs=0.01)
    assert photos.rows("train").tolist() == [9, 10, 11]
    assert photos.rows("val").tolist() == [4, 5]
    assert photos.rows("test").tolist() == [6, 7]
    upper, lower = (set(photos.rows("train", half).tolist()) for half in ("upper", "lower"))
    assert upper & lower == {9, 10, 11}
    assert len(upper | lower) > 3  # a smile leaves the brows free, a frown the mouth
    with pytest.raises(PhotoError, match=r"unknown part 'uper' \(did you mean 'upper'\?\)"):
        photos.rows("train", "uper")
    with pytest.raises(PhotoError, match=r"unknown split 'tran' \(did you mean 'train'\?\); allowed: train, val, test"):
        photos.rows("tran")
    with pytest.raises(PhotoError, match=r"unknown blendshape 'mouthSmileleft' \(did you mean 'mouthSmileLeft'\?\)"):
        photos.blendshape("mouthSmileleft")


def test_a_damaged_tar_costs_the_photos_behind_the_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    faces = folder(tmp_path / "faces")
    tar = faces / "faces-01.tar"
    with tarfile.open(tar) as archive:
        header = archive.getmembers()[4].offset
    content = bytearray(tar.read_bytes())
    content[header : header + 512] = b"\xff" * 512
    tar.write_bytes(bytes(content))
    with caplog.at_level(logging.WARNING):
        rows = PhotoSet(faces).rows("train").tolist()
    assert rows == [0, 1, 2, 3, 8, 10]  # the odd ones are in that tar, 9 is its fifth
    assert "lists 2 photos that are not there; they are skipped" in caplog.text
    tar.write_bytes(b"not a tar")
    with caplog.at_level(logging.WARNING):
        assert PhotoSet(faces).rows("train").tolist() == [0, 2, 8, 10]
    assert "faces-01.tar is damaged (" in caplog.text


def test_a_damaged_photo_is_named(tmp_path: Path) -> None:
    faces = folder(tmp_path / "faces")
    (faces / "00002.jpg").write_bytes(jpeg(2)[:300])
    (faces / "00003.jpg").write_bytes(b"")
    (faces / "00004.jpg").write_bytes(b"<html>not a photo</html>")
    photos = PhotoSet(faces)
    for row in (2, 3, 4):
        with pytest.raises(PhotoError, match=rf"^photo '0000{row}' of .*faces cannot be read: .+$") as caught:
            photos.photo(row)
        assert "\n" not in str(caught.value)


def test_a_photo_that_vanishes_is_named(tmp_path: Path) -> None:
    faces = folder(tmp_path / "faces")
    Image.new("RGB", (80, 80)).save(faces / "00007.png")
    photos = PhotoSet(faces)
    assert 7 in photos.rows("test")
    (faces / "00007.png").unlink()
    with pytest.raises(PhotoError, match=r"photo '00007' of .* cannot be read: .*No such file"):
        photos.photo(7)


def test_too_small_a_face_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"photo '00001' of .*: its face is 29 pixels high; 40 are needed"):
        PhotoSet(folder(tmp_path / "faces", side=48)).photo(1)


def test_a_set_travels_to_other_processes(tmp_path: Path) -> None:
    photos = PhotoSet(folder(tmp_path / "faces"))
    rows = photos.rows("train")
    copy = pickle.loads(pickle.dumps(photos))
    assert np.array_equal(copy.rows("train"), rows)
    assert np.array_equal(copy.photo(0).image, photos.photo(0).image)
    assert copy.fingerprint == photos.fingerprint


def test_the_fingerprint_follows_the_list(tmp_path: Path) -> None:
    first = PhotoSet(folder(tmp_path / "one"))
    other = table()
    other["split"][0] = 2
    assert PhotoSet(folder(tmp_path / "two")).fingerprint == first.fingerprint
    assert PhotoSet(folder(tmp_path / "three", other)).fingerprint != first.fingerprint


def test_folders_without_a_table_are_named(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"nowhere' is not a folder; give one with annotations\.npz and photos"):
        PhotoSet(tmp_path / "nowhere")
    with pytest.raises(PhotoError, match=r"no such file: .*annotations\.npz'; a folder of photos needs one"):
        PhotoSet(tmp_path)
    (tmp_path / "annotation.npz").write_bytes(b"")
    with pytest.raises(PhotoError, match=r"did you mean .*annotation\.npz"):
        PhotoSet(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pose": None, "person": None}, r"annotations\.npz lacks person, pose; it has blendshape_names, blendshapes"),
        ({"landmarks": np.zeros((12, 68, 2), np.float16)}, r"landmarks has shape \(12, 68, 2\); wanted \(N, 478, 3\)"),
        ({"split": np.zeros(11, np.uint8)}, r"split has shape \(11,\); wanted \(N\) with N = 12"),
        ({"split": np.zeros(12, np.float32)}, r"split holds float32; wanted whole numbers"),
        ({"key": np.arange(12)}, r"key holds int64; wanted texts"),
        ({"key": np.zeros(0, "S5")}, r"lists no photo"),
        ({"blendshape_names": np.array(["a"])}, r"blendshape_names has shape \(1,\); wanted 52 names"),
        ({"gray": np.zeros(3, bool)}, r"gray has shape \(3,\); wanted \(N\) with N = 12"),
        ({"key": np.array([None] * 12)}, r"cannot be read as npz"),  # would have to be unpickled
    ],
)
def test_tables_of_another_layout_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    annotations = table() | change
    np.savez(tmp_path / "annotations.npz", **{name: v for name, v in annotations.items() if v is not None})
    with pytest.raises(PhotoError, match=message) as caught:
        PhotoSet(tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_tables_end_in_one_line(tmp_path: Path) -> None:
    path = folder(tmp_path / "faces") / "annotations.npz"
    whole = path.read_bytes()
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    rng = np.random.default_rng(0)
    altered = []
    for _ in range(40):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), 30).tolist():
            content[place] = int(rng.integers(256))
        altered.append(bytes(content))
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:-10], single.getvalue(), *altered):
        path.write_bytes(content)
        # damage may pass unseen, but must not break anything
        said = _error_of(path.parent)
        assert said is None or ("annotations.npz" in said and "\n" not in said)


def _error_of(faces: Path) -> str | None:
    try:
        PhotoSet(faces).rows("train")
    except CaptionerError as error:
        return str(error)
    return None


@pytest.mark.skipif(not SHARED.is_dir(), reason="the photos are not in the repository")
def test_the_collected_photos_have_disjoint_persons_in_each_split() -> None:
    photos = PhotoSet(SHARED)
    persons = {split: set(photos.table["person"][photos.rows(split)].tolist()) for split in ("train", "val", "test")}
    assert len(persons["train"]) > 500
    assert all(len(persons[split]) > 20 for split in ("val", "test"))
    assert not persons["train"] & (persons["val"] | persons["test"])
    assert not persons["val"] & persons["test"]
    photo = photos.photo(int(photos.rows("val")[0]))
    assert photo.image.shape == (192, 192, 3)
    assert np.ptp(photo.landmarks[:468, 1]) > 80


def test_eyes_in_the_dark_are_named() -> None:
    points = np.full((478, 3), 60, np.float32)
    points[[33, 133, 159, 145], :2] = [[30, 40], [45, 40], [37, 37], [37, 43]]
    points[[263, 362, 386, 374], :2] = [[90, 40], [75, 40], [82, 37], [82, 43]]
    image = np.full((120, 120, 3), 180, np.uint8)
    photo = Photo("00007", image, points, {}, np.eye(4, dtype=np.float32), 1, True)
    check_eyes(photo)
    image[30:50, 20:100] = 40
    with pytest.raises(PhotoError, match=r"photo '00007': the eyes lie in the dark \(sunglasses\?\)"):
        check_eyes(photo)
