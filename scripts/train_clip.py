"""Train a small CLIP pair: python scripts/train_clip.py configs/clip_small.yaml --manifest data/clips/manifest.jsonl

Reads a YAML config with `key=value` overrides, learns the train split of a manifest (clips and their captions), scores
the val split, and writes a folder that emotion.clip.source and transformers take.
"""

import logging
import sys
from pathlib import Path

import torch

from captioner.config import load
from captioner.data.manifest import read_manifest
from captioner.errors import CaptionerError, ConfigError
from captioner.inference.predictor import pick_device
from captioner.train.emotion.pair import PairConfig, train_pair

log = logging.getLogger("train_clip")


def run(config: PairConfig) -> dict[str, float]:
    """The clips, the training, the scores."""
    if not config.manifest:
        raise ConfigError("manifest is missing: give the clips, as in --manifest data/clips/manifest.jsonl")
    if config.threads:
        torch.set_num_threads(config.threads)
    sides = {record.split for record in read_manifest(config.manifest, check_files=False)}
    train = read_manifest(config.manifest, split="train", fold=config.fold)
    val = read_manifest(config.manifest, split="val", fold=config.fold) if "val" in sides else []
    scores = train_pair(config, train, val, pick_device("auto"))
    size = (Path(config.out) / "model.safetensors").stat().st_size / 1e6
    log.info("%s, %.1f MB: %s", config.out, size, ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
    return scores


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        run(load(PairConfig, arguments[0], arguments[1:]))
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
