"""Score a checkpoint on a split of a manifest.

    python scripts/evaluate.py --checkpoint runs/tiny/best --manifest data/drawn/manifest.jsonl [--split test]

Prints the caption metrics, facial-phrase precision, recall and F1 beside two blind baselines, emotion words and
emotion accuracy, with 95 % intervals; with --out also writes predictions.jsonl and scores.json there.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import captioner
from captioner.config import Config, DecodeConfig
from captioner.data.dataset import ClipDataset
from captioner.data.feature_store import FeatureStore
from captioner.data.manifest import Record, read_manifest
from captioner.errors import CaptionerError
from captioner.files import write_text
from captioner.inference.predictor import Caption, Captioner
from captioner.lexicon.phrases import PHRASES, find_phrases
from captioner.train.trainer import predict_captions
from eval.emotion import emotion_word_scores, phrase_baselines, phrase_counts, phrase_scores
from eval.metrics import score_captions
from eval.significance import PHRASES as PHRASE_F1
from eval.significance import Interval, intervals, share_interval


def evaluate(
    model: Captioner,
    records: Sequence[Record],
    train: Sequence[Record],
    *,
    cache: str = "",
    batch: int = 32,
    beams: int = 0,
    style: str = "",
) -> tuple[dict[str, Caption], dict[str, Any], dict[str, Interval]]:
    """Captions by id, every score by name, and intervals of some; `train` is for the blind baselines."""
    config = Config()
    decode, size = DecodeConfig(beams=beams, style=style), model.model.config.video.size
    config = replace(config, train=replace(config.train, batch=batch), decode=decode)
    store = None
    if cache:
        experts = model.model.experts if model.model.config.prompts.vep else None
        store = FeatureStore(cache, model.model.config, experts, short_side=size)
    data = ClipDataset(records, model.model.config, model.tokenizer, cache=store, short_side=size)
    captions = predict_captions(model.model, model.tokenizer, model.pieces, data, config, model.device)

    place = model.model.config.styles.index(style) if style else 0
    refs = {r.id: words for r in records if (words := data.styled_captions(r).get(place))}
    texts = {i: captions[i].text for i in refs}
    told = [words for r in train if (words := data.styled_captions(r).get(place))]
    found = score_captions(refs, texts)
    scores, statistics = dict[str, Any](found.corpus), dict(found.statistics)
    phrases = phrase_scores(refs, texts)
    if phrases.wanted:
        scores |= {"Phrase P": phrases.precision, "Phrase R": phrases.recall, PHRASE_F1: phrases.f1}
        statistics[PHRASE_F1] = phrase_counts(refs, texts)
        scores |= {f"{PHRASE_F1}, {name} (blind)": value.f1 for name, value in phrase_baselines(told, refs).items()}
    said = emotion_word_scores(refs, texts)
    if said.unmarked < said.videos:
        scores |= {"Acc_sw": said.acc_sw, "Acc_c": said.acc_c}
    spans = intervals(statistics) if len(refs) > 1 else {}
    spans |= blind_ciders(refs, told) | emotion_accuracies(captions, records, train)
    scores |= {name: span.value for name, span in spans.items()} | evidence_accuracy(captions, records)
    scores |= {f"skipped {name}": why for name, why in found.skipped.items()}
    return captions, scores, spans


def blind_ciders(refs: dict[str, list[str]], train: Sequence[Sequence[str]]) -> dict[str, Interval]:
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
    captions: dict[str, Caption], records: Sequence[Record], train: Sequence[Record]
) -> dict[str, Interval]:
    """Share of labelled clips whose likeliest emotion is the label, and of guesses that know the training labels."""
    known = [r for r in records if r.emotion and captions[r.id].emotion]
    labels = [r.emotion for r in train if r.emotion]
    if not known or not labels:
        return {}
    often, dice = Counter(labels).most_common(1)[0][0], random.Random(0)
    said = {
        "emotion accuracy": [max(captions[r.id].emotion, key=captions[r.id].emotion.__getitem__) for r in known],
        "emotion accuracy, commonest (blind)": [often] * len(known),
        "emotion accuracy, random (blind)": [dice.choice(labels) for _ in known],
    }
    return {
        name: share_interval(sum(given == r.emotion for given, r in zip(answers, known, strict=True)), len(known))
        for name, answers in said.items()
    }


def evidence_accuracy(captions: dict[str, Caption], records: Sequence[Record]) -> dict[str, float]:
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


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder, shipped name or hub repository")
    parser.add_argument("--manifest", required=True, type=Path, help="JSONL manifest of the clips")
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--fold", type=int, help="fold of the manifest, where it has folds")
    parser.add_argument("--clips", type=int, default=0, help="only the first so many (default: all)")
    parser.add_argument("--beams", type=int, default=0, help="beams of the search; 1: greedy (default: the model's)")
    parser.add_argument("--style", default="", help="one of the model's manners of captions (default: its first)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--out", type=Path, help="folder for predictions.jsonl and scores.json")
    options = parser.parse_args(arguments)
    try:
        model = captioner.load(options.checkpoint, device=options.device)
        records = read_manifest(options.manifest, split=options.split, fold=options.fold)
        records = records[: options.clips] if options.clips else records
        train = [r for r in read_manifest(options.manifest, check_files=False) if r.split == "train"]
        captions, scores, spans = evaluate(model, records, train or records, beams=options.beams, style=options.style)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.checkpoint} on {len(records)} clips of {options.manifest} ({options.split})")
    for name, value in scores.items():
        span = f"  {spans[name].low:.4f} .. {spans[name].high:.4f}" if name in spans else ""
        print(f"{name:34s} {value:.4f}{span}" if isinstance(value, float) else f"{name}: {value}")
    if options.out:
        lines = [json.dumps({"id": i, **c.to_dict()}, ensure_ascii=False) for i, c in captions.items()]
        write_text(options.out / "predictions.jsonl", "\n".join(lines) + "\n")
        bounds = {name: [span.low, span.high] for name, span in spans.items()}
        report = {"clips": len(records), "scores": scores, "intervals": bounds}
        write_text(options.out / "scores.json", json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
