"""Features of clips in training a recogniser: kept on disk where a clip is always seen alike, else decoded by workers.

PE-CLIP draws frames of its segments, and a crop where the protocol asks for that; the others see a clip as in use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from captioner.data.feature_store import lone_worker
from captioner.data.manifest import Record
from captioner.emotion.contract import Recogniser, Wants, collate_evidence
from captioner.emotion.hearing import words_of_span
from captioner.emotion.looking import look
from captioner.emotion.pe_clip.frame_features import FrameFeatures, read_frames
from captioner.emotion.pe_clip.pe_clip import PEClip
from captioner.emotion.pe_clip.pe_clip_config import PEClipConfig
from captioner.errors import VideoError
from captioner.store import Kept
from captioner.train.emotion.ready_features import ReadyFeatures
from captioner.train.emotion.run_config import EmotionRun
from captioner.train.emotion.snippets import draw_snippets
from captioner.train.fitting import FitConfig

FORMAT = 1
MOST_TEXTS = 5000  # whose states stay in memory
Features = Any  # a tensor, or tensors by name; the first axis is the clips


def fill_features(kept: Kept[Any], records: Sequence[Record]) -> None:
    """Compute what is missing before training starts; a video that cannot be read is named now, not hours later."""
    for record in tqdm([r for r in records if not kept.has(r.video)], desc="features", unit="clip", disable=None):
        load_features(kept, record)


def load_features(kept: Kept[Any], record: Record) -> Any:
    """Kept features of a clip; a fault names it."""
    try:
        return kept.load(record.video)
    except VideoError as error:
        raise VideoError(f"clip {record.id!r}: {error}") from None


# -- PE-CLIP ------------------------------------------------------------------------------------------------------


class VideoFeatures:
    """Frame features of clips (T, E): kept on disk where the crop is fixed, else made anew for each epoch."""

    def __init__(self, run: EmotionRun, model: PEClip) -> None:
        self.fixed = run.data.crop == "centre"
        self.kept = FrameFeatures(
            feature_cache(run), model.config, model.vision, run.data.candidates if self.fixed else 1
        )
        self.config, self.vision, self.workers = model.config, model.vision, run.data.workers
        self.records: list[Record] = []
        self.stream: Iterator[tuple[int, Tensor | str]] = iter(())

    def start(self, records: Sequence[Record], setup: FitConfig) -> None:
        """Training on these clips begins: workers decode ahead what `fit` will ask for, epoch after epoch."""
        self.records = list(records)
        if not self.fixed:
            frames = DrawnFrames(self.records, self.config, setup.epoch_seed or 0)
            ahead: dict[str, Any] = {"num_workers": self.workers, "worker_init_fn": lone_worker} if self.workers else {}
            ahead |= {"prefetch_factor": max(2, setup.batch // self.workers)} if self.workers else {}
            order = EpochRows(setup)
            self.stream = iter(DataLoader(frames, sampler=order, batch_size=None, generator=torch.Generator(), **ahead))

    def train_batch(self, rows: Sequence[int], random: torch.Generator) -> Tensor:
        """Features (B, T, E) of training clips as an epoch sees them: a random frame of each segment."""
        return torch.stack([self.chosen(self.records[row], random) if self.fixed else self.drawn(row) for row in rows])

    def batch(self, records: Sequence[Record]) -> Tensor:
        """Features (B, T, E) as evaluation sees clips: the centre frame of each segment at the centre crop."""
        loaded = [load_features(self.kept, record) for record in records]
        return torch.stack([candidates[:, candidates.shape[1] // 2] for candidates in loaded])

    def chosen(self, record: Record, random: torch.Generator) -> Tensor:
        """A random one of each segment's kept frames."""
        candidates = load_features(self.kept, record)
        places = torch.randint(candidates.shape[1], (len(candidates),), generator=random)
        drawn: Tensor = candidates[torch.arange(len(candidates)), places]
        return drawn

    def drawn(self, row: int) -> Tensor:
        """The next clip that was decoded ahead, which must be the one of this row."""
        place, frames = next(self.stream)
        if place != row:
            raise RuntimeError(f"clip {row} was asked for, {place} comes next: frames are not read in the order of fit")
        if isinstance(frames, str):
            raise VideoError(f"clip {self.records[row].id!r}: {frames}")
        features: Tensor = self.vision(frames[None].to(next(self.vision.parameters()).device))
        return features[0].cpu()

    def fill(self, train: Sequence[Record], test: Sequence[Record]) -> None:
        """Compute what is to be kept."""
        fill_features(self.kept, [*test, *(train if self.fixed else [])])


class EpochRows(Sampler[tuple[int, int]]):
    """(epoch, row) of every example of a run, in the order in which `fit` asks for them."""

    def __init__(self, setup: FitConfig) -> None:
        self.setup = setup

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for epoch in range(self.setup.epochs):
            yield from ((epoch, row) for row in self.setup.order(epoch).tolist())

    def __len__(self) -> int:
        return self.setup.epochs * self.setup.count


class DrawnFrames(Dataset[tuple[int, "Tensor | str"]]):
    """Frames of random seconds and a random crop; each follows from seed, epoch and clip, whoever decodes it."""

    def __init__(self, records: Sequence[Record], config: PEClipConfig, seed: int) -> None:
        self.records, self.seed = records, seed
        self.size, self.segments, self.face = config.clip.image_size, config.segments, config.crop == "face"

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, place: tuple[int, int]) -> tuple[int, Tensor | str]:
        epoch, row = place
        digest = hashlib.blake2b(f"{self.seed} {epoch} {row}".encode(), digest_size=7).digest()
        random = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        try:
            return row, read_frames(
                self.records[row].video, self.size, self.segments, generator=random, face=self.face
            )  # fmt: skip
        except (VideoError, OSError) as error:
            return row, " ".join(str(error).split())


# -- every other recogniser ---------------------------------------------------------------------------------------


class RecogniserFeatures(Kept[Features]):
    """What the frozen parts of a recogniser say of a video, as its contract has it; one entry a video."""

    name = "recogniser"

    def __init__(self, folder: str | Path, model: Recogniser, wants: Wants | None = None) -> None:
        self.model, self.wants = model, wants or model.wants
        settings = {"format": FORMAT, "kind": model.KIND, "wants": asdict(self.wants), "weights": frozen_hash(model)}
        if hasattr(model, "front"):  # what becomes of sound
            settings["front"] = vars(model.front.config)
        super().__init__(folder, settings)

    def compute(self, video: Path) -> Features:
        """From the whole video."""
        device = next(self.model.parameters()).device
        with torch.no_grad():
            found = self.model.features(collate_evidence([look(video, self.wants)]).to(device))
        return {name: value[0].cpu() for name, value in found.items()} if isinstance(found, Mapping) else found[0].cpu()

    def pack(self, result: Features) -> dict[str, Tensor]:
        """The tensors by name."""
        named = result if isinstance(result, Mapping) else {self.name: result}
        return {name: value.contiguous() for name, value in named.items()}

    def unpack(self, tensors: dict[str, Tensor]) -> Features:
        """The inverse of `pack`."""
        return tensors[self.name] if set(tensors) == {self.name} else tensors


class SeenFeatures:
    """Features of clips: kept, the same in training and in evaluation; what is said is a clip's, not its video's.

    Where the crop is random and the recogniser takes snippets, training draws them anew; their sound is kept.
    """

    def __init__(self, run: EmotionRun, model: Recogniser) -> None:
        self.model, self.readers = model, max(1, run.data.workers)
        self.draws = run.data.crop == "random" and model.KIND == "av_canet" and model.wants.count > 0
        wants = replace(model.wants, words=False) if hasattr(model, "read") else model.wants
        self.kept = RecogniserFeatures(feature_cache(run), model, wants)
        self.heard = RecogniserFeatures(feature_cache(run), model, replace(wants, segments=0))
        self.records: list[Record] = []
        self.texts: dict[str, Features] = {}

    def start(self, records: Sequence[Record], setup: FitConfig) -> None:
        """Training on these clips begins."""
        self.records = list(records)

    def train_batch(self, rows: Sequence[int], random: torch.Generator) -> Features:
        """Features of training clips."""
        records = [self.records[row] for row in rows]
        return self.drawn(records, random) if self.draws else self.batch(records)

    def batch(self, records: Sequence[Record]) -> Features:
        """Features of clips, side by side."""
        return stacked([self.said(record, load_features(self.kept, record)) for record in records])

    def drawn(self, records: Sequence[Record], random: torch.Generator) -> Features:
        """Features of clips with snippets from random places, several videos read at a time."""
        seeds = torch.randint(1 << 31, (len(records),), generator=random, device="cpu").tolist()
        with ThreadPoolExecutor(self.readers) as pool:
            rows = list(pool.map(self._draw, records, seeds))
        return stacked(rows)

    def _draw(self, record: Record, seed: int) -> Features:
        try:
            frames = draw_snippets(record.video, self.model.wants, torch.Generator().manual_seed(seed))
        except VideoError as error:
            raise VideoError(f"clip {record.id!r}: {error}") from None
        own: Any = self.model
        frozen = own.video.frozen(frames[None].to(next(own.parameters()).device))[0].cpu()
        return load_features(self.heard, record) | {"frames": frozen} if own.audio is not None else {"frames": frozen}

    def said(self, record: Record, features: Features) -> Features:
        """With states of what is said: the manifest's transcript, else the video's subtitles."""
        if not self.model.wants.words or not hasattr(self.model, "read"):
            return features
        given = record.extra.get("transcript")
        text = words_of_span(record.video, True, 0.0, float("inf"), None if given is None else str(given))
        if text not in self.texts:
            if len(self.texts) >= MOST_TEXTS:
                self.texts.clear()
            with torch.no_grad():
                states, mask = self.model.read([text])
            self.texts[text] = {"text": states[0].cpu(), "text_mask": mask[0].cpu()}
        return features | self.texts[text]

    def fill(self, train: Sequence[Record], test: Sequence[Record]) -> None:
        """Compute what is to be kept."""
        fill_features(self.kept, test if self.draws else [*test, *train])


def stacked(rows: Sequence[Features]) -> Features:
    """Features of clips as those of a batch."""
    if isinstance(rows[0], Mapping):
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    return torch.stack(list(rows))


def moved(features: Features, device: torch.device) -> Features:
    """Features on a device."""
    if isinstance(features, Mapping):
        return {name: value.to(device) for name, value in features.items()}
    return features.to(device)


def frozen_hash(model: Any) -> str:
    """A short digest of what training leaves as it is."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name not in trained:
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def feature_cache(run: EmotionRun) -> str:
    """Where a run keeps features."""
    return run.data.cache or str(Path(run.train.out) / "features")


ClipFeatures = VideoFeatures | SeenFeatures | ReadyFeatures


def open_features(run: EmotionRun, model: Any) -> ClipFeatures:
    """How a run's recogniser sees clips."""
    if getattr(model, "ready", None):
        return ReadyFeatures(run.data.root, model)
    return VideoFeatures(run, model) if isinstance(model, PEClip) else SeenFeatures(run, model)
