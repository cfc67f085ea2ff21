"""The runs behind an ablation's rows: captioners trained and scored, PE-CLIP's protocol."""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial, reduce
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import captioner
from captioner.config import Config
from captioner.config_io import load_config, to_dict
from captioner.data.dataset import EpochOrder
from captioner.data.manifest import Record, read_manifest
from captioner.emotion.prior import EmotionPrior
from captioner.errors import ConfigError, ManifestError
from captioner.files import write_text
from captioner.inference.predictor import pick_device
from captioner.model.batch import collate
from captioner.model.experts import load_experts, save_experts
from captioner.train.emotion.protocol import run_protocol
from captioner.train.emotion.run_config import load_emotion_run
from captioner.train.emotion.words_config import WordsRun
from captioner.train.engine import PlainEngine
from captioner.train.processes import Processes
from captioner.train.setup import prepare_run, train_captioner
from eval.ablation import (
    PRIOR_COLUMNS,
    AblationFamily,
    AblationOptions,
    AblationTable,
    difference_table,
    interval_table,
    protocol_table,
    score_table,
)
from eval.checkpoint import CheckpointScores, score_checkpoint
from eval.report import validation_scores
from eval.rewards import CiderReward
from eval.speed.timing import median_spent, time_in_turns
from eval.words_runs import run_words_rows, words_table
from prompts.au_graph import AUGraph
from prompts.er_net import ERNet

UNTRAINED = "model.experts.source=untrained"  # in a row: the configuration's experts with random weights
RESULT = "test.json"

_log = logging.getLogger(__name__)


def folder_of_runs(family: AblationFamily, config: Path, overrides: Sequence[str]) -> Path:
    """Where a family's runs go: its own folder, or the configuration's."""
    if family.out:
        return Path(family.out)
    if family.kind == "words":
        return Path(load_config(WordsRun, config, list(overrides)).out)
    return Path(load_emotion_run(config, list(overrides)).train.out)


def run_ablation(family: AblationFamily, table: AblationTable, options: AblationOptions) -> str:
    """The table as Markdown, also written into the folder of its runs; finished runs are kept."""
    seeds = f"{options.seeds} seed{'s' if options.seeds > 1 else ''} a row, scores x 100"
    if family.kind == "captioner":
        runs, seconds = run_rows(table, options)
        parts = [
            f"Table {table.name} ({table.about}), {about_clips(options)}, {seeds}:",
            score_table(runs, seconds),
            "95 % intervals over clips, p against the first row:",
            interval_table(runs),
        ]
    elif family.kind == "prior":
        runs, alone = run_prior_rows(family, table, options)
        parts = [
            f"Table {table.name} ({table.about}), {seeds}:",
            difference_table(runs),
            f"PE-CLIP alone: emotion accuracy {100 * alone:.1f}",
        ]
    elif family.kind == "words":
        parts = [f"Table {table.name} ({table.about}), {seeds}:", words_table(run_words_rows(table, options))]
    else:
        summaries = run_protocol_rows(table, options)
        parts = [f"Table {table.name} ({table.about}):", protocol_table(summaries)]
    parts += [table.note] if table.note else []
    text = "\n\n".join(parts) + "\n"
    write_text(options.out / f"table_{table.name}.md", text)
    return text


def about_clips(options: AblationOptions) -> str:
    """On which clips the rows were scored."""
    config = load_config(Config, options.config, list(options.overrides))
    clips = [r for r in read_manifest(config.data.manifest, split="test", check_files=False) if r.captions]
    invented = config.data.drawn or any("actions" in record.extra for record in clips)
    kind = "drawn faces, synthetic" if config.data.drawn else "synthetic" if invented else "as its manifest says"
    return f"{len(clips)} test clips of {config.data.manifest} ({kind})"


# --- captioners --------------------------------------------------------------------------------------------------


def run_rows(
    table: AblationTable, options: AblationOptions
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float]]:
    """What the runs of every row with every seed left, a few at a time, and the seconds of an iteration of each row."""
    words = {row.name: row_overrides(row.changes, options) for row in table.rows}  # once, before runs share experts
    folders = {row.name: changes_that_count(row.changes, options) for row in table.rows}
    # seeds outside: an interrupted table has whole comparisons
    places = [(name, seed) for seed in range(options.seeds) for name in words]
    calls = [partial(_run_row, run_folder(folders[n], s), [*words[n], f"train.seed={s}"], options) for n, s in places]
    found = dict(zip(places, _in_workers(options.jobs, calls), strict=True))
    runs = {name: [found[name, seed] for seed in range(options.seeds)] for name in words}
    return runs, iteration_seconds(words, options)


def _in_workers(jobs: int, calls: Sequence[Callable[[], dict[str, Any]]]) -> list[dict[str, Any]]:
    """What calls return, in their order; several processes load the libraries once for all their calls."""
    if jobs < 2:
        return [call() for call in calls]
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin_worker) as pool:
        waiting = [pool.submit(call) for call in calls]
        try:
            return [job.result() for job in waiting]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin_worker() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


def changes_that_count(changes: Sequence[str], options: AblationOptions) -> list[str]:
    """Without those that the configuration says anyway, so that rows that are the same share a run."""
    asked = [change for change in changes if change != UNTRAINED]
    usual = load_config(Config, options.config, list(options.overrides))
    own = load_config(Config, options.config, [*asked, *options.overrides])
    told = [change for change in asked if _value(usual, change) != _value(own, change)]
    return [*told, *(change for change in changes if change == UNTRAINED)]


def _value(config: Config, change: str) -> Any:
    """What a configuration says where a change would change it."""
    return reduce(getattr, change.partition("=")[0].split("."), config)


def row_overrides(changes: Sequence[str], options: AblationOptions) -> list[str]:
    """The changes of a row and those for every row; for untrained experts the nets, made beside the runs."""
    words = [*(change for change in changes if change != UNTRAINED), *options.overrides]
    if UNTRAINED not in changes:
        return words
    trained = load_config(Config, options.config, list(options.overrides)).model.experts.source
    folder = options.out / "untrained-experts"
    if not (folder / "config.json").exists():
        known = load_experts(trained)
        torch.manual_seed(0)
        er, au = ERNet(known.er.config), AUGraph(known.au.config)
        spec = replace(known.config, training_data="nothing: random weights")
        save_experts(folder, er, au, spec, card=f"# The nets of {trained} with random weights\n", whole_au=False)
    return [*words, f"model.experts.source={folder}", "model.experts.untrained=allowed"]


def run_folder(changes: Sequence[str], seed: int) -> str:
    """A folder name that says what differs; equal rows of different tables share a run."""
    names = sorted(change.removeprefix("model.prompts.").replace("=", "_").replace("/", "_") for change in changes)
    return "-".join(names or ["full"]) + f"-seed{seed}"


def _run_row(folder: str, words: list[str], options: AblationOptions) -> dict[str, Any]:
    return _trained_once(folder, words, options, _scores_and_captions)


def _scores_and_captions(records: list[Record], found: CheckpointScores) -> dict[str, Any]:
    refs = {record.id: list(record.captions) for record in records if record.captions}
    return {"scores": found.scores, "refs": refs, "hyps": {i: found.captions[i].text for i in refs}}


def _trained_once(
    folder: str,
    words: list[str],
    options: AblationOptions,
    keep: Callable[[list[Record], CheckpointScores], dict[str, Any]],
) -> dict[str, Any]:
    """What is kept of a run's scores on the test clips; it is trained and scored unless that has been done."""
    out = options.out / folder
    result = out / RESULT
    config = load_config(Config, options.config, [*words, f"train.out={out}"])
    settings = json.loads(json.dumps(to_dict(replace(config, train=replace(config.train, out="")))))
    if result.exists():
        kept: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        if kept.get("settings", settings) != settings:
            raise ConfigError(f"{out} holds a run of other settings: delete it, or name another folder by --out")
        return kept
    torch.set_num_threads(config.train.threads or 1)
    train_captioner(config, validation_scores, CiderReward)  # a finished run returns at once
    records = read_manifest(config.data.manifest, split="test")
    train = read_manifest(config.data.manifest, split="train", check_files=False)
    kept = keep(records, score_checkpoint(captioner.load(out / "last"), records, train, cache=config.data.cache))
    write_text(result, json.dumps({**kept, "settings": settings}, indent=1) + "\n")
    return kept


def iteration_seconds(words: dict[str, list[str]], options: AblationOptions) -> dict[str, float]:
    """Median seconds of a training step with cached experts; the rows take turns, so all meet the same machine."""
    works = {name: _iteration(load_config(Config, options.config, row)) for name, row in words.items()}
    return {name: median_spent(turns).clock for name, turns in time_in_turns(works, options.turns, warm=2).items()}


def _iteration(config: Config) -> Callable[[], None]:
    """A step of training on the run's first batch."""
    run = prepare_run(config, Processes())
    train = run.config.train
    engine = PlainEngine(run.model.network.train(), train, torch.device("cpu"))
    order = next(iter(EpochOrder(len(run.data), train.batch, 0, 0)))
    batch = partial(collate, pad_id=run.model.tokenizer.pad_id)([run.data[place] for place in order])

    def step() -> None:
        engine.backward(torch.stack([*engine.losses(batch, False).live.values()]).sum())
        engine.step(1e-6)

    return step


# --- the prior ---------------------------------------------------------------------------------------------------


def run_prior_rows(
    family: AblationFamily, table: AblationTable, options: AblationOptions
) -> tuple[dict[str, list[dict[str, Any]]], float]:
    """Scores of every row with every seed, and the share of clips that PE-CLIP alone is right on."""
    if options.clips is None:
        raise ConfigError(
            f"--clips is missing: the manifest of synthetic clips with captions in style {family.style!r}"
        )
    manifest = options.out / "manifest.jsonl"
    write_style(options.clips, manifest, family.style, options.most)

    runs: dict[str, list[dict[str, Any]]] = {row.name: [] for row in table.rows}
    for seed in range(options.seeds):  # seeds outside: an interrupted table has whole comparisons
        for row in table.rows:
            words = [f"data.manifest={manifest}", *row.changes, *options.overrides, f"train.seed={seed}"]
            runs[row.name].append(_trained_once(run_folder(row.changes, seed), words, options, _prior_scores))
    torch.set_num_threads(1)
    configs = (load_config(Config, options.config, [*row.changes, *options.overrides]) for row in table.rows)
    source = next((config.model.emotion_prior_source for config in configs if config.model.emotion_prior), None)
    if source is None:
        raise ConfigError(f"table {table.name}: no row has a model.emotion_prior, which the others are compared with")
    return runs, prior_accuracy(source, list(read_manifest(manifest, split="test")))


def _prior_scores(records: list[Record], found: CheckpointScores) -> dict[str, Any]:
    return {name: found.scores[name] for name in PRIOR_COLUMNS if name in found.scores}


def write_style(clips: Path, out: Path, style: str, most: int) -> None:
    """The manifest with captions of another style, which the clips hold in `extra`; `most` training clips at most."""
    lines, kept = [], 0
    for line in clips.read_text(encoding="utf-8").splitlines():
        about = json.loads(line)
        captions = about.get("extra", {}).get(style, [])
        if not captions:
            raise ManifestError(f"{clips}: clip {about.get('id')} has no captions in the style {style!r}")
        kept += about["split"] == "train"
        if about["split"] == "val" or (about["split"] == "train" and kept > most):
            continue
        video = (clips.parent / about["video"]).resolve()
        chosen = {key: about[key] for key in ("id", "split", "emotion")}
        lines.append(json.dumps({**chosen, "video": str(video), "captions": captions}))
    write_text(out, "\n".join(lines) + "\n")


def prior_accuracy(source: str, records: Sequence[Record]) -> float:
    """Share of the clips whose emotion is PE-CLIP's likeliest."""
    prior = EmotionPrior(source)
    beliefs = [prior.read(record.video) for record in records]
    answers = [belief.labels[int(belief.probs[0].argmax())] for belief in beliefs]
    return sum(answer == r.emotion for answer, r in zip(answers, records, strict=True)) / len(records)


# --- recognisers -------------------------------------------------------------------------------------------------


def run_protocol_rows(table: AblationTable, options: AblationOptions) -> dict[str, dict[str, Any]]:
    """The summary of every row's protocol; frame features are shared, and finished splits are kept."""
    whole = load_emotion_run(options.config, list(options.overrides))
    cache = whole.data.cache or str(options.out / "features")
    summaries = {}
    for place, row in enumerate(table.rows):
        out = options.out / f"table-{table.name}" / f"row-{place}"
        words = [*options.overrides, *row.changes, f"train.out={out}", f"data.cache={cache}"]
        _log.info("table %s, %s", table.name, row.name)
        # in a process of its own: the most memory that a process ever took never falls
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            summaries[row.name] = pool.submit(_protocol_row, options.config, words).result()
    return summaries


def _protocol_row(config: Path, words: list[str]) -> dict[str, Any]:
    """A row's protocol."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    run = load_emotion_run(config, words)
    if run.train.threads:
        torch.set_num_threads(run.train.threads)
    return run_protocol(run, pick_device("auto"))
