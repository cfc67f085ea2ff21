"""scripts/prepare.py on miniatures of MSVD and MSR-VTT, and on damaged files of every data set."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from captioner.data.adapters.layout import LayoutError, read_rows
from captioner.errors import CaptionerError
from tests.data.miniatures import (
    HEADER,
    MSVD,
    Run,
    corpus,
    emvidcap,
    mafw,
    msrvtt,
    msvd,
    msvd_videos,
    put,
    records,
    refused,
)


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
