"""The recipe of the built-in face reader: its stages in turn, the shipped folder, its card.

`pose` (stills of the same persons with other expressions, as the teacher sees them), `finder` (faces in a frame),
`widen` (the finder for dense reading goes on with heads from all sides and pictures without a face),
`aligned` (landmarks and values of an upright crop), `refine` (a last layer on its frozen features), `tune` (both
together), `export` (the shipped folder), `card`.
"""

import json
import logging
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from captioner.config_io import check
from captioner.errors import unknown
from captioner.faces.backends import MediapipeReader
from captioner.faces.builtin import DENSE_FINDER
from captioner.faces.builtin import WEIGHTS as SHIPPED
from captioner.faces.landmarks import SIGNATURE_SIDE
from captioner.faces.nets import FinderConfig, standardise
from captioner.faces.points import NETWORK_NAMES
from captioner.files import atomic, write_text
from captioner.synth.photo.photo_set import PhotoSet
from captioner.train.cards import render_card
from captioner.train.experts.posed import posed
from captioner.train.faces import face_augment
from captioner.train.faces.face_augment import Jitter
from captioner.train.faces.face_corpus import Corpus, write_taught
from captioner.train.faces.finder_training import train_finder, widen_finder
from captioner.train.faces.landmark_training import (
    REFINE,
    StageLimits,
    kept_points,
    train_landmarks,
    train_refinement,
    tune,
)
from captioner.train.fitting import BEST, read_run_state

log = logging.getLogger(__name__)

STAGES = ("pose", "finder", "widen", "aligned", "refine", "tune", "export", "card")
TRAINED = ("finder", "widen", "aligned", "tune")
POSED = 20000


@dataclass(frozen=True)
class FacesRecipe:
    """How the built-in face reader is made (recipe: faces)."""

    recipe: Literal["faces"] = "faces"
    photos: str = "data/faces"
    """Folder with annotations.npz and photos."""
    ferplus: str = ""
    """Folder of FER+ pictures, whose training part is learned too; "": none."""
    bundle: str = ""
    """MediaPipe's face_landmarker.task, the teacher of `pose`; "": its official one is fetched."""
    clips: str = ""
    """Folder of square synthetic clips: their frames for the finder, too; "": none."""
    skins: str = ""
    """Folder of skins, eyes and hair for the rendered heads of `widen`, which needs it."""
    out: str = "runs/faces"
    """Where states and weights of the stages go."""
    weights: str = "runs/faces/weights"
    """Where the shipped folder goes."""
    stages: list[str] = field(default_factory=lambda: [each for each in STAGES if each not in ("widen", "card")])
    """The stages to run, in this order; `card` after scripts/measure.py has measured the reader."""
    finder: StageLimits = field(default_factory=lambda: StageLimits(200, 50.0))
    widen: StageLimits = field(default_factory=lambda: StageLimits(3))
    aligned: StageLimits = field(default_factory=lambda: StageLimits(70, 70.0))
    tune: StageLimits = field(default_factory=lambda: StageLimits(70, 60.0))
    threads: int = 0
    """CPU threads; 0: torch decides."""

    def __post_init__(self) -> None:
        faults = [unknown("stage", name, STAGES) for name in self.stages if name not in STAGES]
        faults += [f"{name}.epochs is {getattr(self, name).epochs}: at least 1 is needed"
                   for name in TRAINED if getattr(self, name).epochs < 1]  # fmt: skip
        if "widen" in self.stages and not self.skins:
            faults.append("stage widen renders heads: name a folder of skins with skins=")
        check(faults)


def make_reader(recipe: FacesRecipe) -> Path:
    """The asked stages; a killed one goes on after its last whole epoch. Returns the folder of the shipped weights."""
    out, weights = Path(recipe.out), Path(recipe.weights)
    out.mkdir(parents=True, exist_ok=True)
    photos = PhotoSet(recipe.photos) if set(recipe.stages) != {"card"} else None
    data: Corpus | None = None
    for stage in recipe.stages:
        if stage == "card":
            write_reader_card(out, weights)
            continue
        assert photos is not None
        if stage == "pose":
            pose_photos(recipe, out)
        elif stage == "finder":
            train_finder(photos, Path(recipe.clips) if recipe.clips else None, out, recipe.finder)
        elif stage == "widen":
            widen(recipe, photos, out, weights)
        else:
            data = data or open_corpus(recipe, photos)
            train_stage(stage, recipe, data)
    return weights


def train_stage(stage: str, recipe: FacesRecipe, data: Corpus) -> None:
    """One of the stages that need the photos as tensors."""
    out = Path(recipe.out)
    if stage == "aligned":
        train_landmarks(data, out, recipe.aligned)
    elif stage == "refine":
        train_refinement(data, out)
    elif stage == "tune":
        tune(data, out, recipe.tune)
    else:
        export_reader(data, out, Path(recipe.weights))


def widen(recipe: FacesRecipe, photos: PhotoSet, out: Path, weights: Path) -> None:
    """The finder of dense reading, into the shipped folder: from this run's finder, or else from the shipped one."""
    start = out / "finder" / BEST
    if start.exists():
        state = load_file(start)
    else:
        shipped = load_file(SHIPPED / "model.safetensors").items()
        state = {name.removeprefix("finder."): value.float() for name, value in shipped if name.startswith("finder.")}
    widen_finder(state, photos, Path(recipe.clips) if recipe.clips else None, Path(recipe.skins), out, recipe.widen)
    tensors = {name: value.half().contiguous() for name, value in load_file(out / "widen" / BEST).items()
               if value.is_floating_point()}  # fmt: skip
    weights.mkdir(parents=True, exist_ok=True)
    with atomic(weights / DENSE_FINDER) as path:
        save_file(tensors, path)


def pose_photos(recipe: FacesRecipe, out: Path) -> None:
    """OUT/posed.npz: stills of the training persons and what the teacher sees in them."""
    if stills_of(out).exists():
        return
    pixels = posed(recipe.photos, ("train",), POSED, 0, out).pixels.numpy()
    teacher = MediapipeReader(Path(recipe.bundle) if recipe.bundle else None)
    log.info("%d stills in which the teacher sees a face", write_taught(pixels, teacher, stills_of(out)))


def stills_of(out: Path) -> Path:
    """Where the posed stills of a run are."""
    return out / "posed.npz"


def open_corpus(recipe: FacesRecipe, photos: PhotoSet) -> Corpus:
    """The photos as training data, with FER+ and posed stills where there are some."""
    stills = stills_of(Path(recipe.out))
    ferplus = Path(recipe.ferplus) if recipe.ferplus else None
    data = Corpus(photos, ferplus, posed=stills if stills.exists() else None)
    log.info("%d photos, %d FER+, %d posed", len(data.train.images),
             *(0 if part is None else len(part.images) for part in (data.ferplus, data.posed)))  # fmt: skip
    return data


def export_reader(data: Corpus, out: Path, folder: Path) -> None:
    """The trained networks as the shipped folder: half precision, only the kept points, values in their own units."""
    tensors: dict[str, Tensor] = {"template": data.template}
    config: dict[str, Any] = {"finder": asdict(FinderConfig())}
    net, state = kept_points(out)[0], load_file(out / "tune" / BEST)
    count = len(NETWORK_NAMES)
    for layer in ("values", "refine.2"):  # in their own units
        state[f"{layer}.weight"][:count] *= data.deviation[:, None]
        state[f"{layer}.bias"][:count] *= data.deviation
    state["values.bias"] += data.mean
    tensors |= {f"aligned.{name}": value for name, value in state.items()}
    config["aligned"] = asdict(replace(net, refine=REFINE))
    tensors |= {f"finder.{name}": value for name, value in load_file(out / "finder" / BEST).items()}
    tensors["likeness.mean"], tensors["likeness.projection"] = likeness(data)
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in tensors.items()
            if not k.endswith("num_batches_tracked")}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / "model.safetensors") as path:
        save_file(half, path)
    config |= {"names": list(NETWORK_NAMES), "points": "68 of the mesh, then the iris centres"}
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")


def likeness(data: Corpus) -> tuple[Tensor, Tensor]:
    """What tells people apart in small upright crops: linear discriminants over persons with several photos."""
    people = data.photos.table["person"][data.photos.table["split"] == 0]
    names, group, counts = np.unique(people, return_inverse=True, return_counts=True)
    rows = torch.from_numpy(np.flatnonzero(counts[group] > 1))
    torch.manual_seed(3)
    flat = []
    for part in rows.split(256):
        batch = face_augment.render_crops(data.train, part, 112, Jitter(2, 0.02, 0.01, yaw=0, pitch=0))
        crops = standardise(batch.crops)
        small = nn.functional.interpolate(crops, size=(SIGNATURE_SIDE,) * 2, mode="bilinear", antialias=True).flatten(1)
        flat.append(small / small.norm(dim=1, keepdim=True))
    x = torch.cat(flat).double()
    mean = x.mean(0)
    own = torch.from_numpy(group)[rows]
    sums = torch.zeros(len(names), x.shape[1], dtype=torch.float64).index_add_(0, own, x)
    centres = sums / torch.from_numpy(counts)[:, None]
    within = (x - centres[own]).T @ (x - centres[own]) / len(x)
    between = (centres[own] - mean).T @ (centres[own] - mean) / len(x)
    within += torch.eye(len(within)) * within.diagonal().mean() * 0.3
    root = torch.linalg.inv(torch.linalg.cholesky(within))
    _, vectors = torch.linalg.eigh(root @ between @ root.T)
    return mean.float(), (root.T @ vectors[:, -48:]).float() / 10  # a tenth, for half precision


def write_reader_card(out: Path, folder: Path) -> None:
    """CARD.md from OUT/measured.json (scripts/measure.py faces --json) and the stages' times."""
    tensors = load_file(folder / "model.safetensors")
    spent = {stage: read_run_state(out / stage).seconds / 60 for stage in TRAINED if (out / stage / BEST).exists()}
    card = render_card(
        "faces",
        millions={net: sum(v.numel() for k, v in tensors.items() if k.startswith(f"{net}.")) / 1e6
                  for net in ("finder", "aligned")},
        megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
        minutes=spent,
        tables=json.loads((out / "measured.json").read_text(encoding="utf-8")),
    )  # fmt: skip
    write_text(folder / "CARD.md", card)
