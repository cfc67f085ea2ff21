"""`python -m eval`: file formats, tables, exit codes, and what it says of files that are damaged."""

import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from captioner.errors import ManifestError
from captioner.lexicon.phrases import PHRASES
from eval.__main__ import main
from eval.io import hypotheses, read_entries, references
from eval.metrics import score_captions

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None, reason="pycocoevalcap is not installed"
)
ROOT = Path(__file__).parents[2]
FROWN, SMILE = (PHRASES[name].wordings[0] for name in ("frown", "smile"))
REFS = {
    "a": [f"A man talks to a woman in a street. The {FROWN}.", "a man talks"],
    "b": ["two girls play with a dog"],
    "c": [f"A boy laughs happily. The {SMILE}."],
}
HYPS = {"a": f"A man talks. The {FROWN}.", "b": "a girl plays with a dog", "c": f"A boy smiles happily. The {SMILE}."}
QUICK = ["--metrics", "bleu,rouge,cider"]


def written(path: Path, content: object) -> str:
    """Content as json, or as JSON lines where the name says so."""
    if path.suffix == ".jsonl":
        assert isinstance(content, list)
        path.write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
    else:
        path.write_text(json.dumps(content), "utf-8")
    return str(path)


def manifest() -> list[dict[str, Any]]:
    splits = {"a": "test", "b": "test", "c": "train"}
    return [
        {"id": key, "video": f"{key}.mp4", "captions": captions, "split": splits[key], "emotion": "anger"}
        for key, captions in REFS.items()
    ]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    refs, hyps = written(tmp_path / "refs.json", REFS), written(tmp_path / "hyps.json", HYPS)
    return ["--refs", refs, "--hyps", hyps]


# --- formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("refs.json", REFS),
        ("refs.jsonl", manifest()),
        ("refs.jsonl", [{"id": key, "caption": text} for key, texts in REFS.items() for text in texts]),
        ("refs.json", {"annotations": [{"image_id": k, "caption": t} for k, ts in REFS.items() for t in ts]}),
        ("refs.json", {"sentences": [{"video_id": k, "caption": t} for k, ts in REFS.items() for t in ts]}),
        ("refs.json", [{"id": key, "captions": texts} for key, texts in REFS.items()]),
        ("refs.json", {key: {"captions": texts} for key, texts in REFS.items()}),
        ("refs.jsonl", [{"video": f"clips/{key}.mp4", "captions": texts} for key, texts in REFS.items()]),
    ],
)
def test_reference_formats_say_the_same(tmp_path: Path, name: str, content: object) -> None:
    assert references(read_entries(written(tmp_path / name, content))) == REFS


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hyps.json", HYPS),
        ("hyps.json", {key: [text] for key, text in HYPS.items()}),
        ("hyps.json", [{"image_id": key, "caption": text} for key, text in HYPS.items()]),
        ("hyps.jsonl", [{"file": f"clips/{key}.mp4", "caption": text, "score": -1} for key, text in HYPS.items()]),
    ],
)
def test_hypothesis_formats_say_the_same(tmp_path: Path, name: str, content: object) -> None:
    assert hypotheses(read_entries(written(tmp_path / name, content))) == HYPS


def test_lines_are_found_without_the_suffix_and_ids_may_be_numbers(tmp_path: Path) -> None:
    path = tmp_path / "predictions.txt"
    path.write_text('\ufeff{"id": 7, "caption": "x"}\r\n\n{"id": 8, "caption": "y\\u2028z"}\n', "utf-8")
    assert hypotheses(read_entries(path)) == {"7": "x", "8": "y\u2028z"}


def test_one_record_alone_is_a_record(tmp_path: Path) -> None:
    assert references(read_entries(written(tmp_path / "r.jsonl", [{"id": "x", "captions": ["y"]}]))) == {"x": ["y"]}
    assert references(read_entries(written(tmp_path / "r.json", {"id": "x", "captions": ["y"]}))) == {"x": ["y"]}


def test_clips_without_captions_are_no_references(tmp_path: Path) -> None:
    rows = [*manifest(), {"id": "neutral", "captions": [], "emotion": "neutral"}]
    assert references(read_entries(written(tmp_path / "m.jsonl", rows))) == REFS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.json: empty file"),
        ("[]", "f.json: holds no record"),
        ("7", "f.json: given int 7, allowed JSON lines"),
        ('{"a": ["x", x]}', "f.json:1: not JSON at column 13"),
        ('{"a": ["x"],\n "a": ["y"]}', "f.json:1: key 'a' stands twice in one object"),
        ('{\n"a": ["x"]\n"b": ["y"]}', "f.json:3: not JSON at column 1"),
        ('{"id": "a", "caption": "x"}\n{"id": "b", "caption": x}', "f.json:2: not JSON at column 24"),
        ('{"id": "a", "captions": ["x"]}\n{"id": "a", "captions": ["y"]}', "f.json:2: id 'a' stands already at"),
        ('{"id": "a"}\n{"id": "b"}', "f.json:1: 'a' has neither `captions` nor `caption`"),
        ('{"caption": "x"}\n{"caption": "y"}', "f.json:1: no id; allowed one of id, video_id"),
        ('{"id": true, "caption": "x"}\n{"id": 1, "caption": "x"}', "f.json:1: id is bool True, allowed text"),
        ('{"id": "\\ud83d", "caption": "x"}\n{"id": 1, "caption": "x"}', "f.json:1: id is str '\\ud83d', allowed"),
        ('{"a": [1]}', "f.json: 'a': a caption of 'a' is int 1, allowed text"),
        ('{"a": null}', "f.json: 'a': a caption of 'a' is NoneType None, allowed text"),
        ('[["a", "x"]]', "f.json: '[0]': given list ['a', 'x'], allowed an object"),
        ('{"id": "a", "caption": "x", "emotion": 3}', "emotion of 'a' is int 3, allowed a name"),
        ("[" * 100_000, "f.json:1: brackets nested too deep"),
        ('{"a": ' + "1" * 5000 + "}", "f.json:1: Exceeds the limit"),
    ],
)
def test_faults_are_named_by_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ManifestError) as error:
        read_entries(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    written(tmp_path / "refs.json", REFS)
    with pytest.raises(ManifestError, match=r"no such file: .*refz.json' \(did you mean .*refs.json'"):
        read_entries(tmp_path / "refz.json")
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        read_entries(tmp_path)
    (tmp_path / "latin.json").write_bytes('{"a":\n["caf\xe9"]}'.encode("latin-1"))
    with pytest.raises(ManifestError, match=r"latin.json:2: byte 0xe9 is not UTF-8"):
        read_entries(tmp_path / "latin.json")


def test_two_hypotheses_of_one_video_are_named(tmp_path: Path) -> None:
    rows = [{"id": "a", "caption": "x"}, {"id": "b", "caption": "y"}, {"id": "a", "caption": "z"}]
    with pytest.raises(ManifestError, match=r"p.jsonl:1, .*p.jsonl:3: 'a' has 2 hypotheses; allowed exactly one"):
        hypotheses(read_entries(written(tmp_path / "p.jsonl", rows)))


# --- the commands ------------------------------------------------------------------------------------------------


def test_score_prints_a_table(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", *files, "--metrics", "bleu,cider,phrases,words", "--intervals", "50"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines()}
    value = score_captions(REFS, HYPS, ["bleu", "cider"]).corpus
    assert f"{100 * value['CIDEr']:.2f}" in rows["CIDEr"]
    assert " .. " in rows["BLEU-4"]
    assert "Phrase F1  100.00" in out.replace("   ", "  ").replace("   ", "  ")
    assert {"Acc_sw", "BFS", "CFS"} <= rows.keys()


def test_score_json_and_output_hold_every_video(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "out" / "scores.json"
    assert main(["score", *files, *QUICK, "--format", "json", "--output", str(saved)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(saved.read_text("utf-8"))
    expected = score_captions(REFS, HYPS, ("bleu", "rouge", "cider"))
    assert report["metrics"] == expected.corpus
    assert report["per_video"] == expected.per_video
    assert (report["videos"], report["references"]) == (3, 4)
    assert report["versions"]["pycocoevalcap"]


def test_markdown(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", *files, "--metrics", "rouge", "--format", "md"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["| metric | x 100 |", "| --- | ---: |"]
    assert lines[2].startswith("| ROUGE-L | ")


def test_split_and_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refs = written(tmp_path / "m.jsonl", manifest())
    rows = [{"id": k, "caption": t, "emotion": {"anger": 0.8, "joy": 0.2}} for k, t in HYPS.items() if k != "c"]
    hyps = written(tmp_path / "p.jsonl", rows)
    assert main(["score", "--refs", refs, "--hyps", hyps, *QUICK]) == 2
    assert "1 of 3 videos lack a hypothesis; choose a --split of test, train" in capsys.readouterr().err
    chosen = ["score", "--refs", refs, "--hyps", hyps, "--split", "test", "--metrics", "rouge,classes"]
    assert main([*chosen, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["metrics"]["UAR"] == 1
    assert report["metrics"]["ECE"] == pytest.approx(0.2)
    assert main(["score", "--refs", refs, "--hyps", hyps, "--split", "dev"]) == 2
    assert "split 'dev' is not in the references; allowed test, train" in capsys.readouterr().err


def test_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refs, good = written(tmp_path / "r.json", REFS), written(tmp_path / "good.json", HYPS)
    bad = written(tmp_path / "bad.json", dict.fromkeys(HYPS, "a cat"))
    command = ["compare", bad, good, "--refs", refs, "--metrics", "bleu,phrases", "--samples", "100"]
    assert main([*command, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)["metrics"]
    assert report["Phrase F1"]["a"] == 0 < report["Phrase F1"]["b"] == 1
    assert 0 < report["BLEU-1"]["p"] <= 1
    assert main(command) == 0
    assert "B - A" in capsys.readouterr().out
    assert main([*command[:-3], "words"]) == 2
    assert "compare: given words, allowed bleu, meteor, rouge, cider, phrases" in capsys.readouterr().err


def test_a_skipped_metric_asked_for_by_name_gives_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = dict.fromkeys(REFS, "a dog")
    files = ["--refs", written(tmp_path / "r.json", {key: [text] for key, text in plain.items()})]
    files += ["--hyps", written(tmp_path / "h.json", plain)]
    assert main(["score", *files, "--metrics", "rouge,phrases"]) == 1
    assert "skipped Phrases: no reference names a facial phrase" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["score", "--refs", "no.json", "--hyps", "no.json"], "error: no such file: 'no.json'"),
        (["compare", "no.json", "no.json", "--refs", "no.json"], "error: no such file: 'no.json'"),
    ],
)
def test_errors_are_one_line_and_exit_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["score"], "required"),
        (["score", "--refs", "r", "--hyps", "h", "--metrics", "blue"], "unknown metric 'blue' (did you mean 'bleu'?)"),
        (["score", "--refs", "r", "--hyps", "h", "--metrics", ","], "no metric given; allowed: bleu"),
    ],
)
def test_usage_errors_exit_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert said in capsys.readouterr().err


def test_output_that_cannot_be_written(files: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(["score", *files, *QUICK, "--output", str(tmp_path / "file" / "x.json")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_runs_as_a_module_without_torch() -> None:
    code = "import sys, eval.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    done = subprocess.run([sys.executable, "-m", "eval", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Exit code 0: done" in done.stdout


# --- damaged files -----------------------------------------------------------------------------------------------

GARBAGE = [
    *(bytes([code]) for code in b'\0\xff\r\n"\\{}[],:'),
    b"\xe2\x80\xa8",
    b"\\ud83d",
    b"\xef\xbb\xbf",
    b"\\u0000",
]
GARBAGE += [b"null", b"NaN", b"1e999", b"true", b'"a"', b"|||", b"SCORE"]


def damaged(data: bytes, dice: random.Random) -> bytes:
    """The data after a random accident."""
    at, end = sorted(dice.randrange(len(data) + 1) for _ in range(2))
    lines = data.split(b"\n")
    accidents = (
        data[:at],
        data[:at] + data[min(end, at + 9) :],
        data[:at] + dice.choice(GARBAGE) + data[at:],
        data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :],
        b"\n".join(dice.sample(lines, len(lines))),
        b"\n".join([*lines, dice.choice(lines)]),
        data.replace(b'"b"', dice.choice([b'"a"', b'"d"', b"2", b'"b\\n"'])),
        data.replace(b"]", dice.choice([b"]]", b""]), 1),
    )
    return dice.choice(accidents) or b" "


def plainly(data: bytes, lines: bool) -> dict[str, Any]:
    """Captions by id, read in the simplest way."""
    if not lines:
        found: dict[str, Any] = json.loads(data.decode("utf-8-sig"))
        return found
    rows = [json.loads(line) for line in data.decode("utf-8-sig").split("\n") if line.strip()]
    return {str(row["id"]): row.get("captions", row.get("caption")) for row in rows}


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_end_in_an_error_or_in_true_scores(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dice, lines = random.Random(seed), seed % 2 == 0
    suffix = "jsonl" if lines else "json"
    paths = [Path(written(tmp_path / f"refs.{suffix}", manifest() if lines else REFS))]
    rows = [{"id": key, "caption": text} for key, text in HYPS.items()]
    paths.append(Path(written(tmp_path / f"hyps.{suffix}", rows if lines else HYPS)))
    hurt = dice.choice(paths)
    for _ in range(dice.randint(1, 3)):
        hurt.write_bytes(damaged(hurt.read_bytes(), dice))
    code = main(["score", "--refs", str(paths[0]), "--hyps", str(paths[1]), *QUICK, "--format", "json"])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    if code == 2:
        assert err.splitlines()[-1].startswith("error: ")
        return
    assert code == 0
    refs, hyps = (plainly(path.read_bytes(), lines) for path in paths)
    report = json.loads(out)
    true = {key: captions if isinstance(captions, list) else [captions] for key, captions in refs.items() if captions}
    said = {key: hyps[key][0] if isinstance(hyps[key], list) else hyps[key] for key in true}
    assert report["per_video"] == score_captions(true, said, ("bleu", "rouge", "cider")).per_video
