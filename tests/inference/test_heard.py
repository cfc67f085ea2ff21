"""What is heard of a clip, beside what was seen: silence and voices as support of what captions may say."""

from pathlib import Path

import numpy as np
import pytest

from captioner.inference.claims import Support, find_faults
from captioner.inference.heard import hear_clip, voice_support, with_sound
from captioner.sound import Sound
from captioner.sound.deeds import HeardDeeds, hear
from tests.sound.voices import film, spoken

SEEN = {"talks": Support(0.6, 1.0, "movement"), "shouts": Support(0.6, None, "movement"), "nods": Support(0.7)}


def test_silence_speaks_against_talking_and_a_voice_for_it(tmp_path: Path) -> None:
    silent = hear_clip(str(film(tmp_path / "a.mp4", np.zeros(32_000, np.float32))), 0.0, 2.0)
    loud = hear_clip(str(film(tmp_path / "b.mp4", spoken(0)[:32_000])), 0.0, 2.0)
    assert silent.heard and silent.silent and loud.talks
    vetoed, confirmed = with_sound(SEEN, silent), with_sound(SEEN, loud)
    assert vetoed["talks"].probability < 0.1 < 0.6 < confirmed["talks"].probability < 0.8
    assert confirmed["shouts"].probability < 0.5 and confirmed["talks"].second == 1.0
    assert vetoed["nods"] == confirmed["nods"] == SEEN["nods"] and "laughs" not in vetoed


def test_without_sound_nothing_changes(tmp_path: Path) -> None:
    for source, end in ((str(film(tmp_path / "a.mp4", None)), 2.0), ("frames", 2.0), (str(tmp_path / "a.mp4"), 0.1)):
        deeds = hear_clip(source, 0.0, end)
        assert not deeds.heard and with_sound(SEEN, deeds) == SEEN and voice_support(deeds) == {}


def test_broken_sound_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(200))
    assert not hear_clip(str(tmp_path / "a.mp4"), 0.0, 1.0).heard and "is left out" in caplog.text


def test_a_low_voice_is_said_only_where_it_is_heard() -> None:
    low, plain = (hear(Sound(spoken(3, emotion), 16_000), "energy") for emotion in ("sadness", "neutral"))
    text = "A woman says something in a low voice."
    for deeds, faults in ((low, 0), (plain, 1), (HeardDeeds(True), 1), (HeardDeeds(False), 1)):
        supports = {"voice": voice_support(deeds)}
        assert len([fault for fault in find_faults(text, supports) if "voice" in fault]) == faults, deeds
