"""Train the frozen experts, an emotion net and an AU graph net, on photos.

    python scripts/train_experts.py configs/experts.yaml key=value ...

A killed run goes on after its last whole epoch when the same command is given again.
"""

import argparse
import logging
import sys
from pathlib import Path

from captioner.config_io import load_config, read_yaml
from captioner.errors import CaptionerError, ConfigError, unknown
from captioner.train.experts import photo_recipe


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train the frozen experts on photos.")
    parser.add_argument("config", type=Path, help="YAML file of the recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys that replace those of the file")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        print(run(args.config, args.overrides))
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def run(path: Path, overrides: list[str]) -> Path:
    """The folder of the experts of a recipe."""
    source = read_yaml(path).get("source", "photos")
    if source != "photos":
        raise ConfigError(f"{path}: {unknown('source', str(source), ['photos'])}")
    return photo_recipe.train_experts(load_config(photo_recipe.PhotoRecipe, path, overrides))


if __name__ == "__main__":
    sys.exit(main())
