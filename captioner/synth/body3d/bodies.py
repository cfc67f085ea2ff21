"""Bodies of the package `anny`: who a person is, and where the vertices of the face lie when actions move it."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from captioner.errors import ManifestError

VERTICES = 13718
# Vertices at the 68 landmarks, found once by a face reader on a rendered face at rest.
LANDMARKS = (
    5382, 5395, 5571, 5225, 5224, 749, 995, 990, 5209, 7669, 7673, 7452, 11817, 11818, 12277, 11991, 11965,
    3727, 232, 231, 223, 208, 6967, 6981, 6988, 6989, 7018, 132, 131, 673, 690, 344, 599, 317, 7320, 7099,
    1089, 1083, 54, 1313, 1071, 6760, 7989, 6822, 7733, 7740, 13340, 6815,
    407, 5335, 456, 466, 7203, 11921, 7151, 7219, 7225, 492, 486, 484, 3715, 462, 468, 7205, 10367, 7226, 494, 487,
)  # fmt: skip
_FACE_PARTS = ("cheek", "ear", "eye", "l-cheek", "r-cheek", "l-ear", "r-ear", "l-eye", "r-eye", "chin", "eyebrows",
               "forehead", "head", "mouth", "nose", "neck-double")  # fmt: skip
_TELLING = ("mouth-angles", "mouth-upperlip", "mouth-lowerlip", "eyebrows-angle", "eyebrows-trans-up", "head")
Vertices = NDArray[np.float32]


@dataclass(frozen=True)
class BodyShape:
    """Sliders of the body, and whether the looks are a man's; age in 0..1."""

    sliders: Mapping[str, float]
    features: Mapping[str, float]
    male: bool

    @property
    def age(self) -> float:
        """0.33 is young, 0.67 middle-aged, 1 old."""
        return self.sliders["age"]


class Bodies:
    """The body model: people and their vertices."""

    def __init__(self) -> None:
        self.model = (
            _anny().Anny(local_changes="default", facial_actions="all", phenotypes="all").to(dtype=torch.float32)
        )
        self.pose = torch.eye(4)[None, None].repeat(1, self.model.bone_count, 1, 1)
        if len(self.rest) != VERTICES:
            raise ManifestError(f"this `anny` has {len(self.rest)} vertices, {VERTICES} are known; install anny==0.6.2")

    @cached_property
    def rest(self) -> Vertices:
        """The average person at rest."""
        return self._vertices(dict.fromkeys(self.model.phenotype_labels, 0.5), {}, {})

    @cached_property
    def fall(self) -> Vertices:
        """How the open jaw moves the vertices of the average person."""
        return self._vertices(dict.fromkeys(self.model.phenotype_labels, 0.5), {}, {"jawOpen": 1.0}) - self.rest

    def vertices(self, person: BodyShape, shapes: Mapping[str, float]) -> Vertices:
        """Of a person whose face does this."""
        return self._vertices(dict(person.sliders), dict(person.features), dict(shapes))

    @torch.no_grad()
    def _vertices(self, sliders: dict[str, float], features: dict[str, float], shapes: dict[str, float]) -> Vertices:
        body = self.model(
            pose_parameters=self.pose, phenotype_kwargs=sliders, local_changes_kwargs=features, facial_actions=shapes
        )
        return np.asarray(body["vertices"][0].numpy(), np.float32)

    def sample(self, rng: np.random.Generator) -> BodyShape:
        """Somebody: grown up, of any sex, age, weight and origin, with features of their own."""
        male = bool(rng.random() < 0.5)
        ages = [rng.uniform(0.42, 0.6), rng.uniform(0.6, 0.8), rng.uniform(0.8, 1)]
        sliders = dict.fromkeys(self.model.phenotype_labels, 0.5) | {
            "gender": float(np.clip((0.1 if male else 0.9) + rng.normal(0, 0.08), 0, 1)),
            "age": float(rng.choice(ages, p=[0.15, 0.5, 0.35])),
            "muscle": float(rng.uniform(0.3, 0.8)),
            "weight": float(rng.uniform(0.2, 0.95)),
            "proportions": float(rng.uniform(0.3, 1)),
        }
        origin = dict(zip(("african", "asian", "caucasian"), rng.dirichlet([0.6] * 3).tolist(), strict=True))
        return BodyShape(sliders | {key: v for key, v in origin.items() if key in sliders}, self._features(rng), male)

    def _features(self, rng: np.random.Generator) -> dict[str, float]:
        features: dict[str, float] = {}
        for name in self.model.local_change_labels:
            if not name.startswith(_FACE_PARTS) or name.startswith("r-") or rng.random() > 0.6:
                continue
            # What a mouth or brow could also do by an action moves less.
            telling = name.startswith(_TELLING) or "eye-height" in name or "eye-corner" in name
            value = float(np.clip(rng.normal(0, 0.18 if telling else 0.4), -1, 1))
            features[name] = value
            if name.startswith("l-"):
                features[f"r{name[1:]}"] = float(np.clip(value + rng.normal(0, 0.06), -1, 1))
        return features


def _anny() -> Any:
    try:
        anny: Any = importlib.import_module("anny")  # without types
    except ImportError:
        raise ManifestError(
            "renders need the package `anny`, which is not installed: pip install 'captioner[renders]'"
        ) from None
    return anny
