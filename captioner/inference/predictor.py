"""From a video to captions: the object that `captioner.load()` returns.

source -> read_once or read_inputs (frames, faces, belief) -> collate -> EmotionCaptioner.see -> write_batch -> Caption
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Sequence, Sized
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch

from captioner.data.face_readings import DenseReader
from captioner.data.inputs import ReadClip, read_inputs, read_windows
from captioner.data.measured import Judges
from captioner.data.one_pass import read_once, read_windows_once
from captioner.errors import CaptionerError, ConfigError
from captioner.faces import BACKENDS, open_reader
from captioner.faces.face_reading import FaceReadings
from captioner.inference.background import Failed, ahead, asynchronous, tried
from captioner.inference.captions import caption_batch, special_ids, write_batch
from captioner.inference.choices import faceless, lacks_memory, pick_device, with_reader
from captioner.inference.decode_options import (
    DecodeKeywords,
    DecodeOptions,
    WritingKeywords,
    known_keywords,
    only_of_the_clip,
)
from captioner.inference.events import EventTeller, add_events
from captioner.inference.finishing import finish_caption
from captioner.inference.hub import upload
from captioner.inference.manner import chosen_style
from captioner.inference.results import ActionUnit, Caption
from captioner.inference.supports import measure, measured_row, supports_of
from captioner.inference.video_like import VideoLike, checked
from captioner.model import checkpoint
from captioner.model.batch import ClipItem, collate
from captioner.model.tokenizer import TextPieces
from captioner.stopping import heed_stop

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["ActionUnit", "Caption", "Captioner", "caption_batch", "pick_device", "special_ids"]

log = logging.getLogger(__name__)

LEAST_WINDOW = 0.5  # seconds


class Captioner:
    """A loaded captioner: `captioner.load(name)`, then `.caption(video)`, `.people(video, 2)`, `.windows(video, 5)`;
    `.read(video)` gives the faces alone. Threads may share one."""

    def __repr__(self) -> str:
        return f"Captioner({self.checkpoint.name!r}, device={str(self.device)!r})"

    def __init__(
        self, loaded: checkpoint.Checkpoint, device: torch.device | str = "cpu", faces: str | None = None
    ) -> None:
        self.checkpoint = loaded
        self.device = torch.device(device)
        self.model = loaded.model.to(self.device).eval()
        self.tokenizer = loaded.tokenizer
        self.pieces = TextPieces(loaded.tokenizer, loaded.foreign, self.model.config.fusion.max_text)
        self.config = with_reader(self.model.config, faces, loaded.name)
        self.offline = False  # whether nothing may be fetched later either
        self._tellers: dict[str, EventTeller] = {}  # of events, by name
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
    ) -> Captioner:
        """A captioner by shipped name, checkpoint folder or hub repository; `faces` replaces its face reader."""
        chosen = pick_device(device)
        loaded = checkpoint.load_checkpoint(name, offline=local_files_only, revision=revision, cache_dir=cache_dir)
        if faces in BACKENDS and faces != "builtin":
            open_reader(faces, local_files_only)  # what it has to fetch, it fetches now and not amid the clips
        made = cls(loaded, chosen, faces)
        made.offline = local_files_only
        return made

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the checkpoint folder that `from_pretrained` reads."""
        loaded = self.checkpoint
        checkpoint.save_checkpoint(
            folder, self.model, self.tokenizer, foreign=loaded.foreign, meta=loaded.meta, card=loaded.card
        )

    def push_to_hub(self, repo_id: str, *, private: bool = False, commit_message: str = "Add captioner") -> str:
        """Upload the checkpoint folder to the hub; returns the commit's address."""
        own = self.checkpoint
        return upload(self.save_pretrained, own.card, repo_id, private, commit_message, own.meta)

    @overload
    def caption(
        self, source: list[Any] | tuple[Any, ...], *, start: float = ..., end: float | None = ..., fps: float = ...,
        **options: Unpack[WritingKeywords],
    ) -> list[Caption | Failed]: ...  # fmt: skip

    @overload
    def caption(
        self, source: VideoLike, *, start: float = ..., end: float | None = ..., fps: float = ...,
        **options: Unpack[WritingKeywords],
    ) -> Caption: ...  # fmt: skip

    def caption(
        self,
        source: VideoLike | list[Any] | tuple[Any, ...],
        *,
        start: float = 0.0,
        end: float | None = None,
        fps: float = 25.0,
        **options: Unpack[WritingKeywords],
    ) -> Caption | list[Caption | Failed]:
        """The caption of a video: a path, an address, an open file, or frames uint8 (T, H, W, 3) of `fps`.

        `start` and `end` are seconds. A list of any of these gives a list in its order: captions, and a Failed, which
        counts as false and has a `reason`, where one could not be made. Further keywords: DecodeOptions.
        """
        asked = self.options(**only_of_the_clip(options))
        read = partial(self._read, asked=asked, start=start, end=end, fps=fps)
        if isinstance(source, list | tuple):
            clips = (outcome for _, outcome in tried(read, source))
            return [one if isinstance(one, Failed) else one[0] for one in self._each(clips, asked, 4, guarded=True)]
        return self._describe([read(source)], asked)[0][0]

    def people(self, source: VideoLike, count: int = 2, **options: Unpack[WritingKeywords]) -> list[Caption]:
        """A caption for each of the `count` most dominant people of a video; one about the clip where nobody is."""
        asked = self.options(people=count, **options)
        return self._describe([self._read(source, asked)], asked)[0]

    def windows(
        self,
        source: VideoLike,
        seconds: float = 5.0,
        *,
        batch: int = 1,
        after: Caption | None = None,
        **options: Unpack[DecodeKeywords],
    ) -> Generator[Caption, None, None]:
        """A caption for each `seconds` of a video, in order of time, while it is read; no window holds a cut.

        With `people` one for each of so many people of each window. Memory does not grow with the video.
        after: the last caption of an interrupted run, behind whose window this one goes on.
        """
        if not seconds >= LEAST_WINDOW:
            raise ConfigError(f"windows of {seconds:g} s are too short: at least {LEAST_WINDOW:g} s are needed")
        asked = self.options(**options)
        behind = (after.shot, after.end) if after else None
        read = partial(read_windows_once, dense=self._dense) if self._measures(asked) else read_windows
        people, keep = asked.people, asked.keeps
        clips = read(checked(source), self.config, seconds=seconds, people=people, keep=keep, after=behind)
        for captions in self._each(ahead(clips, batch + 1), asked, batch):
            yield from captions

    async def stream(
        self, source: VideoLike, seconds: float = 5.0, **options: Unpack[DecodeKeywords]
    ) -> AsyncGenerator[Caption, None]:
        """The captions of `windows` for `async for`; the work is done in threads and ends when nobody listens."""
        async with aclosing(asynchronous(self.windows(source, seconds, **options))) as captions:
            async for caption in captions:
                yield caption

    def each(
        self, sources: Iterable[Any], *, batch: int = 4, **options: Unpack[DecodeKeywords]
    ) -> Iterator[list[Caption] | Failed]:
        """For each source its captions, or what went wrong; `batch` clips at a time, decoded in a thread ahead."""
        asked = self.options(**options)

        clips = (outcome for _, outcome in tried(partial(self._read, asked=asked), sources))
        alone = isinstance(sources, Sized) and len(sources) == 1  # a second thread would only take its cores
        yield from self._each(clips if alone else ahead(clips, batch + 1), asked, batch, guarded=True)

    def read(
        self, source: VideoLike, *, start: float = 0.0, end: float | None = None, fps: float = 25.0
    ) -> FaceReadings:
        """The people of a video or picture, about ten times a second: pose, gaze, action units, emotions.

        Who finds the faces is the captioner's reader; what they show is said by the shipped experts.
        """
        return self._dense.read(checked(source), start, end, fps)

    @cached_property
    def _dense(self) -> DenseReader:
        return DenseReader(self.config.experts.reader, self.device)

    @cached_property
    def _judges(self) -> Judges:
        return Judges(self._dense.values)

    def _teller(self, name: str | Path) -> EventTeller:
        """The public captioner of that name, loaded once."""
        if str(name) not in self._tellers:
            self._tellers[str(name)] = EventTeller.load(str(name), self.device, self.offline)
        return self._tellers[str(name)]

    def _read(
        self, source: Any, asked: DecodeOptions, start: float = 0.0, end: float | None = None, fps: float = 25.0
    ) -> ReadClip:
        """A clip as the model takes it, with what its claims are held against where the captioner can tell."""
        read = partial(read_once, dense=self._dense) if self._measures(asked) else read_inputs
        people, keep = asked.people, asked.keeps
        return read(checked(source), self.config, start=start, end=end, fps=fps, people=people, keep=keep)

    def _measures(self, asked: DecodeOptions) -> bool:
        """Whether everybody is followed all the time, for the captioner or for claims to be held against."""
        prompts = self.config.prompts
        needed = prompts.measured or (asked.claims and prompts.reading)
        return bool(needed and self.config.experts.margin is not None)

    def options(self, **keywords: Unpack[DecodeKeywords]) -> DecodeOptions:
        """Options from keywords; a style, or people, that this captioner does not know are an error."""
        asked = DecodeOptions(**known_keywords(keywords))
        asked = replace(asked, style=chosen_style(asked.style, self.config.styles, asked.claims))
        if asked.people and self.config.experts.margin is None:
            raise ConfigError(faceless(self.checkpoint.name))
        if asked.events is not None:
            self._teller(asked.events)  # what it has to fetch, it fetches now
        return asked

    def _each(self, clips: Iterable[Any], asked: DecodeOptions, batch: int, guarded: bool = False) -> Iterator[Any]:
        """Captions of clips that were read, and failures, in their order; guarded: those of the model are such too."""
        waiting = iter(clips)
        describe = self._tried if guarded else self._describe
        while group := list(islice(waiting, max(1, batch))):
            made = iter(describe([each for each in group if isinstance(each, ReadClip)], asked))
            for each in group:
                yield next(made) if isinstance(each, ReadClip) else each

    def _tried(self, clips: list[ReadClip], asked: DecodeOptions) -> Sequence[list[Caption] | Failed]:
        """The captions of each clip; where one costs the others theirs, all are tried alone."""
        try:
            return self._describe(clips, asked)
        except Exception as error:
            if len(clips) == 1:
                return [Failed(error, clips[0].source)]
        return [self._tried([one], asked)[0] for one in clips]

    def _describe(self, clips: list[ReadClip], asked: DecodeOptions) -> list[list[Caption]]:
        """The captions of each clip, one or one a person; all in one batch, in halves where memory lacks."""
        heed_stop()
        rows = [(clip, number) for clip in clips for number in range(len(clip.inputs))]
        size = min(self._room or len(rows), len(rows)) or 1
        try:
            captions = [one for at in range(0, len(rows), size) for one in self._write(rows[at : at + size], asked)]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            if size == 1 or self._room:
                raise CaptionerError(f"{self.device} is out of memory: use --batch 1 or --device cpu") from None
            self._room = (size + 1) // 2
            log.warning("%s is out of memory: going on with %d clips at a time", self.device, self._room)
            return self._describe(clips, asked)
        waiting = iter(captions)
        return [list(islice(waiting, len(clip.inputs))) for clip in clips]

    def _write(self, rows: Sequence[tuple[ReadClip, int]], asked: DecodeOptions) -> list[Caption]:
        logits = {id(clip): measure(clip, self._judges, asked.habits == "mafw") for clip, _ in rows if clip.readings}
        items, supports = [], []
        for clip, number in rows:
            inputs, people = clip.inputs[number], logits.get(id(clip))
            if self.config.prompts.measured:
                inputs = replace(inputs, measured=measured_row(clip, number, people))
            items.append(ClipItem(inputs))
            supports.append(supports_of(clip, number, people) if asked.claims else None)
        batch = collate(items).to(self.device)
        made = write_batch(self.model, self.tokenizer, self.pieces, batch, asked.decoding, supports)
        for row, (clip, number) in enumerate(rows):
            made.captions[row].model = self.checkpoint.name
            finish_caption(made, row, clip, number, asked)
        if asked.events is not None:
            add_events(self._teller(asked.events), rows, made.captions, supports, asked.neutral)
        return made.captions
