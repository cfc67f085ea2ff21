"""Compute what frozen parts say of a run's clips, before it starts or beside it: python scripts/precompute.py CONFIG

    python scripts/precompute.py configs/mafw.yaml [data.workers=8 ...]        what training would compute first
    python scripts/precompute.py configs/mafw.yaml --shard 2/4                 a fourth of the clips
    torchrun --nproc-per-node 8 scripts/precompute.py configs/mafw.yaml        a process a GPU
    python scripts/precompute.py configs/mafw.yaml --stale | --prune [--also configs/other.yaml]

Face tracks, expert features, emotion beliefs, frames, and tokens of a frozen video encoder go into data.cache. Entries
that are there are checked and left; broken ones are told and computed anew, so the same command goes on after a kill.
--stale lists what no longer belongs to the config and its clips, --prune deletes it. A folder that several configs
share is pruned for all of them at once: name the others with --also. --splits train,val are the clips (default).
"""

import argparse
import logging
import re
import sys
import time
from collections import Counter
from pathlib import Path

from _command import config_arguments, guarded, script_parser

from captioner.config import Config
from captioner.config_io import load_config
from captioner.data.feature_store import FeatureStore, open_store
from captioner.data.loader import BadVideos
from captioner.data.manifest import SPLITS, Record, read_manifest
from captioner.errors import ConfigError, ManifestError, unknown
from captioner.inference.predictor import pick_device
from captioner.store import prune, stale
from captioner.train.processes import Processes, join_processes
from captioner.train.setup import build_model, draw_if_missing

log = logging.getLogger("precompute")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = script_parser(__doc__)
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="the I-th of N parts of the clips")
    parser.add_argument("--splits", default="train,val", help="which clips (default: train,val)")
    parser.add_argument("--stale", action="store_true", help="only list what no longer belongs to the config")
    parser.add_argument("--prune", action="store_true", help="only delete it")
    parser.add_argument("--also", type=Path, nargs="+", default=[], help="configs that use the same folder")
    options, path, overrides = config_arguments(parser, arguments)
    return guarded(lambda: fill_or_clean(options, path, overrides), "the same command goes on from here")


def fill_or_clean(options: argparse.Namespace, path: str, overrides: list[str]) -> None:
    """Fill the folder of the store, or list or delete what is stale in it."""
    config = load_config(Config, path, overrides)
    if not config.data.cache:
        raise ConfigError("data.cache is empty: name the folder of the store")
    if options.stale or options.prune:
        others = [load_config(Config, other, [f"data.cache={config.data.cache}"]) for other in options.also]
        list_stale([config, *others], delete=options.prune)
    else:
        fill_cache(config, options.splits.split(","), *parse_shard(options.shard))


def parse_shard(text: str) -> tuple[int, int]:
    """(place from 0, number of parts) of "2/4"."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    place, count = (int(number) for number in found.groups()) if found else (0, 0)
    if not 1 <= place <= count:
        raise ConfigError(f"--shard {text}: write I/N with I from 1 to N, as 2/4")
    return place - 1, count


def open_run(config: Config, processes: Processes) -> tuple[FeatureStore, list[Record]]:
    """The store of a run, with the networks as training builds them, and all clips of its manifest."""
    with processes.first():
        manifest = draw_if_missing(config)
    records = read_manifest(manifest, fold=config.data.fold, labels=config.model.labels, check_files=False)
    train = [record for record in records if record.split == "train"]
    if not train:
        raise ManifestError(f"{manifest}: no record of split 'train', whose words make the vocabulary")
    built = build_model(config, train, processes)
    store = open_store(config.data, built.config, built.network, processes.device)
    assert store is not None  # data.cache is set
    return store, records


def fill_cache(config: Config, splits: list[str], place: int, count: int) -> None:
    """Compute what is missing of this process's clips."""
    if strange := [name for name in splits if name not in SPLITS]:
        raise ManifestError(unknown("split", strange[0], SPLITS))
    processes = join_processes(pick_device("auto"))
    try:
        store, records = open_run(config, processes)
        wanted = [record for record in records if record.split in splits][place::count]
        own = wanted[processes.rank :: processes.size]
        log.info("%s: %d clips; %s", config.data.cache, len(wanted), ", ".join(store.parts))
        began = time.perf_counter()
        found = store.fill(own, workers=config.data.workers or 0, progress=processes.main, check=True)
        faults = {name: fault for part in processes.all_gather_json(found) for name, fault in part.items()}
        log.info("%.1f clips/s", len(wanted) / (time.perf_counter() - began))
        name = "bad_videos.jsonl" if count == 1 else f"bad_videos-{place + 1}-of-{count}.jsonl"
        path = Path(config.data.cache) / name
        BadVideos(len(wanted), config.data.max_bad, path, write=processes.main).note(faults)
    finally:
        processes.leave()


def list_stale(configs: list[Config], delete: bool) -> None:
    """List, or delete, what belongs to none of the configs."""
    runs = [open_run(config, Processes()) for config in configs]
    parts = [part for store, _ in runs for part in store.parts.values()]
    videos = {record.video for _, records in runs for record in records}
    found = stale(configs[0].data.cache, parts, videos)
    counts = Counter(entry.why for entry in found)
    for why, number in counts.most_common():
        size = sum(entry.size for entry in found if entry.why == why)
        print(f"{number:6d} entries, {size / 1e6:8.1f} MB: {why}")
    if delete:
        print(f"{prune(found) / 1e6:.1f} MB are free now")
    elif not found:
        print("nothing is stale")


if __name__ == "__main__":
    sys.exit(main())
