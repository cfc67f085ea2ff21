"""What a written caption takes from the clip it is of: times, names, the person, the links of its phrases, evidence."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from captioner.data.inputs import ReadClip
from captioner.inference.captions import WrittenBatch
from captioner.inference.claims import Supports, find_claims, find_faults
from captioner.inference.decode_options import DecodeOptions
from captioner.inference.evidence import gather, link_phrases
from captioner.inference.manner import finish
from captioner.inference.results import Caption, ToldClaim
from captioner.inference.rewording import feel, hedge
from captioner.inference.supports import DARK, nobody_there, say_nobody

log = logging.getLogger(__name__)

FELT = "feelings"
# What is said was chosen because it looked likely, and is a little less so: the power of the product that fits.
TOGETHER = 1.3
_OUTRIGHT = ("people", "light", "distance", "feeling")  # counted and measured outright; what is felt is a belief
# Belief from which on a feeling is stated, and up to which none is told; between them it "seems" so.
SURE, FLAT = 0.5, 0.25


def finish_caption(
    made: WrittenBatch,
    row: int,
    clip: ReadClip,
    number: int,
    asked: DecodeOptions,
) -> None:
    """Complete the caption of one row of a batch, which is about one of a clip's persons."""
    caption, person = made.captions[row], clip.persons[number]
    place_caption(caption, clip, counts_faces=made.model.config.experts.margin is not None)
    for line in find_faults(caption.text, made.held[row] or {}) if asked.claims else []:
        log.debug("%s at %.1f s: %s", clip.source, clip.start, line)
    if nobody_there(clip):
        return say_nobody(caption, clip.brightness < DARK)
    caption.person = number + 1 if asked.people and person >= 0 else 0
    caption.phrases = link_phrases(made, row, clip.times, clip.tracks[person] if person >= 0 else None)
    if asked.claims and asked.style == FELT and caption.emotion:
        likely = max(caption.emotion, key=caption.emotion.__getitem__)
        caption.text = hedge(feel(caption.text, likely), caption.emotion, SURE, FLAT)
    several = asked.claims and not caption.person and caption.faces > 2
    event_follows = asked.events is not None
    finish(caption, asked.style, several=several, neutral=asked.neutral, event_follows=event_follows)
    support_units(caption)
    caption.claims = told_claims(caption.text, made.held[row]) if asked.claims and made.held else []
    caption.confidence = confidence_of(caption.claims)
    if asked.evidence and clip.pictures is not None:
        caption.evidence = gather(made, row, clip.pictures, clip.tracks, person)
        caption.evidence.readings = clip.readings
    return None


def told_claims(text: str, supports: Supports | None) -> list[ToldClaim]:
    """The claims of a text with how probable each is; none where nothing was measured."""
    told = []
    for claim in find_claims(text) if supports else ():
        measured = (supports or {}).get(claim.kind, {})
        known = [measured[name] for name in claim.names if name in measured]
        best = max(known, key=lambda support: support.probability, default=None)
        chance = None if best is None else round(best.probability, 4)
        words = text[claim.start : claim.end]
        told.append(
            ToldClaim(claim.kind, claim.name, words, claim.start, claim.end, chance, best.source if best else "")
        )
    return told


def confidence_of(claims: Sequence[ToldClaim]) -> float | None:
    """The chance that all claims hold: measured ones as if they were independent, each said once; None without any."""
    chances = {(each.kind, each.name): each.probability for each in claims if each.probability is not None}
    chances = {key: chance for key, chance in chances.items() if key[0] not in _OUTRIGHT}
    if not chances:
        return None
    return round(math.prod(chances.values()) ** TOGETHER, 4)


def place_caption(caption: Caption, clip: ReadClip, counts_faces: bool) -> None:
    """Times and names, which the model does not know."""
    caption.start, caption.end, caption.frames, caption.shot = clip.start, clip.end, clip.times, clip.shot
    caption.source, caption.duration = clip.source, clip.duration
    if counts_faces:
        caption.faces = len(clip.tracks if clip.readings is None else clip.readings)
    places = np.linspace(0, 1, len(clip.times))
    for unit in caption.action_units:
        unit.peak = round(float(np.interp(unit.peak or 0.0, places, clip.times)), 3)


def support_units(caption: Caption) -> None:
    """Give each action unit the facial phrase that rests on it; one without a phrase keeps the word it matched."""
    for unit in caption.action_units:
        unit.words = [each.text for each in caption.phrases if each.au == unit.id] or unit.words
