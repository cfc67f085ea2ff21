"""What is known of a clip before anything is trained: frames, faces, what the frozen parts say of them.

Each kind is a part of its own, so that other expert weights leave frames and faces as they are.
"""

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from captioner.config import DataConfig, ModelConfig
from captioner.data.inputs import decode_pictures, follow_people, prior_evidence, prior_of, prior_probs, sampled_tracks
from captioner.data.manifest import Record
from captioner.data.measured import Judges, NumbersReader
from captioner.emotion.contract import Evidence
from captioner.errors import VideoError
from captioner.faces import FaceTrack
from captioner.faces.crops import READ_SIDE, FaceCrops, crop_side, expert_crops, reader_version
from captioner.model.batch import ClipInputs, features_of_faces
from captioner.model.video_encoder import VideoEncoder
from captioner.store import Part, VideoHashes, weights_hash
from captioner.video.source import one_thread
from captioner.video.transforms import crop, resize_short
from prompts.visual import BEST, ExpertFeatures, FrozenExperts

log = logging.getLogger(__name__)

FORMAT = 5  # of the entries and of what is computed; a new one leaves old entries unread


# -- the parts of the store -------------------------------------------------------------------------------------


class TensorPart(Part[Tensor]):
    """A part of one tensor."""

    def __init__(self, name: str, folder: str | Path, settings: dict[str, Any], hashes: VideoHashes) -> None:
        self.name = name  # type: ignore[misc]
        super().__init__(folder, settings, hashes)


class FacesPart(Part[list[FaceTrack]]):
    """The people of a clip, most dominant first."""

    name = "faces"
    fields = ("boxes", "landmarks", "present", "score", "expression")

    def pack(self, result: list[FaceTrack]) -> dict[str, Tensor]:
        """Each field stacked over people; nobody is an empty axis."""
        rows = {key: [getattr(track, key) for track in result] for key in self.fields}
        tensors = {key: torch.from_numpy(np.stack(row)) for key, row in rows.items() if row}
        return tensors | {"dominance": torch.tensor([track.dominance for track in result], dtype=torch.float64)}

    def unpack(self, tensors: dict[str, Tensor]) -> list[FaceTrack]:
        """The inverse of `pack`."""
        people: list[dict[str, Any]] = [
            {key: tensors[key][person].numpy() for key in self.fields} for person in range(len(tensors["dominance"]))
        ]
        return [
            FaceTrack(**person, dominance=value)
            for person, value in zip(people, tensors["dominance"].tolist(), strict=True)
        ]


class ExpertsPart(Part[ExpertFeatures]):
    """What the frozen experts say of a clip."""

    name = "experts"

    def pack(self, result: ExpertFeatures) -> dict[str, Tensor]:
        """The features by name."""
        return {name: value.contiguous() for name, value in vars(result).items()}

    def unpack(self, tensors: dict[str, Tensor]) -> ExpertFeatures:
        """The inverse of `pack`."""
        try:
            return ExpertFeatures(**tensors)
        except TypeError as error:
            raise KeyError(str(error)) from None


@dataclass
class Gathered:
    """What decoding has brought of a clip and the frozen networks still have to see."""

    frames: Tensor | None = None  # (T, 3, h, w)
    faces: FaceCrops | None = None
    prior: Evidence | None = None  # what the emotion prior is told


class FeatureStore:
    """Everything frozen about clips, by video: read where it is kept, computed and kept where it is not.

    frames=False keeps none: an epoch decodes them. video: a frozen encoder whose tokens of the centre crop are kept
    in their place. Networks run on the CPU but in `fill`, which uses `device`.
    """

    def __init__(
        self,
        folder: str | Path,
        config: ModelConfig,
        experts: FrozenExperts | None,
        short_side: int,
        *,
        frames: bool = True,
        video: VideoEncoder | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.config, self.side = config, short_side or config.video.size
        self.device = device or torch.device("cpu")
        # Copies: the trained model goes to its device and would take its frozen networks along.
        self.nets = FrozenNets(experts, video).copied(torch.device("cpu"), needless=self.device.type == "cpu")
        self.prior = prior_of(config)
        self.numbers = NumbersReader(config.experts) if config.prompts.measured else None
        self.decoded = video is None and not frames
        self.parts = self._parts(Path(folder), frames, experts, video)

    def _parts(
        self, folder: Path, frames: bool, experts: FrozenExperts | None, video: VideoEncoder | None
    ) -> dict[str, Part[Any]]:
        """The parts by name; what their settings hold names their folders, so that entries of others stay unread."""
        hashes, parts = VideoHashes(folder), dict[str, Part[Any]]()
        sampled = {"format": FORMAT, "frames": self.config.video.frames}
        if video is None and frames:
            parts["frames"] = TensorPart("frames", folder, sampled | {"side": self.side}, hashes)
        if experts is not None:
            parts |= self._expert_parts(folder, experts, hashes, sampled)
        if self.numbers is not None:
            parts["numbers"] = self.numbers.part(folder, hashes)
        if self.prior is not None:
            belief = {"format": FORMAT, "prior": self.prior.digest, "labels": self.config.labels} | self._read_beside()
            belief |= {"names": names} if (names := self.config.emotion_prior_labels_as) else {}
            parts["belief"] = TensorPart("belief", folder, belief, hashes)
        if video is not None:
            apart = ("pretrained", "network", "checkpointing")
            encoder = {k: v for k, v in asdict(self.config.video).items() if k not in apart}
            tokens = sampled | {"side": self.side, "encoder": encoder, "weights": weights_hash(video)}
            parts["video"] = TensorPart("video", folder, tokens, hashes)
        return parts

    def _expert_parts(
        self, folder: Path, experts: FrozenExperts, hashes: VideoHashes, sampled: dict[str, Any]
    ) -> dict[str, Part[Any]]:
        """Faces, where the experts look at any, and what the experts say."""
        config, parts = self.config.experts, dict[str, Part[Any]]()
        apart = ("source", "untrained", "er_labels", "untrained_aus", "reader")
        asked = {k: v for k, v in asdict(config).items() if k not in apart}
        if config.margin is not None:
            faces = sampled | {"side": READ_SIDE, "reader": reader_version(config)} | self._read_beside()
            parts["faces"] = FacesPart(folder, faces, hashes)
            asked["faces"] = parts["faces"].key
        asked["weights"] = weights_hash(experts)
        settings = {"format": FORMAT, "of": sampled["frames"], "best": BEST, **asked}
        return parts | {"experts": ExpertsPart(folder, settings, hashes)}

    def _read_beside(self) -> dict[str, Any]:
        """A prior's pictures of faces are read along with the sampled ones: who is followed depends on both."""
        if self.prior is None or not self.prior.reads_faces:
            return {}
        read = [self.config.video.frames, self.prior.wants.count, *reader_version(self.config.experts)]
        return {"read": read}

    @cached_property
    def judges(self) -> Judges:
        """Who says what the numbers mean."""
        assert self.numbers is not None
        return Judges(self.numbers.values)

    def missing(self, video: Path, check: bool = False) -> list[str]:
        """The parts without an entry for a video; with `check` a broken entry is none."""
        return [name for name, part in self.parts.items() if not part.has(video, check)]

    def load(self, video: Path, window: tuple[float, float] | None = None) -> ClipInputs:
        """What is known of a video; what was missing is kept from now on.

        window: the seconds of which frames are decoded, where none are kept; all else is known of the whole clip.
        """
        found = {name: part.read(video) for name, part in self.parts.items() if name != "faces"}
        absent = [name for name, value in found.items() if value is None]
        if self.decoded and window is not None:
            found["frames"] = self.frames_of(video, window)
        if absent or (self.decoded and window is None):
            wanted = [*absent, "frames"] if self.decoded and window is None else absent
            gathered, made = self.gather(video, wanted)
            found |= made | self.finish(video, gathered, absent)
        size = self.config.video.size
        frames, numbers = found.get("frames"), found.get("numbers")
        return ClipInputs(
            torch.zeros(0, 3, size, size, dtype=torch.uint8) if frames is None else frames,
            experts=found.get("experts"),
            prior=found.get("belief"),
            video=found.get("video"),
            measured=self.judges.of_first(numbers) if numbers is not None else None,
        )

    def frames_of(self, video: Path, window: tuple[float, float]) -> Tensor:
        """The sampled frames of a part of a video."""
        start, end = window
        pictures = decode_pictures(video, self.config, [self.side], None, start=start, end=end)
        return resize_short(pictures.sampled[self.side].frames, self.side)

    def experts_of(self, video: Path) -> ExpertFeatures | None:
        """What the experts say of a video; None without them."""
        part = self.parts.get("experts")
        found = part.read(video) if part is not None else None
        return self.load(video).experts if part is not None and found is None else found

    def gather(self, video: Path, absent: Sequence[str]) -> tuple[Gathered, dict[str, Any]]:
        """Decode and read faces: what is left to the networks, and what is already made (and kept)."""
        made = dict[str, Any]()
        if "numbers" in absent and self.numbers is not None:
            made["numbers"] = self.numbers.read(video)
            self.parts["numbers"].write(video, made["numbers"])
        asks_faces = "faces" in self.parts and not {"faces", "experts"}.isdisjoint(absent)
        tracks = self.parts["faces"].read(video) if asks_faces and "faces" not in absent else None
        follows = asks_faces and tracks is None
        prior = self.prior if "belief" in absent or (follows and self.prior and self.prior.reads_faces) else None
        follows = follows or (prior is not None and prior.reads_faces)
        sides = self._sides(absent, follows)
        if not sides and prior is None:
            return Gathered(), made
        pictures = decode_pictures(video, self.config, sides, prior)
        people = follow_people(pictures, self.config, prior) if follows else []
        gathered = Gathered()
        if asks_faces and tracks is None:
            tracks = made["faces"] = sampled_tracks(people)
        if "frames" in absent or "video" in absent:
            gathered.frames = resize_short(pictures.sampled[self.side].frames, self.side)
        if "frames" in absent:
            made["frames"] = gathered.frames
        if "experts" in absent:
            gathered.faces = expert_crops(pictures.sampled[crop_side(self.config.experts)], self.config.experts, tracks)
        if "belief" in absent and prior is not None:
            gathered.prior = prior_evidence(pictures, prior, people)
        for name in (made.keys() & self.parts.keys()) - {"numbers"}:
            self.parts[name].write(video, made[name])
        return gathered, made

    def _sides(self, absent: Sequence[str], follows: bool) -> list[int]:
        """The short edges at which a clip must be decoded for what is absent."""
        sides = {"frames": self.side, "video": self.side, "experts": crop_side(self.config.experts)}
        needed = [sides[name] for name in absent if name in sides]
        return list(dict.fromkeys([*needed, READ_SIDE] if follows else needed))

    def finish(
        self, video: Path, gathered: Gathered, absent: Sequence[str], nets: "FrozenNets | None" = None
    ) -> dict[str, Any]:
        """What the frozen networks say, kept."""
        made: dict[str, Any] = {}
        nets = nets or self.nets
        if "experts" in absent and gathered.faces is not None:
            made["experts"] = nets.features(gathered.faces)
        if "video" in absent and gathered.frames is not None:
            made["video"] = nets.tokens(crop(gathered.frames, self.config.video.size))
        if gathered.prior is not None and (prior := prior_of(self.config)) is not None:
            made["belief"] = prior_probs(prior, gathered.prior, self.config)
        for name, value in made.items():
            self.parts[name].write(video, value)
        return made

    def fill(
        self, records: Sequence[Record], *, workers: int = 0, progress: bool = True, check: bool = False
    ) -> dict[str, str]:
        """Compute what is missing, so that an epoch costs the trained parts only; returns {id: fault} of bad videos."""
        todo: list[tuple[Record, list[str]]] = []
        faults: dict[str, str] = {}
        for record in tqdm(records, desc="looking", unit="clip", disable=None if progress else True, leave=False):
            try:
                absent = self.missing(record.video, check)
            except VideoError as error:
                faults[record.id] = str(error)
                continue
            if absent:
                todo.append((record, absent))
        nets = self.nets.copied(self.device, needless=self.device.type == "cpu")
        loader = DataLoader(
            GatherTasks(self, todo), batch_size=None, num_workers=min(workers, len(todo)),
            worker_init_fn=lone_worker, generator=torch.Generator(),
        )  # fmt: skip
        bar = tqdm(loader, desc="features", unit="clip", disable=None if progress else True)
        for (record, absent), gathered in zip(todo, bar, strict=True):
            try:
                if isinstance(gathered, str):
                    raise VideoError(gathered)
                self.finish(record.video, gathered, absent, nets)
            except VideoError as error:
                faults[record.id] = str(error)
        return faults


def open_store(data: DataConfig, config: ModelConfig, model: Any, device: torch.device) -> FeatureStore | None:
    """The store that a configuration asks for, with the frozen networks of a captioner; None where nothing is kept."""
    if not data.cache:
        return None
    frozen, fixed = config.video.fixed, data.crop == "centre" and not data.flip
    if frozen and not fixed:
        log.info(
            "the video encoder is frozen: data.crop=centre and data.flip=false would let the store keep its tokens"
        )
    return FeatureStore(
        data.cache, config, model.experts if config.prompts.vep else None, data.short_side,
        frames=data.cache_frames, video=model.video if frozen and fixed else None, device=device,
    )  # fmt: skip


class FrozenNets:
    """The frozen networks, on whichever device."""

    def __init__(self, experts: FrozenExperts | None, video: VideoEncoder | None) -> None:
        self.experts, self.video = experts, video
        if video is not None:
            video.eval()  # as a frozen one is in training: no dropped paths

    def copied(self, device: torch.device, needless: bool = False) -> "FrozenNets":
        """Copies on a device; these themselves where none are needed."""
        if needless:
            return self
        experts = deepcopy(self.experts).to(device) if self.experts is not None else None
        return FrozenNets(experts, deepcopy(self.video).to(device) if self.video is not None else None)

    def features(self, faces: FaceCrops) -> ExpertFeatures:
        """What the experts say of the crops."""
        assert self.experts is not None
        device = next(self.experts.parameters()).device
        return features_of_faces(self.experts, faces.to(device)).to("cpu")

    @torch.no_grad()
    def tokens(self, frames: Tensor) -> Tensor:
        """Tokens (1, M, C) of frames (T, 3, S, S)."""
        assert self.video is not None
        out: Tensor = self.video(frames[None].to(next(self.video.parameters()).device)).float().cpu()
        return out


class GatherTasks(Dataset["Gathered | str"]):
    """The part of `fill` that needs no network: what decoding brings of each clip, or its fault."""

    def __init__(self, store: FeatureStore, todo: Sequence[tuple[Record, list[str]]]) -> None:
        self.store, self.todo = store, todo

    def __len__(self) -> int:
        return len(self.todo)

    def __getitem__(self, place: int) -> "Gathered | str":
        record, absent = self.todo[place]
        try:
            return self.store.gather(record.video, absent)[0]
        except (VideoError, OSError) as error:
            return " ".join(str(error).split())


def lone_worker(number: int) -> None:
    """Settings of a process that decodes beside others: one thread each."""
    torch.set_num_threads(1)
    one_thread()
