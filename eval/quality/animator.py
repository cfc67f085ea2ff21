"""Does an animated photo show what it is told? Photos are animated and read by an independent reader (MediaPipe)."""

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from captioner.synth.actor import FacePlace
from captioner.synth.identity import State
from captioner.synth.photo.basis import load_basis
from captioner.synth.photo.photo_set import Photo, PhotoError, PhotoSet, check_eyes
from captioner.synth.photo.puppet import Puppet
from captioner.synth.teacher import RESPONDS, FaceTeacher, TeacherReading, rise
from eval.tables import render_table

_log = logging.getLogger(__name__)

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
class ResponseTally:
    """What was read of one case: rises at full intensity, rank correlations over the ramp."""

    rises: list[float] = field(default_factory=list)
    ranks: list[float] = field(default_factory=list)
    lost: int = 0


def usable_photos(photos: PhotoSet, rows: NDArray[np.int64]) -> list[Photo]:
    """The photos of rows that the clip maker would take too."""
    chosen = []
    for row in rows.tolist():
        photo = photos.photo(row)
        try:
            check_eyes(photo)
        except PhotoError as error:
            _log.warning("passed over: %s", error)
            continue
        chosen.append(photo)
    return chosen


def measure_responses(photos: list[Photo], teacher: FaceTeacher, ramps: int) -> dict[str, ResponseTally]:
    """Tallies of all cases over photos; ramps on the first `ramps` of them."""
    tallies = {name: ResponseTally() for name in CASES}
    for count, photo in enumerate(photos):
        puppet = Puppet(photo, load_basis())
        rest = teacher.read(film_puppet(puppet, State()))
        for name, (aus, read) in CASES.items():
            tally = tallies[name]
            now = teacher.read(film_puppet(puppet, State(dict.fromkeys(aus, 1.0)))) if rest else None
            if rest is None or now is None:
                tally.lost += 1
                continue
            tally.rises.append(rise(read, rest, now))
            if count < ramps:
                tally.ranks.append(ramp_rank(puppet, teacher, rest, aus, read))
    return tallies


def ramp_rank(puppet: Puppet, teacher: FaceTeacher, rest: TeacherReading, aus: tuple[int, ...], read: int) -> float:
    """Rank correlation of commanded and measured intensity over a ramp; 0 where nothing is measured."""
    measured = []
    for value in RAMP:
        now = teacher.read(film_puppet(puppet, State(dict.fromkeys(aus, value))))
        measured.append(rise(read, rest, now) if now else 0.0)
    return float(np.nan_to_num(spearmanr(RAMP, measured).statistic))


def film_puppet(puppet: Puppet, state: State) -> NDArray[np.uint8]:
    """One frame uint8 (224, 224, 3) of a puppet before a grey wall."""
    picture = np.full((SIZE, SIZE, 3), 110, np.float32)
    puppet.draw(picture, state, FacePlace(SIZE / 2, 0.5 * SIZE, 0.7 * SIZE))
    return picture.clip(0, 255).astype(np.uint8)


def response_table(tallies: dict[str, ResponseTally]) -> str:
    """The results in Markdown."""
    header = ["commanded", "photos", "mean rise", "10th percentile", "respond", "rank correlation: mean", "median"]
    return render_table(header, [_response_row(name, tally) for name, tally in tallies.items()])


def _response_row(name: str, tally: ResponseTally) -> list[str]:
    if not tally.rises:
        return [name, "0", *["-"] * 5]
    share = np.mean([value >= RESPONDS[CASES[name][1]] for value in tally.rises])
    ranks = [f"{np.mean(tally.ranks):.2f}", f"{np.median(tally.ranks):.2f}"] if tally.ranks else ["-", "-"]
    low = np.percentile(tally.rises, 10)
    return [name, str(len(tally.rises)), f"{np.mean(tally.rises):.3f}", f"{low:.3f}", f"{share:.0%}", *ranks]
