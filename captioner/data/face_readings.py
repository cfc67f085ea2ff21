"""From pictures to their people, densely in time: followed about ten times a second, examined by the expert networks.

pictures -> follower (who is where) -> crops -> emotion and AU networks, in batches -> FaceReadings
Of a picture only what is known of its faces is kept, so memory hardly grows with the length of a video.
"""

import io
import os
from collections import deque
from collections.abc import Iterable
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from captioner.errors import CheckpointError, VideoError
from captioner.faces import FaceReader, open_reader, warp
from captioner.faces.crops import READ_SIDE
from captioner.faces.face_reading import FaceReading, FaceReadings, Floats, roll_of
from captioner.faces.points import EXPRESSION_NAMES
from captioner.faces.reader import Sighting, dominance_of, upright_maps
from captioner.model.appearance import Appearance, AppearanceNet, shipped_appearance
from captioner.model.experts import Experts, load_experts
from captioner.stopping import heed_stop
from captioner.video.arrays import as_frames
from captioner.video.reading import stream
from captioner.video.transforms import normalise, resize_short
from prompts.action_units import MAIN_AUS

RATE = 10.0  # pictures a second in which people are followed
MOST_EXAMINED = 16  # faces a second that the networks look at; a crowd shares them
LONG = ((60.0, 1), (900.0, 2))  # up to so many seconds every n-th picture is examined; of longer videos every fourth
_BATCH = 32  # crops examined together
_KEPT = 16  # latest pictures: a face found late is looked for in them
_FOLDED = (("conv1", "bn1"), ("conv2", "bn2"), ("0", "1"))  # convolutions of timm's ResNets and their norms
_DEGREES = 30.0  # in which the reader counts yaw and pitch
LOOKS = 8  # best crops of a person that decide whether they look like a woman or a man
_TURNED, _SMALL = 40.0, 24.0  # degrees, pixels: a face turned further or smaller shows too little of its looks
_ENOUGH = 64.0  # pixels
_YAW, _PITCH = EXPRESSION_NAMES.index("yaw"), EXPRESSION_NAMES.index("pitch")

Picture: TypeAlias = NDArray[np.uint8]
Pictures: TypeAlias = Iterable[tuple[float, Picture]]  # with their seconds


@dataclass(frozen=True)
class Footage:
    """What is read: a name, frames a second, seconds and (width, height) of the video as shown."""

    source: str
    fps: float
    duration: float
    size: tuple[int, int]


class Examiner:
    """The expert networks, looking at crops of many people in batches; what they say goes into the Sightings."""

    def __init__(
        self, experts: Experts, device: torch.device | str = "cpu", appearance: Appearance | None = None
    ) -> None:
        spec = experts.config
        self.experts, self.device = experts, torch.device(device)
        self._er, self._au = (_quickened(net).to(self.device) for net in (experts.er, experts.au))
        taught = [(i, au) for i, au in enumerate(MAIN_AUS) if au not in spec.untrained_aus]
        self._units = torch.tensor([i for i, _ in taught])
        self.au_ids = tuple(au for _, au in taught)
        self.thresholds = tuple(spec.au_thresholds[i] if spec.au_thresholds else 0.5 for i, _ in taught)
        self.emotions = spec.labels
        self.appearance: AppearanceNet | None = None
        if appearance is not None:
            self.appearance = _seeing_alike(appearance, experts).net.to(self.device)
        self._waiting: list[tuple[Sighting, int, Tensor, float]] = []

    def anew(self) -> "Examiner":
        """The same networks with nothing waiting: each reading has its own, so that threads may share a captioner."""
        other = copy(self)
        other._waiting = []
        return other

    def add(self, seen: Sighting, place: int, picture: Picture) -> None:
        """The face of a person in the frame that is `place` of theirs; examined when a batch is full."""
        spec = self.experts.config
        colour = torch.from_numpy(picture).permute(2, 0, 1).expand(3, -1, -1)
        maps = upright_maps(seen.marks[place][None], spec.margin or 0.0)
        crop = warp.cut_crops(colour, maps, spec.size)[0].round().clamp(0, 255).byte()
        self._waiting.append((seen, seen.at[place], crop, goodness(seen, place)))
        if len(self._waiting) == _BATCH:
            self.flush()

    @torch.inference_mode()
    def flush(self) -> None:
        """Examine what waits."""
        if not self._waiting:
            return
        spec = self.experts.config
        crops = torch.stack([crop for _, _, crop, _ in self._waiting]).to(self.device)
        images = normalise(crops, spec.mean, spec.std).contiguous(memory_format=torch.channels_last)
        units = self._au(images).scores[:, self._units.to(self.device)]
        rows = torch.cat([units, self._er(images).logits.softmax(-1)], dim=1).float().cpu().numpy()
        for (seen, at, *_), row in zip(self._waiting, rows, strict=True):
            seen.notes[at] = row
        if self.appearance is not None:
            self._look(self.appearance, images)
        self._waiting.clear()

    def _look(self, net: AppearanceNet, images: Tensor) -> None:
        """Log odds of a woman for those of the waiting crops that are among the best of their person so far."""
        waiting = dict[Sighting, list[tuple[float, int]]]()
        for place, (seen, _, _, good) in enumerate(self._waiting):
            if good > 0:
                waiting.setdefault(seen, []).append((good, place))
        chosen = []
        for seen, crops in waiting.items():
            least = seen.looks[-1][0] if len(seen.looks) == LOOKS else 0.0
            chosen += [(seen, good, place) for good, place in sorted(crops, reverse=True)[:LOOKS] if good > least]
        if not chosen:
            return
        odds = net(images[[place for *_, place in chosen]]).float().cpu().tolist()
        for (seen, good, _), value in zip(chosen, odds, strict=True):
            seen.looks = sorted([*seen.looks, (good, value)], reverse=True)[:LOOKS]


def goodness(seen: Sighting, place: int) -> float:
    """How much of a person's looks a frame shows, 0..1: sure to be a face, frontal, large; 0 is too little."""
    turned = max(abs(float(seen.values[place][axis])) * _DEGREES for axis in (_YAW, _PITCH))
    side = float(np.ptp(seen.marks[place], axis=0).max())
    if turned > _TURNED or side < _SMALL:
        return 0.0
    return max(0.0, seen.scores[place]) * float(np.cos(np.radians(turned))) * min(1.0, side / _ENOUGH)


def chance_of_woman(seen: Sighting) -> float | None:
    """The chance that the mean log odds of a person's best crops mean; None without any."""
    if not seen.looks:
        return None
    return float(1 / (1 + np.exp(-np.mean([odds for _, odds in seen.looks]))))


def _seeing_alike(appearance: Appearance, experts: Experts) -> Appearance:
    """The appearance net, if it takes the crops that the experts take."""
    wanted, given = appearance.config, experts.config
    for key in ("size", "margin", "mean", "std"):
        if getattr(wanted, key) != getattr(given, key):
            raise CheckpointError(
                f"the appearance net wants crops of {key} {getattr(wanted, key)}, the experts of "
                f"{getattr(given, key)}: train one anew with {key}={getattr(given, key)}"
            )
    return appearance


def _quickened(net: nn.Module) -> nn.Module:
    """A copy that says the same in two thirds of the time: norms folded into convolutions, channels last in memory."""
    net = deepcopy(net).eval()
    for module in net.modules():
        for conv, norm in _FOLDED:
            first, then = getattr(module, conv, None), getattr(module, norm, None)
            if isinstance(first, nn.Conv2d) and isinstance(then, nn.BatchNorm2d):
                setattr(module, conv, nn.utils.fusion.fuse_conv_bn_eval(first, then))
                setattr(module, norm, nn.Identity())
    return net.to(memory_format=torch.channels_last)


def once_more(source: Any) -> Any:
    """A source that can be read beside this one: paths, addresses and frames themselves, files opened anew.

    None where an open file can be read once only.
    """
    if isinstance(source, io.BytesIO):
        return io.BytesIO(source.getvalue())
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        return name if isinstance(name, str) and os.path.isfile(name) else None
    return source


class DenseReader:
    """Reads the people of videos with one face reader, by name, and the shipped experts."""

    def __init__(self, reader: str = "builtin", device: torch.device | str = "cpu") -> None:
        self.reader = open_reader(reader, dense=True)
        self.examiner = Examiner(load_experts("experts"), device, shipped_appearance())

    def read(self, source: Any, start: float = 0.0, end: float | None = None, fps: float = 25.0) -> FaceReadings:
        """Everybody in a path, an address, an open file, or frames uint8 (T, H, W, 3) of `fps`."""
        footage, pictures = filmed(source, start, end, fps)
        return read_faces(pictures, footage, self.reader, self.examiner.anew())


def read_faces(pictures: Pictures, footage: Footage, reader: FaceReader, examiner: Examiner) -> FaceReadings:
    """Everybody in pictures (H, W, 3), about `RATE` of them a second."""
    people, times, shape = _follow(pictures, footage.duration, reader, examiner)
    made = [_reading(seen, times, shape, footage, examiner) for seen in people]
    made.sort(key=lambda one: -one.dominance)
    ordered = tuple(replace(one, face_id=number) for number, one in enumerate(made))
    kind = (examiner.au_ids, examiner.thresholds, examiner.emotions)
    return FaceReadings(ordered, footage.source, footage.fps, footage.duration, footage.size, *kind)


def stride_of(duration: float) -> int:
    """Of how many pictures one is examined in a video of so many seconds."""
    return next((stride for most, stride in LONG if duration <= most), 4)


def _follow(
    pictures: Pictures, duration: float, reader: FaceReader, examiner: Examiner
) -> tuple[list[Sighting], NDArray[np.float64], tuple[int, int]]:
    """Who was seen in the pictures, the seconds of these, and their (height, width)."""
    waiting = iter(pictures)
    first = list(islice(waiting, 2))
    gap = first[1][0] - first[0][0] if len(first) > 1 else 0.0
    follower = reader.follower(np.array([0.0, gap]), still=len(first) < 2)
    stride, handled = stride_of(duration), dict[Sighting, int]()
    recent: deque[Picture] = deque(maxlen=_KEPT)
    times: list[float] = []
    for second, picture in chain(first, waiting):
        heed_stop()
        times.append(second)
        recent.append(picture)
        live = follower.step(picture)
        every = max(stride, round(len(live) * RATE / MOST_EXAMINED))
        for number, seen in enumerate(live):
            for place in range(handled.get(seen, 0), len(seen.at)):
                back = len(times) - 1 - seen.at[place]
                if (not place or (seen.at[place] + number) % every == 0) and back < len(recent):
                    examiner.add(seen, place, recent[-1 - back])
            handled[seen] = len(seen.at)
    examiner.flush()
    height, width = recent[-1].shape[:2] if recent else (1, 1)
    return follower.finish(), np.asarray(times, np.float64), (height, width)


def _reading(
    seen: Sighting, times: NDArray[np.float64], shape: tuple[int, int], footage: Footage, examiner: Examiner
) -> FaceReading:
    """What was seen of a person as arrays over the pictures (height, width) from their first to their last."""
    order = np.argsort(seen.at)
    at = np.asarray(seen.at, np.int64)[order]
    span = np.arange(at[0], at[-1] + 1)
    success = np.isin(span, at)
    nearest = order[np.abs(np.searchsorted((at[1:] + at[:-1]) / 2, span))]
    scale = np.array([footage.size[0] / shape[1], footage.size[1] / shape[0]], np.float32)
    landmarks = (np.stack(seen.marks)[nearest] + np.float32(0.5)) * scale
    boxes = np.concatenate([landmarks.min(1), landmarks.max(1)], axis=1)
    confidence = np.where(success, np.asarray(seen.scores, np.float32)[nearest], np.float32(0))
    expression = np.stack(seen.values)[nearest] * success[:, None]
    value = {name: expression[:, i] for i, name in enumerate(EXPRESSION_NAMES)}
    rows, units = _spread(seen.notes, span) * success[:, None], len(examiner.au_ids)
    here = dominance_of(boxes, confidence, (footage.size[1], footage.size[0]))
    return FaceReading(
        face_id=0, frames=np.round(times[span] * footage.fps).astype(np.int64), times=times[span], success=success,
        confidence=confidence, boxes=boxes, landmarks=landmarks, yaw=value["yaw"] * _DEGREES,
        pitch=value["pitch"] * _DEGREES, roll=roll_of(landmarks) * success,
        gaze=np.stack([value["gazeSide"], value["gazeUp"]], axis=1), expression=expression, aus=rows[:, :units],
        emotions=rows[:, units:], examined=np.isin(span, list(seen.notes)), au_ids=examiner.au_ids,
        au_thresholds=examiner.thresholds, emotion_names=examiner.emotions, dominance=here * len(span) / len(times),
        woman=chance_of_woman(seen),
    )  # fmt: skip


def _spread(notes: dict[int, Floats], span: NDArray[np.int64]) -> Floats:
    """Rows (T, K) at the frames of `span` from those noted at some, between them in a straight line."""
    at = np.array(sorted(notes))
    rows = np.stack([notes[i] for i in at.tolist()])
    return np.stack([np.interp(span, at, column) for column in rows.T], axis=1).astype(np.float32)


def filmed(source: Any, start: float = 0.0, end: float | None = None, fps: float = 25.0) -> tuple[Footage, Pictures]:
    """What is read of a video or picture between two seconds, and its pictures, `RATE` of them a second.

    source: a path, an address, an open file, or frames uint8 (T, H, W, 3) of `fps`.
    """
    if fps <= 0 or start < 0 or (end is not None and end <= start):
        raise VideoError(f"fps {fps}, start {start}, end {end}: need > 0, >= 0, > start")
    if isinstance(source, np.ndarray | Tensor):
        return _of_frames(as_frames(source), start, end, fps)
    shown = stream(source, 1 / RATE, [READ_SIDE], start=start, end=end)
    first = next(shown, None)
    if first is None:
        raise VideoError(f"start {start:.2f} s is past the end of {str(source)!r}")
    footage = Footage(first.source, first.fps, first.duration, first.size)
    return footage, ((one.second, one.pictures[READ_SIDE]) for one in chain([first], shown))


def _of_frames(frames: Picture, start: float, end: float | None, fps: float) -> tuple[Footage, Pictures]:
    """The same of frames (T, H, W, 3) in memory."""
    duration = len(frames) / fps
    seconds = np.arange(start, duration if end is None else min(end, duration), 1 / RATE)
    places = np.unique(np.floor(seconds * fps + 1e-6).astype(int))  # what is on screen, each frame once
    size = (frames.shape[2], frames.shape[1])
    small = (resize_short(frames[place : place + 1], READ_SIDE).permute(0, 2, 3, 1).numpy()[0] for place in places)
    return Footage("frames", fps, duration, size), zip((places / fps).tolist(), small, strict=True)
