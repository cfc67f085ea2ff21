"""The ablations of PE-CLIP: python scripts/ablate_emotion.py configs/emotion/ve8.yaml --table 3 --data.root DIR

Runs the protocol of a configuration (with `key=value` overrides) once for every row of a table and prints top-1, mean
and spread (standard deviation over splits), with the difference to the first row split by split: all rows see the
same splits. Frame features are shared between rows, and finished splits are kept: an interrupted table goes on.
Tables: 3 (components), 4 (classifier), 5 (temporal), 6 (segments), 7 (wording), 8 (prototype length), d (first decoder
layer), s (bidirectional supervision).
"""

import logging
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from captioner.config_io import load_config
from captioner.errors import CaptionerError, ConfigError, unknown
from captioner.files import write_text
from captioner.inference.predictor import pick_device
from captioner.train.emotion.protocol import run_protocol
from captioner.train.emotion.run_config import EmotionRun

LEARNED = ["prototype=learned"]
VARIANT = [*LEARNED, "supervision.kind=off"]  # the paper's model for tables 4, 5 and 8
SIXTEEN = ["segments=16"]
OTHER_WORDS = ["prompt.with_word=only", "prompt.without_word='no'"]  # a bare no is a switch in YAML
COMMA, REVERSED = "prompt.separator=', '", "prompt.reverse=true"
TABLES: dict[str, dict[str, list[str]]] = {
    "3": {
        "baseline": [*VARIANT, "temporal.kind=none", "decoder.init=random"],
        "+ pretrained decoder": [*VARIANT, "temporal.kind=none"],
        "+ Mamba": VARIANT,
        "+ Mamba, prompt": ["supervision.kind=off"],
        "+ Mamba, supervision": LEARNED,
        "+ Mamba, prompt, supervision": [],
    },
    "4": {kind: [*VARIANT, f"classifier={kind}"] for kind in ("linear", "emotional", "coop", "aggregated")},
    "5": {kind: [*VARIANT, f"temporal.kind={kind}"] for kind in ("none", "transformer", "lstm", "gru", "mamba")},
    "6": {f"{count} segments": [f"segments={count}"] for count in (16, 64, 128)},
    "7": {
        "with, without": SIXTEEN,
        "only, no": [*SIXTEEN, *OTHER_WORDS],
        "comma": [*SIXTEEN, COMMA],
        "reversed": [*SIXTEEN, REVERSED],
        "all three": [*SIXTEEN, *OTHER_WORDS, COMMA, REVERSED],
    },
    "8": {f"{count} tokens": [*VARIANT, f"tokens={count}"] for count in (2, 14, 26, 38, 50)},
    "d": {f"d = {start}": [f"decoder.start={start}"] for start in (11, 10, 9, 8)},
    "s": {kind: [f"supervision.kind={kind}"] for kind in ("off", "order", "pull")},
}


def run_table(path: str, name: str, overrides: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """(row, summary) of every row; all write below the configuration's train.out."""
    whole = load_config(EmotionRun, path, overrides)
    if whole.train.threads:
        torch.set_num_threads(whole.train.threads)
    out = Path(whole.train.out) / f"table-{name}"
    cache = whole.data.cache or str(Path(whole.train.out) / "features")
    made = []
    for place, (row, changes) in enumerate(TABLES[name].items()):
        run = load_config(EmotionRun, path, [*overrides, *(f"emotion.{change}" for change in changes)])
        train = replace(run.train, out=str(out / f"row-{place}"))
        run = replace(run, train=train, data=replace(run.data, cache=cache))
        logging.getLogger("ablate").info("table %s, %s", name, row)
        made.append((row, run_protocol(run, pick_device("auto"))))
    return made


def table(made: list[tuple[str, dict[str, Any]]]) -> str:
    """The rows as Markdown."""
    first = made[0][1]["splits"]
    lines = ["| row | top-1 % | spread | to the first row | its spread | trained, M |", "|---|---|---|---|---|---|"]
    for row, summary in made:
        apart = [100 * (summary["splits"][number] - score) for number, score in first.items()]
        spread = statistics.stdev(apart) if len(apart) > 1 else 0.0
        lines.append(
            f"| {row} | {100 * summary['top1']:.1f} | {100 * summary['spread']:.1f} | {statistics.mean(apart):+.1f} "
            f"| {spread:.1f} | {summary['trained_parameters'] / 1e6:.2f} |"
        )
    return "\n".join(lines) + "\n"


def take(arguments: list[str]) -> tuple[str, list[str]]:
    """The name after --table, and the other arguments."""
    if "--table" not in arguments or arguments.index("--table") + 1 == len(arguments):
        raise ConfigError(f"--table is missing: give one of {', '.join(TABLES)}")
    place = arguments.index("--table")
    name = arguments[place + 1]
    if name not in TABLES:
        raise ConfigError(unknown("table", name, TABLES))
    return name, arguments[:place] + arguments[place + 2 :]


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        name, (path, *overrides) = take(arguments)
        made = run_table(path, name, overrides)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text = table(made)
    write_text(Path(load_config(EmotionRun, path, overrides).train.out) / f"table-{name}.md", text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
