"""What action units and emotion labels are called on a page for people who know no such numbers."""

# By number in the Facial Action Coding System.
PLAIN_UNITS: dict[int, str] = {
    1: "inner brows raised", 2: "outer brows raised", 4: "brows lowered", 5: "upper lids raised",
    6: "cheeks raised", 7: "eyes narrowed", 9: "nose wrinkled", 10: "upper lip raised",
    11: "folds beside the nose deepened", 12: "lip corners raised", 13: "lip corners pulled up sharply",
    14: "dimples", 15: "lip corners lowered", 16: "lower lip lowered", 17: "chin raised", 18: "lips puckered",
    19: "tongue shown", 20: "lips stretched", 22: "lips pushed out", 23: "lips tightened", 24: "lips pressed",
    25: "lips apart", 26: "jaw dropped", 27: "mouth wide open", 28: "lips sucked in", 32: "lip bitten",
    38: "nostrils widened", 39: "nostrils narrowed", 43: "eyes closed",
}  # fmt: skip


def plain_unit(number: int, name: str) -> str:
    """A unit in everyday words; its own name where there are none."""
    return PLAIN_UNITS.get(number, name)
