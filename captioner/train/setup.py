"""From a configuration to a run of the captioner: clips, vocabulary, network, kept features, engine, trainer."""

import hashlib
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from captioner.config import Config, ModelConfig
from captioner.data.dataset import ClipDataset
from captioner.data.feature_store import FeatureStore, open_store
from captioner.data.inputs import read_inputs
from captioner.data.loader import BAD_LIST, BadVideos
from captioner.data.manifest import Record, read_manifest
from captioner.errors import CheckpointError, ConfigError, VideoError
from captioner.inference.captions import special_ids
from captioner.inference.predictor import pick_device
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.phrases import PHRASES, phrase_names
from captioner.model import checkpoint
from captioner.model.batch import features_of_faces
from captioner.model.bert_start import start_fusion
from captioner.model.captioner import EmotionCaptioner
from captioner.model.experts import resolve_experts
from captioner.model.tokenizer import TextPieces, Tokenizer, open_foreign
from captioner.train.checkpoints import CheckpointStore
from captioner.train.deepspeed_engine import DeepSpeedEngine
from captioner.train.engine import Engine, PlainEngine
from captioner.train.experts_check import LOOKED_AT, refuse_untrained, tell_what_experts_see
from captioner.train.foretell import foretell_step, settle_batch
from captioner.train.origins import Origin, check_equal_weights, origins_of, tell_origins, together
from captioner.train.plan import Offer, draft, estimate
from captioner.train.processes import Processes, join_processes
from captioner.train.self_critical import RewardMaker, SelfCritic
from captioner.train.trainer import Progress, Trainer
from captioner.train.validation import Scorer
from prompts.visual import ExpertFeatures

log = logging.getLogger(__name__)

FEW = 8  # clips that are read only to see whether the experts see anything


@dataclass(frozen=True)
class BuiltModel:
    """A network at the start of a run, and its configuration with what was settled on the way."""

    config: ModelConfig
    network: EmotionCaptioner
    tokenizer: Tokenizer
    pieces: TextPieces
    origins: dict[str, Origin]


@dataclass(frozen=True)
class PreparedRun:
    """What a trainer needs: the settled configuration, the network, clips to learn and clips kept back."""

    config: Config
    model: BuiltModel
    data: ClipDataset
    validation: ClipDataset | None
    judged_on: str
    """On which clips `best` is chosen, in words."""


def train_captioner(config: Config, scorer: Scorer, rewards: RewardMaker | None = None) -> Progress:
    """The whole run, top to bottom, in as many processes as a launcher has started."""
    processes = join_processes(pick_device("auto"))
    if not processes.main:
        logging.getLogger().setLevel(logging.WARNING)
    try:
        with processes.peer_failures():
            progress = make_trainer(config, processes, scorer, rewards).run()
            processes.wait()
        return progress
    finally:
        processes.leave()


def make_trainer(
    config: Config, processes: Processes, scorer: Scorer, rewards: RewardMaker | None = None
) -> Trainer:
    """The trainer of a run, its state taken up where it stopped."""
    config = replace(config, train=replace(config.train, batch=settle_batch(config, processes.size)))
    run = prepare_run(config, processes)
    if len(run.data) < processes.size:
        raise processes.error(f"{len(run.data)} training clips for {processes.size} processes: start fewer of them")
    network, train = run.model.network, run.config.train
    kind = DeepSpeedEngine if train.deepspeed else PlainEngine
    engine: Engine = kind(network, train, processes.device, processes)
    network.to(processes.device)
    foretell_step(run.config, network, engine)
    if train.tf32 and processes.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    if train.reward:
        set_critic(engine, run, rewards)
    meta = {
        "licence": "Apache-2.0 (code); weights as their training data allows",
        "training_data": config.data.manifest,
        "loaded": run.model.origins,
    }
    trainer = Trainer(
        run.config, engine, network, run.model.tokenizer, run.data, run.validation, scorer, pieces=run.model.pieces,
        meta=meta, judged_on=run.judged_on,
    )  # fmt: skip
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6
    log.info("%d clips, %.1f M trainable parameters, %d steps on %d x %s",
             len(run.data), trainable, trainer.total, processes.size, processes.device)  # fmt: skip
    trainer.resume()
    return trainer


def set_critic(engine: Engine, run: PreparedRun, rewards: RewardMaker | None) -> None:
    """From now on the engine's loss is that of drawn captions and their rewards."""
    if rewards is None or not isinstance(engine, PlainEngine):
        raise ConfigError("train.reward: nobody here says what a caption is worth; start scripts/train.py")
    special = special_ids(run.model.tokenizer, run.model.config.styles)
    engine.critic = SelfCritic(run.model.tokenizer, special, run.data.records, rewards, run.config.train)


def estimate_run(config: Config, gpus: int, price: float) -> str:
    """What a run would take: size, memory, steps, speed, hours, cost."""
    manifest = Path(config.data.manifest)
    config = replace(config, train=replace(config.train, batch=settle_batch(config, gpus)))
    if config.data.drawn and not manifest.exists():
        return estimate(draft(config, None, round(0.8 * config.data.drawn)), pick_device("auto"), Offer(gpus, price))
    records = read_manifest(manifest, split="train", fold=config.data.fold, labels=config.model.labels)
    clips = sum(bool(record.captions) for record in records)
    try:
        vocabulary = find_tokenizer(config, records).vocab_size
    except CheckpointError as error:
        log.warning("%s; the plan counts on BERT's vocabulary", error)
        vocabulary = None
    return estimate(draft(config, vocabulary, clips), pick_device("auto"), Offer(gpus, price))


def prepare_run(config: Config, processes: Processes) -> PreparedRun:
    """Clips, vocabulary, network and kept features of a run."""
    records, held_out = read_splits(config, processes)
    held_out = held_out[: config.train.val_clips or None]
    judged_on = about_validation(config, len(held_out))
    log.info("best: chosen by %s on %s", config.train.best_by, judged_on)
    built = build_model(config, records, processes)
    store = open_store(config.data, built.config, built.network, processes.device)
    if store is None and built.config.prompts.reads:
        key = f"model.prompts.{built.config.prompts.reads}"
        raise ConfigError(f"{key} lives on kept features: set data.cache to a folder")
    bad = fill_store(store, [*records, *held_out], config, processes)
    readable = [record for record in records if record.id not in bad]
    if built.config.prompts.vep:
        looked_at = features_of_clips(readable[:LOOKED_AT], store, built)
        together(processes, lambda: tell_what_experts_see(looked_at, built.config.experts))
    if store is not None and built.config.prompts.vep:
        known = [(record, store.experts_of(record.video)) for record in readable]
        fit_prompts(built.network, known, new=not config.train.start)
    if config.data.workers is None:
        config = replace(config, data=replace(config.data, workers=usual_workers(store, processes.size)))
    given: dict[str, Any] = {"data": config.data, "store": store, "bad": bad}
    pieces = built.pieces if built.network.aligned else None
    data = ClipDataset(records, built.config, built.tokenizer, pieces, train=config.train, **given)
    validation = ClipDataset(held_out, built.config, built.tokenizer, **given)
    validated = validation if held_out else None
    return PreparedRun(replace(config, model=built.config), built, data, validated, judged_on)


def usual_workers(store: FeatureStore | None, processes: int) -> int:
    """Processes that read ahead, each training process: cores that are left where clips are decoded, 4 at most."""
    if store is not None and not store.decoded:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(4, cores // processes - 1))


def about_validation(config: Config, clips: int) -> str:
    """On which clips `best` is chosen."""
    if not clips or not config.train.validate_every:
        return "nothing, it is the end of training (data.val_share holds clips out, train.validate_every validates)"
    if has_split(config.data.manifest, "val"):
        return f"{clips} clips of the manifest's validation part"
    return f"{clips} training clips held out by group (data.val_share={config.data.val_share:g})"


def features_of_clips(records: list[Record], store: FeatureStore | None, built: BuiltModel) -> list[ExpertFeatures]:
    """What the experts say of clips: kept features, or, of a few clips, computed here."""
    if store is not None:
        kept = [store.experts_of(record.video) for record in records]
        return [features for features in kept if features is not None]
    seen = []
    for record in records:
        try:
            faces = read_inputs(record.video, built.config).inputs[0].faces
        except (VideoError, OSError):
            continue  # the loop tells, and counts it
        if faces is not None:
            seen.append(features_of_faces(built.network.experts, faces))
        if len(seen) == FEW:
            break
    return seen


def fit_prompts(model: EmotionCaptioner, seen: list[tuple[Record, ExpertFeatures | None]], new: bool) -> None:
    """What the visual prompts take from the training clips before any step: the AUs' usual scores, the ER net's usual
    features where the weights are `new`, and the reading."""
    known = [(record, features) for record, features in seen if features is not None]
    model.visual.fit_scores(torch.cat([features.au_scores for _, features in known]))
    faces = [features.er for _, features in known if bool(features.present[0])]
    if new and len(faces) > 1:
        model.visual.fit_features(torch.cat(faces))
    if model.config.prompts.reading:
        met = [(record, features) for record, features in known if bool(features.present[0])]
        said = [phrase_names(record.captions) for record, _ in met]
        shown = torch.tensor([[name in names for name in PHRASES] for names in said])
        acted = [record.extra.get("actions", ()) for record, _ in met]  # known of synthetic clips
        done = torch.tensor([[name in names for name in ACTIONS] for names in acted]) if any(acted) else None
        model.visual.reading.fit(torch.cat([features.best_and_swing for _, features in met]), shown, done)


def read_splits(config: Config, processes: Processes) -> tuple[list[Record], list[Record]]:
    """The clips of training and of validation; drawn first where the config says so."""
    with processes.first():
        manifest = draw_if_missing(config)
    fold, labels = config.data.fold, config.model.labels
    records = read_manifest(manifest, split="train", fold=fold, labels=labels)
    if has_split(manifest, "val"):
        if config.data.val_share:
            log.info("data.val_share is not used: %s has a validation part", manifest)
        return records, read_manifest(manifest, split="val", fold=fold, labels=labels)
    return hold_out(records, config.data.val_share)


def hold_out(records: list[Record], share: float) -> tuple[list[Record], list[Record]]:
    """Clips to learn and about that share of them kept back, groups undivided; whoever is in which follows by name."""
    if not share:
        return records, []
    chances = {record.id: _chance(record.group or record.id) for record in records}
    kept = [record for record in records if chances[record.id] >= share]
    back = [record for record in records if chances[record.id] < share and record.captions]
    if not kept or not back:
        raise ConfigError(
            f"data.val_share={share:g} leaves {len(kept)} of {len(records)} clips to learn, {len(back)} to validate: "
            f"choose another share"
        )
    return kept, back


def _chance(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def build_model(config: Config, records: list[Record], processes: Processes) -> BuiltModel:
    """The network at the start of a run, the same for equal configs."""
    saved = CheckpointStore(Path(config.train.out), processes).newest()
    built = together(processes, lambda: build_network(config, records, saved.folder if saved else None))
    check_equal_weights(built.network, processes)
    tell_origins(built.origins)
    return built


def build_network(config: Config, records: list[Record], last: Path | None) -> BuiltModel:
    """The same in one process; `last` is the checkpoint that the run will go on from."""
    if config.model.prompts.vep:
        refuse_untrained(config.model.experts)
    torch.manual_seed(config.train.seed)
    tokenizer = find_tokenizer(config, records, last)
    settled = replace(config.model, experts=resolve_experts(config.model.experts), vocab_size=tokenizer.vocab_size)
    network = EmotionCaptioner(settled)
    if config.model.fusion.pretrained and not config.train.start and last is None:
        start_fusion(network.fusion, config.model.fusion.pretrained, tokenizer)
    if config.train.start:
        checkpoint.start_from(network, checkpoint.locate(config.train.start))
    own = network.text.foreign if network.aligned else 0
    video = replace(settled.video, network=network.video.network)
    settled = replace(settled, video=video, text=replace(settled.text, vocab_size=own))
    network.config = settled
    pieces = TextPieces(tokenizer, open_foreign(settled.text.pretrained) if own else None, settled.fusion.max_text)
    known = checkpoint.read_meta(last / "config.json").get("loaded") if last is not None else None
    origins = known or origins_of(settled, network, tokenizer, config.train.start)
    return BuiltModel(settled, network, tokenizer, pieces, origins)


def fill_store(
    store: FeatureStore | None, records: list[Record], config: Config, processes: Processes
) -> dict[str, str]:
    """Compute what the store lacks, each process its share; returns {id: fault} of the clips that cannot be read."""
    if store is None:
        return {}
    own = store.fill(
        records[processes.rank :: processes.size], workers=config.data.workers or 0, progress=processes.main
    )
    bad = {name: fault for part in processes.all_gather_json(own) for name, fault in part.items()}
    if len(bad) > config.data.max_bad * len(records):
        path = Path(config.train.out) / BAD_LIST
        BadVideos(len(records), config.data.max_bad, path, write=processes.main).note(bad)  # which raises
    return bad


def has_split(manifest: str | Path, split: str) -> bool:
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


def find_tokenizer(config: Config, records: list[Record], last: Path | None = None) -> Tokenizer:
    """The run's vocabulary: of its last checkpoint or of `train.start`, built from the captions, or by name."""
    if last is not None or config.train.start:
        folder = last or checkpoint.locate(config.train.start)
        return Tokenizer.from_file(folder / "tokenizer.json")
    styles = config.model.styles
    captions = [c for r in records for c in (*r.captions, *(t for s in styles for t in r.extra.get(s, [])))]
    if config.model.tokenizer == "captions":
        return Tokenizer.build(captions, styles=max(1, len(styles)))
    try:
        return Tokenizer.from_pretrained(config.model.tokenizer)
    except CheckpointError as error:
        raise CheckpointError(
            f"model.tokenizer={config.model.tokenizer}: {error}; put its vocab.txt or tokenizer.json into a folder and "
            f"name that, or set model.tokenizer=captions to build a vocabulary from the captions"
        ) from None
