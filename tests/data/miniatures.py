"""Miniatures of data sets in their real layouts, and what runs scripts/prepare.py on them; all invented."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioner.data.manifest import Record, read_manifest
from captioner.lexicon.phrases import PHRASES
from tests.helpers import ROOT

FROWN = PHRASES["frown"].wordings[0]
EVENTS = {
    "00001": ("anger", "A man shouts."),
    "00002": ("sadness", "A boy looks down."),
    "00003": ("fear", "A girl runs."),
}
MSVD = {
    "aaaaaaaaaaa_1_5": "vid1",
    "bbbbbbbbbbb_0_9": "vid1201",
    "-cccccccccc_3_7": "vid1970",
    "aaaaaaaaaaa_8_9": "vid1301",
}
HEADER = "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\n"
Run = Callable[..., tuple[int, str, str]]


def prepare_script() -> Any:
    spec = importlib.util.spec_from_file_location("prepare", ROOT / "scripts" / "prepare.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def emvidcap(root: Path, clip: Path) -> None:
    """S with commas, L with tabs; vid80703 in both of L's files with the same captions."""
    small, large = root / "dataset_v1(EmVideo-S)", root / "dataset_v2_EmVideo-L"
    rows = ["VideoID,EmCaptions", "vid1,a man is angry", "vid1,an angry man", "vid2,a dog"]
    put(small / "EmVideo_trainval_captions.csv", "\n".join(rows))
    put(small / "EmVideo_test_captions.csv", "VideoID,EmCaptions\r\nvid1301,a cat is happy\r\n")
    leak = "vid80703\ta man laughs, happily\nvid80703\ta man is glad\n"
    put(large / "EmVideo_trainval_captions.csv", f'VideoID\tEmCaptions\n{leak}vid10001\t"i hate it\nvid10001\t ...\n')
    put(large / "EmVideo_test_captions.csv", f"VideoID\tEmCaptions\n{leak}vid30002\tA snake, and a scared boy.\n")
    put(root / "youtube_mapping.txt", "abcdefghijk_5_15 vid2\n")
    for name in ("vid1", "abcdefghijk_5_15", "vid1301", "vid80703", "vid10001"):
        put(root / "videos" / f"{name}.mp4", clip)


def msvd_videos(root: Path, clip: Path) -> None:
    for name in MSVD:
        put(root / "YouTubeClips" / f"{name}.avi", clip)


def corpus(name: str, language: str, text: str) -> str:
    return f"{','.join(name.rsplit('_', 2))},7,clean,20,{language},{text}\n"


def msvd(root: Path, clip: Path) -> None:
    msvd_videos(root, clip)
    put(root / "corpus.csv", HEADER + "".join(corpus(name, "English", f'"A dog, {vid}"') for name, vid in MSVD.items()))
    put(root / "youtube_mapping.txt", "".join(f"{name} {vid}\n" for name, vid in MSVD.items()))


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
