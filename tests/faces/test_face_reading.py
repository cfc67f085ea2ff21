"""The record of one person over a clip, and its table in OpenFace's columns."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from captioner.errors import CaptionerError
from captioner.faces import EXPRESSION_NAMES, FaceError
from captioner.faces.face_reading import FaceReading, FaceReadings, roll_of
from captioner.inference.tables import to_pandas
from tests.faces.mean_face import mean_face

UNITS, THRESHOLDS, EMOTIONS = (1, 4, 12), (0.5, 0.6, 0.7), ("anger", "happiness")


def reading(face_id: int = 0, count: int = 3, first: int = 0) -> FaceReading:
    """A person seen in all but the second frame, whose values count up."""
    numbers = np.arange(count, dtype=np.float32)
    aus = np.stack([numbers / 10 + 0.45, numbers / 10 + 0.5, numbers * 0], axis=1).astype(np.float32)
    return FaceReading(
        face_id=face_id, frames=first + 5 * np.arange(count), times=0.2 * (first / 5 + np.arange(count)),
        success=np.arange(count) != 1, confidence=numbers / 10, boxes=np.tile(np.float32([10, 20, 40, 60]), (count, 1)),
        landmarks=np.ones((count, 68, 2), np.float32) * numbers[:, None, None], yaw=10 * numbers, pitch=20 * numbers,
        roll=30 * numbers, gaze=np.stack([numbers, -numbers], 1), expression=np.ones((count, len(EXPRESSION_NAMES))),
        aus=aus, emotions=np.ones((count, 2), np.float32) / 2, examined=np.ones(count, bool), au_ids=UNITS,
        au_thresholds=THRESHOLDS, emotion_names=EMOTIONS,
    )  # fmt: skip


def readings(*people: FaceReading) -> FaceReadings:
    return FaceReadings(people, "clip.mp4", 25.0, 2.0, (640, 360), UNITS, THRESHOLDS, EMOTIONS)


def test_columns_are_openfaces_in_name_sign_and_unit() -> None:
    table = reading().table()
    assert list(table)[:8] == [
        "frame", "face_id", "timestamp", "confidence", "success", "pose_Rx", "pose_Ry", "pose_Rz"
    ]  # fmt: skip
    assert table["frame"].tolist() == [1, 6, 11]  # counted from 1
    np.testing.assert_allclose(table["pose_Rx"], np.radians([0, 20, 40]), rtol=1e-6)  # down is positive
    np.testing.assert_allclose(table["pose_Ry"], -np.radians([0, 10, 20]), rtol=1e-6)  # to the person's own right is
    np.testing.assert_allclose(table["pose_Rz"], np.radians([0, 30, 60]), rtol=1e-6)
    np.testing.assert_allclose(table["AU01_r"], [0.45, 0.55, 0.65], rtol=1e-6)
    assert table["AU01_c"].tolist() == [0, 0, 1]  # no face in the second frame
    assert table["AU04_c"].tolist() == [0, 0, 1] and table["AU12_c"].tolist() == [0, 0, 0]
    assert table["success"].tolist() == [1, 0, 1] and "happiness" in table
    assert [table[f"FaceRect{name}"][0] for name in ("X", "Y", "Width", "Height")] == [10, 20, 30, 40]
    assert table["x_67"].tolist() == table["y_0"].tolist() == [0, 1, 2]


def test_rows_of_several_people_come_in_order_of_time() -> None:
    table = readings(reading(0), reading(1, count=2, first=5)).table()
    assert table["frame"].tolist() == [1, 6, 6, 11, 11]
    assert table["face_id"].tolist() == [0, 0, 1, 0, 1]


def test_nobody_is_a_table_of_no_rows_with_all_columns() -> None:
    nobody, someone = readings().table(), readings(reading()).table()
    assert list(nobody) == list(someone)
    assert {len(column) for column in nobody.values()} == {0}


def test_values_are_found_by_name() -> None:
    one = reading()
    assert one.au(4) is not None and one.au(4)[0] == np.float32(0.5)
    assert one.emotion("anger").tolist() == [0.5, 0.5, 0.5]
    assert one.value("jawOpen").tolist() == [1, 1, 1]
    with pytest.raises(FaceError, match=r"unknown action unit '11'.*1, 4, 12"):
        one.au(11)
    with pytest.raises(FaceError, match="unknown emotion 'joy'"):
        one.emotion("joy")
    with pytest.raises(FaceError, match="unknown expression 'smile'"):
        one.value("smile")


def test_arrays_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"aus has shape \(3, 2\): \(3, 3\) is needed"):
        replace(reading(), aus=np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match=r"yaw has shape \(2,\): \(3,\) is needed"):
        replace(reading(), yaw=np.zeros(2, np.float32))


def test_a_data_frame_for_those_who_have_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # as if it were not installed
    with pytest.raises(CaptionerError, match="needs pandas: pip install pandas"):
        to_pandas(readings(reading()))
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda columns: ("frame", columns)))
    kind, columns = to_pandas(readings(reading()))
    assert kind == "frame" and list(columns) == list(reading().table())


@pytest.mark.parametrize("angle", [-40, 0, 25])
def test_roll_is_clockwise(angle: float) -> None:
    turn = np.radians(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], np.float32)
    upright = mean_face().numpy()
    np.testing.assert_allclose(roll_of((upright @ matrix.T)[None]), angle + roll_of(upright[None]), atol=1e-3)
