"""Teaching the judge of actions: stories of the synthetic clips, never filmed, and people whom the reader followed.

A story says exactly how its people move; what a face reader makes of that is imitated, so that thousands of stories
cost a minute. Synthetic clips that were filmed and read join them, each source in its own standard scores.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.data.face_readings import DenseReader
from captioner.data.manifest import Record, read_manifest
from captioner.errors import ConfigError
from captioner.faces.movement import MOTION_NAMES, Curve, Movements, motion_numbers, movements_of
from captioner.lexicon.actions import ACTIONS
from captioner.model.action_judge import ActionJudge, save_action_judge
from captioner.synth.story.camera import through_camera
from captioner.synth.story.plot import PHOTO_AUS, SHUT
from captioner.synth.story.tale import Story, StorySettings, sample_story
from captioner.train.fitting import FitConfig, fit

log = logging.getLogger(__name__)

# What the built-in reader makes of true values: slope, spread of its offset between people, spread within a clip and
# from frame to frame (autocorrelation). Measured on 542 synthetic clips against their labels.
_READER: dict[str, tuple[float, float, float, float]] = {
    "yaw": (0.62, 0.2, 0.037, 0.57), "pitch": (0.68, 0.2, 0.041, 0.66), "roll": (0.97, 0.15, 0.022, 0.64),
    "gaze_x": (0.30, 0.25, 0.1, 0.54), "gaze_y": (-0.12, 0.22, 0.12, 0.5), "blink": (0.33, 0.05, 0.046, 0.47),
    "mouth": (0.96, 0.06, 0.05, 0.6), "smile": (0.62, 0.12, 0.054, 0.65),
}  # fmt: skip
_OFFSETS = {"blink": 0.13, "mouth": 0.06, "smile": 0.07, "gaze_y": 0.11, "pitch": 0.074}
_BOX_NOISE, _LOST = 0.012, 0.02  # of a face's height; share of frames in which a face is lost
_WIDTH, _LEAST_SHOWN = 0.78, 0.62  # of a face's height; share of its width from which on a reader finds it


@dataclass(frozen=True)
class ActionRecipe:
    """Keys of configs/actions.yaml."""

    recipe: Literal["actions"] = "actions"
    out: str = "captioner/weights/actions"
    work: str = "runs/actions"
    """Where what the reader saw of the clips is kept."""
    clips: str = "data/clips"
    """A folder of scripts/make_clips.py; "": stories alone."""
    stories: int = 12000
    epochs: int = 14
    lr: float = 4e-3
    read: int = 64
    """People of filmed clips in a batch, beside 128 of stories."""
    held: float = 0.2
    """Share of the filmed persons who judge, and teach nothing."""
    seed: int = 0


@dataclass(frozen=True)
class Moved:
    """People who move: numbers (N, F), what they do (N, A), and whose they are."""

    numbers: Tensor
    done: Tensor
    persons: tuple[str, ...]

    def take(self, rows: Sequence[int]) -> "Moved":
        """These rows."""
        return Moved(self.numbers[list(rows)], self.done[list(rows)], tuple(self.persons[row] for row in rows))


def train_action_judge(recipe: ActionRecipe) -> dict[str, float]:
    """Fit and save the judge; returns what it scores on filmed persons who taught nothing."""
    torch.manual_seed(recipe.seed)
    told = told_movements(recipe.stories, recipe.seed)
    judge = ActionJudge(dropout=0.25)
    read = read_movements(Path(recipe.clips), Path(recipe.work)) if recipe.clips else None
    further = told.take(range(0, len(told.done), 10))
    learned, judged = _split(read, recipe.held, recipe.seed) if read else (None, further)
    standard = _standard(told.numbers)
    real = _standard(learned.numbers) if learned else standard

    def loss_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
        assert isinstance(net, ActionJudge)
        inputs, wanted = standard[rows], told.done[rows]
        if learned:
            drawn = torch.randint(len(real), (recipe.read,), generator=random)
            inputs, wanted = torch.cat([inputs, real[drawn]]), torch.cat([wanted, learned.done[drawn]])
        noise = 0.15 * torch.randn(inputs.shape, generator=random)
        return F.binary_cross_entropy_with_logits(net.judge(inputs + noise), wanted)

    config = FitConfig(None, recipe.epochs, len(standard), lr=recipe.lr, average=0.0, half=False, seed=recipe.seed)
    fit(judge, config, loss_of)
    source = learned.numbers if learned else told.numbers  # what it will look at is read, not told
    judge.mean.copy_(source.mean(0))
    judge.std.copy_(source.std(0).clamp(min=0.02))
    scores, table = score_actions(judge, judged)
    save_action_judge(judge, Path(recipe.out), _card(recipe, told, learned, judged, scores, table))
    return scores


def _standard(numbers: Tensor) -> Tensor:
    return ((numbers - numbers.mean(0)) / numbers.std(0).clamp(min=0.02)).clamp(-6, 6)


def _split(read: Moved, held: float, seed: int) -> tuple[Moved, Moved]:
    """By person: who teaches, who judges."""
    names = sorted(set(read.persons))
    order = np.random.default_rng(seed).permutation(len(names))
    judges = {names[place] for place in order[: round(held * len(names))]}
    rows = range(len(read.persons))
    return (
        read.take([row for row in rows if read.persons[row] not in judges]),
        read.take([row for row in rows if read.persons[row] in judges]),
    )


# -- stories that nobody filmed ----------------------------------------------------------------------------------


def told_movements(count: int, seed: int) -> Moved:
    """The people of `count` stories as the face reader would see them."""
    rng = np.random.default_rng(seed)
    aus = tuple(au for au in PHOTO_AUS if au != 14)
    settings = StorySettings(seconds=(2, 6), fps=(6, 25), people=2, aus=aus)
    numbers, done, persons = [], [], []
    for number in range(count):
        story = sample_story(rng, settings)
        people = [told(story, index, rng) for index in range(len(story.roles))]
        for index, person in enumerate(people):
            if person is None or (index and rng.random() < 0.5):
                continue
            other = people[1 - index] if len(people) > 1 else None
            numbers.append(motion_numbers(person, other))
            done.append([float(action in story.roles[index].actions) for action in ACTIONS])
            persons.append(f"story {number}")
    return Moved(torch.from_numpy(np.stack(numbers)), torch.tensor(done), tuple(persons))


def told(story: Story, index: int, rng: np.random.Generator) -> Movements | None:
    """One person of a story with the reader's errors; None where they cannot be seen."""
    role = story.roles[index]
    times = np.arange(len(role.states)) / story.fps
    boxes, seen = np.zeros((len(times), 4)), np.zeros(len(times), bool)
    for frame, place in enumerate(role.places):
        if place is not None:
            x, y, height = through_camera(place, story.camera[frame], 1.0)
            width = _WIDTH * height
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            boxes[frame] = box
            shown = (min(box[2], 1.0) - max(box[0], 0.0)) / width
            seen[frame] = shown >= _LEAST_SHOWN and box[3] <= 1.15 and box[1] >= -0.15
    seen &= rng.random(len(seen)) > _LOST
    if not seen.any():
        return None
    curves = {name: _as_read(name, curve, rng) for name, curve in _true_curves(story, index).items()}
    drift = np.stack([_wander(rng, len(times), _BOX_NOISE, 0.7) for _ in range(4)], 1)
    boxes += drift * np.maximum(boxes[:, 3:] - boxes[:, 1:2], 0.05)
    at = np.flatnonzero(seen)
    boxes = boxes[at[np.abs(np.arange(len(times))[:, None] - at).argmin(1)]]
    return Movements(times, seen, curves, boxes, float(times[0]), float(times[-1]))


def _true_curves(story: Story, index: int) -> dict[str, Curve]:
    states = story.roles[index].states

    def au(number: int) -> Curve:
        return np.array([state.aus.get(number, 0.0) for state in states])

    speech = np.array([state.speech for state in states])
    posed = np.array([(state.yaw, state.pitch, state.roll, *state.gaze) for state in states])
    return {
        "yaw": posed[:, 0] / 30, "pitch": posed[:, 1] / 30, "roll": posed[:, 2] / 30,
        "gaze_x": posed[:, 3], "gaze_y": posed[:, 4],
        "blink": np.maximum([state.blink for state in states], au(SHUT)),
        "mouth": np.clip(np.maximum.reduce([0.55 * speech, 0.12 * au(25), 0.35 * au(26), 0.7 * au(27)]), 0, 1),
        "smile": au(12),
    }  # fmt: skip


def _as_read(name: str, curve: Curve, rng: np.random.Generator) -> Curve:
    slope, between, within, tied = _READER[name]
    read = slope * rng.uniform(0.75, 1.25) * curve + _OFFSETS.get(name, 0.0) + rng.normal(0, between)
    read = read + _wander(rng, len(curve), within * rng.uniform(0.6, 1.6), tied)
    return np.clip(read, 0, 1) if name in ("blink", "mouth", "smile") else read


def _wander(rng: np.random.Generator, count: int, spread: float, tied: float) -> Curve:
    """Noise of this spread whose neighbours resemble each other."""
    steps = rng.normal(0, spread * np.sqrt(1 - tied**2), count)
    values = np.empty(count)
    values[0] = rng.normal(0, spread)
    for place in range(1, count):
        values[place] = tied * values[place - 1] + steps[place]
    return values


# -- clips that were filmed and read -----------------------------------------------------------------------------


def read_movements(folder: Path, work: Path) -> Moved:
    """The main persons of synthetic clips as the reader followed them; kept in `work`, so that it reads once."""
    manifest = folder / "manifest.jsonl"
    records = [record for record in read_manifest(manifest) if "actions" in record.extra]
    if not records:
        raise ConfigError(f"{manifest} tells no actions: give clips of scripts/make_clips.py, or clips=''")
    work.mkdir(parents=True, exist_ok=True)
    kept = work / "read.jsonl"
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    rows_kept = [json.loads(line) for line in lines]
    known = {row["id"]: row for row in rows_kept if len(row["numbers"] or MOTION_NAMES) == len(MOTION_NAMES)}
    reader = DenseReader()
    with kept.open("a", encoding="utf-8") as out:
        for record in records:
            if record.id not in known:
                known[record.id] = {"id": record.id, "numbers": _read_one(record, reader)}
                out.write(json.dumps(known[record.id]) + "\n")
    rows = [record for record in records if known[record.id]["numbers"]]
    done = [[float(action in record.extra["actions"]) for action in ACTIONS] for record in rows]
    numbers = torch.tensor([known[record.id]["numbers"] for record in rows], dtype=torch.float32)
    return Moved(numbers, torch.tensor(done), tuple(str(record.group) for record in rows))


def _read_one(record: Record, reader: DenseReader) -> list[float] | None:
    """The numbers of the person whom a clip's captions describe; None where the reader follows somebody else."""
    people = reader.read(record.video)
    width, height = people.size
    truth = {frame: box for frame, box in enumerate(record.extra["boxes"]) if box is not None}
    fps = float(record.fps or people.fps)

    def distance(person: int) -> float:
        gaps = []
        for second, box, seen in zip(people[person].times, people[person].boxes, people[person].success, strict=True):
            true = truth.get(round(float(second) * fps))
            if seen and true is not None:
                middle, wanted = (box[:2] + box[2:]) / 2, (np.array(true[:2]) + np.array(true[2:])) / 2
                gaps.append(float(np.abs((middle - wanted) / (width, height)).max()))
        return float(np.median(gaps)) if gaps else 1.0

    order = sorted(range(len(people)), key=distance)
    if not order or distance(order[0]) > 0.1:
        return None
    moved = [movements_of(people[person], people.size, 0.0, people.duration) for person in order[:2]]
    values: list[float] = motion_numbers(moved[0], moved[1] if len(moved) > 1 else None).tolist()
    return values


# -- what came of it ---------------------------------------------------------------------------------------------


@torch.inference_mode()
def score_actions(judge: ActionJudge, moved: Moved, threshold: float = 0.5) -> tuple[dict[str, float], list[str]]:
    """Precision and recall over all actions, and a line of Markdown an action."""
    said = judge.eval()(moved.numbers).sigmoid() > threshold
    true = moved.done > 0.5
    hits, claims, there = (said & true).sum(0), said.sum(0), true.sum(0)
    total = {
        "precision": float(hits.sum() / claims.sum().clamp(min=1)),
        "recall": float(hits.sum() / there.sum().clamp(min=1)),
        "persons": float(len(moved.done)),
    }
    lines = [
        f"| {name} | {int(there[i])} | {_share(hits[i], claims[i])} | {_share(hits[i], there[i])} |"
        for i, name in enumerate(judge.names)
    ]
    return total, lines


def _share(part: Tensor, whole: Tensor) -> str:
    return f"{int(part) / int(whole):.2f}" if int(whole) else "-"


def _card(
    recipe: ActionRecipe, told: Moved, learned: Moved | None, judged: Moved, scores: dict[str, float], table: list[str]
) -> str:
    filmed_too = f", and {len(learned.done)} people of synthetic clips whom the face reader followed" if learned else ""
    what = "people of synthetic clips who taught nothing" if learned else "people of further stories, never filmed"
    return "\n".join([
        "# actions", "",
        "How probable it is that a person nods, turns to the left, enters, talks, ... in a clip: a net of one hidden",
        f"layer over {len(MOTION_NAMES)} numbers that say how head, eyes, mouth and place change in time.", "",
        f"- Made by `python scripts/train.py configs/actions.yaml`: {len(told.done)} people of stories that were never "
        f"filmed (synthetic){filmed_too}.",
        "- Apache-2.0, code and weights. No film of a person was seen.",
        f"- On {len(judged.done)} {what}, what it says with at least .5: precision {scores['precision']:.3f}, recall "
        f"{scores['recall']:.3f}.",
        "- Trembling, shouting, laughing and listening hardly show in what a face reader measures, looking up and down "
        "only where the head goes along.", "",
        "| action | people | precision | recall |", "|---|---|---|---|", *table, "",
    ])  # fmt: skip
