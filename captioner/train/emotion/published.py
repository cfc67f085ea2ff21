"""What papers print for a data set, to stand beside what was measured: their splits and clips, not ours."""

from __future__ import annotations

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


def published_rows(kind: str, dataset: str, variant: str, top1: float, weighted_f1: float) -> list[str]:
    """Lines of Markdown: the paper's rows and, last, what was measured here."""
    if kind == "mer_clip":
        return ["", "MER-CLIP is reconstructed from its abstract: there are no rows of its paper to quote."]
    name = f"{dataset} {variant}" if dataset == "emotions" and variant != "all" else dataset
    if kind != "av_canet" or name not in AV_CANET:
        return []
    rows = [*AV_CANET[name], ("**measured here**", 100 * top1, 100 * weighted_f1)]
    return [
        "",
        "Beside the paper, whose split and clips are other ones unless its own lists were read:",
        "",
        "| | ACC | WA-F1 |",
        "|---|---|---|",
        *(f"| {row} | {accuracy:.2f} | {score:.2f} |" for row, accuracy, score in rows),
    ]
