"""The voice of our own: emotions differ as the table says, mouths follow the sounds, seeds repeat."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.data.manifest import read_manifest
from captioner.sound import Sound, read_sound
from captioner.sound.deeds import HeardDeeds, hear
from captioner.synth.maker import make_clips
from captioner.synth.maker_options import MakerOptions
from captioner.synth.story.tale import StorySettings, sample_story
from captioner.synth.voice.clip_voice import speaker_of, voice_story
from captioner.synth.voice.espeak import espeak, has_espeak
from captioner.synth.voice.phonemes import phones_of
from captioner.synth.voice.phrasebook import WORDED, sample_sentence
from captioner.synth.voice.prosody import PROSODY, VOICE_EMOTIONS, sample_prosody, sample_speaker
from captioner.synth.voice.source_filter import Utterance, laugh, say


def hear_wave(wave: Any) -> HeardDeeds:
    return hear(Sound(wave, 16_000), "energy")


def utterance(seed: int, emotion: str, text: str = "We put the map away.") -> Utterance:
    rng = np.random.default_rng(seed)
    return say(text, sample_speaker(rng, "p"), sample_prosody(rng, emotion), rng)


def test_the_same_seed_says_the_same() -> None:
    assert np.array_equal(utterance(4, "fear").wave, utterance(4, "fear").wave)
    assert not np.array_equal(utterance(4, "fear").wave[:9000], utterance(5, "fear").wave[:9000])


@pytest.mark.parametrize("emotion", VOICE_EMOTIONS)
def test_level_and_pace_follow_the_table(emotion: str) -> None:
    said = [utterance(seed, emotion) for seed in range(6)]
    assert all(np.isfinite(one.wave).all() and np.abs(one.wave).max() <= 1 for one in said)
    loud = np.mean([20 * np.log10(np.sqrt(np.mean(one.wave**2))) for one in said])
    assert abs(loud - PROSODY[emotion].level) < 5
    calm = np.mean([utterance(seed, "neutral").seconds for seed in range(6)])
    assert abs(np.mean([one.seconds for one in said]) / calm - 1 / PROSODY[emotion].pace) < 0.12


def test_the_mouth_closes_on_m_and_opens_on_a() -> None:
    said = utterance(1, "neutral", "mmmm aaaa")
    third = len(said.mouth) // 3  # the closed sounds are shorter, a pause comes first and last
    assert said.mouth[:third].max() < 0.25 < 0.5 < said.mouth[-third:-40].mean()
    assert abs(len(said.mouth) * said.step - said.seconds) < 0.01


def test_letters_become_sounds() -> None:
    assert "".join(letter for letter, _ in phones_of("The ship, quickly!")) == "fecip kwikly "
    assert phones_of("") == [] and phones_of("123 é") == []


def test_laughter_comes_in_even_bursts() -> None:
    rng = np.random.default_rng(0)
    wave = laugh(sample_speaker(rng, "p"), sample_prosody(rng, "happiness"), rng, 2.0).wave
    envelope = np.abs(wave[: len(wave) // 400 * 400]).reshape(-1, 400).mean(1)
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean()))
    assert 3.5 < spectrum.argmax() * 40 / len(envelope) < 6.0


def test_a_story_gets_voices_and_mouths_that_follow() -> None:
    talked = silent = 0
    for seed in range(24):
        story = sample_story(np.random.default_rng(seed), StorySettings(seconds=(3.0, 3.0)))
        people, looks = [f"p{i}" for i in range(len(story.roles))], [""] * len(story.roles)
        voiced = voice_story(story, people, looks, np.random.default_rng(seed), False, "own")
        assert len(voiced.wave) == round(story.seconds * 16_000) and np.abs(voiced.wave).max() <= 1
        by_person = {fact["person"]: fact for fact in voiced.facts}
        for place, role in enumerate(voiced.story.roles):
            fact = by_person.get(place)
            heard = set(role.actions) & {"talks", "talks_to", "shouts", "laughs"}
            assert (fact is not None) == bool(heard)
            if fact is None:
                silent += 1
                assert role == story.roles[place]
            elif fact["said"]:
                talked += 1
                opening = np.array([state.speech for state in role.states])
                assert opening.max() > 0.3 and opening.min() < 0.1 and fact["said"] in voiced.transcript
        loud = float(np.sqrt(np.mean(voiced.wave**2)))
        assert (loud > 3e-3) == bool(voiced.facts)
    assert talked > 3 and silent > 3
    glad = replace(story, roles=(replace(story.roles[0], actions=("laughs",)),))
    voiced = voice_story(glad, people, looks, np.random.default_rng(0), False, "own")
    assert voiced.facts[0]["deed"] == "laughs" and not voiced.transcript and hear_wave(voiced.wave).laughs


def test_a_person_has_one_voice_and_sides_have_their_own_sentences() -> None:
    assert speaker_of("anna", "woman red hair") == speaker_of("anna", "woman") != speaker_of("berta", "woman")
    assert speaker_of("anna", "woman").throat < speaker_of("anna", "man").throat
    rng = np.random.default_rng(0)
    for emotion in WORDED:
        trained, tested = ({sample_sentence(rng, emotion, test) for _ in range(60)} for test in (False, True))
        assert trained and tested and not trained & tested


@pytest.mark.slow
@pytest.mark.parametrize("maker", ["own", pytest.param("espeak", marks=pytest.mark.skipif(
    not has_espeak(), reason="needs the package espeakng-loader"))])  # fmt: skip
def test_clips_are_heard(tmp_path: Path, maker: Any) -> None:
    options = MakerOptions(
        tmp_path, clips=6, seed=3, height=64, width=64, seconds=(2.0, 2.0), fps=(8.0, 8.0), people=1, val=0, test=0,
        framing="portrait", voices=maker,
    )  # fmt: skip
    records = read_manifest(make_clips(options).manifest)
    said = 0
    for record in records:
        sound = read_sound(record.video)
        assert sound is not None and abs(sound.duration - 2.0) < 0.1
        if any(fact["said"] for fact in record.extra["voices"]):
            said += 1
            assert hear(sound, "energy").speech > 0.15 and record.extra["transcript"]
        elif not record.extra["voices"]:
            assert hear(sound, "energy").speech < 0.1
    assert said


@pytest.mark.skipif(not has_espeak(), reason="needs the package espeakng-loader")
def test_espeak_says_it_and_moves_the_mouth() -> None:
    rng = np.random.default_rng(1)
    said = espeak().say("The map is on the table.", sample_speaker(rng, "p"), sample_prosody(rng, "neutral"))
    assert 0.8 < said.seconds < 4 and np.isfinite(said.wave).all()
    assert said.mouth.max() > 0.5 and said.mouth.min() < 0.1 and abs(len(said.mouth) * said.step - said.seconds) < 0.02
