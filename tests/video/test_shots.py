"""Windows of long videos, on scenes that are told apart by their colours."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.video import shots
from captioner.video.reading import read_samples, write_video
from captioner.video.sampling import Sampling
from captioner.video.shots import Cuts, Piece, pieces

FPS = 8
RNG = np.random.default_rng(3)
SCENES = [RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(6)]


def scene(number: int, shift: int = 0) -> np.ndarray:
    """A picture (48, 64, 3) of blocks; `shift` is how far they have moved."""
    return np.roll(np.kron(SCENES[number], np.ones((8, 8, 1), np.uint8)), shift, 1)


def film(path: Path, lengths: list[float], fps: float = FPS) -> Path:
    """One scene after the other, each so many seconds, with a slow pan."""
    frames = [scene(i, t // 4) for i, seconds in enumerate(lengths) for t in range(round(seconds * fps))]
    write_video(path, frames, fps)
    return path


def spans(path: Path, seconds: float, frames: int = 4) -> list[tuple[float, float]]:
    found: list[Piece] = list(pieces(path, seconds, [Sampling(frames, (24,))]))
    for piece in found:
        assert piece.clips[0][0].frames.shape == (frames, 24, 32, 3)
        assert np.all(np.diff(piece.clips[0][0].times) >= 0)
        assert piece.start <= piece.clips[0][0].times[0]
        assert piece.clips[0][0].times[-1] <= piece.end
    assert found[0].start == 0
    assert all(a.end == b.start for a, b in itertools.pairwise(found))
    return [(piece.start, piece.end) for piece in found]


@pytest.mark.parametrize(
    ("lengths", "seconds", "wanted"),
    [
        ([3], 5, [(0, 3)]),
        ([10], 5, [(0, 5), (5, 10)]),
        ([7], 5, [(0, 3.5), (3.5, 7)]),
        ([12], 5, [(0, 5), (5, 8.5), (8.5, 12)]),
        ([3, 4, 6], 5, [(0, 3), (3, 7), (7, 10), (10, 13)]),
        ([3, 0.5, 3], 5, [(0, 3), (3, 6.5)]),  # a flash is no window
        ([2, 2, 2], 2, [(0, 2), (2, 4), (4, 6)]),
    ],
)
def test_windows_end_at_cuts(
    tmp_path: Path, lengths: list[float], seconds: float, wanted: list[tuple[float, float]]
) -> None:
    assert spans(film(tmp_path / "a.mp4", lengths), seconds) == wanted


def test_no_frame_of_a_window_is_from_another_shot(tmp_path: Path) -> None:
    for piece in pieces(film(tmp_path / "a.mp4", [3, 4, 2]), 5, [Sampling(6, (48,))]):
        own = {3: 0, 7: 1, 9: 2}[round(piece.end)]
        for picture in piece.clips[0][0].frames:
            apart = [np.abs(picture.astype(int) - scene(n)).mean() for n in range(3)]
            assert int(np.argmin(apart)) == own or min(apart) > 20  # panned far from where it began


def test_each_side_shows_the_same_pictures(tmp_path: Path) -> None:
    (clips,) = next(iter(pieces(film(tmp_path / "a.mp4", [4]), 5, [Sampling(3, (24, 48))]))).clips
    assert [clip.frames.shape for clip in clips] == [(3, 24, 32, 3), (3, 48, 64, 3)]
    assert np.array_equal(clips[0].times, clips[1].times)
    small = clips[1].frames.reshape(3, 24, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(small - clips[0].frames).mean() < 12


def test_a_window_is_sampled_as_its_span_is(tmp_path: Path) -> None:
    path, samplings = film(tmp_path / "a.mp4", [3, 4]), [Sampling(5, (24,)), Sampling(7, (48, 24), edges=False)]
    for piece in pieces(path, 5, samplings):
        alone = read_samples(path, samplings, start=piece.start, end=piece.end)
        assert [len(row) for row in piece.clips] == [len(row) for row in alone] == [1, 2]
        for one, other in zip(itertools.chain(*piece.clips), itertools.chain(*alone), strict=True):
            assert one.times == pytest.approx(other.times)
            assert np.array_equal(one.frames, other.frames)


def test_a_picture_that_stays_is_shown_in_every_window(tmp_path: Path) -> None:
    write_video(tmp_path / "slides.mp4", [scene(0), scene(1)], 0.1)
    assert spans(tmp_path / "slides.mp4", 4) == [(0, 4), (4, 8), (8, 10), (10, 14), (14, 18), (18, 20)]


@pytest.mark.slow
def test_no_more_is_held_than_a_window_and_a_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    cut_piece = shots._piece

    def watched(held: list[shots.Shown], *rest: Any) -> Piece:
        nonlocal most
        most = max(most, len(held))
        return cut_piece(held, *rest)

    monkeypatch.setattr(shots, "_piece", watched)
    path = film(tmp_path / "a.mp4", [60])
    assert len(spans(path, 2)) == 30
    assert most <= 1.5 * 2 / shots.STEP + 2
    most = 0
    spans(path, 40)
    assert most <= shots.HELD + 2


def test_movement_is_no_cut_and_darkness_to_light_is() -> None:
    cuts = Cuts()
    assert not any(cuts.is_new(scene(0, shift)) for shift in range(40))
    assert cuts.is_new(scene(1))
    assert not cuts.is_new(scene(1, 1))
    dark = np.zeros((48, 64, 3), np.uint8)
    assert [cuts.is_new(p) for p in (dark, dark, dark + 60, dark + 61)] == [True, False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "fps"), [(2, 8), (5, 11), (5, 24), (20, 11)])
def test_a_pass_can_begin_with_any_shot(tmp_path: Path, seconds: float, fps: float) -> None:
    """Windows, pictures and what is on screen between them are those of the pass from the beginning, bit for bit."""
    path = film(tmp_path / "a.mp4", [7, 3, 0.5, 12, 4], fps)
    samplings = [Sampling(4, (24, 48)), Sampling(9, (24,), edges=False)]  # of the encoder, and between its pictures
    whole = list(pieces(path, seconds, samplings))
    assert len({piece.shot for piece in whole}) == 4  # a flash is no shot
    for shot in sorted({piece.shot for piece in whole}):
        rest = [piece for piece in whole if piece.shot >= shot]
        again = list(pieces(path, seconds, samplings, shot))
        assert [(piece.start, piece.end, piece.shot) for piece in again] == [(p.start, p.end, p.shot) for p in rest]
        for one, other in zip(again, rest, strict=True):
            both = list(zip(itertools.chain(*one.clips), itertools.chain(*other.clips), strict=True))
            assert len(both) == 3
            assert all(np.array_equal(a.frames, b.frames) and np.array_equal(a.times, b.times) for a, b in both)
