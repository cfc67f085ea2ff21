"""The clip maker: same seed, same clips; a run that stops goes on; labels fit the film; faults end in one line."""

import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.helpers import ROOT, heed_control_c

sys.path.insert(0, str(ROOT / "scripts"))

import make_clips as command

from captioner.data.manifest import read_manifest
from captioner.errors import CaptionerError, ConfigError
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.synth import maker, workers
from captioner.synth.gallery import contact_sheet, write_page
from captioner.synth.labels import read_record
from captioner.synth.maker import make_clips
from captioner.synth.maker_options import MakerOptions
from captioner.synth.photo.photo_set import PhotoSet
from captioner.synth.story.tale import PHOTO_AUS
from captioner.video.reading import read_clip

SHARED = ROOT.parent / "shared"
SCRIPT = ROOT / "scripts" / "make_clips.py"
TINY = ["--size", "64", "--seconds", "1", "--fps", "8", "--captions", "2"]


def tiny(out: Path, clips: int = 6, **changes: object) -> MakerOptions:
    return MakerOptions(out, clips, **{"seed": 5, "height": 64, "width": 64, "seconds": (1.0, 1.0), "fps": (8.0, 8.0),
                                  "val": 0.2, "test": 0.2, "captions": 2, **changes})  # type: ignore[arg-type]  # fmt: skip


def lines_of(manifest: Path) -> list[dict]:
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def contents(out: Path) -> dict[str, bytes]:
    paths = [*out.glob("videos/*"), *out.glob("labels/*"), out / "manifest.jsonl"]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten drawn clips."""
    out = tmp_path_factory.mktemp("clips") / "made"
    make_clips(tiny(out, 10))
    return out


@pytest.mark.slow
def test_clips_do_not_depend_on_the_number_of_workers(made: Path, tmp_path: Path) -> None:
    assert make_clips(tiny(tmp_path / "two", 10, workers=2)).made == 10
    assert contents(tmp_path / "two") == contents(made)


def test_another_seed_gives_other_clips(made: Path, tmp_path: Path) -> None:
    make_clips(tiny(tmp_path / "other", 2, seed=6, val=0, test=0))
    captions = [line["captions"] for line in lines_of(tmp_path / "other" / "manifest.jsonl")]
    assert captions != [line["captions"] for line in lines_of(made / "manifest.jsonl")[:2]]


def test_the_manifest_is_one_of_ours(made: Path) -> None:
    records = read_manifest(made / "manifest.jsonl", labels=MAFW_LABELS)
    assert [sum(r.split == split for r in records) for split in ("train", "val", "test")] == [6, 2, 2]
    for record in records:
        extra = record.extra
        assert len(record.captions) == len(extra["feelings"]) == 2
        assert record.au_ids == tuple(int(au) for au in extra["au_peaks"])
        assert extra["synthetic"] is True and extra["source"] == "drawn"
        assert extra["persons"][0] == record.group
        assert len(extra["boxes"]) == record.n_frames == 8
        assert all(len(curve) == 8 for curve in extra["au"].values())
        for au, peak in extra["au_peaks"].items():
            assert max(extra["au"][au]) <= peak + 0.02
        assert extra["boxes"][extra["apex"]] is not None or not any(extra["boxes"])


def test_no_person_is_in_two_splits(made: Path) -> None:
    persons: dict[str, set[str]] = {}
    for line in lines_of(made / "manifest.jsonl"):
        persons.setdefault(line["split"], set()).update(line["extra"]["persons"])
    assert not persons["train"] & (persons["val"] | persons["test"])
    assert not persons["val"] & persons["test"]


def test_labels_fit_the_film(made: Path) -> None:
    for line in lines_of(made / "manifest.jsonl"):
        labels = load_file(made / line["extra"]["labels"])
        roles, frames = len(line["extra"]["persons"]), line["n_frames"]
        clip = read_clip(made / line["video"], frames)
        assert clip.frames.shape == (frames, 64, 64, 3)
        shapes = {name: array.shape for name, array in labels.items()}
        assert shapes.pop("landmarks")[:2] == (roles, frames)
        assert shapes == {
            "boxes": (roles, frames, 4), "au": (roles, frames, len(PHOTO_AUS)), "pose": (roles, frames, 3),
            "gaze": (roles, frames, 2), "mouth_and_lids": (roles, frames, 2),
        }  # fmt: skip
        assert all(array.dtype == np.float16 for array in labels.values())
        record = read_record(made / line["extra"]["labels"])
        assert record is not None and record["line"] == line and tuple(record["aus"]) == PHOTO_AUS
        for place, box in enumerate(line["extra"]["boxes"]):
            shown = labels["boxes"][0, place]
            assert np.isnan(shown).all() if box is None else np.abs(shown - np.array(box)).max() < 0.1
            assert np.isnan(labels["landmarks"][0, place]).all() == (box is None)
        column = {str(au): labels["au"][0, :, place] for place, au in enumerate(PHOTO_AUS)}
        for au, curve in line["extra"]["au"].items():
            assert np.abs(column[au] - np.array(curve)).max() < 0.01


def test_a_folder_can_grow_and_keeps_what_it_has(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "grown"
    first = make_clips(tiny(out, 4))
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("videos/*")}
    second = make_clips(tiny(out, 10))
    assert (first.made, second.made, second.kept) == (4, 6, 4)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert contents(out) == contents(made)


@pytest.mark.parametrize("harm", ["no labels", "cut labels", "no video"])
def test_an_unfinished_clip_is_made_again(made: Path, tmp_path: Path, harm: str) -> None:
    out = tmp_path / "out"
    make_clips(tiny(out, 2, val=0, test=0))
    labels, video = sorted(out.glob("labels/*"))[1], sorted(out.glob("videos/*"))[1]
    whole = contents(out)
    if harm == "cut labels":
        labels.write_bytes(labels.read_bytes()[:-20])
    else:
        (labels if harm == "no labels" else video).unlink()
    result = make_clips(tiny(out, 2, val=0, test=0))
    assert (result.made, result.kept) == (1, 1)
    assert contents(out) == whole


def start(out: Path, *flags: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(SCRIPT), "--out", str(out), *TINY, "--seed", "5", *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=heed_control_c,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def ended(group: int) -> bool:
    """Whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
def test_a_killed_run_goes_on(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    process = start(out, "--clips", "10", "--val", ".2", "--test", ".2", "--workers", "1")
    wait_for(lambda: len(list(out.glob("labels/*.safetensors"))) >= 2)
    process.kill()
    process.communicate()
    assert not (out / "manifest.jsonl").exists()
    (out / "videos" / ".drawn5_train_000005-half.mp4").touch()
    (out / "videos" / ".of-others").touch()
    result = make_clips(tiny(out, 10))
    assert (out / "videos" / ".of-others").exists()
    (out / "videos" / ".of-others").unlink()
    assert result.kept >= 2 and result.made >= 1
    assert contents(out) == contents(made)


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_with_one_line(tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    process = start(out, "--clips", "400", "--workers", "2")
    wait_for(lambda: len(list(out.glob("labels/*.safetensors"))) >= 1)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == "interrupted: finished clips are kept, the same command goes on from there\n"
    assert stdout == ""
    assert not (out / "manifest.jsonl").exists()
    wait_for(lambda: ended(process.pid), 20)


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    begun = [tmp_path / "0", tmp_path / "1"]
    code = "import pathlib, time; from captioner.synth.workers import run_jobs; " + (
        f"paths = [pathlib.Path({str(begun[0])!r}), pathlib.Path({str(begun[1])!r})]; "
        "print(list(run_jobs(pathlib.Path.touch, paths, 2)))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    wait_for(lambda: all(path.exists() for path in begun))
    process.kill()
    process.communicate()
    wait_for(lambda: ended(process.pid), 20)


def run_main(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str, str]:
    status = command.main(list(flags))
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_the_command_prints_its_report_and_the_path_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    flags = ["--out", str(out), *TINY, "--clips", "3", "--workers", "1", "--sheet", str(sheet)]
    status, printed, _ = run_main(capsys, *flags)
    assert status == 0
    rows = printed.splitlines()
    assert re.fullmatch(r"3 clips: 3 made, [\d.]+ clips a second, 0 kept from before", rows[0])
    assert rows[1] == "check: none"
    assert rows[-1] == str(out / "manifest.jsonl")
    assert Image.open(sheet).size[0] == 3 * 174
    assert (out / "index.html").stat().st_size > 1000
    status, printed, _ = run_main(capsys, *flags, "-q", "--html", "none")
    assert (status, printed) == (0, f"{out / 'manifest.jsonl'}\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--clips", "0"], "clips is 0; it must be at least 1"),
        (["--size", "63"], "size is 63x63; sides are even numbers of pixels from 64 to 1920"),
        (["--size", "512x64"], "size is 512x64; the width must be 0.5 to 3 heights"),
        (["--seconds", "9"], "seconds is 9; it must lie within 1 to 8"),
        (["--seconds", "4-2"], "seconds is 4-2; it must lie within 1 to 8"),
        (["--fps", "nan"], "fps is nan-nan; it must lie within 8 to 30"),
        (["--people", "0"], "people is 0; it must be 1 or 2"),
        (["--captions", "0"], "captions is 0; it must be 1 to 20"),
        (["--workers", "0"], "workers is 0; it must be at least 1"),
        (["--seed", "-1"], "seed is -1; it must be 0 or more"),
        (["--val", "0.7", "--test", "0.6"], "val 0.7 and test 0.6 are shares of the clips"),
        (["--check", "face.task"], "check is given without faces: it reads photos"),
        (["--faces", "nowhere"], "'nowhere' is not a folder; give one with annotations.npz and photos"),
        (["--backgrounds", "nowhere"], "'nowhere' is not a folder"),
        (["--sheet", "sheet.gif"], "--sheet sheet.gif is no PNG; name a file that ends in .png"),
    ],
)
def test_bad_flags_end_with_one_line(
    tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, printed, error = run_main(capsys, "--out", str(tmp_path / "x"), "--workers", "1", *flags)
    assert (status, printed) == (2, "")
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("flags", [["--size", "10x20x30"], ["--size", "big"], ["--fps", "12-"], ["--style", "mood"]])
def test_flags_that_cannot_be_read(tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["--out", str(tmp_path), *flags])
    error = capsys.readouterr().err
    assert flags[1] in error
    assert re.search(r"give N or WxH|give A or A-B|choose from", error)


def test_a_folder_of_other_clips_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds clips made with \{'fps': \[8\.0, 8\.0\]\}, asked for \{'fps': \[9"):
        make_clips(tiny(made, fps=(9.0, 9.0)))
    with pytest.raises(ConfigError, match=r"\{'source': 'drawn', 'photos': None\}|'manner'"):
        make_clips(tiny(made, style="feelings"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file is a file; --out names a folder"):
        make_clips(tiny(tmp_path / "file"))


def test_a_full_disk_ends_with_one_line_and_nothing_half(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original, room = maker.write_labels, iter(range(3))

    def fill(path: Path, *rest: object) -> None:
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        original(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(maker, "write_labels", fill)
    flags = ["--out", str(tmp_path / "out"), *TINY, "--seed", "5", "--val", ".2", "--test", ".2", "--clips", "10"]
    status, printed, error = run_main(capsys, *flags, "--workers", "1")
    assert (status, printed) == (2, "")
    assert re.fullmatch(
        r"error: cannot write clip drawn5_train_000003 under .*/out: No space left on device; finished clips are "
        r"kept, the same command goes on from there\n",
        error,
    )
    monkeypatch.undo()
    status, printed, _ = run_main(capsys, *flags, "--workers", "1", "-q")
    assert status == 0
    assert contents(tmp_path / "out") == contents(made)


def test_the_page_escapes_and_links(made: Path, tmp_path: Path) -> None:
    lines = lines_of(made / "manifest.jsonl")[:2]
    lines[0]["captions"] = ['<script>alert("x")</script> & more']
    lines[0]["video"] = "videos/a b#c.mp4"
    manifest = tmp_path / "clips" / "manifest.jsonl"
    manifest.parent.mkdir()
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_page(tmp_path / "page.html", manifest, clips=1)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; more" in page
    assert "<script>alert" not in page
    assert 'src="clips/videos/a%20b%23c.mp4#t=' in page
    assert page.count("<article>") == 1
    assert "(the first of the manifest)" in page
    for text in (lines[0]["extra"]["feelings"][0], f"<h2>{lines[0]['emotion']}", "color-scheme: light dark"):
        assert text in page


def test_the_contact_sheet_shows_that_many_clips(made: Path, tmp_path: Path) -> None:
    contact_sheet(tmp_path / "sheet.png", made / "manifest.jsonl", clips=9)
    width, height = Image.open(tmp_path / "sheet.png").size
    assert width == 8 * 174
    assert height == 2 * (168 + 52)


def test_jobs_run_in_order_and_hand_on_their_errors() -> None:
    # functions that bring nothing with them: the processes start at once
    assert list(workers.run_jobs(math.sqrt, [25, 1, 9, 0], 2, chunk=2)) == [5, 1, 3, 0]
    running = workers.run_jobs(math.sqrt, [0, 1, -1, 4], 2)
    assert [next(running), next(running)] == [0, 1]
    with pytest.raises(ValueError, match="math"):
        next(running)
    with pytest.raises(CaptionerError, match=r"a worker process was killed \(out of memory\?\); run the same command"):
        list(workers.run_jobs(os._exit, [1, 1], 2))


@pytest.mark.skipif(not (SHARED / "data" / "faces").is_dir(), reason="the photos are not in the repository")
@pytest.mark.slow
def test_photos_come_alive(tmp_path: Path) -> None:
    out = tmp_path / "photos"
    make_clips(tiny(out, 3, faces=SHARED / "data" / "faces", height=96, width=96, val=0.33, test=0.33))
    records = read_manifest(out / "manifest.jsonl", labels=MAFW_LABELS)
    photos = PhotoSet(SHARED / "data" / "faces")
    split = {f"person_{p}": int(s) for p, s in zip(photos.table["person"], photos.table["split"], strict=True)}
    for record in records:
        assert {split[person] for person in record.extra["persons"]} == {("train", "val", "test").index(record.split)}
        labels = load_file(out / record.extra["labels"])
        assert labels["landmarks"].shape[2] in (468, 478)
        assert labels["au"].shape[2] == len(PHOTO_AUS)
