"""What the feature store costs and saves, in CPU seconds: building it, and epochs with it and without."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from captioner.config import Config
from captioner.data.dataset import ClipDataset, EpochOrder
from captioner.data.feature_store import FeatureStore, open_store
from captioner.data.inputs import read_inputs
from captioner.data.loader import EpochLoader
from captioner.data.manifest import Record
from captioner.model.batch import collate, features_of_faces
from captioner.model.captioner import EmotionCaptioner
from captioner.train.engine import PlainEngine
from captioner.train.processes import Processes
from captioner.train.setup import BuiltModel, build_model
from eval.speed.timing import BenchTable, Spent, median_spent, time_call, time_in_turns

PLAIN: dict[str, Any] = {"vep": False, "er_sentence": "off", "au_word": "off"}
FIRST = "without VEP and prior"


def building_table(config: Config, records: list[Record], runs: int, folder: Path) -> BenchTable:
    """Clips a CPU second by the frozen experts alone (decoding, faces, experts, nothing kept), and into a store."""
    built = build_model(config, records, Processes())
    spent: dict[str, list[Spent]] = {"decoding, faces, experts": [], "the same into the store": []}
    bare, kept = spent.values()
    for turn in range(runs):
        bare.append(time_call(lambda: _see_all(built.network, records, config))[0])
        store = _empty_store(folder / f"build-{turn}", config, built)
        kept.append(time_call(partial(store.fill, records, progress=False))[0])
    rates = {name: len(records) / median_spent(turns).cpu for name, turns in spent.items()}
    table = BenchTable("Building the store", [f"{len(records)} clips", "clips a CPU second", "share"])
    first = next(iter(rates.values()))
    table.rows = [[name, f"{rate:.2f}", f"{rate / first:.1%}"] for name, rate in rates.items()]
    return table


def _see_all(model: EmotionCaptioner, records: list[Record], config: Config) -> None:
    """What the store keeps of clips, but not kept."""
    for record in records:
        side = config.data.short_side or model.config.video.size
        faces = read_inputs(record.video, model.config, short_side=side).inputs[0].faces
        if faces is not None:
            features_of_faces(model.experts, faces)


def _empty_store(folder: Path, config: Config, built: BuiltModel) -> FeatureStore:
    store = open_store(replace(config.data, cache=str(folder)), built.config, built.network, torch.device("cpu"))
    assert store is not None
    return store


def epoch_table(config: Config, records: list[Record], runs: int, folder: Path) -> BenchTable:
    """CPU seconds an epoch, and their ratio to the model without VEP and prior; all take turns."""
    prompts = config.model.prompts
    plain = replace(config.model, prompts=replace(prompts, **PLAIN), emotion_prior=None)
    unaligned = replace(config.model, prompts=replace(prompts, er_sentence="off", au_word="off"))
    stored = {
        FIRST: replace(config, model=plain),
        "VEP and prior, from the store": replace(config, model=unaligned),
        "the config's model, from the store": config,
    }
    works = {name: _epochs(row, records, folder / "epochs") for name, row in stored.items()}
    spent = time_in_turns(works, runs)
    spent |= time_in_turns({"the config's model, without store": _epochs(config, records, None)}, 1)  # once is enough
    return _ratios(spent, len(records))


def _ratios(spent: Mapping[str, list[Spent]], clips: int) -> BenchTable:
    first = median_spent(spent[FIRST]).cpu
    table = BenchTable("An epoch", [f"{clips} clips", "CPU s an epoch", "ratio"])
    for name, turns in spent.items():
        seconds = median_spent(turns).cpu
        table.rows.append([name, f"{seconds:.2f}", f"{seconds / first:.3f}"])
    return table


def _epochs(config: Config, records: list[Record], folder: Path | None) -> Callable[[], None]:
    """The next epoch over the records at every call."""
    built = build_model(config, records, Processes())
    store = _empty_store(folder, config, built) if folder else None
    if store is not None:
        store.fill(records, progress=False)
    words = built.pieces if built.network.aligned else None
    data = ClipDataset(records, built.config, built.tokenizer, words, data=config.data, train=config.train, store=store)
    engine = PlainEngine(built.network.train(), config.train, torch.device("cpu"))
    loader = EpochLoader(data, replace(config.data, workers=0), partial(collate, pad_id=built.tokenizer.pad_id))
    number = 0

    def epoch() -> None:
        nonlocal number
        for batch in loader.epoch(list(EpochOrder(len(data), config.train.batch, 1, number))):
            engine.backward(torch.stack([*engine.losses(batch, False).live.values()]).sum())
            engine.step(1e-6)
        number += 1

    return epoch
