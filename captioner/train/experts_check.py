"""Whether the frozen experts see anything: untrained ones say the same of every face, and no loss would tell."""

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from captioner.config import ExpertsConfig
from captioner.errors import ConfigError
from captioner.model.experts import load_experts
from prompts.action_units import MAIN_AUS
from prompts.visual import ExpertFeatures

log = logging.getLogger(__name__)

LOOKED_AT = 32  # clips
SAME = 0.995  # cosine of raw ER features; untrained ResNet50s have .998, trained small ones .7
UNTRAINED = "nothing"  # how `training_data` begins in config.json of experts with random weights
ADVICE = (
    "make experts of public files by scripts/convert.py (opengraphau, er-resnet50) or train some (recipe experts), and "
    "name their folder in model.experts.source; model.experts.untrained=allowed trains without any"
)


def refuse_untrained(config: ExpertsConfig) -> None:
    """Raise ConfigError for experts of random weights, unless the configuration allows them."""
    if config.untrained == "allowed":
        return
    if not config.source:
        raise ConfigError(f"model.experts.source is empty, so that the experts would be untrained: {ADVICE}")
    if load_experts(config.source).config.training_data.startswith(UNTRAINED):
        raise ConfigError(f"model.experts.source={config.source} holds untrained experts: {ADVICE}")


def tell_what_experts_see(seen: Sequence[ExpertFeatures], config: ExpertsConfig) -> None:
    """The log line "experts see: ..."; a ConfigError where they see the same in all faces and may not be untrained."""
    faces = [features for features in seen if bool(features.present[0])]
    if len(faces) < 2:
        log.warning("experts see: %d of %d clips with a face: too few to compare", len(faces), len(seen))
        return
    er = torch.cat([features.er for features in faces]).float()
    cosines, raw = _cosines(er - er.mean(0)), float(_cosines(er).median())
    scores = torch.cat([features.au_scores for features in faces]).float()
    spread = float(scores.std(0, unbiased=False).mean())
    liveliest = scores.std(0, unbiased=False).topk(3).indices.tolist()
    log.info(
        "experts see: %d of %d clips with a face; cosine of ER features of two clips about their mean %.3f "
        "(%.3f to %.3f), with what all faces share %.3f; AU scores spread %.3f, most AU%s",
        len(faces), len(seen), float(cosines.median()), float(cosines.min()), float(cosines.max()), raw, spread,
        ", AU".join(str(list(MAIN_AUS)[place]) for place in liveliest),
    )  # fmt: skip
    if raw > SAME and config.untrained != "allowed":
        raise ConfigError(
            f"the experts see the same in all faces (cosine of ER features {raw:.4f}, more than {SAME}), which teaches "
            f"nothing: {ADVICE}"
        )


def _cosines(rows: torch.Tensor) -> torch.Tensor:
    """Of every pair of rows."""
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    normal = F.normalize(rows, dim=-1)
    return (normal @ normal.t())[first, second]
