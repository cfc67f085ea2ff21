"""Does an animated photo show what it is told? python scripts/measure_animator.py --faces DIR --bundle FILE

Animates photos of a split and reads them with an independent reader (MediaPipe). Prints, for each action unit, the mean
rise of its reading at full intensity over rest, the share of photos that respond, and over a ramp from rest to the apex
and back the rank correlation (Spearman) of commanded and measured intensity.
"""

import argparse
import sys
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from captioner.data.manifest import SPLITS
from captioner.errors import CaptionerError
from captioner.synth.actor import FacePlace
from captioner.synth.identity import State
from captioner.synth.photo.basis import load_basis
from captioner.synth.photo.photo_set import Photo, PhotoError, PhotoSet, check_eyes
from captioner.synth.photo.puppet import Puppet
from captioner.synth.teacher import RESPONDS, Teacher, TeacherReading, rise

SIZE = 224
RAMP = (0.12, 0.3, 0.5, 0.7, 0.85, 1.0, 0.9, 0.75, 0.6, 0.4, 0.2, 0.05)
# What is commanded together, and by which AU it is read: people do not part their jaws with closed lips.
CASES: dict[str, tuple[tuple[int, ...], int]] = {
    "1+2 brows raised": ((1, 2), 2), "1 inner brows": ((1,), 1), "4 frown": ((4,), 4), "5 eyes wide": ((5,), 5),
    "6 cheeks": ((6,), 6), "7 lids tight": ((7,), 7), "9 nose wrinkled": ((9,), 9), "10 upper lip": ((10,), 10),
    "12 smile": ((12,), 12), "14 dimples": ((14,), 14), "15 corners down": ((15,), 15), "17 chin": ((17,), 17),
    "18 pucker": ((18,), 18), "20 stretched": ((20,), 20), "23 tight lips": ((23,), 23), "24 pressed": ((24,), 24),
    "25 lips part": ((25,), 25), "26 jaw": ((25, 26), 26), "27 mouth wide": ((25, 27), 27), "43 eyes shut": ((43,), 43),
}  # fmt: skip


@dataclass
class Tally:
    """What was read of one case: rises at full intensity, rank correlations over the ramp."""

    rises: list[float] = field(default_factory=list)
    ranks: list[float] = field(default_factory=list)
    lost: int = 0


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", required=True, help="folder with annotations.npz")
    parser.add_argument("--bundle", required=True, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--photos", type=int, default=60, help="how many photos (default: %(default)s)")
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument(
        "--ramps", type=int, default=10, help="on how many of them ramps are read (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        photos, teacher = PhotoSet(args.faces), Teacher(args.bundle)
        rows = photos.rows(args.split)
        chosen = usable(photos, np.random.default_rng(args.seed).permutation(rows))[: args.photos]
        tallies = measure(chosen, teacher, args.ramps)
        teacher.close()
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(tallies))
    return 0


def usable(photos: PhotoSet, rows: NDArray[np.int64]) -> list[Photo]:
    """The photos of rows that the clip maker would take too."""
    chosen = []
    for row in rows.tolist():
        photo = photos.photo(row)
        try:
            check_eyes(photo)
        except PhotoError as error:
            print(f"passed over: {error}", file=sys.stderr)
            continue
        chosen.append(photo)
    return chosen


def measure(photos: list[Photo], teacher: Teacher, ramps: int) -> dict[str, Tally]:
    """Tallies of all cases over photos; ramps on the first `ramps` of them."""
    tallies = {name: Tally() for name in CASES}
    for count, photo in enumerate(photos):
        puppet = Puppet(photo, load_basis())
        rest = teacher.read(film(puppet, State()))
        for name, (aus, read) in CASES.items():
            tally = tallies[name]
            now = teacher.read(film(puppet, State(dict.fromkeys(aus, 1.0)))) if rest else None
            if rest is None or now is None:
                tally.lost += 1
                continue
            tally.rises.append(rise(read, rest, now))
            if count < ramps:
                tally.ranks.append(rank(puppet, teacher, rest, aus, read))
    return tallies


def rank(puppet: Puppet, teacher: Teacher, rest: TeacherReading, aus: tuple[int, ...], read: int) -> float:
    """Rank correlation of commanded and measured intensity over a ramp; 0 where nothing is measured."""
    measured = []
    for value in RAMP:
        now = teacher.read(film(puppet, State(dict.fromkeys(aus, value))))
        measured.append(rise(read, rest, now) if now else 0.0)
    return float(np.nan_to_num(spearmanr(RAMP, measured).statistic))


def film(puppet: Puppet, state: State) -> NDArray[np.uint8]:
    """One frame uint8 (224, 224, 3) of a puppet before a grey wall."""
    picture = np.full((SIZE, SIZE, 3), 110, np.float32)
    puppet.draw(picture, state, FacePlace(SIZE / 2, 0.5 * SIZE, 0.7 * SIZE))
    return picture.clip(0, 255).astype(np.uint8)


def table(tallies: dict[str, Tally]) -> str:
    """The results in markdown."""
    lines = [
        "| commanded | photos | mean rise | 10th percentile | respond | rank correlation: mean | median |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, tally in tallies.items():
        if not tally.rises:
            lines.append(f"| {name} | 0 | - | - | - | - | - |")
            continue
        share = np.mean([value >= RESPONDS[CASES[name][1]] for value in tally.rises])
        ranks = f"{np.mean(tally.ranks):.2f} | {np.median(tally.ranks):.2f}" if tally.ranks else "- | -"
        low = np.percentile(tally.rises, 10)
        lines.append(
            f"| {name} | {len(tally.rises)} | {np.mean(tally.rises):.3f} | {low:.3f} | {share:.0%} | {ranks} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
