"""The voice of our own: emotions differ as the table says, mouths follow the sounds, seeds repeat."""

import numpy as np
import pytest

from captioner.synth.voice.phonemes import phones_of
from captioner.synth.voice.prosody import PROSODY, VOICE_EMOTIONS, sample_prosody, sample_speaker
from captioner.synth.voice.source_filter import Utterance, laugh, say


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
