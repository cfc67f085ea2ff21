"""Evidence that is heard and read: sound by parts, words of a span, nothing where there is none."""

from pathlib import Path

import numpy as np
import pytest

from captioner.emotion.contract import SoundWants, Wants, believe
from captioner.emotion.hearing import hear_span, words_of_span
from captioner.emotion.looking import look
from captioner.emotion.registry import kind_of
from captioner.errors import ConfigError
from captioner.inference.emotion_reader import EmotionReader
from captioner.sound.listening import Listener
from captioner.sound.subtitles import Cue
from tests.emotion.test_av_canet import model as av_canet
from tests.emotion.test_mer_clip import model as mer_clip
from tests.sound.voices import film, tone

SRT = "1\n00:00:00,000 --> 00:00:00,900\nso glad\n\n2\n00:00:01,100 --> 00:00:02,000\nso sad\n"


def test_sound_by_parts_and_words_of_a_span(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", tone(2.0) * np.linspace(0, 1, 32_000, dtype=np.float32))
    (tmp_path / "a.srt").write_text(SRT)
    evidence = look(path, Wants(segments=4, size=32, sound=SoundWants(8000, 0.25, segments=4), words=True))
    assert evidence.sound is not None and len(evidence.sound.wave) == 4 * 2000 and evidence.words == "so glad so sad"
    loud = [float(np.abs(part).max()) for part in evidence.sound.wave.reshape(4, -1)]
    assert loud == sorted(loud)
    part = look(path, Wants(sound=SoundWants(8000, 0.5), words=True), 1.0, 2.0)
    assert part.sound is not None and len(part.sound.wave) == 4000 and part.words == "so sad" and part.frames is None
    whole = look(path, Wants(sound=SoundWants()))
    assert whole.sound is not None and 1.9 < whole.sound.duration < 2.2
    assert look(path, Wants(words=True), transcript=" as told ").words == "as told"
    assert part.key() != whole.key()


def test_pictures_in_memory_have_no_sound() -> None:
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    evidence = look(frames, Wants(segments=2, size=32, sound=SoundWants(), words=True))
    assert evidence.sound is None and evidence.words == "" and hear_span(frames, SoundWants(), 0, 1) is None
    assert words_of_span("http://x/a.mp4", True, 0, 1) == ""


@pytest.mark.parametrize(("seconds", "heard"), [(0.25, True), (2.0, True), (2.0, False)])
def test_beliefs_of_clips_of_any_length(tmp_path: Path, seconds: float, heard: bool) -> None:
    path = film(tmp_path / "a.mp4", tone(seconds) if heard else None, seconds=seconds)
    for net in (av_canet(), mer_clip()):
        found = believe(net, [look(path, net.wants)])
        assert found.probs.isfinite().all() and found.heard is not None and bool(found.heard[0]) == heard


def test_a_reader_says_what_it_went_by_and_hears_words_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listener, "open", lambda self: None)
    path = film(tmp_path / "a.mp4", tone(2.0))
    reader = EmotionReader(mer_clip(), "mer")
    moment = reader.moments(path)[0]
    assert moment.senses == ("picture", "sound") and moment.lacking == ("words",)
    reader.listen("some/model")
    assert reader.listener is not None
    reader.listener.load = lambda video: [Cue(0.0, 1.0, "so glad")]  # type: ignore[method-assign]
    assert reader.moments(path)[0].senses == ("picture", "sound", "words")
    assert [one.lacking for one in reader.windows(path, 1.0)] == [(), ("words",)]
    deaf = EmotionReader(av_canet(), "av")
    with pytest.raises(ConfigError, match="reads no words"):
        deaf.listen("some/model")


def test_kinds_are_met_however_they_are_spelled() -> None:
    assert {kind_of(name).name for name in ("av_canet", "av-canet", "avcanet")} == {"av_canet"}
    assert "reconstructed" in kind_of("mer-clip").title
