"""Ablations: tables of configurations with changes; every row is trained and scored, all of them alike.

The tables are files of configs/ablate, a family each. `captioner`: every row with every seed, scores with their
spread, the seconds of a training iteration, bootstrap intervals and paired tests. `prior`: the same runs on captions of
another style, with differences to the first row seed by seed. `recogniser`: PE-CLIP's protocol, its splits in pairs.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from captioner.config_io import load_config
from captioner.errors import ConfigError, unknown
from captioner.files import missing
from eval.emotion import phrase_counts
from eval.metrics import score_captions
from eval.repository import ROOT
from eval.significance import PHRASES, compare_systems, intervals
from eval.tables import render_table

COLUMNS = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr", PHRASES)
PRIOR_COLUMNS = ("emotion accuracy", "Acc_sw", "Acc_c", "CIDEr", "BLEU-4")

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""What the runs of each row left, a run a seed."""


@dataclass(frozen=True)
class AblationRow:
    """One variant."""

    name: str
    changes: tuple[str, ...] = ()
    """key=value changes to the run's configuration; none: the run as it is."""


@dataclass(frozen=True)
class AblationTable:
    """Variants that are compared with the first of them."""

    name: str
    rows: tuple[AblationRow, ...]
    about: str = ""
    note: str = ""
    """What a reader must know: rows that cannot be what the paper's are."""


@dataclass(frozen=True)
class AblationFamily:
    """A file of configs/ablate: tables over one configuration."""

    kind: Literal["captioner", "prior", "recogniser", "words"]
    config: str
    tables: tuple[AblationTable, ...]
    out: str = ""
    """Folder of the runs; "": the configuration's own."""
    style: str = ""
    """Of a prior: the captions in a clip's `extra` that are learned."""


@dataclass(frozen=True)
class AblationOptions:
    """How a table is run."""

    config: Path
    out: Path
    overrides: tuple[str, ...] = ()
    """key=value changes to the configuration, for every row."""
    seeds: int = 3
    jobs: int = 2
    """Runs at a time."""
    turns: int = 15
    """Timed iterations of each row."""
    clips: Path | None = None
    most: int = 100_000
    """Training clips at most, of a prior."""


def find_table(name: str, folder: Path = ROOT / "configs" / "ablate") -> tuple[AblationFamily, AblationTable]:
    """The table of that name, and its family."""
    if not folder.is_dir():
        raise ConfigError(f"{missing(folder)}; ablations run in a checkout of the repository")
    families = [load_config(AblationFamily, path) for path in sorted(folder.glob("*.yaml"))]
    tables = {table.name: (family, table) for family in families for table in family.tables}
    if name not in tables:
        raise ConfigError(unknown("table", name, tables))
    return tables[name]


# --- tables ------------------------------------------------------------------------------------------------------


def score_table(runs: Runs, seconds: Mapping[str, float]) -> str:
    """Mean ± spread of each score x 100, seconds an iteration and their ratio to the first row."""
    first = next(iter(seconds.values()))
    rows = []
    for name, seeds in runs.items():
        cells = []
        for column in COLUMNS:
            values = [100 * run["scores"][column] for run in seeds if column in run["scores"]]
            cells.append(f"{statistics.mean(values):.2f} ± {_spread(values):.2f}" if values else "skipped")
        rows.append([name, *cells, f"{seconds[name]:.3f}", f"{seconds[name] / first:.3f}"])
    return render_table(["", *COLUMNS, "s / iter", "ratio"], rows)


def interval_table(runs: Runs, samples: int = 1000) -> str:
    """Every metric x 100 with its 95 % interval over the clips of all seeds, and p against the first row."""
    sums = {name: _pooled(seeds) for name, seeds in runs.items()}
    first = next(iter(sums.values()))
    names = list(intervals(first, samples))
    rows = []
    for name, row in sums.items():
        spans = intervals(row, samples)
        tests = compare_systems(first, row, samples) if row is not first else {}
        cells = []
        for metric in names:
            span = spans[metric]
            chance = f", p {tests[metric].p:.3f}" if tests else ""
            cells.append(f"{100 * span.value:.2f} ({100 * span.low:.2f} to {100 * span.high:.2f}{chance})")
        rows.append([name, *cells])
    return render_table(["", *names], rows)


def _pooled(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Per-clip statistics of all metrics, the clips of every seed side by side."""
    refs = {f"{seed} {i}": captions for seed, run in enumerate(seeds) for i, captions in run["refs"].items()}
    hyps = {f"{seed} {i}": caption for seed, run in enumerate(seeds) for i, caption in run["hyps"].items()}
    return {**score_captions(refs, hyps).statistics, PHRASES: phrase_counts(refs, hyps)}


def difference_table(runs: Runs) -> str:
    """Mean ± spread of each score x 100, and of the differences to the first row, seed by seed."""
    first = next(iter(runs.values()))
    rows = []
    for name, seeds in runs.items():
        cells = []
        for column in PRIOR_COLUMNS:
            values = [100 * run.get(column, 0.0) for run in seeds]
            apart = [value - 100 * base.get(column, 0.0) for value, base in zip(values, first, strict=True)]
            text = f"{statistics.mean(values):.1f} ± {_spread(values):.1f}"
            cells.append(text if seeds is first else f"{text} ({statistics.mean(apart):+.1f} ± {_spread(apart):.1f})")
        rows.append([name, *cells])
    return render_table(["", *PRIOR_COLUMNS], rows)


def protocol_table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """Top-1 of each row over the splits, and its difference to the first row, split by split."""
    first = next(iter(summaries.values()))["splits"]
    rows = []
    for name, summary in summaries.items():
        apart = [100 * (summary["splits"][number] - score) for number, score in first.items()]
        rows.append([
            name, f"{100 * summary['top1']:.1f}", f"{100 * summary['spread']:.1f}", f"{statistics.mean(apart):+.1f}",
            f"{_spread(apart):.1f}", f"{100 * summary['scores']['UAR'][0]:.1f}",
            f"{summary['scores']['WA-F1'][0]:.3f}", f"{summary['scores']['ECE'][0]:.3f}",
            f"{summary['trained_parameters'] / 1e6:.2f}", f"{summary['peak_memory_mb']:.0f}",
        ])  # fmt: skip
    head = ["row", "top-1 %", "spread", "to the first row", "its spread", "UAR %", "WA-F1", "ECE", "trained, M", "MB"]
    return render_table(head, rows)


def _spread(values: Sequence[float]) -> float:
    """Standard deviation; 0 of one value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0
