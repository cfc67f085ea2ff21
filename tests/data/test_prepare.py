"""scripts/prepare.py on miniatures of MAFW and EmVidCap in their real layouts; captions and videos are invented."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from captioner.data.adapters import clear_faces
from captioner.data.manifest import Record
from captioner.faces import EXPRESSION_NAMES, FaceReader, FaceTrack
from captioner.faces.reader import make_track
from captioner.video.reading import write_video
from tests.data.miniatures import EVENTS, FROWN, Run, emvidcap, mafw, put, records, refused

# --- MAFW --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_mafw(tmp_path: Path, run: Run, clip: Path, encoding: str) -> None:
    mafw(tmp_path / "data", clip, encoding)
    code, out, _ = run("mafw", "--fold", "2", "--check-videos")
    assert code == 0
    found = records(tmp_path)
    assert {key for key, record in found.items() if record.split == "train"} == {"00001", "00002", "00004"}
    assert found["00003"].split == "test"
    assert found["00001"].captions == (f"A man shouts. The {FROWN}.",)
    assert (found["00004"].emotion, found["00004"].captions) == ("neutral", ())
    assert found["00001"].multi_emotion == ("anger", "disgust")
    assert found["00002"].multi_emotion == ("anxiety", "fear")
    assert {record.fold for record in found.values()} == {2}
    assert (found["00003"].n_frames, found["00003"].fps) == (3, 5.0)
    assert "train clips                    3      6425  differs by -6422" in out
    assert "classes: " in out and "sadness 1" in out
    assert "unreadable videos: 0" in out


def test_mafw_counts_train_clips_with_captions_as_published(tmp_path: Path, run: Run, clip: Path) -> None:
    mafw(tmp_path / "data", clip)
    shutil.rmtree(tmp_path / "data" / "Train & Test Set" / "single" / "no_caption")
    assert "train clips                    2      6423" in run("mafw")[1]
    assert "00004" not in records(tmp_path)


def test_mafw_captions_and_labels_from_tables(tmp_path: Path, run: Run, clip: Path) -> None:
    """Without captioned lists: descriptive_text without a header, labels in the last column, by number."""
    mafw(tmp_path / "data", clip)
    lists = tmp_path / "data" / "Train & Test Set" / "single"
    shutil.rmtree(lists / "with_caption")
    for path in lists.rglob("*.txt"):
        path.write_text("\n".join(line.split()[0] for line in path.read_text().splitlines()))
    described = [f'{name}.mp4,一个人。,"{text} The {FROWN}."' for name, (_, text) in EVENTS.items()]
    put(tmp_path / "data" / "Labels" / "descriptive_text.csv", "\n".join(described))
    numbers = {"00001": 1, "00002": 6, "00003": 3, "00004": 5}
    labelled = ["clip,anger,fear,single_label", *(f"{name}.mp4,0,1,{number}" for name, number in numbers.items())]
    put(tmp_path / "data" / "Labels" / "single-set.csv", "\n".join(labelled))
    assert run("mafw")[0] == 0
    found = records(tmp_path)
    assert {k: r.emotion for k, r in found.items()} == {
        "00001": "anger", "00002": "sadness", "00003": "fear", "00004": "neutral"
    }  # fmt: skip
    assert found["00003"].captions == (f"A girl runs. The {FROWN}.",)


def test_mafw_spreadsheets(tmp_path: Path, run: Run, clip: Path) -> None:
    """A workbook is read where openpyxl is there; where it is not, one line says how to export it."""
    mafw(tmp_path / "data", clip)
    shutil.rmtree(tmp_path / "data" / "Train & Test Set" / "single" / "with_caption")
    path = tmp_path / "data" / "Labels" / "descriptive_text.xlsx"
    if importlib.util.find_spec("openpyxl") is None:
        put(path, b"PK")
        refused(run("mafw"), tmp_path, "descriptive_text.xlsx is a spreadsheet", "pip install openpyxl", "CSV (UTF-8)")
        return
    book = importlib.import_module("openpyxl").Workbook()
    for name, (_, text) in EVENTS.items():
        book.active.append([f"{name}.mp4", "一个人。", f"{text} The {FROWN}."])
    book.save(path)
    assert run("mafw")[0] == 0
    assert records(tmp_path)["00003"].captions == (f"A girl runs. The {FROWN}.",)


def test_mafw_wrong_layouts(tmp_path: Path, run: Run, clip: Path) -> None:
    data = tmp_path / "data"
    refused(run("mafw"), tmp_path, "no such file")
    put(data / "clips" / "00001.mp4", clip)
    refused(run("mafw"), tmp_path, "not laid out as MAFW", "set_1/train.txt", "found clips/", "unpack")
    mafw(data, clip)
    refused(run("mafw", "--fold", "3"), tmp_path, "set_3/train.txt", "lists of the folds 1, 2", "--fold")
    refused(run("mafw", "--fold", "6"), tmp_path, "fold 6 does not exist", "1 to 5")
    put(data / "copy" / "set_1" / "test.txt", "00001.mp4 fear\n")
    refused(run("mafw"), tmp_path, "one train and one test list of fold 1", "keep one of each")
    shutil.rmtree(data / "copy")
    put(data / "Train & Test Set" / "single" / "with_caption" / "set_1" / "test.txt", "a photo\nanother\n")
    refused(run("mafw"), tmp_path, "2 of 2 lines name no clip")


# --- EmVidCap ----------------------------------------------------------------------------------------------------


def test_emvidcap(tmp_path: Path, run: Run, clip: Path) -> None:
    emvidcap(tmp_path / "data", clip)
    code, out, _ = run("emvidcap")
    assert code == 0
    found = records(tmp_path)
    assert {k: r.split for k, r in found.items()} == {
        "vid1": "train", "vid2": "train", "vid1301": "test", "vid80703": "test", "vid10001": "train",
    }  # fmt: skip
    assert "notice: vid80703 is in test and train: removed from train" in out
    assert "duplicates across splits: 1" in out
    assert "captions emptied by normalisation: 1" in out
    assert "missing videos: 1 (vid30002), left out of the manifest" in out
    assert (tmp_path / "out" / "manifest.left-out.txt").read_text() == "vid30002\tmissing\n"
    assert found["vid80703"].captions == ("a man laughs, happily", "a man is glad")
    assert found["vid10001"].captions == ('"i hate it',)
    assert found["vid10001"].extra["source_class"] == "anger"
    assert found["vid2"].group == "abcdefghijk"
    for line in ("S train captions               3      9462  differs by -9459", "L test clips                   2 "):
        assert line in out
    assert "L trust clips                  1       116" in out  # vid80703 counts once


def test_emvidcap_one_part(tmp_path: Path, run: Run, clip: Path) -> None:
    emvidcap(tmp_path / "data", clip)
    assert run("emvidcap", "--part", "S")[0] == 0
    assert set(records(tmp_path)) == {"vid1", "vid2", "vid1301"}


def test_emvidcap_wrong_layouts(tmp_path: Path, run: Run, clip: Path) -> None:
    data = tmp_path / "data"
    emvidcap(data, clip)
    small = data / "dataset_v1(EmVideo-S)"
    put(small / "EmVideo_test_captions.csv", "VideoID,EmCaptions\nclip7,a man\n")
    refused(run("emvidcap"), tmp_path, "EmVideo_test_captions.csv: row 2", "'clip7'", "wanted vid123")
    (small / "EmVideo_test_captions.csv").unlink()
    refused(run("emvidcap"), tmp_path, "a test file of part S", "S train: EmVideo_trainval_captions.csv", "--part")
    shutil.rmtree(data / "dataset_v2_EmVideo-L")
    put(small / "EmVideo_trainval_captions.csv", "Video,Text\nvid1,a man\n")
    refused(run("emvidcap"), tmp_path, "columns VideoID and EmCaptions", "(Video | Text)")


def test_nothing_is_written_without_videos(tmp_path: Path, run: Run, clip: Path) -> None:
    emvidcap(tmp_path / "data", clip)
    shutil.rmtree(tmp_path / "data" / "videos")
    refused(run("emvidcap"), tmp_path, "none of the 6 listed videos is there", "vid30002.mp4", "--videos")


def test_videos_elsewhere_and_unreadable_ones(tmp_path: Path, run: Run, clip: Path) -> None:
    emvidcap(tmp_path / "data", clip)
    shutil.move(tmp_path / "data" / "videos", tmp_path / "elsewhere")
    put(tmp_path / "elsewhere" / "vid1301.mp4", b"no video")
    code, out, _ = run("emvidcap", "--videos", str(tmp_path / "elsewhere"), "--check-videos")
    assert code == 0
    assert "unreadable videos: 1 (vid1301: " in out
    assert "vid1301" not in records(tmp_path)
    assert "vid1301\t" in (tmp_path / "out" / "manifest.left-out.txt").read_text()


# --- the face rule -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faces", "clear"),
    [
        ([(64, 80)], True),
        ([(63, 80)], False),  # too small
        ([(80, 80), (90, 90)], False),  # none dominates
        ([(60, 60), (90, 90)], True),
        ([], False),
    ],
)
def test_face_rule(faces: list[clear_faces.FaceSize], clear: bool) -> None:
    assert clear_faces.is_clear(faces) is clear


class OneFace(FaceReader):
    """Sees a face, a sixth of the picture's width and of its height, in five of eight frames."""

    def _read(self, clip: np.ndarray, times: np.ndarray | None) -> list[FaceTrack]:
        corner = np.array([clip.shape[2], clip.shape[1]], np.float32) / 6
        marks = np.random.default_rng(0).uniform(0, 1, (68, 2)).astype(np.float32)
        marks[0], marks[1] = 0, 1
        seen, values = range(5), [np.zeros(len(EXPRESSION_NAMES), np.float32)] * 5
        return [make_track(len(clip), clip.shape[1:3], seen, [marks * corner] * 5, [1.0] * 5, values)]


@pytest.mark.parametrize(("height", "kept"), [(390, 1), (380, 0)])  # a sixth of it is 65 pixels, and 63
def test_clear_faces_are_measured_in_pixels_of_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, height: int, kept: int
) -> None:
    write_video(tmp_path / "a.mp4", np.full((8, height, height + 20, 3), 90, np.uint8), 8)
    monkeypatch.setattr(clear_faces, "shared_reader", lambda name: OneFace())
    found = clear_faces.clear_faced([Record("a", tmp_path / "a.mp4", "train")])
    assert [record.extra["clear_faces"] for record in found] == [0.625] * kept


def test_faces_only(tmp_path: Path, run: Run, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emvidcap(tmp_path / "data", clip)
    assert clear_faces.face_sizes(clip) == [[]] * clear_faces.FRAMES  # by the reader itself
    asked: list[Path] = []

    def sizes(video: Path) -> list[list[clear_faces.FaceSize]]:
        asked.append(video)
        return [[(70, 70)] if len(asked) <= 2 else []] * clear_faces.FRAMES

    monkeypatch.setattr(clear_faces, "face_sizes", sizes)
    code, out, _ = run("emvidcap", "--faces-only")
    assert code == 0
    assert "clear-faced: 2 of 5" in out and "not comparable" in out
    assert [record.extra["clear_faces"] for record in records(tmp_path).values()] == [1.0, 1.0]
    assert len(asked) == 5
