"""Benchmarks: a checkpoint captions the test clips of a manifest, and is scored beside the published rows."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from captioner.config_io import check, join_overrides, load_config, to_dict
from captioner.data.manifest import SPLITS, Record, read_manifest
from captioner.errors import CaptionerError, ConfigError, unknown
from captioner.files import missing, write_text
from eval.metrics import METRICS
from eval.report import CHOICES, EmotionPairs, WordForm, evaluate
from eval.shards import ShardJob, caption_all, json_line
from eval.significance import PHRASES
from eval.tables import render_table

COLUMNS = {"bleu4": "BLEU-4", "meteor": "METEOR", "rouge": "ROUGE-L", "cider": "CIDEr"}
WORD_FORMS: tuple[WordForm, ...] = ("strict", "compat")
VALUE_NAMES = {"Accuracy": "Emotion accuracy", "UAR": "Emotion UAR", "Macro-F1": "Emotion macro-F1"}
HIDDEN = ("WAR", "ECE")  # the first is the accuracy again
WHOSE_CLIPS = ("manifest", "split", "fold", "clips")  # keys without which published rows are no comparison
PARTS, PREDICTIONS, SCORES, TABLE, RUN = "parts", "predictions.jsonl", "scores.json", "table.md", "run.json"

_log = logging.getLogger(__name__)


class BenchmarkError(CaptionerError):
    """A benchmark that cannot be run, continued or scored."""


@dataclass(frozen=True)
class Published:
    """A row of a paper's table, as printed: x 100."""

    system: str
    source: str
    bleu4: float
    meteor: float
    rouge: float
    cider: float


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: which clips, how they are captioned, what is scored, what the papers report."""

    name: str
    manifest: str
    prepare: str
    """The command that makes the manifest; shown when it is not there."""
    split: str = "test"
    fold: int | None = None
    clips: int = 0
    """Only the first so many clips; 0: all."""
    beams: int = 0
    max_words: int = 0
    """Word pieces of a caption at most; 0: the model's own limit."""
    batch: int = 1
    """Clips captioned at once; another number may change a caption's last decimal, and so, rarely, a word."""
    device: str = "auto"
    threads: int = 1
    """CPU threads of each process; use --shards to keep more cores busy."""
    metrics: list[str] = field(default_factory=lambda: [*METRICS, "phrases"])
    """Of bleu, meteor, rouge, cider, phrases, words, classes."""
    intervals: int = 1000
    """Bootstrap samples of the 95 % intervals; 0: none."""
    skip_unreadable: bool = False
    """Score the other clips where videos cannot be read, and say so; off: an error that names them."""
    note: str = ""
    """What a reader of the table must know."""
    published: list[Published] = field(default_factory=list)

    def __post_init__(self) -> None:
        faults = [unknown("metric", name, CHOICES) for name in self.metrics if name not in CHOICES]
        if self.split not in SPLITS:
            faults.append(unknown("split", self.split, SPLITS))
        if not set(self.metrics) & set(METRICS):
            faults.append(f"metrics {self.metrics}: at least one of {', '.join(METRICS)} is needed")
        faults += [
            f"{key} is {value}: {least} or more is needed"
            for key, value, least in [
                ("clips", self.clips, 0), ("beams", self.beams, 0), ("max_words", self.max_words, 0),
                ("batch", self.batch, 1), ("threads", self.threads, 1), ("intervals", self.intervals, 0),
            ]
            if value < least
        ]  # fmt: skip
        check(faults)


def run_benchmark(
    config: str | Path, checkpoint: str, out: str | Path, shards: int = 1, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Captions what is not captioned yet, scores, and writes predictions.jsonl, scores.json and table.md."""
    bench, out = load_config(Benchmark, config, overrides), Path(out)
    if shards < 1:
        raise ConfigError(f"--shards is {shards}: at least 1 is needed")
    records = clips_of(bench)
    identity = _identity(bench, checkpoint, records)
    _claim(out, identity)
    done, failed = caption_all(
        ShardJob(checkpoint, out / PARTS, bench.device, bench.threads, bench.beams, bench.max_words),
        [list(records[at : at + bench.batch]) for at in range(0, len(records), bench.batch)],
        shards,
        bench.name,
    )
    order = [record for record in records if record.id in done]
    write_text(out / PREDICTIONS, "".join(json_line(done[record.id]) for record in order))
    report = score_benchmark(bench, records, done, failed)
    changed = [word for word in join_overrides(overrides) if word.split("=")[0] in WHOSE_CLIPS]
    report |= {"checkpoint": checkpoint, "run": identity, "changed": changed}
    write_text(out / SCORES, json.dumps(report, indent=1) + "\n")
    write_text(out / TABLE, benchmark_table(bench, report))
    return report


def clips_of(bench: Benchmark) -> list[Record]:
    """The captioned clips of the benchmark's split; says how to make a manifest that is not there."""
    if not Path(bench.manifest).is_file():
        raise BenchmarkError(f"{missing(bench.manifest)}; make it: {bench.prepare}, or set manifest=PATH")
    # a video that is gone is reported with those that cannot be read
    records = read_manifest(bench.manifest, split=bench.split, fold=bench.fold, check_files=False)
    records = [record for record in records if record.captions]
    if not records:
        raise BenchmarkError(f"{bench.manifest}: no clip of {bench.split!r} has a caption to score against")
    return records[: bench.clips] if bench.clips else records


# --- what a run leaves -------------------------------------------------------------------------------------------


def _identity(bench: Benchmark, checkpoint: str, records: Sequence[Record]) -> dict[str, Any]:
    """What the captions depend on: weights, clips, decoding."""
    from captioner.model.checkpoint import FILES, locate

    folder, weights = locate(checkpoint), hashlib.sha256()
    for name in FILES:
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                while block := file.read(1 << 20):
                    weights.update(block)
    clips = hashlib.sha256("\n".join(f"{record.id}\t{record.video.name}" for record in records).encode())
    return {
        "checkpoint": weights.hexdigest()[:16],
        "clips": clips.hexdigest()[:16],
        "beams": bench.beams,
        "max_words": bench.max_words,
        "batch": bench.batch,
    }


def _claim(out: Path, identity: Mapping[str, Any]) -> None:
    """Makes `out` the folder of this run; refuses one that holds another run's captions."""
    if out.exists() and not out.is_dir():
        raise BenchmarkError(f"--out {str(out)!r} is a file; give a folder")
    path = out / RUN
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = None
        before = before if isinstance(before, dict) else {}
        other = [key for key, value in identity.items() if before.get(key) != value]
        if other:
            raise BenchmarkError(
                f"{out} holds captions of a run with other {', '.join(other)}: choose another --out, or delete it"
            )
    elif (out / PARTS).exists():
        raise BenchmarkError(f"{out} holds captions of an unknown run: choose another --out, or delete it")
    write_text(path, json.dumps(dict(identity), indent=1) + "\n")


# --- scores ------------------------------------------------------------------------------------------------------


def score_benchmark(
    bench: Benchmark, records: Sequence[Record], done: Mapping[str, Mapping[str, Any]], failed: Mapping[str, str]
) -> dict[str, Any]:
    """All scores (raw scale) with intervals, blind baselines, and what could not be read."""
    absent = [record.id for record in records if record.id not in done]
    if absent and not bench.skip_unreadable:
        shown = "; ".join(failed.get(key, key) for key in absent[:5]) + ("; ..." if len(absent) > 5 else "")
        raise BenchmarkError(
            f"{len(absent)} of {len(records)} videos could not be read and have no caption ({shown}): "
            f"repair them and run again, or score the rest with skip_unreadable=true"
        )
    refs = {record.id: record.captions for record in records if record.id in done}
    if not refs:
        raise BenchmarkError(f"none of the {len(records)} videos could be read: nothing to score")
    found = evaluate(
        refs,
        {key: str(done[key]["caption"]) for key in refs},
        bench.metrics,
        emotions=_emotions(records, done) if "classes" in bench.metrics else None,
        word_forms=WORD_FORMS,
        train=_training_captions(bench) if "phrases" in bench.metrics else (),
        samples=bench.intervals,
    )
    return {
        "benchmark": bench.name,
        "config": to_dict(bench),
        "metrics": {VALUE_NAMES.get(name, name): value for name, value in found.values.items() if name not in HIDDEN},
        "intervals": {name: asdict(span) for name, span in found.intervals.items()},
        "skipped": found.skipped,
        "videos": found.videos,
        "references": found.references,
        "unreadable": {key: failed.get(key, "not captioned") for key in absent},
        "details": found.details,
        "per_video": {
            key: {name: round(value, 9) for name, value in row.items()} for key, row in found.per_video.items()
        },
    }


def _training_captions(bench: Benchmark) -> list[tuple[str, ...]]:
    """Captions of the manifest's training clips, from which the blind baselines are made."""
    rows = read_manifest(bench.manifest, fold=bench.fold, check_files=False)
    return [record.captions for record in rows if record.split == "train" and record.captions]


def _emotions(records: Sequence[Record], done: Mapping[str, Mapping[str, Any]]) -> EmotionPairs | None:
    """Emotions where both sides have one; none where the model tells none, or knows others."""
    pairs = [(r.id, r.emotion, done[r.id].get("emotion")) for r in records if r.emotion and r.id in done]
    truth = {key: emotion for key, emotion, guess in pairs if guess}
    guesses = {key: guess for key, _, guess in pairs if guess}
    strange = {name for name in truth.values() for guess in guesses.values() if name not in guess}
    if not truth or strange:
        _log.warning("no emotion scores: %s", f"the model does not know {min(strange)}" if strange else "no emotions")
        return None
    return EmotionPairs(truth, guesses, list(next(iter(guesses.values()))))


def benchmark_table(bench: Benchmark, report: Mapping[str, Any]) -> str:
    """Markdown: the published rows, ours beside them with intervals, and what a reader must know."""
    metrics, spans = report["metrics"], report["intervals"]
    empty = [""] * len(COLUMNS)
    rows = [
        [f"{row.system} (published, {row.source})", *(f"{getattr(row, key):g}" for key in COLUMNS), ""]
        for row in bench.published
    ]
    cells = [_cell(metrics, spans, name) for name in (*COLUMNS.values(), PHRASES)]
    rows.append([f"**{Path(report['checkpoint']).name}** (measured)", *cells])
    rows += [
        [f"phrases blind to the video, {name} (measured)", *empty, f"{100 * value:.2f}"]
        for name, value in report["details"].get("blind", {}).items()
    ]
    lines = [f"# {bench.name}", "", render_table(["System", *COLUMNS.values(), "Phrase F1"], rows)]
    lines += ["", f"Values x 100; in brackets the 95 % bootstrap interval. {report['videos']} videos, "
              f"{report['references']} references, split {bench.split}."]  # fmt: skip
    shown = {*COLUMNS.values(), PHRASES}
    others = [f"{name} {100 * value:.2f}" for name, value in metrics.items() if name not in shown]
    lines += [f"Other scores: {', '.join(others)}."] if others else []
    absent = report["unreadable"]
    if absent:
        lines.append(f"**Not scored: {len(absent)} videos that could not be read** ({', '.join(list(absent)[:10])}).")
    lines += [f"Skipped {name}: {why}." for name, why in report["skipped"].items()]
    if report["changed"] and bench.published:
        lines.append(f"**No comparison with the published rows**: {', '.join(report['changed'])}.")
    lines += [bench.note] if bench.note else []
    return "\n".join(lines) + "\n"


def _cell(metrics: Mapping[str, float], spans: Mapping[str, Mapping[str, float]], name: str) -> str:
    if name not in metrics:
        return ""
    text = f"{100 * metrics[name]:.2f}"
    span = spans.get(name)
    return f"{text} [{100 * span['low']:.2f}, {100 * span['high']:.2f}]" if span else text
