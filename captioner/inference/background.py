"""Work done in a thread ahead of its use: while the model writes about one clip, the next is decoded."""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from captioner.errors import CaptionerError
from captioner.stopping import stoppable

T = TypeVar("T")


@dataclass(frozen=True)
class Failed:
    """Stands in the place of a caption that could not be made; the rest go on. It counts as false."""

    error: Exception
    source: str = ""

    @property
    def reason(self) -> str:
        """One line on why."""
        return cause_of(self.error, self.source)

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"Failed({self.reason})"


def cause_of(error: Exception, source: str) -> str:
    """One line on an error; one that is not meant for users names the input and its own kind."""
    if isinstance(error, CaptionerError):
        return str(error)
    cause = (str(error).strip().splitlines() or [""])[0]
    return f"{source!r}: {type(error).__name__}: {cause}"


def name_of(source: Any) -> str:
    """What a source is called: its path or address, an open file's name, else its kind."""
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else type(source).__name__


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

    worker = threading.Thread(target=copy_context().run, args=(work,), name="decoding", daemon=True)
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
            yield item, Failed(error, name_of(item))


async def asynchronous(items: Generator[T, None, None]) -> AsyncGenerator[T, None]:
    """The items of a generator whose steps run in threads; whoever leaves early ends its work."""
    called_off, end = threading.Event(), object()

    def advance() -> Any:
        return next(items, end)

    with stoppable(called_off):
        context = copy_context()
    step: asyncio.Future[Any] | None = None
    try:
        while True:
            step = asyncio.get_running_loop().run_in_executor(None, context.run, advance)
            item = await asyncio.shield(step)
            if item is end:
                return
            yield item
    finally:
        called_off.set()
        if step is not None:
            await asyncio.wait([step])
            step.exception()  # looked at: it may be the Stopped that was asked for
        await asyncio.to_thread(items.close)
