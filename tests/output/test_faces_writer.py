"""`-f faces`: a table of everybody's face beside the captions, with a made-up model."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

import captioner
from captioner.cli import main
from captioner.errors import VideoError
from captioner.faces.face_reading import FaceReadings, csv_text
from tests.faces.test_face_reading import reading, readings
from tests.output.fakes import FakeModel


class Reading(FakeModel):
    """Reads two people in every video but those whose name says no."""

    def __init__(self) -> None:
        super().__init__()
        self.read_sources: list[Any] = []

    def read(self, source: Any) -> FaceReadings:
        self.read_sources.append(source)
        if "b.mkv" in str(source):
            raise VideoError(f"{source!r} is damaged")
        return readings(reading(0), reading(1, count=2, first=5))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Reading:
    fake = Reading()
    monkeypatch.setattr(captioner, "load", fake.load)
    return fake


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_the_table_is_written_beside_the_others(folder: Path, model: Reading) -> None:
    assert main(["clips/a.mp4", "-o", "out", "-f", "faces,txt", "-q"]) == 0
    written = rows(folder / "out" / "a.faces.csv")
    assert [(row["frame"], row["face_id"], row["timestamp"]) for row in written] == [
        ("1", "0", "0.000"), ("6", "0", "0.200"), ("6", "1", "0.200"), ("11", "0", "0.400"), ("11", "1", "0.400"),
    ]  # fmt: skip
    assert written[1]["success"] == "0" and written[3]["AU01_c"] == "1"
    assert written[3]["AU01_r"] == "0.6500" and written[3]["x_5"] == "2.0" and written[0]["pose_Ry"] == "0.0000"
    assert (folder / "out" / "a.txt").read_text() == "Brightness 50.\n"


def test_no_other_format_reads_faces(folder: Path, model: Reading) -> None:
    assert main(["clips/a.mp4", "-o", "out", "-f", "txt,json,csv", "-q"]) == 0
    assert model.read_sources == []


def test_a_table_that_lacks_is_read_again_and_one_that_is_there_is_not(folder: Path, model: Reading) -> None:
    command = ["clips/a.mp4", "-o", "out", "-f", "faces", "-q"]
    assert main([*command[:-2], "txt", "-q"]) == 0
    assert main(command) == main(command) == 0
    assert len(model.read_sources) == 1 and len(model.calls) == 2


def test_windows_and_standard_input_have_one_table(
    folder: Path, model: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["clips/a.mp4", "-o", "out", "-f", "faces", "--window", "5", "-q"]) == 0
    assert len(rows(folder / "out" / "a.faces.csv")) == 5
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((folder / "clips" / "a.mp4").read_bytes())))
    assert main(["-", "-o", "out", "-f", "faces", "-q"]) == 0
    assert model.read_sources[-1].seek(0, 2) > 0  # the whole of it, once more
    assert len(rows(folder / "out" / "stdin.faces.csv")) == 5


def test_a_video_whose_faces_cannot_be_read_fails_and_the_others_go_on(
    folder: Path, model: Reading, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clips/b.mkv", "clips/a.mp4", "-o", "out", "-f", "faces", "-q"]) == 1
    assert "error: 'clips/b.mkv' is damaged" in capsys.readouterr().err
    assert sorted(path.name for path in (folder / "out").glob("*.faces.csv")) == ["a.faces.csv"]


def test_nobody_is_a_head_without_rows() -> None:
    head, *rest = csv_text(readings()).splitlines()
    assert head.startswith("frame,face_id,timestamp,confidence,success,pose_Rx") and not rest
