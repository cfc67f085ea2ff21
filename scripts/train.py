"""Train a captioner: python scripts/train.py configs/tiny.yaml [train.epochs=5 model.prompts.k=2 ...]
Train a recogniser of emotion: python scripts/train.py configs/emotion/ve8.yaml --data.root DIR

On several GPUs: torchrun --nproc-per-node 8 scripts/train.py configs/paper.yaml --train.deepspeed configs/ds_zero2.json
What would it take: python scripts/train.py configs/paper.yaml --plan [--gpus 8 --price 2.50]   (price of a GPU's hour)

Reads a YAML config with `key=value` overrides, prepares what is missing (drawn clips, cached features),
trains, validates with the caption metrics, and writes `last` and `best` checkpoints into train.out.
Started again with the same config it goes on where it stopped, on another number of processes too. SIGTERM saves and
ends it with 143.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _command import config_arguments, guarded, script_parser

from captioner.config import Config, ModelConfig
from captioner.config_io import load_config, read_yaml
from captioner.data.dataset import ClipDataset
from captioner.data.feature_store import FeatureStore, open_store
from captioner.data.loader import BAD_LIST, BadVideos
from captioner.data.manifest import Record, read_manifest
from captioner.errors import CheckpointError, ConfigError
from captioner.inference.predictor import pick_device
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.phrases import PHRASES, phrase_names
from captioner.model import checkpoint
from captioner.model.captioner import EmotionCaptioner
from captioner.model.experts import resolve_experts
from captioner.model.tokenizer import TextPieces, Tokenizer, open_foreign
from captioner.train.checkpoints import CheckpointStore
from captioner.train.deepspeed_engine import DeepSpeedEngine
from captioner.train.emotion.run_config import EmotionRun
from captioner.train.engine import Engine, PlainEngine
from captioner.train.plan import Offer, draft, estimate
from captioner.train.processes import Processes, join_processes
from captioner.train.trainer import Progress, Trainer
from eval.emotion import phrase_scores
from eval.metrics import score_captions
from prompts.visual import ExpertFeatures

log = logging.getLogger("train")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options, path, overrides = config_arguments(parser(), arguments)
    return guarded(lambda: run(options, path, overrides), "the same command goes on from the last checkpoint")


def run(options: argparse.Namespace, path: str, overrides: list[str]) -> None:
    """What the config asks for: the protocol of a recogniser, the plan of a run, a run."""
    if "emotion" in read_yaml(Path(path)):
        recognise(load_config(EmotionRun, path, overrides))
    elif options.plan:
        print(what_it_takes(load_config(Config, path, overrides), options.gpus, options.price))
    else:
        train(load_config(Config, path, overrides))


def parser() -> argparse.ArgumentParser:
    """This script's own options."""
    own = script_parser(__doc__)
    own.add_argument("--plan", action="store_true", help="only say what the run would take")
    own.add_argument("--gpus", type=int, default=1, help="of the plan")
    own.add_argument("--price", type=float, default=0.0, help="of a GPU's hour, for the plan")
    own.add_argument("--local_rank", "--local-rank", help=argparse.SUPPRESS)  # of DeepSpeed's launcher
    return own


def recognise(run: EmotionRun) -> None:
    """The protocol of a recogniser of emotion: every split trained and tested."""
    from captioner.train.emotion.protocol import run_protocol

    if run.train.threads:
        torch.set_num_threads(run.train.threads)
    run_protocol(run, pick_device("auto"))


def train(config: Config) -> Progress:
    """The whole run, top to bottom."""
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    processes = join_processes(pick_device("auto"))
    if not processes.main:
        logging.getLogger().setLevel(logging.WARNING)
    try:
        with processes.peer_failures():
            progress = make_trainer(config, processes).run()
            processes.wait()
        return progress
    finally:
        processes.leave()


def make_trainer(config: Config, processes: Processes) -> Trainer:
    """The trainer of a run, its state taken up where it stopped."""
    config, model, tokenizer, data, validation, pieces = prepare(config, processes)
    kind = DeepSpeedEngine if config.train.deepspeed else PlainEngine
    engine: Engine = kind(model, config.train, processes.device, processes)
    meta = {
        "licence": "Apache-2.0 (code); weights as their training data allows",
        "training_data": config.data.manifest,
    }
    trainer = Trainer(
        config, engine, model, tokenizer, data, validation, caption_scores, pieces=pieces, meta=meta
    )  # fmt: skip
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    log.info(
        "%d clips, %.1f M trainable parameters, %d steps on %d x %s",
        len(data),
        trainable / 1e6,
        trainer.total,
        processes.size,
        processes.device,
    )
    trainer.resume()
    return trainer


def what_it_takes(config: Config, gpus: int, price: float) -> str:
    """The plan of a run: size, memory, steps, speed, hours, cost."""
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    manifest = Path(config.data.manifest)
    if config.data.drawn and not manifest.exists():
        return estimate(draft(config, None, round(0.8 * config.data.drawn)), pick_device("auto"), Offer(gpus, price))
    records = read_manifest(manifest, split="train", fold=config.data.fold, labels=config.model.labels)
    clips = sum(bool(record.captions) for record in records)
    vocabulary = find_tokenizer(config, records, Processes()).vocab_size
    return estimate(draft(config, vocabulary, clips), pick_device("auto"), Offer(gpus, price))


def prepare(
    config: Config, processes: Processes
) -> tuple[Config, EmotionCaptioner, Tokenizer, ClipDataset, ClipDataset | None, TextPieces]:
    """Clips, vocabulary, network and kept features of a run; the config comes back with what they settled."""
    records, held_out = read_clips(config, processes)
    held_out = held_out[: config.train.val_clips or None]
    settled, model, tokenizer, pieces = build_model(config, records, processes)
    store = open_store(config.data, settled, model, processes.device)
    if store is None and settled.prompts.reading:
        raise ConfigError("model.prompts.reading is fitted on kept features: set data.cache to a folder")
    bad = fill_store(store, [*records, *held_out], config, processes)
    readable = [record for record in records if record.id not in bad]
    if store is not None and settled.prompts.vep:
        fit_prompts(model, [(record, store.experts_of(record.video)) for record in readable])
    given: dict[str, Any] = {"cache": store, "short_side": config.data.short_side, "bad": bad}
    data = ClipDataset(
        records, settled, tokenizer, pieces if model.aligned else None, train=True, flip=config.data.flip,
        centre=config.data.crop == "centre", captions=config.train.captions, seed=config.train.seed,
        hide_faces=config.data.hide_faces, **given,
    )  # fmt: skip
    validation = ClipDataset(held_out, settled, tokenizer, **given)
    return replace(config, model=settled), model, tokenizer, data, validation if held_out else None, pieces


def fit_prompts(model: EmotionCaptioner, seen: list[tuple[Record, ExpertFeatures | None]]) -> None:
    """What the visual prompts take from the training clips before any step: the AUs' usual scores, and the reading."""
    known = [(record, features) for record, features in seen if features is not None]
    model.visual.fit_scores(torch.cat([features.au_scores for _, features in known]))
    if model.config.prompts.reading:
        faces = [(record, features) for record, features in known if bool(features.present[0])]
        said = [phrase_names(record.captions) for record, _ in faces]
        shown = torch.tensor([[name in names for name in PHRASES] for names in said])
        acted = [record.extra.get("actions", ()) for record, _ in faces]  # known of made clips
        done = torch.tensor([[name in names for name in ACTIONS] for names in acted]) if any(acted) else None
        model.visual.reading.fit(torch.cat([features.best_and_swing for _, features in faces]), shown, done)


def read_clips(config: Config, processes: Processes) -> tuple[list[Record], list[Record]]:
    """The clips of training and of validation; drawn first where the config says so."""
    with processes.first():
        manifest = draw_if_missing(config)
    fold, labels = config.data.fold, config.model.labels
    records = read_manifest(manifest, split="train", fold=fold, labels=labels)
    held_out = has_split(manifest, "val")
    return records, read_manifest(manifest, split="val", fold=fold, labels=labels) if held_out else []


def build_model(
    config: Config, records: list[Record], processes: Processes
) -> tuple[ModelConfig, EmotionCaptioner, Tokenizer, TextPieces]:
    """The network at the start of a run, the same for equal configs; its config comes back with what was settled."""
    torch.manual_seed(config.train.seed)
    tokenizer = find_tokenizer(config, records, processes)
    settled = replace(config.model, experts=resolve_experts(config.model.experts), vocab_size=tokenizer.vocab_size)
    model = EmotionCaptioner(settled)
    if config.train.start:
        checkpoint.start_from(model, checkpoint.locate(config.train.start))
    own = model.text.foreign if model.aligned else 0
    settled = replace(settled, text=replace(settled.text, vocab_size=own))
    model.config = settled
    pieces = TextPieces(tokenizer, open_foreign(settled.text.pretrained) if own else None, settled.fusion.max_text)
    return settled, model, tokenizer, pieces


def fill_store(
    store: FeatureStore | None, records: list[Record], config: Config, processes: Processes
) -> dict[str, str]:
    """Compute what the store lacks, each process its share; returns {id: fault} of the clips that cannot be read."""
    if store is None:
        return {}
    own = store.fill(records[processes.rank :: processes.size], workers=config.data.workers, progress=processes.main)
    bad = {name: fault for part in processes.all_gather_json(own) for name, fault in part.items()}
    if len(bad) > config.data.max_bad * len(records):
        path = Path(config.train.out) / BAD_LIST
        BadVideos(len(records), config.data.max_bad, path, write=processes.main).note(bad)  # which raises
    return bad


def has_split(manifest: Path, split: str) -> bool:
    """Whether any clip of a manifest is in a split."""
    return any(record.split == split for record in read_manifest(manifest, check_files=False))


def draw_if_missing(config: Config) -> Path:
    """The manifest's path; invented faces are drawn first when the config asks for them."""
    manifest = Path(config.data.manifest)
    if config.data.drawn and not manifest.exists():
        from captioner.synth.maker import make_drawn_clips

        log.info("drawing %d clips of invented faces into %s", config.data.drawn, manifest.parent)
        made = make_drawn_clips(manifest.parent, config.data.drawn, config.data.drawn_seed, config.data.drawn_size)
        if made != manifest:
            raise CheckpointError(f"data.manifest is {manifest}: name it {made.name} when clips are to be drawn")
    return manifest


def find_tokenizer(config: Config, records: list[Record], processes: Processes) -> Tokenizer:
    """The run's vocabulary: of its last checkpoint or of `train.start`, built from the captions, or by name."""
    saved = CheckpointStore(Path(config.train.out), processes).newest()
    if saved is not None or config.train.start:
        folder = saved.folder if saved is not None else checkpoint.locate(config.train.start)
        return Tokenizer.from_file(folder / "tokenizer.json")
    styles = config.model.styles
    captions = [c for r in records for c in (*r.captions, *(t for s in styles for t in r.extra.get(s, [])))]
    if config.model.tokenizer == "captions":
        return Tokenizer.build(captions, styles=max(1, len(styles)))
    try:
        return Tokenizer.from_pretrained(config.model.tokenizer)
    except CheckpointError as error:
        log.warning("%s: the vocabulary is built from the training captions instead", error)
        return Tokenizer.build(captions, size=30522, styles=max(1, len(styles)))


def caption_scores(refs: Mapping[str, Sequence[str]], hyps: Mapping[str, str]) -> dict[str, float]:
    """What validation is scored by: the fast caption metrics and the facial-phrase F1."""
    scores = dict(score_captions(refs, hyps, metrics=("bleu", "rouge", "cider")).corpus)
    return {**scores, "phrase F1": phrase_scores(refs, hyps).f1}


if __name__ == "__main__":
    sys.exit(main())
