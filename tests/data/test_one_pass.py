"""Decoded once, followed once: the pictures, people and windows are those of two passes; files are opened as seldom."""

import io
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from captioner.config import ModelConfig
from captioner.data import inputs
from captioner.data.face_readings import DenseReader
from captioner.data.inputs import read_inputs, read_windows
from captioner.data.one_pass import Chooser, read_once, read_windows_once
from captioner.faces.crops import READ_SIDE
from captioner.video import reading
from captioner.video.reading import Shown, read_clip, write_video
from captioner.video.sampling import Sampling
from tests.data.scripted import Scripted
from tests.helpers import ROOT, tiny_config

EXAMPLE = ROOT / "examples" / "smile.mp4"
CONFIG = tiny_config("experts.margin=0.2")


def always(count: int = 400) -> dict[int, int]:
    return {at: at for at in range(count)}


def film(path: Path, count: int, fps: float, noise: bool = False) -> Path:
    """Pictures (48, 64) that grow brighter, or of noise."""
    shape, rng = (count, 48, 64, 3), np.random.default_rng(0)
    levels = np.arange(count)[:, None, None, None] * 200 // count
    frames = rng.integers(0, 256, shape) if noise else np.broadcast_to(levels, shape)
    write_video(path, frames.astype(np.uint8), fps)
    return path


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of sampled pictures finds nobody, and in no time."""
    monkeypatch.setattr(inputs, "face_tracks", lambda *_: [])


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(("start", "end"), [(0.0, None), (1.1, None), (0.5, 2.3)])
def test_of_up_to_ten_pictures_a_second_the_same_are_sampled(tmp_path: Path, start: float, end: float | None) -> None:
    for fps in (1, 7, 10):
        path = film(tmp_path / f"{fps}.mp4", 4 * fps, fps)
        once = read_once(path, CONFIG, Scripted([always()]), start=start, end=end)
        twice = read_inputs(path, CONFIG, start=start, end=end)
        assert once.times == twice.times
        assert torch.equal(once.inputs[0].frames, twice.inputs[0].frames)
        assert (once.start, once.end, once.duration, once.size) == (twice.start, twice.end, twice.duration, twice.size)


@pytest.mark.usefixtures("nobody")
@pytest.mark.slow
def test_of_more_the_nearest_are_sampled(tmp_path: Path) -> None:
    for fps in (12, 25, 30, 60):
        path = film(tmp_path / f"{fps}.mp4", 3 * fps, fps)
        once, twice = read_once(path, CONFIG, Scripted([always()])), read_inputs(path, CONFIG)
        apart = np.abs(np.subtract(once.times, twice.times))
        assert apart.max() <= max(0.06, 1 / fps + 1e-3) and once.times[0] == 0 and once.times[-1] == twice.times[-1]
        assert once.readings is not None and set(once.times) <= set(once.readings[0].times.round(3).tolist())


@pytest.mark.usefixtures("nobody")
def test_frames_bytes_and_files_are_read_alike(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 50, 25)
    file = read_once(path, CONFIG, Scripted([always()]), start=0.3, end=1.7)
    for source in (str(path), io.BytesIO(path.read_bytes()), path.open("rb"), read_clip(path, 50).frames):
        same = read_once(source, CONFIG, Scripted([always()]), start=0.3, end=1.7, fps=25.0)
        assert same.times == pytest.approx(file.times)
        assert np.abs(same.inputs[0].frames.float() - file.inputs[0].frames.float()).max() <= 2
    still = read_once(np.zeros((40, 60, 3), np.uint8), CONFIG, Scripted([always()]))
    assert still.times == [0.0] * CONFIG.video.frames and still.readings is not None and len(still.readings[0]) == 1


def test_tracks_are_parts_of_the_dense_ones(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 40, 10)
    late, brief = {at: at for at in range(20, 40)}, {5: 5, 6: 6}  # who is between the sampled pictures is in none
    clip = read_once(path, CONFIG, Scripted([brief, late, always()]), people=3, keep=True)
    assert clip.readings is not None and clip.pictures is not None
    assert (len(clip.readings), len(clip.tracks), clip.persons) == (3, 2, [0, 1])
    track = next(each for each in clip.tracks if not each.present.all())
    person = next(each for each in clip.readings if len(each) == 20)
    assert track.present.tolist() == [False, False, True, True]
    np.testing.assert_allclose(track.landmarks[2] / READ_SIDE, person.landmarks[6] / 48, rtol=1e-4)
    np.testing.assert_array_equal(track.expression[2], person.expression[6])
    np.testing.assert_array_equal(track.landmarks[0], track.landmarks[1])  # as where they came in
    assert track.score.tolist() == pytest.approx([0, 0, 0.9, 0.9])
    assert [each.dominance for each in clip.tracks] == sorted((each.dominance for each in clip.tracks), reverse=True)
    assert clip.inputs[0].faces is not None and clip.inputs[0].faces.shown is not None
    assert clip.inputs[0].faces.shown.all() != clip.inputs[1].faces.shown.all()  # type: ignore[union-attr]


def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[int, int]]:
    """How often a video was opened since, and how many pictures were decoded."""
    opened, decoded = [0], [0]
    open_video, decode = reading.open_video, reading._decode

    def opening(source: Any) -> Any:
        opened[0] += 1
        return open_video(source)

    def decoding(*arguments: Any) -> Any:
        for frame in decode(*arguments):
            decoded[0] += 1
            yield frame

    monkeypatch.setattr(reading, "open_video", opening)
    monkeypatch.setattr(reading, "_decode", decoding)
    return lambda: (opened[0], decoded[0])


def test_a_clip_is_decoded_once_and_so_is_a_film_in_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, spent = film(tmp_path / "a.mp4", 120, 12), counted(monkeypatch)
    read_once(path, CONFIG, Scripted([always()]), people=2, keep=True)
    assert spent() == (2, 120)  # for its clock, and for its pictures
    assert len(list(read_windows_once(path, CONFIG, Scripted([always()]), 2.0))) == 5
    assert spent() == (4, 240)


@pytest.mark.usefixtures("nobody")
@pytest.mark.slow
def test_windows_are_those_of_two_passes(tmp_path: Path) -> None:
    for fps in (8, 25):
        path = film(tmp_path / f"{fps}.mp4", 9 * fps, fps)
        for once, twice in zip(
            read_windows_once(path, CONFIG, Scripted([always()]), 2.0), read_windows(path, CONFIG, 2.0), strict=True
        ):
            assert (once.start, once.end, once.shot, once.times) == (twice.start, twice.end, twice.shot, twice.times)
            assert torch.equal(once.inputs[0].frames, twice.inputs[0].frames)
            assert once.readings is not None
            seconds = once.readings[0].times
            assert once.start == pytest.approx(seconds[0]) and once.end - 0.2 < seconds[-1] < once.end
            assert once.tracks[0].present.all()


def test_everybody_is_in_the_windows_in_which_they_are(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 60, 10)
    cast = [always(), {at: at for at in range(25, 40)}]
    found = [len(clip.readings or ()) for clip in read_windows_once(path, CONFIG, Scripted(cast), 2.0)]
    assert found == [1, 2, 1]


def test_a_run_goes_on_with_the_same_windows_and_each_shot_is_followed_anew(tmp_path: Path) -> None:
    blocks = np.random.default_rng(1).integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
    scenes = np.kron(blocks, np.ones((1, 8, 8, 1), np.uint8))
    write_video(tmp_path / "a.mp4", scenes.repeat(40, 0), 10)
    dense = Scripted([always()])
    whole = list(read_windows_once(tmp_path / "a.mp4", CONFIG, dense, 2.0))
    assert [(clip.shot, clip.start) for clip in whole] == [(0, 0), (0, 2), (4, 4), (4, 6)] and len(dense.scripts) == 2
    for place, clip in enumerate(whole):
        rest = list(read_windows_once(tmp_path / "a.mp4", CONFIG, dense, 2.0, after=(clip.shot, clip.end)))
        assert [each.start for each in rest] == [each.start for each in whole[place + 1 :]]
        for one, other in zip(rest, whole[place + 1 :], strict=True):
            assert one.readings and other.readings
            np.testing.assert_array_equal(one.readings[0].aus, other.readings[0].aus)


def test_what_is_remembered_of_a_long_shot_is_a_window(tmp_path: Path) -> None:
    path, dense = film(tmp_path / "a.mp4", 160, 10), Scripted([always()])
    sizes = [len(dense.scripts[0].people[0].at) for _ in read_windows_once(path, CONFIG, dense, 2.0)]
    assert len(sizes) == 8 and max(sizes) <= 31 + 1  # a window and a half, as far as it was looked ahead
    assert len(dense.scripts[0].people[0].notes) <= 32


def test_pictures_that_nobody_wants_are_let_go() -> None:
    alive: list[weakref.ref[Any]] = []
    most = 0

    def shown(number: int) -> Shown:
        def scale(_: int | None) -> np.ndarray:
            picture = np.zeros((4, 4, 3), np.uint8)
            alive.append(weakref.ref(picture))
            return picture

        return Shown(number / 10, {}, "a", 10.0, 50.0, (4, 4), 49.9, scale)

    chooser = Chooser([Sampling(8, (2, 4)), Sampling(5, (4,), edges=False)], shown(0), 0.0, None)
    for number in range(500):
        one = shown(number)
        one.at(4)
        chooser.take(one)
        del one
        most = max(most, sum(ref() is not None for ref in alive))
    clips = chooser.finish()
    assert [clip.times.round(1).tolist()[-1] for clip in clips[0]] == [49.9] * 2 and len(clips[1]) == 1
    assert most <= 2 * 8 + 5 + 1


@pytest.mark.usefixtures("nobody")
def test_a_file_that_ends_early_is_sampled_where_it_can_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captioner.video.clock.SCAN_BYTES", 0)  # as for a file too large to be read through
    data = film(tmp_path / "a.mkv", 80, 8, noise=True).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    caplog.set_level(logging.WARNING)
    once = read_once(tmp_path / "cut.mkv", CONFIG, Scripted([always()]))
    assert "cut.mkv: readable up to" in caplog.text
    assert once.times == read_inputs(tmp_path / "cut.mkv", CONFIG).times and 4 < once.times[-1] < 6


@pytest.mark.slow
def test_the_shipped_reader_sees_the_same_in_one_pass(tmp_path: Path) -> None:
    config: ModelConfig = tiny_config("experts.margin=0.45", "video.frames=8", "experts.frames=8")
    dense = DenseReader()
    once, twice = read_once(EXAMPLE, config, dense), read_inputs(EXAMPLE, config)
    (one,), (other,) = once.tracks, twice.tracks
    assert one.present.all() and other.present.all()
    assert np.abs(one.landmarks - other.landmarks).mean() < 0.03 * np.ptp(other.boxes[:, ::2], axis=1).mean()
    assert once.inputs[0].faces is not None and twice.inputs[0].faces is not None
    experts = dense.examiner.experts
    with torch.no_grad():
        scores = [experts.au(crops_of(each.inputs[0])).scores for each in (once, twice)]
    assert (scores[0] - scores[1]).abs().mean() < 0.06
    alone, again = dense.read(EXAMPLE), once.readings
    assert again is not None and len(alone) == len(again) == 1
    np.testing.assert_array_equal(alone[0].aus, again[0].aus)
    windows = list(read_windows_once(EXAMPLE, config, dense, 2.0))
    assert [len(each.readings or ()) for each in windows] == [1] * len(windows) and len(windows) > 1
    joined = np.concatenate([each.readings[0].aus for each in windows if each.readings])
    assert len(joined) == pytest.approx(len(alone[0]), abs=2)
    assert np.abs(joined.mean(0) - alone[0].aus.mean(0)).max() < 0.05


def crops_of(one: Any) -> torch.Tensor:
    from captioner.video.transforms import normalise

    return normalise(one.faces.pixels[0])
