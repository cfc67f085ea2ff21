"""From what the model sees of a batch to captions: words, their scores, emotions, action units and their words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from captioner.config import DecodeConfig
from captioner.errors import ConfigError
from captioner.inference.claims import (
    THRESHOLDS,
    Claim,
    Supports,
    claim_probability,
    find_claims,
    not_understood,
    supported,
)
from captioner.inference.results import ActionUnit, Caption
from captioner.lexicon.actions import ACTIONS, find_actions
from captioner.lexicon.phrases import PHRASES, find_phrases
from captioner.model.batch import Batch, EncodedClip
from captioner.model.captioner import EmotionCaptioner
from captioner.model.decoding import AGAINST, Bonus, Special, Written, decode_captions
from captioner.model.tokenizer import TextPieces, Tokenizer
from prompts.action_units import MAIN_AUS
from prompts.alignment import Matching
from prompts.phrase_scores import LIMIT

SEARCH = 8  # beams of a model with a reading
# From which logit on a phrase counts as shown; the surest of a clip does from -SHOWN on: most clips show one, and where
# none may be said a search goes astray. Below, more of the phrases named are wrong; above, F1 falls.
SHOWN = 0.75


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
    bonus = bonus_of(encoded, tokenizer, options, supports)
    written = decode_captions(model.fusion, encoded.memory, special, options, bonus)
    pairs = zip(written, supports, strict=False)
    begun = [true_beginning(tokenizer.decode(one.ids), measured, options.style) for one, measured in pairs]
    if any(begun) and options.beams > 1:  # words that would have said what was not seen begin with what was
        forced = [tokenizer.encode(text, model.config.fusion.max_text)[1:-1] if text else [] for text in begun]
        again = decode_captions(model.fusion, encoded.memory, special, options, bonus, forced)
        written = [other if start else one for one, other, start in zip(written, again, begun, strict=True)]
    texts = [tokenizer.decode(w.ids) for w in written]
    matches = match_words(model, encoded, pieces, texts)
    belief = encoded.emotion.tolist() if encoded.emotion is not None else None
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
    return WrittenBatch(model, tokenizer, pieces, encoded, written, captions)


def caption_batch(
    model: EmotionCaptioner, tokenizer: Tokenizer, pieces: TextPieces, batch: Batch, options: DecodeConfig
) -> list[Caption]:
    """Captions of a batch with their evidence; peaks are shares of the clip until the caller knows its times."""
    return write_batch(model, tokenizer, pieces, batch, options).captions


def own_beams(model: EmotionCaptioner, options: DecodeConfig) -> int:
    """How wide a model searches where nobody says it: a reading has something to choose from."""
    return SEARCH if model.config.prompts.reading and not options.sample else 1


def bonus_of(
    encoded: EncodedClip, tokenizer: Tokenizer, options: DecodeConfig, supports: Sequence[Supports | None] = ()
) -> Bonus | None:
    """What speaks for and against what a caption says: the logits of the phrases that it names, less `SHOWN`.

    And its actions: with `supports`, one a clip, by how probable the movements make them; without, by the lift that the
    phrase probes give them. What speaks against one counts in a search as the log-probability it is.
    """
    if encoded.phrase_logits is None or not options.evidence or options.beams < 2:
        return None
    logits = encoded.phrase_logits.clamp(-LIMIT, LIMIT)
    of_phrases = (logits - logits.amax(1, keepdim=True).clamp(-SHOWN, SHOWN)).tolist()
    lift = encoded.action_lift
    of_actions = (lift.clamp(-LIMIT, LIMIT) / AGAINST).tolist() if lift is not None else None
    phrases = {name: place for place, name in enumerate(PHRASES)}
    actions = {name: place for place, name in enumerate(ACTIONS)}

    def bonus(row: int, ids: list[int]) -> list[float]:
        text = tokenizer.decode(ids)
        values = [of_phrases[row][place] for place in {phrases[found.name] for found in find_phrases(text)}]
        measured = supports[row] if supports else None
        if measured is not None:
            claims = find_claims(text)
            values += [claim_bonus(claim, measured) for claim in claims if claim.kind != "phrase"]
        elif of_actions is not None:
            values += [max(of_actions[row][actions[name]] for name in names) for names in find_actions(text)]
        return values

    return bonus


def true_beginning(text: str, measured: Supports | None, style: str) -> str:
    """How a caption has to begin to be true, where the one that was written does not; "" where it may stay."""
    if measured is None:
        return ""
    first = text.partition(".")[0]
    actions = [claim for claim in find_claims(first) if claim.kind == "action"]
    if actions and all(supported(claim, measured) for claim in actions) and not not_understood(first):
        return ""
    likely = max(measured["action"], key=lambda name: measured["action"][name].probability)
    verb = ACTIONS[likely][0][0].format(their="their", them="them", they="they", other="somebody")
    return f"a person {verb}" + ("" if style == "feelings" else " .")  # where the feeling follows in the same sentence


def claim_bonus(claim: Claim, measured: Supports) -> float:
    """What speaks for a claim: up to 1 if it is supported; if not, as much against it as it is improbable."""
    given, least = claim_probability(claim, measured), THRESHOLDS[claim.kind]
    if given >= least:
        return min(math.log(given / least) / math.log(1 / least), 1.0) if claim.kind == "action" else 0.0
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
