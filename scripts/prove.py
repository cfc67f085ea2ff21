"""Prove promises by doing; `prove.py COMMAND --help` shows the options. Exit code 1: a promise was broken.

    python scripts/prove.py engines configs/tiny.yaml [--steps 50 --processes 1,2,4] [key=value ...]
    python scripts/prove.py kills configs/tiny.yaml [--kills 20 --steps 60] [key=value ...]
    python scripts/prove.py stops configs/tiny.yaml [--steps 12] [key=value ...]
    python scripts/prove.py torn [--kills 20] [--seed 1]
    python scripts/prove.py fuzz [--corpora clips,files,models,scores,addresses] [--files 20] [--seed 0] [--keep DIR]

torn kills `caption` and the writing of checkpoints at random moments; fuzz tries hostile input. engines, kills and
stops train in CPU processes, without dropout (processes draw their own), on drawn clips; everything is written under
--out (a new folder by default), where a run that came to its end before is not made again.
"""

import contextlib
import random
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path

from _command import config_arguments, run_subcommand

from captioner.errors import ConfigError, unknown
from eval.proofs import fuzz, kills, stops
from eval.proofs.runs import TrainingRuns, available_engines


def check_engines(parser: ArgumentParser, arguments: list[str]) -> int:
    """The losses of torch alone and ZeRO 0 to 3 in every number of processes, against one process of torch alone."""
    parser.add_argument("--processes", default="1,2,4", type=_numbers)
    parser.add_argument("--engines", type=lambda text: text.split(","), help="plain,zero0,zero1,zero2,zero3")
    options, runs = _runs(parser, arguments, 50)
    return stops.prove_engines(runs, options.engines or available_engines(), options.processes)


def check_kills(parser: ArgumentParser, arguments: list[str]) -> int:
    """SIGKILL of one process or of all at random moments; the run goes on in as many processes (its losses must be
    those of a run left alone, bit for bit) or in others, under other engines (to 1e-5)."""
    parser.add_argument("--processes", default="1,2,4", type=_numbers)
    parser.add_argument("--engines", type=lambda text: text.split(","), help="plain,zero0,zero1,zero2,zero3")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the moments and of who is killed")
    options, runs = _runs(parser, arguments, 60)
    chance = random.Random(options.seed)
    engines = options.engines or available_engines()
    return kills.prove_kills(runs, kills.Moments(options.kills, chance, options.processes, engines))


def check_stops(parser: ArgumentParser, arguments: list[str]) -> int:
    """SIGTERM, a truncated newest checkpoint, a full disk; the run goes on in other processes, under other engines."""
    _, runs = _runs(parser, arguments, 12)
    return stops.prove_stops(runs)


def check_torn(parser: ArgumentParser, arguments: list[str]) -> int:
    """SIGKILL at random moments of a film by windows, of many clips with their journal, of the writing of checkpoints:
    no file is torn, and the same command goes on to the outputs of a run left alone."""
    parser.add_argument("--kills", type=int, default=20, help="of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    options = parser.parse_args(arguments)
    from eval.proofs.torn import prove_untorn  # it loads the captioner

    with tempfile.TemporaryDirectory() as folder:
        return prove_untorn(Path(folder), options.kills, options.seed)


def _runs(parser: ArgumentParser, arguments: list[str], steps: int) -> tuple[Namespace, TrainingRuns]:
    """The options, and the runs of their config."""
    parser.add_argument("--steps", type=int, default=steps, help=f"of a run (default: {steps})")
    parser.add_argument("--out", type=Path, help="folder (default: a new one)")
    options, config, overrides = config_arguments(parser, arguments)
    out = options.out or Path(tempfile.mkdtemp(prefix="prove-"))
    if len(available_engines()) == 1:
        print("deepspeed is not installed: torch alone is compared")
    print(f"{config} in {out}")
    return options, TrainingRuns(config, out, overrides, steps=options.steps)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def check_inputs(parser: ArgumentParser, arguments: list[str]) -> int:
    """Hostile input by construction: damaged clips, special files, checkpoints, score files, addresses (TLS too). No
    traceback, no hang, bounded memory, the right exit code; what broke a promise is named and stays in --keep."""
    parser.add_argument("--corpora", default=",".join(fuzz.CORPORA), help="of %(default)s (default: all)")
    parser.add_argument("--files", type=int, help="cases of each corpus (default: 500, 150, 60, 300, 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", metavar="NAME|PATH")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where files that broke a promise stay")
    options = parser.parse_args(arguments)
    if odd := sorted(set(options.corpora.split(",")) - set(fuzz.CORPORA)):
        raise ConfigError(unknown("corpus", odd[0], fuzz.CORPORA))
    faults = 0
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.corpora.split(","):
            count = options.files or fuzz.CORPORA[name][0]
            outcomes = fuzz.fuzz_corpus(name, folder, count, options.seed, options.model)
            codes = Counter(str(outcome.code) for outcome in outcomes)
            bad = sum(bool(outcome.fault) for outcome in outcomes)
            later = [outcome.seconds for outcome in outcomes[1:]] or [0.0]
            told = ", ".join(f"{number} with code {code}" for code, number in sorted(codes.items()))
            most = max(outcome.memory for outcome in outcomes) >> 10
            told += f"; {bad} faults; at most {max(later):.1f} s and {most} MiB"
            print(f"{len(outcomes)} {name}: {told}", flush=True)
            faults += bad
    return 1 if faults else 0


COMMANDS = {
    "engines": check_engines, "kills": check_kills, "stops": check_stops, "torn": check_torn, "fuzz": check_inputs,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_subcommand(__doc__, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
