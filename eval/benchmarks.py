"""Benchmarks: a checkpoint captions the test clips of a manifest, and is scored beside the published rows.

Predictions are appended batch by batch, each process to a file of its own in OUT/parts; the same command goes on
where a killed one stopped. Batches are fixed slices of the clips, so that neither the number of processes nor a
restart changes a caption.
"""

import hashlib
import json
import logging
import multiprocessing
import os
import queue
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from captioner.config import DecodeConfig, check, load, to_dict
from captioner.data.manifest import SPLITS, Record, read_manifest
from captioner.errors import CaptionerError, ConfigError, VideoError, unknown
from captioner.files import missing, write_text
from eval.emotion import class_scores, emotion_word_scores, phrase_baselines, phrase_counts, phrase_scores
from eval.metrics import METRICS, CaptionScores, score_captions
from eval.significance import PHRASES, intervals

if TYPE_CHECKING:
    from captioner.inference.predictor import Captioner

CHOICES = (*METRICS, "phrases", "words", "classes")
COLUMNS = {"bleu4": "BLEU-4", "meteor": "METEOR", "rouge": "ROUGE-L", "cider": "CIDEr"}
FORMS: tuple[Literal["strict", "compat"], ...] = ("strict", "compat")
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
    bench, out = load(Benchmark, config, overrides), Path(out)
    if shards < 1:
        raise ConfigError(f"--shards is {shards}: at least 1 is needed")
    records = clips_of(bench)
    identity = _identity(bench, checkpoint, records)
    _claim(out, identity)
    done = _recover(out / PARTS)
    todo = [batch for batch in _batches(records, bench.batch) if any(r.id not in done for r in batch)]
    failed = _caption(bench, checkpoint, todo, out / PARTS, shards, len(records)) if todo else {}
    done = _recover(out / PARTS)
    order = [record for record in records if record.id in done]
    write_text(out / PREDICTIONS, "".join(_line(done[record.id]) for record in order))
    report = evaluate(bench, records, done, failed)
    report |= {"checkpoint": checkpoint, "run": identity}
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


# --- captioning --------------------------------------------------------------------------------------------------


def _batches(records: Sequence[Record], size: int) -> list[list[Record]]:
    return [list(records[at : at + size]) for at in range(0, len(records), size)]


def _caption(
    bench: Benchmark, checkpoint: str, todo: Sequence[Sequence[Record]], parts: Path, shards: int, clips: int
) -> dict[str, str]:
    """Captions batches in `shards` processes; returns {id: fault} of the videos that cannot be read."""
    shards = min(shards, len(todo))
    before = clips - sum(map(len, todo))
    failed = {}
    with tqdm(total=clips, initial=before, desc=bench.name, unit="clip", disable=None) as bar:
        alone = shards == 1
        rows = _alone(bench, checkpoint, todo, parts) if alone else _together(bench, checkpoint, todo, parts, shards)
        for key, fault in rows:
            bar.update(1)
            if fault:
                failed[key] = fault
    return failed


def _alone(
    bench: Benchmark, checkpoint: str, todo: Sequence[Sequence[Record]], parts: Path, shard: int = 0
) -> Iterator[tuple[str, str]]:
    """Captions batches in this process; yields (id, fault or "") of each clip once it is on disk."""
    import torch

    from captioner.inference.predictor import Captioner

    threads = torch.get_num_threads()
    torch.set_num_threads(bench.threads)
    try:
        model = Captioner.from_pretrained(checkpoint, device=bench.device)
        options = DecodeConfig(beams=bench.beams, max_words=bench.max_words)
        parts.mkdir(parents=True, exist_ok=True)
        with (parts / f"{shard}.jsonl").open("ab", buffering=0) as file:
            for batch in todo:
                rows, faults = _captioned(model, batch, options)
                for row in rows:  # one write a line: what a kill leaves is whole lines and at most one torn
                    file.write(_line(row).encode())
                yield from ((record.id, faults.get(record.id, "")) for record in batch)
    finally:
        torch.set_num_threads(threads)


def _captioned(
    model: "Captioner", batch: Sequence[Record], options: DecodeConfig
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The predictions of a batch, and {id: fault} of the videos that cannot be read."""
    from torch import OutOfMemoryError

    from captioner.data.feature_store import look
    from captioner.inference.predictor import caption_batch
    from captioner.model.batch import ClipItem, collate

    items, faults = [], {}
    for record in batch:
        try:
            seen = look(record.video, model.model.config)
        except VideoError as error:
            faults[record.id] = str(error)
            continue
        items.append(ClipItem(seen, record.id))
    if not items:
        return [], faults
    try:
        made = caption_batch(model.model, model.tokenizer, model.pieces, collate(items).to(model.device), options)
    except OutOfMemoryError:
        raise BenchmarkError(f"{model.device} is out of memory: batch=1 or device=cpu") from None
    rows: list[dict[str, Any]] = []
    for item, caption in zip(items, made, strict=True):
        rows.append({"id": item.id, "caption": caption.text, "score": round(caption.score, 6)})
        if caption.emotion:
            rows[-1]["emotion"] = {name: round(p, 6) for name, p in caption.emotion.items()}
    return rows, faults


def _together(
    bench: Benchmark, checkpoint: str, todo: Sequence[Sequence[Record]], parts: Path, shards: int
) -> Iterator[tuple[str, str]]:
    """As `_alone`, in several processes; one that fails ends the others."""
    context = multiprocessing.get_context("spawn")
    news: Any = context.Queue()
    workers = [
        context.Process(target=_work, args=(bench, checkpoint, todo[n::shards], parts, n, news), daemon=True)
        for n in range(shards)
    ]
    for worker in workers:
        worker.start()
    try:
        at_work, silent = set(range(shards)), set[int]()
        while at_work:
            try:
                kind, shard, value = news.get(timeout=0.5)
            except queue.Empty:
                ended = {shard for shard in at_work if workers[shard].exitcode is not None}
                for shard in ended & silent:  # its last words may still have been on their way
                    raise BenchmarkError(
                        f"process {shard + 1} of {shards} ended with code {workers[shard].exitcode} (out of memory?): "
                        f"run the same command again to go on, with fewer --shards"
                    ) from None
                silent = ended
                continue
            if kind == "clip":
                yield value
            elif kind == "error":
                raise BenchmarkError(value)
            else:
                at_work.discard(shard)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _work(
    bench: Benchmark, checkpoint: str, todo: Sequence[Sequence[Record]], parts: Path, shard: int, news: Any
) -> None:
    """What one process does; it ends when its parent is gone."""
    parent = os.getppid()
    try:
        for row in _alone(bench, checkpoint, todo, parts, shard):
            news.put(("clip", shard, row))
            if os.getppid() != parent:
                return
        news.put(("done", shard, None))
    except CaptionerError as error:
        news.put(("error", shard, str(error)))
    except KeyboardInterrupt:
        pass


# --- what a run leaves -------------------------------------------------------------------------------------------


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


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


def _recover(parts: Path) -> dict[str, dict[str, Any]]:
    """Predictions by id from all parts; torn lines are dropped, from the files too."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(parts.glob("*.jsonl")):
        lines = path.read_bytes().split(b"\n")
        kept = []
        for raw in lines:
            row = _parsed(raw)
            if row is not None:
                found.setdefault(row["id"], row)
                kept.append(raw)
        whole = b"".join(raw + b"\n" for raw in kept)
        if whole != b"\n".join(lines):
            _log.warning("%s: a line was cut short; its clip is captioned again", path)
            write_text(path, whole.decode())
    return found


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(raw)
    except ValueError:  # a UnicodeDecodeError is one too
        return None
    return row if isinstance(row, dict) and isinstance(row.get("id"), str) and "caption" in row else None


# --- scores ------------------------------------------------------------------------------------------------------


def evaluate(
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
    hyps = {key: str(done[key]["caption"]) for key in refs}
    found = score_captions(refs, hyps, [name for name in METRICS if name in bench.metrics])
    values, statistics = dict(found.corpus), dict(found.statistics)
    details: dict[str, Any] = {}
    if "phrases" in bench.metrics:
        phrases = phrase_scores(refs, hyps)
        if phrases.wanted:
            values |= {"Phrase P": phrases.precision, "Phrase R": phrases.recall, PHRASES: phrases.f1}
            statistics[PHRASES] = phrase_counts(refs, hyps)
            details["blind"] = _blind(bench, refs)
    if "words" in bench.metrics:
        details["words"] = words = {form: asdict(emotion_word_scores(refs, hyps, form)) for form in FORMS}
        names = {"acc_sw": "Acc_sw", "acc_c": "Acc_c", "bfs": "BFS", "cfs": "CFS"}
        values |= {f"{name} {form}": row[key] for form, row in words.items() for key, name in names.items()}
    if "classes" in bench.metrics:
        details["classes"] = classes = _classes(records, done)
        named = {"accuracy": "Emotion accuracy", "uar": "Emotion UAR", "macro_f1": "Emotion macro-F1"}
        values |= {name: classes[key] for key, name in named.items() if classes}
    spans = intervals(statistics, bench.intervals) if bench.intervals and statistics else {}
    return {
        "benchmark": bench.name,
        "config": to_dict(bench),
        "metrics": values,
        "intervals": {name: asdict(span) for name, span in spans.items()},
        "skipped": found.skipped,
        "videos": len(refs),
        "references": found.references,
        "unreadable": {key: failed.get(key, "not captioned") for key in absent},
        "details": details,
        "per_video": _rounded(found),
    }


def _rounded(found: CaptionScores) -> dict[str, dict[str, float]]:
    return {key: {name: round(value, 9) for name, value in row.items()} for key, row in found.per_video.items()}


def _blind(bench: Benchmark, refs: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Phrase F1 of captions that never saw the video, from the manifest's training split."""
    rows = read_manifest(bench.manifest, fold=bench.fold, check_files=False)
    train = [record.captions for record in rows if record.split == "train" and record.captions]
    return {name: value.f1 for name, value in phrase_baselines(train, refs).items()} if train else {}


def _classes(records: Sequence[Record], done: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Emotion accuracy where both sides have an emotion; empty where the model tells none."""
    pairs = [(r.id, r.emotion, done[r.id].get("emotion")) for r in records if r.emotion and r.id in done]
    truth = {key: emotion for key, emotion, guess in pairs if guess}
    guesses = {key: guess for key, _, guess in pairs if guess}
    strange = {name for name in truth.values() for guess in guesses.values() if name not in guess}
    if not truth or strange:
        _log.warning("no emotion scores: %s", f"the model does not know {min(strange)}" if strange else "no emotions")
        return {}
    return asdict(class_scores(truth, guesses, list(next(iter(guesses.values())))))


def benchmark_table(bench: Benchmark, report: Mapping[str, Any]) -> str:
    """Markdown: the published rows, ours beside them with intervals, and what a reader must know."""
    lines = [f"# {bench.name}", "", "| System | " + " | ".join(COLUMNS.values()) + " | Phrase F1 |"]
    lines.append("|---|" + "---:|" * (len(COLUMNS) + 1))
    for row in bench.published:
        cells = [f"{getattr(row, key):g}" for key in COLUMNS]
        lines.append(f"| {row.system} (published, {row.source}) | {' | '.join(cells)} | |")
    metrics, spans = report["metrics"], report["intervals"]
    cells = [_cell(metrics, spans, name) for name in (*COLUMNS.values(), PHRASES)]
    lines.append(f"| **{Path(report['checkpoint']).name}** (measured) | {' | '.join(cells)} |")
    for name, value in report["details"].get("blind", {}).items():
        empty = " |" * len(COLUMNS)
        lines.append(f"| phrases blind to the video, {name} (measured) |{empty} {100 * value:.2f} |")
    lines += ["", f"Values x 100; in brackets the 95 % bootstrap interval. {report['videos']} videos, "
              f"{report['references']} references, split {bench.split}."]  # fmt: skip
    shown = {*COLUMNS.values(), PHRASES}
    others = [f"{name} {100 * value:.2f}" for name, value in metrics.items() if name not in shown]
    lines += [f"Other scores: {', '.join(others)}."] if others else []
    absent = report["unreadable"]
    if absent:
        lines.append(f"**Not scored: {len(absent)} videos that could not be read** ({', '.join(list(absent)[:10])}).")
    lines += [f"Skipped {name}: {why}." for name, why in report["skipped"].items()]
    lines += [bench.note] if bench.note else []
    return "\n".join(lines) + "\n"


def _cell(metrics: Mapping[str, float], spans: Mapping[str, Mapping[str, float]], name: str) -> str:
    if name not in metrics:
        return ""
    text = f"{100 * metrics[name]:.2f}"
    span = spans.get(name)
    return f"{text} [{100 * span['low']:.2f}, {100 * span['high']:.2f}]" if span else text
