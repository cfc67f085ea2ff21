"""Does a captioner say what is true? Its claims against what synthetic clips are known to show, and against photos.

Clips are captioned as a user's videos are. A person of a clip is the one whom its captions describe.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.data.manifest import Record
from captioner.inference.claims import Claim, find_claims, find_faults
from captioner.inference.predictor import Captioner
from captioner.inference.results import Caption
from captioner.synth.photo.photo_set import PhotoSet
from captioner.video.reading import read_clip
from eval.report import validation_scores

SIDES = {"turns_left": "turns_right", "looks_left": "looks_right"}
SIDES |= {right: left for left, right in SIDES.items()}
MOTION = frozenset((
    "nods", "shakes_head", "turns_left", "turns_right", "tilts_head", "lowers_head", "raises_head", "trembles",
    "leans_in", "moves_away", "enters", "leaves", "talks", "shouts", "laughs", "looks_around", "blinks", "talks_to",
    "listens", "turns_to",
))  # fmt: skip
# A landmarker's value up to which a photo does not show a phrase, and from which on it does.
PHOTO_TRUTH: Mapping[str, tuple[str, float, float]] = {
    "smile": ("mouthSmile", 0.2, 0.55), "frown": ("browDown", 0.12, 0.5),
}  # fmt: skip


class Tally:
    """Things said and things true, counted."""

    def __init__(self) -> None:
        self.hits = self.said = self.true = 0

    def add(self, said: set[str], true: set[str]) -> None:
        """One more caption."""
        self.hits += len(said & true)
        self.said += len(said)
        self.true += len(true)

    def scores(self, name: str) -> dict[str, float]:
        """Precision, recall and F1."""
        return {
            f"{name} precision": self.hits / max(self.said, 1), f"{name} recall": self.hits / max(self.true, 1),
            f"{name} F1": 2 * self.hits / max(self.said + self.true, 1),
        }  # fmt: skip


def names_said(claims: Iterable[Claim], kind: str, true: Collection[str] = ()) -> set[str]:
    """The names claimed of a kind; of words that do not tell which, a true one, if any is."""
    return {next((name for name in sorted(claim.names) if name in true), claim.name) for claim in claims
            if claim.kind == kind}  # fmt: skip


def measure_told(captioner: Captioner, records: Sequence[Record], style: str, mirror: bool) -> dict[str, float]:
    """Scores of the captions of synthetic clips; mirror: also of how sides change with the picture's."""
    phrases, actions, texts = Tally(), Tally(), dict[str, str]()
    counted = named = right = faults = felt = 0
    sides = [0, 0]
    sure: list[tuple[float, bool]] = []
    for record in records:
        caption = captioner.caption(str(record.video), style=style)
        texts[record.id] = caption.text
        claims = find_claims(caption.text)
        shown, done = set(record.extra["phrases"]), set(record.extra["actions"])
        phrases.add(names_said(claims, "phrase", shown), shown)
        actions.add(names_said(claims, "action", done), done)
        looks = record.extra["looks"]
        counted += caption.faces == len(looks)
        said = names_said(claims, "gender")
        if len(said) == 1 and looks[0]["gender"] != "person":
            named += 1
            right += said == {looks[0]["gender"]}
        faults += bool(find_faults(caption.text, {}))
        feeling = names_said(claims, "feeling")
        felt += bool(feeling) and max(caption.emotion, key=caption.emotion.__getitem__) not in feeling
        if caption.confidence is not None:
            sure.append((caption.confidence, _holds(claims, shown, done, looks)))
        if mirror:
            _add_sides(sides, claims, find_claims(captioner.caption(mirrored(record), fps=record.fps or 8).text))
    count = max(len(records), 1)
    scores = {**phrases.scores("phrases"), **actions.scores("actions"), "people counted": counted / count,
              "named": named / count, "named right": right / max(named, 1), "captions with faults": faults / count,
              "feelings beside the belief": felt / count}  # fmt: skip
    if sure:
        chances, truth = (np.array(column, float) for column in zip(*sure, strict=True))
        scores |= {"confidence ECE": gap(chances, truth), "all claims hold": float(truth.mean())}
    if mirror and sides[1]:
        scores |= {"sides that swap": sides[0] / sides[1], "sides named": float(sides[1])}
    return scores | (_against_references(records, texts) if style != "plain" else {})


def _holds(claims: Sequence[Claim], shown: set[str], done: set[str], looks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all that a caption claims of face, actions and person is true."""
    genders = names_said(claims, "gender") - {looks[0]["gender"]} if looks[0]["gender"] != "person" else set()
    return (
        names_said(claims, "phrase", shown) <= shown and names_said(claims, "action", done) <= done and not genders
    )


def _add_sides(sides: list[int], claims: Sequence[Claim], other: Sequence[Claim]) -> None:
    """Count sides named of a clip, and those that its mirror image's caption names the other way."""
    here = {name for name in names_said(claims, "action") if name in SIDES}
    there = names_said(other, "action")
    for name in here:
        if name in there or SIDES[name] in there:  # said of both
            sides[1] += 1
            sides[0] += SIDES[name] in there


def mirrored(record: Record) -> NDArray[np.uint8]:
    """The frames of a clip, left and right exchanged."""
    clip = read_clip(record.video, record.n_frames or 24)
    return np.ascontiguousarray(clip.frames[:, :, ::-1])


def _against_references(records: Sequence[Record], texts: Mapping[str, str]) -> dict[str, float]:
    references = {record.id: record.captions for record in records}
    return {name: float(value) for name, value in validation_scores(references, texts).items()}


def gap(chances: NDArray[np.float64], truth: NDArray[np.float64], bins: int = 10) -> float:
    """Expected calibration error over even bins."""
    place = np.minimum((chances * bins).astype(int), bins - 1)
    gaps = [abs(chances[place == b].mean() - truth[place == b].mean()) * (place == b).mean() for b in np.unique(place)]
    return float(sum(gaps))


def measure_photos(captioner: Captioner, folder: Path, split: int, count: int) -> dict[str, float]:
    """Photos captioned as clips that stand still: motion said; smiles and lowered brows, as a landmarker sees them."""
    photos = PhotoSet(folder)
    rows = np.flatnonzero(np.asarray(photos.table["split"]) == split)
    rows = np.random.default_rng(0).permutation(rows)[:count]
    scores = {"photos": float(len(rows)), "with words of motion": 0.0, "without a face": 0.0}
    for name in PHOTO_TRUTH:
        scores |= {f"{name} there": 0.0, f"{name} said": 0.0, f"{name} not there": 0.0, f"{name} said falsely": 0.0}
    for row in rows.tolist():
        image = photos.photo(row).image
        image = image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)
        caption = captioner.caption(np.repeat(image[None], 20, 0), fps=10)
        claims = find_claims(caption.text)
        scores["with words of motion"] += any(not claim.names.isdisjoint(MOTION) for claim in claims)
        scores["without a face"] += not caption.faces
        _add_photo(scores, photos, row, caption, names_said(claims, "phrase"))
    return scores


def _add_photo(scores: dict[str, float], photos: PhotoSet, row: int, caption: Caption, said: set[str]) -> None:
    for name, (shape, least, most) in PHOTO_TRUTH.items():
        value = float(np.mean([photos.blendshape(f"{shape}{side}")[row] for side in ("Left", "Right")]))
        if value > most:
            scores[f"{name} there"] += 1
            scores[f"{name} said"] += name in said
        elif value < least:
            scores[f"{name} not there"] += 1
            scores[f"{name} said falsely"] += name in said
