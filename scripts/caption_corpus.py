"""Caption a corpus on many workers (Ray Data); Parquet files of captions, one a part, come out.

python scripts/caption_corpus.py films/ -o captions/                              a folder, on this machine's CPUs
python scripts/caption_corpus.py s3://mine/paths.parquet -o s3://mine/captions --workers 64 --gpus 1
python scripts/caption_corpus.py "shards/*.tar" -o captions --address auto        WebDataset shards, on a cluster

Inputs: folders, globs, @lists, manifests (.jsonl), Parquet files with a column of paths, tar files, addresses of
stores that fsspec opens. The same command goes on where one was stopped; a clip that fails is a row with its error.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from _command import guarded, script_parser

import captioner
from captioner.cli import add_caption_flags, add_model_flags
from captioner.errors import ConfigError
from captioner.output.arguments import Options
from captioner.output.corpus import CorpusPart, CorpusStore, caption_part, corpus_parts
from captioner.version import __version__


class CorpusWorker:
    """Holds a captioner and captions parts, one after the other."""

    def __init__(self, options: Options, out: str) -> None:
        import torch

        if threads := os.environ.get("OMP_NUM_THREADS"):
            torch.set_num_threads(int(threads))
        self.options, self.store = options, CorpusStore(out)
        self.model = captioner.load(
            options.model, device=options.device, offline=options.offline, faces=options.faces
        )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Caption one part and write it; a second worker that does so again leaves the same file."""
        part = CorpusPart(row["name"], tuple(row["clips"]), row["tar"])
        began = time.monotonic()
        attempts = self.store.attempts(part)
        rows = caption_part(self.model, part, asked_of(self.options), self.options.window, attempts)
        self.store.write(part, rows)
        attempts.end()
        failed = sum(each["error"] is not None for each in rows)
        return {"name": part.name, "rows": len(rows), "failed": failed, "seconds": time.monotonic() - began}


def asked_of(options: Options) -> dict[str, Any]:
    """What the flags ask of a captioner."""
    asked: dict[str, Any] = {
        "beams": options.beams or 0, "max_words": options.max_words, "style": options.style or "",
        "neutral": options.neutral, "habits": options.habits, "people": options.people, "batch": options.batch,
    }  # fmt: skip
    return asked | ({"events": options.events} if options.events else {})


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code: 0 all captioned, 1 some clips failed or parts are missing."""
    parser = script_parser(__doc__)
    parser.add_argument("inputs", nargs="+", help="what to caption")
    parser.add_argument("-o", "--out", required=True, help="folder or store for the Parquet files")
    parser.add_argument("--overwrite", action="store_true", help="caption again what is there")
    parser.add_argument("--part", type=int, default=100, metavar="N", help="clips a file (default: %(default)s)")
    group = parser.add_argument_group("workers")
    group.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="(default: one a core)")
    group.add_argument("--cpus", type=float, default=1, metavar="N", help="cores a worker (default: %(default)s)")
    group.add_argument("--gpus", type=float, default=0, metavar="N", help="GPUs a worker (default: %(default)s)")
    group.add_argument("--address", help="of a Ray cluster (default: one on this machine)")
    add_model_flags(parser.add_argument_group("model"))
    add_caption_flags(parser.add_argument_group("captions"))
    options = parser.parse_args(arguments)
    return guarded(lambda: caption_corpus(options))


def caption_corpus(given: argparse.Namespace) -> int:
    """Caption all parts that are not there yet; the exit code."""
    lacking = [name for name in ("ray", "pyarrow", "fsspec") if find_spec(name) is None]
    if lacking:
        raise ConfigError(f"this needs {', '.join(lacking)}: pip install 'captioner[scale]'")
    if given.part < 1 or given.workers < 1:
        raise ConfigError(f"--part {given.part}, --workers {given.workers}: at least 1 is needed")
    flags = {name: value for name, value in vars(given).items() if name in Options.__dataclass_fields__}
    options = Options(**flags | {"inputs": tuple(given.inputs)})
    out = given.out if "://" in given.out else str(Path(given.out).absolute())
    store = CorpusStore(out)
    model = options.model or "the shipped one"
    store.begin({"version": __version__, "model": model, **options.settings}, given.overwrite)
    inputs = [name if "://" in name or name.startswith("@") else str(Path(name).absolute()) for name in given.inputs]
    parts = corpus_parts(inputs, given.part)
    done = store.done()
    left = [part for part in parts if part.name not in done]
    print(f"{len(parts)} parts, {len(parts) - len(left)} done before", file=sys.stderr)
    failed = run_parts(left, options, out, given) if left else 0
    missing = {part.name for part in parts} - store.done()
    if missing:
        print(f"{len(missing)} parts are missing: the same command tries them again", file=sys.stderr)
    return 1 if failed or missing else 0


def run_parts(left: list[CorpusPart], options: Options, out: str, given: argparse.Namespace) -> int:
    """Have Ray's workers caption parts; how many clips failed."""
    from tqdm import tqdm

    ray: Any = import_module("ray")
    data: Any = import_module("ray.data")
    roots = os.pathsep.join([str(Path(__file__).parent), str(Path(captioner.__file__).parents[1])])
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, [roots, os.environ.get("PYTHONPATH", "")]))}}
    if not ray.is_initialized():
        address = given.address or "local"  # a cluster of one's own: a stale one would be waited for
        quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
        ray.init(address=address, runtime_env=environment, include_dashboard=False, **quiet)
    context = data.DataContext.get_current()
    context.max_errored_blocks = -1  # a part that fails costs itself
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its lines would run into our bar
    workers = min(given.workers, len(left))
    rows = [{"name": part.name, "clips": list(part.clips), "tar": part.tar} for part in left]
    made = data.from_items(rows, override_num_blocks=len(rows)).map(
        CorpusWorker, fn_constructor_kwargs={"options": options, "out": out}, num_cpus=given.cpus, num_gpus=given.gpus,
        compute=data.ActorPoolStrategy(min_size=1, max_size=workers),  # a lost node's parts are done by another
    )  # fmt: skip
    failed = 0
    with tqdm(total=len(rows), unit="part", disable=not sys.stderr.isatty()) as bar:
        for row in made.iter_rows():
            failed += row["failed"]
            bar.update()
            if row["failed"]:
                bar.write(f"{row['name']}: {row['failed']} of {row['rows']} rows hold errors", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
