"""People followed and examined densely: made-up readers for the bookkeeping, the shipped networks for the rest."""

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from captioner.data import face_readings
from captioner.data.face_readings import DenseReader, Footage, Watch, filmed, read_faces, stride_of
from captioner.errors import VideoError
from captioner.faces.face_reading import FaceReadings
from captioner.video.reading import read_clip, write_video
from tests.data.scripted import Brightness, Script
from tests.helpers import ROOT

EXAMPLE = ROOT / "examples" / "smile.mp4"


def film(count: int, gap: float = 0.1) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Pictures each brighter than the last."""
    return ((t * gap, np.full((180, 320, 3), t, np.uint8)) for t in range(count))


def read(script: Script, count: int, duration: float = 3.0, pictures: Any = None) -> tuple[FaceReadings, Brightness]:
    examiner = Brightness()
    footage = Footage("made up", 25.0, duration, (640, 360))
    return read_faces(pictures or film(count), Watch(script, examiner, footage)), examiner  # type: ignore[arg-type]


def at_once(*frames: int) -> dict[int, int]:
    return {frame: frame for frame in frames}


def test_a_gap_has_no_success_and_no_values() -> None:
    (one,), _ = read(Script([at_once(2, 3, 6)]), 9)
    np.testing.assert_allclose(one.times, np.arange(2, 7) / 10)
    assert one.frames.tolist() == [5, 8, 10, 12, 15]  # of 25 a second
    assert one.success.tolist() == [True, True, False, False, True]
    assert one.confidence.tolist() == pytest.approx([0.9, 0.9, 0, 0, 0.9])
    assert one.yaw.tolist() == pytest.approx([6, 9, 0, 0, 18])
    assert one.au(1).tolist() == pytest.approx([0.02, 0.03, 0, 0, 0.06])
    assert np.abs(np.diff(one.landmarks[1:3], axis=0)).max() == 0  # as where they were last


def test_pixels_are_those_of_the_video_not_of_what_was_read() -> None:
    script = Script([at_once(0, 1)])
    (one,), _ = read(script, 2)
    np.testing.assert_allclose(one.landmarks[0], (script.marks[0] + 0.5) * 2, rtol=1e-5)
    np.testing.assert_allclose(one.boxes[0], [*one.landmarks[0].min(0), *one.landmarks[0].max(0)])


def test_who_is_found_late_is_examined_where_they_were_before() -> None:
    (one,), _ = read(Script([{5: 5, 4: 5, 3: 5, 6: 6}]), 9)
    assert one.times.tolist() == pytest.approx([0.3, 0.4, 0.5, 0.6])
    assert one.au(1).tolist() == pytest.approx([0.03, 0.04, 0.05, 0.06]) and one.examined.all()


def test_the_most_dominant_is_number_zero_and_nobody_is_nobody() -> None:
    readings, _ = read(Script([at_once(3), at_once(*range(9))], side=80), 9)
    assert [(one.face_id, len(one)) for one in readings] == [(0, 9), (1, 1)]
    assert readings[0].dominance > readings[1].dominance
    empty, _ = read(Script([{}]), 9)
    assert len(empty) == 0 and len(empty.table()["frame"]) == 0


def test_long_videos_and_crowds_are_examined_more_seldom_and_filled_in() -> None:
    assert [stride_of(seconds) for seconds in (4, 5, 60, 900, 7200)] == [1, 2, 2, 2, 4]
    (one,), examiner = read(Script([at_once(*range(9))]), 9, duration=300.0)
    assert one.examined.tolist() == [True, False] * 4 + [True]
    assert one.au(1).tolist() == pytest.approx([t / 100 for t in range(9)], abs=1e-6)  # in a straight line
    crowd = [at_once(*range(20)) for _ in range(8)]
    readings, examiner = read(Script(crowd), 20)
    assert len(examiner.asked) <= face_readings.MOST_EXAMINED * 2 + len(crowd)  # two seconds
    assert all(one.examined.any() for one in readings)


def test_one_picture_is_known_to_be_a_still() -> None:
    script = Script([at_once(0)])
    read(script, 1)
    read(script, 2)
    assert script.stills == [True, False]


def test_pictures_are_let_go() -> None:
    alive: list[weakref.ref[NDArray[np.uint8]]] = []
    most = 0

    def pictures() -> Iterator[tuple[float, NDArray[np.uint8]]]:
        nonlocal most
        for t, picture in film(200):
            alive.append(weakref.ref(picture))
            yield t, picture
            del picture
            most = max(most, sum(ref() is not None for ref in alive))

    read(Script([at_once(*range(200))]), 200, pictures=pictures())
    assert most <= 20


@pytest.fixture(scope="module")
def reader() -> DenseReader:
    return DenseReader()


@pytest.mark.slow
def test_a_smile_is_read_as_it_grows(reader: DenseReader) -> None:
    (one,) = reader.read(EXAMPLE)
    assert len(one) > 30 and one.success.all() and one.examined.all()
    assert np.median(np.diff(one.times)) == pytest.approx(0.1, abs=0.04)
    smile = one.au(12)
    assert smile[:5].mean() < 0.3 and smile.max() > 0.9
    assert one.present[:, one.au_ids.index(12)].any()
    np.testing.assert_allclose(one.emotions.sum(1), 1, atol=1e-4)
    assert one.emotion_names[int(one.emotions[smile.argmax()].argmax())] == "happiness"
    assert np.corrcoef(one.value("mouthSmile"), smile)[0, 1] > 0.8
    assert 11 not in one.au_ids  # nobody taught it


@pytest.mark.slow
def test_a_file_its_bytes_and_its_frames_are_read_alike(reader: DenseReader) -> None:
    (file,) = reader.read(str(EXAMPLE), end=1.0)
    with EXAMPLE.open("rb") as opened:
        (same,) = reader.read(opened, end=1.0)
    np.testing.assert_array_equal(file.aus, same.aus)
    clip = read_clip(EXAMPLE, 54)
    (frames,) = reader.read(clip.frames, fps=clip.fps, end=1.0)
    assert abs(len(frames) - len(file)) <= 1
    np.testing.assert_allclose(frames.aus.mean(0), file.aus.mean(0), atol=0.05)


def test_a_part_of_a_video(reader: DenseReader) -> None:
    (one,) = reader.read(EXAMPLE, start=1.0, end=1.5)
    assert one.times[0] >= 1.0 and one.times[-1] < 1.5 and len(one) in (4, 5, 6)
    with pytest.raises(VideoError, match=r"start 9.00 s is past the end of '.*smile.mp4'"):
        reader.read(EXAMPLE, start=9.0)
    with pytest.raises(VideoError, match="need > 0, >= 0, > start"):
        reader.read(np.zeros((4, 64, 64, 3), np.uint8), start=2.0, end=1.0)


def test_a_still_picture_is_one_row(reader: DenseReader) -> None:
    picture = read_clip(EXAMPLE, 3).frames[2]
    readings = reader.read(picture)
    assert [len(one) for one in readings] == [1]
    table = readings.table()
    assert table["frame"].tolist() == [1] and table["AU12_c"].tolist() == [1]


def test_the_file_may_have_any_size_and_the_points_lie_on_the_face(reader: DenseReader, tmp_path: Path) -> None:
    clip = read_clip(EXAMPLE, 4, short_side=560).frames
    write_video(tmp_path / "large.mp4", clip, 8.0)
    large, small = reader.read(tmp_path / "large.mp4"), reader.read(read_clip(EXAMPLE, 4).frames, fps=8.0)
    assert large.size[1] == 560 and large.fps == 8.0
    same = small[0].landmarks[: len(large[0])] / small.size[1]
    np.testing.assert_allclose(large[0].landmarks / large.size[1], same, atol=0.01)


def test_what_is_read_of_frames_in_memory() -> None:
    pictures = list(filmed(np.zeros((50, 120, 90, 3), np.uint8), fps=25.0))
    assert (pictures[0].size, pictures[0].duration, pictures[0].last) == ((90, 120), 2.0, 1.96)
    assert pictures[3].at(60).shape == (80, 60, 3)
    seconds = [one.second for one in pictures]
    assert len(seconds) == 21 and seconds[:3] == pytest.approx([0, 0.08, 0.2]) and seconds[-1] == 1.96


def test_the_quick_networks_say_what_the_others_say(reader: DenseReader) -> None:
    images = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    experts, examiner = reader.examiner.experts, reader.examiner
    with torch.no_grad():
        torch.testing.assert_close(examiner._au(images).scores, experts.au(images).scores, atol=1e-4, rtol=0)
        torch.testing.assert_close(examiner._er(images).logits, experts.er(images).logits, atol=1e-3, rtol=0)
