"""What papers print for data sets of EmotionCLIP's, and for MAFW: other runs, for orientation."""

PAPER_ROWS: dict[str, tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]] = {
    "bold": (
        ("mAP %", "AUC %", "mean R2"),
        (("ST-GCN", "12.63", "55.96", "0.044"), ("TSN", "17.02", "62.70", "0.095"),
         ("Filntisis", "16.56", "62.66", "0.092"), ("Pikoulis", "19.29", "66.82", "0.149"),
         ("VideoCLIP", "11.19", "51.23", "-5.11"), ("X-CLIP", "13.26", "56.86", "-0.03"),
         ("EmotionCLIP", "22.51", "69.30", "0.133")),
    ),
    "moviegraphs": (
        ("accuracy %",),
        (("EmotionNet", "35.60"), ("Affect2MM", "39.88"), ("VideoCLIP", "29.91"), ("X-CLIP", "29.06"),
         ("EmotionCLIP", "41.60")),
    ),
    "emotic": (
        ("mAP %", "AUC %"),
        (("CAER-Net", "20.84", ""), ("Affective Graph", "28.42", ""), ("Fusion", "29.45", ""),
         ("EmotiCon GCN", "32.03", ""), ("EmotiCon depth", "35.48", ""), ("VideoCLIP", "19.92", "56.31"),
         ("X-CLIP", "22.80", "61.31"), ("EmotionCLIP", "32.91", "71.41")),
    ),
    "meld": (
        ("accuracy %", "weighted F1 %"),
        (("M2FNet visual", "45.63", "32.44"), ("M2FNet multimodal", "67.85", "66.71"), ("VideoCLIP", "45.19", "32.06"),
         ("X-CLIP", "38.31", "32.46"), ("EmotionCLIP", "48.28", "34.59")),
    ),
    "liris": (
        ("valence MSE", "arousal MSE"),
        (("Quan", "0.115", "0.171"), ("Ko", "0.102", "0.149"), ("CERTH-ITI", "0.117", "0.138"),
         ("THUHCSI", "0.092", "0.140"), ("Yi", "0.090", "0.136"), ("GLA", "0.084", "0.133"),
         ("Zhao", "0.071", "0.137"), ("Affect2MM", "0.068", "0.128")),
    ),
    "mafw": (
        ("UAR %", "accuracy %"),
        (("wav2vec 2.0, sound alone", "21.59", "29.69"), ("HuBERT, sound alone", "25.00", "32.60"),
         ("T-ESFL", "33.28", "48.18"), ("DFER-CLIP", "38.89", "52.55"), ("HiCMAE, with sound", "42.65", "56.17"),
         ("CLAIP-Emo, with sound", "", "61.18")),
    ),
}  # fmt: skip
"""Columns and rows by data set. The paper's own row for LIRIS-ACCEDE was not at hand; MAFW's are of other papers."""


def columns_of(dataset: str, scores: dict[str, float]) -> list[str]:
    """Our row under the paper's columns."""
    names = {"mAP %": ("mAP", 100), "AUC %": ("AUC", 100), "accuracy %": ("top1", 100), "UAR %": ("UAR", 100),
             "weighted F1 %": ("WA-F1", 100)}  # fmt: skip
    cells = []
    for column in PAPER_ROWS[dataset][0]:
        name, scale = names.get(column, (column, 1))
        value = scores.get(name)
        cells.append("" if value is None else f"{scale * value:.{2 if scale == 100 else 3}f}")
    return cells
