"""Measuring links: what counts as commanded, intervals by hand, one line for bad input."""

import sys
from pathlib import Path

import pytest

from captioner.data.manifest import Record
from captioner.inference.results import Link
from eval.significance import share_interval
from tests.helpers import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import measure_evidence
from measure_evidence import judge, summary

CURVE = [0.0, 0.1, 0.8, 0.2]
CLIP = Record(
    "a", Path("a.mp4"), "test", au_ids=(4,), fps=2.0, extra={"phrases": ["frown", "closed_eyes"], "au": {"4": CURVE}}
)


def phrase(name: str, au: int, second: float | None = 1.0, seen: bool = True) -> Link:
    return Link(name, name, 0, 1, au, "", "experts", None, second, seen)


def test_what_is_true_of_a_link() -> None:
    good = judge(phrase("frown", 4), CLIP)
    assert (good.commanded, good.true, good.shown) == (True, True, True)
    assert judge(phrase("frown", 4, 1.5), CLIP).shown is False
    assert judge(phrase("frown", 4, 9.0), CLIP).shown is False  # past the end: the last frame
    assert judge(phrase("frown", 4, None), CLIP).shown is None
    wrong = judge(phrase("smile", 12), CLIP)
    assert (wrong.commanded, wrong.true, wrong.shown) == (False, False, None)
    assert judge(phrase("closed_eyes", 43), CLIP).commanded  # true, though no unit stands for it


def test_shares_and_intervals() -> None:
    verdicts = [judge(phrase("frown", 4), CLIP)] * 3 + [judge(phrase("smile", 12, seen=False), CLIP)]
    shares = summary(verdicts)
    assert shares["linked unit is commanded"]["share"] == 0.75
    assert shares["... of confirmed phrases"]["share"] == 1.0
    assert shares["phrases confirmed"]["count"] == 4
    span = share_interval(8, 10)
    assert (span.value, span.low, span.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-3)
    assert summary([]) == {}


def test_a_missing_manifest_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_evidence.main(["--manifest", str(tmp_path / "none.jsonl")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no such file")
    assert error.count("\n") == 1
