"""What the feature store costs and saves: python scripts/bench_store.py CONFIG [key=value ...] [--clips 32]

Prints the speed at which the store of some training clips is built beside that of the frozen experts alone (decoding,
faces, experts, nothing kept), and the cost of an epoch with the store for the config's model, for the same model
without VEP and prior, and without the store. CPU seconds count, which a busy machine does not change; the medians of
--runs turns are shown, and the rows take turns.
"""

import argparse
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from captioner.config import Config
from captioner.config_io import load_config
from captioner.data.dataset import ClipDataset, EpochOrder
from captioner.data.feature_store import FeatureStore, open_store
from captioner.data.inputs import read_inputs
from captioner.data.loader import EpochLoader
from captioner.data.manifest import Record
from captioner.errors import CaptionerError
from captioner.model.batch import collate, features_of_faces
from captioner.model.captioner import EmotionCaptioner
from captioner.train.engine import PlainEngine
from captioner.train.processes import Processes
from captioner.train.setup import build_model, read_splits

PLAIN: dict[str, Any] = {"vep": False, "er_sentence": "off", "au_word": "off"}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("settings", nargs="*", help="key=value changes to the config")
    parser.add_argument("--clips", type=int, default=32, help="training clips (default: 32)")
    parser.add_argument("--runs", type=int, default=3, help="turns (default: 3)")
    options, more = parser.parse_known_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(1)
    try:
        config = load_config(Config, options.config, [*options.settings, *more])
        records = read_splits(config, Processes())[0][: options.clips]
        with tempfile.TemporaryDirectory() as folder:
            print(build_table(config, records, options.runs, Path(folder)))
            print(epoch_table(config, records, options.runs, Path(folder)))
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def build_table(config: Config, records: list[Record], runs: int, folder: Path) -> str:
    """Markdown: clips a CPU second bare and into a store."""
    built = build_model(config, records, Processes())
    settled, model = built.config, built.network
    bare, kept = [], []
    for turn in range(runs):
        bare.append(cpu_seconds(lambda: see_all(model, records, config)))
        store = store_in(folder / f"build-{turn}", config, settled, model)
        kept.append(cpu_seconds(lambda store=store: store.fill(records, progress=False)))  # type: ignore[misc]
    rates = [len(records) / statistics.median(values) for values in (bare, kept)]
    return (
        f"| {len(records)} clips | clips a CPU second |\n|---|---|\n| decoding, faces, experts | {rates[0]:.2f} |\n"
        f"| the same into the store | {rates[1]:.2f} ({rates[1] / rates[0]:.1%}) |\n"
    )


def see_all(model: EmotionCaptioner, records: list[Record], config: Config) -> None:
    """What the store keeps of clips, but not kept."""
    for record in records:
        side = config.data.short_side or model.config.video.size
        faces = read_inputs(record.video, model.config, short_side=side).inputs[0].faces
        if faces is not None:
            features_of_faces(model.experts, faces)


def store_in(folder: Path, config: Config, settled: Any, model: EmotionCaptioner) -> FeatureStore:
    """An empty store."""
    store = open_store(replace(config.data, cache=str(folder)), settled, model, torch.device("cpu"))
    assert store is not None
    return store


def epoch_table(config: Config, records: list[Record], runs: int, folder: Path) -> str:
    """Markdown: CPU seconds an epoch, and their ratio to the model without VEP and prior."""
    prompts = config.model.prompts
    plain = replace(config.model, prompts=replace(prompts, **PLAIN), emotion_prior=None)
    unaligned = replace(config.model, prompts=replace(prompts, er_sentence="off", au_word="off"))
    rows = {
        "without VEP and prior": (replace(config, model=plain), True),
        "VEP and prior, from the store": (replace(config, model=unaligned), True),
        "the config's model, from the store": (config, True),
        "the config's model, without store": (config, False),
    }
    epochs = {name: trainer(row, records, folder / "epochs" if kept else None) for name, (row, kept) in rows.items()}
    spent: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(runs + 1):
        for name, epoch in epochs.items():
            if turn > 1 and name.endswith("without store"):
                continue  # twice is enough
            seconds = cpu_seconds(lambda epoch=epoch, turn=turn: epoch(turn))  # type: ignore[misc]
            if turn:  # the first one allocates
                spent[name].append(seconds)
    first = statistics.median(spent["without VEP and prior"])
    lines = [f"| {len(records)} clips | CPU s an epoch | ratio |", "|---|---|---|"]
    for name, values in spent.items():
        lines.append(f"| {name} | {statistics.median(values):.2f} | {statistics.median(values) / first:.3f} |")
    return "\n".join(lines)


def trainer(config: Config, records: list[Record], folder: Path | None) -> Callable[[int], None]:
    """An epoch over the records as a function of its number."""
    built = build_model(config, records, Processes())
    settled, model, tokenizer, pieces = built.config, built.network, built.tokenizer, built.pieces
    store = store_in(folder, config, settled, model) if folder else None
    if store is not None:
        store.fill(records, progress=False)
    words = pieces if model.aligned else None
    data = ClipDataset(records, settled, tokenizer, words, data=config.data, train=config.train, store=store)
    engine = PlainEngine(model.train(), config.train, torch.device("cpu"))
    loader = EpochLoader(data, replace(config.data, workers=0), partial(collate, pad_id=tokenizer.pad_id))

    def epoch(number: int) -> None:
        for batch in loader.epoch(list(EpochOrder(len(data), config.train.batch, 1, number))):
            engine.backward(torch.stack([*engine.losses(batch, False).live.values()]).sum())
            engine.step(1e-6)

    return epoch


if __name__ == "__main__":
    sys.exit(main())
