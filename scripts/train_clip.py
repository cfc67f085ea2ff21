"""Train a small CLIP pair: python scripts/train_clip.py configs/clip_small.yaml --manifest data/clips/manifest.jsonl

Reads a YAML config with `key=value` overrides, learns the train split of a manifest (clips and their captions), scores
the val split, and writes a folder that emotion.clip.source and transformers take.
"""

import logging
import sys

from captioner.config_io import load_config
from captioner.errors import CaptionerError
from captioner.inference.predictor import pick_device
from captioner.train.emotion.pair import run_pair
from captioner.train.emotion.run_config import PairConfig

log = logging.getLogger("train_clip")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        run_pair(load_config(PairConfig, arguments[0], arguments[1:]), pick_device("auto"))
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
