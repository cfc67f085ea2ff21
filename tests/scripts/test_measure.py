"""scripts/measure.py: what counts as commanded and as found, intervals by hand, one line for bad input."""

from pathlib import Path

import measure
import numpy as np
import pytest
from safetensors.numpy import save_file

from captioner.data.manifest import Record
from captioner.faces import FaceReader, FaceTrack
from captioner.inference.results import Link
from captioner.synth.film.faceless import FACELESS
from eval.quality import faces
from eval.quality.animator import CASES, ResponseTally, response_table
from eval.quality.empty_videos import empty_videos
from eval.quality.faces import FaceTally
from eval.quality.links import judge_link, link_shares
from eval.significance import share_interval
from tests.helpers import noise_video

CURVE = [0.0, 0.1, 0.8, 0.2]
CLIP = Record(
    "a", Path("a.mp4"), "test", au_ids=(4,), fps=2.0, extra={"phrases": ["frown", "closed_eyes"], "au": {"4": CURVE}}
)


def phrase(name: str, au: int, second: float | None = 1.0, seen: bool = True) -> Link:
    return Link(name, name, 0, 1, au, "", "experts", None, second, seen)


def test_what_is_true_of_a_link() -> None:
    good = judge_link(phrase("frown", 4), CLIP)
    assert (good.commanded, good.true, good.shown) == (True, True, True)
    assert judge_link(phrase("frown", 4, 1.5), CLIP).shown is False
    assert judge_link(phrase("frown", 4, 9.0), CLIP).shown is False  # past the end: the last frame
    assert judge_link(phrase("frown", 4, None), CLIP).shown is None
    wrong = judge_link(phrase("smile", 12), CLIP)
    assert (wrong.commanded, wrong.true, wrong.shown) == (False, False, None)
    assert judge_link(phrase("closed_eyes", 43), CLIP).commanded  # true, though no unit stands for it


def test_shares_and_intervals() -> None:
    verdicts = [judge_link(phrase("frown", 4), CLIP)] * 3 + [judge_link(phrase("smile", 12, seen=False), CLIP)]
    shares = link_shares(verdicts)
    assert shares["linked unit is commanded"]["share"] == 0.75
    assert shares["... of confirmed phrases"]["share"] == 1.0
    assert shares["phrases confirmed"]["count"] == 4
    span = share_interval(8, 10)
    assert (span.value, span.low, span.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-3)
    assert link_shares([]) == {}


def test_a_missing_manifest_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main(["evidence", "--manifest", str(tmp_path / "none.jsonl")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no such file")
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["faces", "animator", "evidence"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        measure.main([command, "--help"])
    assert f"{command} [-h]" in capsys.readouterr().out


def face(left: float, count: int = 2) -> FaceTrack:
    """A track of a face of 40 pixels that lies that far from the left, seen in every frame."""
    marks = np.tile(square(left), (count, 1, 1))
    nothing = np.zeros((count, 4), np.float32)
    return FaceTrack(nothing, marks, np.ones(count, bool), np.ones(count, np.float32), nothing)


def square(left: float) -> np.ndarray:
    """68 points on the diagonal of a square of 40 pixels."""
    along = np.linspace(0, 40, 68, dtype=np.float32)
    return np.stack([left + along, 20 + along], 1)


def test_faces_are_found_missed_false_or_swapped() -> None:
    size, truth = (80, 400), np.stack([np.stack([square(20)] * 2), np.stack([square(200)] * 2)])
    tally = FaceTally()
    tally.add_clip([face(21), face(200), face(300)], truth, size)
    found = tally.scores()
    assert (found["recall"], found["false a frame"], found["identity kept"]) == (1, 1, 1)
    assert 0 < found["error"] < 0.1
    swapped = [face(20), face(200)]
    for one, other in ((0, 1), (1, 0)):
        swapped[one].landmarks[1] = truth[other, 0]
    tally.add_clip(swapped, truth, size)
    assert tally.scores()["identity kept"] == 0.5
    tally.add_clip([], truth, size)
    assert tally.scores()["recall"] == pytest.approx(2 / 3)
    outside = np.full_like(truth, np.nan)
    outside[0] = truth[0] - np.float32([45, 0])  # half out: neither found nor false
    before = tally.faces, tally.false
    tally.add_clip([face(-24)], outside, size)
    assert (tally.faces, tally.false) == before


def test_people_are_counted_and_tracks_on_nobody_are_strays() -> None:
    size, truth = (80, 400), np.stack([np.stack([square(20)] * 4), np.stack([square(200)] * 4)])
    tally = FaceTally()
    tally.add_clip([face(20, 4), face(200, 4)], truth, size, fps=10.0)
    tally.add_clip([face(20, 4), face(200, 4), face(300, 4)], truth, size, fps=10.0)
    tally.add_clip([face(20, 4)], truth, size, fps=10.0)
    scores = tally.scores()
    assert scores["people counted right"] == pytest.approx(1 / 3)
    assert scores["false tracks a minute"] == pytest.approx(60 / 1.2)
    tally.add_clip([], np.zeros((0, 4, 68, 2), np.float32), size, fps=10.0)
    assert tally.scores()["people counted right"] == pytest.approx(2 / 4)


@pytest.mark.slow
def test_videos_without_a_face_are_the_same_for_the_same_seed() -> None:
    first = dict(empty_videos(each=1, seed=3))
    assert list(first) == list(FACELESS)
    kind, again = next(empty_videos(each=1, seed=3))
    np.testing.assert_array_equal(first[kind], again)
    for video in first.values():
        assert video.shape == (50, 360, 640, 3) and video.dtype == np.uint8
        assert np.abs(video[0].astype(int) - video[-1]).mean() > 2  # the camera moves
    assert not np.array_equal(first[kind], next(empty_videos(each=1, seed=4))[1])


def test_whatever_is_found_on_nothing_is_false(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sees(FaceReader):
        def _read(self, clip: np.ndarray, times: np.ndarray | None) -> list[FaceTrack]:
            return [face(20, len(clip))] * int(clip[0, 0, 0, 0] > 0)

    videos = [("lamps", np.ones((50, 360, 640, 3), np.uint8)), ("noise", np.zeros((50, 360, 640, 3), np.uint8))]
    monkeypatch.setattr(faces, "empty_videos", lambda each, seed: iter(videos))
    assert faces.measure_on_nothing(Sees(), 1) == {
        "false a minute, all": pytest.approx(6), "false a minute, lamps": pytest.approx(12),
        "false a minute, noise": 0,
    }  # fmt: skip


def test_responses_of_the_animator_are_shares_and_means() -> None:
    name = next(iter(CASES))
    lines = response_table({name: ResponseTally([0.9, 0.8, 0.0, 0.7], [0.5, 1.0]), "none": ResponseTally(lost=2)})
    first, second = lines.splitlines()[2:]
    assert first.startswith(f"| {name} | 4 | 0.600 |") and "75%" in first and first.endswith("| 0.75 | 0.75 |")
    assert second == "| none | 0 | - | - | - | - | - |"


def test_clips_without_labels_or_with_other_points_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["faces", "--clips", str(tmp_path), "--split", "test"]
    assert measure.main(command) == 2
    assert "has no labels of split 'test'" in capsys.readouterr().err
    (tmp_path / "labels").mkdir()
    (tmp_path / "videos").mkdir()
    noise_video(tmp_path / "videos" / "a_test_0.mp4", 0)
    save_file({"landmarks": np.zeros((1, 6, 39, 2), np.float32)}, tmp_path / "labels" / "a_test_0.safetensors")
    assert measure.main(command) == 2
    error = capsys.readouterr().err
    assert "39 points a face: only clips of animated photos" in error and error.count("\n") == 1
