"""From a video to captions: the object that `captioner.load()` returns.

source -> viewing.view (frames, faces) -> collate -> EmotionCaptioner.see -> writing -> Caption
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, overload

import numpy as np
import torch

from captioner.config import DecodeConfig, ModelConfig
from captioner.data.inputs import Viewed, view, view_windows
from captioner.errors import CaptionerError, ConfigError, unknown
from captioner.faces import BACKENDS, open_reader
from captioner.faces.face_reading import FaceReadings
from captioner.inference.background import Failed, ahead, tried
from captioner.inference.captions import caption_batch, special_ids, write_batch
from captioner.inference.evidence import gather, link_phrases
from captioner.inference.face_readings import DenseReader
from captioner.inference.results import ActionUnit, Caption
from captioner.model import checkpoint
from captioner.model.batch import ClipItem, collate
from captioner.model.tokenizer import TextPieces

__all__ = ["ActionUnit", "Caption", "Captioner", "caption_batch", "pick_device", "special_ids"]

log = logging.getLogger(__name__)

LEAST_WINDOW = 0.5  # seconds
Source: TypeAlias = str | Path | BinaryIO | np.ndarray | torch.Tensor


def pick_device(name: str = "auto") -> torch.device:
    """The device asked for; "auto" takes CUDA, then MPS, then the CPU. An absent one is an error."""
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {name!r}; allowed: auto, cpu, cuda, cuda:N, mps")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not has_mps):
        raise ConfigError(f"device {name!r} is not available on this machine: use --device cpu or auto")
    return torch.device(name)


@dataclass(frozen=True)
class Wish:
    """How captions are to be written."""

    options: DecodeConfig
    people: int = 0
    evidence: bool = False


class Captioner:
    """A loaded captioner: `captioner.load(name)`, then `.caption(video)`, `.people(video, 2)`, `.windows(video, 5)`;
    `.read(video)` gives the faces alone."""

    def __init__(
        self, loaded: checkpoint.Checkpoint, device: torch.device | str = "cpu", faces: str | None = None
    ) -> None:
        self.checkpoint = loaded
        self.device = torch.device(device)
        self.model = loaded.model.to(self.device).eval()
        self.tokenizer = loaded.tokenizer
        self.pieces = TextPieces(loaded.tokenizer, loaded.foreign, self.model.config.fusion.max_text)
        self.config = with_reader(self.model.config, faces, loaded.name)
        self._room = 0  # clips a batch after a lack of memory; 0: as asked

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path | None = None,
        *,
        device: str = "auto",
        faces: str | None = None,
        revision: str | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> "Captioner":
        """A captioner by shipped name, checkpoint folder or hub repository; `faces` replaces its face reader."""
        chosen = pick_device(device)
        loaded = checkpoint.load_checkpoint(name, offline=local_files_only, revision=revision, cache_dir=cache_dir)
        if faces in BACKENDS and faces != "builtin":
            open_reader(faces, local_files_only)  # what it has to fetch, it fetches now and not amid the clips
        return cls(loaded, chosen, faces)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the checkpoint folder that `from_pretrained` reads."""
        loaded = self.checkpoint
        checkpoint.save_checkpoint(
            folder, self.model, self.tokenizer, foreign=loaded.foreign, meta=loaded.meta, card=loaded.card
        )

    def push_to_hub(self, repo_id: str, *, private: bool = False, commit_message: str = "Add captioner") -> str:
        """Upload the checkpoint folder to the hub; returns the commit's address."""
        from tempfile import TemporaryDirectory

        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo(repo_id, private=private, exist_ok=True)
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            self.save_pretrained(folder)
            if self.checkpoint.card:  # where the hub looks for a card
                (folder / "README.md").write_text(self.checkpoint.card, encoding="utf-8")
            done = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message)
        return str(done)

    @overload
    def caption(
        self, source: list[Any] | tuple[Any, ...], *, beams: int = ..., max_words: int | None = ..., style: str = ...,
        start: float = ..., end: float | None = ..., fps: float = ..., evidence: bool = ...,
    ) -> list[Caption]: ...  # fmt: skip

    @overload
    def caption(
        self, source: Source, *, beams: int = ..., max_words: int | None = ..., style: str = ...,
        start: float = ..., end: float | None = ..., fps: float = ..., evidence: bool = ...,
    ) -> Caption: ...  # fmt: skip

    def caption(
        self,
        source: Source | list[Any] | tuple[Any, ...],
        *,
        beams: int = 0,
        max_words: int | None = None,
        style: str = "",
        start: float = 0.0,
        end: float | None = None,
        fps: float = 25.0,
        evidence: bool = False,
    ) -> Caption | list[Caption]:
        """The caption of a video: a path, an address, an open file, or frames uint8 (T, H, W, 3) of `fps`.

        `start` and `end` are seconds. A list of any of these gives a list. `evidence` keeps pictures and faces.
        """
        wish = self.wish(beams, max_words, style, 0, evidence)

        def see(one: Any) -> Viewed:
            return view(one, self.config, start=start, end=end, fps=fps, keep=evidence)

        if isinstance(source, list | tuple):
            return [captions[0] for captions in self._each(map(see, source), wish, 4)]
        return self._describe([see(source)], wish)[0][0]

    def read(self, source: Source, *, start: float = 0.0, end: float | None = None, fps: float = 25.0) -> FaceReadings:
        """The people of a video or picture, about ten times a second: pose, gaze, action units, emotions.

        Who finds the faces is the captioner's reader; what they show is said by the shipped experts.
        """
        return self._dense.read(source, start, end, fps)

    @cached_property
    def _dense(self) -> DenseReader:
        return DenseReader(self.config.experts.reader, self.device)

    def people(
        self,
        source: Source,
        count: int = 2,
        *,
        beams: int = 0,
        max_words: int | None = None,
        style: str = "",
        evidence: bool = False,
    ) -> list[Caption]:
        """A caption for each of the `count` most dominant people of a video; one about the clip where nobody is."""
        wish = self.wish(beams, max_words, style, count, evidence)
        return self._describe([view(source, self.config, people=count, keep=evidence)], wish)[0]

    def windows(
        self,
        source: Source,
        seconds: float = 5.0,
        *,
        beams: int = 0,
        max_words: int | None = None,
        style: str = "",
        people: int = 0,
        evidence: bool = False,
        batch: int = 1,
        after: Caption | None = None,
    ) -> Iterator[Caption]:
        """A caption for each `seconds` of a video, in order of time, while it is read; no window holds a cut.

        With `people` one for each of so many people of each window. Memory does not grow with the video.
        after: the last caption of an interrupted run, behind whose window this one goes on.
        """
        if not seconds >= LEAST_WINDOW:
            raise ConfigError(f"windows of {seconds:g} s are too short: at least {LEAST_WINDOW:g} s are needed")
        wish = self.wish(beams, max_words, style, people, evidence)
        behind = (after.shot, after.end) if after else None
        seen = view_windows(source, self.config, seconds, people=people, keep=evidence, after=behind)
        for captions in self._each(ahead(seen, batch + 1), wish, batch):
            yield from captions

    def each(
        self,
        sources: Iterable[Any],
        *,
        beams: int = 0,
        max_words: int | None = None,
        style: str = "",
        people: int = 0,
        evidence: bool = False,
        batch: int = 4,
    ) -> Iterator[list[Caption] | Failed]:
        """For each source its captions, or what went wrong; `batch` clips at a time, decoded in a thread ahead."""
        wish = self.wish(beams, max_words, style, people, evidence)

        def see(source: Any) -> Viewed:
            return view(source, self.config, people=people, keep=evidence)

        seen = (viewed for _, viewed in tried(see, sources))
        yield from self._each(ahead(seen, batch + 1), wish, batch, guarded=True)

    def wish(self, beams: int, max_words: int | None, style: str, people: int, evidence: bool) -> Wish:
        """Checked wishes: a style, or people, that this captioner does not know are an error."""
        special_ids(self.tokenizer, self.config.styles, style)
        if people and self.config.experts.margin is None:
            raise ConfigError(faceless(self.checkpoint.name))
        return Wish(DecodeConfig(beams=beams, max_words=max_words or 0, style=style), people, evidence)

    def _each(self, seen: Iterable[Any], wish: Wish, batch: int, guarded: bool = False) -> Iterator[Any]:
        """Captions of what was seen, and the failures, in their order; guarded: those of the model are failures too."""
        waiting = iter(seen)
        describe = self._tried if guarded else self._describe
        while group := list(islice(waiting, max(1, batch))):
            made = iter(describe([each for each in group if isinstance(each, Viewed)], wish))
            for each in group:
                yield next(made) if isinstance(each, Viewed) else each

    def _tried(self, views: list[Viewed], wish: Wish) -> Sequence[list[Caption] | Failed]:
        """The captions of each clip; where one costs the others theirs, all are tried alone."""
        try:
            return self._describe(views, wish)
        except Exception as error:
            if len(views) == 1:
                return [Failed(error)]
        return [self._tried([one], wish)[0] for one in views]

    def _describe(self, views: list[Viewed], wish: Wish) -> list[list[Caption]]:
        """The captions of each clip, one or one a person; all in one batch, in halves where memory lacks."""
        rows = [(viewed, number) for viewed in views for number in range(len(viewed.seen))]
        size = min(self._room or len(rows), len(rows)) or 1
        try:
            captions = self._write_in(rows, wish, size)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            if size == 1 or self._room:
                raise CaptionerError(f"{self.device} is out of memory: use --batch 1 or --device cpu") from None
            self._room = (size + 1) // 2
            log.warning("%s is out of memory: going on with %d clips at a time", self.device, self._room)
            return self._describe(views, wish)
        waiting = iter(captions)
        return [list(islice(waiting, len(viewed.seen))) for viewed in views]

    def _write_in(self, rows: list[tuple[Viewed, int]], wish: Wish, size: int) -> list[Caption]:
        return [one for at in range(0, len(rows), size) for one in self._write(rows[at : at + size], wish)]

    def _write(self, rows: Sequence[tuple[Viewed, int]], wish: Wish) -> list[Caption]:
        batch = collate([ClipItem(viewed.seen[number]) for viewed, number in rows]).to(self.device)
        made = write_batch(self.model, self.tokenizer, self.pieces, batch, wish.options)
        for row, ((viewed, number), caption) in enumerate(zip(rows, made.captions, strict=True)):
            self._place(caption, viewed)
            person = viewed.persons[number]
            caption.person = number + 1 if wish.people and person >= 0 else 0
            track = viewed.tracks[person] if person >= 0 else None
            caption.phrases = link_phrases(made, row, viewed.times, track)
            support_units(caption)
            if wish.evidence and viewed.clip is not None:
                caption.evidence = gather(made, row, viewed.clip, viewed.tracks, person)
        return made.captions

    def _place(self, caption: Caption, viewed: Viewed) -> None:
        """Times and names, which the model does not know."""
        caption.start, caption.end, caption.frames = viewed.start, viewed.end, viewed.times
        caption.shot = viewed.shot
        caption.source, caption.model, caption.duration = viewed.source, self.checkpoint.name, viewed.duration
        caption.faces = viewed.faces if self.config.experts.margin is not None else caption.faces
        places = np.linspace(0, 1, len(viewed.times))
        for unit in caption.action_units:
            unit.peak = round(float(np.interp(unit.peak or 0.0, places, viewed.times)), 3)


def support_units(caption: Caption) -> None:
    """Give each action unit the facial phrase that rests on it; one without a phrase keeps the word it matched."""
    for unit in caption.action_units:
        unit.words = [each.text for each in caption.phrases if each.au == unit.id] or unit.words


def with_reader(config: ModelConfig, faces: str | None, name: str) -> ModelConfig:
    """The model's config with another reader of faces."""
    if faces is None:
        return config
    if faces not in BACKENDS:
        raise ConfigError(unknown("face reader", faces, BACKENDS))
    if config.experts.margin is None:
        raise ConfigError(faceless(name))
    return replace(config, experts=replace(config.experts, reader=faces))  # type: ignore[arg-type]


def faceless(name: str) -> str:
    """One line for a model that cannot tell people apart."""
    return f"model {name!r} looks at whole pictures, not at faces: leave out what asks for people or a face reader"


def lacks_memory(error: Exception) -> bool:
    """Whether an error of torch means that memory is full; on the CPU only its text says so."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
