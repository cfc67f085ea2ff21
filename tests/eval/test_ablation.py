"""`python -m eval ablation`: rows are configurations, tables are arithmetic, faults are one line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from captioner.config import Config
from captioner.config_io import load_config
from captioner.data.manifest import Record, read_manifest, write_manifest
from captioner.errors import ManifestError
from captioner.model.experts import load_experts
from captioner.train.emotion.run_config import load_emotion_run
from captioner.train.emotion.words_config import WordsRun
from eval.__main__ import main
from eval.ablation import (
    AblationFamily,
    AblationOptions,
    AblationRow,
    AblationTable,
    difference_table,
    find_table,
    interval_table,
    protocol_table,
    score_table,
)
from eval.ablation_runs import UNTRAINED, row_overrides, run_ablation, run_folder, write_style
from tests.helpers import CAPTIONS, ROOT, noise_video, tiny_batch, tiny_model
from tests.train.test_training import TINY

FAMILIES = {path.stem: load_config(AblationFamily, path) for path in (ROOT / "configs" / "ablate").glob("*.yaml")}


def test_every_row_is_a_valid_configuration() -> None:
    for family in FAMILIES.values():
        kind = WordsRun if family.kind == "words" else Config
        for table in family.tables:
            assert len({run_folder(row.changes, 0) for row in table.rows}) == len(table.rows)
            for row in table.rows:
                changes = [c for c in row.changes if c != UNTRAINED]
                if family.kind == "recogniser":
                    load_emotion_run(ROOT / family.config, changes)
                else:
                    load_config(kind, ROOT / family.config, changes)


def test_the_tables_of_the_papers_are_there() -> None:
    tables = [table.name for name in ("ecpa", "prior", "pe_clip") for table in FAMILIES[name].tables]
    assert tables == [
        *("IV", "V", "VI", "VII", "K", "T", "M", "E"), "prior", *(f"pe-clip-{name}" for name in "345678ds"),
    ]  # fmt: skip
    rows = {row.name: row.changes for row in find_table("IV")[1].rows}
    assert list(rows) == ["baseline", "+VEP", "+TEP", "+ECA"]
    assert {row.name: row.changes for row in find_table("V")[1].rows}["both"] == rows["+ECA"] == ()
    assert [row.name for row in find_table("pe-clip-s")[1].rows] == ["off", "order", "pull"]


@pytest.mark.parametrize("row", [*find_table("VII")[1].rows, find_table("V")[1].rows[-1]], ids=lambda row: row.name)
def test_rows_of_other_encoders_learn(row: AblationRow) -> None:
    """Every row of Table VII, and V's odd one, trains: its text encoder gets gradients where the row says so."""
    changes = [change.removeprefix("model.") for change in row.changes]
    sizes = ["video.width=16"] if "clip_small" not in " ".join(changes) else ["video.width=8"]
    model = tiny_model(*changes, *sizes).train()
    losses = model(tiny_batch(model.config)).live
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert model.aligned is ("without ECPA" not in row.name)
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.fusion.parameters())
    if model.aligned and "frozen" not in row.name:
        assert any(p.grad is not None and bool(p.grad.any()) for p in model.text.parameters())
    for part in (model.video, getattr(model, "text", None)):
        assert part is None or "frozen" not in row.name or not any(p.requires_grad for p in part.parameters())


def test_rows_of_the_prior() -> None:
    family, table = find_table("prior")
    models = [
        load_config(Config, ROOT / family.config, [*row.changes, "model.emotion_prior_source=DIR"]).model
        for row in table.rows
    ]
    assert [(c.emotion_prior, c.emotion_prior_weight) for c in models] == [(None, None), ("pe_clip", 0.5)]
    assert models[1].emotion_prior_source == "DIR"


def test_untrained_experts_are_the_same_nets(tmp_path: Path) -> None:
    """Same shapes and the same list of untrained units, other weights; made once."""
    config = ROOT / "configs" / "ablate.yaml"
    options = AblationOptions(config, tmp_path, ("data.drawn=9",))
    row = find_table("E")[1].rows[0]
    assert row.changes == (UNTRAINED,)
    words = row_overrides(row.changes, options)
    folder = tmp_path / "untrained-experts"
    assert words == ["data.drawn=9", f"model.experts.source={folder}", "model.experts.untrained=allowed"]
    assert row_overrides(row.changes, options) == words
    source = load_config(Config, config).model.experts.source
    trained, other = load_experts(source), load_experts(tmp_path / "untrained-experts")
    assert other.config == replace(trained.config, training_data=other.config.training_data)
    assert not torch.equal(trained.au.head.main_sc, other.au.head.main_sc)
    assert row_overrides(("model.prompts.k=2",), options) == ["model.prompts.k=2", "data.drawn=9"]


@pytest.mark.slow
def test_scores_and_intervals() -> None:
    scores = {"baseline": (0.1, 0.3), "+ECA": (0.5, 0.5)}
    refs = {f"clip{i}": [f"A man nods {i}. The frown and the smile."] for i in range(6)}
    said = {"baseline": "A man sits. The frown.", "+ECA": "A man nods. The frown and the smile."}
    runs = {
        name: [{"scores": {"BLEU-4": v}, "refs": refs, "hyps": dict.fromkeys(refs, said[name])} for v in values]
        for name, values in scores.items()
    }
    lines = score_table(runs, {"baseline": 0.5, "+ECA": 0.55}).splitlines()
    assert lines[2].startswith("| baseline | 20.00 ± 14.14 | skipped ")
    assert lines[3].endswith("| 0.550 | 1.100 |")
    head, _, first, second = interval_table(runs, samples=200).splitlines()
    assert head.split(" | ")[-1] == "Phrase F1 |"
    assert first.split(" | ")[-1] == "66.67 (66.67 to 66.67) |"
    assert second.split(" | ")[-1].startswith("100.00 (100.00 to 100.00, p 0.0")


def test_differences_are_seed_by_seed_and_split_by_split() -> None:
    base = [{"CIDEr": 0.10}, {"CIDEr": 0.30}]
    text = difference_table({"without": base, "with": [{"CIDEr": 0.15}, {"CIDEr": 0.37}]}).splitlines()
    assert "| 20.0 ± 14.1 |" in text[2]
    assert "26.0 ± 15.6 (+6.0 ± 1.4)" in text[3]
    rows = {
        name: {
            "splits": {"0": a, "1": b}, "top1": (a + b) / 2, "spread": 0.1, "trained_parameters": 2.5e6,
            "scores": {"UAR": [a, 0.1], "WA-F1": [b, 0.1], "ECE": [0.25, 0.1]}, "peak_memory_mb": 900.4,
        }
        for name, (a, b) in {"one": (0.5, 0.7), "two": (0.6, 0.7)}.items()
    }
    lines = protocol_table(rows).splitlines()
    assert lines[2] == "| one | 60.0 | 10.0 | +0.0 | 0.0 | 50.0 | 0.700 | 0.250 | 2.50 | 900 |"
    assert lines[3] == "| two | 65.0 | 10.0 | +5.0 | 7.1 | 60.0 | 0.700 | 0.250 | 2.50 | 900 |"


@pytest.mark.slow
def test_a_table_is_trained_scored_timed_and_kept(tmp_path: Path) -> None:
    records = [
        Record(f"clip{n}", noise_video(tmp_path / f"{n}.mp4", n), split, tuple(CAPTIONS), emotion="anger")
        for n, split in enumerate(["train"] * 4 + ["test"] * 2)
    ]
    write_manifest(tmp_path / "manifest.jsonl", records)
    rows = (AblationRow("baseline", ("model.prompts.k=1",)), AblationRow("whole"))
    table = AblationTable("tiny", rows, "two rows of noise")
    settings = [*TINY, "model.experts.source=", "model.text.share_words=false", "data.drawn=0", "train.max_steps=1"]
    settings += [f"data.manifest={tmp_path / 'manifest.jsonl'}", f"data.cache={tmp_path / 'cache'}"]
    out = tmp_path / "runs"
    options = AblationOptions(ROOT / "configs" / "tiny.yaml", out, tuple(settings), seeds=1, jobs=1, turns=1)
    family = AblationFamily("captioner", "configs/tiny.yaml", (table,))
    text = run_ablation(family, table, options)
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")].count("| whole") == 2
    assert "(two rows of noise), 2 test clips of" in text and "1 seed a row" in text
    assert (out / "table_tiny.md").read_text() == text
    kept = out / "k_1-seed0" / "test.json"
    assert set(json.loads(kept.read_text())["hyps"]) == {"clip4", "clip5"}
    before = kept.stat().st_mtime_ns, (out / "full-seed0" / "log.jsonl").stat().st_mtime_ns
    run_ablation(family, table, options)  # finished runs are read, not trained
    assert before == (kept.stat().st_mtime_ns, (out / "full-seed0" / "log.jsonl").stat().st_mtime_ns)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    lines = []
    for number, split in enumerate(["train", "train", "val", "train", "test"]):
        (tmp_path / f"{number}.mp4").touch()
        extra = {"feelings": [f"a sad one {number}"]}
        lines.append({"id": str(number), "video": f"{number}.mp4", "split": split, "captions": ["A frown."],
                      "emotion": "sadness", "extra": extra})  # fmt: skip
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "manifest.jsonl"


def test_captions_of_the_other_style(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "manifest.jsonl"
    write_style(clips, out, "feelings", 2)
    records = read_manifest(out)
    assert [(r.id, r.split) for r in records] == [("0", "train"), ("1", "train"), ("4", "test")]
    assert records[0].captions == ("a sad one 0",) and records[0].video.parent == tmp_path
    with pytest.raises(ManifestError, match="clip 0 has no captions in the style 'verse'"):
        write_style(clips, out, "verse", 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--table", "prior", "--clips", "no.jsonl"], "no.jsonl"),
        (["--table", "prior"], "--clips is missing"),
        (["--table", "9"], "unknown table '9'; allowed: av-canet-4, "),
        (["--table", "IV", "model.prompt.k=2"], "did you mean 'model.prompts'"),
        (["--table", "pe-clip-3", "data.rot=x"], "did you mean 'data.root'"),
    ],
)
def test_faults_are_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablation", *words[:2], "--out", str(tmp_path), *words[2:]]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err
