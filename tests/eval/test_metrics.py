"""Caption metrics against golden numbers, against the toolkit itself, and where the toolkit breaks."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.errors import CaptionerError
from eval import metrics, significance
from eval.metrics import ScoreError, score_captions
from eval.tokenize import PUNCTUATION, one_line, tokenize
from eval.toolkit import TOKENIZER, ToolkitError, toolkit_file
from tests.eval.toolkit_pairs import WORDS, by_java, generated, needs_java, needs_toolkit

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "metrics"
GOLDEN = SHARED / "emvidcap_s"
NAMES = {"Bleu_1": "BLEU-1", "Bleu_2": "BLEU-2", "Bleu_3": "BLEU-3", "Bleu_4": "BLEU-4", "ROUGE_L": "ROUGE-L"}

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden numbers are not beside the repository")
pytestmark = needs_toolkit

AWKWARD = [
    *WORDS,
    *str.split("' \" ` . , ! ? : ; - ( ) [ ] { } < > & % $ # @ * / \\ | ~ ^ _ = + ... -- n't 's cannot gonna U.S."),
    *str.split("Mr. etc. e.g. 3 1/2 3,000 $5 12:30 555-1234 <b> &amp; http://a.b/c x@y.org :) don't O'Neil"),
    *str.split("\u2019 \u201c \u2014 \u2026 \xbd \u20ac \xe9 \u0130 \xdf \xad \u200b \U0001f600 \u4e2d\u6587 \x07"),
]


def load(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text("utf-8"))


def tokenized_by_jar(captions: list[str]) -> list[str]:
    tokenizer = "edu.stanford.nlp.process.PTBTokenizer"
    lines = by_java(["-cp", str(toolkit_file(TOKENIZER)), tokenizer, "-preserveLines", "-lowerCase"], captions)
    return [" ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATION) for line in lines]


# --- equality --------------------------------------------------------------------------------------------


@needs_golden
@pytest.mark.slow
def test_golden_numbers_corpus_and_video() -> None:
    golden = load("golden.json")
    found = score_captions(load("refs.json"), load("hyps.json"))
    assert found.references == golden["n_refs"]
    for name, value in golden["corpus"].items():
        ours = NAMES.get(name, name)
        close = 1e-6 if ours == "METEOR" else 1e-9
        assert found.corpus[ours] == pytest.approx(value, abs=close)
        for key, each in golden["per_video"][name].items():
            assert found.per_video[key][ours] == pytest.approx(each, abs=close)


@needs_golden
def test_probe_strings_are_tokenized_as_by_the_jar() -> None:
    probe = json.loads((SHARED / "ptb_probe.json").read_text("utf-8"))
    assert tokenize([one_line(row["in"]) for row in probe]) == [row["out"] for row in probe]


@needs_java
def test_tokens_equal_the_jar_on_awkward_text() -> None:
    dice = random.Random(7)
    captions = []
    for _ in range(6000):
        words = (dice.choice(AWKWARD) + dice.choice(["", " ", " "]) for _ in range(dice.randint(0, 9)))
        captions.append(one_line("".join(words)))
    captions += [one_line(f"a{chr(code)}b {chr(code)} 3{chr(code)}") for code in range(0x21, 0x3000, 7)]
    assert tokenize(captions) == tokenized_by_jar(captions)


@needs_java
def test_the_last_caption_has_no_line_end_behind_it() -> None:
    # Before a line's end "I'd've" is cut at both apostrophes, at the end of all it is not.
    assert tokenize(["I'd've", "I'd've"]) == tokenized_by_jar(["I'd've", "I'd've"]) == ["i 'd 've", "i 'd ve"]


@pytest.mark.parametrize(("videos", "references", "seed"), [(40, 1, 1), (40, 7, 2), (2, 3, 3), (1, 2, 4)])
def test_equal_to_the_toolkits_scorers_on_random_sets(videos: int, references: int, seed: int) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    refs, hyps = generated(videos, references, seed)
    ids = list(refs)
    tokens, said = metrics.tokenize_pairs(refs, hyps)
    found = metrics.score_tokens(ids, tokens, said, ("bleu", "rouge", "cider"))
    gts, res = dict(zip(ids, tokens, strict=True)), {key: [text] for key, text in zip(ids, said, strict=True)}
    bleu, bleus = Bleu(4).compute_score(gts, res, verbose=0)
    expected = {f"BLEU-{n + 1}": (bleu[n], bleus[n]) for n in range(4)}
    expected |= {"ROUGE-L": Rouge().compute_score(gts, res), "CIDEr": Cider().compute_score(gts, res)}
    for name, (total, each) in expected.items():
        assert found.corpus[name] == pytest.approx(total, abs=1e-9)
        assert [row[name] for row in found.per_video.values()] == pytest.approx(list(each), abs=1e-9)


def test_scores_do_not_depend_on_the_order_of_the_hypotheses() -> None:
    refs, hyps = generated(20, 3, 5)
    turned = dict(reversed(hyps.items()))
    quick = ("bleu", "rouge", "cider")
    assert score_captions(refs, hyps, quick) == score_captions(refs, turned, quick)


# --- the traps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n", "\v", "\f", "\u2028", "\u2029", "\x85", "\x1c", "\t"])
def test_line_ends_inside_captions_change_nothing(end: str) -> None:
    refs, hyps = generated(12, 4, 6)
    broken = {key: [caption.replace(" ", end) for caption in captions] for key, captions in refs.items()}
    split = {key: f"{end}{caption}{end}" for key, caption in hyps.items()}
    quick = ("bleu", "rouge", "cider")
    assert score_captions(broken, split, quick).per_video == score_captions(refs, hyps, quick).per_video


def test_clean_keeps_one_line_and_valid_text() -> None:
    assert one_line(" a\r\nman \x0b\x0c smiles\u2028 ") == "a man smiles"
    assert one_line("half \ud83d pair \ud83d\ude00") == "half \ufffd pair 😀"
    one_line("half \ud83d").encode("utf-8")


def test_one_video_has_cider_zero_and_a_perfect_one_among_others_ten(caplog: pytest.LogCaptureFixture) -> None:
    assert score_captions({"a": ["a man smiles at us"]}, {"a": "a man smiles at us"}, ["cider"]).corpus["CIDEr"] == 0
    assert "CIDEr of a single video is 0" in caplog.text
    refs = {"a": ["one two three four five"], "b": ["six seven eight nine ten"]}
    found = score_captions(refs, {key: captions[0] for key, captions in refs.items()}, ["cider"])
    assert found.corpus["CIDEr"] == pytest.approx(10)


def test_empty_hypothesis_is_warned_of_and_scores_zero(caplog: pytest.LogCaptureFixture) -> None:
    found = score_captions({"a": ["a man smiles"], "b": ["a dog"]}, {"a": "", "b": "a dog"}, ("bleu", "rouge", "cider"))
    assert "1 (a) of 2 hypotheses are empty" in caplog.text
    # The toolkit's tiny constants leave 3e-7 of BLEU-1.
    assert all(value < 1e-6 for value in found.per_video["a"].values())


@pytest.mark.parametrize(
    ("refs", "hyps", "said"),
    [
        ({}, {}, "no references given"),
        ({"a": ["x"], "b": ["y"]}, {"a": "x"}, "1 (b) of 2 videos lack a hypothesis"),
        ({"a": ["x"]}, {"a": "x", "c": "y"}, "1 (c) of 2 hypotheses lack references"),
        ({"a": []}, {"a": "x"}, "references of 'a': given []"),
        ({"a": "x"}, {"a": "x"}, "references of 'a': given 'x'"),
        ({"a": [3]}, {"a": "x"}, "reference of 'a': given int 3"),
        ({"a": ["x"]}, {"a": None}, "hypothesis of 'a': given NoneType"),
        ({str(n): ["x"] for n in range(9)}, {}, "9 (0, 1, 2, 3, 4, ...) of 9 videos lack"),
        ({"a\nb": ["x"]}, {}, "1 ('a\\nb') of 1 videos lack"),
    ],
)
def test_sets_that_do_not_fit_are_refused_in_one_line(refs: dict, hyps: dict, said: str) -> None:
    with pytest.raises(ScoreError) as error:
        score_captions(refs, hyps)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(ScoreError, match=r"unknown metric 'cidre' \(did you mean 'cider'\?\)"):
        score_captions({"a": ["x"]}, {"a": "x"}, ["cidre"])


def test_missing_toolkit_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    toolkit_file.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolkitError, match="pip install pycocoevalcap"):
        score_captions({"a": ["x"]}, {"a": "x"})


def test_meteor_without_its_table_is_skipped_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent(name: str) -> Path:
        raise ToolkitError(f"pycocoevalcap lacks {name}: pip install --force-reinstall pycocoevalcap")

    monkeypatch.setattr("eval.meteor.toolkit_file", absent)
    found = score_captions({"a": ["x y"], "b": ["z"]}, {"a": "x y", "b": "z"})
    assert list(found.corpus) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"]
    assert "pycocoevalcap lacks" in found.skipped["METEOR"]
    assert "METEOR skipped" in caplog.text


# --- significance ----------------------------------------------------------------------------------------


def test_resampled_sums_equal_scoring_the_resampled_set() -> None:
    refs, hyps = generated(15, 3, 8)
    found = score_captions(refs, hyps, ("bleu", "rouge"))
    drawn = np.random.default_rng(0).multinomial(15, np.full(15, 1 / 15), 1)[0]
    copies = [(key, n) for key, times in zip(refs, drawn, strict=True) for n in range(times)]
    again = score_captions(
        {f"{key}/{n}": refs[key] for key, n in copies},
        {f"{key}/{n}": hyps[key] for key, n in copies},
        ("bleu", "rouge"),
    )
    span = significance.intervals(found.statistics, samples=1, seed=0)
    for name, value in again.corpus.items():
        assert span[name].low == pytest.approx(value, abs=1e-12)
        assert span[name].value == pytest.approx(found.corpus[name], abs=1e-12)


def test_comparison_of_a_system_with_itself_and_with_a_worse_one() -> None:
    refs, _ = generated(60, 3, 9)
    good = {key: captions[0] for key, captions in refs.items()}
    bad = {key: " ".join(sorted(caption.split()))[:15] for key, caption in good.items()}
    a, b = (score_captions(refs, hyps, ("bleu", "cider")).statistics for hyps in (bad, good))
    same = significance.compare_systems(b, b, samples=200)["BLEU-4"]
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    better = significance.compare_systems(a, b, samples=200, seed=1)
    assert better == significance.compare_systems(a, b, samples=200, seed=1)
    assert better["CIDEr"].p == pytest.approx(1 / 201)
    assert 0 < better["CIDEr"].low < better["CIDEr"].difference < better["CIDEr"].high


def test_p_values_of_equal_systems_are_spread_evenly() -> None:
    dice = np.random.default_rng(3)
    pairs = [({"CIDEr": dice.random((30, 1))}, {"CIDEr": dice.random((30, 1))}) for _ in range(200)]
    found = [significance.compare_systems(*pair, 99, seed=n)["CIDEr"].p for n, pair in enumerate(pairs)]
    assert 0.42 < np.mean(found) < 0.58
    assert 0.01 < np.mean(np.array(found) <= 0.05) < 0.10


def test_significance_refuses_what_does_not_pair() -> None:
    one, two = {"CIDEr": np.ones((3, 1))}, {"CIDEr": np.ones((4, 1))}
    with pytest.raises(CaptionerError, match="other videos: 3 against 4"):
        significance.compare_systems(one, two)
    with pytest.raises(CaptionerError, match="other metrics: CIDEr against BLEU"):
        significance.compare_systems(one, {"BLEU": np.ones((3, 10))})
    with pytest.raises(CaptionerError, match="given 0 samples"):
        significance.intervals(one, samples=0)
