"""What papers print for a data set, to stand beside what was measured: their splits and clips, not ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from captioner.train.emotion.paper_rows import PAPER_ROWS, columns_of

# AV-CANet, tables 4 and 6: accuracy and weighted F1 in %. Where its lists are missing the splits are other ones.
AV_CANET: dict[str, tuple[tuple[str, float, float], ...]] = {
    "emotions": (
        ("ResNet34 (sound)", 58.39, 56.14), ("Video Swin", 64.64, 62.92), ("VAANet", 63.71, 63.31),
        ("DFER-CLIP", 64.33, 63.07), ("AV-CANet", 67.79, 67.32),
    ),
    "emotions balanced": (
        ("ResNet34 (sound)", 53.44, 52.65), ("Video Swin", 64.12, 64.31), ("VAANet", 60.01, 59.89),
        ("DFER-CLIP", 58.82, 59.04), ("AV-CANet", 64.40, 64.32),
    ),
    "emotions test": (
        ("ResNet34 (sound)", 55.20, 53.13), ("Video Swin", 63.70, 62.21), ("VAANet", 60.10, 59.46),
        ("DFER-CLIP", 58.90, 56.96), ("AV-CANet", 67.00, 66.28),
    ),
    "ekman6": (("VAANet", 50.31, 49.65), ("CTEN", 53.44, 52.76), ("AV-CANet", 55.63, 55.44)),
    "ve8": (("VAANet", 46.73, 43.92), ("CTEN", 47.66, 47.04), ("AV-CANet", 49.53, 48.24)),
    "mv6": (("VAANet", 78.99, 77.99), ("CTEN", 76.20, 75.43), ("AV-CANet", 84.81, 84.63)),
}  # fmt: skip


def published_rows(kind: str, dataset: str, variant: str, scores: Mapping[str, float]) -> list[str]:
    """Lines of Markdown: the paper's rows and, last, what was measured here, by the scores of summary.json."""
    if kind not in ("av_canet", "mer_clip"):
        return []
    lines = []
    if kind == "mer_clip":
        lines += ["", "MER-CLIP is reconstructed from its abstract: there are no rows of its paper to quote."]
    if dataset == "mafw":
        head, rows = PAPER_ROWS["mafw"]
        ours = ("**measured here**", *columns_of("mafw", dict(scores)))
        return [*lines, "", "Beside other papers on MAFW, mean of five folds:", "", *_table(head, [*rows, ours])]
    name = f"{dataset} {variant}" if dataset == "emotions" and variant != "all" else dataset
    if kind == "mer_clip" or name not in AV_CANET:
        return lines
    told = [(row, f"{accuracy:.2f}", f"{score:.2f}") for row, accuracy, score in AV_CANET[name]]
    ours = ("**measured here**", f"{100 * scores['top1']:.2f}", f"{100 * scores['WA-F1']:.2f}")
    about = "Beside the paper, whose split and clips are other ones unless its own lists were read:"
    return ["", about, "", *_table(("ACC", "WA-F1"), [*told, ours])]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [("", *head), ("---",) * (len(head) + 1), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]
