"""`python -m eval`: scores of caption files and checkpoints, comparisons, benchmarks, ablations."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError, Terminated, unknown
from captioner.files import write_text
from eval.io import read_entries
from eval.metrics import ScoreError
from eval.pairs import evaluate_entries
from eval.report import CHOICES, DEFAULT, NO_PHRASES, Evaluation, about_evaluation
from eval.significance import Interval, compare_systems
from eval.tables import render_table

OVERRIDDEN = ("bench", "ablation")  # commands that take key=value words for their configuration


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    top = _parser()
    options, rest = top.parse_known_args(arguments)
    if any(options.command not in OVERRIDDEN or each.startswith("-") or "=" not in each for each in rest):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    options.overrides = rest
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "score": _score,
        "compare": _compare,
        "checkpoint": _checkpoint,
        "bench": _bench,
        "ablation": _ablation,
    }
    try:
        return commands[options.command](options)
    except Terminated as stopped:
        print(stopped, file=sys.stderr)
        return 143
    except CaptionerError as error:
        # An id or a label may hold a line end.
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"error: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


# --- the command line --------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    """The commands, their files and options."""
    top = argparse.ArgumentParser(
        prog="python -m eval",
        description="Score captions: BLEU, METEOR, ROUGE-L, CIDEr, facial phrases, emotion.",
        epilog="Files: JSON lines (manifest, predictions), COCO json or json {id: [captions]}. "
        "Exit code 0: done; 1: a metric asked for was skipped; 2: bad usage or bad file.",
    )
    commands = top.add_subparsers(dest="command", required=True)
    one = commands.add_parser("score", help="scores of one hypotheses file")
    one.add_argument("--hyps", required=True, metavar="FILE", help="one caption a video")
    one.add_argument("--output", metavar="FILE", help="also write json with the scores of each video")
    one.add_argument("--intervals", type=int, default=0, metavar="N", help="bootstrap intervals of N samples (off: 0)")
    two = commands.add_parser("compare", help="paired test of two hypotheses files")
    two.add_argument("hyps", nargs=2, metavar="FILE", help="one caption a video: system A, then system B")
    two.add_argument("--samples", type=int, default=1000, metavar="N", help="samples and exchanges (1000)")
    for command in (one, two):
        _add_file_options(command)
    _add_checkpoint(commands.add_parser("checkpoint", help="captions and scores of a checkpoint on a manifest's split"))
    about = "caption a benchmark's clips with a checkpoint and score them"
    usage = "%(prog)s [-h] CONFIG --checkpoint C [--out DIR] [--shards N] [key=value ...]"
    bench = commands.add_parser("bench", help=about, description=about.capitalize() + ".", usage=usage)
    bench.add_argument("config", metavar="CONFIG", help="a file of configs/bench; key=value changes a key")
    bench.add_argument("--checkpoint", required=True, metavar="C", help="folder, shipped name or hub repository")
    bench.add_argument("--out", metavar="DIR", help="for predictions, scores and table (runs/bench/CONFIG)")
    bench.add_argument("--shards", type=int, default=1, metavar="N", help="processes (1); killed, it goes on")
    _add_ablation(commands)
    return top


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    """What `score` and `compare` share."""
    parser.add_argument("--refs", required=True, metavar="FILE", help="references of each video")
    parser.add_argument("--split", help="score only this split of a manifest")
    parser.add_argument(
        "--metrics",
        type=_names,
        metavar="A,B",
        help=f"of {','.join(CHOICES)} (default {','.join(DEFAULT)})",
    )
    parser.add_argument("--format", choices=("table", "json", "md"), default="table", help="on standard output")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (0)")


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Caption metrics, facial phrases beside blind baselines, emotion words, emotions and evidence "
        "of a checkpoint on clips of a manifest, with 95 % intervals."
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder, shipped name or hub repository")
    parser.add_argument("--manifest", required=True, type=Path, metavar="FILE", help="JSON lines, a clip each")
    parser.add_argument("--split", default="test", help="train, val or test (test)")
    parser.add_argument("--fold", type=int, metavar="N", help="fold of the manifest, where it has folds")
    parser.add_argument("--clips", type=int, default=0, metavar="N", help="only the first so many (all)")
    parser.add_argument("--beams", type=int, default=0, metavar="N", help="of the search; 1: greedy (the model's)")
    parser.add_argument("--style", default="", help="one of the styles that the model learned (its first)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (auto)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for predictions.jsonl and scores.json")


def _add_ablation(commands: Any) -> None:
    about = "train and score every row of a table of configs/ablate"
    usage = "%(prog)s [-h] --table NAME [--config C] [--seeds N] [--out DIR] [key=value ...]"
    parser = commands.add_parser("ablation", help=about, description=about.capitalize() + ".", usage=usage)
    parser.add_argument("--table", required=True, metavar="NAME", help="IV, V, VI, K, T, M, E, prior, pe-clip-3 ...")
    parser.add_argument("--config", type=Path, metavar="FILE", help="of the runs (the table's own)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each row (3)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at a time, one thread each (2)")
    parser.add_argument("--turns", type=int, default=15, metavar="N", help="timed iterations of each row (15)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the runs (the table's own)")
    parser.add_argument("--clips", type=Path, metavar="FILE", help="of table prior: manifest of scripts/make_clips.py")
    parser.add_argument("--most", type=int, default=100_000, metavar="N", help="of table prior: training clips at most")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        if name not in CHOICES:
            raise argparse.ArgumentTypeError(unknown("metric", name, CHOICES))
    if not names:
        raise argparse.ArgumentTypeError(f"no metric given; allowed: {', '.join(CHOICES)}")
    return names


# --- the commands ------------------------------------------------------------------------------------------------


def _score(options: argparse.Namespace) -> int:
    asked = options.metrics or DEFAULT
    refs, hyps = read_entries(options.refs), read_entries(options.hyps)
    result = evaluate_entries(refs, hyps, asked, options.split, options.intervals, options.seed)
    spans = result.intervals
    report = {
        "metrics": result.values,
        "intervals": {name: asdict(span) for name, span in spans.items()},
        "skipped": result.skipped,
        "details": result.details,
        **about_evaluation(result),
        "per_video": result.per_video,
    }
    if options.output:
        write_text(options.output, json.dumps(report, indent=1) + "\n")
    header = ["metric", "x 100", *(["95 %"] if spans else [])]
    rows = [[name, f"{100 * value:.2f}", _bounds(spans.get(name))] for name, value in result.values.items()]
    _print(options.format, header, rows, report)
    return _end(options, result)


def _bounds(span: Interval | None) -> str:
    return f"{100 * span.low:.2f} .. {100 * span.high:.2f}" if span else ""


def _compare(options: argparse.Namespace) -> int:
    asked = options.metrics or DEFAULT
    foreign = [name for name in asked if name not in DEFAULT]
    if foreign:
        raise ScoreError(f"compare: given {', '.join(foreign)}, allowed {', '.join(DEFAULT)}")
    entries = read_entries(options.refs)
    a, b = (evaluate_entries(entries, read_entries(path), asked, options.split) for path in options.hyps)
    found = compare_systems(a.statistics, b.statistics, options.samples, seed=options.seed)
    report = {
        "metrics": {name: asdict(row) for name, row in found.items()},
        "skipped": a.skipped,
        **about_evaluation(a),
    }
    rows = [
        [
            name,
            *(f"{100 * value:.2f}" for value in (row.a, row.b, row.difference)),
            _bounds(Interval(row.difference, row.low, row.high)),
            f"{row.p:.4f}",
        ]
        for name, row in found.items()
    ]
    _print(options.format, ["metric, x 100", "A", "B", "B - A", "95 %", "p"], rows, report)
    return _end(options, a)


def _checkpoint(options: argparse.Namespace) -> int:
    from eval.checkpoint import SplitOptions, score_split  # brings the captioner, which scores alone do not need

    split = SplitOptions(options.split, options.fold, options.clips, options.beams, options.style, options.device)
    result = score_split(options.checkpoint, options.manifest, split)
    print(f"{options.checkpoint} on {len(result.captions)} clips of {options.manifest} ({options.split})")
    print("\n".join(result.lines()))
    if options.out:
        result.write(options.out)
    return 0


def _bench(options: argparse.Namespace) -> int:
    from eval.benchmarks import TABLE, run_benchmark  # brings the captioner too

    out = Path(options.out) if options.out else Path("runs", "bench", Path(options.config).stem)
    report = run_benchmark(options.config, options.checkpoint, out, options.shards, options.overrides)
    print((out / TABLE).read_text(encoding="utf-8"), end="")
    for name, reason in report["skipped"].items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    return 1 if report["skipped"].keys() - {NO_PHRASES} else 0


def _ablation(options: argparse.Namespace) -> int:
    from eval.ablation import AblationOptions, find_table
    from eval.ablation_runs import folder_of_runs, run_ablation
    from eval.repository import ROOT

    logging.getLogger().setLevel(logging.INFO)
    family, table = find_table(options.table)
    config = options.config or ROOT / family.config
    out = options.out or folder_of_runs(family, config, options.overrides)
    given = (options.seeds, options.jobs, options.turns, options.clips, options.most)
    print(run_ablation(family, table, AblationOptions(config, out, tuple(options.overrides), *given)), end="")
    return 0


def _print(form: str, header: list[str], rows: Sequence[Sequence[str]], report: Mapping[str, Any]) -> None:
    """The report on standard output: aligned columns, a Markdown table, or json."""
    if form == "json":
        print(json.dumps(report, indent=1))
    else:
        print(render_table(header, [row[: len(header)] for row in rows], form))


def _end(options: argparse.Namespace, result: Evaluation) -> int:
    """Names what was skipped; 1 where the user asked for it by name."""
    for name, reason in result.skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    return 1 if result.skipped and options.metrics else 0


if __name__ == "__main__":
    sys.exit(main())
