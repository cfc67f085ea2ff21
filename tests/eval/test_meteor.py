"""METEOR against the toolkit's own jar, and its parts one by one."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from eval import align, lexical, meteor, metrics
from eval.lexical import meteor_lexicon, paraphrases
from eval.metrics import score_captions
from eval.normalize import normalize
from eval.stem import stem
from eval.toolkit import METEOR, PARAPHRASES, toolkit_file
from tests.eval.toolkit_pairs import by_java, generated, needs_java, needs_toolkit

pytestmark = needs_toolkit

SMALL_TABLE = [
    ("a man", "a guy"),
    ("a man", "the person"),
    ("a guy", "a man"),
    ("is running", "runs"),
    ("runs", "is running"),
    ("girl", "young woman"),
    ("young woman", "girl"),
    ("on", "on top of"),
    ("on top of", "on"),
    ("smiles", "is smiling"),
]
METEOR_WORDS = str.split(
    "a a the man guy person girl woman young dog dogs is is are running runs ran smiles smiling smile on top "
    "of happy happily glad big large bike bicycle 's n't t-shirt u.s. mr. 3,000 ( ) % caf\xe9"
)


@pytest.fixture
def small_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A paraphrase table that the jar loads in no time."""
    path = tmp_path / "table.gz"
    path.write_bytes(gzip.compress("".join(f"0.5\n{a}\n{b}\n" for a, b in SMALL_TABLE).encode()))
    real = meteor.toolkit_file
    monkeypatch.setattr("eval.meteor.toolkit_file", lambda name: path if name == PARAPHRASES else real(name))
    return path


@pytest.mark.slow
@needs_java
def test_meteor_statistics_equal_the_jar(small_table: Path) -> None:
    refs, hyps = generated(400, 4, 10, METEOR_WORDS)
    tokens, said = metrics.tokenize_pairs(refs, hyps)
    lines = [" ||| ".join(("SCORE", *captions, text)) for captions, text in zip(tokens, said, strict=True)]
    flags = [
        "-jar",
        str(toolkit_file(METEOR)),
        "-",
        "-",
        "-stdio",
        "-l",
        "en",
        "-norm",
        "-a",
        str(small_table),
    ]
    rows = by_java(flags, [*lines, ""])[:-1]
    ours = meteor.meteor_statistics(tokens, said)
    assert ours.tolist() == [[float(cell) for cell in row.split()] for row in rows]
    assert (ours[:, 8:20].reshape(-1, 3, 4).sum(2) > 0).any(0).all(), "stems, synonyms and paraphrases all occur"
    totals = " ||| ".join(["EVAL", *(" ".join(row.split()) for row in rows)])
    *each, whole = map(float, by_java(flags, [totals, ""])[:-1])
    assert meteor.meteor_scores(ours) == pytest.approx(each, abs=1e-9)
    assert meteor.meteor_scores(meteor.summable(ours).sum(0)) == pytest.approx(whole, abs=1e-9)


def test_no_alignment_beats_its_bound() -> None:
    refs, hyps = generated(150, 3, 11, METEOR_WORDS)
    known = meteor_lexicon(toolkit_file(METEOR))
    table = align.Paraphrases(SMALL_TABLE)
    for key, captions in refs.items():
        said = tuple(hyps[key].split())
        for caption in captions:
            meant = tuple(caption.split())
            aligner = align.Aligner(known, table, said)
            places = {word: [n for n, other in enumerate(said) if other == word] for word in said}
            shared = {word: aligner._known(word, places) for word in meant}
            hits = align._hits(meant, table.related(said, set(meant)))
            function = [known.word(word).function for word in said]
            reached = align.alignment_score(aligner.best(said, [meant]))
            assert reached <= align._bound(function, meant, shared, hits) + 1e-12


def test_meteor_of_known_pairs(small_table: Path) -> None:
    refs = {"a": ["a man runs"], "b": ["the girl smiles"], "c": ["a dog"]}
    found = score_captions(refs, {"a": "a man runs", "b": "the young woman is smiling", "c": ""}, ["meteor"])
    assert found.per_video["a"]["METEOR"] == pytest.approx(1.0)
    assert 0.3 < found.per_video["b"]["METEOR"] < 0.7
    assert found.per_video["c"]["METEOR"] == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("don't it 's t-shirt", "don 't it ' s t shirt"),
        ("u.s. mr. e.g. end.", "us mr. eg end ."),
        ("1/2 3,000 10:30 a@b", "1 / 2 3,000 10 : 30 a @ b"),
        ("wait... so", "wait ... so"),
        ("a man  smiles", "a man smiles"),
        ("", ""),
    ],
)
def test_normaliser(line: str, words: str) -> None:
    assert normalize(line, meteor_lexicon(toolkit_file(METEOR)).abbreviations) == words


def test_stemmer() -> None:
    pairs = """running run, runs run, happily happili, generously generous, skies sky, dying die, hoped hope,
        hopped hop, agreed agre, us us, gas gas, cries cri, ties tie, sensational sensat, sayings say"""
    for word, expected in (pair.split() for pair in pairs.split(",")):
        assert stem(word) == expected


@pytest.mark.parametrize("chunk", [7, 64, 1 << 20])
def test_paraphrases_do_not_depend_on_how_the_table_is_unpacked(
    small_table: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(lexical, "_CHUNK", chunk)
    found = paraphrases(small_table, [("a", "man"), ("runs",)], [("the", "person"), ("a", "guy"), ("is", "running")])
    assert found == [SMALL_TABLE[n] for n in (0, 1, 2, 3, 4)]


@pytest.mark.parametrize("hurt", [lambda data: data[:-20], lambda data: b"no gzip" + data])
def test_a_damaged_table_is_said_not_scored(small_table: Path, hurt: Callable[[bytes], bytes]) -> None:
    small_table.write_bytes(hurt(small_table.read_bytes()))
    found = score_captions({"a": ["a man runs"], "b": ["x"]}, {"a": "a man runs", "b": "x"}, ["meteor"])
    assert found.corpus == {}
    assert "a file of pycocoevalcap is damaged" in found.skipped["METEOR"]
