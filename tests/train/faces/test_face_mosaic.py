"""Whole photos and film frames as training pictures of the finder: its faces are where the labels say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor

from captioner.errors import ManifestError
from captioner.faces.points import MESH_68
from captioner.train.faces import mosaic, scenes
from captioner.video.reading import write_video


def spotted(count: int = 12, side: int = 192) -> mosaic.PictureSet:
    """Dark pictures with a bright disc a third as large as the face it stands for; each fourth has no face."""
    torch.manual_seed(0)
    faces = torch.full((count, 2, 3), torch.nan)
    images = torch.full((count, 1, side, side), 30, dtype=torch.uint8)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for i in range(count):
        if i % 4:
            faces[i, 0] = torch.tensor([*(60 + torch.rand(2) * 70).tolist(), 50 + float(torch.rand(())) * 40])
            cx, cy, size = faces[i, 0].tolist()
            images[i, 0][(x - cx) ** 2 + (y - cy) ** 2 < (size / 6) ** 2] = 240
    return mosaic.PictureSet(images, faces)


def centres(made: scenes.Scenes) -> list[tuple[int, float, float, float]]:
    """Scene, x, y and size of every face that is asked for."""
    found = []
    for scene, row, column in torch.nonzero(made.heat == 1).tolist():
        dx, dy, size = made.where[scene, :, row, column].tolist()
        found.append((scene, (column + 0.5 + dx) * 4 - 0.5, (row + 0.5 + dy) * 4 - 0.5, 16 * float(np.exp(size))))
    return found


def test_the_faces_of_a_mosaic_are_where_its_pixels_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (scenes, mosaic):
        monkeypatch.setattr(module, "degrade", lambda pictures: pictures)
    monkeypatch.setattr(mosaic, "_lit", lambda views: views)
    drawn = mosaic.Mosaic([spotted(), spotted()], [0.5, 0.5])
    off, sizes = [], []
    for seed in range(6):
        torch.manual_seed(seed)
        made = drawn.scenes(8)
        for scene, x, y, size in centres(made):
            left, top = max(0, round(x) - 3), max(0, round(y) - 3)
            around = (made.pictures[scene, 0, top : top + 7, left : left + 7] - 30).clamp_min(0)
            weights = around / around.sum()
            rows, columns = torch.arange(len(weights)) + top, torch.arange(weights.shape[1]) + left
            at = (float((weights.sum(0) * columns).sum()), float((weights.sum(1) * rows).sum()))
            off.append(np.hypot(at[0] - x, at[1] - y))
            sizes.append(size)
    assert len(off) > 60
    assert np.median(off) < 0.5
    assert min(sizes) >= scenes.SMALLEST - 0.01
    assert max(sizes) <= scenes.LARGEST + 0.01


def test_pictures_without_faces_ask_for_none() -> None:
    pictures = spotted()
    pictures.faces[:] = torch.nan
    made = mosaic.Mosaic([pictures], [1.0]).scenes(6)
    assert made.pictures.shape == (6, 1, scenes.SIDE, scenes.SIDE)
    assert float(made.heat.max()) == 0
    assert float(made.care.min()) == 1


def test_faces_that_nobody_could_see_are_not_asked_for() -> None:
    spots = torch.tensor([[40.0, 40.0, 16.0, 1.0], [120.0, 120.0, 16.0, 1.0], [80.0, 20.0, 33.0, 1.0]])
    picture = torch.rand(1, 1, 160, 160) * 90
    picture[:, :, 80:, 80:] = 0  # the second lies in the dark, the third is a little too large
    made = scenes.finder_targets(picture, torch.zeros(3, dtype=torch.long), spots)
    assert torch.nonzero(made.heat[0] == 1).tolist() == [[10, 10]]
    assert made.care[0, 30, 30] == 0
    assert made.care[0, 5, 20] == 0
    assert made.care[0, 10, 10] == 1


def test_a_face_cut_by_the_edge_of_its_own_picture_is_left_open() -> None:
    spots = torch.tensor([[78.0, 40.0, 20.0, 1.0]])
    made = scenes.finder_targets(torch.rand(1, 1, 160, 160) * 90, torch.zeros(1, dtype=torch.long), spots,
                          torch.tensor([[0.0, 0.0, 80.0, 80.0]]))  # fmt: skip
    assert float(made.heat.max()) == 0
    assert made.care[0, 10, 18] == 0
    assert float(made.care[0, :, 20:].min()) == 1  # the neighbour's picture is not touched


def made_clip(folder: Path, points: int = 478, size: tuple[int, int] = (64, 64)) -> Tensor:
    """One clip of 8 frames with a person in the first half; its marks (T, 478, 2)."""
    for name in ("labels", "videos"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    marks = (rng.uniform(20, 40, (1, 8, points, 2)) + np.arange(8)[:, None, None]).astype(np.float16)
    marks[:, 4:] = np.nan
    save_file({"landmarks": marks}, folder / "labels" / "made_train_000000.safetensors")
    frames = [np.full((*size, 3), 40 + 20 * t, np.uint8) for t in range(8)]
    write_video(folder / "videos" / "made_train_000000.mp4", frames, 8.0)
    return torch.from_numpy(marks[0].astype(np.float32))


def test_film_frames_keep_their_own_faces(tmp_path: Path) -> None:
    marks = made_clip(tmp_path)
    film = mosaic.film_pictures(tmp_path, frames=8)
    assert film.images.shape == (8, 1, 64, 64)
    assert film.images.float().mean((1, 2, 3)).tolist() == pytest.approx([40 + 20 * t for t in range(8)], abs=6)
    assert film.faces[4:].isnan().all()
    wanted = mosaic.squares(marks[:4][:, list(MESH_68)] - 0.5)
    torch.testing.assert_close(film.faces[:4, 0], wanted)


def test_unfit_folders_of_clips_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"holds no labels/\*_train_\*\.safetensors; wanted a folder of .*make_clips\.py"
    ):
        mosaic.film_pictures(tmp_path)
    made_clip(tmp_path, size=(64, 96))
    with pytest.raises(ManifestError, match="made_train_000000 is no square clip"):
        mosaic.film_pictures(tmp_path)
