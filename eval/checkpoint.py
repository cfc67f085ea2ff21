"""Scores of a checkpoint on a split of a manifest: its captions, its emotions, its evidence, and blind baselines."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import captioner
from captioner.config import Config, DecodeConfig
from captioner.data.dataset import ClipDataset
from captioner.data.feature_store import FeatureStore
from captioner.data.manifest import Record, read_manifest
from captioner.errors import ConfigError
from captioner.files import write_text
from captioner.inference.manner import PLAIN, TOLD_FROM
from captioner.inference.predictor import Caption, Captioner
from captioner.lexicon.phrases import PHRASES, find_phrases
from captioner.train.validation import predict_captions
from eval.metrics import METRICS, score_captions
from eval.report import WORD_NAMES, Evaluation, evaluate
from eval.significance import PHRASES as PHRASE_F1
from eval.significance import Interval, intervals, share_interval

SAMPLES = 1000  # of the bootstrap


@dataclass
class CheckpointScores:
    """Captions by id, every score by name (a text for what was skipped), intervals of most."""

    captions: dict[str, Caption]
    scores: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """A line a score, its interval behind it."""
        lines = []
        for name, value in self.scores.items():
            span = self.intervals.get(name)
            bounds = f"  {span.low:.4f} .. {span.high:.4f}" if span else ""
            lines.append(f"{name:34s} {value:.4f}{bounds}" if isinstance(value, float) else f"{name}: {value}")
        return lines

    def write(self, folder: Path) -> None:
        """predictions.jsonl and scores.json."""
        rows = [json.dumps({"id": i, **c.to_dict()}, ensure_ascii=False) for i, c in self.captions.items()]
        write_text(folder / "predictions.jsonl", "\n".join(rows) + "\n")
        bounds = {name: [span.low, span.high] for name, span in self.intervals.items()}
        report = {"clips": len(self.captions), "scores": self.scores, "intervals": bounds}
        write_text(folder / "scores.json", json.dumps(report, indent=2) + "\n")


@dataclass(frozen=True)
class SplitOptions:
    """Which clips of a manifest, and how they are captioned."""

    split: str = "test"
    fold: int | None = None
    clips: int = 0
    """Only the first so many; 0: all."""
    beams: int = 0
    style: str = ""
    device: str = "auto"


def score_split(checkpoint: str, manifest: Path, options: SplitOptions) -> CheckpointScores:
    """A checkpoint's scores on a split; clips of the training split are what the blind baselines know."""
    if options.style == PLAIN:
        raise ConfigError(f"style {PLAIN!r} is worded from {TOLD_FROM!r}, which is what scores compare: use that")
    model = captioner.load(checkpoint, device=options.device)
    records = read_manifest(manifest, split=options.split, fold=options.fold)
    records = records[: options.clips] if options.clips else records
    train = [record for record in read_manifest(manifest, check_files=False) if record.split == "train"]
    return score_checkpoint(model, records, train or records, beams=options.beams, style=options.style)


def score_checkpoint(
    model: Captioner,
    records: Sequence[Record],
    train: Sequence[Record],
    *,
    cache: str = "",
    batch: int = 32,
    beams: int = 0,
    style: str = "",
) -> CheckpointScores:
    """Captions and scores of clips; `train` is for the blind baselines, `cache` a feature store's folder."""
    decode = DecodeConfig(beams=beams, style=style)
    config = Config()
    config = replace(config, train=replace(config.train, batch=batch), decode=decode)
    data = _dataset(model, records, cache)
    captions = predict_captions(model.model, model.tokenizer, model.pieces, data, config, model.device)
    place = model.model.config.styles.index(style) if style else 0
    refs = {r.id: words for r in records if (words := data.styled_captions(r).get(place))}
    known = [words for r in train if (words := data.styled_captions(r).get(place))]
    result = _evaluated(refs, {i: captions[i].text for i in refs}, known)
    spans = result.intervals | blind_ciders(refs, known) | emotion_accuracies(captions, records, train)
    scores: dict[str, Any] = dict(result.values)
    scores |= {f"{PHRASE_F1}, {name} (blind)": value for name, value in result.details.get("blind", {}).items()}
    scores |= {name: span.value for name, span in spans.items()} | evidence_accuracy(captions, records)
    scores |= {f"skipped {name}": why for name, why in result.skipped.items()}
    return CheckpointScores(captions, scores, spans)


def _dataset(model: Captioner, records: Sequence[Record], cache: str) -> ClipDataset:
    """The clips as the model takes them, with the features that a store has of them."""
    config = model.model.config
    size, store = config.video.size, None
    if cache:
        experts = model.model.experts if config.prompts.vep else None
        store = FeatureStore(cache, config, experts, short_side=size)
    return ClipDataset(records, config, model.tokenizer, store=store)


def _evaluated(refs: dict[str, Sequence[str]], texts: dict[str, str], known: list[Sequence[str]]) -> Evaluation:
    """Caption metrics, phrases, and the accuracies of emotion words where any reference holds one."""
    result = evaluate(refs, texts, (*METRICS, "phrases", "words"), train=known, samples=SAMPLES * (len(refs) > 1))
    words = result.details["words"]
    mixtures = ("BFS", "CFS")  # of numbers that stand there already
    left_out = mixtures if words["unmarked"] < words["videos"] else WORD_NAMES.values()
    for name in left_out:
        del result.values[name]
    return result


def blind_ciders(refs: Mapping[str, Sequence[str]], train: Sequence[Sequence[str]]) -> dict[str, Interval]:
    """CIDEr of two captioners that never look: one training caption, the commonest, for all; a random one for each."""
    if len(refs) < 2:
        return {}
    often = Counter(caption for captions in train for caption in captions)
    dice = random.Random(0)
    blind = {
        "CIDEr, fixed sentence (blind)": dict.fromkeys(refs, often.most_common(1)[0][0]),
        "CIDEr, random captions (blind)": {i: dice.choice(dice.choice(train)) for i in refs},
    }
    return {
        name: intervals({"CIDEr": score_captions(refs, texts, ("cider",)).statistics["CIDEr"]})["CIDEr"]
        for name, texts in blind.items()
    }


def emotion_accuracies(
    captions: Mapping[str, Caption], records: Sequence[Record], train: Sequence[Record]
) -> dict[str, Interval]:
    """Share of labelled clips whose likeliest emotion is the label, and of guesses that know the training labels."""
    known = [r for r in records if r.emotion and captions[r.id].emotion]
    labels = [r.emotion for r in train if r.emotion]
    if not known or not labels:
        return {}
    often, dice = Counter(labels).most_common(1)[0][0], random.Random(0)
    answers = {
        "emotion accuracy": [max(captions[r.id].emotion, key=captions[r.id].emotion.__getitem__) for r in known],
        "emotion accuracy, commonest (blind)": [often] * len(known),
        "emotion accuracy, random (blind)": [dice.choice(labels) for _ in known],
    }
    return {
        name: share_interval(sum(given == r.emotion for given, r in zip(row, known, strict=True)), len(known))
        for name, row in answers.items()
    }


def evidence_accuracy(captions: Mapping[str, Caption], records: Sequence[Record]) -> dict[str, float]:
    """Of the true action units that the caption names, the share whose linked word is in the phrase that names them."""
    hits = []
    for record in records:
        caption = captions[record.id]
        spans = find_phrases(caption.text)
        for unit in caption.action_units:
            naming = [span for span in spans if unit.id in PHRASES[span.name].aus]
            if unit.id in record.au_ids and naming and unit.words:
                said = [caption.text[span.start : span.end].lower() for span in naming]
                hits.append(any(unit.words[0].lower() in text.split() for text in said))
    return {"evidence accuracy": sum(hits) / len(hits)} if hits else {}
