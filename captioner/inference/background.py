"""Work done in a thread ahead of its use: while the model writes about one clip, the next is decoded."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Failed:
    """Stands where something failed; the rest go on."""

    error: Exception


@dataclass(frozen=True)
class _End:
    """The last thing in the queue."""

    error: BaseException | None = None


def ahead(items: Iterable[T], room: int) -> Iterator[T]:
    """The items of an iterable that a thread runs through, at most `room` of them before they are asked for."""
    made: queue.Queue[Any] = queue.Queue(maxsize=max(1, room))
    left = threading.Event()

    def put(item: Any) -> None:
        while not left.is_set():
            try:
                return made.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        end = _End()
        try:
            for item in items:
                put(item)
                if left.is_set():
                    return
        except BaseException as error:
            end = _End(error)
        put(end)

    worker = threading.Thread(target=work, name="decoding", daemon=True)
    worker.start()
    try:
        while not isinstance(item := made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        worker.join(timeout=5)  # a thread that still decodes while Python ends may crash it


def tried(call: Callable[[T], Any], items: Iterable[T]) -> Iterator[tuple[T, Any]]:
    """(item, what the call makes of it), with a Failed in place of what it raises."""
    for item in items:
        try:
            yield item, call(item)
        except Exception as error:
            yield item, Failed(error)
