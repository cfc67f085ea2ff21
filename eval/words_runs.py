"""The rows of EmotionCLIP's tables: each learned from clips and words, with every seed, then probed."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioner.config_io import load_config
from captioner.errors import ConfigError
from captioner.files import write_text
from captioner.inference.predictor import pick_device
from captioner.train.emotion.probe_recipe import run_probe
from captioner.train.emotion.words_config import ProbeRun, WordsRun
from captioner.train.emotion.words_recipe import run_words
from eval.ablation import AblationOptions, AblationTable
from eval.tables import render_table

_log = logging.getLogger(__name__)

COLUMNS = ("R@1", "top1", "UAR", "mAP")  # of retrieval, then of the probe


def run_words_rows(table: AblationTable, options: AblationOptions) -> dict[str, list[dict[str, float]]]:
    """Scores of every row with every seed; what was finished before is read."""
    found: dict[str, list[dict[str, float]]] = {row.name: [] for row in table.rows}
    for seed in range(options.seeds):  # seeds outside: an interrupted table has whole comparisons
        for place, row in enumerate(table.rows):
            _log.info("table %s, %s, seed %d", table.name, row.name, seed)
            out = options.out / f"table-{table.name}" / f"row-{place}-seed-{seed}"
            words = [
                *options.overrides,
                *row.changes,
                f"seed={seed}",
                f"out={out}",
                f"cache={options.out / 'features'}",
            ]
            found[row.name].append(_row_scores(load_config(WordsRun, options.config, words)))
    return found


def _row_scores(run: WordsRun) -> dict[str, float]:
    if not run.manifest:
        raise ConfigError("manifest is missing: give clips with words and emotions, as in manifest=FILE.jsonl")
    path = Path(run.out) / "scores.json"
    if path.is_file():
        known: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return known
    device = pick_device("auto")
    told = run_words(run, device)
    probe = ProbeRun(
        source=run.out, dataset="manifest", root=run.manifest, c=100.0, out=f"{run.out}/probe", cache=run.cache,
    )  # fmt: skip
    scores = {**told, **run_probe(probe, device)}
    write_text(path, json.dumps(scores) + "\n")
    return scores


def words_table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Mean ± spread of each score in %, and of the differences to the first row, seed by seed; chance below."""
    first = next(iter(found.values()))
    rows = []
    for name, seeds in found.items():
        cells = []
        for column in COLUMNS:
            values = [100 * run[column] for run in seeds]
            apart = [value - 100 * base[column] for value, base in zip(values, first, strict=True)]
            text = _spread_text(values)
            cells.append(text if seeds is first else f"{text} ({_spread_text(apart, '+')})")
        rows.append([name, *cells])
    chance = [f"{100 * first[0]['by chance']:.1f}", f"{100 * first[0]['commonest']:.1f}", "", ""]
    return render_table(["row", *COLUMNS], [*rows, ["chance, commonest", *chance]])


def _spread_text(values: Sequence[float], sign: str = "") -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):{sign}.1f} ± {spread:.1f}"
