"""A captioner for the tests of the command: it reads real (synthetic) videos and says how bright they are."""

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from captioner.errors import ConfigError
from captioner.inference.background import Failed
from captioner.inference.decode_options import DecodeOptions
from captioner.inference.results import ActionUnit, Caption
from captioner.video.reading import read_clip


class FakeModel:
    """Says how bright a video is; `calls` keeps what it was asked."""

    device = "cpu"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.wishes: list[dict[str, Any]] = []
        self.loads: list[tuple[str | None, str, bool, str | None]] = []
        self.broken = False  # at any picture
        self.hook: Callable[[str], Any] = lambda _: None
        self.checkpoint = SimpleNamespace(name="fake")
        self.config = SimpleNamespace(styles=("faces",), labels=("neutral", "anger"))

    def load(
        self, name: str | None = None, device: str = "auto", offline: bool = False, faces: str | None = None
    ) -> "FakeModel":
        self.loads.append((name, device, offline, faces))
        return self

    def options(
        self, beams: int, max_words: int | None, style: str, neutral: bool, habits: Any, people: int, evidence: bool
    ) -> None:
        DecodeOptions(beams, max_words, habits=habits)
        if style not in ("", "faces"):
            raise ConfigError(f"unknown style {style!r}; allowed: faces")

    def one(self, source: Any, start: float = 0.0, end: float | None = None, person: int = 0) -> Caption:
        self.calls.append(str(source))
        self.hook(str(source))
        clip = read_clip(source, 2, short_side=8, start=start, end=end)
        text = f"Brightness {clip.frames.mean():.0f}."
        told = {"neutral": 0.75, "anger": 0.25}
        words = [{"word": "brightness", "log_prob": -0.5}]
        unit = ActionUnit(12, "lip corner puller", 0.5, 0.04, ["smile"], 0.4)
        until = clip.duration if end is None else end
        return Caption(
            text, 0.5, words, told, [unit], 1, start, until, [start], str(source), "fake", [], "own head", person,
            clip.duration,
        )  # fmt: skip

    def caption(self, frames: Any) -> Caption:
        """Of pictures: what shows that the model itself is sound."""
        if self.broken:
            raise RuntimeError("size mismatch")
        return Caption("Grey.", 1.0, [], {}, [], 0, 0.0, 1.0)

    def each(self, sources: Iterable[Any], **wish: Any) -> Iterator[list[Caption] | Failed]:
        self.wishes.append(wish)
        for source in sources:
            try:
                wish.setdefault("people", 0)
                yield [self.one(source, person=n) for n in range(1, wish["people"] + 1)] or [self.one(source)]
            except Exception as error:
                yield Failed(error)

    def windows(self, source: Any, seconds: float, after: Caption | None = None, **wish: Any) -> Iterator[Caption]:
        self.wishes.append(wish | {"seconds": seconds})
        for start, end in ((0.0, 0.08), (0.08, 0.12)):
            if after is None or end > after.end:
                for person in range(1, wish["people"] + 1) or [0]:
                    yield self.one(source, start, end, person)
