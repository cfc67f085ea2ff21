"""From what the model sees of a batch to captions: words, their scores, emotions, action units and their words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from captioner.config import DecodeConfig
from captioner.errors import ConfigError
from captioner.inference.claims import THRESHOLDS, Claim, Support, Supports, claim_probability, find_claims
from captioner.inference.results import ActionUnit, Caption
from captioner.inference.supports import supports_of_measures
from captioner.inference.truth import Plan, plan_of, true_text
from captioner.model.batch import Batch, EncodedClip
from captioner.model.captioner import EmotionCaptioner
from captioner.model.decoding import AGAINST, Bonus, Special, Written, decode_captions
from captioner.model.tokenizer import TextPieces, Tokenizer
from prompts.action_units import MAIN_AUS
from prompts.alignment import Matching
from prompts.phrase_scores import LIMIT

SEARCH = 8  # beams of a model that reads or measures


def special_ids(tokenizer: Tokenizer, styles: Sequence[str] = (), style: str = "") -> Special:
    """The ids decoding must know, for one of the model's styles ("": the first)."""
    if style and style not in styles:
        known = f"allowed: {', '.join(styles)}" if styles else "this model has one style of captions: leave it out"
        raise ConfigError(f"unknown style {style!r}; {known}")
    starts = [tokenizer.start_id(number) for number in range(max(1, len(styles)))]
    start = starts[styles.index(style)] if style else starts[0]
    return Special(start, tokenizer.sep_id, tokenizer.mask_id, tokenizer.pad_id, tuple(starts))


@dataclass(frozen=True)
class WrittenBatch:
    """Captions of a batch, and what they were written with and from."""

    model: EmotionCaptioner
    tokenizer: Tokenizer
    pieces: TextPieces
    encoded: EncodedClip
    written: list[Written]
    captions: list[Caption]
    held: Sequence[Supports | None] = ()  # what each caption was held against


@torch.inference_mode()
def write_batch(
    model: EmotionCaptioner,
    tokenizer: Tokenizer,
    pieces: TextPieces,
    batch: Batch,
    options: DecodeConfig,
    supports: Sequence[Supports | None] = (),
) -> WrittenBatch:
    """Captions of a batch with their evidence; peaks are shares of the clip until the caller knows its times.

    supports: of each clip what was measured, so that no caption claims anything else; None or none: the network's word.
    """
    encoded = model.see(batch)
    options = replace(options, beams=options.beams or own_beams(model, options))
    special = special_ids(tokenizer, model.config.styles, options.style)
    belief = encoded.emotion.tolist() if encoded.emotion is not None else None
    measured = held_against(batch, encoded, supports, model.config.labels) if options.claims else []
    plans = [plan_of(each) if each else None for each in measured]
    bonus = bonus_of(tokenizer, options, measured, plans)
    written = decode_captions(model.fusion, encoded.memory, special, options, bonus)
    if any(plans):
        style = options.style if options.style else next(iter(model.config.styles), "")
        written = made_true(model, tokenizer, special, options, encoded, written, measured, plans, style)
    texts = [tokenizer.decode(w.ids) for w in written]
    matches = match_words(model, encoded, pieces, texts)
    captions = []
    for row, (text, result) in enumerate(zip(texts, written, strict=True)):
        emotion = dict(zip(model.config.labels, belief[row], strict=True)) if belief else {}
        captions.append(
            Caption(
                text=text,
                score=result.score,
                words=word_log_probs(tokenizer, result),
                emotion=emotion,
                action_units=action_units(encoded, row, matches[row], model.config.prompts.threshold),
                faces=int(encoded.experts.present[row]) if encoded.experts is not None else 0,
                start=0.0,
                end=0.0,
                emotion_source=model.emotion_source if belief else "",
            )
        )
    return WrittenBatch(model, tokenizer, pieces, encoded, written, captions, measured or [None] * len(captions))


def caption_batch(
    model: EmotionCaptioner, tokenizer: Tokenizer, pieces: TextPieces, batch: Batch, options: DecodeConfig
) -> list[Caption]:
    """Captions of a batch with their evidence; peaks are shares of the clip until the caller knows its times."""
    return write_batch(model, tokenizer, pieces, batch, options).captions


def own_beams(model: EmotionCaptioner, options: DecodeConfig) -> int:
    """How wide a model searches where nobody says it: a reading has something to choose from."""
    return SEARCH if model.config.prompts.reads and not options.sample else 1


def held_against(
    batch: Batch, encoded: EncodedClip, supports: Sequence[Supports | None], labels: Sequence[str]
) -> list[Supports | None]:
    """What the claims of each caption are held against: what judges said of the person, and what else was measured.

    None where nothing was measured, or nobody is there.
    """
    there = encoded.experts.present.tolist() if encoded.experts is not None else [True] * len(batch.frames)
    held: list[Supports | None] = []
    for row in range(len(batch.frames)):
        own: dict[str, Mapping[str, Support]] = {}
        if batch.measured is not None and there[row]:
            own |= supports_of_measures(batch.measured[row])
        own |= (supports[row] if row < len(supports) else None) or {}
        if own and encoded.emotion is not None:
            place = int(encoded.emotion[row].argmax())
            own["feeling"] = {labels[place]: Support(float(encoded.emotion[row, place]), None, "belief")}
        held.append(own or None)
    return held


def made_true(
    model: EmotionCaptioner,
    tokenizer: Tokenizer,
    special: Special,
    options: DecodeConfig,
    encoded: EncodedClip,
    written: list[Written],
    measured: Sequence[Supports | None],
    plans: Sequence[Plan | None],
    style: str,
) -> list[Written]:
    """The captions with what does not hold replaced; the network scores the words that it is made to say."""
    wanted = []
    for one, supports, plan in zip(written, measured, plans, strict=True):
        text = tokenizer.decode(one.ids)
        better = true_text(text, plan, supports, style) if plan and supports else text
        ids = tokenizer.encode(better, model.config.fusion.max_text)[1:-1] if better != text else []
        wanted.append([*ids[: options.max_words or None], special.sep] if ids else [])
    rows = [row for row, ids in enumerate(wanted) if ids]
    if not rows:
        return written
    forced = replace(options, beams=2, sample=False, max_words=0)
    memory = encoded.memory.take(rows)
    again = decode_captions(model.fusion, memory, special, forced, None, [wanted[row] for row in rows])
    changed = dict(zip(rows, again, strict=True))
    return [changed.get(row, one) for row, one in enumerate(written)]


def bonus_of(
    tokenizer: Tokenizer,
    options: DecodeConfig,
    measured: Sequence[Supports | None],
    plans: Sequence[Plan | None],
) -> Bonus | None:
    """What speaks for and against what a caption says, where its claims are held against what was measured.

    Up to 1 for a claim that is planned or likely; against another its log-probability.
    """
    if not any(measured) or not options.evidence or options.beams < 2:
        return None

    def bonus(row: int, ids: list[int]) -> list[float]:
        supports, plan = measured[row], plans[row]
        if supports is None or plan is None:
            return []
        return [claim_bonus(claim, supports, plan) for claim in find_claims(tokenizer.decode(ids))]

    return bonus


def claim_bonus(claim: Claim, supports: Supports, plan: Plan) -> float:
    """What speaks for a claim: up to 1 if it is supported; if not, as much against it as it is improbable."""
    given, least = claim_probability(claim, supports), THRESHOLDS[claim.kind]
    if claim.kind == "phrase" and claim.names.isdisjoint(plan.phrases):
        return min(math.log(max(given, 1e-4) / 0.9), 0.0) / AGAINST
    if given >= least:
        return 1.0 if claim.kind in ("phrase", "action") else 0.0
    return max(math.log(max(given, 1e-4) / least), -LIMIT) / AGAINST


def word_log_probs(tokenizer: Tokenizer, written: Written) -> list[dict[str, Any]]:
    """Each word with the summed log-probability of its pieces."""
    scores = []
    for word, places in tokenizer.words(written.ids):
        scores.append({"word": word, "log_prob": sum(written.log_probs[p - 1] for p in places)})
    return scores


def match_words(
    model: EmotionCaptioner, encoded: EncodedClip, pieces: TextPieces, texts: list[str]
) -> list[list[tuple[str, float]]]:
    """For each clip and kept action unit: the word matched to it ("" for none) and their cosine."""
    if encoded.au is None or not model.aligned or model.config.prompts.au_word == "off":
        return [[] for _ in texts]
    tokens = [pieces(text or ".") for text in texts]
    longest = max(len(ids) for ids, _ in tokens)
    device = encoded.au.device

    def padded(rows: list[list[Any]], dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor([list(r) + [0] * (longest - len(r)) for r in rows], dtype=dtype, device=device)

    ids = padded([ids for ids, _ in tokens], torch.long)
    mask = padded([[1] * len(ids) for ids, _ in tokens], torch.bool)
    usable = padded([pieces.matchable(ids, words) for ids, words in tokens], torch.bool)
    matching: Matching | None = model.evidence(encoded, ids, mask, usable)
    assert matching is not None
    rows = []
    for (row_ids, _), places, values in zip(tokens, matching.word.tolist(), matching.similarity.tolist(), strict=True):
        rows.append([(pieces.word_at(row_ids, p) if p >= 0 else "", v) for p, v in zip(places, values, strict=True)])
    return rows


def action_units(
    encoded: EncodedClip, row: int, matches: list[tuple[str, float]], threshold: float
) -> list[ActionUnit]:
    """The kept action units of a clip, most conspicuous first; `peak` still a share of the clip."""
    if encoded.au_index is None or encoded.experts is None or not bool(encoded.experts.present[row]):
        return []
    numbers, units = list(MAIN_AUS), []
    for slot, place in enumerate(encoded.au_index[row].tolist()):
        number = numbers[place]
        curve = encoded.experts.au_frames[row, :, place]
        word, similarity = matches[slot] if matches else ("", 0.0)
        word = word if similarity > threshold else ""  # eq 11: a weaker pair is no pair
        units.append(
            ActionUnit(
                id=number,
                name=MAIN_AUS[number],
                score=float(encoded.experts.au_scores[row, place]),
                peak=float(curve.argmax()) / max(len(curve) - 1, 1),
                words=[word] if word else [],
                similarity=similarity if word else None,
            )
        )
    return units
