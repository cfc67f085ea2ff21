"""Make the captioner that ships again: python scripts/reproduce.py --faces photos

Stages, each a command that is printed before it runs and goes on where it was stopped: `clips` (synthetic clips of
animated photos), `phrases` (the judges of facial phrases), `train` (configs/default.yaml; its experts, judge of actions
and prior are the shipped ones), `evaluate` (both styles of
captions, on clips of persons no training part knows), `export` (weights in half precision and card).
"""

import argparse
import json
import logging
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _command import guarded, script_parser

from captioner.config import Config
from captioner.config_io import load_config
from captioner.data.manifest import Record, read_manifest
from captioner.errors import CaptionerError
from captioner.files import SHIPPED, missing
from captioner.model import checkpoint
from captioner.train.cards import fixed, render_card
from captioner.train.checkpoints import STATE

log = logging.getLogger("reproduce")
ROOT = Path(__file__).parents[1]
CONFIG, PHRASE_CONFIG = ROOT / "configs" / "default.yaml", ROOT / "configs" / "phrases.yaml"
STAGES = ("clips", "phrases", "train", "evaluate", "export")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = script_parser(__doc__)
    parser.add_argument("--faces", type=Path, default=Path("data/faces"), help="folder of annotated photos")
    parser.add_argument("--ferplus", type=Path, default=Path("data/ferplus"), help="folder of voted faces")
    parser.add_argument("--clips", type=Path, default=Path("data/default"), help="where the synthetic clips go")
    parser.add_argument("--count", type=int, default=2200, help="synthetic clips, all splits together (default: 2200)")
    parser.add_argument("--out", type=Path, default=Path("runs/default"), help="where checkpoints and scores go")
    parser.add_argument("--weights", type=Path, default=SHIPPED / "default", help="where the shipped folder goes")
    parser.add_argument("--stage", choices=("all", *STAGES), default="all")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys of configs/default.yaml")
    options = parser.parse_args(arguments)
    return guarded(lambda: run_stages(options))


def run_stages(options: argparse.Namespace) -> None:
    """The asked stages in turn."""
    manifest = options.clips / "manifest.jsonl"
    for stage in STAGES if options.stage == "all" else (options.stage,):
        if stage == "clips":
            make_default_clips(options)
        elif stage == "phrases":
            read = [f"clips={options.clips}", f"cache={options.clips}/cache", f"work={options.out}-phrases"]
            run_command("train.py", PHRASE_CONFIG, *read, f"faces={options.faces}", f"ferplus={options.ferplus}")
        elif stage == "train":
            places = [f"data.manifest={manifest}", f"data.cache={options.clips}/cache", f"train.out={options.out}"]
            run_command("train.py", CONFIG, *places, *options.overrides)
        elif stage == "evaluate":
            for style in load_config(Config, CONFIG, options.overrides).model.styles:
                run_command(
                    "eval", "checkpoint", options.out / "best", "--manifest", manifest, "--style", style,
                    "--out", options.out / f"test-{style}",
                )  # fmt: skip
        else:
            export_weights(options)


def run_command(script: str, *arguments: str | Path) -> None:
    """Run a script of this folder or `-m eval`; its error lines are shown, and the run ends with its exit code."""
    program = ["-m", "eval"] if script == "eval" else [str(Path(__file__).parent / script)]
    line = [sys.executable, *program, *map(str, arguments)]
    log.info("$ python %s %s", shlex.join(program), shlex.join(map(str, arguments)))
    code = subprocess.run(line, check=False).returncode
    if code:
        sys.exit(code)


def make_default_clips(options: argparse.Namespace) -> None:
    """The synthetic clips; not those of seed 11, which taught the AU net: of those it is surer than of any others."""
    run_command(
        "make_clips.py", "--faces", options.faces, "--out", options.clips, "--clips", str(options.count),
        "--val", "0.06", "--test", "0.07", "--seed", "12",
        "--seconds", "3", "--fps", "8", "--people", "2", "--genders", "--oblique", "--check", "none", "--html", "none",
    )  # fmt: skip


def export_weights(options: argparse.Namespace) -> None:
    """The best checkpoint in half precision, with its card."""
    out = Path(options.out)
    loaded = checkpoint.load_checkpoint(out / "best")
    config, records = loaded.model.config, read_manifest(options.clips / "manifest.jsonl", check_files=False)
    learned = [record for record in records if record.split == "train"]
    card = render_card(
        "captioner",
        name=options.weights.name,
        millions=sum(p.numel() for p in loaded.model.parameters()) / 1e6,
        trained=sum(p.numel() for p in loaded.model.parameters() if p.requires_grad) / 1e6,
        config=config,
        clips={"train": len(learned), "persons": persons(learned), "test": sum(r.split == "test" for r in records)},
        progress=json.loads((out / "last" / STATE).read_text(encoding="utf-8"))["progress"],
        tables={style: score_rows(read_scores(out / f"test-{style}" / "scores.json")) for style in config.styles},
    )
    meta = {**loaded.meta, "licence": "Apache-2.0", "training_data": f"{len(learned)} synthetic clips"}
    checkpoint.save_checkpoint(options.weights, loaded.model, loaded.tokenizer, meta=meta, card=card, half=True)
    log.info("%s: %.1f MB", options.weights, sum(f.stat().st_size for f in options.weights.iterdir()) / 1e6)


def persons(records: Sequence[Record]) -> int:
    """How many persons act in these clips."""
    return len({name for record in records for name in record.extra.get("persons", [record.group])})


def read_scores(path: Path) -> dict[str, Any]:
    """What the stage `evaluate` wrote of a style."""
    if not path.is_file():
        raise CaptionerError(f"{missing(path)}; the stage `evaluate` writes it")
    return json.loads(path.read_text(encoding="utf-8"))


def score_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Scores of a style with their intervals."""
    rows = []
    for name, value in report["scores"].items():
        if isinstance(value, float):
            low, high = report["intervals"].get(name, (None, None))
            rows.append((name, fixed(value) + ("" if low is None else f" ({fixed(low)} .. {fixed(high)})")))
    return rows


if __name__ == "__main__":
    sys.exit(main())
