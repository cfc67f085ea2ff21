"""scripts/prepare.py on miniatures of each dataset in its real layout; captions and videos are invented here."""

import importlib.util
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.data.adapters import clear_faces
from captioner.data.adapters.layout import LayoutError, read_rows
from captioner.data.manifest import Record, read_manifest
from captioner.errors import CaptionerError
from captioner.faces import EXPRESSION_NAMES, FaceReader, FaceTrack
from captioner.faces.reader import make_track
from captioner.lexicon.phrases import PHRASES
from captioner.video.reading import write_video
from tests.helpers import ROOT

FROWN = PHRASES["frown"].wordings[0]


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("prepare", ROOT / "scripts" / "prepare.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(dataset: str, *options: str) -> tuple[int, str, str]:
        out = tmp_path / "out" / "manifest.jsonl"
        code = SCRIPT.main([dataset, "--root", str(tmp_path / "data"), "--out", str(out), *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "tiny.mp4"
    write_video(path, np.zeros((3, 16, 16, 3), np.uint8), 5)
    return path


def put(path: Path, content: str | bytes | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copy(content, path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def records(tmp_path: Path) -> dict[str, Record]:
    return {record.id: record for record in read_manifest(tmp_path / "out" / "manifest.jsonl")}


def refused(result: tuple[int, str, str], tmp_path: Path, *words: str) -> None:
    """Exit code 2, one line with all the words, and nothing written."""
    code, _, err = result
    assert code == 2
    assert err.startswith("error: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err
    assert not (tmp_path / "out").exists()


# --- MAFW --------------------------------------------------------------------------------------------------------

EVENTS = {
    "00001": ("anger", "A man shouts."),
    "00002": ("sadness", "A boy looks down."),
    "00003": ("fear", "A girl runs."),
}


def mafw(root: Path, clip: Path, encoding: str = "gb18030") -> None:
    """Fold lists with and without captions, labels with a title above the header, clips."""
    lists, others = (root / "Train & Test Set" / kind for kind in ("single", "compound"))
    for fold in (1, 2):
        for split, clips in (("train", ("00001", "00002")), ("test", ("00003",))):
            rows = [f"{c}.mp4\t{EVENTS[c][0]}\t一个人。皱眉。\t{EVENTS[c][1]} The {FROWN}.\r\n" for c in clips]
            put(lists / "with_caption" / f"set_{fold}" / f"{split}.txt", "".join(rows).encode(encoding))
            plain = [f"{c}.mp4 {EVENTS[c][0]}" for c in clips] + (["00004.mp4 neutral"] if split == "train" else [])
            put(lists / "no_caption" / f"set_{fold}" / f"{split}.txt", "\n".join(plain))
            put(others / "with_caption" / f"set_{fold}" / f"{split}.txt", "00009.mp4 fear")
    rows = ["MAFW,,", "clip,anger,multi_label", '00001.mp4,0.5,"1,2"', "00002.mp4,0,anxiety_fear"]
    put(root / "Labels" / "multi-set.csv", "\n".join(rows))
    for name in (*EVENTS, "00004"):
        put(root / "data" / "clips" / f"{name}.mp4", clip)


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
    described = [f"{name}.mp4,一个人。,\"{text} The {FROWN}.\"" for name, (_, text) in EVENTS.items()]
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


def emvidcap(root: Path, clip: Path) -> None:
    """S with commas, L with tabs; vid80703 in both of L's files with the same captions."""
    small, large = root / "dataset_v1(EmVideo-S)", root / "dataset_v2_EmVideo-L"
    rows = ["VideoID,EmCaptions", "vid1,a man is angry", "vid1,an angry man", "vid2,a dog"]
    put(small / "EmVideo_trainval_captions.csv", "\n".join(rows))
    put(small / "EmVideo_test_captions.csv", "VideoID,EmCaptions\r\nvid1301,a cat is happy\r\n")
    leak = "vid80703\ta man laughs, happily\nvid80703\ta man is glad\n"
    put(large / "EmVideo_trainval_captions.csv", f"VideoID\tEmCaptions\n{leak}vid10001\t\"i hate it\nvid10001\t ...\n")
    put(large / "EmVideo_test_captions.csv", f"VideoID\tEmCaptions\n{leak}vid30002\tA snake, and a scared boy.\n")
    put(root / "youtube_mapping.txt", "abcdefghijk_5_15 vid2\n")
    for name in ("vid1", "abcdefghijk_5_15", "vid1301", "vid80703", "vid10001"):
        put(root / "videos" / f"{name}.mp4", clip)


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


# --- MSVD --------------------------------------------------------------------------------------------------------

MSVD = {
    "aaaaaaaaaaa_1_5": "vid1",
    "bbbbbbbbbbb_0_9": "vid1201",
    "-cccccccccc_3_7": "vid1970",
    "aaaaaaaaaaa_8_9": "vid1301",
}
HEADER = "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\n"


def msvd_videos(root: Path, clip: Path) -> None:
    for name in MSVD:
        put(root / "YouTubeClips" / f"{name}.avi", clip)


def corpus(name: str, language: str, text: str) -> str:
    return f"{','.join(name.rsplit('_', 2))},7,clean,20,{language},{text}\n"


def test_msvd_csv(tmp_path: Path, run: Run, clip: Path) -> None:
    data = tmp_path / "data"
    msvd_videos(data, clip)
    rows = [corpus(name, "English", f'"A dog, {vid}\r\n runs."') for name, vid in MSVD.items()]
    rows += [corpus("aaaaaaaaaaa_1_5", "German", "Ein Hund"), corpus("zzzzzzzzzzz_1_2", "English", "A cat")]
    put(data / "MSR Video Description Corpus.csv", HEADER + "".join(rows))
    refused(run("msvd"), tmp_path, "youtube_mapping.txt", "train_list.txt", "put the mapping")
    put(data / "youtube_mapping.txt", "".join(f"{name} {vid}\n" for name, vid in MSVD.items()))
    code, out, _ = run("msvd", "--check-videos")
    assert code == 0
    found = records(tmp_path)
    assert [found[name].split for name in MSVD] == ["train", "val", "test", "test"]
    assert found["aaaaaaaaaaa_1_5"].captions == ("A dog, vid1 runs.",)
    assert found["-cccccccccc_3_7"].group == "-cccccccccc"
    assert "source videos with clips in several splits: 1 of 3" in out
    assert "1 captioned clips are in no split and left out (first zzzzzzzzzzz_1_2)" in out
    assert "test captions                  2     27763" in out


@pytest.mark.parametrize("form", ["lines", "json", "sentences"])
def test_msvd_mirrors(tmp_path: Path, run: Run, clip: Path, form: str) -> None:
    data = tmp_path / "data"
    msvd_videos(data, clip)
    if form == "lines":
        put(data / "AllVideoDescriptions.txt", "# remark\n\n" + "".join(f"{name} a dog runs\n" for name in MSVD))
    elif form == "json":
        put(data / "captions.json", json.dumps({vid: ["a dog runs"] for vid in MSVD.values()}))
    else:
        put(data / "c.json", json.dumps({"sentences": [{"video_id": n, "caption": "a dog runs"} for n in MSVD]}))
    if form == "json":
        put(data / "youtube_mapping.txt", "".join(f"{name} {vid}\n" for name, vid in MSVD.items()))
    splits = dict(zip(MSVD, ("train", "train", "val", "test"), strict=True))
    for split in set(splits.values()):
        put(data / f"{split}_list.txt", "\n".join(name for name in MSVD if splits[name] == split))
    assert run("msvd")[0] == 0
    assert {k: (r.split, r.captions) for k, r in records(tmp_path).items()} == {
        name: (split, ("a dog runs",)) for name, split in splits.items()
    }


def test_msvd_wrong_layouts(tmp_path: Path, run: Run, clip: Path) -> None:
    data = tmp_path / "data"
    msvd_videos(data, clip)
    refused(run("msvd"), tmp_path, "not laid out as MSVD", "VideoID, Start, End, Language", "YouTubeClips/")
    put(data / "corpus.csv", "VideoID,Text\na,b\n")
    refused(run("msvd"), tmp_path, "corpus.csv (VideoID | Text)")
    put(data / "corpus.csv", HEADER + corpus("aaaaaaaaaaa_1_5", "Hindi", "x"))
    refused(run("msvd"), tmp_path, "no row has Language = English", "Hindi")


# --- MSR-VTT -----------------------------------------------------------------------------------------------------


def msrvtt(root: Path, clip: Path) -> None:
    splits = {"train": "video0", "validate": "video1", "test": "video2"}
    for name, wanted in (("train_val", ("train", "validate")), ("test", ("test",))):
        videos = [{"video_id": splits[s], "split": s, "category": 9, "url": "u1", "start time": 1.5, "end time": 4,
                   "id": 0} for s in wanted]  # fmt: skip
        sentences = [{"video_id": splits[s], "caption": f"a {s} car", "sen_id": n} for s in wanted for n in (0, 1)]
        value = {"info": {"version": "1.0"}, "videos": videos, "sentences": sentences}
        put(root / f"{name}_videodatainfo.json", json.dumps(value))
    for name in splits.values():
        put(root / "TrainValVideo" / f"{name}.mp4", clip)


def test_msrvtt(tmp_path: Path, run: Run, clip: Path) -> None:
    msrvtt(tmp_path / "data", clip)
    code, out, _ = run("msrvtt", "--check-videos")
    assert code == 0
    assert {k: (r.split, len(r.captions)) for k, r in records(tmp_path).items()} == {
        "video0": ("train", 2), "video1": ("val", 2), "video2": ("test", 2)
    }  # fmt: skip
    assert "source videos with clips in several splits: 1 of 1" in out
    assert "val captions                   2      9940  differs by -9938" in out


def test_msrvtt_wrong_layouts(tmp_path: Path, run: Run, clip: Path) -> None:
    data = tmp_path / "data"
    msrvtt(data, clip)
    put(data / "test_videodatainfo.json", '{"videos": [')
    refused(run("msrvtt"), tmp_path, "test_videodatainfo.json is not JSON")
    put(data / "test_videodatainfo.json", '{"videos": [{"video_id": "video2", "split": "exam"}], "sentences": []}')
    refused(run("msrvtt"), tmp_path, "wanted videos with video_id and split", "exam")
    (data / "train_val_videodatainfo.json").unlink()
    put(data / "test_videodatainfo.json", '{"images": [], "annotations": []}')
    refused(run("msrvtt"), tmp_path, "not laid out as MSR-VTT", "test_videodatainfo.json (images, annotations)")


def msvd(root: Path, clip: Path) -> None:
    msvd_videos(root, clip)
    put(root / "corpus.csv", HEADER + "".join(corpus(name, "English", f'"A dog, {vid}"') for name, vid in MSVD.items()))
    put(root / "youtube_mapping.txt", "".join(f"{name} {vid}\n" for name, vid in MSVD.items()))


@pytest.mark.slow
@pytest.mark.parametrize("build", [mafw, emvidcap, msvd, msrvtt], ids=lambda build: build.__name__)
def test_damage_is_reported_or_named(build: Callable[[Path, Path], None], tmp_path: Path, run: Run, clip: Path) -> None:
    """Whatever stands in the files: a manifest that can be read, or one line and no manifest."""
    dice = random.Random(build.__name__)
    pieces = [b"\n", b"\r", b'"', b"\t", b",", b"\xff", b"{", b"]", b"null", b"\xe2\x80\xa8", b"\\ud800", b"\0", b"vid"]
    ends = set()
    for _ in range(25):
        for name in ("data", "out"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        build(tmp_path / "data", clip)
        tables = [path for path in (tmp_path / "data").rglob("*") if path.suffix in (".txt", ".csv", ".json")]
        for path in dice.sample(tables, 2):
            text = path.read_bytes()
            at = dice.randrange(len(text))
            behind = dice.choice([b"", text[at:], text[at + 3 :]])
            path.write_bytes(text[:at] + dice.choice(pieces) + behind)
        result = run(build.__name__)
        ends.add(result[0])
        if result[0] == 0:
            assert records(tmp_path)
        else:
            refused(result, tmp_path)
    assert 2 in ends


def test_options_of_other_datasets_are_refused(run: Run) -> None:
    with pytest.raises(SystemExit) as end:
        run("msvd", "--fold", "1")
    assert end.value.code == 2


def test_long_captions_are_counted(tmp_path: Path, run: Run, clip: Path) -> None:
    msrvtt(tmp_path / "data", clip)
    path = tmp_path / "data" / "test_videodatainfo.json"
    path.write_text(path.read_text().replace("a test car", "word " * 29, 1))
    assert "captions longer than the generation limit (28 words and marks): 1 of 6, 16.7 %" in run("msrvtt")[1]


def test_tables_name_what_is_wrong(tmp_path: Path) -> None:
    put(tmp_path / "a.csv", "a,b\n" + '"x' + "y" * 200_000 + '",1\n')
    with pytest.raises(LayoutError, match=r"a\.csv:2: not a table: field larger"):
        read_rows(tmp_path / "a.csv")
    with pytest.raises(CaptionerError, match="cannot be read"):
        read_rows(tmp_path / "none.csv")
