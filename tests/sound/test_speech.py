"""Where somebody speaks, and what is heard of people, on synthetic voices."""

import numpy as np
import pytest

from captioner.errors import ConfigError
from captioner.sound import Sound
from captioner.sound.deeds import hear
from captioner.sound.listening import stretches
from captioner.sound.speech import Judge, find_speech, silero_file, spans_of
from captioner.synth.voice.prosody import SHOUT, sample_prosody, sample_speaker, varied
from captioner.synth.voice.source_filter import laugh, say
from tests.sound.voices import SENTENCE, spoken, tone

JUDGES: list[Judge] = ["energy", "silero"] if silero_file() else ["energy"]


@pytest.mark.parametrize("judge", JUDGES)
def test_speech_is_found_where_it_is(judge: Judge) -> None:
    for seed in range(4):
        wave = spoken(seed, silence=1.0)
        found = find_speech(Sound(wave, 16_000, start=10.0), judge)
        assert found.by == judge and found.spans
        assert 10.8 < found.spans[0][0] < 11.4 and abs(found.spans[-1][1] - (10 + len(wave) / 16_000 - 1.0)) < 0.4
        assert 0.3 < found.share < 0.8


@pytest.mark.parametrize("judge", JUDGES)
def test_noise_tones_and_silence_are_no_speech(judge: Judge) -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(32_000)).astype(np.float32)
    for wave in (noise, tone(2.0), np.zeros(32_000, np.float32), np.zeros(0, np.float32)):
        assert find_speech(Sound(wave, 16_000), judge).share < 0.05


def test_another_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match="16000"):
        find_speech(Sound(tone(1.0, 8000), 8000))


def test_short_pauses_are_bridged_and_short_bursts_dropped() -> None:
    probs = np.array([0, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], np.float32)
    assert spans_of(probs, 0.05) == [pytest.approx((0.05, 0.45))]
    assert list(stretches(((0.0, 1.0), (1.2, 2.0), (5.0, 40.0)))) == [(0.0, 2.0), (5.0, 33.0), (33.0, 40.0)]


@pytest.mark.slow
@pytest.mark.parametrize("judge", JUDGES)
def test_deeds_that_are_heard(judge: Judge) -> None:
    counts = {"talks": 0, "low": 0, "shouts": 0, "laughs": 0, "wrong": 0}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        person = sample_speaker(rng, "p")
        calm = hear(Sound(spoken(seed), 16_000), judge)
        low = hear(Sound(spoken(seed, "sadness"), 16_000), judge)
        shout = hear(Sound(say(SENTENCE, person, varied(rng, SHOUT), rng).wave, 16_000), judge)
        laughter = hear(Sound(laugh(person, sample_prosody(rng, "happiness"), rng, 2.5).wave, 16_000), judge)
        counts["talks"] += calm.talks
        counts["low"] += low.low_voice
        counts["shouts"] += shout.shouts
        counts["laughs"] += laughter.laughs
        counts["wrong"] += calm.shouts + calm.laughs + calm.low_voice + low.shouts + low.laughs + shout.low_voice
    assert counts["talks"] == 5 and counts["low"] >= 4 and counts["shouts"] >= 4 and counts["laughs"] >= 3
    assert counts["wrong"] <= 2


def test_nothing_heard_is_not_silence() -> None:
    assert not hear(None).heard and not hear(None).silent
    assert hear(Sound(np.zeros(16_000, np.float32), 16_000)).silent
