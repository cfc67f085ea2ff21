"""Faces: points and their geometry, crops, the networks, following, the three backends, bad input."""

import hashlib
import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.errors import CheckpointError
from captioner.faces import (
    EXPRESSION_NAMES,
    FaceError,
    FaceReader,
    FaceTrack,
    backends,
    detect,
    open_reader,
    track,
    warp,
)
from captioner.faces.builtin import WEIGHTS
from captioner.faces.nets import CropNet, CropNetConfig, Finder, FinderConfig, fold_norms, standardise
from captioner.faces.points import GEOMETRY, MESH_68, MIRROR_68, NETWORK_NAMES, geometry, mirror_order, with_means
from captioner.faces.reader import Sighting, as_clip, make_track, upright_maps
from tests.faces.mean_face import mean_face, placed


@pytest.fixture(scope="module")
def template() -> Tensor:
    return mean_face()


# points


def test_the_mirror_of_the_mirror_is_the_face() -> None:
    assert [MIRROR_68[i] for i in MIRROR_68] == list(range(68))
    assert len(set(MESH_68)) == 68
    swapped = mirror_order(NETWORK_NAMES)
    assert [swapped[i] for i in swapped] == list(range(len(NETWORK_NAMES)))
    assert NETWORK_NAMES[swapped[NETWORK_NAMES.index("eyeBlinkLeft")]] == "eyeBlinkRight"


def test_geometry_ignores_size_and_turn_and_swaps_sides_in_a_mirror(template: Tensor) -> None:
    face = template.clone()
    face[[37, 38]] += torch.tensor([0.0, 0.02])  # the person's right eye half shut
    here = torch.stack(geometry(face))
    moved = torch.stack(geometry(placed(face, 200, 100, 77.0, 0.6)))
    torch.testing.assert_close(here, moved, atol=1e-4, rtol=1e-3)
    other = torch.stack(geometry(face[list(MIRROR_68)] * torch.tensor([-1.0, 1.0])))
    torch.testing.assert_close(other, here[mirror_order(GEOMETRY)], atol=1e-5, rtol=1e-4)
    value = dict(zip(GEOMETRY, here.tolist(), strict=True))
    assert value["eyeAspectRight"] < value["eyeAspectLeft"] - 0.05


def test_geometry_is_the_same_for_arrays_and_tensors(template: Tensor) -> None:
    np.testing.assert_allclose(geometry(template.numpy()), torch.stack(geometry(template)).numpy(), rtol=1e-5)


def test_a_lifted_mouth_corner_counts_up(template: Tensor) -> None:
    smile = template.clone()
    smile[[48, 54], 1] -= 0.05
    at = GEOMETRY.index("mouthCorner")
    assert float(geometry(smile)[at]) > float(geometry(template)[at]) + 0.05


def test_means_and_gaze_follow_the_estimates() -> None:
    values = np.zeros((2, len(NETWORK_NAMES)), np.float32)
    values[1, NETWORK_NAMES.index("eyeBlinkLeft")] = 1.0
    values[1, NETWORK_NAMES.index("eyeLookOutLeft")] = 0.8
    values[1, NETWORK_NAMES.index("eyeLookInRight")] = 0.6
    named = dict(zip(EXPRESSION_NAMES, with_means(values)[1].tolist(), strict=True))
    assert named["eyeBlink"] == 0.5
    assert named["gazeSide"] == pytest.approx(0.7)


# warp


def test_similarity_finds_the_turn_scale_and_shift_it_was_made_with(template: Tensor) -> None:
    moved = placed(template, 31.0, -4.0, 50.0, 0.4)
    found = warp.fit_similarity(moved[None], template)
    torch.testing.assert_close(warp.apply(found, moved[None])[0], template, atol=1e-4, rtol=0)
    back = warp.apply(warp.inverse(found), template[None])[0]
    torch.testing.assert_close(back, moved, atol=1e-3, rtol=0)


def test_a_crop_shows_what_lies_there() -> None:
    picture = torch.arange(60.0).repeat(40, 1)[None]  # each pixel is its own x
    maps = torch.tensor([[[16.0, 0.0, 29.5], [0.0, 16.0, 20.0]]])
    crop = warp.cut_crops(picture, maps, 16)
    torch.testing.assert_close(crop[0, 0, 3], torch.arange(22.0, 38.0))


def test_a_small_crop_of_a_large_face_is_averaged_not_skipped() -> None:
    stripes = (torch.arange(400) % 2 * 255.0).repeat(400, 1)[None]
    crop = warp.cut_crops(stripes, torch.tensor([[[320.0, 0.0, 199.5], [0.0, 320.0, 199.5]]]), 16)
    assert float((crop - 127.5).abs().max()) < 10


def test_a_crop_outside_the_picture_repeats_its_edge() -> None:
    crop = warp.cut_crops(torch.full((1, 10, 10), 9.0), torch.tensor([[[8.0, 0.0, 500.0], [0.0, 8.0, -300.0]]]), 8)
    assert (crop == 9.0).all()


# networks


def test_folding_the_norms_changes_nothing() -> None:
    torch.manual_seed(0)
    net = CropNet(CropNetConfig(size=32, widths=(4, 8), blocks=(1, 1), squeeze=4, hidden=8, points=5, values=3))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    x = torch.randn(3, 1, 32, 32)
    before = net.eval()(x)
    after = fold_norms(net)(x)
    assert [tuple(out.shape) for out in after] == [(3, 5, 2), (3, 3), (3,)]
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_the_finder_gives_a_cell_for_four_pixels() -> None:
    net = Finder(FinderConfig(widths=(4, 4, 4), blocks=1, join=4)).eval()
    assert net(torch.zeros(2, 1, 48, 64)).shape == (2, 4, 12, 16)


def test_brightness_and_contrast_do_not_matter() -> None:
    torch.manual_seed(0)
    crops = torch.rand(2, 1, 64, 64) * 200
    torch.testing.assert_close(standardise(crops), standardise(crops * 0.5 + 30), atol=0.15, rtol=0)
    even = detect.even_out(crops)
    torch.testing.assert_close(even, detect.even_out(crops * 0.5 + 30), atol=0.35, rtol=0)
    assert abs(float(even.mean())) < 0.2


def test_of_overlapping_faces_the_best_stays() -> None:
    faces = torch.tensor([[50.0, 50, 20, 0.9], [52, 51, 21, 0.8], [90, 50, 20, 0.7]])
    assert detect.suppress(faces)[:, 3].tolist() == pytest.approx([0.9, 0.7])
    assert float(detect.overlap(faces[:1], faces[:1])[0, 0]) == pytest.approx(1.0)


# tracks and crops


def test_where_a_face_is_missing_its_nearest_place_stands_in(template: Tensor) -> None:
    marks = [placed(template, x, 50, 40).numpy() for x in (30, 60)]
    made = make_track(6, (100, 200), [4, 1], [marks[1], marks[0]], [0.9, 0.8], [np.ones(len(EXPRESSION_NAMES))] * 2)
    assert made.present.tolist() == [False, True, False, False, True, False]
    np.testing.assert_array_equal(made.landmarks[[0, 5]], np.stack(marks))
    np.testing.assert_allclose(made.boxes[1], [*marks[0].min(0), *marks[0].max(0)])
    assert made.score.tolist() == pytest.approx([0, 0.8, 0, 0, 0.9, 0])
    assert made.value("browDown").tolist() == [0, 1, 0, 0, 1, 0]
    with pytest.raises(FaceError, match=r"unknown expression 'browdown' \(did you mean 'browDown'\?\)"):
        made.value("browdown")


def track_at(template: Tensor, x: float, y: float, side: float, count: int = 4, angle: float = 0.0) -> FaceTrack:
    marks = [placed(template, x, y, side, angle).numpy()] * count
    return make_track(count, (360, 640), range(count), marks, [0.9] * count, [np.zeros(len(EXPRESSION_NAMES))] * count)


def test_large_central_lasting_faces_dominate(template: Tensor) -> None:
    large = track_at(template, 320, 180, 200)
    assert large.dominance > track_at(template, 320, 180, 80).dominance
    assert large.dominance > track_at(template, 60, 180, 200).dominance
    short = make_track(4, (360, 640), [0], [large.landmarks[0]], [0.9], [large.expression[0]])
    assert large.dominance > short.dominance


def test_crops_are_upright_whatever_the_head_does(reader: FaceReader, template: Tensor) -> None:
    tilted = track_at(template, 320, 180, 200, count=1, angle=0.5)
    frame = np.zeros((1, 360, 640, 3), np.uint8)
    eyes = [tilted.landmarks[0, a:b].mean(0).round().astype(int) for a, b in ((36, 42), (42, 48))]
    for i, (x, y) in enumerate(eyes):
        frame[0, y - 4 : y + 5, x - 4 : x + 5, i] = 255
    crop = reader.crops(frame, tilted, size=100)[0]
    (ya, xa), (yb, xb) = (np.argwhere(crop[..., i] > 128).mean(0) for i in range(2))
    assert abs(ya - yb) < 2
    assert 15 < xa < 45 < 55 < xb < 85
    assert crop.shape == (100, 100, 3)


def test_a_wider_margin_shows_a_smaller_face(template: Tensor) -> None:
    marks = track_at(template, 320, 180, 200, count=1).landmarks
    narrow, wide = (float(upright_maps(marks, m)[0, :, 0].norm()) for m in (0.1, 0.6))
    assert wide / narrow == pytest.approx(1.6 / 1.1, rel=0.01)


def test_crops_want_the_frames_of_the_track(reader: FaceReader, template: Tensor) -> None:
    with pytest.raises(FaceError, match=r"3 frames, but the track has 4; give the frames it was read from"):
        reader.crops(np.zeros((3, 360, 640, 3), np.uint8), track_at(template, 320, 180, 200))


# input


@pytest.mark.parametrize(
    ("given", "shape"),
    [((5, 20, 30, 3), (5, 20, 30, 3)), ((5, 20, 30, 4), (5, 20, 30, 3)), ((5, 20, 30), (5, 20, 30, 1)),
     ((5, 20, 30, 1), (5, 20, 30, 1)), ((20, 30, 3), (1, 20, 30, 3)), ((20, 30), (1, 20, 30, 1))],
)  # fmt: skip
def test_frames_come_in_several_shapes(given: tuple[int, ...], shape: tuple[int, ...]) -> None:
    assert as_clip(np.zeros(given, np.uint8)).shape == shape
    assert as_clip(torch.zeros(given, dtype=torch.uint8)).shape == shape


@pytest.mark.parametrize(
    ("frames", "message"),
    [(np.zeros((2, 8, 8, 3)), "frames are float64; wanted uint8 0..255"),
     (np.zeros((2, 8, 8, 3), np.float32), "scale floats by 255 and convert"),
     (np.zeros((2, 8, 8, 2), np.uint8), r"frames have shape \(2, 8, 8, 2\); wanted \(T, H, W, 3\)"),
     (np.zeros(9, np.uint8), r"frames have shape \(9,\)")],
)  # fmt: skip
def test_frames_that_are_none_are_refused(reader: FaceReader, frames: NDArray[np.uint8], message: str) -> None:
    with pytest.raises(FaceError, match=message):
        reader.read(frames)


def test_times_must_fit_the_frames(reader: FaceReader) -> None:
    with pytest.raises(FaceError, match="3 times for 2 frames; give one time a frame, or none"):
        reader.read(np.zeros((2, 40, 40, 3), np.uint8), [0, 1, 2])


@pytest.mark.parametrize(
    "shape", [(0, 40, 40, 3), (3, 90, 160, 3), (1, 3, 5, 3), (2, 5, 400, 3), (2, 300, 7), (1, 33, 35, 4)]
)
def test_where_there_is_nothing_nobody_is_found(reader: FaceReader, shape: tuple[int, ...]) -> None:
    assert reader.read(np.zeros(shape, np.uint8)) == []
    assert reader.read(np.full(shape, 255, np.uint8)) == []


def test_noise_and_gradients_hold_nobody(reader: FaceReader) -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (3, 180, 320, 3), np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, 320).astype(np.uint8)[None, None, :, None], (3, 180, 320, 3))
    assert reader.read(noise) == []
    assert reader.read(ramp) == []


# backends


def test_an_unknown_backend_is_named_with_the_nearest() -> None:
    with pytest.raises(FaceError, match=r"unknown face reader 'mediapip' \(did you mean 'mediapipe'\?\); allowed: "):
        open_reader("mediapip")


@pytest.mark.parametrize(("name", "package"), [("mediapipe", "mediapipe"), ("fan", "face_alignment")])
def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    def refuse(module: str) -> object:
        assert module.startswith(package)
        raise ImportError(module)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(FaceError, match=r'pip install "captioner\[faces\]"'):
        open_reader(name)


def test_offline_fetches_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(backends, "BUNDLE_URL", "file:///nowhere")
    with pytest.raises(FaceError, match=r"not in the cache .* and offline was asked; run once with a connection"):
        backends.fetch_bundle(offline=True)
    with pytest.raises(FaceError, match="cannot be fetched from file:///nowhere"):
        backends.fetch_bundle()


def test_a_bundle_is_fetched_once_and_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "source.task"
    source.write_bytes(b"a bundle")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(backends, "BUNDLE_URL", source.as_uri())
    with pytest.raises(FaceError, match=r"gave a file with sha256 .*; wanted 64184e229b263107"):
        backends.fetch_bundle()
    assert not list((tmp_path / "cache").rglob("*.task"))
    monkeypatch.setattr(backends, "BUNDLE_SHA256", hashlib.sha256(b"a bundle").hexdigest())
    path = backends.fetch_bundle()
    source.unlink()
    assert backends.fetch_bundle(offline=True) == path
    assert path.read_bytes() == b"a bundle"


def test_single_frames_are_linked_to_people(template: Tensor) -> None:
    def face(x: float) -> backends._Found:
        return backends._Found(placed(template, x, 50, 60).numpy(), np.zeros(3, np.float32), 1.0)

    people: list[Sighting] = []
    for t, places in enumerate([(40, 200), (206, 44), (48,), (52, 218, 400)]):
        backends._link(people, t, [face(x) for x in places])
    assert [person.at for person in people] == [[0, 1, 2, 3], [0, 1, 3], [3]]


def test_fan_gives_the_same_kind_of_track(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, template: Tensor) -> None:
    def seen(
        frame: NDArray[np.uint8], return_bboxes: bool
    ) -> tuple[list[NDArray[np.float32]], None, list[list[float]]]:
        marks = placed(template, 80, 60, 70).numpy()
        return [marks], None, [[40, 20, 120, 100, 0.97]]

    package = SimpleNamespace(
        LandmarksType=SimpleNamespace(TWO_D=1),
        FaceAlignment=lambda *_, **__: SimpleNamespace(get_landmarks_from_image=seen),
    )
    monkeypatch.setattr(importlib, "import_module", lambda _: package)
    (found,) = open_reader("fan").read(np.zeros((3, 120, 160, 3), np.uint8))
    assert found.landmarks.shape == (3, 68, 2)
    assert found.expression.shape == (3, len(EXPRESSION_NAMES))
    assert found.score.tolist() == pytest.approx([0.97] * 3)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FaceError, match=r"s3fd-619a316812.pth and .* and offline was asked"):
        open_reader("fan", offline=True)


# weights


def test_the_shipped_folder_is_small_and_speaks_of_what_the_code_knows() -> None:
    config = json.loads((WEIGHTS / "config.json").read_text(encoding="utf-8"))
    assert config["names"] == list(NETWORK_NAMES)
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 6e6


def test_a_folder_without_weights_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such file: .*config.json.*a face reader's folder has"):
        open_reader(bundle=tmp_path)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="holds no face reader"):
        open_reader(bundle=tmp_path)


def test_rules_can_be_changed() -> None:
    assert replace(track.Rules(), every=3).every == 3
