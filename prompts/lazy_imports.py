"""Imports of torchvision and timm that leave torch's compiler out.

Both ask it only to leave some functions alone, yet that loads all of it, with sympy and triton: where nothing is
compiled, 3 of the 11 s from a cold start to a caption of a clip of 5 s (2 slow cores, one beside the other).
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch

COMPILER = "torch._dynamo"
NAMES = (COMPILER, f"{COMPILER}.utils")


@contextmanager
def without_compiler() -> Iterator[None]:
    """While modules are imported, torch's compiler is a stand-in; whatever else is asked of it loads it after all."""
    if COMPILER in sys.modules:
        yield
        return
    sys.modules.update({name: _StandIn(name) for name in NAMES})
    try:
        yield
    finally:
        _leave()


class _StandIn(ModuleType):
    """What imports need of the compiler, told without it."""

    # its other modules are where they were
    __path__: ClassVar = [str(Path(torch.__file__).parent / "_dynamo")]  # type: ignore[misc]

    @staticmethod
    def disable(fn: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
        """The function itself: without a compiler it runs as it is."""
        return fn if fn is not None else _StandIn.disable

    @staticmethod
    def is_compile_supported(device: str) -> bool:
        """Asked late, so that the compiler itself answers."""
        answer: bool = importlib.import_module(f"{COMPILER}.utils").is_compile_supported(device)
        return answer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by who only looks through all modules
            raise AttributeError(name)
        _leave()
        return getattr(importlib.import_module(self.__name__), name)


def _leave() -> None:
    """No stand-in stays where the compiler is looked for."""
    for name in NAMES:
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]
