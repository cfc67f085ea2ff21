"""What a finished protocol comes to: mean and spread of its splits, plots, a report in Markdown."""

import logging
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from captioner.emotion.registry import kind_of
from captioner.train.emotion import plots
from captioner.train.emotion.published import published_rows
from captioner.train.emotion.run_config import EmotionRun
from captioner.train.emotion.scores import SINGLE

log = logging.getLogger(__name__)


def summarise(
    run: EmotionRun, labels: Sequence[str], results: Sequence[dict[str, Any]], notices: Sequence[str]
) -> dict[str, Any]:
    """Mean and spread (standard deviation over splits) of top-1, the summed confusion matrix, the costs."""
    scores = [result["top1"] for result in results]
    return {
        "dataset": run.data.dataset,
        "labels": list(labels),
        "top1": statistics.mean(scores),
        "spread": statistics.stdev(scores) if len(scores) > 1 else 0.0,
        "scores": {name: spread_of([result["scores"][name] for result in results]) for name in SINGLE},
        "splits": {str(result["split"]): result["top1"] for result in results},
        "confusion": np.sum([result["confusion"] for result in results], axis=0).tolist(),
        "shared_groups": max(result["shared_groups"] for result in results),
        "trained_parameters": results[0]["trained_parameters"],
        "parameters": results[0]["parameters"],
        "peak_memory_mb": max(result["peak_memory_mb"] for result in results),
        "seconds": sum(result["seconds"] for result in results),
        "silhouette": None,
        "notices": list(notices),
        **({"opinions": opinions(results)} if "opinions" in results[0] else {}),
        **({"gates": [result["gates"] for result in results]} if "gates" in results[0] else {}),
    }


def opinions(results: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Mean and spread of the scores of opinions."""
    return {name: spread_of([result["opinions"][name] for result in results]) for name in results[0]["opinions"]}


def spread_of(values: Sequence[float]) -> list[float]:
    """Mean and standard deviation (0 of one value)."""
    return [statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0]


def gate_line(splits: Sequence[Sequence[Sequence[float]]]) -> str:
    """How open the gates of each layer are, as a mean over its channels, split by split."""
    return "; ".join(", ".join(f"{statistics.mean(gate):.3f}" for gate in layers) for layers in splits)


def draw_plots(out: Path, labels: Sequence[str], summary: dict[str, Any], results: Sequence[dict[str, Any]]) -> None:
    """Confusion matrix of all splits, t-SNE of the first one's test clips; the silhouette goes into the summary."""
    fault = plots.lacking()
    if fault:
        log.warning("%s", fault)
        return
    title = f"{summary['dataset']}, top-1 {100 * summary['top1']:.1f} %"
    plots.confusion_plot(out / "confusion.png", np.array(summary["confusion"]), labels, title)
    stored = load_file(out / f"split-{results[0]['split']}" / "features.safetensors")
    features, truth = stored["features"].numpy(), stored["truth"].numpy()
    summary["silhouette"] = plots.silhouette(features, truth)
    if summary["silhouette"] is not None:
        title = f"split {results[0]['split']}, silhouette {summary['silhouette']:.3f}"
        plots.tsne_plot(out / "tsne.png", features, truth, labels, title)


def chosen_epoch(run: EmotionRun) -> str:
    """Which weights were tested."""
    if run.train.protocol == "released":
        return "the epoch that is best on the tested clips, as the released code has it: that is too good"
    return "tested is the epoch that is best on clips held out" if run.data.validation else "the last epoch is tested"


def protocol_report(run: EmotionRun, summary: dict[str, Any]) -> str:
    """The summary as Markdown."""
    labels, confusion = summary["labels"], summary["confusion"]
    rows = [
        f"| {label} | " + " | ".join(map(str, row)) + f" | {100 * row[i] / max(1, sum(row)):.1f} |"
        for i, (label, row) in enumerate(zip(labels, confusion, strict=True))
    ]
    silhouette = summary["silhouette"]
    lines = [
        f"# {kind_of(run.emotion.kind).title} on {summary['dataset']}",
        "",
        f"Top-1 {100 * summary['top1']:.1f} % +- {100 * summary['spread']:.1f} (standard deviation over "
        f"{len(summary['splits'])} splits): "
        + ", ".join(f"{number}: {100 * score:.1f}" for number, score in summary["splits"].items()),
        "",
        "| " + " | ".join(SINGLE) + " |",
        "|---" * len(SINGLE) + "|",
        "| " + " | ".join(f"{mean:.3f} ± {spread:.3f}" for mean, spread in summary["scores"].values()) + " |",
        "",
        f"- {run.train.epochs} epochs, crop {run.data.crop}; {chosen_epoch(run)}",
        f"- trained {summary['trained_parameters'] / 1e6:.2f} M of {summary['parameters'] / 1e6:.2f} M parameters",
        f"- peak memory {summary['peak_memory_mb']:.0f} MB, {summary['seconds']:.0f} s in all",
        f"- sources with clips on both sides of a split: {summary['shared_groups']} at most",
        f"- silhouette {silhouette:.3f}" if silhouette is not None else "- silhouette: not computed",
        *(f"- {name} {mean:.3f} ± {spread:.3f}" for name, (mean, spread) in summary.get("opinions", {}).items()),
        *(f"- {notice}" for notice in summary["notices"]),
        *([f"- gates at the end: {gate_line(summary['gates'])}"] if "gates" in summary else []),
        "",
        "Truth in rows, predictions in columns, all splits summed; recall in %.",
        "",
        "| | " + " | ".join(labels) + " | recall |",
        "|---" * (len(labels) + 2) + "|",
        *rows,
        *published_rows(run.emotion.kind, run.data.dataset, run.data.variant,
                        {name: mean for name, (mean, _) in summary["scores"].items()}),
    ]
    return "\n".join(lines) + "\n"
