"""What a run of the clip maker says at its end."""

from collections import Counter
from pathlib import Path

from captioner.synth.maker import ATTEMPTS, MakerResult
from captioner.synth.maker_options import MakerOptions
from captioner.synth.tally import caption_statistics, describe_result, format_statistics, unplayed_captions

CAPTIONS = ["A man nods. The frown.", "A man nods. The frown.", "A woman smiles. The raised lip corners and the frown."]


def test_a_run_is_told_in_lines() -> None:
    result = MakerResult(Path("m"), made=8, kept=2, seconds=4.0, captions=CAPTIONS)
    lines = describe_result(result).splitlines()
    assert lines[:2] == ["10 clips: 8 made, 2.00 clips a second, 2 kept from before", "check: none"]
    assert lines[2] == "captions 3, distinct 66.7%, vocabulary 11 words"
    assert "  frown 100.0%" in lines and "  smile  33.3%" in lines


def test_checked_runs_tell_what_was_rejected_given_up_and_skipped() -> None:
    result = MakerResult(
        Path("m"), made=6, given_up=1, checked=True, rejected=Counter({"AU 4": 3, "no face": 1}), attempts_failed=4,
        faults=["a", "b"],
    )  # fmt: skip
    told = describe_result(result)
    assert "6 clips: 6 made, 0 kept from before" in told  # no seconds, no speed
    assert "check: 4 attempts rejected (40%): AU 4 3, no face 1" in told
    assert f"given up after {ATTEMPTS} attempts: 1 clips; the manifest lacks them" in told
    assert "photos skipped: 2" in told
    assert "rejected (0%): none" in describe_result(MakerResult(Path("m"), made=1, checked=True))


def test_statistics_of_nothing_are_zero() -> None:
    counts = caption_statistics([])
    assert (counts["captions"], counts["distinct"], counts["words"]["mean"]) == (0, 0, 0)
    assert format_statistics(counts).splitlines()[0] == "captions 0, distinct 0.0%, vocabulary 0 words"


def test_stories_that_nobody_plays_are_told_as_those_of_clips_are(tmp_path: Path) -> None:
    drawn = unplayed_captions(MakerOptions(tmp_path, seed=3), 12)
    assert len(drawn) == 12 == len([text for text in drawn if text.endswith(".")])
    assert drawn == unplayed_captions(MakerOptions(tmp_path, seed=3), 12)
    assert drawn != unplayed_captions(MakerOptions(tmp_path, seed=4), 12)
    photos = unplayed_captions(MakerOptions(tmp_path, faces=tmp_path, style="feelings"), 12)
    assert len(photos) == 12 and not any(" man " in text or " woman " in text for text in photos)
