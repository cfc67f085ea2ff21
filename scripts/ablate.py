"""The paper's ablations on synthetic clips: python scripts/ablate.py [--table IV] [--seeds 3] [key=value ...]

Trains every row of a table with every seed from configs/ablate.yaml, scores the test split, and prints two tables:
mean and spread (standard deviation over seeds) of BLEU-4, METEOR, ROUGE-L, CIDEr and phrase F1, with the seconds of a
training iteration, measured with the rows taking turns in one process; then every metric with its 95 % bootstrap
interval over the clips of all seeds, and the p of its difference to the first row. Finished runs are kept.
Tables: IV (components), V (alignments), VI (losses), K, T and M (Figs 6, 7, 8), E (experts: untrained, trained).
The clips are drawn unless a config or data.manifest names others; E with the experts that ship, on made clips:
    python scripts/ablate.py --config configs/ablate_clips.yaml --table E data.manifest=clips/manifest.jsonl
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import captioner
from captioner.config import Config
from captioner.config_io import load_config
from captioner.data.dataset import EpochOrder
from captioner.data.manifest import Record, read_manifest
from captioner.errors import CaptionerError
from captioner.files import write_text
from captioner.inference.predictor import Caption
from captioner.model.batch import collate
from captioner.model.experts import load_experts, save_experts
from captioner.train.engine import PlainEngine
from captioner.train.processes import Processes
from captioner.train.setup import prepare_run
from eval.checkpoint import score_checkpoint
from eval.emotion import phrase_counts
from eval.metrics import score_captions
from eval.significance import PHRASES, compare_systems, intervals
from prompts.au_graph import AUGraph
from prompts.er_net import ERNet

BASE = {"vep": "false", "tep": "false", "er_sentence": "off", "au_word": "off"}
FULL: dict[str, str] = {}
TABLES: dict[str, dict[str, dict[str, str]]] = {
    "IV": {
        "baseline": BASE,
        "+VEP": BASE | {"vep": "true"},
        "+TEP": BASE | {"vep": "true", "tep": "true"},
        "+ECA": FULL,
    },
    "V": {
        "baseline": BASE,
        "ER-sentence": {"au_word": "off"},
        "AU-word": {"er_sentence": "off"},
        "both": FULL,
    },
    "VI": {
        "ER: global similarity": {"er_sentence": "similarity"},
        "ER: similarity CE": {"er_sentence": "similarity_ce"},
        "AU: CE": {"au_word": "ce"},
        "AU: contrastive": {"au_word": "contrastive"},
        "ER-aware, AU-aware": FULL,
    },
    "K": {f"K = {k}": {"k": str(k)} for k in (1, 2, 3, 4, 5)},
    "T": {f"T_C = {t}": {"threshold": str(t)} for t in (0.1, 0.2, 0.3, 0.4, 0.5)},
    "M": {f"m = {m}": {"margin": str(m)} for m in (0.3, 0.4, 0.5, 0.6, 0.7)},
    "E": {"untrained experts": {"experts": "untrained"}, "trained experts": FULL},
}
COLUMNS = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr", PHRASES)


def overrides(row: dict[str, str], extra: Iterable[str]) -> list[str]:
    """A row as `key=value` words of the config; its experts are named by `with_untrained`."""
    return [f"model.prompts.{key}={value}" for key, value in row.items() if key != "experts"] + list(extra)


def with_untrained(row: dict[str, str], options: argparse.Namespace) -> list[str]:
    """The settings of a row; for untrained experts the same nets with random weights, made beside the runs."""
    if row.get("experts") != "untrained":
        return overrides(row, options.settings)
    trained = load_config(Config, options.config, options.settings).model.experts.source
    folder = options.out / "untrained-experts"
    if not (folder / "config.json").exists():
        known = load_experts(trained)
        torch.manual_seed(0)
        er, au = ERNet(known.er.config), AUGraph(known.au.config)
        spec = replace(known.config, training_data="nothing: random weights")
        save_experts(folder, er, au, spec, card=f"# The nets of {trained} with random weights\n", whole_au=False)
    return overrides(row, [*options.settings, f"model.experts.source={folder}"])


def folder_name(row: dict[str, str], seed: int) -> str:
    """A folder name that says what differs; equal rows of different tables share a run."""
    return "-".join([f"{k}_{v}" for k, v in sorted(row.items())] or ["full"]) + f"-seed{seed}"


def run_row(row: dict[str, str], seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train and score one row with one seed, unless that has been done."""
    out = options.out / folder_name(row, seed)
    result = out / "test.json"
    if result.exists():
        return json.loads(result.read_text(encoding="utf-8"))
    words = [*with_untrained(row, options), f"train.seed={seed}", f"train.out={out}"]
    records, captions, scores = train_and_score(options.config, words, out)
    refs = {r.id: list(r.captions) for r in records if r.captions}
    kept = {"scores": scores, "refs": refs, "hyps": {i: captions[i].text for i in refs}}
    write_text(result, json.dumps(kept, indent=1) + "\n")
    return kept


def train_and_score(
    path: Path, words: list[str], out: Path
) -> tuple[list[Record], dict[str, Caption], dict[str, Any]]:
    """Test clips, their captions and scores after the run of a config with overrides, whose train.out is `out`."""
    config = load_config(Config, path, words)
    script = Path(__file__).with_name("train.py")  # a finished run returns at once
    subprocess.run([sys.executable, str(script), str(path), *words], check=True)
    records = read_manifest(config.data.manifest, split="test")
    train = read_manifest(config.data.manifest, split="train", check_files=False)
    found = score_checkpoint(captioner.load(out / "last"), records, train, cache=config.data.cache)
    return records, found.captions, found.scores


def run_all(rows: dict[str, dict[str, str]], options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Every row with every seed, a few at a time."""
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = {n: [pool.submit(run_row, row, s, options) for s in range(options.seeds)] for n, row in rows.items()}
        return {name: [job.result() for job in jobs] for name, jobs in waiting.items()}


def iteration_seconds(rows: dict[str, dict[str, str]], options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a training step with cached experts; the rows take turns, so all meet the same machine."""
    setups = []
    for name, row in rows.items():
        config = load_config(Config, options.config, with_untrained(row, options))
        run = prepare_run(config, Processes())
        data, tokenizer = run.data, run.model.tokenizer
        engine = PlainEngine(run.model.network.train(), config.train, torch.device("cpu"))
        order = next(iter(EpochOrder(len(data), config.train.batch, 0, 0)))
        setups.append((name, engine, partial(collate, pad_id=tokenizer.pad_id)([data[place] for place in order])))
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(options.turns + 2):
        for name, engine, batch in setups:
            began = time.perf_counter()
            engine.backward(sum(engine.losses(batch, False).live.values()))  # type: ignore[arg-type]
            engine.step(1e-6)
            if turn >= 2:  # the first turns allocate
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(results: dict[str, list[dict[str, Any]]], seconds: dict[str, float]) -> str:
    """Markdown: mean ± spread of each score, seconds an iteration and their ratio to the first row."""
    first = next(iter(seconds.values()))
    lines = ["| | " + " | ".join(COLUMNS) + " | s / iter | ratio |", "|---" * (len(COLUMNS) + 3) + "|"]
    for name, runs in results.items():
        cells = []
        for column in COLUMNS:
            values = [100 * run["scores"][column] for run in runs if column in run["scores"]]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.2f} ± {spread:.2f}" if values else "skipped")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {seconds[name]:.3f} | {seconds[name] / first:.3f} |")
    return "\n".join(lines)


def sums(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Per-clip statistics of all metrics, the clips of every seed side by side."""
    refs = {f"{seed} {i}": r for seed, run in enumerate(runs) for i, r in run["refs"].items()}
    hyps = {f"{seed} {i}": h for seed, run in enumerate(runs) for i, h in run["hyps"].items()}
    return {**score_captions(refs, hyps).statistics, PHRASES: phrase_counts(refs, hyps)}


def interval_table(results: dict[str, list[dict[str, Any]]], samples: int = 1000) -> str:
    """Markdown: every metric x 100 with its 95 % interval, and p against the first row."""
    rows = {name: sums(runs) for name, runs in results.items()}
    first = next(iter(rows.values()))
    names = list(intervals(first, samples))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for name, row in rows.items():
        found = intervals(row, samples)
        tested = compare_systems(first, row, samples) if row is not first else {}
        cells = []
        for metric in names:
            value = found[metric]
            chance = f", p {tested[metric].p:.3f}" if tested else ""
            cells.append(f"{100 * value.value:.2f} ({100 * value.low:.2f} to {100 * value.high:.2f}{chance})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "ablate.yaml")
    parser.add_argument("--table", choices=TABLES, default="IV", help="which ablation (default: IV)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (default: 3)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    parser.add_argument("--turns", type=int, default=15, help="timed iterations of each row (default: 15)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/ablate"), help="folder of the runs (default: runs/ablate)"
    )
    parser.add_argument("settings", nargs="*", help="key=value changes to the config, for every row")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    rows = TABLES[options.table]
    try:
        for row in rows.values():
            with_untrained(row, options)  # once, before runs share it
        results = run_all(rows, options)
        seconds = iteration_seconds(rows, options)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print("error: a training run failed (see above); the same command goes on from there", file=sys.stderr)
        return error.returncode if error.returncode > 0 else 1
    both = [table(results, seconds), "95 % intervals over clips, p against the first row:", interval_table(results)]
    text = "\n\n".join(both)
    print(f"Table {options.table} on synthetic clips, {options.seeds} seeds, scores x 100:\n\n{text}")
    write_text(options.out / f"table_{options.table}.md", text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
