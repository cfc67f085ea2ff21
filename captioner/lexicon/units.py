"""Action units (AUs) by number: what they are called, and where a face shows them."""

from prompts.action_units import MAIN_AUS

EYES_CLOSED = 43  # no unit of the experts
UNIT_NAMES: dict[int, str] = {**MAIN_AUS, EYES_CLOSED: "eyes closed"}

# What the face reader estimates of a unit, 0..1; units without an entry show in no value of it.
SIGNS: dict[int, str] = {
    1: "browInnerUp", 2: "browOuterUp", 4: "browDown", 5: "eyeWide", 6: "eyeSquint", 7: "eyeSquint",
    10: "mouthUpperUp", 12: "mouthSmile", 14: "mouthDimple", 15: "mouthFrown", 17: "mouthShrugLower",
    18: "mouthPucker", 20: "mouthStretch", 24: "mouthPress", 26: "jawOpen", 27: "jawOpen", EYES_CLOSED: "eyeBlink",
}  # fmt: skip

# Which of the 68 landmarks a unit moves, and what they are called.
_BROWS, _EYES, _NOSE, _MOUTH, _CHIN = range(17, 27), range(36, 48), range(27, 36), range(48, 68), range(5, 12)
_REGIONS: tuple[tuple[frozenset[int], str, tuple[int, ...]], ...] = (
    (frozenset({1, 2, 4}), "the brows", tuple(_BROWS)),
    (frozenset({5, 6, 7, EYES_CLOSED}), "the eyes", tuple(_EYES)),
    (frozenset({9, 38, 39}), "the nose", tuple(_NOSE)),
    (frozenset({17}), "the chin", (*_CHIN, *range(55, 60))),
)


def region_of(au: int) -> tuple[str, tuple[int, ...]]:
    """The part of the face that a unit moves, by name, and its landmarks; the mouth unless another part is known."""
    return next(((name, points) for aus, name, points in _REGIONS if au in aus), ("the mouth", tuple(_MOUTH)))
