"""One clip at a time: made anew until its action units show; splits and backgrounds that are shared out."""

from pathlib import Path

import pytest
from PIL import Image

from captioner.synth import maker
from captioner.synth.labels import read_record
from captioner.synth.maker import ClipJob, ClipMaker, MakerPlan, MakerResult, share_out
from captioner.synth.tally import describe_result
from tests.synth.test_make_clips import run_main, tiny
from tests.synth.test_photos import folder


class Doubtful:
    """A check that lets a clip pass at its third attempt, or never."""

    def __init__(self, passes: int) -> None:
        self.passes, self.asked = passes, 0

    def missed(self, *_: object) -> tuple[int, ...] | None:
        self.asked += 1
        return None if self.asked > self.passes else (4, 12) if self.asked == 1 else ()


@pytest.fixture
def clip_maker(tmp_path: Path) -> ClipMaker:
    return ClipMaker(MakerPlan.of(tiny(tmp_path / "clip_maker")))


def test_a_clip_that_does_not_show_its_action_units_is_made_anew(clip_maker: ClipMaker) -> None:
    clip_maker.__dict__["check"] = Doubtful(2)
    done = clip_maker.make(ClipJob("train", 0))
    assert (done.made, done.rejected) == (True, ((4, 12), ()))
    record = read_record(clip_maker.options.out / "labels" / f"{done.name}.safetensors")
    assert record is not None
    assert record["line"]["extra"]["attempt"] == 2
    assert record["line"]["group"] == "face_train_00001", "after two attempts another person plays"
    result = MakerResult(Path())
    result.count(done)
    assert result.rejected == {"AU 4": 1, "AU 12": 1, "no face": 1}
    result.checked, result.captions = True, ["A woman nods. The frown."]
    assert "check: 2 attempts rejected (67%): AU 4 1, AU 12 1, no face 1" in describe_result(result)


def test_a_clip_that_never_shows_them_is_given_up(clip_maker: ClipMaker) -> None:
    clip_maker.__dict__["check"] = Doubtful(99)
    done = clip_maker.make(ClipJob("train", 0))
    assert (done.made, done.kept, len(done.rejected)) == (False, False, maker.ATTEMPTS)
    assert not list(clip_maker.options.out.glob("*/*"))


def test_a_split_without_photos_is_refused_at_the_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = folder(tmp_path / "faces")
    for tar in faces.glob("*.tar"):
        tar.unlink()
    Image.new("RGB", (96, 96)).save(faces / "00000.png")
    status, _, error = run_main(capsys, "--faces", str(faces), "--out", str(tmp_path / "x"), "--workers", "1")
    assert status == 2
    assert "has no photo of split 'val' that can be animated" in error
    assert error.rstrip().endswith("use --val 0")
    assert not (tmp_path / "x").exists()


def test_backgrounds_are_shared_out_among_the_splits() -> None:
    from captioner.synth.film.backdrop import BackdropFolder

    pictures = BackdropFolder.__new__(BackdropFolder)
    pictures.paths = [Path(f"{number:02d}.jpg") for number in range(30)]
    shares = {split: {path.name for path in some.paths} for split, some in share_out(pictures).items()}
    assert [len(shares[split]) for split in ("train", "val", "test")] == [24, 3, 3]
    assert len(shares["train"] | shares["val"] | shares["test"]) == 30
    pictures.paths = pictures.paths[:3]
    assert list(share_out(pictures)) == ["train"]
