"""Measures a face reader: python scripts/measure_faces.py --photos photos --split test

Tables: landmarks and expression on annotated photos, finding and following on made clips (`--clips`, a folder of
scripts/make_clips.py), agreement with MediaPipe on any videos (`--videos`).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from captioner.data.manifest import SPLITS
from captioner.errors import CaptionerError
from captioner.faces import BACKENDS, FaceReader, FaceTrack, open_reader
from captioner.faces.points import BLENDSHAPES, GEOMETRY, MESH_68, geometry
from captioner.files import write_text
from captioner.synth.photo.photo_set import PhotoSet

SHOWN = (
    "browDown", "browInnerUp", "browOuterUp", "eyeBlink", "eyeWide", "jawOpen", "mouthSmile", "mouthFrown",
    "mouthPress", "mouthPucker", "mouthStretch", "mouthUpperUp", "mouthShrugLower", "mouthRollLower",
    "eyeAspect", "noseWing", "yaw", "pitch",
)  # fmt: skip
FOUND_WITHIN = 0.25  # mean landmark error, in outer eye distances, of a face that counts as found


def error(marks: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Mean distance of 68 points in outer eye distances of the truth; a profile's yardstick is its height."""
    yard = max(float(np.linalg.norm(truth[36] - truth[45])), 0.4 * float(np.ptp(truth[:, 1])), 1e-3)
    return float(np.linalg.norm(marks - truth, axis=1).mean()) / yard


def measure_photos(reader: FaceReader, folder: Path, split: str) -> dict[str, float]:
    """Landmark error and correlations with the teacher on every photo of a split, from whole pictures."""
    photos = PhotoSet(folder)
    rows = np.flatnonzero(photos.table["split"] == SPLITS.index(split))
    errors, ours, theirs, extra = [], [], [], 0
    for row in rows:
        photo = photos.photo(int(row))
        truth = photo.landmarks[list(MESH_68), :2]
        tracks = reader.read(photo.image)
        fits = [(error(track.landmarks[0], truth), track) for track in tracks]
        best = min(fits, key=lambda pair: pair[0], default=(np.inf, None))
        extra += max(0, len(tracks) - 1)
        if best[1] is None or best[0] > FOUND_WITHIN:
            continue
        shapes = [photo.blendshapes[name] for name in BLENDSHAPES]
        yaw, pitch = photos.angles()[row] / 30
        errors.append(best[0])
        ours.append(best[1])
        theirs.append([*shapes, *geometry(truth), yaw, pitch])
    found = {"photos": len(rows), "found": len(errors) / len(rows), "further faces": extra / len(rows)}
    found |= {
        "error": float(np.mean(errors)),
        "median": float(np.median(errors)),
        "p90": float(np.quantile(errors, 0.9)),
    }
    truths = np.array(theirs, np.float32)
    names = (*BLENDSHAPES, *GEOMETRY, "yaw", "pitch")
    for name in SHOWN:
        at = [i for i, n in enumerate(names) if n in (name, f"{name}Left", f"{name}Right")]
        course = np.array([track.value(name)[0] for track in ours])
        found[f"r {name}"] = float(np.corrcoef(course, truths[:, at].mean(1))[0, 1])
    marks = np.stack([track.landmarks[0] for track in ours])
    for name in ("eyeAspect", "noseWing"):  # from the points alone
        at = [i for i, n in enumerate(GEOMETRY) if n.startswith(name)]
        ratio = np.stack(geometry(marks), 1)[:, at].mean(1)
        wanted = truths[:, len(BLENDSHAPES) : len(BLENDSHAPES) + len(GEOMETRY)][:, at].mean(1)
        found[f"r {name} of points"] = float(np.corrcoef(ratio, wanted)[0, 1])
    return found


@dataclass
class _Tally:
    """Counts over clips."""

    frames: int = 0
    faces: int = 0
    hits: int = 0
    false: int = 0
    errors: list[float] = field(default_factory=list)
    pairs: int = 0
    kept: int = 0
    seconds: float = 0.0
    by_size: dict[str, list[int]] = field(default_factory=dict)

    def table(self) -> dict[str, float]:
        found = {"frames": self.frames, "faces": self.faces, "recall": self.hits / max(1, self.faces),
                 "false a frame": self.false / max(1, self.frames), "error": float(np.mean(self.errors or [np.nan])),
                 "within 10 %": float(np.mean(np.array(self.errors or [np.nan]) < 0.1)),
                 "ms a frame": 1000 * self.seconds / max(1, self.frames)}  # fmt: skip
        if self.pairs:
            found |= {"clips of several": self.pairs, "identity kept": self.kept / self.pairs}
        return found | {f"recall {size}": hit / all_ for size, (hit, all_) in sorted(self.by_size.items())}


def _size_name(truth: NDArray[np.float32]) -> str:
    size = float(np.prod(truth.max(0) - truth.min(0)) ** 0.5)
    return next((f"under {most:3d} px" for most in (16, 24, 40, 80, 160) if size < most), "over  160 px")


def compare(tally: _Tally, tracks: list[FaceTrack], truth: NDArray[np.float32], size: tuple[int, int]) -> None:
    """Add a clip: truth (P people, T, 68, 2), not a number where a person is not seen."""
    people, count = truth.shape[:2]
    owners: list[list[int]] = [[] for _ in range(people)]
    tally.frames += count
    for t in range(count):
        free = [i for i, track in enumerate(tracks) if track.present[t]]
        for p in range(people):
            marks = truth[p, t]
            if not np.isfinite(marks).all() or not _mostly_inside(marks, size):
                free = [i for i in free if not np.isfinite(marks).all() or error(tracks[i].landmarks[t], marks) > 0.5]
                continue
            fits = sorted((error(tracks[i].landmarks[t], marks), i) for i in free)
            hit = bool(fits) and fits[0][0] < FOUND_WITHIN
            tally.faces += 1
            tally.hits += hit
            cell = tally.by_size.setdefault(_size_name(marks), [0, 0])
            cell[0] += hit
            cell[1] += 1
            if hit:
                tally.errors.append(fits[0][0])
                owners[p].append(fits[0][1])
                free.remove(fits[0][1])
        tally.false += len(free)
    seen = [set(owner) for owner in owners if owner]
    if len(seen) > 1:
        tally.pairs += 1
        tally.kept += all(len(each) == 1 for each in seen) and len(set.union(*seen)) == len(seen)


def _mostly_inside(marks: NDArray[np.float32], size: tuple[int, int]) -> bool:
    height, width = size
    inside = (marks > -0.5).all(1) & (marks[:, 0] < width - 0.5) & (marks[:, 1] < height - 0.5)
    return bool(inside.mean() > 0.8)


def frames_of(path: Path, most: int = 600) -> NDArray[np.uint8]:
    """The frames of a video (T, H, W, 3), at most so many."""

    def decoded() -> Iterator[NDArray[np.uint8]]:
        with av.open(str(path)) as video:
            for i, frame in enumerate(video.decode(video=0)):
                if i == most:
                    return
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)

    return np.stack(list(decoded()))


def measure_clips(reader: FaceReader, folder: Path, split: str) -> dict[str, float]:
    """Recall, false faces, error, identity and time on made clips, against the landmarks they were made with."""
    tally = _Tally()
    for path in sorted((folder / "labels").glob(f"*_{split}_*.safetensors")):
        clip = frames_of(folder / "videos" / f"{path.stem}.mp4")
        truth = load_file(path)["landmarks"].astype(np.float32)[:, :, list(MESH_68)]
        begun = time.perf_counter()
        tracks = reader.read(clip)
        tally.seconds += time.perf_counter() - begun
        before = (tally.hits, tally.faces, tally.false)
        compare(tally, tracks, truth, (clip.shape[1], clip.shape[2]))
        hits, faces, false = (
            now - then for now, then in zip((tally.hits, tally.faces, tally.false), before, strict=True)
        )
        if hits < faces or false:
            print(f"  {path.stem}: {hits} of {faces}, {false} false, {len(tracks)} tracks", file=sys.stderr)
    return tally.table()


def measure_videos(reader: FaceReader, teacher: FaceReader, paths: list[Path]) -> dict[str, float]:
    """Agreement with the teacher on videos: its faces are the truth."""
    tally, ours, theirs = _Tally(), [], []
    for path in paths:
        clip = frames_of(path)
        truths = teacher.read(clip)
        begun = time.perf_counter()
        tracks = reader.read(clip)
        tally.seconds += time.perf_counter() - begun
        truth = np.full((len(truths), len(clip), 68, 2), np.nan, np.float32)
        for p, track in enumerate(truths):
            truth[p, track.present] = track.landmarks[track.present]
        compare(tally, tracks, truth, (clip.shape[1], clip.shape[2]))
        for track in truths:
            for other in tracks:
                both = track.present & other.present
                near = [t for t in np.flatnonzero(both) if error(other.landmarks[t], track.landmarks[t]) < FOUND_WITHIN]
                ours += [other.expression[t] for t in near]
                theirs += [track.expression[t] for t in near]
    found = tally.table()
    if len(ours) > 10:
        a, b = np.stack(ours), np.stack(theirs)
        for name in SHOWN:
            i = reader.expression_names.index(name)
            if a[:, i].std() > 0 and b[:, i].std() > 0:
                found[f"r {name}"] = float(np.corrcoef(a[:, i], b[:, i])[0, 1])
    return found


def main() -> int:
    """Parse, measure what was given, print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", choices=BACKENDS, default="builtin")
    parser.add_argument("--bundle", type=Path, help="weights of the reader, instead of its own")
    parser.add_argument("--photos", type=Path, help="folder of annotated photos")
    parser.add_argument("--clips", type=Path, help="folder of made clips with labels")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="videos to compare with MediaPipe on")
    parser.add_argument("--teacher", type=Path, help="MediaPipe's bundle; default: fetched once")
    parser.add_argument("--split", choices=SPLITS, default="val")
    parser.add_argument("--json", type=Path, help="file the tables are added to")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reader = open_reader(args.reader, bundle=args.bundle)
    tables = {}
    if args.photos:
        tables[f"photos, {args.split}"] = measure_photos(reader, args.photos, args.split)
    if args.clips:
        tables[f"made clips, {args.split}"] = measure_clips(reader, args.clips, args.split)
    if args.videos:
        tables["videos"] = measure_videos(reader, open_reader("mediapipe", bundle=args.teacher), args.videos)
    for title, table in tables.items():
        print(title, *(f"  {name:22s} {value:8.4f}" for name, value in table.items()), sep="\n")
    if args.json:
        before = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else {}
        rounded = {title: {k: round(v, 4) for k, v in table.items()} for title, table in tables.items()}
        write_text(args.json, json.dumps(before | rounded, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CaptionerError as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
