"""A sound track for a story: who talks, shouts or laughs is heard, and the mouth follows what is said.

The voice mostly tells the clip's emotion, sometimes another one; the words tell it, or none, or another one. Which it
was is noted, so that clips can be chosen in which face, voice and words agree or disagree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from captioner.synth.story.tale import Role, Story
from captioner.synth.voice.espeak import espeak
from captioner.synth.voice.phrasebook import WORDED, sample_sentence
from captioner.synth.voice.prosody import (
    SHOUT,
    SOUNDS_LIKE,
    VOICE_EMOTIONS,
    Prosody,
    Speaker,
    sample_prosody,
    sample_speaker,
    varied,
)
from captioner.synth.voice.source_filter import VOICE_RATE, Utterance, laugh, say

VoiceMaker = Literal["own", "espeak"]
AGREES = 0.7  # of the voices tell the clip's emotion
PLAIN_WORDS, AGREEING_WORDS = 0.5, 0.35  # of the sentences tell none, and tell it
SPEECH = frozenset(("talks", "talks_to", "shouts"))


@dataclass(frozen=True)
class VoicedStory:
    """The story with mouths that follow, its sound, and what was said by whom and how."""

    story: Story
    wave: NDArray[np.float32]
    facts: list[dict[str, Any]]

    @property
    def transcript(self) -> str:
        """What is said in the clip."""
        return " ".join(fact["said"] for fact in self.facts if fact["said"])


def voice_story(
    story: Story, persons: Sequence[str], looks: Sequence[str], rng: np.random.Generator, test: bool, maker: VoiceMaker
) -> VoicedStory:
    """Voices for everybody who is to be heard; a person (a name) always has the same voice."""
    count = round(story.seconds * VOICE_RATE)
    wave = rng.uniform(1e-4, 1e-3) * rng.standard_normal(count)
    roles, facts = [], []
    for place, role in enumerate(story.roles):
        own, fact, sound = _role(story, role, persons[place], looks[place], rng, test, maker)
        roles.append(own)
        if fact:
            facts.append({"person": place, **fact})
            wave += sound
    return VoicedStory(replace(story, roles=tuple(roles)), np.clip(wave, -1, 1).astype(np.float32), facts)


def speaker_of(person: str, look: str) -> Speaker:
    """The voice of a person, by name."""
    seed = int.from_bytes(hashlib.blake2b(person.encode(), digest_size=8).digest(), "little")
    woman = {"woman": True, "girl": True, "man": False, "boy": False}
    told = next((woman[word] for word in look.split() if word in woman), None)
    return sample_speaker(np.random.default_rng(seed), person, told)


def _role(
    story: Story, role: Role, person: str, look: str, rng: np.random.Generator, test: bool, maker: VoiceMaker
) -> tuple[Role, dict[str, Any], NDArray[np.float64]]:
    """A role whose mouth follows, what is known of its voice (nothing: it is silent), its samples."""
    count = round(story.seconds * VOICE_RATE)
    deed = next((action for action in role.actions if action in SPEECH or action == "laughs"), None)
    if deed is None:
        return role, {}, np.zeros(count)
    speaker, face = speaker_of(person, look), SOUNDS_LIKE.get(story.emotion, story.emotion)
    if deed == "laughs":
        parts = [laugh(speaker, sample_prosody(rng, "happiness"), rng, min(story.seconds - 0.2, 2.5))]
        fact = {"deed": deed, "emotion": "happiness", "words": "", "said": "", "agrees": face == "happiness"}
    else:
        emotion = face if rng.random() < AGREES else _other(rng, face)
        worded = _words(rng, face)
        prosody = varied(rng, SHOUT) if deed == "shouts" else sample_prosody(rng, emotion)
        parts = _sentences(rng, story.seconds, worded, speaker, prosody, test, maker)
        said = " ".join(part.text for part in parts)
        fact = {"deed": deed, "emotion": emotion, "words": worded, "said": said, "agrees": emotion == face}
        fact["level"] = round(prosody.level, 1)
    samples, mouth = _placed(parts, count, rng.uniform(0.02, 0.25))
    shown = (np.arange(len(role.states)) / story.fps / parts[0].step).astype(int)
    opening = mouth[np.minimum(shown, len(mouth) - 1)]
    if deed != "laughs":  # whose mouth is open anyway
        states = (replace(state, speech=float(value)) for state, value in zip(role.states, opening, strict=True))
        role = replace(role, states=tuple(states))
    return role, fact, samples


def _other(rng: np.random.Generator, face: str) -> str:
    others = [name for name in VOICE_EMOTIONS if name != face]
    return others[int(rng.integers(len(others)))]


def _words(rng: np.random.Generator, face: str) -> str:
    """Which emotion the sentence is worded as."""
    dice = rng.random()
    if dice < PLAIN_WORDS or (dice < PLAIN_WORDS + AGREEING_WORDS and face not in WORDED):
        return "neutral"
    return face if dice < PLAIN_WORDS + AGREEING_WORDS else _other(rng, face)


def _sentences(
    rng: np.random.Generator, seconds: float, worded: str, speaker: Speaker, prosody: Prosody, test: bool,
    maker: VoiceMaker,
) -> list[Utterance]:  # fmt: skip
    """Sentences that begin within the clip, at least one."""
    parts: list[Utterance] = []
    length = 0.0
    while not parts or length < seconds - 1.2:
        text = sample_sentence(rng, worded, test)
        parts.append(espeak().say(text, speaker, prosody) if maker == "espeak" else say(text, speaker, prosody, rng))
        length += parts[-1].seconds + 0.25
    return parts


def _placed(parts: Sequence[Utterance], count: int, start: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Utterances one after the other in so many samples, cut at the end softly; and the mouth's curve beside."""
    step = parts[0].step
    samples, mouth = np.zeros(count), np.zeros(int(count / VOICE_RATE / step) + 2)
    at = start
    for part in parts:
        for whole, piece, rate in ((samples, part.wave, VOICE_RATE), (mouth, part.mouth, 1 / step)):
            first = round(at * rate)
            kept = piece[: max(0, len(whole) - first)]
            whole[first : first + len(kept)] = kept
        at += part.seconds + 0.25
    fade = min(count, VOICE_RATE // 20)
    samples[count - fade :] *= np.linspace(1, 0, fade)
    return samples, mouth
