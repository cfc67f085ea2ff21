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


def noises(seed: int) -> dict[str, np.ndarray]:
    """Three seconds of what is no voice: notes that die away, a siren, a motor, drums, a wavering tone, pink noise."""
    rng, t = np.random.default_rng(seed), np.arange(48_000) / 16_000
    notes, drums = np.zeros(48_000), np.zeros(48_000)
    for at in range(0, 48_000, 4000):
        hertz, rest = 220 * 2 ** (rng.integers(0, 24) / 12), t[: 48_000 - at]
        for part, share in ((1, 1.0), (2, 0.5), (3, 0.25)):
            notes[at:] += 0.2 * share * np.sin(2 * np.pi * hertz * part * rest) * np.exp(-4 * rest)
        beat = t[:3000]
        drums[at : at + 3000] += 0.4 * np.sin(2 * np.pi * (90 + 60 * np.exp(-40 * beat)) * beat) * np.exp(-12 * beat)
    siren = 0.3 * np.sin(2 * np.pi * np.cumsum(600 + 250 * np.sin(np.pi * t)) / 16_000)
    turns = 2 * np.pi * np.cumsum(rng.uniform(70, 120) * (1 + 0.05 * np.sin(4 * t))) / 16_000
    motor = 0.1 * np.sum([np.sin(k * turns) / k**0.7 for k in range(1, 20)], axis=0)
    waver = 0.2 * np.sin(2 * np.pi * rng.uniform(200, 600) * t + 3 * np.sin(35 * t))
    spectrum = np.fft.rfft(rng.standard_normal(48_000))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 12)))
    pink *= 0.1 / pink.std()
    made = {"notes": notes, "drums": drums, "siren": siren, "motor": motor, "waver": waver, "pink": pink}
    return {name: wave.astype(np.float32) for name, wave in made.items()}


@pytest.mark.slow
@pytest.mark.parametrize("judge", JUDGES)
def test_music_and_machines_neither_talk_nor_laugh(judge: Judge) -> None:
    for seed in range(3):
        for name, wave in noises(seed).items():
            deeds = hear(Sound(wave, 16_000), judge)
            assert not (deeds.talks or deeds.laughs or deeds.shouts or deeds.low_voice), (name, seed)


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
