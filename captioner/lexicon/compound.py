"""Which facial actions go with 21 emotions, single and compound: the table of Du, Tao and Martinez (PNAS 2014).

`always`: action units of most faces of the emotion; `often`: units of some faces, with their share.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Expression:
    """The units of one emotion; units 11 and 23, which no maker of pictures here can pose, are left out."""

    name: str
    always: tuple[int, ...]
    often: Mapping[int, float]


COMPOUND: tuple[Expression, ...] = (
    Expression("happy", (12, 25), {6: 0.51}),
    Expression("sad", (4, 15), {1: 0.60, 6: 0.50, 17: 0.67}),
    Expression("fearful", (1, 4, 20, 25), {2: 0.57, 5: 0.63, 26: 0.33}),
    Expression("angry", (4, 7, 24), {10: 0.26, 17: 0.52}),
    Expression("surprised", (1, 2, 25, 26), {5: 0.66}),
    Expression("disgusted", (9, 10, 17), {4: 0.31, 24: 0.26}),
    Expression("happily surprised", (1, 2, 12, 25), {5: 0.64, 26: 0.67}),
    Expression("happily disgusted", (10, 12, 25), {4: 0.32, 6: 0.61, 9: 0.59}),
    Expression("sadly fearful", (1, 4, 20, 25), {2: 0.46, 5: 0.24, 6: 0.34, 15: 0.30}),
    Expression("sadly angry", (4, 15), {6: 0.26, 7: 0.48, 17: 0.50}),
    Expression("sadly surprised", (1, 4, 25, 26), {2: 0.27, 6: 0.31}),
    Expression("sadly disgusted", (4, 10), {1: 0.49, 6: 0.61, 9: 0.20, 15: 0.54, 17: 0.47, 25: 0.43}),
    Expression("fearfully angry", (4, 20, 25), {5: 0.40, 7: 0.39, 10: 0.30}),
    Expression("fearfully surprised", (1, 2, 5, 20, 25), {4: 0.47, 10: 0.35, 26: 0.51}),
    Expression("fearfully disgusted", (1, 4, 10, 20, 25), {2: 0.64, 5: 0.50, 6: 0.26, 9: 0.28, 15: 0.33}),
    Expression("angrily surprised", (4, 25, 26), {5: 0.35, 7: 0.50, 10: 0.34}),
    Expression("angrily disgusted", (4, 10, 17), {7: 0.60, 9: 0.57, 24: 0.36}),
    Expression("disgustedly surprised", (1, 2, 5, 10), {4: 0.45, 9: 0.37, 17: 0.66, 24: 0.33}),
    Expression("appalled", (4, 10), {6: 0.25, 9: 0.56, 17: 0.67, 24: 0.36}),
    Expression("hatred", (4, 10), {7: 0.57, 9: 0.27, 17: 0.63, 24: 0.37}),
    Expression("awed", (1, 2, 5, 25), {4: 0.21, 20: 0.62, 26: 0.56}),
)
