"""From pictures to their people, densely in time: followed about ten times a second, examined by the expert networks.

pictures -> follower (who is where) -> crops -> emotion and AU networks, in batches -> FaceReadings
Of a picture only what is known of its faces is kept, so memory hardly grows with the length of a video.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
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
from captioner.faces.reader import Follower, Sighting, dominance_of, upright_maps
from captioner.faces.shown import value_names
from captioner.files import SHIPPED
from captioner.model.appearance import Appearance, AppearanceNet, shipped_appearance
from captioner.model.experts import Experts, load_experts
from captioner.stopping import heed_stop
from captioner.video.arrays import as_frames
from captioner.video.reading import Shown, stream
from captioner.video.transforms import normalise, resize_short
from prompts.action_units import MAIN_AUS

RATE = 10.0  # pictures a second in which people are followed
MOST_EXAMINED = 16  # faces a second that the networks look at; a crowd shares them
LONG = ((4.0, 1), (900.0, 2))  # up to so many seconds every n-th picture is examined; of longer videos every fourth
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

    @classmethod
    def of(cls, shown: Shown) -> Footage:
        """From one of its pictures."""
        return cls(shown.source, shown.fps, shown.duration, shown.size)


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

    def anew(self) -> Examiner:
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


class DenseReader:
    """Reads the people of videos with one face reader, by name, and the shipped experts."""

    def __init__(self, reader: str = "builtin", device: torch.device | str = "cpu") -> None:
        self.reader = open_reader(reader, dense=True)
        self.examiner = Examiner(load_experts(SHIPPED / "experts"), device, shipped_appearance())
        self.values = value_names(self.examiner.au_ids, EXPRESSION_NAMES, self.examiner.emotions)

    def read(self, source: Any, start: float = 0.0, end: float | None = None, fps: float = 25.0) -> FaceReadings:
        """Everybody in a path, an address, an open file, or frames uint8 (T, H, W, 3) of `fps`."""
        shown = filmed(source, start, end, fps)
        first = next(shown)
        pictures = ((one.second, one.at(READ_SIDE)) for one in chain([first], shown))
        return read_faces(pictures, self.watch(Footage.of(first)))

    def watch(self, footage: Footage) -> Watch:
        """Somebody who is to be shown pictures of this."""
        return Watch(self.reader, self.examiner.anew(), footage)


def read_faces(pictures: Pictures, watch: Watch) -> FaceReadings:
    """Everybody in pictures (H, W, 3), about `RATE` of them a second."""
    for second, picture in pictures:
        watch.see(second, picture)
    return watch.finish()


def stride_of(duration: float) -> int:
    """Of how many pictures one is examined in a video of so many seconds."""
    return next((stride for most, stride in LONG if duration <= most), 4)


class Watch:
    """Follows and examines everybody in pictures that come one by one; only what is known of the faces is kept."""

    def __init__(self, reader: FaceReader, examiner: Examiner, footage: Footage) -> None:
        self.reader, self.examiner, self.footage = reader, examiner, footage
        self.times: list[float] = []
        self._follower: Follower | None = None
        self._recent: deque[Picture] = deque(maxlen=_KEPT)
        self._stride = stride_of(footage.duration)

    def see(self, second: float, picture: Picture) -> None:
        """The next picture (H, W, 3)."""
        heed_stop()
        self.times.append(second)
        self._recent.append(picture)
        if self._follower is not None:
            self._step(self._follower, len(self.times) - 1)
        elif len(self.times) > 1:  # only now it is known how far apart they are
            self._begin()

    def finish(self) -> FaceReadings:
        """Everybody seen."""
        follower = self._follower or self._begin()
        self.examiner.flush()
        return self._told(follower.finish(), np.asarray(self.times, np.float64), len(self.times))

    def between(self, start: float, end: float) -> FaceReadings:
        """Everybody seen from what is on screen at `start` up to `end`, judged by that alone; more may come."""
        follower = self._follower or self._begin()
        self.examiner.flush()
        first, last = self._place(start), max(self._place(start), bisect_left(self.times, end - 1e-3) - 1)
        times = np.maximum(np.asarray(self.times, np.float64), start)
        return self._told(follower.between(first, last), times, last - first + 1)

    def forget(self, second: float) -> None:
        """Nobody will ask for what was on screen before this second."""
        if self._follower is not None:
            self._follower.forget(self._place(second))

    def _place(self, second: float) -> int:
        """Which picture is on screen at a second."""
        return max(0, bisect_right(self.times, second + 1e-3) - 1)

    def _begin(self) -> Follower:
        """Start with the pictures that are there: two, or the only one."""
        gap = self.times[1] - self.times[0] if len(self.times) > 1 else 0.0
        self._follower = self.reader.follower(np.array([0.0, gap]), still=len(self.times) < 2)
        for number in range(len(self.times)):
            self._step(self._follower, number)
        return self._follower

    def _step(self, follower: Follower, number: int) -> None:
        """Follow into a picture; show the faces there, and those found in pictures before it, to the examiner."""
        live = follower.step(self._recent[number - len(self.times)])
        every = max(self._stride, round(len(live) * RATE / MOST_EXAMINED))
        for row, seen in enumerate(live):
            for place in range(seen.offered, len(seen.at)):
                back = len(self.times) - seen.at[place]
                if (not place or (seen.at[place] + row) % every == 0) and back <= len(self._recent):
                    self.examiner.add(seen, place, self._recent[-back])
            seen.offered = len(seen.at)

    def _told(self, people: Sequence[Sighting], times: NDArray[np.float64], count: int) -> FaceReadings:
        """The readings of people in `count` pictures, most dominant first; times are those of all pictures."""
        height, width = self._recent[-1].shape[:2] if self._recent else (1, 1)
        examiner, footage = self.examiner, self.footage
        made = [_reading(seen, times, count, (height, width), footage, examiner) for seen in people]
        made.sort(key=lambda one: -one.dominance)
        ordered = tuple(replace(one, face_id=number) for number, one in enumerate(made))
        kind = (examiner.au_ids, examiner.thresholds, examiner.emotions)
        return FaceReadings(ordered, footage.source, footage.fps, footage.duration, footage.size, *kind)


def _reading(
    seen: Sighting,
    times: NDArray[np.float64],
    count: int,
    shape: tuple[int, int],
    footage: Footage,
    examiner: Examiner,
) -> FaceReading:
    """What was seen of a person in `count` pictures (height, width), as arrays from the first to the last with them."""
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
        au_thresholds=examiner.thresholds, emotion_names=examiner.emotions, dominance=here * len(span) / count,
        woman=chance_of_woman(seen),
    )  # fmt: skip


def _spread(notes: dict[int, Floats], span: NDArray[np.int64]) -> Floats:
    """Rows (T, K) at the frames of `span` from those noted at some, between them in a straight line."""
    at = np.array(sorted(notes))
    rows = np.stack([notes[i] for i in at.tolist()])
    return np.stack([np.interp(span, at, column) for column in rows.T], axis=1).astype(np.float32)


def filmed(source: Any, start: float = 0.0, end: float | None = None, fps: float = 25.0) -> Iterator[Shown]:
    """Of a video or picture between two seconds what is on screen `RATE` times a second, and at last.

    source: a path, an address, an open file, or frames uint8 (T, H, W, 3) of `fps`.
    """
    if fps <= 0 or start < 0 or (end is not None and end <= start):
        raise VideoError(f"fps {fps}, start {start}, end {end}: need > 0, >= 0, > start")
    if isinstance(source, np.ndarray | Tensor):
        yield from _of_frames(as_frames(source), start, end, fps)
    else:
        yield from stream(source, 1 / RATE, [READ_SIDE], start=start, end=end)


def _of_frames(frames: Picture, start: float, end: float | None, fps: float) -> Iterator[Shown]:
    """The same of frames (T, H, W, 3) in memory."""
    last, duration = len(frames) - 1, len(frames) / fps
    start = min(start, last / fps)
    stop = max(start, (duration if end is None else min(end, duration)) - 1 / fps)
    seconds = np.append(np.arange(start, stop, 1 / RATE), stop)
    places = np.minimum(np.floor(seconds * fps + 1e-6).astype(int), last)
    for place in np.unique(places).tolist():  # what is on screen, each frame once
        one = frames[place : place + 1]
        scale = partial(_scaled, one)
        yield Shown(place / fps, {}, "frames", fps, duration, (one.shape[2], one.shape[1]), last / fps, scale)


def _scaled(frame: Picture, side: int | None) -> Picture:
    """A frame (1, H, W, 3) as a picture with this short side."""
    picture: Picture = resize_short(frame, side or min(frame.shape[1:3])).permute(0, 2, 3, 1).numpy()[0]
    return picture
