"""`python -m eval`: scores of a caption file, the comparison of two, and benchmarks of a checkpoint."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from captioner.emotion import MAFW_LABELS
from captioner.errors import CaptionerError, unknown
from captioner.files import write_text
from eval.emotion import ClassScores, class_scores, emotion_word_scores, phrase_counts, phrase_scores
from eval.io import Emotion, Entry, hypotheses, read_entries, references
from eval.metrics import METRICS, ScoreError, score_captions
from eval.significance import PHRASES, compare_systems, intervals

CHOICES = (*METRICS, "phrases", "words", "classes")
DEFAULT = (*METRICS, "phrases")
WORD_NAMES = {"acc_sw": "Acc_sw", "acc_c": "Acc_c", "bfs": "BFS", "cfs": "CFS"}
CLASS_NAMES = {"accuracy": "Accuracy", "uar": "UAR", "war": "WAR", "macro_f1": "Macro-F1", "ece": "ECE"}

_log = logging.getLogger("eval")


def parser() -> argparse.ArgumentParser:
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
        command.add_argument("--refs", required=True, metavar="FILE", help="references of each video")
        command.add_argument("--split", help="score only this split of a manifest")
        command.add_argument(
            "--metrics",
            type=_names,
            metavar="A,B",
            help=f"of {','.join(CHOICES)} (default {','.join(DEFAULT)})",
        )
        command.add_argument("--format", choices=("table", "json", "md"), default="table", help="on standard output")
        command.add_argument("--seed", type=int, default=0, help="of the resampling (0)")
    about = "caption a benchmark's clips with a checkpoint and score them"
    usage = "%(prog)s [-h] CONFIG --checkpoint C [--out DIR] [--shards N] [key=value ...]"
    three = commands.add_parser("bench", help=about, description=about.capitalize() + ".", usage=usage)
    three.add_argument("config", metavar="CONFIG", help="a file of configs/bench; key=value changes a key")
    three.add_argument("--checkpoint", required=True, metavar="C", help="folder, shipped name or hub repository")
    three.add_argument("--out", metavar="DIR", help="for predictions, scores and table (runs/bench/CONFIG)")
    three.add_argument("--shards", type=int, default=1, metavar="N", help="processes (1); killed, it goes on")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    top = parser()
    options, rest = top.parse_known_args(arguments)
    if any(options.command != "bench" or each.startswith("-") or "=" not in each for each in rest):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if options.command == "bench":
            return _bench(options, rest)
        return _score(options) if options.command == "score" else _compare(options)
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


@dataclass
class Result:
    """What one hypotheses file scores: values by metric (raw scale), and what else is worth writing down."""

    values: dict[str, float]
    per_video: dict[str, dict[str, float]]
    statistics: dict[str, np.ndarray]
    skipped: dict[str, str]
    details: dict[str, dict[str, Any]]
    videos: int
    references: int


def evaluate(
    entries: Mapping[str, Entry], guesses: Mapping[str, Entry], asked: Sequence[str], split: str | None = None
) -> Result:
    """The metrics asked for (of CHOICES) of one file's hypotheses against the references of another."""
    refs, hyps = _paired(entries, guesses, split)
    found = score_captions(refs, hyps, [name for name in METRICS if name in asked])
    result = Result(found.corpus, found.per_video, found.statistics, found.skipped, {}, len(refs), found.references)
    if "phrases" in asked:
        phrases = phrase_scores(refs, hyps)
        result.details["phrases"] = asdict(phrases)
        if phrases.wanted:
            result.values |= {"Phrase P": phrases.precision, "Phrase R": phrases.recall, PHRASES: phrases.f1}
            result.statistics[PHRASES] = phrase_counts(refs, hyps)
        else:
            result.skipped["Phrases"] = "no reference names a facial phrase"
    if "words" in asked:
        result.details["words"] = words = asdict(emotion_word_scores(refs, hyps))
        result.values |= {name: words[key] for key, name in WORD_NAMES.items()}
    if "classes" in asked:
        result.details["classes"] = classes = asdict(_classes(entries, guesses, split))
        result.values |= {name: classes[key] for key, name in CLASS_NAMES.items() if classes[key] is not None}
    return result


def _paired(
    entries: Mapping[str, Entry], guesses: Mapping[str, Entry], split: str | None
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """References and the hypotheses for them; those of other splits or of clips without captions go."""
    refs, hyps = references(entries, split), hypotheses(guesses)
    left = [key for key in hyps if key in entries and key not in refs]
    if left:
        _log.warning("%d hypotheses left out: no references, or of another split (%s)", len(left), left[0])
    kept = {key: caption for key, caption in hyps.items() if key not in left}
    missing = len(refs.keys() - kept.keys())
    splits = sorted({entry.split for entry in entries.values() if entry.split})
    if missing and split is None and len(splits) > 1:
        raise ScoreError(f"{missing} of {len(refs)} videos lack a hypothesis; choose a --split of {', '.join(splits)}")
    return refs, kept


def _classes(entries: Mapping[str, Entry], guesses: Mapping[str, Entry], split: str | None) -> ClassScores:
    truth = {
        key: entry.emotion
        for key, entry in entries.items()
        if isinstance(entry.emotion, str) and split in (None, entry.split)
    }
    predicted = {key: guesses[key].emotion for key in truth if key in guesses}
    absent = [key for key in truth if predicted.get(key) is None]
    if not truth or absent:
        side = f"{len(absent)} hypotheses (first {absent[0]!r})" if truth else "the references"
        raise ScoreError(f"classes: {side} carry no `emotion`; leave `classes` out of --metrics or add it")
    known = {*truth.values(), *(name for guess in predicted.values() for name in _named(guess))}
    labels = MAFW_LABELS if known <= set(MAFW_LABELS) else sorted(known)
    return class_scores(truth, {key: guess for key, guess in predicted.items() if guess is not None}, labels)


def _named(guess: Emotion) -> Iterable[str]:
    return (guess,) if isinstance(guess, str) else guess or ()


def _score(options: argparse.Namespace) -> int:
    asked = options.metrics or DEFAULT
    result = evaluate(read_entries(options.refs), read_entries(options.hyps), asked, options.split)
    spans = intervals(result.statistics, options.intervals, seed=options.seed) if options.intervals else {}
    report = {
        "metrics": result.values,
        "intervals": {name: asdict(span) for name, span in spans.items()},
        "skipped": result.skipped,
        "details": result.details,
        **_about(result),
        "per_video": result.per_video,
    }
    if options.output:
        write_text(options.output, json.dumps(report, indent=1) + "\n")
    rows = [
        (
            name,
            f"{100 * value:.2f}",
            f"{100 * spans[name].low:.2f} .. {100 * spans[name].high:.2f}" if name in spans else "",
        )
        for name, value in result.values.items()
    ]
    header = ("metric", "x 100", "95 %" if spans else "")
    _print(options.format, header, rows, report)
    return _end(options, result)


def _compare(options: argparse.Namespace) -> int:
    asked = options.metrics or DEFAULT
    foreign = [name for name in asked if name not in DEFAULT]
    if foreign:
        raise ScoreError(f"compare: given {', '.join(foreign)}, allowed {', '.join(DEFAULT)}")
    entries = read_entries(options.refs)
    a, b = (evaluate(entries, read_entries(path), asked, options.split) for path in options.hyps)
    found = compare_systems(a.statistics, b.statistics, options.samples, seed=options.seed)
    report = {
        "metrics": {name: asdict(row) for name, row in found.items()},
        "skipped": a.skipped,
        **_about(a),
    }
    rows = [
        (
            name,
            *(f"{100 * value:.2f}" for value in (row.a, row.b, row.difference)),
            f"{100 * row.low:.2f} .. {100 * row.high:.2f}",
            f"{row.p:.4f}",
        )
        for name, row in found.items()
    ]
    _print(options.format, ("metric, x 100", "A", "B", "B - A", "95 %", "p"), rows, report)
    return _end(options, a)


def _bench(options: argparse.Namespace, overrides: Sequence[str]) -> int:
    from eval.benchmarks import TABLE, run_benchmark  # brings the captioner, which scores alone do not need

    out = Path(options.out) if options.out else Path("runs", "bench", Path(options.config).stem)
    report = run_benchmark(options.config, options.checkpoint, out, options.shards, overrides)
    print((out / TABLE).read_text(encoding="utf-8"), end="")
    for name, reason in report["skipped"].items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    return 1 if report["skipped"] else 0


def _about(result: Result) -> dict[str, Any]:
    """What a number needs beside it: how much was scored, by which code."""
    names = ("captioner", "pycocoevalcap")
    return {
        "videos": result.videos,
        "references": result.references,
        "tokeniser": "PTB of CoreNLP 3.4.1, lower case, without punctuation",
        "versions": {name: _version(name) for name in names},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _print(form: str, header: Sequence[str], rows: Sequence[Sequence[str]], report: Mapping[str, Any]) -> None:
    """The report on standard output: aligned columns, a Markdown table, or json."""
    if form == "json":
        print(json.dumps(report, indent=1))
        return
    used = [column for column, title in enumerate(header) if title]
    lines = [[row[column] for column in used] for row in (header, *rows)]
    if form == "md":
        lines.insert(1, ["---"] + ["---:"] * (len(used) - 1))
        print("\n".join("| " + " | ".join(line) + " |" for line in lines))
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        print("  ".join(cells).rstrip())


def _end(options: argparse.Namespace, result: Result) -> int:
    """Names what was skipped; 1 where the user asked for it by name."""
    for name, reason in result.skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    return 1 if result.skipped and options.metrics else 0


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        if name not in CHOICES:
            raise argparse.ArgumentTypeError(unknown("metric", name, CHOICES))
    if not names:
        raise argparse.ArgumentTypeError(f"no metric given; allowed: {', '.join(CHOICES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
