"""Our metrics beside pycocoevalcap: sets of captions follow their seed, differences are found, faults are one line."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import bench
import pytest

from captioner.errors import CaptionerError
from eval.speed import against_toolkit
from eval.speed.against_toolkit import (
    COMMON,
    QUICK,
    SLOW,
    Hyps,
    Refs,
    SideScores,
    invented_sentences,
    measured_side,
    score_with_ours,
    score_with_toolkit,
    shuffled_captions,
    toolkit_tables,
)
from tests.eval.test_metrics import needs_java


def test_sets_have_their_size_and_follow_their_seed() -> None:
    sentences = [["a", "man", "smiles"], ["she", "opens", "her", "mouth"]]
    refs, hyps = shuffled_captions(sentences, videos=3, count=2, seed=1)
    assert list(refs) == list(hyps) == ["v0", "v1", "v2"]
    assert {len(captions) for captions in refs.values()} == {2}
    drawn = {tuple(sorted(text.split())) for group in [list(hyps.values()), *refs.values()] for text in group}
    assert drawn <= {tuple(sorted(sentence)) for sentence in sentences}
    assert (refs, hyps) == shuffled_captions(sentences, 3, 2, 1) != shuffled_captions(sentences, 3, 2, 2)


def test_invented_sentences_are_common_words() -> None:
    sentences = invented_sentences(0)
    assert len(sentences) == 5000
    assert {word for each in sentences[:99] for word in each} <= {*COMMON.split(), "a", "the"}
    assert sentences == invented_sentences(0) != invented_sentences(1)


def side(cider: float) -> SideScores:
    seconds = {"tokens": 1.0, QUICK: 2.0, SLOW: 1.0}
    return SideScores({"CIDEr": cider}, {"CIDEr": [cider, 0.5]}, seconds, 3.0, (50.0, 9.0))


def test_the_largest_difference_decides(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sides = {score_with_ours: side(0.75), score_with_toolkit: side(0.5)}
    monkeypatch.setattr(against_toolkit, "in_own_process", lambda _, score, data: sides[score])
    tables, worst = toolkit_tables(Path("none.json"), "title")
    assert worst == 0.25
    assert "| CIDEr | 0.500000 | 2.5e-01 |" in str(tables[1])
    assert "| total | 4.00 | 4.00 | 1.0x |" in str(tables[0]) and "50 + 9" in str(tables[0])
    assert bench.main(["metrics", "--videos", "2", "--references", "1"]) == 1
    assert "2 videos x 1 references, invented sentences (synthetic), seed 0" in capsys.readouterr().out
    sides[score_with_ours] = side(0.5)
    assert bench.main(["metrics", "--videos", "2", "--references", "1"]) == 0


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a side sets for Java is undone."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "")
    monkeypatch.setenv("PATH", os.environ["PATH"])


@pytest.mark.usefixtures("own_environment")
def test_a_side_that_fails_is_one_line(tmp_path: Path) -> None:
    def breaks(refs: Refs, hyps: Hyps) -> SideScores:
        raise RuntimeError(f"two lines\nof {len(refs)} videos, {hyps['v']}")

    (tmp_path / "set.json").write_text(json.dumps([{"v": ["a"]}, {"v": "b"}]))
    with pytest.raises(CaptionerError, match=r"^breaks: two lines of 1 videos, b$"):
        measured_side(breaks, tmp_path / "set.json")


@needs_java
@pytest.mark.slow
@pytest.mark.usefixtures("own_environment")
def test_both_sides_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def here(work: Callable[..., SideScores], score: Callable[[Refs, Hyps], SideScores], data: Path) -> SideScores:
        return work(score, data)

    monkeypatch.setattr(against_toolkit, "in_own_process", here)
    refs = tmp_path / "refs.json"
    refs.write_text(json.dumps({"a": ["A man smiles widely.", "He nods."], "b": ["A woman frowns and looks down."]}))
    command = ["metrics", "--videos", "6", "--references", "3", "--refs", str(refs)]
    assert bench.main(command) == 0
    told = capsys.readouterr().out
    assert "shuffled sentences of the given file" in told
    assert all(f"| {name} | " in told for name in ("BLEU-4", "ROUGE-L", "CIDEr", "METEOR"))
