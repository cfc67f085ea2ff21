"""The thread that works ahead: order, bounds, errors, and an end when nobody listens."""

import threading
import time
from collections.abc import Iterator

import pytest

from captioner.inference.background import Failed, ahead, tried


def counting(until: int, made: list[int]) -> Iterator[int]:
    for number in range(until):
        made.append(number)
        yield number


def settle(made: list[int]) -> int:
    """How much is made once nothing more comes."""
    seen = -1
    while seen != len(made):
        seen = len(made)
        time.sleep(0.25)
    return seen


def test_order_is_kept_and_no_more_is_made_than_there_is_room_for() -> None:
    made: list[int] = []
    walk = ahead(counting(20, made), 3)
    assert next(walk) == 0
    assert settle(made) <= 1 + 3 + 1
    assert list(walk) == list(range(1, 20))


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("here")

    walk = ahead(broken(), 2)
    assert next(walk) == 1
    with pytest.raises(KeyError, match="here"):
        next(walk)


def test_leaving_early_ends_the_thread() -> None:
    made: list[int] = []
    walk = ahead(counting(10**9, made), 2)
    next(walk)
    walk.close()  # type: ignore[attr-defined]
    count = settle(made)
    assert count < 10
    assert not any(thread.name == "decoding" for thread in threading.enumerate())


def test_what_fails_stands_in_its_place() -> None:
    found = list(tried(lambda number: 6 // number, [3, 0, 2]))
    assert [item for item, _ in found] == [3, 0, 2]
    assert [found[0][1], found[2][1]] == [2, 3]
    assert isinstance(found[1][1], Failed)
    assert isinstance(found[1][1].error, ZeroDivisionError)
