"""Train what a config describes, by its key `recipe`: captioner (where it says nothing), experts, faces,
actions, appearance, emotion, pair, emotionclip, probe.

    python scripts/train.py configs/tiny.yaml [train.epochs=5 model.prompts.k=2 ...]
    python scripts/train.py configs/emotion/ve8.yaml --data.root DIR           a recogniser of emotion, PE-CLIP
    python scripts/train.py configs/clip_small.yaml --manifest FILE            a small CLIP pair for it
    python scripts/train.py configs/emotion/emotionclip.yaml --manifest FILE   EmotionCLIP, from clips and words said
    python scripts/train.py configs/emotion/emotionclip_bold.yaml --root DIR   a linear probe on its features
    python scripts/train.py configs/experts.yaml                               the experts of emotion and action units
    python scripts/train.py configs/faces.yaml                                 the built-in face reader
    python scripts/train.py configs/actions.yaml                               the judge of what people do
    python scripts/train.py configs/appearance.yaml                            the net that names a woman, a man

A captioner on several GPUs: torchrun --nproc-per-node 8 scripts/train.py configs/paper.yaml
  --train.deepspeed configs/ds_zero2.json
What it would take: python scripts/train.py configs/paper.yaml --plan [--gpus 8 --price 2.50]   (price of a GPU's hour)

Reads a YAML config with `key=value` overrides, prepares what is missing (drawn clips, cached features), trains, and
writes where the config says: of a captioner the checkpoints `last` and `best` into train.out. Started again with the
same config it goes on where it stopped; a captioner on another number of processes too, and SIGTERM saves and ends it
with 143.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from _command import config_arguments, guarded, script_parser

from captioner.config import Config
from captioner.config_io import load_config, read_yaml
from captioner.errors import ConfigError, unknown
from captioner.inference.predictor import pick_device
from captioner.train.emotion.pair import run_pair
from captioner.train.emotion.probe_recipe import run_probe
from captioner.train.emotion.protocol import run_protocol
from captioner.train.emotion.run_config import EmotionRun, PairConfig, load_emotion_run
from captioner.train.emotion.words_config import ProbeRun, WordsRun
from captioner.train.emotion.words_recipe import run_words
from captioner.train.experts.action_recipe import ActionRecipe, train_action_judge
from captioner.train.experts.appearance_recipe import AppearanceRecipe, train_appearance
from captioner.train.experts.photo_recipe import PhotoRecipe, train_experts
from captioner.train.experts.phrase_recipe import PhraseRecipe, train_phrase_judge
from captioner.train.faces.reader_recipe import FacesRecipe, make_reader
from captioner.train.setup import estimate_run, train_captioner
from eval.report import validation_scores
from eval.rewards import CiderReward


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options, path, overrides = config_arguments(train_parser(), arguments)
    return guarded(lambda: run_recipe(options, path, overrides), "the same command goes on from the last checkpoint")


def train_parser() -> argparse.ArgumentParser:
    """This script's own options."""
    own = script_parser(__doc__)
    own.add_argument("--plan", action="store_true", help="only say what a run of a captioner would take")
    own.add_argument("--gpus", type=int, default=1, help="of the plan")
    own.add_argument("--price", type=float, default=0.0, help="of a GPU's hour, for the plan")
    own.add_argument("--local_rank", "--local-rank", help=argparse.SUPPRESS)  # of DeepSpeed's launcher
    return own


def run_recipe(options: argparse.Namespace, path: str, overrides: list[str]) -> None:
    """What the config asks for."""
    recipe = recipe_of(read_yaml(Path(path)), path)
    kind, work = RECIPES[recipe]
    config = load_emotion_run(path, overrides) if kind is EmotionRun else load_config(kind, path, overrides)
    threads = getattr(config, "threads", 0) or getattr(getattr(config, "train", None), "threads", 0)
    if threads:
        torch.set_num_threads(threads)
    if options.plan:
        if recipe != "captioner":
            raise ConfigError(f"--plan is for captioners, {path} has recipe {recipe}")
        print(estimate_run(config, options.gpus, options.price))
    else:
        work(config)


def recipe_of(tree: Mapping[str, Any], path: str) -> str:
    """The recipe that a config names; older ones, which name none, are told by their keys."""
    if "recipe" in tree:
        if tree["recipe"] not in RECIPES:
            raise ConfigError(f"{path}: {unknown('recipe', tree['recipe'], RECIPES)}")
        return str(tree["recipe"])
    signs = {"emotion": "emotion", "source": "experts", "clip": "pair"}
    return next((recipe for key, recipe in signs.items() if key in tree), "captioner")


RECIPES: dict[str, tuple[type, Callable[[Any], object]]] = {
    "captioner": (Config, lambda config: train_captioner(config, validation_scores, CiderReward)),
    "experts": (PhotoRecipe, lambda config: print(train_experts(config))),
    "faces": (FacesRecipe, lambda config: print(make_reader(config))),
    "actions": (ActionRecipe, lambda config: print(train_action_judge(config))),
    "phrases": (PhraseRecipe, lambda config: print(train_phrase_judge(config))),
    "appearance": (AppearanceRecipe, lambda config: print(train_appearance(config))),
    "emotion": (EmotionRun, lambda run: run_protocol(run, pick_device("auto"))),
    "pair": (PairConfig, lambda config: run_pair(config, pick_device("auto"))),
    "emotionclip": (WordsRun, lambda run: run_words(run, pick_device("auto"))),
    "probe": (ProbeRun, lambda run: run_probe(run, pick_device("auto"))),
}


if __name__ == "__main__":
    sys.exit(main())
