"""Teaching the judges of facial phrases: synthetic clips, whose phrases are known, and real stills with weak labels.

All are read as a user's videos are (data/measured.py); what was read is kept, so that a second run fits in a minute.
Axes: N faces, S numbers, P phrases.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from captioner.config import ExpertsConfig
from captioner.data.manifest import Record, read_manifest
from captioner.data.measured import NumbersReader, kept_numbers
from captioner.errors import ConfigError
from captioner.faces.crops import MARGIN
from captioner.faces.shown import ASPECTS, shown_names, still_numbers
from captioner.files import atomic
from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.lexicon.phrases import PHRASES
from captioner.model.phrase_judge import PhraseJudge, save_phrase_judge
from captioner.synth.photo.photo_set import PhotoSet
from captioner.train.experts.phrase_card import draw_reliability, phrase_card
from captioner.train.experts.portraits import majority, read_ferplus
from captioner.train.experts.weak_phrases import (
    MEASURED,
    MEASURED_PORTRAIT,
    add_landmarker,
    habits_of,
    labels_by_votes,
)
from captioner.train.fitting import FitConfig, fit

log = logging.getLogger(__name__)

NEAR = 0.15  # of the picture, between where a clip's label and the reader see the main person
CLEAR, CLEAR_NEUTRAL = 7, 8  # votes of ten from which on a face of FER+ judges


@dataclass(frozen=True)
class PhraseRecipe:
    """Keys of configs/phrases.yaml."""

    recipe: Literal["phrases"] = "phrases"
    out: str = "captioner/weights/phrases"
    work: str = "runs/phrases"
    """Where what the reader saw of the stills is kept."""
    clips: str = "data/default"
    """A folder of scripts/make_clips.py."""
    cache: str = "data/default/cache"
    """Where what the reader saw of the clips is kept: the captioner's data.cache, so that it reads them once."""
    ferplus: str = "data/ferplus"
    faces: str = "data/faces"
    voted: int = 4500
    """Faces of FER+ that teach, rare emotions oftener than they are."""
    portraits: int = 2200
    epochs: int = 40
    lr: float = 3e-3
    noise: float = 0.3
    """Of the numbers in training, in standard deviations."""
    stilled: float = 0.5
    """Weight of each clip as if it showed its best frames all the time: people also smile from first to last."""
    voted_weight: float = 0.3
    portrait_weight: float = 0.8
    portrait_brows: float = 0.5
    """Of that for raised brows, which a landmarker sees in twice as many calm faces as people do."""
    seed: int = 0


@dataclass(frozen=True)
class Faces:
    """Numbers (N, S) of faces, labels (N, P) of their phrases (not a number: nobody can say), emotions (N,) or -1."""

    shown: Tensor
    labels: Tensor
    emotions: Tensor

    def __len__(self) -> int:
        return len(self.shown)


def train_phrase_judge(recipe: PhraseRecipe) -> dict[str, float]:
    """Fit and save the judges; returns what they score on people who taught nothing."""
    torch.manual_seed(recipe.seed)
    reader = NumbersReader(ExpertsConfig(margin=MARGIN))
    clips = {split: read_clips(recipe, reader, split) for split in ("train", "test")}
    work = Path(recipe.work)
    voted = {split: read_voted(recipe, reader, split, work) for split in (0, 1)}
    portraits = {split: read_faces_of(recipe, reader, split, work) for split in (0, 1)}
    judge = PhraseJudge(reader.values)
    judge.mean.copy_(clips["train"].shown.mean(0))
    judge.std.copy_(clips["train"].shown.std(0).clamp(min=0.02))
    fit_judge(judge, clips["train"], voted[0], portraits[0], recipe)
    faces = voted[0].emotions >= 0
    with torch.inference_mode():
        habits = habits_of(judge(voted[0].shown[faces]), voted[0].emotions[faces], judge.names)
    judge.habits.copy_(habits)
    scores, table = score_phrases(judge, clips["test"], voted[1])
    with torch.inference_mode():
        draw_reliability(Path(recipe.out), reliability_of(judge, voted[1]))
    counts = {"clips": len(clips["train"]), "voted": len(voted[0]), "portraits": len(portraits[0])}
    save_phrase_judge(judge, Path(recipe.out), phrase_card(judge, counts, scores, table))
    return scores


def fit_judge(judge: PhraseJudge, clips: Faces, voted: Faces, portraits: Faces, recipe: PhraseRecipe) -> None:
    """Teach with clips, clips as stills, and real stills, each with its weight; labels may be chances, or lack."""
    best = clips.shown[:, : clips.shown.shape[1] // len(ASPECTS)]
    sources = [
        (clips.shown, clips.labels, 1.0),
        (torch.from_numpy(still_numbers(best.numpy())), clips.labels, recipe.stilled),
        (voted.shown, voted.labels, recipe.voted_weight),
        (portraits.shown, portraits.labels, recipe.portrait_weight),
    ]
    inputs = torch.cat([judge.standard(shown) for shown, _, _ in sources])
    labels = torch.cat([given for _, given, _ in sources])
    weights = torch.cat([torch.full((len(shown), 1), weight) for shown, _, weight in sources])
    known, labels = weights * ~labels.isnan(), labels.nan_to_num()
    known[len(inputs) - len(portraits) :, judge.names.index("raised_brows")] *= recipe.portrait_brows

    def loss_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
        assert isinstance(net, PhraseJudge)
        given = inputs[rows] + recipe.noise * torch.randn(inputs[rows].shape, generator=random)
        each = F.binary_cross_entropy_with_logits(net.judge(given), labels[rows], reduction="none")
        return (each * known[rows]).sum() / weights[rows].sum()

    fit(judge, FitConfig(
        None, recipe.epochs, len(inputs), batch=256, lr=recipe.lr, weight_decay=0.3, average=0.0, half=False,
        seed=recipe.seed,
    ), loss_of)  # fmt: skip
    judge.eval()


# -- who teaches and who judges -----------------------------------------------------------------------------------


def read_clips(recipe: PhraseRecipe, reader: NumbersReader, split: str) -> Faces:
    """The main persons of the clips of a split as the reader saw them."""
    manifest = Path(recipe.clips) / "manifest.jsonl"
    records = [record for record in read_manifest(manifest, split=split) if "phrases" in record.extra]
    if not records:
        raise ConfigError(f"{manifest} tells no phrases of split {split}: give clips of scripts/make_clips.py")
    part, shown, said = reader.part(recipe.cache), [], []
    for record in records:
        numbers = kept_numbers(record.video, part, reader)
        person = main_person(record, numbers.middle)
        if person is not None:
            shown.append(numbers.shown[person])
            said.append([float(name in record.extra["phrases"]) for name in PHRASES])
    return Faces(torch.stack(shown), torch.tensor(said), torch.full((len(said),), -1))


def main_person(record: Record, middle: Tensor) -> int | None:
    """Which of the followed people (N, 2) a clip's captions describe; None where the reader sees somebody else."""
    boxes = np.array([box for box in record.extra.get("boxes", ()) if box is not None], np.float32)
    if not len(middle) or not len(boxes):
        return None
    wanted = ((boxes[:, :2] + boxes[:, 2:]) / 2 / np.array(record.extra["size"])).mean(0)
    apart = (middle - torch.from_numpy(wanted.astype(np.float32))).abs().amax(1)
    return int(apart.argmin()) if float(apart.min()) < NEAR else None


def read_voted(recipe: PhraseRecipe, reader: NumbersReader, split: int, work: Path) -> Faces:
    """Faces of FER+: some of its training part, rare emotions oftener; or the clear ones of its validation part."""
    pictures, votes = read_ferplus(recipe.ferplus, split)
    emotions = majority(votes)
    if split:
        top = votes.amax(1)
        rows = torch.nonzero((emotions >= 0) & (top >= torch.where(emotions == 0, CLEAR_NEUTRAL, CLEAR)))[:, 0].tolist()
    else:
        chances = (torch.bincount(emotions[emotions >= 0], minlength=8).clamp(min=1) ** -0.6)[emotions]
        chances[emotions < 0] = 0
        random = torch.Generator().manual_seed(recipe.seed)
        count = min(recipe.voted, int((chances > 0).sum()))
        rows = torch.multinomial(chances, count, generator=random).tolist()
    grey = (pictures.pixels[row].numpy() for row in rows)
    shown, found = read_stills((enlarged(one) for one in grey), rows, reader, work / f"voted-{split}.safetensors")
    labels = labels_by_votes(pictures.shares[found])
    shapes, names = pictures.blendshapes[found], _shape_names(recipe.ferplus)
    add_landmarker(labels, shapes, names, shapes[:, 0] >= 0, MEASURED)
    return Faces(shown, labels, emotions[found])


def enlarged(picture: NDArray[np.uint8], side: int = 96) -> NDArray[np.uint8]:
    """A small grey picture (H, W) in colour (side, side, 3)."""
    return np.asarray(Image.fromarray(picture).convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def _shape_names(folder: str) -> list[str]:
    with np.load(Path(folder) / "annotations.npz") as notes:
        return [name.decode() if isinstance(name, bytes) else str(name) for name in notes["blendshape_names"]]


def read_faces_of(recipe: PhraseRecipe, reader: NumbersReader, split: int, work: Path) -> Faces:
    """Portraits, labelled by the landmarker's blendshapes."""
    photos = PhotoSet(recipe.faces)
    rows = np.flatnonzero(np.asarray(photos.table["split"]) == split)
    random = np.random.default_rng(recipe.seed)
    chosen = random.permutation(rows)[: recipe.portraits].tolist()
    pictures = (_coloured(photos.photo(row).image) for row in chosen)
    shown, found = read_stills(pictures, chosen, reader, work / f"portraits-{split}.safetensors")
    shapes = torch.from_numpy(np.asarray(photos.table["blendshapes"][found], np.float32))
    labels = torch.full((len(found), len(PHRASES)), torch.nan)
    known = torch.ones(len(found), dtype=torch.bool)
    add_landmarker(labels, shapes, photos.blendshape_names, known, MEASURED_PORTRAIT)
    return Faces(shown, labels, torch.full((len(found),), -1))


def _coloured(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)


def read_stills(
    pictures: Iterator[NDArray[np.uint8]], rows: Sequence[int], reader: NumbersReader, kept: Path
) -> tuple[Tensor, list[int]]:
    """Numbers (N, S) of the most dominant face of each picture that shows one, and which rows those are."""
    wanted = torch.tensor(list(rows))
    if kept.is_file():
        found = load_file(kept)
        if torch.equal(found["asked"], wanted) and found["shown"].shape[1] == len(shown_names(reader.values)):
            return found["shown"], found["rows"].tolist()
    shown, seen = [], []
    for row, picture in zip(rows, pictures, strict=True):
        numbers = reader.read(np.ascontiguousarray(picture)[None])
        if len(numbers):
            shown.append(numbers.shown[0])
            seen.append(row)
    tensors = {"asked": wanted, "rows": torch.tensor(seen), "shown": torch.stack(shown)}
    kept.parent.mkdir(parents=True, exist_ok=True)
    with atomic(kept) as temporary:
        save_file(tensors, temporary)
    return tensors["shown"], seen


# -- what came of it ----------------------------------------------------------------------------------------------

# Of clear faces: which emotions show a phrase that an annotator would say of them.
_TRUTH = {
    "frown": ("anger", "disgust", "sadness", "fear"), "smile": ("happiness",), "raised_brows": ("surprise",),
    "wide_eyes": ("surprise", "fear"),
}  # fmt: skip


@torch.inference_mode()
def score_phrases(judge: PhraseJudge, clips: Faces, clear: Faces) -> tuple[dict[str, float], list[str]]:
    """On clips of unseen persons F1, precision and recall at .5; on clear faces of FER+ AUC and calibration."""
    said, true = judge(clips.shown) > 0, clips.labels > 0.5
    hits = float((said & true).sum())
    scores = {
        "F1": 2 * hits / max(float(said.sum() + true.sum()), 1), "precision": hits / max(float(said.sum()), 1),
        "recall": hits / max(float(true.sum()), 1), "clips": float(len(clips)), "stills": float(len(clear)),
    }  # fmt: skip
    logits, lines = judge(clear.shown), []
    for name, emotions in _TRUTH.items():
        places = torch.tensor([FERPLUS_LABELS.index(each) for each in emotions])
        there, values = torch.isin(clear.emotions, places), logits[:, judge.names.index(name)]
        scores[f"{name} AUC"] = ranked(values[there], values[~there])
        scores[f"{name} ECE"] = calibration_error_of(values.sigmoid(), clear.labels[:, judge.names.index(name)])
    for place, name in enumerate(judge.names):
        count, hit, claims = int(true[:, place].sum()), int((said & true)[:, place].sum()), int(said[:, place].sum())
        lines.append(f"| {name} | {count} | {_share(hit, claims)} | {_share(hit, count)} |")
    return scores, lines


def ranked(positive: Tensor, negative: Tensor) -> float:
    """Area under the ROC curve."""
    below = torch.searchsorted(negative.sort().values.contiguous(), positive.contiguous())
    return float(below.double().mean() / max(len(negative), 1))


def reliability(chances: Tensor, truth: Tensor, bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean chance, mean truth and number of the faces in each bin of chances (N,); truth may lack."""
    place = (chances * bins).long().clamp(max=bins - 1)
    groups = [(place == number) & ~truth.isnan() for number in range(bins)]
    return [(float(chances[here].mean()), float(truth[here].mean()), int(here.sum())) for here in groups if here.any()]


def calibration_error_of(chances: Tensor, truth: Tensor) -> float:
    """Mean distance between what is said and what holds, over bins of chances (N,), weighed by their faces."""
    points = reliability(chances, truth)
    return sum(count * abs(said - held) for said, held, count in points) / max(sum(point[2] for point in points), 1)


def reliability_of(judge: PhraseJudge, faces: Faces) -> dict[str, list[tuple[float, float, int]]]:
    """By phrase, as far as the labels of these faces know it."""
    chances = judge(faces.shown).sigmoid()
    return {name: reliability(chances[:, place], faces.labels[:, place]) for place, name in enumerate(judge.names)}


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "-"
