"""The facial action units (AUs) of the graph net, in the order of its scores; nothing heavy is imported."""

MAIN_AUS: dict[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    11: "nasolabial deepener",
    12: "lip corner puller",
    13: "sharp lip puller",
    14: "dimpler",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    18: "lip pucker",
    19: "tongue show",
    20: "lip stretcher",
    22: "lip funneler",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
    27: "mouth stretch",
    32: "lip bite",
    38: "nostril dilator",
    39: "nostril compressor",
}
SUB_AUS: tuple[str, ...] = tuple(f"{side}{au}" for au in (1, 2, 4, 6, 10, 12, 14) for side in "LR")
# The sixth pair is named L12/R12, yet the released weights score it on the node of AU11: index 8, kept.
SUB_PARENTS: tuple[int, ...] = (0, 1, 2, 4, 7, 8, 11)
UNKNOWN = -1  # label of an AU that nobody coded
