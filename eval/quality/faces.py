"""How well a face reader finds, follows and describes faces: on photos, on synthetic clips, beside MediaPipe."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from captioner.data.face_readings import RATE
from captioner.data.manifest import SPLITS
from captioner.faces import FaceError, FaceReader, FaceTrack
from captioner.faces.points import BLENDSHAPES, GEOMETRY, MESH_68, geometry
from captioner.synth.film.faceless import HEIGHT, WIDTH
from captioner.synth.photo.photo_set import PhotoSet
from captioner.video.reading import probe
from eval.quality.empty_videos import FPS, FRAMES, empty_videos
from eval.speed.timing import time_call

_log = logging.getLogger(__name__)

VALUES = (
    "browDown", "browInnerUp", "browOuterUp", "eyeBlink", "eyeWide", "jawOpen", "mouthSmile", "mouthFrown",
    "mouthPress", "mouthPucker", "mouthStretch", "mouthUpperUp", "mouthShrugLower", "mouthRollLower",
    "eyeAspect", "noseWing", "yaw", "pitch",
)  # fmt: skip
FOUND_WITHIN = 0.25  # mean landmark error, in outer eye distances, of a face that counts as found
PERHAPS_WITHIN = 0.5  # of a face at a picture's edge, which is neither found nor false
LEAST_SEEN = 4  # frames in which a person must be seen to be counted
SIDES = (16, 24, 40, 80, 160)  # pixels of a face, for recall by size

Marks = NDArray[np.float32]


def landmark_error(marks: Marks, truth: Marks) -> float:
    """Mean distance of 68 points in outer eye distances of the truth; a profile's yardstick is its height."""
    yard = max(float(np.linalg.norm(truth[36] - truth[45])), 0.4 * float(np.ptp(truth[:, 1])), 1e-3)
    return float(np.linalg.norm(marks - truth, axis=1).mean()) / yard


# --- photos ------------------------------------------------------------------------------------------------------


def measure_on_photos(reader: FaceReader, folder: Path, split: str) -> dict[str, float]:
    """Landmark error and correlations with the teacher on every photo of a split, from whole pictures."""
    photos = PhotoSet(folder)
    rows = np.flatnonzero(photos.table["split"] == SPLITS.index(split))
    errors: list[float] = []
    ours: list[FaceTrack] = []
    theirs: list[list[Any]] = []
    further = 0
    for row in rows:
        photo = photos.photo(int(row))
        truth = photo.landmarks[list(MESH_68), :2]
        tracks = reader.read(photo.image)
        further += max(0, len(tracks) - 1)
        best = min(tracks, key=lambda track: landmark_error(track.landmarks[0], truth), default=None)
        if best is None or landmark_error(best.landmarks[0], truth) > FOUND_WITHIN:
            continue
        yaw, pitch = photos.angles()[row] / 30
        errors.append(landmark_error(best.landmarks[0], truth))
        ours.append(best)
        theirs.append([*(photo.blendshapes[name] for name in BLENDSHAPES), *geometry(truth), yaw, pitch])
    scores = {"photos": len(rows), "found": len(errors) / len(rows), "further faces": further / len(rows)}
    scores |= {
        "error": float(np.mean(errors)),
        "median": float(np.median(errors)),
        "p90": float(np.quantile(errors, 0.9)),
    }
    return scores | _correlations(ours, np.array(theirs, np.float32))


def _correlations(ours: Sequence[FaceTrack], theirs: NDArray[np.float32]) -> dict[str, float]:
    """Of values told by the reader, and of ratios that follow from its points alone."""
    names = (*BLENDSHAPES, *GEOMETRY, "yaw", "pitch")
    found = {}
    for name in VALUES:
        at = [place for place, other in enumerate(names) if other in (name, f"{name}Left", f"{name}Right")]
        values = np.array([track.value(name)[0] for track in ours])
        found[f"r {name}"] = _correlation(values, theirs[:, at].mean(1))
    marks = np.stack([track.landmarks[0] for track in ours])
    truth = theirs[:, len(BLENDSHAPES) : len(BLENDSHAPES) + len(GEOMETRY)]
    for name in ("eyeAspect", "noseWing"):
        at = [place for place, other in enumerate(GEOMETRY) if other.startswith(name)]
        ratio = np.stack(geometry(marks), 1)[:, at].mean(1)
        found[f"r {name} of points"] = _correlation(ratio, truth[:, at].mean(1))
    return found


def _correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(np.corrcoef(one, other)[0, 1])


# --- clips -------------------------------------------------------------------------------------------------------


@dataclass
class FaceTally:
    """Counts over clips, and the landmark errors of the faces found."""

    frames: int = 0
    faces: int = 0
    hits: int = 0
    false: int = 0
    errors: list[float] = field(default_factory=list)
    groups: int = 0
    """Clips of several people."""
    kept: int = 0
    """Those in which everybody keeps one track."""
    seconds: float = 0.0
    clips: int = 0
    counted: int = 0
    """Clips with as many tracks as people are seen."""
    strays: int = 0
    """Tracks that are, most of the time, on nobody's face."""
    length: float = 0.0
    """Seconds of all clips."""
    by_size: dict[str, list[int]] = field(default_factory=dict)

    def add_clip(
        self, tracks: Sequence[FaceTrack], truth: NDArray[np.float32], size: tuple[int, int], fps: float = 25.0
    ) -> None:
        """Add a clip: truth (P people, T, 68, 2), not a number where a person is not seen; size (H, W)."""
        people, count = truth.shape[:2]
        owners: list[set[int]] = [set() for _ in range(people)]
        self.frames += count
        stray = np.zeros(len(tracks), int)
        for t in range(count):
            free = {i for i, track in enumerate(tracks) if track.present[t]}
            for person in range(people):
                owner = self._owner(tracks, free, truth[person, t], t, size)
                if owner is not None:
                    owners[person].add(owner)
            self.false += len(free)
            stray[list(free)] += 1
        seen = [owner for owner in owners if owner]
        self.clips, self.length = self.clips + 1, self.length + count / fps
        self.counted += len(tracks) == sum(bool(_shows(marks, size)) for marks in truth)
        self.strays += sum(wrong > track.present.sum() / 2 for wrong, track in zip(stray, tracks, strict=True))
        if len(seen) > 1:
            self.groups += 1
            self.kept += all(len(owner) == 1 for owner in seen) and len(set.union(*seen)) == len(seen)

    def _owner(
        self, tracks: Sequence[FaceTrack], free: set[int], marks: Marks, t: int, size: tuple[int, int]
    ) -> int | None:
        """The free track that shows a person at a moment; it is taken out of `free`, as are those of faces half out."""
        if not np.isfinite(marks).all():
            return None
        fits = sorted((landmark_error(tracks[i].landmarks[t], marks), i) for i in free)
        if not _mostly_inside(marks, size):
            free.difference_update([i for error, i in fits if error <= PERHAPS_WITHIN])
            return None
        hit = bool(fits) and fits[0][0] < FOUND_WITHIN
        cell = self.by_size.setdefault(_size_name(marks), [0, 0])
        self.faces, self.hits = self.faces + 1, self.hits + hit
        cell[0], cell[1] = cell[0] + hit, cell[1] + 1
        if not hit:
            return None
        self.errors.append(fits[0][0])
        free.remove(fits[0][1])
        return fits[0][1]

    def scores(self) -> dict[str, float]:
        """Shares, means and milliseconds by name."""
        errors = np.array(self.errors or [np.nan])
        found = {
            "frames": self.frames,
            "faces": self.faces,
            "recall": self.hits / max(1, self.faces),
            "false a frame": self.false / max(1, self.frames),
            "error": float(errors.mean()),
            "within 10 %": float(np.mean(errors < 0.1)),
            "ms a frame": 1000 * self.seconds / max(1, self.frames),
            "people counted right": self.counted / max(1, self.clips),
            "false tracks a minute": 60 * self.strays / max(1e-9, self.length),
        }
        if self.groups:
            found |= {"clips of several": self.groups, "identity kept": self.kept / self.groups}
        return found | {f"recall {size}": hits / faces for size, (hits, faces) in sorted(self.by_size.items())}


def _shows(marks: NDArray[np.float32], size: tuple[int, int]) -> bool:
    """Whether a person (T, 68, 2) is to be seen in enough frames to count."""
    frames = sum(bool(np.isfinite(each).all()) and _mostly_inside(each, size) for each in marks)
    return frames >= min(LEAST_SEEN, len(marks))


def _size_name(truth: Marks) -> str:
    size = float(np.prod(truth.max(0) - truth.min(0)) ** 0.5)
    return next((f"under {most:3d} px" for most in SIDES if size < most), f"over  {SIDES[-1]} px")


def _mostly_inside(marks: Marks, size: tuple[int, int]) -> bool:
    height, width = size
    inside = (marks > -0.5).all(1) & (marks[:, 0] < width - 0.5) & (marks[:, 1] < height - 0.5)
    return bool(inside.mean() > 0.8)


def film_frames(path: Path, most: int = 600) -> NDArray[np.uint8]:
    """The frames of a video (T, H, W, 3), at most so many."""

    def decoded() -> Iterator[NDArray[np.uint8]]:
        with av.open(str(path)) as video:
            for i, frame in enumerate(video.decode(video=0)):
                if i == most:
                    return
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)

    return np.stack(list(decoded()))


def measure_on_clips(reader: FaceReader, folder: Path, split: str, dense: bool = False) -> dict[str, float]:
    """Recall, false faces, error, identity and time on synthetic clips, against the landmarks they were made with.

    With `dense` of about ten frames a second.
    """
    tally = FaceTally()
    labels = sorted((folder / "labels").glob(f"*_{split}_*.safetensors"))
    if not labels:
        raise FaceError(f"{folder} has no labels of split {split!r}: name a folder of scripts/make_clips.py")
    for path in labels:
        video = folder / "videos" / f"{path.stem}.mp4"
        fps = probe(video).fps
        step = max(1, round(fps / RATE)) if dense else 1
        clip = film_frames(video)[::step]
        truth = _mesh_landmarks(path)[:, ::step, list(MESH_68)]
        before = (tally.hits, tally.faces, tally.false)
        tracks = _read_timed(reader, clip, tally)
        tally.add_clip(tracks, truth, (clip.shape[1], clip.shape[2]), fps / step)
        hits, faces, false = (
            now - then for now, then in zip((tally.hits, tally.faces, tally.false), before, strict=True)
        )
        if hits < faces or false:
            _log.info("  %s: %d of %d, %d false, %d tracks", path.stem, hits, faces, false, len(tracks))
    return tally.scores()


def _mesh_landmarks(path: Path) -> NDArray[np.float32]:
    """(P people, T, 478, 2) of a label file; drawn faces have other points."""
    marks = load_file(path)["landmarks"].astype(np.float32)
    if marks.shape[2] <= max(MESH_68):
        raise FaceError(f"{path} has {marks.shape[2]} points a face: only clips of animated photos have the mesh's")
    return marks


def measure_on_nothing(reader: FaceReader, each: int, seed: int = 0) -> dict[str, float]:
    """False tracks a minute in synthetic videos without a face, in all and by kind."""
    tallies: dict[str, FaceTally] = {}
    nobody = np.zeros((0, FRAMES, 68, 2), np.float32)
    for kind, video in empty_videos(each, seed):
        tracks = reader.read(video)
        for name in ("all", kind):
            tallies.setdefault(name, FaceTally()).add_clip(tracks, nobody, (HEIGHT, WIDTH), FPS)
    return {f"false a minute, {name}": tally.scores()["false tracks a minute"] for name, tally in tallies.items()}


def measure_beside(reader: FaceReader, teacher: FaceReader, paths: Sequence[Path]) -> dict[str, float]:
    """Agreement with the teacher on videos: its faces are the truth."""
    tally = FaceTally()
    ours: list[NDArray[np.float32]] = []
    theirs: list[NDArray[np.float32]] = []
    for path in paths:
        clip = film_frames(path)
        truths = teacher.read(clip)
        tracks = _read_timed(reader, clip, tally)
        truth = np.full((len(truths), len(clip), 68, 2), np.nan, np.float32)
        for person, track in enumerate(truths):
            truth[person, track.present] = track.landmarks[track.present]
        tally.add_clip(tracks, truth, (clip.shape[1], clip.shape[2]))
        for track in truths:
            for other in tracks:
                near = _moments_together(track, other)
                ours += [other.expression[t] for t in near]
                theirs += [track.expression[t] for t in near]
    scores = tally.scores()
    if len(ours) > 10:
        a, b = np.stack(ours), np.stack(theirs)
        places = {name: reader.expression_names.index(name) for name in VALUES}
        moving = {name: i for name, i in places.items() if a[:, i].std() > 0 and b[:, i].std() > 0}
        scores |= {f"r {name}": _correlation(a[:, i], b[:, i]) for name, i in moving.items()}
    return scores


def _read_timed(reader: FaceReader, clip: NDArray[np.uint8], tally: FaceTally) -> list[FaceTrack]:
    spent, tracks = time_call(lambda: reader.read(clip))
    tally.seconds += spent.clock
    return tracks


def _moments_together(one: FaceTrack, other: FaceTrack) -> list[int]:
    """Frames in which two tracks are of one face."""
    both = np.flatnonzero(one.present & other.present).tolist()
    return [t for t in both if landmark_error(other.landmarks[t], one.landmarks[t]) < FOUND_WITHIN]
